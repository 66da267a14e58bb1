//! The queue pair: which ops form a batch, and when it runs.

use std::collections::VecDeque;

use spinlane_cryptodev::{
    Burst, Capabilities, DeviceStats, Op, OpKind, OpStatus, QueuePair, QueuePairConfig, cpu,
};

use zeroize::Zeroize;

use crate::ffi::{Cpu, LANES};
use crate::fill::{Fills, NEVER};
use crate::lanes::{self, Lanes};
use crate::{NAME, Options};

#[cfg(test)]
mod tests;

/// Queues: one per kind for the lanes, and one for what the lanes do not serve.
const QUEUES: usize = OpKind::COUNT + 1;
/// The queue of ops that run one at a time.
const SCALAR: usize = OpKind::COUNT;
/// RSA-2048 ops take so many times as long as a cheap op at least. A few cheap ones cost less than a poll iteration's
/// system calls.
const CHEAP: u64 = 4;

/// ```text
///  enqueue ─┬▶ waiting[kind]  ─ 8, or some at their time ─▶ lanes ─┬▶ finished ─▶ dequeue
///           └▶ waiting[SCALAR] ─────────────────────────▶ cpu::run ┘
/// ```
/// A kind has a queue for lanes only if full ones pay: so whatever waits there runs when eight have come, at its time,
/// or by a flush.
///
/// One call of `dequeue_burst` or `flush` runs one unit of work at most: a batch, one RSA op, or
/// a few cheap ones. So no call lasts longer than one batch, and a poll core sees its finished
/// ops in between.
pub(crate) struct MbQueuePair {
    capacity: usize,
    max_delay_ns: u64,
    /// Ops at which lanes are faster than one op at a time, by kind; [`NEVER`]: it has no queue for lanes.
    min_fill: [usize; OpKind::COUNT],
    /// Whether a few of a kind run in one call.
    is_cheap: [bool; OpKind::COUNT],
    /// The queues, those whose work is done soonest first.
    cheapest_first: [usize; QUEUES],
    waiting: [VecDeque<Box<Op>>; QUEUES],
    finished: VecDeque<Box<Op>>,
    in_flight: usize,
    /// The queue that `dequeue_burst` looks at first, so that none starves.
    turn: usize,
    /// The ops being run; empty between calls.
    #[allow(clippy::vec_box)] // boxed is how ops travel
    batch: Vec<Box<Op>>,
    lanes: Lanes,
    /// `cpu::run`.
    run_one: fn(&mut Op),
    stats: DeviceStats,
}

impl MbQueuePair {
    pub(crate) fn new(cpu: Cpu, config: QueuePairConfig, options: Options, fills: &Fills) -> Self {
        let room = || VecDeque::with_capacity(config.capacity);
        let never = |kind| options.blinding && is_rsa(kind);
        let cheap_ns = fills[OpKind::Rsa2048.index()].one_ns / CHEAP;
        Self {
            capacity: config.capacity,
            max_delay_ns: config.max_delay_ns,
            min_fill: OpKind::ALL.map(|kind| match never(kind) {
                true => NEVER,
                false => fills[kind.index()].pays_from(),
            }),
            is_cheap: fills.map(|fill| fill.one_ns < cheap_ns),
            cheapest_first: cheapest_first(fills),
            waiting: std::array::from_fn(|_| room()),
            finished: room(),
            in_flight: 0,
            turn: 0,
            batch: Vec::with_capacity(LANES),
            lanes: Lanes::new(cpu),
            run_one: cpu::run,
            stats: DeviceStats::default(),
        }
    }

    /// Whether a batch, full or overdue, or a single op waits in `queue`.
    fn is_due(&self, queue: usize, now_ns: u64) -> bool {
        let ops = &self.waiting[queue];
        let Some(oldest) = ops.front() else {
            return false;
        };
        queue == SCALAR
            || ops.len() >= LANES
            || now_ns.saturating_sub(oldest.enqueued_at_ns) >= self.max_delay_ns
    }

    /// Runs one unit of work from `queue`.
    fn run(&mut self, queue: usize) {
        let waiting = &mut self.waiting[queue];
        let fill = waiting.len().min(LANES);
        match OpKind::ALL.get(queue) {
            Some(kind) if fill >= self.min_fill[queue] => {
                self.batch.extend(waiting.drain(..fill));
                self.lanes.run(*kind, &mut self.batch);
                self.stats.batches += 1;
                self.stats.batched += fill as u64;
                for op in self
                    .batch
                    .iter_mut()
                    .filter(|op| op.status == OpStatus::NotProcessed)
                {
                    op.buffers().1.zeroize(); // a faulty signature gives the key away
                    (self.run_one)(op);
                    self.stats.faults_caught += 1;
                }
                self.finished.extend(self.batch.drain(..));
            }
            kind => {
                // Of RSA one op only: others may come meanwhile and make a batch of the rest.
                let count = match kind {
                    Some(kind) if self.is_cheap[kind.index()] => fill,
                    _ => fill.min(1),
                };
                for mut op in waiting.drain(..count) {
                    (self.run_one)(&mut op);
                    self.stats.scalar += 1;
                    self.finished.push_back(op);
                }
            }
        }
    }
}

impl QueuePair for MbQueuePair {
    fn name(&self) -> &str {
        NAME
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let taken = ops.len().min(self.capacity - self.in_flight);
        for mut op in ops.drain(..taken) {
            op.status = OpStatus::NotProcessed;
            let kind = op.kind().index();
            let queue = match self.min_fill[kind] < NEVER && lanes::serves(&op) {
                true => kind,
                false => SCALAR,
            };
            self.waiting[queue].push_back(op);
        }
        self.in_flight += taken;
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, now_ns: u64) -> usize {
        // What is finished leaves before another batch delays it.
        if self.finished.is_empty() && max > 0 {
            let mut order = (self.turn..QUEUES).chain(0..self.turn);
            if let Some(queue) = order.find(|queue| self.is_due(*queue, now_ns)) {
                self.turn = (queue + 1) % QUEUES;
                self.run(queue);
            }
        }
        let given = self.finished.len().min(max);
        for op in self.finished.drain(..given) {
            self.stats.failed += u64::from(op.status != OpStatus::Success);
            done.push(op);
        }
        self.in_flight -= given;
        self.stats.dequeued += given as u64;
        given
    }

    /// Runs from the cheapest kind first: what it finishes lets handshakes go on and fill the
    /// dear kinds' lanes. None starves, since an overdue op runs in `dequeue_burst`.
    fn flush(&mut self) {
        let mut queues = self.cheapest_first.into_iter();
        if let Some(queue) = queues.find(|queue| !self.waiting[*queue].is_empty()) {
            self.run(queue);
        }
    }

    fn stats(&self) -> DeviceStats {
        self.stats
    }

    fn is_inline(&self) -> bool {
        true
    }
}

const fn is_rsa(kind: OpKind) -> bool {
    matches!(kind, OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096)
}

/// Queues by how long a batch takes. What runs one at a time takes as long as a batch of RSA-2048 at most, mostly.
fn cheapest_first(fills: &Fills) -> [usize; QUEUES] {
    let ns = |queue: &usize| match fills.get(*queue) {
        Some(fill) => fill.batch_ns,
        None => fills[OpKind::Rsa2048.index()].batch_ns + 1,
    };
    let mut queues = std::array::from_fn(|queue| queue);
    queues.sort_by_key(ns);
    queues
}
