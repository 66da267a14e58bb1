//! The queue pair, of either class.

use std::collections::VecDeque;

use spinlane_cryptodev::{
    Burst, Capabilities, DeviceStats, Op, OpKind, OpStatus, Operation, QueuePair, aead,
};

use crate::{BUDGET_US, NAME};

/// What an op costs here: see [`cost_ns`](Cost::cost_ns).
pub(crate) trait Cost: Operation {
    /// Nanoseconds that the op takes: measured on a Zen 5 core and rounded up, for slower machines' sake. There
    /// is no clock here, so that a call's time is bounded by that.
    fn cost_ns(&self) -> u32;
}

impl Cost for Op {
    /// Measured were P-256 12 µs, P-384 66, Ed25519 6; X25519 5 and 18, ECDH 7 and 32 on P-256, 39 and 108 on
    /// P-384.
    fn cost_ns(&self) -> u32 {
        let us = match self.kind() {
            OpKind::Rsa2048 => 250,
            OpKind::Rsa3072 => 700,
            OpKind::Rsa4096 => 1500,
            OpKind::EcdsaP256 => 20,
            OpKind::EcdsaP384 => 80,
            OpKind::Ed25519 => 10,
            OpKind::X25519Keygen => 10,
            OpKind::X25519Derive => 25,
            OpKind::EcdhP256Keygen => 10,
            OpKind::EcdhP256Derive => 50,
            OpKind::EcdhP384Keygen => 60,
            OpKind::EcdhP384Derive => 150,
            OpKind::X25519Exchange => 35,
            OpKind::EcdhP256Exchange => 60,
            OpKind::EcdhP384Exchange => 210,
            OpKind::MlKem768Keygen | OpKind::MlKem768Encap => 30,
            OpKind::MlKem768Decap => 40,
            #[allow(
                unreachable_patterns,
                reason = "for kinds to come, until somebody measures them"
            )]
            _ => 100,
        };
        us * 1000
    }
}

impl Cost for aead::Op {
    /// That of the slowest algorithm.
    fn cost_ns(&self) -> u32 {
        200 + self.data_range().len() as u32 / 2
    }
}

/// Ops in line: first come, first served, at most `capacity`, and about [`BUDGET_US`] of them per call.
pub(crate) struct SoftQueuePair<O> {
    capacity: usize,
    waiting: VecDeque<Box<O>>,
    stats: DeviceStats,
}

impl<O> SoftQueuePair<O> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            waiting: VecDeque::with_capacity(capacity),
            stats: DeviceStats::default(),
        }
    }
}

impl<O: Cost> QueuePair<O> for SoftQueuePair<O> {
    fn name(&self) -> &str {
        NAME
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn capabilities(&self) -> Capabilities<O::Kind> {
        Capabilities::ALL
    }

    fn enqueue_burst(&mut self, ops: &mut Burst<O>) -> usize {
        let taken = ops.len().min(self.capacity - self.waiting.len());
        self.waiting.extend(ops.drain(..taken));
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst<O>, max: usize, _now_ns: u64) -> usize {
        let (mut given, mut spent_ns) = (0, 0);
        while given < max {
            let Some(next) = self.waiting.front() else {
                break;
            };
            spent_ns += next.cost_ns();
            if given > 0 && spent_ns > BUDGET_US * 1000 {
                break;
            }
            let Some(mut op) = self.waiting.pop_front() else {
                break;
            };
            op.run();
            self.stats.failed += u64::from(op.status != OpStatus::Success);
            done.push(op);
            given += 1;
        }
        self.stats.dequeued += given as u64;
        given
    }

    fn stats(&self) -> DeviceStats {
        self.stats
    }

    fn is_inline(&self) -> bool {
        true
    }
}
