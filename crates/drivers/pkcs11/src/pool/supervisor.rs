//! The thread that looks after the others: whoever does not come back from the module is replaced.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::slot::Slot;
use super::sync::Ordering;
use super::{Backend, Shared};
use crate::counters::count;
use crate::error::Failure;

/// Ends the supervisor's wait.
#[derive(Default)]
pub(super) struct Alarm {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Alarm {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    /// Waits for `time`; returns whether it was rung.
    fn wait(&self, time: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(rung, time, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

pub(super) fn run<B: Backend>(shared: &Arc<Shared<B>>) {
    let tick = shared.limits.stuck_after / 4;
    while !shared.alarm.wait(tick) {
        for at in 0..shared.slots.len() {
            look_after(shared, at);
        }
        shared.reap();
    }
}

fn look_after<B: Backend>(shared: &Arc<Shared<B>>, at: usize) {
    let slot: &Slot<B::Job> = &shared.slots[at];
    let limits = &shared.limits;
    slot.fail_stragglers(Failure::Stuck);
    let mut given_up = false;
    let another = slot.give_up_stuck(limits.stuck_after, || {
        given_up = true;
        count(&shared.backend.counters().threads_stuck);
        shared.stuck.fetch_add(1, Ordering::Relaxed) < limits.stuck_threads
    });
    if given_up {
        let seconds = limits.stuck_after.as_secs_f32();
        let replaced = another.is_some();
        tracing::warn!(
            replaced,
            "the PKCS#11 module has not returned for {seconds} s; the session is given up"
        );
    }
    // Others may have come back since this place lost its thread.
    let room = shared.stuck.load(Ordering::Relaxed) <= limits.stuck_threads;
    let another = another.or_else(|| room.then(|| slot.revive()).flatten());
    if let Some(epoch) = another
        && let Err(error) = shared.start_worker(at, epoch)
    {
        tracing::error!("cannot start a thread in place of one that is stuck: {error}");
        slot.die(Failure::Stuck);
    }
}
