//! A job: a function on a fiber, its wait context, and the token it awaits.
//!
//! ```text
//!            start                    pause
//!   Idle ───────────▶ Running ─────────────────▶ Paused
//!    ▲                │    ▲                     │    │
//!    └────────────────┘    └─────────────────────┘    │
//!    │   function returns           resume            │
//!    └────────────────────────────────────────────────┘
//!                       abandon
//! ```
//! A job that is not idle keeps itself alive; an idle one is kept by its thread's pool.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use spinlane_fiber::{Fiber, Stack};

use crate::pool;
use crate::wait_ctx::WaitCtx;

/// Bytes that a job's function may capture: with room to spare on the smallest stack, one page.
const MAX_CAPTURES: usize = 1024;

thread_local! {
    /// The job that runs on this thread now. Never dropped, so that it can be asked for in
    /// the thread's last destructors, and in a single load.
    static CURRENT: Cell<ManuallyDrop<Option<Rc<Job>>>> =
        const { Cell::new(ManuallyDrop::new(None)) };
    /// ASYNC_block_pause(3) calls not yet taken back.
    static BLOCKED: Cell<usize> = const { Cell::new(0) };
    static RESTART_POLL: Cell<Option<fn()>> = const { Cell::new(None) };
    /// Its address is this thread's name.
    static THREAD: u8 = const { 0 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Running,
    Paused,
}

/// `ASYNC_JOB`.
pub struct Job {
    /// Address of the owning thread's `THREAD`.
    thread: usize,
    state: Cell<State>,
    /// While it is paused.
    fiber: Cell<Option<Fiber>>,
    wait_ctx: RefCell<Option<Rc<WaitCtx>>>,
    /// Itself, while it is paused; while it runs, the thread's `CURRENT` keeps it.
    alive: Cell<Option<Rc<Self>>>,
    /// What its function returned.
    result: Cell<i32>,
    /// Token of the op whose result it wants; 0 = none.
    awaited: Cell<u64>,
    /// That op is done.
    done: Cell<bool>,
    cancelled: Cell<bool>,
    /// A word for the layer above (the C ABI keeps the job's library context in it).
    user_word: Cell<usize>,
}

/// How a start or a resume ended.
#[derive(Debug)]
pub enum Progress {
    /// The function returned this; the job is idle again.
    Finished(i32),
    /// The function paused, or is still paused because what it awaits is not done.
    Paused,
    /// The thread's pool is at its maximum.
    NoJobs,
}

/// A job that cannot run now. The text names the culprit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeError {
    /// The job belongs to another thread.
    OtherThread,
    /// The job is idle: finished, abandoned or never started.
    NotPaused,
    /// A job runs on this thread already; jobs do not nest.
    Nested,
}

impl std::fmt::Display for ResumeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OtherThread => {
                "the job belongs to another thread; resume it on the thread that started it"
            }
            Self::NotPaused => {
                "the job is not paused: it has finished or was abandoned; start a new one"
            }
            Self::Nested => {
                "a job runs on this thread already; start the next one when it has paused"
            }
        })
    }
}

impl std::error::Error for ResumeError {}

/// Starts `body` as a job under `wait_ctx`, running it until it returns or pauses. The second
/// value is the job, where there is one to resume.
///
/// # Errors
/// [`ResumeError::Nested`] when called from within a job.
///
/// What `body` captures lives at the top of the job's stack; more than 1 KiB of it does not
/// compile (box it).
///
/// # Panics
/// A panic of `body` goes through.
#[inline]
pub fn start<F: FnOnce() -> i32 + 'static>(
    wait_ctx: Option<&Rc<WaitCtx>>,
    body: F,
) -> Result<(Progress, Option<Rc<Job>>), ResumeError> {
    const { assert!(size_of::<F>() + align_of::<F>() <= MAX_CAPTURES) };
    if on_job() {
        return Err(ResumeError::Nested);
    }
    let Some((job, stack)) = pool::take() else {
        return Ok((Progress::NoJobs, None));
    };
    job.begin(wait_ctx);
    let fiber = Fiber::new(stack, move || {
        let result = body();
        with_current(|job| job.result.set(result));
    });
    let progress = job.switch(fiber, Rc::clone(&job));
    let paused = matches!(progress, Progress::Paused).then_some(job);
    Ok((progress, paused))
}

/// ASYNC_pause_job(3): gives control back to whoever started or resumed the current job;
/// returns when it is resumed. Does nothing outside a job or while pausing is blocked; returns
/// whether it paused.
#[inline(always)]
pub fn pause() -> bool {
    if BLOCKED.get() != 0 || !on_job() {
        return false;
    }
    // Refused only off a fiber, and a current job runs on one.
    let _ = spinlane_fiber::suspend();
    with_current(|job| {
        if let Some(wait_ctx) = &*job.wait_ctx.borrow() {
            wait_ctx.reset_changes();
        }
    });
    true
}

/// ASYNC_get_current_job(3): the job that runs on this thread.
#[inline]
pub fn current() -> Option<Rc<Job>> {
    with_current(Rc::clone)
}

/// Whether a job runs on this thread.
#[inline]
pub fn on_job() -> bool {
    with_current(|_| ()).is_some()
}

/// ASYNC_block_pause(3): pauses of this thread's jobs do nothing until unblocked. Nests; does
/// nothing outside a job.
pub fn block_pause() {
    if on_job() {
        BLOCKED.set(BLOCKED.get() + 1);
    }
}

/// ASYNC_unblock_pause(3): takes one [`block_pause`] back.
pub fn unblock_pause() {
    if on_job() {
        BLOCKED.set(BLOCKED.get().saturating_sub(1));
    }
}

/// Whether pausing is blocked.
#[inline]
pub fn pause_blocked() -> bool {
    BLOCKED.get() != 0
}

/// What this thread calls, on the caller's stack, when a job is resumed before the op that it
/// awaits is done. A poll core polls its devices there.
pub fn set_restart_poll(poll: Option<fn()>) {
    RESTART_POLL.set(poll);
}

/// `visit` must not itself ask for the current job.
#[inline(always)]
fn with_current<T>(visit: impl FnOnce(&Rc<Job>) -> T) -> Option<T> {
    let current = CURRENT.take();
    let seen = current.as_ref().map(visit);
    CURRENT.set(current);
    seen
}

#[inline(always)]
fn this_thread() -> usize {
    THREAD.with(|name| std::ptr::from_ref(name).addr())
}

impl Job {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            thread: this_thread(),
            state: Cell::new(State::Idle),
            fiber: Cell::new(None),
            wait_ctx: RefCell::new(None),
            alive: Cell::new(None),
            result: Cell::new(0),
            awaited: Cell::new(0),
            done: Cell::new(false),
            cancelled: Cell::new(false),
            user_word: Cell::new(0),
        })
    }

    /// Resumes a paused job until its function returns or pauses again. Where it awaits an op
    /// that is not done, polls the devices on the caller's stack instead and stays paused.
    ///
    /// # Errors
    /// See [`ResumeError`].
    ///
    /// # Panics
    /// A panic of the job's function goes through.
    #[inline(always)]
    pub fn resume(&self) -> Result<Progress, ResumeError> {
        self.resume_around(|_| (), |_, ()| ())
    }

    /// [`Job::resume`] with something to do right before the switch to the fiber and right after
    /// the switch back, e.g. to swap what the job and its caller each see as the thread's. Neither
    /// is done where the job stays paused.
    ///
    /// # Errors
    /// See [`ResumeError`].
    #[inline(always)]
    pub fn resume_around<T>(
        &self,
        before: impl FnOnce(&Self) -> T,
        after: impl FnOnce(&Self, T),
    ) -> Result<Progress, ResumeError> {
        if !self.can_run()? {
            return Ok(Progress::Paused);
        }
        let (Some(fiber), Some(this)) = (self.fiber.take(), self.alive.take()) else {
            return Err(ResumeError::NotPaused);
        };
        let kept = before(self);
        let progress = self.switch(fiber, this);
        after(self, kept);
        Ok(progress)
    }

    /// Whether a resume would switch to the fiber now. Where the job awaits an op that is not
    /// done, polls the devices first.
    ///
    /// # Errors
    /// See [`ResumeError`].
    #[inline(always)]
    pub fn can_run(&self) -> Result<bool, ResumeError> {
        if self.thread != this_thread() {
            return Err(ResumeError::OtherThread);
        }
        if self.state.get() != State::Paused {
            return Err(ResumeError::NotPaused);
        }
        if on_job() {
            return Err(ResumeError::Nested);
        }
        if !self.is_waiting() {
            return Ok(true);
        }
        if let Some(poll) = RESTART_POLL.get() {
            poll();
        }
        // A callback of that poll may have resumed or abandoned this very job.
        if self.state.get() != State::Paused {
            return Err(ResumeError::NotPaused);
        }
        Ok(!self.is_waiting())
    }

    /// The session it runs under.
    pub fn wait_ctx(&self) -> Option<Rc<WaitCtx>> {
        self.wait_ctx.borrow().clone()
    }

    /// From now on the job wants the result of the op called `token` (not 0): it stays
    /// paused until [`Job::complete`] or [`Job::cancel`].
    pub fn await_token(&self, token: u64) {
        self.awaited.set(token);
        self.done.set(false);
    }

    /// The op whose result it wants; 0 = none. An op whose token is not this one is nobody's:
    /// its connection was closed while it was in flight.
    pub fn awaited(&self) -> u64 {
        self.awaited.get()
    }

    /// The op it waits for is done; the next resume runs it.
    pub fn complete(&self) {
        self.done.set(true);
    }

    /// Whether the op it wants is done.
    pub fn is_complete(&self) -> bool {
        self.done.get()
    }

    /// It has the result, or wants it no more.
    pub fn stop_awaiting(&self) {
        self.awaited.set(0);
    }

    /// Ends every wait of this job at once, so that its function unwinds by its own error path
    /// when it is resumed next.
    pub fn cancel(&self) {
        self.cancelled.set(true);
        self.awaited.set(0);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.state.get() == State::Paused
    }

    /// Whether the calling thread is the one it belongs to.
    pub fn is_of_this_thread(&self) -> bool {
        self.thread == this_thread()
    }

    /// A word of the layer above; 0 when a job starts.
    pub fn user_word(&self) -> usize {
        self.user_word.get()
    }

    /// Sets the word of the layer above.
    pub fn set_user_word(&self, word: usize) {
        self.user_word.set(word);
    }

    /// Ends a paused job without running it again: its frames are forgotten, its stack goes
    /// back to the pool. What the frames owned on the heap is leaked. Does nothing to a job
    /// that is not paused.
    ///
    /// # Safety
    /// - The job is of the calling thread.
    /// - Nothing that lives on may point into the job's stack, and nothing may rely on the
    ///   destructors of its frames.
    #[allow(unsafe_code)]
    pub unsafe fn abandon(&self) {
        if let (Some(fiber), Some(this)) = (self.fiber.take(), self.alive.take()) {
            // SAFETY: only a paused job keeps its fiber in `self.fiber`, so it is not
            // running. The caller vouches that nothing points into its stack and that its
            // frames' destructors are not needed.
            let stack = unsafe { fiber.abandon() };
            self.end(this, stack);
        }
    }

    fn begin(self: &Rc<Self>, wait_ctx: Option<&Rc<WaitCtx>>) {
        self.awaited.set(0);
        self.cancelled.set(false);
        self.user_word.set(0);
        if let Some(wait_ctx) = wait_ctx {
            wait_ctx.set_job(Some(Rc::clone(self)));
        }
        *self.wait_ctx.borrow_mut() = wait_ctx.cloned();
    }

    #[inline(always)]
    fn is_waiting(&self) -> bool {
        self.awaited.get() != 0 && !self.done.get()
    }

    /// Runs the fiber until it pauses or ends. `this` is the job itself.
    #[inline(always)]
    fn switch(&self, fiber: Fiber, this: Rc<Self>) -> Progress {
        CURRENT.set(ManuallyDrop::new(Some(this)));
        self.state.set(State::Running);
        let mut run = Run {
            job: self,
            fiber: Some(fiber),
        };
        if let Some(fiber) = &mut run.fiber {
            // Whether it paused or returned is in its own state.
            let _ = fiber.resume();
        }
        drop(run);
        match self.state.get() {
            State::Paused => Progress::Paused,
            State::Idle | State::Running => Progress::Finished(self.result.get()),
        }
    }

    fn end(&self, this: Rc<Self>, stack: Stack) {
        self.state.set(State::Idle);
        self.awaited.set(0);
        if let Some(wait_ctx) = self.wait_ctx.take() {
            wait_ctx.set_job(None);
        }
        pool::put(this, stack);
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("state", &self.state)
            .field("awaited", &self.awaited)
            .finish_non_exhaustive()
    }
}

/// The time during which a job has the thread. Dropped on a panic of its function too.
struct Run<'a> {
    job: &'a Job,
    fiber: Option<Fiber>,
}

impl Drop for Run<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let this = ManuallyDrop::into_inner(CURRENT.take());
        match (self.fiber.take().map(Fiber::into_stack), this) {
            (Some(Err(fiber)), this) => {
                self.job.state.set(State::Paused);
                self.job.fiber.set(Some(fiber));
                self.job.alive.set(this);
            }
            (Some(Ok(stack)), Some(this)) => {
                // A job that ends with its pauses blocked blocks no other.
                BLOCKED.set(0);
                self.job.end(this, stack);
            }
            _ => {}
        }
    }
}
