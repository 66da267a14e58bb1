//! Devices and their queue pairs: what a driver implements.

use std::collections::VecDeque;

use thiserror::Error;

use crate::aead;
use crate::op::{Op, OpKind};

/// Ops in submission (or completion) order. Enqueue takes from the front, dequeue adds at
/// the back; after warm-up neither allocates.
pub type OpBurst = VecDeque<Box<Op>>;

/// Which op kinds a device offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self((1 << OpKind::COUNT) - 1);

    /// These and `kind`.
    #[must_use]
    pub const fn with(self, kind: OpKind) -> Self {
        Self(self.0 | 1 << kind.index())
    }

    /// Whether `kind` is among them.
    pub const fn has(self, kind: OpKind) -> bool {
        self.0 & (1 << kind.index()) != 0
    }

    /// The kinds, in the order of [`OpKind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = OpKind> {
        OpKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

/// How a queue pair is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePairConfig {
    /// Ops in flight at most, 1 to 65536. An enqueue beyond that is refused.
    pub capacity: usize,
    /// Longest wait of an op in a partial batch, in nanoseconds. Only batching devices look at it.
    pub max_delay_ns: u64,
}

impl Default for QueuePairConfig {
    /// 256 ops in flight, partial batches wait at most 1 ms. A shorter wait empties the lanes
    /// at high load: a batch of RSA-2048 itself takes most of a millisecond.
    fn default() -> Self {
        Self {
            capacity: 256,
            max_delay_ns: 1_000_000,
        }
    }
}

impl QueuePairConfig {
    /// Most ops in flight that may be asked for.
    pub const MAX_CAPACITY: usize = 1 << 16;

    /// Whether a queue pair of `device` can be opened so: what every driver asks first.
    ///
    /// # Errors
    /// [`DeviceError::Setting`] if the capacity is 0 or above [`QueuePairConfig::MAX_CAPACITY`].
    pub fn check(&self, device: &'static str) -> Result<(), DeviceError> {
        if (1..=Self::MAX_CAPACITY).contains(&self.capacity) {
            return Ok(());
        }
        Err(DeviceError::Setting {
            device,
            setting: "capacity",
            value: self.capacity,
            wanted: "1 to 65536 ops",
        })
    }
}

/// A crypto device. Any thread may open queue pairs on it.
pub trait Device: Send + Sync {
    /// Name as in a device spec, e.g. `mb`.
    fn name(&self) -> &str;
    /// What it offers.
    fn capabilities(&self) -> Capabilities;
    /// Cores that it keeps busy itself; none, by default.
    fn cores(&self) -> Vec<usize> {
        Vec::new()
    }
    /// Opens a queue pair, to be used by the calling thread alone.
    ///
    /// # Errors
    /// The configuration is out of the device's range, or the device cannot be had.
    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError>;

    /// Its part for authenticated encryption of bulk data, if it has one.
    fn aead(&self) -> Option<&dyn aead::Device> {
        None
    }
}

/// One submission and one completion queue of a device, owned by one thread.
pub trait QueuePair {
    /// Name of its device.
    fn name(&self) -> &str;

    /// Ops in flight at most.
    fn capacity(&self) -> usize;

    /// Whether it serves ops of this kind.
    fn capabilities(&self) -> Capabilities;

    /// Takes ops from the front of `ops` until it is full; returns how many it took. What
    /// stays in `ops` was refused and is unchanged. Only queues: the work is done in
    /// `dequeue_burst` or `flush`, on the poll core's own stack, since a fiber's is too small.
    fn enqueue_burst(&mut self, ops: &mut OpBurst) -> usize;

    /// Adds at most `max` finished ops to the back of `done`; returns how many. Runs full
    /// batches, and partial ones whose oldest op has waited `max_delay_ns` at `now_ns` (the
    /// clock of [`Op::enqueued_at_ns`]). A device that computes on the caller's core does so
    /// for a bounded time: 0 does not mean that nothing is due, nor that nothing is in flight.
    fn dequeue_burst(&mut self, done: &mut OpBurst, max: usize, now_ns: u64) -> usize;

    /// Runs what waits for company now: the poll core has nothing else to do. The results come
    /// out of the next `dequeue_burst`. Bounded likewise: with enough kinds waiting it takes
    /// several flushes to run them all, with a dequeue between them.
    fn flush(&mut self);

    /// Whether ops may wait in it for company until a [`flush`](Self::flush); otherwise there is no
    /// need to call that.
    fn batches(&self) -> bool {
        true
    }

    /// What it counted so far.
    fn stats(&self) -> DeviceStats;

    /// Whether it computes on the poll core's own stack, in `dequeue_burst` and `flush`. Such a
    /// device cannot stall or lose an op while it is polled, so that nobody needs to keep a copy
    /// of what it was given, nor to look at deadlines.
    fn is_inline(&self) -> bool {
        false
    }

    /// The poll core has given up on every op in flight: the queue pair lets go of them, as far
    /// as it can, and starts afresh. What comes back later all the same is dropped by its token.
    /// Not on the data path: may allocate and make system calls.
    fn reset(&mut self) {}

    /// Counters of this driver alone, by name; what DPDK calls extended statistics. Allocates.
    fn xstats(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// What a queue pair counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// Ops accepted.
    pub enqueued: u64,
    /// Ops given back, whatever their status.
    pub dequeued: u64,
    /// Ops given back with a status other than success.
    pub failed: u64,
    /// Batches run in parallel lanes; 0 for a device without lanes.
    pub batches: u64,
    /// Ops run in those batches: `batched / batches` is the mean lane fill.
    pub batched: u64,
    /// Ops a batching device ran one at a time, too few of them being there.
    pub scalar: u64,
    /// Results that lanes got wrong, as the check by the public exponent or the library itself
    /// found, and that were computed again.
    pub faults_caught: u64,
}

impl std::ops::AddAssign for DeviceStats {
    fn add_assign(&mut self, other: Self) {
        self.enqueued += other.enqueued;
        self.dequeued += other.dequeued;
        self.failed += other.failed;
        self.batches += other.batches;
        self.batched += other.batched;
        self.scalar += other.scalar;
        self.faults_caught += other.faults_caught;
    }
}

/// A device that cannot be had, or not so. The text names the culprit and the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// The machine lacks what the device needs.
    #[error("device {device}: {missing} is missing; {remedy}")]
    Unavailable {
        /// Name of the device.
        device: &'static str,
        /// What it needs.
        missing: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A setting is out of range.
    #[error("device {device}: {setting} is {value}, must be {wanted}")]
    Setting {
        /// Name of the device.
        device: &'static str,
        /// Which setting.
        setting: &'static str,
        /// The value given.
        value: usize,
        /// The range.
        wanted: &'static str,
    },
    /// An option that the device does not have.
    #[error("device {device}: {option:?} is no option; there is: {known}")]
    Option {
        /// Name of the device.
        device: &'static str,
        /// What was given.
        option: String,
        /// What may be given.
        known: &'static str,
    },
    /// A buffer that cannot be had.
    #[error(transparent)]
    Aead(#[from] aead::Error),
    /// There is no memory of the kind that the device needs.
    #[error(
        "device {device}: no memory for a buffer of {len} bytes; give it more, or ask for fewer"
    )]
    NoMemory {
        /// Name of the device.
        device: &'static str,
        /// Bytes asked for.
        len: usize,
    },
}
