//! The crypto device contract: ops, capabilities, queue pairs.
//!
//! An [`Op`] is one operation on its way through a device. Whoever submits it
//! gives it away by value ([`QueuePair::enqueue_burst`]) and gets it back when
//! it is done ([`QueuePair::dequeue_burst`]), so that no two parties ever look
//! at the same op at once. What went wrong is in the op ([`OpStatus`]); a
//! burst call itself only counts. The vocabulary is that of DPDK's
//! `rte_cryptodev`.
//!
//! ```
//! use spinlane_cryptodev::{Op, OpStatus, Request, Token, cpu};
//!
//! let (private, peer) = ([7; 32], [9; 32]);
//! let mut op = Op::new();
//! op.prepare(Token(1), &Request::x25519_derive(&private, &peer), 0);
//! cpu::run(&mut op); // or a queue pair's enqueue_burst and dequeue_burst
//! assert_eq!(op.status, OpStatus::Success);
//! assert_eq!(op.output().len(), 32);
//! ```
//!
//! Records are a class of ops of their own: see [`aead`]. All else is generic over the class ([`Operation`]).
//!
//! # Three faces
//! - *Applications* say what they want: [`Request`], [`aead::Request`], and the settings of a queue pair
//!   ([`QueuePairConfig`]).
//! - *Drivers* implement [`Device`] and [`QueuePair`], say what they offer ([`Capabilities`]), and work on
//!   [`Op`]s.
//! - *The data path* between the two moves bursts of ops, knows them by their [`Token`]s, and computes by
//!   the reference ([`cpu`]) what no device can.
//!
//! # Invariants
//! - Knows no job, no fiber, no TLS, no clock of its own.
//! - Depends on `spinlane_crypto` alone, which computes.
//! - A burst call allocates nothing, takes no lock and makes no system call
//!   (except a device's own, which its driver states).
//! - Operands and results are wiped when an op is recycled, and never printed.

#![forbid(unsafe_code)]

pub mod aead;
mod buffer;
mod class;
pub mod cpu;
mod device;
mod key;
mod kind;
mod op;
mod ops;
mod request;
#[cfg(feature = "test-keys")]
pub mod test_keys;

pub use buffer::{Buffer, MAX_BUFFER, Memory, SIZE_CLASSES, size_class};
pub use class::Operation;
pub use device::{
    Burst, Capabilities, Device, DeviceError, DeviceStats, HealthConfig, Limits, QueuePair,
    QueuePairConfig,
};
pub use key::KeyHandle;
pub use kind::{Check, Compute, Kind, MAX_KINDS, OpKind, OpSpec};
pub use op::{Head, Op, OpStatus, Token};
pub use ops::{MAX_OUTPUT, PssHash};
pub use request::{Request, RequestError};
