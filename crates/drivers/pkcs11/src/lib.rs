//! Private keys that stay in hardware: PKCS#11 tokens, without a poll core that waits for them.
//!
//! A token answers in milliseconds, by a call that blocks. So each session has a thread of its own, which
//! waits in the poll core's place; ops go to the threads and come back by rings.
//!
//! ```text
//!  poll cores                      sessions
//!  enqueue_burst ──rings──▶ ┐ worker 0 ─ C_Sign ┐
//!                           ├ worker 1 ─ C_Sign ┼─▶ module ─▶ token
//!  dequeue_burst ◀──rings── ┘ worker 2 ─ C_Sign ┘
//! ```
//! ```no_run
//! use std::sync::Arc;
//! use spinlane_driver_pkcs11::{Operation, Settings, TokenDevice, TokenOp, TokenOpBurst, uri::Uri};
//!
//! let uri: Uri = "pkcs11:token=web;object=site?module-path=/usr/lib/softhsm/libsofthsm2.so\
//!     &pin-source=file:/etc/spinlane/pin".parse()?;
//! let device = TokenDevice::open(&uri, Settings::default())?;
//! let key = device.key(&uri, None)?;
//! let mut queue = device.queue(256)?;
//!
//! let mut op = TokenOp::new();
//! assert!(op.prepare(1, &key, Operation::Private, &[7; 32])); // a digest, for a key on P-256
//! let (mut ops, mut done) = (TokenOpBurst::from([op]), TokenOpBurst::new());
//! queue.enqueue_burst(&mut ops, 0);
//! while queue.dequeue_burst(&mut done, 32, 0) == 0 {}
//! assert_eq!(done[0].result()?.len(), 64);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//! - A poll core never calls the module. It takes no lock and allocates nothing per op; its only system call is
//!   the wake of a worker that sleeps, which none does while there are ops for it.
//! - Every op comes back once. The module never has an op's own memory: an op whose worker does not return is
//!   taken from it, and fails.
//! - Nothing is computed in software: an op that the token does not do fails.
//! - A PIN that was refused is not tried again before it has changed, or somebody says so. A PIN is never
//!   printed, and never part of a URI.
//! - A result that does not fit the public key does not leave (unless [`Settings::verify`] is off).
//! - A child of fork(2) never calls the module that its parent opened.
//! - Knows no job, no TLS, no poll loop.
//!
//! # Not verified
//! Only SoftHSM2 2.6.1 has been tried: no hardware, no cloud's module.

#![forbid(unsafe_code)]

mod backend;
mod counters;
mod device;
mod error;
mod key;
mod module;
mod operation;
mod pin;
mod pool;
mod queue;
mod settings;
mod token;
pub mod uri;

pub use counters::Counts;
pub use device::TokenDevice;
pub use error::{Error, Failure, KeyProblem};
pub use key::TokenKey;
pub use operation::Operation;
pub use pin::{PinError, PinSource};
pub use queue::{MAX_INPUT, MAX_OUTPUT, TokenOp, TokenOpBurst, TokenQueue};
pub use settings::Settings;

/// Its name in a device spec.
pub const NAME: &str = "pkcs11";
