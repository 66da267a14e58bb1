//! The queue pair: the inner one's, with faults between it and the poll core.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use spinlane_cryptodev::{
    Buffer, Burst, Capabilities, Device, DeviceError, DeviceStats, HealthConfig, KeyHandle, Kind,
    OpStatus, Operation, QueuePair, QueuePairConfig,
};

use crate::config::{Chance, SimConfig};
use crate::faults::Faults;
use crate::rng::Rng;

/// Refusals in a row at most, once one was drawn.
const STORM: u64 = 16;
/// A second completion follows the first within this time. Nanoseconds.
const ECHO_NS: u64 = 100_000;

/// An op on its way back.
struct Pending<O> {
    due_ns: u64,
    /// Tells apart what is due at the same time.
    number: u64,
    op: Box<O>,
    /// It holds a descriptor; the second completion of an op does not.
    is_first: bool,
}

impl<O> Pending<O> {
    fn order(&self) -> Reverse<(u64, u64)> {
        Reverse((self.due_ns, self.number))
    }
}

impl<O> PartialEq for Pending<O> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<O> Eq for Pending<O> {}

impl<O> PartialOrd for Pending<O> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<O> Ord for Pending<O> {
    /// Greatest is what is due first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

#[derive(Clone, Copy)]
enum Life {
    /// Nobody has told it the time.
    Unborn,
    Alive {
        dies_at_ns: u64,
    },
    Dead {
        revives_at_ns: u64,
    },
}

pub(crate) struct SimQueuePair<O: Operation> {
    device: Arc<dyn Device>,
    inner: Box<dyn QueuePair<O>>,
    name: String,
    config: SimConfig,
    queue_config: QueuePairConfig,
    rng: Rng,
    life: Life,
    /// Enqueues to be refused yet.
    storm: u64,
    /// Descriptors in use.
    in_flight: usize,
    /// Ops that it has taken and neither given back nor, by a reset, let go of: those that it has lost too.
    held: u64,
    /// Given to it while it was dead.
    swallowed: Burst<O>,
    pending: BinaryHeap<Pending<O>>,
    /// Numbers given.
    numbered: u64,
    /// When the last op that keeps to the order comes back.
    last_due_ns: u64,
    outgoing: Burst<O>,
    incoming: Burst<O>,
    stats: DeviceStats,
    faults: Faults,
}

impl<O: Operation> SimQueuePair<O> {
    pub(crate) fn new(
        device: Arc<dyn Device>,
        inner: Box<dyn QueuePair<O>>,
        name: String,
        (config, queue_config): (SimConfig, QueuePairConfig),
        rng: Rng,
    ) -> Self {
        let room = queue_config.capacity;
        Self {
            device,
            inner,
            name,
            config,
            queue_config,
            rng,
            life: Life::Unborn,
            storm: 0,
            in_flight: 0,
            held: 0,
            swallowed: Burst::with_capacity(room),
            pending: BinaryHeap::with_capacity(2 * room),
            numbered: 0,
            last_due_ns: 0,
            outgoing: Burst::with_capacity(room),
            incoming: Burst::with_capacity(room),
            stats: DeviceStats::default(),
            faults: Faults::default(),
        }
    }

    /// Lives, dies and revives by the clock; returns whether it lives.
    fn lives(&mut self, now_ns: u64) -> bool {
        let later = |after_ns: Option<u64>| now_ns.saturating_add(after_ns.unwrap_or(u64::MAX));
        match self.life {
            Life::Unborn => {}
            Life::Alive { dies_at_ns } if now_ns >= dies_at_ns => {
                self.faults.deaths += 1;
                self.life = Life::Dead {
                    revives_at_ns: later(self.config.revive_after_ns),
                };
                return false;
            }
            Life::Alive { .. } => return true,
            Life::Dead { revives_at_ns } if now_ns < revives_at_ns => return false,
            Life::Dead { .. } => {
                self.faults.revivals += 1;
                // It knows nothing of those; what it had before comes back as if nothing had been.
                self.in_flight -= self.swallowed.len();
                self.swallowed.clear();
            }
        }
        self.life = Life::Alive {
            dies_at_ns: later(self.config.die_after_ns),
        };
        true
    }

    fn refuses(&mut self) -> bool {
        if self.storm == 0 && self.rng.chance(self.config.refuse) {
            self.storm = self.rng.between(1, STORM);
        }
        let refuses = self.storm > 0;
        self.storm = self.storm.saturating_sub(1);
        self.faults.refused += u64::from(refuses);
        refuses
    }

    /// The inner device has finished `op`; now chance has its turn.
    fn settle(&mut self, mut op: Box<O>, now_ns: u64) {
        if self.rng.chance(self.config.reset) {
            self.fail_all(now_ns);
            op.status = OpStatus::Error;
        }
        if self.rng.chance(self.config.lose) {
            self.faults.lost += 1;
            self.in_flight -= 1;
            return;
        }
        self.falsify(&mut op);
        let due_ns = self.due(now_ns);
        if self.rng.chance(self.config.dup) {
            self.faults.duplicated += 1;
            let mut twin = O::in_memory(Buffer::EMPTY);
            twin.copy_from(&op);
            let echo_ns = self.rng.below(ECHO_NS);
            self.push(twin, due_ns + echo_ns, false);
        }
        self.push(op, due_ns, true);
    }

    /// Spoils status or result, and then does what a driver does about a spoilt result.
    fn falsify(&mut self, op: &mut O) {
        let kinds = [OpStatus::Error, OpStatus::Invalid, OpStatus::NotProcessed];
        let other = kinds[self.rng.below(kinds.len() as u64) as usize];
        if self.rng.chance(self.config.wrong_status) && op.status == OpStatus::Success {
            self.faults.wrong_status += 1;
            op.fail(other);
        }
        let spot = self.rng.below(op.result_mut().len() as u64 * 8);
        let corrupts = self.rng.chance(self.config.corrupt);
        let is_checked = op.kind().leaks_when_wrong() && self.config.corrupt != Chance::NEVER;
        if !is_checked || op.status != OpStatus::Success {
            return;
        }
        if corrupts {
            self.faults.corrupted += 1;
            op.result_mut()[spot as usize / 8] ^= 1 << (spot % 8);
        }
        if !op.is_right() {
            self.stats.faults_caught += 1;
            op.fail(OpStatus::Error);
        }
    }

    /// When an op finished now comes back.
    fn due(&mut self, now_ns: u64) -> u64 {
        let due_ns = now_ns.saturating_add(self.config.latency.draw(&mut self.rng));
        if self.rng.chance(self.config.late) {
            self.faults.late += 1;
            return due_ns.saturating_add(self.config.late_by_ns);
        }
        if self.rng.chance(self.config.reorder) {
            self.faults.reordered += u64::from(due_ns < self.last_due_ns);
            return due_ns;
        }
        self.last_due_ns = self.last_due_ns.max(due_ns);
        self.last_due_ns
    }

    /// A reset of the device's own: what is on its way comes back at once, failed.
    fn fail_all(&mut self, now_ns: u64) {
        self.faults.resets += 1;
        let mut pending = std::mem::take(&mut self.pending).into_vec();
        for entry in &mut pending {
            entry.due_ns = now_ns;
            entry.op.status = OpStatus::Error;
        }
        self.pending = pending.into();
    }

    fn push(&mut self, op: Box<O>, due_ns: u64, is_first: bool) {
        self.numbered += 1;
        self.pending.push(Pending {
            due_ns,
            number: self.numbered,
            op,
            is_first,
        });
    }
}

impl<O: Operation> QueuePair<O> for SimQueuePair<O> {
    fn name(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        let descriptors = self.config.descriptors.unwrap_or(usize::MAX);
        self.inner.capacity().min(descriptors)
    }

    fn capabilities(&self) -> Capabilities<O::Kind> {
        self.inner.capabilities()
    }

    fn health(&self) -> HealthConfig {
        self.inner.health()
    }

    fn holds(&self, key: &KeyHandle) -> bool {
        self.inner.holds(key)
    }

    fn buffer(&self, len: usize) -> Result<Buffer, DeviceError> {
        self.inner.buffer(len)
    }

    fn enqueue_burst(&mut self, ops: &mut Burst<O>) -> usize {
        let Some(first) = ops.first() else {
            return 0;
        };
        let lives = self.lives(first.enqueued_at_ns);
        if lives && self.refuses() {
            return 0;
        }
        let room = self.capacity().saturating_sub(self.in_flight);
        let count = ops.len().min(room);
        let taken = if lives {
            self.outgoing.extend(ops.drain(..count));
            let taken = self.inner.enqueue_burst(&mut self.outgoing);
            ops.splice(..0, self.outgoing.drain(..));
            taken
        } else {
            self.faults.swallowed += count as u64;
            self.swallowed.extend(ops.drain(..count));
            count
        };
        self.in_flight += taken;
        self.held += taken as u64;
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst<O>, max: usize, now_ns: u64) -> usize {
        if !self.lives(now_ns) {
            return 0;
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        self.inner.dequeue_burst(&mut incoming, max, now_ns);
        for op in incoming.drain(..) {
            self.settle(op, now_ns);
        }
        self.incoming = incoming;
        let mut given = 0;
        while given < max
            && self
                .pending
                .peek()
                .is_some_and(|next| next.due_ns <= now_ns)
        {
            let Some(next) = self.pending.pop() else {
                break;
            };
            self.in_flight -= usize::from(next.is_first);
            self.held -= u64::from(next.is_first);
            self.stats.failed += u64::from(next.op.status != OpStatus::Success);
            done.push(next.op);
            given += 1;
        }
        self.stats.dequeued += given as u64;
        given
    }

    fn flush(&mut self) {
        if !matches!(self.life, Life::Dead { .. }) {
            self.inner.flush();
        }
    }

    fn batches(&self) -> bool {
        self.inner.batches()
    }

    fn stats(&self) -> DeviceStats {
        let inner = self.inner.stats();
        DeviceStats {
            faults_caught: self.stats.faults_caught + inner.faults_caught,
            batches: inner.batches,
            batched: inner.batched,
            scalar: inner.scalar,
            ..self.stats
        }
    }

    /// Obeys every other time, on average: then all that it has is forgotten. Otherwise it comes
    /// back later all the same.
    fn reset(&mut self) -> bool {
        if self.rng.below(2) == 0 {
            return false;
        }
        // Who cannot open it again goes on with what there is.
        let Ok(inner) = O::open(&*self.device, self.queue_config) else {
            return false;
        };
        self.inner = inner;
        self.in_flight = 0;
        self.held = 0;
        self.swallowed.clear();
        self.pending.clear();
        true
    }

    fn xstats(&self) -> Vec<(&'static str, u64)> {
        let mut list = self.faults.list();
        list.push(("held", self.held));
        list
    }
}
