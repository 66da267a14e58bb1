//! A thread's jobs: made on demand up to a maximum, reused, and freed by `cleanup_thread`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use spinlane_fiber::{PoolConfig, Stack, StackPool};

use crate::job::{self, Job};
use crate::letters::Letters;
use crate::wait_ctx::WaitCtx;

/// Bytes of stack per job unless [`set_stack_size`] says otherwise. A handshake touches 8 KiB
/// (libssl) to 33 KiB (ML-KEM by aws-lc); signal handlers and the application's callbacks come on
/// top.
const DEFAULT_STACK_SIZE: usize = 64 * 1024;

/// Time in nanoseconds. Stacks that were in use at once within one to two times this are kept.
const PERIOD_NS: u64 = 10_000_000_000;
/// Idle stacks kept in any case, so that a job now and then needs no new mapping.
const KEPT: usize = 16;
/// Stacks given back in one call. Each takes some 5 µs.
const GIVEN_BACK: usize = 8;
/// Jobs whose stacks may wait for one call of [`wipe_stacks`], so that a promise which is not kept
/// is not believed for long. Some hundred end within 10 ms.
const DEFERRED: usize = 4096;

thread_local! {
    static POOL: Local = Local(RefCell::new(JobPool::new()));
    /// Size that [`set_stack_size`] set. Outlives the pool.
    static STACK_SIZE: Cell<usize> = const { Cell::new(DEFAULT_STACK_SIZE) };
}

/// The pool of a thread, which goes with the thread.
struct Local(RefCell<JobPool>);

impl Drop for Local {
    fn drop(&mut self) {
        job::end_left();
        end_all(self.0.get_mut().letters.close());
    }
}

/// ASYNC_init_thread(3) with `init_size > max_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizeError {
    /// Jobs to make at once.
    pub init_size: usize,
    /// Jobs at most.
    pub max_size: usize,
}

impl std::fmt::Display for PoolSizeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            init_size,
            max_size,
        } = self;
        write!(
            f,
            "init_size {init_size} is above max_size {max_size}; raise max_size, or make fewer jobs at first"
        )
    }
}

impl std::error::Error for PoolSizeError {}

/// A thread's jobs and stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Jobs made so far, running, paused or idle.
    pub jobs: usize,
    /// Jobs that wait to be used.
    pub idle_jobs: usize,
    /// Stacks that jobs run on now.
    pub stacks_in_use: usize,
    /// Stacks that wait to be used.
    pub idle_stacks: usize,
}

struct JobPool {
    /// Jobs at most; 0 if there is no limit.
    max_size: usize,
    jobs: usize,
    idle: Vec<Rc<Job>>,
    stacks: StackPool,
    /// Stacks kept in any case.
    reserved: usize,
    period_ends_ns: u64,
    /// Number of stacks that may yet wait for the next [`wipe_stacks`].
    may_wait: usize,
    letters: Arc<Letters>,
}

impl JobPool {
    fn new() -> Self {
        // The first pool of the process does; an overflow is then reported by name.
        spinlane_fiber::install_overflow_handler();
        Self {
            max_size: 0,
            jobs: 0,
            idle: Vec::new(),
            stacks: new_stack_pool(STACK_SIZE.get()),
            reserved: 0,
            period_ends_ns: 0,
            may_wait: 0,
            letters: Arc::new(Letters::open()),
        }
    }

    /// Returns a job and a stack for it, or `None` at the limit or without memory.
    #[inline]
    fn take(&mut self) -> Option<(Rc<Job>, Stack)> {
        let job = self.take_job()?;
        match self.stacks.take() {
            Ok(stack) => Some((job, stack)),
            Err(_) => {
                self.put_job(job);
                None
            }
        }
    }

    fn take_job(&mut self) -> Option<Rc<Job>> {
        if let Some(job) = self.idle.pop() {
            return Some(job);
        }
        if self.max_size != 0 && self.jobs >= self.max_size {
            return None;
        }
        self.jobs += 1;
        Some(Job::new(&self.letters))
    }

    /// Keeps an idle job, unless there are too many since the maximum was lowered.
    fn put_job(&mut self, job: Rc<Job>) {
        if self.max_size != 0 && self.jobs > self.max_size {
            self.jobs -= 1;
        } else {
            self.idle.push(job);
        }
    }

    fn put_stack(&mut self, mut stack: Stack) {
        if stack.is_soiled() {
            match self.may_wait.checked_sub(1) {
                Some(left) => self.may_wait = left,
                None => stack.wipe(),
            }
        }
        self.stacks.put(stack);
    }

    fn wipe_stacks(&mut self) {
        self.may_wait = 0;
        self.stacks.wipe_soiled();
    }
}

/// Makes the stack pool. The job pool bounds the number of stacks, so the stack pool need not.
fn new_stack_pool(stack_size: usize) -> StackPool {
    StackPool::new(PoolConfig {
        name: "jobs",
        stack_size,
        max: 0,
        remedy: "raise it by spinlane_set_stack_size (C) or spinlane_job::set_stack_size (Rust)",
    })
}

/// Limits this thread to `max_size` jobs (0: no limit) and makes `init_size` of them now, as
/// ASYNC_init_thread(3) does.
///
/// # Errors
/// `init_size` is above `max_size`, which is an error even for a `max_size` of 0, as in OpenSSL.
/// Jobs that cannot be made for lack of memory are not an error: they are made on demand.
pub fn init_thread(max_size: usize, init_size: usize) -> Result<(), PoolSizeError> {
    if init_size > max_size {
        return Err(PoolSizeError {
            init_size,
            max_size,
        });
    }
    with_pool(|pool| {
        pool.max_size = max_size;
        for job in std::mem::take(&mut pool.idle) {
            pool.put_job(job);
        }
        while pool.jobs < init_size {
            pool.jobs += 1;
            pool.idle.push(Job::new(&pool.letters));
        }
        pool.reserved = init_size;
        // Not fatal: the stacks are mapped on demand, and NO_JOBS is said then.
        let _ = pool.stacks.reserve(init_size);
    });
    Ok(())
}

/// Frees this thread's idle jobs and stacks, as ASYNC_cleanup_thread(3) does. Paused jobs live on.
pub fn cleanup_thread() {
    with_pool(|pool| {
        pool.jobs -= pool.idle.len();
        pool.idle.clear();
        pool.stacks.trim(0);
        pool.max_size = 0;
        pool.reserved = 0;
    });
}

/// Wipes the idle stacks of this thread that wait to be wiped. From here on stacks of jobs that
/// handled secrets are wiped at the jobs' ends, until [`defer_wipes`] is called again.
pub fn wipe_stacks() {
    // At thread exit the stacks are unmapped.
    let _ = POOL.try_with(|pool| pool.0.borrow_mut().wipe_stacks());
}

/// Promises that this thread calls [`wipe_stacks`] within milliseconds. Until then the stacks of
/// some thousand jobs that handled secrets may wait. A stack that one job after the other uses is
/// then wiped once for all of them.
///
/// A secret that waits lies on an idle stack. If a new job has got that stack, the secret lies
/// below and between the frames of the new job, and stays until the new job has ended as well. A
/// copy of the process (fork(2)) has the secrets that wait at that time.
pub fn defer_wipes() {
    let _ = POOL.try_with(|pool| pool.0.borrow_mut().may_wait = DEFERRED);
}

/// [Wipes](wipe_stacks) what waits, and gives some idle stacks back to the kernel. Keeps as many
/// stacks as were in use at once within the last ten seconds, those that [`init_thread`] made, and
/// a few. An lcore's poll calls this every few milliseconds; `now_ns` is the time by any clock.
pub fn give_back(now_ns: u64) {
    // At thread exit the pool goes as a whole.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.0.borrow_mut();
        pool.wipe_stacks();
        if now_ns >= pool.period_ends_ns {
            pool.period_ends_ns = now_ns.saturating_add(PERIOD_NS);
            pool.stacks.end_period();
        }
        let kept = pool.reserved.max(KEPT);
        pool.stacks.trim_unneeded(kept, GIVEN_BACK);
    });
}

/// Sets the stack size, in bytes, of this thread's jobs. Returns `false`, and changes nothing,
/// while a job runs or is paused. TLS handshakes need 48 KiB at least; other work may need less.
pub fn set_stack_size(bytes: usize) -> bool {
    with_pool(|pool| {
        let idle = pool.stacks.stats().in_use == 0;
        if idle {
            STACK_SIZE.set(bytes);
            pool.stacks = new_stack_pool(bytes);
        }
        idle
    })
}

/// Counts the jobs and stacks of this thread.
pub fn pool_stats() -> PoolStats {
    with_pool(|pool| {
        let stacks = pool.stacks.stats();
        PoolStats {
            jobs: pool.jobs,
            idle_jobs: pool.idle.len(),
            stacks_in_use: stacks.in_use,
            idle_stacks: stacks.idle,
        }
    })
}

/// Returns a job and a stack for it, or `None` at the limit or without memory.
pub(crate) fn take() -> Option<(Rc<Job>, Stack)> {
    if with_pool(|pool| pool.letters.are_any()) {
        end_all(with_pool(|pool| pool.letters.take()));
    }
    with_pool(JobPool::take)
}

/// Ends the jobs under contexts that other threads have freed.
#[cold]
#[allow(unsafe_code)]
fn end_all(freed: Vec<Rc<WaitCtx>>) {
    for job in freed.iter().filter_map(WaitCtx::free) {
        // SAFETY: this thread's job, since its letters are; whoever freed the context vouched for
        // the rest (`WaitCtx::free_elsewhere`).
        unsafe { job.abandon() };
    }
}

/// Runs `visit` with the thread's pool. At thread exit, when the pool is gone, runs `visit` with a
/// pool of its own, which keeps nothing and limits nothing: jobs still start.
#[inline]
fn with_pool<T>(visit: impl Fn(&mut JobPool) -> T) -> T {
    POOL.try_with(|pool| visit(&mut pool.0.borrow_mut()))
        .unwrap_or_else(|_| visit(&mut JobPool::new()))
}

/// Gives job and stack back to the pool. At thread exit, when the pool is gone, frees both.
pub(crate) fn put(job: Rc<Job>, stack: Stack) {
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.0.borrow_mut();
        pool.put_job(job);
        pool.put_stack(stack);
    });
}
