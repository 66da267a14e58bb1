//! A client's link to one crypto core.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use spinlane_cryptodev::{Burst, DeviceStats};
use spinlane_ring::{Consumer, Producer, ring};

use crate::crypto_core::{Attach, Port, Served, Shared, Tally};
use crate::handle::Handle;
use crate::mailbox::Mailbox;
use crate::queue_pair::failed;

/// Both rings' client ends, and what is known of the crypto core.
pub(crate) struct Link<O> {
    submissions: Producer<Box<O>>,
    completions: Consumer<Box<O>>,
    /// Ops that this link has taken and not given back.
    in_flight: usize,
    home: Arc<Mailbox<Port<O>>>,
    tally: Arc<Tally>,
    /// The thread has ended: the port has come home.
    ended: bool,
    watch: Watch,
    shared: Arc<Shared>,
    /// Last, so that the rings are gone before the last client waits for the thread's end.
    core: Arc<Handle>,
}

/// Tells a stuck thread by its beat.
struct Watch {
    stuck_after_ns: u64,
    /// When to look again: rarely, since the beat's cache line is the thread's.
    look_ns: u64,
    beat: u64,
    /// When another beat was seen last; `None` before the first look.
    seen_ns: Option<u64>,
    stuck: bool,
}

impl<O: Served> Link<O> {
    /// A link to `core` for `capacity` ops in flight; `None` if its thread has ended.
    pub(crate) fn new(core: &Arc<Handle>, capacity: usize, stuck_after_ns: u64) -> Option<Self> {
        Self::attach(core, capacity, stuck_after_ns, Arc::default())
    }

    fn attach(
        core: &Arc<Handle>,
        capacity: usize,
        stuck_after_ns: u64,
        tally: Arc<Tally>,
    ) -> Option<Self> {
        // The capacity is within a ring's range once rounded up; only memory could be lacking.
        let slots = capacity.next_power_of_two();
        let (submissions, their_submissions) = ring(slots).ok()?;
        let (their_completions, completions) = ring(slots).ok()?;
        let home = Arc::new(Mailbox::new());
        let shared = core.attach(Attach {
            port: Port {
                submissions: their_submissions,
                completions: their_completions,
            },
            home: Arc::clone(&home),
            tally: Arc::clone(&tally),
        })?;
        Some(Self {
            submissions,
            completions,
            in_flight: 0,
            home,
            tally,
            ended: false,
            watch: Watch::new(stuck_after_ns),
            shared,
            core: Arc::clone(core),
        })
    }

    /// Starts afresh: what is in flight comes back to nobody. A thread that a panic has ended is
    /// started again. One that is stuck keeps its ops, and its clients their knowledge of that. Returns whether
    /// nothing will come back.
    pub(crate) fn reset(&mut self, capacity: usize) -> bool {
        if self.watch.stuck {
            return false;
        }
        self.core.revive();
        let tally = Arc::clone(&self.tally);
        let afresh = Self::attach(&self.core, capacity, self.watch.stuck_after_ns, tally);
        let is_afresh = afresh.is_some();
        if let Some(afresh) = afresh {
            *self = afresh;
        }
        is_afresh
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.watch.stuck
    }

    /// Whether ops sent by it are likely to be served.
    pub(crate) fn is_usable(&self) -> bool {
        !self.ended && !self.watch.stuck
    }

    /// Sends all of `ops`, which the caller knows to fit.
    pub(crate) fn submit(&mut self, ops: &mut VecDeque<Box<O>>) {
        self.in_flight += self.submissions.push_burst(ops);
        debug_assert!(
            ops.is_empty(),
            "a ring holds what a client may have in flight"
        );
    }

    /// Adds at most `max` finished ops to `done`.
    pub(crate) fn complete(&mut self, done: &mut Burst<O>, max: usize) {
        let before = done.len();
        done.extend(self.completions.pop_burst(max));
        self.in_flight -= done.len() - before;
    }

    /// Looks whether the thread has ended or is stuck. What it never took is added to `failed`.
    pub(crate) fn mind(&mut self, now_ns: u64, failed: &mut Burst<O>) {
        if self.ended {
            return;
        }
        let mut ports = Vec::new();
        self.home.take(&mut ports);
        for mut port in ports {
            self.ended = true;
            self.watch.stuck = false;
            let before = failed.len();
            failed.extend(port.submissions.pop_burst(usize::MAX).map(self::failed));
            self.in_flight -= failed.len() - before;
        }
        // Relaxed: only whether it changes counts.
        let beat = || self.shared.beat.load(Ordering::Relaxed);
        if let Some(stuck) = self.watch.look(now_ns, beat) {
            let (core, in_flight) = (self.core.core, self.in_flight);
            if stuck {
                tracing::warn!(core, in_flight, "crypto core is stuck; it gets no more ops");
            } else {
                tracing::info!(core, "crypto core goes on; it gets ops again");
            }
        }
    }

    /// What the inner device counted for it.
    pub(crate) fn tally(&self) -> DeviceStats {
        self.tally.read()
    }

    /// Ops that the inner device lost.
    pub(crate) fn lost(&self) -> u64 {
        self.tally.lost()
    }
}

impl Watch {
    fn new(stuck_after_ns: u64) -> Self {
        Self {
            stuck_after_ns,
            look_ns: 0,
            beat: 0,
            seen_ns: None,
            stuck: false,
        }
    }

    /// Looks at the beat if it is time to; `Some` if the thread is stuck now and was not, or the
    /// other way round.
    fn look(&mut self, now_ns: u64, beat: impl FnOnce() -> u64) -> Option<bool> {
        if now_ns < self.look_ns {
            return None;
        }
        self.look_ns = now_ns.saturating_add(self.stuck_after_ns / 4);
        let beat = beat();
        let seen_ns = *self.seen_ns.get_or_insert(now_ns);
        let was_stuck = self.stuck;
        if beat != self.beat {
            (self.beat, self.seen_ns, self.stuck) = (beat, Some(now_ns), false);
        } else if now_ns - seen_ns >= self.stuck_after_ns {
            self.stuck = true;
        }
        (self.stuck != was_stuck).then_some(self.stuck)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_a_beat_is_stuck_until_it_goes_on() {
        let mut watch = Watch::new(100);
        // The client starts late by its clock.
        assert_eq!(watch.look(1000, || 5), None);
        assert_eq!(watch.look(1010, || panic!("too early to look")), None);
        assert_eq!(watch.look(1050, || 5), None);
        assert_eq!(watch.look(1099, || 5), None, "1075 looked, 1100 is due");
        assert_eq!(watch.look(1130, || 5), Some(true));
        assert_eq!(watch.look(1160, || 5), None, "still");
        assert_eq!(watch.look(1190, || 6), Some(false));
        assert!(!watch.stuck);
    }
}
