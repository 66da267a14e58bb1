//! A queue pair for bulk data, and what stands in for it: see [`Lcore::enqueue_aead_burst`].
//!
//! ```text
//!            ┌──────────── refused: stays with the caller (EAGAIN)
//!  enqueue ──┼──▶ device ──▶ done queue ──▶ dequeue
//!            │       │ failed, late      ▲
//!            └──▶ software ──────────────┘
//! ```
//! No job and no slot of a job is behind an op: it is the caller's own, travels by value, and comes back
//! exactly once. A device that computes inline gets it as it is. One that may keep it gets it under a token of
//! ours, and a slot keeps a copy of op and data meanwhile: sealing again what a device has half sealed would
//! use a nonce twice.
//!
//! [`Lcore::enqueue_aead_burst`]: crate::Lcore::enqueue_aead_burst

mod fallback;

use std::collections::VecDeque;
use std::sync::Arc;

use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::aead::{Key, Op};
use spinlane_cryptodev::{Buffer, Burst, OpStatus, QueuePair};
use spinlane_cryptodev::{DeviceError, Token};

use crate::channel::{MAX_SLOTS, NO_OP, next_token, slot_index};
use crate::clock::Clock;
use crate::health::{Health, HealthConfig};
use crate::latency::Latencies;
use crate::stats::{AeadCounts, AeadKindStats, AeadStats};

/// Finished ops taken from a queue pair per poll at most.
const BURST: usize = 64;

/// Ops that have ended, the first one at the front.
pub(crate) type Ended = VecDeque<Box<Op>>;

/// An op that a device may keep.
struct Slot {
    /// Under which the device has it; [`NO_OP`] when free.
    token: Token,
    /// What the caller called it.
    callers: Token,
    /// The op as it was given to the device.
    copy: Option<Box<Op>>,
}

/// Who ended an op.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EndedBy {
    Device,
    Software,
}

pub(crate) struct AeadChannel {
    queue_pair: Box<dyn QueuePair<Op>>,
    /// It cannot keep an op: see [`QueuePair::is_inline`]. There are no slots then.
    is_inline: bool,
    capacity: usize,
    /// Ops with the device or in the software queue.
    in_flight: usize,
    in_flight_peak: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// For copies; their buffers grow to what is asked for.
    #[expect(clippy::vec_box, reason = "ops travel boxed")]
    spares: Vec<Box<Op>>,
    outgoing: Burst<Op>,
    incoming: Burst<Op>,
    /// Ops to be computed here, and whether the device found their tags wrong.
    software: VecDeque<(Box<Op>, bool)>,
    health: Health,
    /// When the deadlines are looked at next; 0 = now.
    check_at_ns: u64,
    /// Somebody was refused since they were last looked at.
    has_refused: bool,
    /// No op but a probe has it.
    probe_key: Option<Arc<Key>>,
    counts: [AeadCounts; Algorithm::COUNT],
    stray: u64,
    latency: [Option<Latencies>; Algorithm::COUNT],
}

impl AeadChannel {
    pub(crate) fn new(queue_pair: Box<dyn QueuePair<Op>>, config: HealthConfig) -> Self {
        let is_inline = queue_pair.is_inline();
        let capacity = queue_pair.capacity().min(MAX_SLOTS);
        let slots = if is_inline { 0 } else { capacity };
        let mut latency = [const { None }; Algorithm::COUNT];
        for algorithm in queue_pair.capabilities().iter() {
            latency[algorithm.index()] = Some(Latencies::new());
        }
        let no_slot = || Slot {
            token: NO_OP,
            callers: NO_OP,
            copy: None,
        };
        Self {
            probe_key: fallback::probe_key(&*queue_pair),
            queue_pair,
            is_inline,
            capacity,
            in_flight: 0,
            in_flight_peak: 0,
            slots: std::iter::repeat_with(no_slot).take(slots).collect(),
            // The lowest index on top, so that the same few copies are used again.
            free: (0..slots as u32).rev().collect(),
            spares: Vec::with_capacity(slots),
            outgoing: Burst::with_capacity(BURST),
            incoming: Burst::with_capacity(BURST),
            software: VecDeque::with_capacity(capacity),
            health: Health::new(config),
            check_at_ns: 0,
            has_refused: false,
            counts: [AeadCounts::default(); Algorithm::COUNT],
            stray: 0,
            latency,
        }
    }

    pub(crate) fn serves(&self, algorithm: Algorithm) -> bool {
        self.queue_pair.capabilities().has(algorithm)
    }

    /// Ops with the device or waiting for software.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Memory for an op of this queue pair's.
    pub(crate) fn buffer(&self, len: usize) -> Result<Buffer, DeviceError> {
        self.queue_pair.buffer(len)
    }

    /// Takes the first `count` ops of `ops`, all of which are prepared and of an algorithm that it serves, as
    /// far as there is room; returns how many.
    pub(crate) fn enqueue(&mut self, ops: &mut Burst<Op>, count: usize, now_ns: u64) -> usize {
        let room = count.min(self.capacity - self.in_flight);
        let taken = if self.health.is_healthy() {
            self.give(ops, room, now_ns)
        } else {
            for mut op in ops.drain(..room) {
                op.enqueued_at_ns = now_ns;
                self.counts_of(&op).enqueued += 1;
                self.software.push_back((op, false));
            }
            if room != 0 {
                self.probe(now_ns);
            }
            room
        };
        self.in_flight += taken;
        self.in_flight_peak = self.in_flight_peak.max(self.in_flight);
        if let Some(refused) = ops.first().filter(|_| taken < count) {
            self.counts_of(refused).refused += 1;
        }
        taken
    }

    /// Gives the first `count` ops to the device; returns how many it took.
    fn give(&mut self, ops: &mut Burst<Op>, count: usize, now_ns: u64) -> usize {
        for mut op in ops.drain(..count) {
            op.enqueued_at_ns = now_ns;
            if !self.is_inline {
                self.keep_copy(&mut op);
            }
            self.counts_of(&op).enqueued += 1;
            self.outgoing.push(op);
        }
        let taken = self.queue_pair.enqueue_burst(&mut self.outgoing);
        let mut refused = std::mem::take(&mut self.outgoing);
        for op in &mut refused {
            self.counts_of(op).enqueued -= 1;
            if let Some(index) = self.slot_of(op.token) {
                op.token = self.slots[index].callers;
                self.release(index);
            }
        }
        ops.splice(..0, refused.drain(..));
        self.outgoing = refused;
        if taken > 0 {
            self.health.accepted();
        } else if count > 0 {
            self.has_refused = true;
            self.health.refused(now_ns);
        }
        taken
    }

    /// Puts a copy of `op` into a slot and calls the op after it. There is a free one: no more ops are in
    /// flight than there are slots.
    fn keep_copy(&mut self, op: &mut Op) {
        let Some(index) = self.free.pop() else {
            return;
        };
        let mut copy = self.spares.pop().unwrap_or_else(fallback::empty_op);
        copy.copy_from(op);
        let slot = &mut self.slots[index as usize];
        slot.callers = op.token;
        slot.token = next_token(index);
        slot.copy = Some(copy);
        op.token = slot.token;
    }

    /// Takes finished ops from the device and computes some in its place; adds them to `done`. Returns how
    /// many ended. `now_ns` goes along with the clock.
    pub(crate) fn collect(
        &mut self,
        clock: &dyn Clock,
        now_ns: &mut u64,
        done: &mut Ended,
    ) -> usize {
        let before = done.len();
        let mut incoming = std::mem::take(&mut self.incoming);
        let count = self.queue_pair.dequeue_burst(&mut incoming, BURST, *now_ns);
        if count != 0 {
            *now_ns = clock.now_ns();
            self.health.answered(*now_ns);
            for op in incoming.drain(..) {
                self.complete(op, *now_ns, done);
            }
        }
        self.incoming = incoming;
        if *now_ns >= self.check_at_ns {
            self.check(count < BURST, *now_ns, done);
        }
        if !self.software.is_empty() {
            self.run_software(clock, now_ns, done);
        }
        done.len() - before
    }

    /// The device gave `op` back.
    fn complete(&mut self, mut op: Box<Op>, now_ns: u64, done: &mut Ended) {
        let is_probe = match (op.key(), &self.probe_key) {
            (Some(key), Some(probe_key)) => Arc::ptr_eq(key, probe_key),
            _ => false,
        };
        let mut copy = None;
        if is_probe {
            return self.probe_came(op, now_ns);
        } else if !self.is_inline {
            let Some(index) = self.slot_of(op.token) else {
                self.stray += 1;
                return self.put_spare(op);
            };
            op.token = self.slots[index].callers;
            copy = self.slots[index].copy.take();
            self.release(index);
        }
        match op.status {
            OpStatus::Success => self.health.succeeded(),
            OpStatus::Invalid => {}
            OpStatus::Error | OpStatus::NotProcessed => self.count_error(&op),
        }
        match self.settle(op, copy) {
            Ok((op, doubted)) => self.software.push_back((op, doubted)),
            Err(op) => self.end(op, EndedBy::Device, now_ns, done),
        }
    }

    /// An op has its result, or none, for good.
    fn end(&mut self, op: Box<Op>, by: EndedBy, now_ns: u64, done: &mut Ended) {
        let counts = self.counts_of(&op);
        match by {
            EndedBy::Device => counts.completed += 1,
            EndedBy::Software => counts.fallback += 1,
        }
        match op.status {
            OpStatus::Success => counts.bytes += op.data_range().len() as u64,
            OpStatus::Invalid => counts.auth_failed += 1,
            OpStatus::Error | OpStatus::NotProcessed => counts.failed += 1,
        }
        if let Some(latency) = &mut self.latency[index_of(&op)] {
            latency.record(now_ns.saturating_sub(op.enqueued_at_ns));
        }
        self.in_flight -= 1;
        done.push_back(op);
    }

    fn counts_of(&mut self, op: &Op) -> &mut AeadCounts {
        &mut self.counts[index_of(op)]
    }

    fn slot_of(&self, token: Token) -> Option<usize> {
        let index = slot_index(token);
        let slot = self.slots.get(index)?;
        (slot.token == token && token != NO_OP).then_some(index)
    }

    fn release(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.token = NO_OP;
        if let Some(copy) = slot.copy.take() {
            self.put_spare(copy);
        }
        self.free.push(index as u32);
    }

    /// Nobody can reach the data that is in it any more, so it is wiped here.
    fn put_spare(&mut self, mut op: Box<Op>) {
        op.fail(OpStatus::Error);
        op.recycle();
        if self.spares.len() < self.slots.len() {
            self.spares.push(op);
        }
    }

    pub(crate) fn stats(&self) -> AeadStats {
        let used = |algorithm: Algorithm| {
            let counts = self.counts[algorithm.index()];
            let latency = self.latency[algorithm.index()].as_ref()?;
            (counts != AeadCounts::default()).then(|| AeadKindStats {
                algorithm,
                counts,
                latency_ns: latency.histogram(),
            })
        };
        let mut counts = AeadCounts::default();
        self.counts.iter().for_each(|each| counts += *each);
        AeadStats {
            device: self.queue_pair.name().to_owned(),
            counts,
            stray: self.stray,
            in_flight: self.in_flight,
            in_flight_peak: self.in_flight_peak,
            capacity: self.capacity,
            health: self.health.stats(),
            device_stats: self.queue_pair.stats(),
            xstats: self.queue_pair.xstats(),
            algorithms: Algorithm::ALL.into_iter().filter_map(used).collect(),
        }
    }
}

/// Where an op is counted. Every op that a channel takes has an algorithm.
fn index_of(op: &Op) -> usize {
    op.algorithm().map_or(0, Algorithm::index)
}
