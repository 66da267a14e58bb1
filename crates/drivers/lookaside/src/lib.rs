//! Crypto device that puts another one on pinned cores of its own, behind rings.
//!
//! ```text
//!   client lcores                                          crypto cores
//!   enqueue_burst ──submission ring──▶ ┐  gather from all clients ▶ inner queue pair
//!   dequeue_burst ◀─completion ring─── ┘  partial batch when idle ◀ results
//! ```
//! Every client has a pair of rings to every crypto core, so that no two threads ever push to, or
//! pop from, the same ring. Ops travel by value. A batch is filled across clients. A client's poll
//! costs what two rings cost, whatever is computed meanwhile. Records have queue pairs, and rings, of their own; one
//! thread per core serves both classes.
//!
//! ```
//! use spinlane_cryptodev::{Device, Op, Burst, OpStatus, QueuePairConfig, Request, Token};
//! use spinlane_driver_lookaside::{IdlePolicy, LookasideDevice, Settings};
//! use spinlane_driver_soft::SoftDevice;
//!
//! let settings = Settings {
//!     idle: IdlePolicy::shared(std::time::Duration::from_micros(50)),
//!     ..Settings::default()
//! };
//! # let cores = [core_affinity::get_core_ids().expect("there are cores")[0].id];
//! let device = LookasideDevice::new(Box::new(SoftDevice::new()), &cores, settings)?;
//! let mut queue_pair = device.queue_pair(QueuePairConfig::default())?;
//!
//! let mut op = Op::new();
//! op.prepare(Token(1), &Request::x25519_keygen(&[7; 32]), 0);
//! let (mut ops, mut done) = (Burst::from([op]), Burst::new());
//! assert_eq!(queue_pair.enqueue_burst(&mut ops), 1);
//! while queue_pair.dequeue_burst(&mut done, 32, 0) == 0 {}
//! assert_eq!(done[0].status, OpStatus::Success);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//! - Every op that a queue pair takes comes back once, whatever happens to the crypto core:
//!   - finished, or failed by the inner device: as the inner device gave it back;
//!   - lost by the inner device, or held by it when it panicked: an op without operands in its
//!     place, with its token and [`OpStatus::Error`](spinlane_cryptodev::OpStatus::Error);
//!   - never taken by the inner device when the crypto core ended: with `Error`.
//!
//!   Only a crypto core that is stuck within the inner device keeps its ops, until it goes on; its
//!   clients see that by its beat, and give it no more. Their ops' deadlines do the rest.
//! - While there are ops, no thread allocates, locks, or makes a system call, but for what the
//!   inner device does. Attaching, stopping, a lost op and a panic do.
//! - An op that the inner device gives back twice, or late, is dropped and reported.
//! - A crypto core's flush is work-conserving: a partial batch waits for nothing but the core.
//! - Knows no job and no TLS. Its own clock is told to the inner device alone: an op has its client's
//!   token and time again when it comes back.
//!
//! # Who owns what
//! 1. A client owns the producer of its submissions and the consumer of its completions; the
//!    other two ends, its port, are posted to the crypto core's inbox.
//! 2. The crypto core owns the inner queue pair, which is opened and closed by its thread.
//! 3. The crypto core's thread ends when it is asked to, or when the inner device panics. It then
//!    closes the inbox and posts every port home, where the client finds what was stranded in it.
//! 4. Dropping the device and all its queue pairs asks the thread to end and waits for it.

#![forbid(unsafe_code)]

mod crypto_core;
mod device;
mod handle;
mod idle;
mod link;
mod mailbox;
mod queue_pair;
mod settings;
mod sync;
mod table;

pub use device::{LookasideDevice, check};
pub use idle::IdlePolicy;
pub use settings::{Settings, StartError};

/// Its name in a device spec.
pub const NAME: &str = "lookaside";
