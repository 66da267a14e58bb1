//! The queue pair: which ops form a batch, and when it runs.

use std::collections::VecDeque;

use spinlane_cryptodev::{
    Burst, Capabilities, DeviceStats, Op, OpKind, OpStatus, QueuePair, QueuePairConfig, cpu,
};

use zeroize::Zeroize;

use crate::ffi::{Cpu, LANES};
use crate::lanes::{self, Lanes};
use crate::{NAME, Options};

#[cfg(test)]
mod tests;

/// Queues: one per kind for the lanes, and one for what the lanes do not serve.
const QUEUES: usize = OpKind::COUNT + 1;
/// The queue of ops that run one at a time.
const SCALAR: usize = OpKind::COUNT;

/// ```text
///  enqueue ─┬▶ waiting[kind]  ─ 8, or some at their time ─▶ lanes ─┬▶ finished ─▶ dequeue
///           └▶ waiting[SCALAR] ─────────────────────────▶ cpu::run ┘
/// ```
/// One call of `dequeue_burst` or `flush` runs one unit of work at most: a batch, one RSA op, or
/// a few cheap ones. So no call lasts longer than one batch, and a poll core sees its finished
/// ops in between.
pub(crate) struct MbQueuePair {
    capacity: usize,
    max_delay_ns: u64,
    options: Options,
    /// Ops at which lanes are faster than one op at a time, by kind.
    min_fill: [usize; OpKind::COUNT],
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
    pub(crate) fn new(cpu: Cpu, config: QueuePairConfig, options: Options) -> Self {
        let room = || VecDeque::with_capacity(config.capacity);
        Self {
            capacity: config.capacity,
            max_delay_ns: config.max_delay_ns,
            options,
            min_fill: OpKind::ALL.map(min_fill),
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
                let count = if kind.is_some_and(|kind| is_cheap(*kind)) {
                    fill
                } else {
                    fill.min(1)
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
            let to_blind = self.options.blinding && is_rsa(op.kind());
            let queue = if lanes::serves(&op) && !to_blind {
                op.kind().index()
            } else {
                SCALAR
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
        const CHEAPEST_FIRST: [usize; QUEUES] = [
            OpKind::X25519Keygen.index(),
            OpKind::EcdhP256Keygen.index(),
            OpKind::X25519Derive.index(),
            OpKind::MlKem768Keygen.index(),
            OpKind::MlKem768Encap.index(),
            OpKind::EcdsaP256.index(),
            OpKind::MlKem768Decap.index(),
            OpKind::X25519Exchange.index(),
            OpKind::Ed25519.index(),
            OpKind::EcdhP256Derive.index(),
            OpKind::EcdhP384Keygen.index(),
            OpKind::EcdhP256Exchange.index(),
            OpKind::EcdsaP384.index(),
            OpKind::EcdhP384Derive.index(),
            OpKind::EcdhP384Exchange.index(),
            OpKind::Rsa2048.index(),
            SCALAR,
            OpKind::Rsa3072.index(),
            OpKind::Rsa4096.index(),
        ];
        if let Some(queue) = CHEAPEST_FIRST
            .into_iter()
            .find(|queue| !self.waiting[*queue].is_empty())
        {
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

/// Whether a few of these cost less than a poll iteration's system calls.
const fn is_cheap(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::EcdsaP256
            | OpKind::Ed25519
            | OpKind::X25519Keygen
            | OpKind::X25519Derive
            | OpKind::EcdhP256Keygen
            | OpKind::EcdhP256Derive
            | OpKind::X25519Exchange
            | OpKind::EcdhP256Exchange
            | OpKind::MlKem768Keygen
            | OpKind::MlKem768Encap
            | OpKind::MlKem768Decap
    )
}

/// Ops at which a batch is faster than one after the other, by aws-lc. Measured on a Zen 5 core,
/// checks and nonces included (microseconds):
///
/// | | batch of 8 | one op | pays from |
/// |---|---|---|---|
/// | RSA-2048 | 505 | 227 | 2.2 |
/// | RSA-3072 | 1590 | 668 | 2.4 |
/// | RSA-4096 | 3680 | 1433 | 2.6 |
/// | P-256 | 30 + 1.05 per op | 12 | 2.7 |
/// | X25519 keygen | 8.4 | 5.2 | 1.6 |
/// | X25519 derive | 30.0 | 18.1 | 1.7 |
/// | P-384 | 137 | 66 | 2.1 |
/// | Ed25519, twice | 43.2 | 6.3 | 6.9 |
/// | ECDH P-256 keygen | 20.5 | 6.8 | 3.0 |
/// | ECDH P-256 derive | 75 | 32 | 2.3 |
/// | ECDH P-384 keygen | 83 | 39 | 2.1 |
/// | ECDH P-384 derive | 303 | 108 | 2.8 |
const fn min_fill(kind: OpKind) -> usize {
    match kind {
        OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => 3,
        OpKind::EcdsaP256 => 3,
        OpKind::X25519Keygen => 2,
        OpKind::X25519Derive => 2,
        OpKind::EcdsaP384 => 3,
        OpKind::Ed25519 => 7,
        OpKind::EcdhP256Keygen => 4,
        OpKind::EcdhP256Derive => 3,
        OpKind::EcdhP384Keygen => 3,
        OpKind::EcdhP384Derive => 3,
        // Both of their parts together.
        OpKind::X25519Exchange => 2,
        OpKind::EcdhP256Exchange | OpKind::EcdhP384Exchange => 3,
        OpKind::MlKem768Keygen | OpKind::MlKem768Encap | OpKind::MlKem768Decap => 2,
    }
}
