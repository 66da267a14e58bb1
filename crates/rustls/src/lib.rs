//! rustls on Spinlane's jobs: a [`CryptoProvider`](rustls::crypto::CryptoProvider) whose
//! private-key ops pause the fiber, and [`Connection`], a TLS connection over memory buffers.
//!
//! rustls calls its signers and key exchanges synchronously. In a job, on a thread with a
//! current lcore, those of [`provider`] hand the op to a device and pause the job until it is done;
//! anywhere else they compute it on the spot. So one configuration serves both.
//!
//! # Offloaded
//! Signatures with RSA (2048, 3072 and 4096 bits), ECDSA on P-256 and P-384, and Ed25519; key exchange
//! by ECDH on both curves and by X25519, alone or as the classical half of X25519MLKEM768. The types'
//! names say so ([`OffloadedX25519`], …). All else is aws-lc-rs, on the CPU: record
//! protection, verification, ML-KEM, other keys. [`KeyOffload`] tells which of the two a private
//! key is.
//!
//! # Invariants
//! - Knows no socket and no device.
//! - Never pauses under a lock: tickets are sealed and opened without pausing.
//! - What a paused job borrows it owns: bytes that come meanwhile are queued outside of it.
//! - Every buffer is bounded.

#![forbid(unsafe_code)]

mod connection;
mod error;
mod kx;
mod provider;
mod sign;
mod ticket;
mod tls13;

pub use crate::connection::{Connection, DEFAULT_MAX_INPUT, Progress};
pub use crate::error::Error;
pub use crate::kx::{
    OffloadedEcdhP256, OffloadedEcdhP384, OffloadedX25519, X25519Mlkem768WithOffloadedX25519,
};
pub use crate::provider::{BufferedRandom, provider};
pub use crate::sign::{KeyOffload, LoadedKey, OffloadingKeyProvider, load_private_key};
pub use crate::ticket::{ChainTicketer, TicketSeed};

/// The rustls that this crate is built on, for its configurations.
pub use rustls;
