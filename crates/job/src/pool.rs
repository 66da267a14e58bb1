//! A thread's jobs: made on demand up to a maximum, reused, and freed by `cleanup_thread`.

use std::cell::RefCell;
use std::rc::Rc;

use spinlane_fiber::{PoolConfig, Stack, StackPool};

use crate::job::Job;

/// Bytes of stack per job unless [`set_stack_size`] says otherwise. A handshake touches 8 KiB (libssl) to
/// 33 KiB (ML-KEM by aws-lc); signal handlers and the application's callbacks come on top.
const DEFAULT_STACK_SIZE: usize = 64 * 1024;

/// Stacks that were in use at once within one to two times this are kept.
const PERIOD_NS: u64 = 10_000_000_000;
/// Idle stacks kept in any case: what now and then a job needs is not mapped each time.
const KEPT: usize = 16;
/// Stacks given back at once, which takes some 5 µs each.
const GIVEN_BACK: usize = 8;

thread_local! {
    static POOL: RefCell<JobPool> = RefCell::new(JobPool::new());
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
    /// Jobs at most; 0 = no limit.
    max_size: usize,
    jobs: usize,
    idle: Vec<Rc<Job>>,
    stacks: StackPool,
    /// Stacks kept in any case.
    reserved: usize,
    period_ends_ns: u64,
}

impl JobPool {
    fn new() -> Self {
        // The first pool of the process does; an overflow is then reported by name.
        spinlane_fiber::install_overflow_handler();
        Self {
            max_size: 0,
            jobs: 0,
            idle: Vec::new(),
            stacks: new_stack_pool(DEFAULT_STACK_SIZE),
            reserved: 0,
            period_ends_ns: 0,
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
        Some(Job::new())
    }

    /// Keeps an idle job, unless there are too many since the maximum was lowered.
    fn put_job(&mut self, job: Rc<Job>) {
        if self.max_size != 0 && self.jobs > self.max_size {
            self.jobs -= 1;
        } else {
            self.idle.push(job);
        }
    }
}

/// The job pool bounds how many stacks there are, so the stack pool need not.
fn new_stack_pool(stack_size: usize) -> StackPool {
    StackPool::new(PoolConfig {
        name: "jobs",
        stack_size,
        max: 0,
        remedy: "raise it by spinlane_set_stack_size (C) or spinlane_job::set_stack_size (Rust)",
    })
}

/// ASYNC_init_thread(3): from here on this thread has at most `max_size` jobs (0 = no limit),
/// `init_size` of which are made now.
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
    POOL.with_borrow_mut(|pool| {
        pool.max_size = max_size;
        for job in std::mem::take(&mut pool.idle) {
            pool.put_job(job);
        }
        while pool.jobs < init_size {
            pool.jobs += 1;
            pool.idle.push(Job::new());
        }
        pool.reserved = init_size;
        // Not fatal: the stacks are mapped on demand, and NO_JOBS is said then.
        let _ = pool.stacks.reserve(init_size);
    });
    Ok(())
}

/// ASYNC_cleanup_thread(3): frees this thread's idle jobs and stacks. Jobs still paused live on.
pub fn cleanup_thread() {
    POOL.with_borrow_mut(|pool| {
        pool.jobs -= pool.idle.len();
        pool.idle.clear();
        pool.stacks.trim(0);
        pool.max_size = 0;
        pool.reserved = 0;
    });
}

/// Gives some stacks back to the kernel that a burst has left idle. To be called every few
/// milliseconds, with the time by any clock; an lcore's poll does. Keeps what was in use at once within
/// the last ten seconds, what [`init_thread`] made, and a few.
pub fn give_back(now_ns: u64) {
    // At thread exit the pool goes as a whole.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if now_ns >= pool.period_ends_ns {
            pool.period_ends_ns = now_ns.saturating_add(PERIOD_NS);
            pool.stacks.end_period();
        }
        let kept = pool.reserved.max(KEPT);
        pool.stacks.trim_unneeded(kept, GIVEN_BACK);
    });
}

/// Sets the stack size, in bytes, of this thread's jobs. Returns whether it could: not while
/// a job runs or is paused. TLS handshakes want 48 KiB at least; what runs on a job otherwise may
/// do with less.
pub fn set_stack_size(bytes: usize) -> bool {
    POOL.with_borrow_mut(|pool| {
        let idle = pool.stacks.stats().in_use == 0;
        if idle {
            pool.stacks = new_stack_pool(bytes);
        }
        idle
    })
}

/// How many jobs and stacks this thread has.
pub fn pool_stats() -> PoolStats {
    POOL.with_borrow(|pool| {
        let stacks = pool.stacks.stats();
        PoolStats {
            jobs: pool.jobs,
            idle_jobs: pool.idle.len(),
            stacks_in_use: stacks.in_use,
            idle_stacks: stacks.idle,
        }
    })
}

/// A job and a stack for it, or `None` at the limit or without memory.
pub(crate) fn take() -> Option<(Rc<Job>, Stack)> {
    POOL.with_borrow_mut(|pool| {
        let job = pool.take_job()?;
        match pool.stacks.take() {
            Ok(stack) => Some((job, stack)),
            Err(_) => {
                pool.put_job(job);
                None
            }
        }
    })
}

/// Gives both back. At thread exit, when the pool is gone, both are simply freed.
pub(crate) fn put(job: Rc<Job>, stack: Stack) {
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.put_job(job);
        pool.stacks.put(stack);
    });
}
