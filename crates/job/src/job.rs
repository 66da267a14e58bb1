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
use std::rc::Rc;

use spinlane_fiber::Fiber;

use crate::pool;
use crate::wait_ctx::WaitCtx;

thread_local! {
    /// The job that runs on this thread now.
    static CURRENT: Cell<Option<Rc<Job>>> = const { Cell::new(None) };
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
    fiber: RefCell<Option<Fiber>>,
    wait_ctx: RefCell<Option<Rc<WaitCtx>>>,
    /// Itself, while it is not idle.
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
/// # Panics
/// A panic of `body` goes through.
pub fn start(
    wait_ctx: Option<&Rc<WaitCtx>>,
    body: impl FnOnce() -> i32 + 'static,
) -> Result<(Progress, Option<Rc<Job>>), ResumeError> {
    if on_job() {
        return Err(ResumeError::Nested);
    }
    let Some((job, stack)) = pool::take() else {
        return Ok((Progress::NoJobs, None));
    };
    job.begin(wait_ctx);
    *job.fiber.borrow_mut() = Some(Fiber::new(stack, move || {
        let result = body();
        with_current(|job| job.result.set(result));
    }));
    let progress = job.switch();
    let paused = matches!(progress, Progress::Paused).then_some(job);
    Ok((progress, paused))
}

/// ASYNC_pause_job(3): gives control back to whoever started or resumed the current job;
/// returns when it is resumed. Does nothing outside a job or while pausing is blocked.
pub fn pause() {
    if BLOCKED.get() != 0 || !on_job() {
        return;
    }
    with_current(|job| job.state.set(State::Paused));
    // Refused only off a fiber, and a current job runs on one.
    let _ = spinlane_fiber::suspend();
    with_current(|job| {
        if let Some(wait_ctx) = &*job.wait_ctx.borrow() {
            wait_ctx.reset_changes();
        }
    });
}

/// ASYNC_get_current_job(3): the job that runs on this thread.
pub fn current() -> Option<Rc<Job>> {
    with_current(Rc::clone)
}

/// Whether a job runs on this thread.
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

/// Whether a pause would do nothing now.
pub fn pause_blocked() -> bool {
    BLOCKED.get() != 0
}

/// What this thread calls, on the caller's stack, when a job is resumed before the op that it
/// awaits is done. A poll core polls its devices there.
pub fn set_restart_poll(poll: Option<fn()>) {
    RESTART_POLL.set(poll);
}

fn with_current<T>(visit: impl FnOnce(&Rc<Job>) -> T) -> Option<T> {
    let current = CURRENT.take();
    let seen = current.as_ref().map(visit);
    CURRENT.set(current);
    seen
}

fn this_thread() -> usize {
    THREAD.with(|name| std::ptr::from_ref(name).addr())
}

impl Job {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            thread: this_thread(),
            state: Cell::new(State::Idle),
            fiber: RefCell::new(None),
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
    #[inline]
    pub fn resume(&self) -> Result<Progress, ResumeError> {
        Ok(if self.can_run()? {
            self.switch()
        } else {
            Progress::Paused
        })
    }

    /// Whether a resume would switch to the fiber now. Where the job awaits an op that is not
    /// done, polls the devices first.
    ///
    /// # Errors
    /// See [`ResumeError`].
    #[inline]
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
        if self.is_waiting() {
            if let Some(poll) = RESTART_POLL.get() {
                poll();
            }
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
    /// Nothing that lives on may point into the job's stack, and nothing may rely on the
    /// destructors of its frames.
    #[allow(unsafe_code)]
    pub unsafe fn abandon(&self) {
        if self.state.get() != State::Paused {
            return;
        }
        let fiber = self.fiber.take();
        // SAFETY: the caller vouches that nothing points into the fiber's stack and that its
        // frames' destructors are not needed.
        if let Some(stack) = fiber.map(|fiber| unsafe { fiber.abandon() }) {
            self.end(stack);
        }
    }

    fn begin(self: &Rc<Self>, wait_ctx: Option<&Rc<WaitCtx>>) {
        self.alive.set(Some(Rc::clone(self)));
        self.awaited.set(0);
        self.cancelled.set(false);
        self.user_word.set(0);
        if let Some(wait_ctx) = wait_ctx {
            wait_ctx.set_job(Some(Rc::clone(self)));
        }
        *self.wait_ctx.borrow_mut() = wait_ctx.cloned();
    }

    fn is_waiting(&self) -> bool {
        self.awaited.get() != 0 && !self.done.get()
    }

    /// Runs the fiber until it pauses or ends.
    fn switch(&self) -> Progress {
        let this = self.alive.take();
        self.alive.set(this.clone());
        CURRENT.set(this);
        self.state.set(State::Running);
        // Dropped on a panic of the job's function too.
        let leave = Leave(self);
        if let Some(fiber) = &mut *self.fiber.borrow_mut() {
            // Whether it paused or returned is in its own state.
            let _ = fiber.resume();
        }
        drop(leave);
        match self.state.get() {
            State::Paused => Progress::Paused,
            State::Idle | State::Running => Progress::Finished(self.result.get()),
        }
    }

    fn end(&self, stack: spinlane_fiber::Stack) {
        self.state.set(State::Idle);
        self.awaited.set(0);
        if let Some(wait_ctx) = self.wait_ctx.take() {
            wait_ctx.set_job(None);
        }
        if let Some(this) = self.alive.take() {
            pool::put(this, stack);
        }
    }
}

/// Takes a job off the thread when control comes back from its fiber.
struct Leave<'a>(&'a Job);

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        let current = CURRENT.take();
        if self.0.state.get() == State::Paused {
            return;
        }
        BLOCKED.set(0);
        let fiber = self
            .0
            .fiber
            .try_borrow_mut()
            .ok()
            .and_then(|mut fiber| fiber.take());
        if let Some(Ok(stack)) = fiber.map(Fiber::into_stack) {
            self.0.end(stack);
        }
        drop(current);
    }
}
