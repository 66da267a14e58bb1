//! What a driver that offers AEAD implements.

use spinlane_crypto::aead::Algorithm;

use super::{Buffer, Op};
use crate::device::{DeviceError, DeviceStats, QueuePairConfig};

/// Ops in submission (or completion) order. Enqueue takes from the front, and what it leaves moves up; dequeue adds at
/// the back. After warm-up neither allocates. (Bursts of records are handed over whole, for which a queue would
/// cost a quarter of what a small op may.)
pub type Burst = Vec<Box<Op>>;

/// Which algorithms a device offers, both ways each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self((1 << Algorithm::COUNT) - 1);

    /// These and `algorithm`.
    #[must_use]
    pub const fn with(self, algorithm: Algorithm) -> Self {
        Self(self.0 | 1 << algorithm.index())
    }

    /// Whether `algorithm` is among them.
    pub const fn has(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm.index()) != 0
    }

    /// The algorithms, in the order of [`Algorithm::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL
            .into_iter()
            .filter(move |algorithm| self.has(*algorithm))
    }
}

/// The part of a device that seals and opens. Found by [`Device::aead`](crate::Device::aead).
pub trait Device {
    /// What it offers.
    fn aead_capabilities(&self) -> Capabilities;

    /// Opens a queue pair, to be used by the calling thread alone. It is apart from those for private-key
    /// ops, whose bursts are of another type.
    ///
    /// # Errors
    /// The configuration is out of the device's range, or the device cannot be had.
    fn aead_queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError>;
}

/// One submission and one completion queue, owned by one thread.
pub trait QueuePair {
    /// Name of its device.
    fn name(&self) -> &str;

    /// Ops in flight at most.
    fn capacity(&self) -> usize;

    /// Which algorithms it serves.
    fn capabilities(&self) -> Capabilities;

    /// Zeroed memory for an op, which this device can reach and no op need be copied from. Allocates: once per
    /// op of a pool, never per use.
    ///
    /// # Errors
    /// `len` is above [`MAX_BUFFER`](super::MAX_BUFFER), or there is no memory.
    fn buffer(&self, len: usize) -> Result<Buffer, DeviceError> {
        Ok(Buffer::heap(len)?)
    }

    /// Takes ops from the front of `ops` until it is full; returns how many it took. What stays in `ops` was
    /// refused and is unchanged. An op that the device cannot serve is taken, holds up nobody behind
    /// it, and is given back by `dequeue_burst` as it came
    /// ([`Status::NotProcessed`](super::Status::NotProcessed)), or with an error if it was not prepared.
    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize;

    /// Adds at most `max` finished ops to the back of `done`; returns how many. A device that computes on the
    /// caller's core does so for a bounded time: 0 does not mean that nothing is in flight.
    fn dequeue_burst(&mut self, done: &mut Burst, max: usize) -> usize;

    /// What it counted so far.
    fn stats(&self) -> DeviceStats;

    /// Whether it computes on the caller's stack. Such a device cannot stall or lose an op while it
    /// is polled, so that nobody needs to keep a copy of the data, nor to look at deadlines.
    fn is_inline(&self) -> bool {
        false
    }

    /// The poll core has given up on every op in flight: see
    /// [`QueuePair::reset`](crate::QueuePair::reset).
    fn reset(&mut self) {}

    /// Counters of this driver alone, by name. Allocates.
    fn xstats(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
