//! What becomes of an op where nobody may be waiting for a callback, and on a thread without lcore.
//!
//! A pipeline that was written for Spinlane needs neither setting. They are for programs that were not:
//! a program that waits on file descriptors would wait for ever for one that is never made,
//! and a program that makes threads of its own would never have an op offloaded.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use spinlane_job::{self as job, Job};

use crate::core::Lcore;
use crate::offload::OffloadError;

static PAUSE_WITHOUT_CALLBACK: AtomicBool = AtomicBool::new(true);
static ON_DEMAND: RwLock<OnDemand> = RwLock::new(OnDemand::Inline);

/// What a job does that wants to submit an op on a thread without lcore.
#[derive(Clone, Copy, Debug)]
pub enum OnDemand {
    /// It computes the op itself.
    Inline,
    /// The op fails with [`OffloadError::NoLcore`].
    Fail,
    /// This is called, on the thread and its own stack, once per op; it enters an lcore or fails with
    /// an error, and the op with it.
    /// Also in a forked child, whose thread has its parent's lcore.
    Make(fn() -> Result<(), OffloadError>),
}

/// Whether a job pauses for an op if its wait context has no callback (the default), or computes
/// it in place. For the whole process.
pub fn set_pause_without_callback(pause: bool) {
    PAUSE_WITHOUT_CALLBACK.store(pause, Ordering::Relaxed);
}

/// What is done on a thread without lcore; [`OnDemand::Inline`] unless set. For the whole
/// process.
pub fn set_on_demand(on_demand: OnDemand) {
    *ON_DEMAND
        .write()
        .unwrap_or_else(|poisoned| poisoned.into_inner()) = on_demand;
}

/// Whether `job` may pause for an op: somebody will hear of it, or is known to ask.
pub(crate) fn may_pause(job: &Job) -> bool {
    PAUSE_WITHOUT_CALLBACK.load(Ordering::Relaxed)
        || job.wait_ctx().is_some_and(|wait_ctx| wait_ctx.notifies())
}

/// Sees to it that the thread has an lcore of this process, if that is what was set. Takes a lock, on threads
/// without lcore only.
pub(crate) fn ensure_lcore() -> Result<(), OffloadError> {
    let is_of_parent = Lcore::with_current(Lcore::is_of_parent);
    if is_of_parent == Some(false) {
        return Ok(());
    }
    let on_demand = *ON_DEMAND
        .read()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    match on_demand {
        // Opening a device, an EAL among them, takes more stack than a job has.
        OnDemand::Make(make) => job::on_thread_stack(make),
        _ if is_of_parent.is_some() => Err(OffloadError::Forked),
        OnDemand::Inline => Ok(()),
        OnDemand::Fail => Err(OffloadError::NoLcore),
    }
}
