//! A job: a function on a fiber, its wait context, and the ops it awaits.
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
use std::sync::Arc;
use std::{mem, ptr};

use spinlane_fiber::{self as fiber, Fiber, Stack};

use crate::context;
use crate::letters::Letters;
use crate::local::{self, local};
use crate::notify::Notify;
use crate::pool;
use crate::status::Status;
use crate::wait_ctx::{WaitCtx, peek};

/// Bytes that a job's function may capture. The smallest stack, one page, has room to spare for
/// them.
const MAX_CAPTURES: usize = 1024;

thread_local! {
    static RESTART_POLL: Cell<Option<fn()>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Running,
    Paused,
}

/// `ASYNC_JOB`.
pub struct Job {
    /// The owning thread's [name](local::name).
    thread: usize,
    /// Where other threads leave what they freed under this job.
    letters: Arc<Letters>,
    state: Cell<State>,
    /// Number of starts so far. A handle of an earlier start is stale.
    starts: Cell<u64>,
    /// Whether not all ops that the job wants are done.
    waiting: Cell<bool>,
    /// Whether descriptors of the job's wait context changed since the job's last resume.
    changes: Cell<bool>,
    /// The fiber; `None` while the job is idle.
    fiber: RefCell<Option<Fiber>>,
    /// The fiber's record.
    record: Cell<*const ()>,
    wait_ctx: RefCell<Option<Rc<WaitCtx>>>,
    /// A reference to the job itself, which keeps it alive; `None` while the job is idle.
    alive: RefCell<Option<Rc<Self>>>,
    /// The return value of the job's function.
    result: Cell<i32>,
    /// Token of the ops whose results the job wants; 0 if it wants no result.
    awaited: Cell<u64>,
    /// Number of these ops that are not done.
    unfinished: Cell<u32>,
    /// Whether one of these ops has failed.
    failed: Cell<bool>,
    /// Number of the last submission's refusal; 0 if the submission was not refused.
    refusal: Cell<u64>,
    /// Number of ops in the last submission.
    refused_ops: Cell<usize>,
    cancelled: Cell<bool>,
    /// Whether the stack is to be wiped at the job's end.
    handles_secrets: Cell<bool>,
    /// The function to call at the job's end.
    at_end: Cell<Option<fn(usize)>>,
    /// The job's [context](crate::context) word, while the job is paused.
    own_context: Cell<usize>,
    /// The context word of the job's resumer, while the job runs.
    callers_context: Cell<usize>,
}

/// How a start or a resume ended.
#[derive(Debug)]
pub enum Progress {
    /// The function returned this value. The job is idle again.
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

/// Starts `body` as a job under `wait_ctx`, and runs it until it returns or pauses. The second
/// value is the job; `None` if there is no job to resume.
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
    let fiber = Fiber::new(stack, move || {
        let result = body();
        with_current(|job| job.result.set(result));
    });
    job.begin(wait_ctx, fiber);
    let progress = job.switch();
    let paused = matches!(progress, Progress::Paused).then_some(job);
    Ok((progress, paused))
}

/// Gives control back to whoever started or resumed the current job, as ASYNC_pause_job(3) does.
/// Comes back when the job is resumed. Returns `false`, and does nothing, if [`can_pause`] returns
/// `false`.
#[inline(always)]
#[allow(unsafe_code)]
pub fn pause() -> bool {
    // SAFETY: a job that runs has a fiber, whose record it is.
    let suspend = |job: &Job| unsafe { fiber::suspend_this(job.record.get()) };
    !pause_blocked() && with_current(suspend) == Some(true)
}

/// Returns `true` if [`pause`] would pause: in a job, on the job's own fiber, with pauses not
/// blocked.
#[inline(always)]
pub fn can_pause() -> bool {
    let on_its_fiber = |job: &Job| fiber::current_record() == job.record.get();
    !pause_blocked() && with_current(on_its_fiber) == Some(true)
}

/// Returns the job that runs on this thread, as ASYNC_get_current_job(3) does.
#[inline]
pub fn current() -> Option<Rc<Job>> {
    with_current(|job| job.alive.borrow().clone()).flatten()
}

/// Returns `true` if a job runs on this thread.
#[inline]
pub fn on_job() -> bool {
    !local(|local| local.current.get()).is_null()
}

/// Makes pauses of this thread's jobs do nothing until unblocked, as ASYNC_block_pause(3) does.
/// Calls nest. Outside a job a call does nothing.
pub fn block_pause() {
    if on_job() {
        local(|local| local.blocked.set(local.blocked.get() + 1));
    }
}

/// Takes one [`block_pause`] back, as ASYNC_unblock_pause(3) does.
pub fn unblock_pause() {
    if on_job() {
        local(|local| local.blocked.set(local.blocked.get().saturating_sub(1)));
    }
}

/// Has the current job's stack wiped when the job ends or is abandoned. The wipe comes at once, or
/// within milliseconds if the thread has promised one ([`defer_wipes`](crate::defer_wipes)).
///
/// Code that handles a secret on a job calls this, as often as it likes. A job on which nobody
/// called it pays nothing at its end. Outside a job a call does nothing.
#[inline]
pub fn wipe_stack_at_end() {
    with_current(|job| job.handles_secrets.set(true));
}

/// Has `forget` called when the current job ends or is abandoned. The argument is the number that
/// is returned here, which no other job has until then. For code that keeps something for a job. Of
/// several calls the last one counts. Returns `None`, and does nothing, outside a job.
#[inline]
pub fn at_end(forget: fn(usize)) -> Option<usize> {
    with_current(|job| {
        job.at_end.set(Some(forget));
        ptr::from_ref(job).addr()
    })
}

/// Returns `true` if pausing is blocked.
#[inline(always)]
pub fn pause_blocked() -> bool {
    local(|local| local.blocked.get() != 0)
}

/// Runs `call`. The first paused job that `call` resumes is [cancelled](Job::cancel) first, so that
/// the job unwinds. For layers that keep the job to themselves, as libssl does.
pub fn cancelling<T>(call: impl FnOnce() -> T) -> T {
    local(|local| local.cancelling.set(true));
    let value = call();
    local(|local| local.cancelling.set(false));
    value
}

/// Sets what this thread calls when a job is resumed before its op is done. The call is made on the
/// resumer's stack. A poll core polls its devices in it.
pub fn set_restart_poll(poll: Option<fn()>) {
    RESTART_POLL.set(poll);
}

/// Runs `visit` with the job that runs on this thread; `None` if none does. Changes no reference count.
#[inline(always)]
#[allow(unsafe_code)]
pub fn with_current<T>(visit: impl FnOnce(&Job) -> T) -> Option<T> {
    // SAFETY: null, or a job that was entered and not left: it is not idle, so it keeps itself
    // alive. `visit` cannot end it: that takes the switch back from the fiber on which it runs.
    unsafe { local(|local| local.current.get()).as_ref() }.map(visit)
}

/// At the end of the thread: a job whose function has ended it (pthread_exit(3)) has its frames no
/// more. Takes the thread back from it, so that destructors which run yet find it free.
#[allow(unsafe_code)]
pub(crate) fn end_left() {
    let end = |job: &Job| {
        // SAFETY: nothing else uses the place now: of the frames that may have borrowed it, the
        // resumer's and the body's, the former were jumped over with the latter if the fiber was
        // left.
        let fiber = unsafe { &mut *job.fiber.as_ptr() };
        let Some(fiber) = fiber.take_if(|fiber| fiber.was_left()) else {
            return;
        };
        job.leave();
        local(|local| local.blocked.set(0));
        // SAFETY: the thread is ending on its own stack, so that nobody goes back to those frames;
        // what they owned is leaked, as it is where OpenSSL's own jobs end so.
        if let Ok(stack) = unsafe { fiber.abandon_left() } {
            job.end(stack);
        }
    };
    if let Some(job) = current() {
        end(&job);
    }
}

impl Job {
    pub(crate) fn new(letters: &Arc<Letters>) -> Rc<Self> {
        Rc::new(Self {
            thread: local::name(),
            letters: Arc::clone(letters),
            state: Cell::new(State::Idle),
            starts: Cell::new(0),
            waiting: Cell::new(false),
            changes: Cell::new(false),
            fiber: RefCell::new(None),
            record: Cell::new(ptr::null()),
            wait_ctx: RefCell::new(None),
            alive: RefCell::new(None),
            result: Cell::new(0),
            awaited: Cell::new(0),
            unfinished: Cell::new(0),
            failed: Cell::new(false),
            refusal: Cell::new(0),
            refused_ops: Cell::new(0),
            cancelled: Cell::new(false),
            handles_secrets: Cell::new(false),
            at_end: Cell::new(None),
            own_context: Cell::new(0),
            callers_context: Cell::new(0),
        })
    }

    /// Resumes a paused job until its function returns or pauses again. If the job awaits an op
    /// that is not done, polls the devices on the caller's stack instead, and the job stays paused.
    ///
    /// # Errors
    /// See [`ResumeError`].
    ///
    /// # Panics
    /// A panic of the job's function goes through.
    #[inline]
    pub fn resume(&self) -> Result<Progress, ResumeError> {
        if local(|local| local.cancelling.get()) && self.is_of_this_thread() {
            local(|local| local.cancelling.set(false));
            self.cancel();
        }
        if !self.can_run()? {
            return Ok(Progress::Paused);
        }
        if self.changes.replace(false)
            && let Some(wait_ctx) = self.wait_ctx()
        {
            wait_ctx.forget_changes();
        }
        Ok(self.switch())
    }

    /// Returns `true` if a resume would switch to the fiber now. If the job awaits an op that is
    /// not done, polls the devices first.
    ///
    /// # Errors
    /// See [`ResumeError`].
    #[inline(always)]
    pub fn can_run(&self) -> Result<bool, ResumeError> {
        if !self.is_of_this_thread() {
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
        self.poll_for()
    }

    /// [`Job::can_run`] of a job that waits. A callback of the poll may resume or abandon this very
    /// job, start another in its place, or free it with its pool.
    #[cold]
    fn poll_for(&self) -> Result<bool, ResumeError> {
        let (alive, starts) = (self.alive.borrow().clone(), self.starts.get());
        if let Some(poll) = RESTART_POLL.get() {
            poll();
        }
        let Some(this) = alive.filter(|job| job.is_paused() && job.starts.get() == starts) else {
            return Err(ResumeError::NotPaused);
        };
        Ok(!this.is_waiting())
    }

    /// Returns the session that the job runs under.
    pub fn wait_ctx(&self) -> Option<Rc<WaitCtx>> {
        self.wait_ctx.borrow().clone()
    }

    /// Returns the address of the job's session; null if the job has no session. Changes no
    /// reference count: an engine's thread may ask for a job that is paused on another thread.
    pub fn wait_ctx_address(&self) -> *const WaitCtx {
        peek(&self.wait_ctx, |wait_ctx| {
            wait_ctx.as_ref().map_or(ptr::null(), Rc::as_ptr)
        })
    }

    pub(crate) fn letters(&self) -> &Letters {
        &self.letters
    }

    pub(crate) fn thread(&self) -> usize {
        self.thread
    }

    /// Sets the status of the session that the job runs under.
    pub fn set_status(&self, status: Status) {
        if let Some(wait_ctx) = &*self.wait_ctx.borrow() {
            wait_ctx.set_status(status);
        }
    }

    /// Returns whom the job's session notifies.
    pub fn notify(&self) -> Option<Notify> {
        self.wait_ctx.borrow().as_ref()?.notify()
    }

    /// Makes the job want the results of `ops` ops (at least 1), which have one `token` (not 0)
    /// together. The job stays paused until [`Job::complete`] was called `ops` times, or until
    /// [`Job::cancel`].
    pub fn await_token(&self, token: u64, ops: u32) {
        self.awaited.set(token);
        self.refusal.set(0);
        self.unfinished.set(ops);
        self.failed.set(false);
        self.waiting.set(true);
    }

    /// Returns the token of the ops whose results the job wants; 0 if it wants no result. An op
    /// with another token is nobody's: its connection was closed while the op was in flight.
    pub fn awaited(&self) -> u64 {
        self.awaited.get()
    }

    /// Notes that one of the awaited ops is done, `ok` or not. When all are done, returns the
    /// status that the session is to have, and the next resume runs the job.
    pub fn complete(&self, ok: bool) -> Option<Status> {
        let unfinished = self.unfinished.get().saturating_sub(1);
        self.unfinished.set(unfinished);
        let failed = self.failed.get() || !ok;
        self.failed.set(failed);
        if unfinished != 0 {
            return None;
        }
        self.waiting.set(false);
        Some(if failed { Status::ERR } else { Status::OK })
    }

    /// Remembers that the job's last submission was refused. The submission had `ops` ops; `number`
    /// (not 0) is the poll core's for the refusal.
    pub fn set_refusal(&self, number: u64, ops: usize) {
        self.refusal.set(number);
        self.refused_ops.set(ops);
    }

    /// Returns the number of ops in the submission that was refused.
    pub fn refused_ops(&self) -> usize {
        self.refused_ops.get()
    }

    /// Returns the number of the last submission's refusal; 0 if the submission was not refused, or
    /// if the job no longer wants its results.
    pub fn refusal(&self) -> u64 {
        self.refusal.get()
    }

    /// Returns `true` if all awaited ops are done.
    pub fn is_complete(&self) -> bool {
        !self.is_waiting()
    }

    /// Notes that the job has its results, or wants them no more, and does not try again.
    pub fn stop_awaiting(&self) {
        self.awaited.set(0);
        self.refusal.set(0);
        self.waiting.set(false);
    }

    /// Ends every wait of this job at once. When the job is resumed next, its function unwinds by
    /// its own error path.
    pub fn cancel(&self) {
        self.cancelled.set(true);
        self.stop_awaiting();
    }

    /// Returns `true` if the job was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Returns `true` if the job is paused.
    pub fn is_paused(&self) -> bool {
        self.state.get() == State::Paused
    }

    /// Returns `true` if the job belongs to the calling thread.
    #[inline(always)]
    pub fn is_of_this_thread(&self) -> bool {
        self.thread == local(|local| local.name.get())
    }

    /// Ends a paused job without running it again. The stack goes back to the pool; what the job's
    /// frames own on the heap is leaked. Does nothing to a job that is not paused.
    ///
    /// # Safety
    /// - The job is of the calling thread.
    /// - Nothing that lives on may point into the job's stack, and nothing may rely on the
    ///   destructors of its frames.
    #[allow(unsafe_code)]
    pub unsafe fn abandon(&self) {
        if self.state.get() != State::Paused {
            return;
        }
        if let Some(fiber) = self.fiber.take() {
            // SAFETY: the job is paused, so its fiber is not running. The caller vouches that
            // nothing points into its stack and that its frames' destructors are not needed.
            let stack = unsafe { fiber.abandon() };
            self.end(stack);
        }
    }

    pub(crate) fn note_changes(&self) {
        self.changes.set(true);
    }

    fn begin(self: &Rc<Self>, wait_ctx: Option<&Rc<WaitCtx>>, fiber: Fiber) {
        self.cancelled.set(false);
        self.handles_secrets.set(false);
        self.starts.set(self.starts.get() + 1);
        self.waiting.set(false);
        self.changes.set(false);
        self.own_context.set(context::current());
        if let Some(wait_ctx) = wait_ctx {
            wait_ctx.set_job(Some(Rc::clone(self)));
        }
        self.wait_ctx.replace(wait_ctx.cloned());
        self.record.set(fiber.record());
        self.fiber.replace(Some(fiber));
        self.alive.replace(Some(Rc::clone(self)));
    }

    #[inline(always)]
    fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// Runs the fiber until the fiber pauses or ends.
    #[inline(always)]
    fn switch(&self) -> Progress {
        self.enter();
        let unwinding = Unwinding(self);
        // A job that is not idle has a fiber.
        let state = peek(&self.fiber, |fiber| fiber.as_ref().map(Fiber::resume));
        mem::forget(unwinding);
        self.leave();
        if state == Some(fiber::State::Suspended) {
            return Progress::Paused;
        }
        Progress::Finished(self.has_returned())
    }

    /// Gives the thread to the job.
    #[inline(always)]
    fn enter(&self) {
        self.callers_context
            .set(context::exchange(self.own_context.get()));
        self.state.set(State::Running);
        local(|local| local.current.set(self));
    }

    /// Gives the thread back to whoever started or resumed the job.
    #[inline(always)]
    fn leave(&self) {
        self.own_context
            .set(context::exchange(self.callers_context.get()));
        self.state.set(State::Paused);
        local(|local| local.current.set(ptr::null()));
    }

    /// Takes the return value of a body that has returned or panicked. The value is read before the
    /// job ends: at the end the pool frees a job that is one too many, and a caller from C holds no
    /// reference.
    #[inline(never)]
    fn has_returned(&self) -> i32 {
        // A job that ends with its pauses blocked blocks no other.
        local(|local| local.blocked.set(0));
        let result = self.result.get();
        if let Some(Ok(stack)) = self.fiber.take().map(Fiber::into_stack) {
            self.end(stack);
        }
        result
    }

    fn end(&self, mut stack: Stack) {
        if self.handles_secrets.get() {
            stack.soil();
        }
        if let Some(forget) = self.at_end.take() {
            forget(ptr::from_ref(self).addr());
        }
        self.state.set(State::Idle);
        self.awaited.set(0);
        self.refusal.set(0);
        if let Some(wait_ctx) = self.wait_ctx.take() {
            wait_ctx.set_job(None);
        }
        if let Some(this) = self.alive.take() {
            pool::put(this, stack);
        }
    }
}

/// Dropped only where a panic of the job's function goes through [`Job::switch`].
struct Unwinding<'a>(&'a Job);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        self.0.leave();
        self.0.has_returned();
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
