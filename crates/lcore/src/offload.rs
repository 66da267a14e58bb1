//! From a job into a queue pair and back: submit, pause, read the result.

use std::cell::RefCell;

use spinlane_cryptodev::{Op, OpStatus, Request, Token, cpu};
use spinlane_job::{self as job, Status};
use thiserror::Error;

use crate::core::Lcore;
use crate::policy;

thread_local! {
    /// The op of [`compute`], allocated once per thread.
    static INLINE_OP: RefCell<Box<Op>> = RefCell::new(Op::new());
}

/// Why an op gave no result. The text names the culprit.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OffloadError {
    /// The connection was closed while its op was in flight.
    #[error("the op was cancelled: its connection is being closed")]
    Cancelled,
    /// The input was at fault.
    #[error(
        "the op's input is invalid (of a key exchange: a peer that is no point, or one of low order)"
    )]
    Invalid,
    /// The device failed.
    #[error("the device failed the op; its queue pair's counters tell which device")]
    Device,
    /// The result is gone: the job was resumed under another lcore than it was paused under, or that lcore
    /// is gone.
    #[error(
        "the op was submitted to another lcore, or to one that is gone; resume a job under the lcore that it \
         was started under"
    )]
    OtherLcore,
    /// The thread has no lcore and is to have none but one made for it.
    #[error(
        "this thread has no lcore; make one on it before its first asynchronous operation, or set lcore = on-demand"
    )]
    NoLcore,
    /// The lcore was made before the process was forked.
    #[error(
        "the lcore was made before this process was forked, and its devices are the parent's; fork first, then make \
         one in each process"
    )]
    Forked,
}

enum Submitted {
    Accepted(Token),
    Refused,
    /// There is nothing to submit to, or no way to pause.
    Inline,
    Failed(OffloadError),
}

/// Runs `request` and writes its result to `output`, `request.kind().output_len()` bytes long.
/// In a job that can pause, on a thread with a current lcore that serves the kind, the op goes to
/// the device and the job pauses until it is done; otherwise it is computed here and now. What
/// happens to a job without a callback and on a thread without an lcore can be set
/// ([`set_pause_without_callback`](crate::set_pause_without_callback),
/// [`set_on_demand`](crate::set_on_demand)).
///
/// Nothing on this stack owns anything while the job is paused, so that it can be abandoned; the
/// stack is wiped at the job's end.
///
/// # Errors
/// See [`OffloadError`].
///
/// # Panics
/// If `output` has another length.
pub fn offload(request: &Request<'_>, output: &mut [u8]) -> Result<(), OffloadError> {
    assert_eq!(
        output.len(),
        request.kind().output_len(),
        "output length of {}",
        request.kind()
    );
    // Operands and results pass over this stack.
    job::wipe_stack_at_end();
    for attempt in 0.. {
        if is_cancelled() {
            return Err(OffloadError::Cancelled);
        }
        match submit(request, attempt) {
            Submitted::Accepted(token) => return wait(request, token, output),
            Submitted::Refused => {
                job::pause();
            }
            Submitted::Inline => break,
            Submitted::Failed(error) => return Err(error),
        }
    }
    compute(request, output)
}

/// One attempt, with its status and, if it was refused, its callback.
fn submit(request: &Request<'_>, attempt: u32) -> Submitted {
    let Some(job) = job::current().filter(|_| job::can_pause()) else {
        Lcore::with_current(|lcore| lcore.count(|stats| stats.inline_ops += 1));
        return Submitted::Inline;
    };
    if !policy::may_pause(&job) {
        Lcore::with_current(|lcore| lcore.count(|stats| stats.inline_ops += 1));
        return Submitted::Inline;
    }
    if let Err(error) = policy::ensure_lcore() {
        return Submitted::Failed(error);
    }
    let submitted = Lcore::with_current(|lcore| {
        if lcore.is_of_parent() {
            return Submitted::Failed(OffloadError::Forked);
        }
        if !lcore.serves(request.kind()) {
            lcore.count(|stats| stats.unrouted_ops += 1);
            return Submitted::Inline;
        }
        match lcore.submit(request, &job, attempt) {
            Some(token) => Submitted::Accepted(token),
            None => Submitted::Refused,
        }
    })
    .unwrap_or(Submitted::Inline);
    let status = match submitted {
        Submitted::Accepted(_) => Status::OK,
        Submitted::Refused => Status::EAGAIN,
        Submitted::Inline | Submitted::Failed(_) => return submitted,
    };
    job.set_status(status);
    if status == Status::EAGAIN {
        job.notify();
    }
    submitted
}

/// Pauses until the op is done and reads its result.
fn wait(request: &Request<'_>, token: Token, output: &mut [u8]) -> Result<(), OffloadError> {
    loop {
        job::pause();
        if is_cancelled() {
            return Err(OffloadError::Cancelled);
        }
        if with_job(|job| job.is_complete()) {
            break;
        }
    }
    with_job(|job| job.stop_awaiting());
    let result = Lcore::with_current(|lcore| {
        lcore.finish(request.kind(), token, |op| result_of(op, output))
    });
    result.flatten().unwrap_or(Err(OffloadError::OtherLcore))
}

/// Computes the op in software, on the caller's stack, without a pause: for what no device may see.
///
/// # Errors
/// [`OffloadError::Invalid`] and [`OffloadError::Device`].
///
/// # Panics
/// If `output` has another length than the kind's.
pub fn compute(request: &Request<'_>, output: &mut [u8]) -> Result<(), OffloadError> {
    let mut run = |op: &mut Op| {
        op.prepare(Token(0), request, 0);
        cpu::run(op);
        let result = result_of(op, output);
        op.recycle();
        result
    };
    // At thread exit, when the thread's is gone, one is made for this once.
    INLINE_OP
        .try_with(|op| run(&mut op.borrow_mut()))
        .unwrap_or_else(|_| run(&mut Op::new()))
}

fn result_of(op: &Op, output: &mut [u8]) -> Result<(), OffloadError> {
    match op.status {
        OpStatus::Success => {
            output.copy_from_slice(op.output());
            Ok(())
        }
        OpStatus::Invalid => Err(OffloadError::Invalid),
        OpStatus::Error | OpStatus::NotProcessed => Err(OffloadError::Device),
    }
}

fn is_cancelled() -> bool {
    with_job(|job| job.is_cancelled())
}

fn with_job<T: Default>(visit: impl FnOnce(&job::Job) -> T) -> T {
    job::current().map(|job| visit(&job)).unwrap_or_default()
}
