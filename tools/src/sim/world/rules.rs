//! The rules, checked as things happen and when all is over.

use spinlane::cryptodev::{Kind, OpKind};
use spinlane::job::{self, Status};
use spinlane::lcore::{ChannelStats, Clock, Conn, OffloadError};

use super::{Alone, State, World};
use crate::sim::question::{Answers, MAX_SET, Set};
use crate::sim::tally::Breach;

/// What is known of a queue pair.
#[derive(Clone)]
pub(super) struct Seen {
    healthy: bool,
    /// Times it became unhealthy or healthy again.
    turns: u64,
    enqueued: u64,
    probes: u64,
}

impl Seen {
    /// Whether a queue pair that was unhealthy since it `was` seen last got ops for probes alone, at `most` so many each, if the
    /// `other` was healthy all the time.
    fn gets_no_more_than(&self, was: &Self, (other, other_was): (&Self, &Self), most: u64) -> bool {
        let same = self.turns == was.turns && other.turns == other_was.turns;
        let applies = same && !self.healthy && other.healthy;
        !applies || self.enqueued - was.enqueued <= most * (self.probes - was.probes)
    }

    fn of<K: Kind>(channel: &ChannelStats<K>) -> Self {
        let health = channel.health;
        Self {
            healthy: health.healthy,
            turns: health.failures + health.recoveries,
            enqueued: channel.counts.enqueued + channel.counts.moved,
            probes: health.probes,
        }
    }
}

impl World {
    pub(super) fn check_capacity(&self) {
        let mut used = [0; 2];
        for connection in self.connections.borrow().iter() {
            if matches!(connection.state, State::Waiting | State::Ready) {
                for question in connection.asked.questions() {
                    used[self.channel(question.kind())] += 1;
                }
            }
        }
        for kind in self.alone.borrow().iter().filter_map(Alone::uses_slot) {
            used[self.channel(kind)] += 1;
        }
        let channels = 1 + usize::from(self.plan.two_devices || self.plan.shared);
        let stats = self.lcore.stats();
        let in_flight = stats.channels.iter().map(|channel| channel.in_flight);
        let in_flight: usize = in_flight.sum();
        if self.plan.shared {
            // Which of the two an op is with, only the lcore knows.
            used = [used.iter().sum::<usize>().div_ceil(2); 2];
        }
        if used.iter().any(|used| *used > self.plan.capacity)
            || in_flight > channels * self.plan.capacity
        {
            let text = format!(
                "{used:?} slots in use, {in_flight} in flight, of {}",
                self.plan.capacity
            );
            self.violate(Breach::OverCapacity, text);
        }
    }

    /// No slot is used again whose op the device still has, of two queue pairs that share their kinds the healthy one
    /// gets the ops, and none gets ops whose key another has.
    pub(super) fn check_devices(&self) {
        let stats = self.lcore.stats();
        let [was, records_were] = self.seen.take();
        let share = self.plan.shared && !(self.plan.remote && self.plan.one_has_keys);
        let now = self.check_class(&stats.channels, &was, share);
        let records = self.check_class(&stats.records, &records_were, true);
        self.seen.replace([now, records]);
    }

    /// `share`: two queue pairs of this class serve the same kinds.
    fn check_class<K: Kind>(
        &self,
        channels: &[ChannelStats<K>],
        was: &[Seen],
        share: bool,
    ) -> Vec<Seen> {
        for channel in channels {
            let (free, capacity) = (channel.free_slots as u64, channel.capacity as u64);
            let counted = |wanted| {
                let found = channel.xstats.iter().find(|(name, _)| *name == wanted);
                found.map_or(0, |(_, count)| *count)
            };
            let held = counted("held");
            if counted("misrouted") != 0 {
                let text = "a queue pair got ops with a key that it does not have".to_owned();
                self.violate(Breach::Routing, text);
            }
            // A probe has no slot.
            if !channel.health.closed && held + free > capacity + channel.health.probes {
                let text = format!("device holds {held} ops, {free} of {capacity} slots are free");
                self.violate(Breach::EarlyReuse, text);
            }
        }
        let now: Vec<_> = channels.iter().map(Seen::of).collect();
        if let ([one, other], [one_was, other_was], true) = (&now[..], was, share) {
            // A set goes as a whole where a probe is due.
            let most = if self.plan.sets { MAX_SET as u64 } else { 1 };
            let gets_its_own = one.gets_no_more_than(one_was, (other, other_was), most)
                && other.gets_no_more_than(other_was, (one, one_was), most);
            if !gets_its_own {
                let text = "an unhealthy device got ops that a healthy one serves".to_owned();
                self.violate(Breach::Routing, text);
            }
        }
        now
    }

    pub(super) fn report_lost(&self) {
        let connections = self.connections.borrow();
        let mut states = connections.iter().map(|connection| connection.state);
        let stuck = states.position(|state| !matches!(state, State::Ended | State::Closed));
        let text = match stuck {
            Some(id) => format!("connection {id} is stuck: {:?}", connections[id].state),
            None => format!(
                "{} ops in flight for ever, tickets {:x?}",
                self.lcore.in_flight(),
                self.tickets.borrow()
            ),
        };
        self.violate(Breach::Lost, text);
    }

    /// The lcore calls back.
    pub(super) fn called_back(&self, id: usize) {
        let status = self.connections.borrow()[id].ctx.status();
        let on_job = job::on_job();
        self.note("callback", id, u64::from(on_job));
        let is_resumed = self.resuming.get() == Some(id);
        match (self.state(id), status) {
            (State::Running(count), Status::EAGAIN) if on_job => {
                self.set_state(id, State::Running(count + 1));
            }
            // The resume's own poll found its op done, and its next attempt was refused.
            (State::Ready, Status::EAGAIN) if on_job && is_resumed => {
                self.set_state(id, State::Running(1));
            }
            (State::Waiting, Status::OK | Status::ERR) if !on_job => {
                self.count(|tally| tally.callbacks += 1);
                self.set_state(id, State::Ready);
                self.called.borrow_mut().push_back(id as u64);
                self.lcore.make_ready(Conn(id as u64));
                if self.below(64) == 0 {
                    self.with_any(Self::close);
                }
            }
            (state, status) => {
                let breach = match (state, status) {
                    (State::Waiting, Status::UNSUPPORTED) => Breach::Status,
                    (State::Closed | State::Ended, _) => Breach::LateCallback,
                    _ => Breach::DuplicateCallback,
                };
                let text = format!("connection {id}, {state:?}, called back with {status:?}");
                self.violate(breach, text);
            }
        }
    }

    /// A job got its answer; returns whether it goes on.
    pub(super) fn answered(
        &self,
        id: usize,
        set: &Set,
        result: Result<(), OffloadError>,
        answers: &Answers,
    ) -> bool {
        self.note("answer", id, result.is_ok().into());
        let is_closed = self.state(id) == State::Closed;
        let fallback = self.plan.health.fallback;
        let right = match result {
            Ok(()) => !is_closed && set.is_answered_by(answers),
            Err(OffloadError::Cancelled) => is_closed,
            Err(OffloadError::Invalid) => {
                !is_closed && (set.is_invalid() || !fallback || set.is_remote())
            }
            Err(OffloadError::Device) => !is_closed && (!fallback || set.is_remote()),
            Err(OffloadError::SetTooLarge { .. }) => self.exceeds_capacity(set),
            // Of another lcore, or of none, or of what cannot be submitted at all.
            Err(_) => false,
        };
        if !right {
            let text = format!("connection {id}: {set:?} was answered by {result:?}");
            self.violate(Breach::WrongResult, text);
        }
        if is_closed {
            // Some libraries go on after an error, for an alert say.
            return self.below(2) == 0;
        }
        // Of a set that is too large, if it was refused before.
        self.give_up_ticket(id);
        self.count(|tally| tally.ops += set.questions().len() as u64);
        self.set_state(id, State::Running(0));
        true
    }

    /// Whether a queue pair, which may hold less than planned, could never take its part of `set`.
    fn exceeds_capacity(&self, set: &Set) -> bool {
        let stats = self.lcore.stats();
        let exceeds = |(index, channel): (usize, &ChannelStats)| {
            let kinds = set.questions().iter().map(|question| question.kind());
            // All of it goes to one, if two share the kinds.
            let is_of = |kind: &_| self.plan.shared || self.channel(*kind) == index;
            kinds.filter(is_of).count() > channel.capacity
        };
        stats.channels.iter().enumerate().any(exceeds)
    }

    /// Software gets no op whose secret is a device's own. The counters know kinds, not keys, so that only worlds are
    /// looked at in which all signatures are with such a key.
    fn check_software(&self, channel: &ChannelStats) {
        if !self.plan.remote || self.plan.signs {
            return;
        }
        let signatures = channel.kinds.iter();
        for of in signatures.filter(|of| of.kind == OpKind::EcdsaP256) {
            if of.counts.fallback != 0 {
                let text = format!(
                    "software took {} ops of the device's own",
                    of.counts.fallback
                );
                self.violate(Breach::Software, text);
            }
        }
    }

    /// Nothing is left, and the counters tell what happened.
    pub(super) fn take_stock(&self) {
        let stacks = job::pool_stats().stacks_in_use;
        if stacks != 0 {
            self.violate(Breach::LeakedStack, format!("{stacks} stacks are not back"));
        }
        self.take_stock_of_records();
        let stats = self.lcore.stats();
        let mut tally = self.tally.borrow_mut();
        let mut enqueued = 0;
        let mut refused = 0;
        for channel in &stats.channels {
            let (free, capacity) = (channel.free_slots, channel.capacity);
            if free + channel.quarantined != capacity {
                let text = format!("{} of {capacity} slots are not back", capacity - free);
                self.violate(Breach::LeakedSlot, text);
            }
            self.check_software(channel);
            let counts = channel.counts;
            if counts.enqueued != counts.completed + counts.fallback + counts.cancelled {
                self.violate(Breach::Counters, format!("do not add up: {counts:?}"));
            }
            enqueued += counts.enqueued;
            refused += counts.refused;
            tally.add_channel(channel);
        }
        if (enqueued, refused, stats.callbacks) != (tally.accepted, tally.refused, tally.callbacks)
        {
            let text = format!(
                "{enqueued} enqueued, {refused} refused, {} callbacks; seen were {}, {}, {}",
                stats.callbacks, tally.accepted, tally.refused, tally.callbacks
            );
            self.violate(Breach::Counters, text);
        }
        tally.seeds = 1;
        tally.virtual_ns = self.clock.now_ns();
        tally.hash = self.hash.get();
    }
}
