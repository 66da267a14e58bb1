//! The crypto device contract: keys, ops, capabilities, queue pairs.
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
//! Bulk data goes another way: see [`aead`].
//!
//! # Invariants
//! - Knows no job, no fiber, no TLS, no clock of its own.
//! - Depends on no other crate of this workspace.
//! - A burst call allocates nothing, takes no lock and makes no system call
//!   (except a device's own, which its driver states).
//! - Key material is zeroized on drop and never printed.
//! - Unsafe code lives in `aws_lc`, the one module that speaks C, in `sha512::kernel`, which calls
//!   assembly of its own, in `sha256`, which uses instructions of its own, and where [`Erased`] drops
//!   its value, and nowhere else.

#![deny(unsafe_code)]

pub mod aead;
mod aws_lc;
pub mod cpu;
pub mod curve;
mod device;
pub mod digest;
mod key;
pub mod nonce;
mod op;
pub mod padding;
pub mod random;
mod sha2;
mod sha256;
mod sha512;
#[cfg(feature = "test-keys")]
pub mod test_keys;
pub mod unpadding;
mod wiped;

pub use aws_lc::fork_generation;
pub use device::{
    Capabilities, Device, DeviceError, DeviceStats, OpBurst, QueuePair, QueuePairConfig,
};
pub use key::{EcKey, EcP256Key, EcP384Key, Ed25519Key, Key, KeyError, RsaComponents, RsaKey};
pub use op::{MAX_INPUT, MAX_OUTPUT, Op, OpKind, OpStatus, Request, RequestError, Token};
pub use wiped::{Erased, Wiped, wiping_stack};
