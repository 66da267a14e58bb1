//! From a job into a queue pair and back: submit, pause, read the result.

use std::cell::{Cell, RefCell};

use spinlane_cryptodev::{Op, OpKind, OpStatus, Request, Token, cpu};
use spinlane_job::{self as job, Status};
use thiserror::Error;

use crate::core::Lcore;
use crate::policy;
use crate::submit::{Item, Place};

/// Ops of a set at most.
pub const MAX_SET: usize = 16;

thread_local! {
    static WITHOUT_LCORE: Cell<u64> = const { Cell::new(0) };
    /// The op of [`compute`], allocated once per thread.
    static INLINE_OP: RefCell<Box<Op>> = RefCell::new(Op::new());
}

/// Ops that this thread has computed in place while no lcore was current: those of connections that are
/// attached to none, for example. With one, its counters tell ([`Stats::inline_ops`](crate::Stats::inline_ops)).
pub fn ops_without_lcore() -> u64 {
    WITHOUT_LCORE.get()
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
    /// A set of ops could never be submitted at once.
    #[error(
        "a set of {ops} ops is larger than its queue pair, or any set, may be, which is {most}; offload it in smaller \
         sets, or open the queue pair with more descriptors"
    )]
    SetTooLarge {
        /// Ops of the set that go to one queue pair.
        ops: usize,
        /// How many may.
        most: usize,
    },
    /// The secret of the op's key is in a device that this lcore does not have.
    #[error(
        "the key of a {kind} op is {driver}'s own, and no queue pair of this lcore has it; add a queue pair of the \
         device that made the key"
    )]
    KeyElsewhere {
        /// The op's kind.
        kind: OpKind,
        /// The driver that made the key.
        driver: &'static str,
    },
    /// Every queue pair that serves the op's kind, and has its key, takes shorter ones.
    #[error(
        "a {kind} op has {len} bytes of operands, and no queue pair of this lcore that serves it takes more than {most}; \
         shorten the input, or add a device that takes it"
    )]
    TooLong {
        /// The op's kind.
        kind: OpKind,
        /// Bytes of its operands together.
        len: usize,
        /// How many are taken.
        most: usize,
    },
    /// There is no device for the op.
    #[error(
        "no queue pair of this lcore serves {kind}; add a device that does, or compute the op in place"
    )]
    NotServed {
        /// The op's kind.
        kind: OpKind,
    },
}

/// How an attempt to submit a set ended.
pub(crate) enum Submitted {
    Accepted,
    /// A queue pair has no room for its part.
    Refused,
    /// There is nothing to submit to, or no way to pause.
    Inline,
    Failed(OffloadError),
}

/// Runs `request` and writes its result to `output`, `request.kind().output_len()` bytes long.
/// In a job that can pause, on a thread with a current lcore that serves the kind, the op goes to
/// the device and the job pauses until it is done; otherwise it is computed here and now. What
/// happens to a job that nobody hears of and on a thread without an lcore can be set
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
    run(&mut [(request, output)], &mut [Place::NOWHERE])
}

/// Runs a set of ops that do not wait for one another, each as by [`offload`], in one pause: the job goes on
/// when all have ended. They are submitted together or, if a queue pair has no room for its part of
/// them, refused together. An op that no queue pair serves is computed here while the others are with theirs.
///
/// # Errors
/// [`OffloadError::SetTooLarge`], with nothing submitted, if the set has more than [`MAX_SET`] ops, or more
/// for one queue pair than that has room for. Otherwise the error of the first op that has one; the outputs of
/// those that have none are written.
///
/// # Panics
/// If an output has another length than its op's kind.
pub fn offload_all(set: &mut [Item<'_>]) -> Result<(), OffloadError> {
    let (ops, most) = (set.len(), MAX_SET);
    match [Place::NOWHERE; MAX_SET].get_mut(..ops) {
        Some(places) => run(set, places),
        None => Err(OffloadError::SetTooLarge { ops, most }),
    }
}

fn run(set: &mut [Item<'_>], places: &mut [Place]) -> Result<(), OffloadError> {
    for (request, output) in &*set {
        let kind = request.kind();
        assert_eq!(output.len(), kind.output_len(), "output length of {kind}");
    }
    // Operands and results pass over this stack.
    job::wipe_stack_at_end();
    loop {
        if is_cancelled() {
            return Err(OffloadError::Cancelled);
        }
        match submit(set, places) {
            Submitted::Accepted => return wait(set, places),
            Submitted::Refused => {
                job::pause();
            }
            Submitted::Inline => break,
            Submitted::Failed(error) => {
                with_job(|job| job.stop_awaiting());
                return Err(error);
            }
        }
    }
    with_job(|job| job.stop_awaiting());
    first_error(
        set.iter_mut()
            .map(|(request, output)| compute(request, output)),
    )
}

/// One attempt, with its status and, if it was refused, its notification.
fn submit(set: &[Item<'_>], places: &mut [Place]) -> Submitted {
    let can_pause = |job: &_| job::can_pause() && policy::may_pause(job);
    let Some(job) = job::current().filter(|job| can_pause(job)) else {
        return inline(set);
    };
    if let Err(error) = policy::ensure_lcore() {
        return Submitted::Failed(error);
    }
    let submitted = Lcore::with_current(|lcore| {
        let submitted = lcore.submit_set(set, &job, places);
        match submitted {
            Submitted::Accepted => job.set_status(Status::OK),
            Submitted::Refused => {
                job.set_status(Status::EAGAIN);
                if let Some(notify) = job.notify() {
                    lcore.notify_of_refusal(notify, &job);
                }
            }
            Submitted::Inline | Submitted::Failed(_) => {}
        }
        submitted
    });
    submitted.unwrap_or_else(|| inline(set))
}

/// Counts ops that are computed in place: by the thread's lcore, or else by the thread.
fn inline(set: &[Item<'_>]) -> Submitted {
    let ops = set.len() as u64;
    let by_lcore = Lcore::with_current(|lcore| lcore.count(|stats| stats.inline_ops += ops));
    if by_lcore.is_none() {
        // At thread exit nobody asks any more.
        let _ = WITHOUT_LCORE.try_with(|count| count.set(count.get() + ops));
    }
    Submitted::Inline
}

/// Computes what no queue pair serves, pauses until the others are done, and reads their results.
fn wait(set: &mut [Item<'_>], places: &[Place]) -> Result<(), OffloadError> {
    let here = |((request, output), place): (&mut Item<'_>, &Place)| {
        place.is_nowhere().then(|| compute(request, output))
    };
    let computed = first_error(set.iter_mut().zip(places).filter_map(here));
    loop {
        job::pause();
        let (is_cancelled, is_complete) = with_job(|job| (job.is_cancelled(), job.is_complete()));
        if is_cancelled {
            return Err(OffloadError::Cancelled);
        }
        if is_complete {
            break;
        }
    }
    with_job(|job| job.stop_awaiting());
    let read = |((_, output), place): (&mut Item<'_>, &Place)| {
        let finish = |lcore: &Lcore| lcore.finish(*place, |op| result_of(op, output));
        let result = Lcore::with_current(finish).flatten();
        result.unwrap_or(Err(OffloadError::OtherLcore))
    };
    let elsewhere = set
        .iter_mut()
        .zip(places)
        .filter(|(_, place)| !place.is_nowhere());
    computed.and(first_error(elsewhere.map(read)))
}

/// Goes through all `results`.
fn first_error(
    results: impl Iterator<Item = Result<(), OffloadError>>,
) -> Result<(), OffloadError> {
    results.fold(Ok(()), Result::and)
}

/// Computes the op in software, on the caller's stack, without a pause: for what no device may see.
///
/// # Errors
/// [`OffloadError::Invalid`] and [`OffloadError::Device`]; [`OffloadError::KeyElsewhere`] if the key is a device's own.
///
/// # Panics
/// If `output` has another length than the kind's.
pub fn compute(request: &Request<'_>, output: &mut [u8]) -> Result<(), OffloadError> {
    if let Some(driver) = request.key().and_then(|key| key.driver()) {
        let kind = request.kind();
        return Err(OffloadError::KeyElsewhere { kind, driver });
    }
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

pub(crate) fn result_of(op: &Op, output: &mut [u8]) -> Result<(), OffloadError> {
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
    job::with_current(visit).unwrap_or_default()
}
