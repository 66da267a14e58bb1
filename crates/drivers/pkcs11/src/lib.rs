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
//! use spinlane_cryptodev::{Burst, Device, Op, OpStatus, QueuePairConfig, Request, Token};
//! use spinlane_driver_pkcs11::{Settings, TokenDevice, uri::Uri};
//!
//! let uri: Uri = "pkcs11:token=web;object=site?module-path=/usr/lib/softhsm/libsofthsm2.so\
//!     &pin-source=file:/etc/spinlane/pin".parse()?;
//! let device = TokenDevice::open(&uri, Settings::default())?;
//! let key = device.key(&uri, None)?;
//! let mut queue_pair = device.queue_pair(QueuePairConfig::default())?;
//!
//! let mut op = Op::new();
//! op.prepare(Token(1), &Request::ecdsa_p256(&key, &[7; 32])?, 0);
//! let (mut ops, mut done) = (Burst::from([op]), Burst::new());
//! assert_eq!(queue_pair.enqueue_burst(&mut ops), 1);
//! while queue_pair.dequeue_burst(&mut done, 32, 0) == 0 {}
//! assert_eq!(done[0].status, OpStatus::Success);
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
//! SoftHSM2 2.6.1 and tpm2-pkcs11 1.9.0 over a TPM in software have been tried: no hardware, no cloud's module.

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
mod queue_pair;
mod settings;
mod spec;
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
pub use spec::{Spec, SpecError};

/// Its name in a device spec.
pub const NAME: &str = "pkcs11";
