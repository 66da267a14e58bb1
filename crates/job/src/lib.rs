//! `ASYNC_JOB` and `ASYNC_WAIT_CTX` in pure Rust, as ASYNC_start_job(3) and
//! ASYNC_WAIT_CTX_new(3) describe them.
//!
//! A [`Job`] runs a function on a fiber. The function may [`pause`]; whoever started
//! the job then gets control back and resumes it later. A [`WaitCtx`] is the session that
//! jobs run under, one at a time: it says whom to [notify](Notify) when to resume, holds the status
//! that says how the last submission went, and keyed file descriptors for programs that wait
//! on those (Spinlane itself never makes one).
//!
//! Three things go beyond the man pages, because a poll core needs them:
//! - A job can *await* a token ([`Job::await_token`]). Resuming it before [`Job::complete`]
//!   runs the thread's restart poll ([`set_restart_poll`]) on the caller's stack and, if
//!   that changes nothing, returns [`Progress::Paused`] without switching to the fiber.
//! - A job remembers that its last submission was refused ([`Job::refusal`]), whenever it is asked.
//! - A job can be cancelled ([`Job::cancel`]): resumed to unwind by its own error path, or
//!   abandoned ([`Job::abandon`]) when the memory its frames rely on is already gone.
//!
//! # Invariants
//! - Knows no device, no TLS, no C library.
//! - A job lives and dies on one thread, and its memory is that thread's until
//!   [`cleanup_thread`].
//! - After warm-up neither start, pause nor resume allocates, locks or makes a system call.
//! - What other threads free under a job is left to its thread, which ends the job.
//! - All of it works to the very end of a thread: where its pool is gone already (destructors of
//!   thread-specific data, handlers of exit(3)), a job starts on a stack of its own and keeps
//!   nothing.
//! - No unsafe code but in reading which job runs, in what threads leave to one another, and for
//!   [`Job::abandon`], whose contract only its caller can keep.

#![deny(unsafe_code)]

mod context;
mod job;
mod letters;
mod local;
mod notify;
mod pool;
mod status;
mod wait_ctx;

pub use context::{Context, keep_apart, note_context};
pub use job::{
    Job, Progress, ResumeError, at_end, block_pause, can_pause, cancelling, current, on_job, pause,
    pause_blocked, set_restart_poll, start, unblock_pause, wipe_stack_at_end, with_current,
};
pub use local::name as thread_name;
pub use notify::{Conn, Foreign, Notify};
pub use pool::{
    PoolSizeError, PoolStats, cleanup_thread, defer_wipes, give_back, init_thread, pool_stats,
    set_stack_size, wipe_stacks,
};
pub use spinlane_fiber::{
    StackFunctions, StacksExist, max_map_count_for, most_stacks, on_thread_stack,
    set_stack_functions, stack_functions,
};
pub use status::Status;
pub use wait_ctx::{CleanupFn, WaitCtx};
