//! What can go wrong: an invalid capacity, and a full ring.

use std::fmt;

use crate::MAX_CAPACITY;

/// [`ring`](crate::ring) was asked for a capacity it cannot provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapacityError {
    /// Slots are found by masking, so their number must be a power of two.
    #[error("ring capacity {capacity} is not a power of two; use {}", nearest(*.capacity))]
    NotPowerOfTwo {
        /// The capacity asked for, in slots.
        capacity: usize,
    },
    /// More than [`MAX_CAPACITY`] slots.
    #[error("ring capacity {capacity} is too large; use at most {MAX_CAPACITY}")]
    TooLarge {
        /// The capacity asked for, in slots.
        capacity: usize,
    },
    /// The allocator has no room for the slots.
    #[error("no memory for a ring of {capacity} slots of {slot_bytes} bytes; use fewer slots")]
    OutOfMemory {
        /// The capacity asked for, in slots.
        capacity: usize,
        /// The size of one slot, in bytes.
        slot_bytes: usize,
    },
}

/// Returns the valid capacity to propose: the next power of two, within the limit.
fn nearest(capacity: usize) -> usize {
    capacity.min(MAX_CAPACITY).next_power_of_two()
}

/// The ring is full: [`Producer::push`](crate::Producer::push) gives the value
/// back.
///
/// Neither `Debug` nor `Display` shows the value, which may be a secret.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full; push again once the consumer has popped")]
pub struct Full<T>(
    /// The value that was not pushed.
    pub T,
);

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}
