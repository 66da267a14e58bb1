//! SPSC burst ring: bounded, lock-free, a power of two slots.
//!
//! [`ring`] makes the two ends of one queue: the [`Producer`] belongs to one
//! thread, the [`Consumer`] to one thread, and values go across in order.
//!
//! ```
//! use std::collections::VecDeque;
//!
//! let (mut producer, mut consumer) = spinlane_ring::ring(4)?;
//! producer.push(1)?;
//!
//! let mut burst = VecDeque::from([2, 3, 4, 5]);
//! assert_eq!(producer.push_burst(&mut burst), 3);
//! assert_eq!(burst, [5]); // the ring was full; nothing is lost
//!
//! assert_eq!(consumer.pop(), Some(1));
//! assert_eq!(consumer.pop_burst(32).collect::<Vec<_>>(), [2, 3, 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - Knows no op: a value is moved in and moved out, never looked at.
//! - No lock, no system call, no wait; every call ends after a number of
//!   steps bounded by its burst.
//! - No allocation after [`ring`], no deallocation before the second end is
//!   dropped.
//! - No value is lost, doubled or reordered; a push that fails gives it back.
//! - No end is shared: both are `Send`, neither is `Sync` or `Clone`. So the compiler
//!   checks that there is one producer and one consumer.
//! - An end reads the other end's cache line only when the ring seems full
//!   (or empty) by what it saw last.
//!
//! # Ownership of the shared state
//!
//! 1. `tail` is stored by the producer only, `head` by the consumer only.
//! 2. Slots from `head` up to `tail` are initialised and the consumer's; the
//!    other slots are uninitialised and the producer's.
//! 3. An index moves a slot to the other end with a Release store, and that
//!    end may touch the slot after the Acquire load that saw the index.
//! 4. Of the two ends the one dropped last frees the ring and the values left.
//!
//! # What must not compile
//!
//! An end in two threads:
//! ```compile_fail,E0277
//! fn shared<T: Sync>(_: T) {}
//! shared(spinlane_ring::ring::<u32>(4).unwrap().0);
//! ```
//! ```compile_fail,E0277
//! fn shared<T: Sync>(_: T) {}
//! shared(spinlane_ring::ring::<u32>(4).unwrap().1);
//! ```
//! A second producer or consumer:
//! ```compile_fail,E0599
//! let second = spinlane_ring::ring::<u32>(4).unwrap().0.clone();
//! ```
//! ```compile_fail,E0599
//! let second = spinlane_ring::ring::<u32>(4).unwrap().1.clone();
//! ```
//! A value that may not leave its thread:
//! ```compile_fail,E0277
//! fn sent<T: Send>(_: T) {}
//! sent(spinlane_ring::ring::<std::rc::Rc<u32>>(4).unwrap().0);
//! ```
//! ```compile_fail,E0277
//! fn sent<T: Send>(_: T) {}
//! sent(spinlane_ring::ring::<std::rc::Rc<u32>>(4).unwrap().1);
//! ```
//! A value that dies before the consumer may read it:
//! ```compile_fail,E0597
//! let (mut producer, mut consumer) = spinlane_ring::ring::<&u32>(4).unwrap();
//! {
//!     let short_lived = 1;
//!     producer.push(&short_lived).unwrap();
//! }
//! consumer.pop();
//! ```

mod consumer;
mod error;
mod producer;
mod shared;
mod slots;
mod sync;

pub use consumer::{Burst, Consumer};
pub use error::{CapacityError, Full};
pub use producer::Producer;

/// The most slots a ring may have: 2³⁰.
///
/// Indices are compared by wrapping subtraction, which any power of two
/// allows; the limit only turns a mistaken capacity into an error instead of
/// an exhausted memory.
pub const MAX_CAPACITY: usize = 1 << 30;

/// Makes a ring of `capacity` slots and returns its two ends.
///
/// All `capacity` slots can be filled: no slot is kept free to tell full from empty. This is
/// the ring's only allocation.
///
/// # Errors
///
/// [`CapacityError`] if `capacity` is zero, not a power of two, greater than
/// [`MAX_CAPACITY`], or more than the memory holds.
pub fn ring<T>(capacity: usize) -> Result<(Producer<T>, Consumer<T>), CapacityError> {
    let shared = shared::Shared::allocate(capacity)?;
    // SAFETY: `shared` was just allocated, and goes to exactly one producer
    // and one consumer.
    Ok(unsafe { (Producer::new(shared), Consumer::new(shared)) })
}
