//! rustls on Spinlane's jobs: a [`CryptoProvider`](rustls::crypto::CryptoProvider) whose
//! private-key ops pause the fiber, and [`Connection`], a TLS connection over memory buffers.
//!
//! rustls calls its signers and key exchanges synchronously. In the job of a connection that is attached to an
//! lcore, those of [`provider`] hand the op to a device and pause the job until it is done; anywhere else they
//! compute it on the spot. So one configuration serves both.
//!
//! # Offloaded
//! Signatures with RSA (2048, 3072 and 4096 bits), ECDSA on P-256 and P-384, and Ed25519; key exchange
//! by ECDH on both curves, by X25519, and by X25519MLKEM768 and SecP256r1MLKEM768, both of whose halves
//! wait in one pause. The types' names say so ([`OffloadedX25519`], …). All else is aws-lc, on the CPU: record
//! protection, verification, other keys. [`KeyOffload`] tells which of the two a private key is.
//!
//! # Records
//! rustls does the handshake; then a [`Connection`] takes the traffic secrets over and seals and opens
//! records itself: out of the caller's memory into the output or the caller's memory in one pass, and open
//! where they came in. So a configuration must let it have the secrets: set
//! `enable_secret_extraction`.
//!
//! # Example
//! One turn of a pipeline that serves connection 7 on `lcore`:
//! ```no_run
//! use spinlane_lcore::{Conn, Lcore};
//! use spinlane_rustls::{Connection, Error, Progress};
//!
//! fn accept(lcore: &Lcore, config: std::sync::Arc<rustls::ServerConfig>) -> Result<Connection, Error> {
//!     let mut conn = Connection::server(config)?;
//!     conn.attach(lcore, Conn(7));
//!     Ok(conn)
//! }
//!
//! fn turn(lcore: &Lcore, conn: &mut Connection, from_peer: &[u8]) -> Result<(), Error> {
//!     conn.push_input(from_peer);
//!     if !conn.is_paused() {
//!         conn.handshake()?; // Paused: an op is with a device
//!     }
//!     let _ = lcore.poll(); // finished ops make their notifications here
//!     while let Some(Conn(7)) = lcore.next_ready() {
//!         if let Progress::Done(_) = conn.handshake()? {
//!             conn.write(b"hello")?;
//!         }
//!     }
//!     let _ = conn.write_output(|to_peer| Ok(to_peer.len())); // send it
//!     Ok(())
//! }
//! ```
//!
//! # Invariants
//! - Knows no socket and no device.
//! - Never pauses under a lock: tickets are sealed and opened without pausing.
//! - What a paused job borrows it owns: bytes that come meanwhile are queued outside of it.
//! - Every buffer is bounded.

#![forbid(unsafe_code)]

mod certificates;
mod connection;
mod error;
mod kx;
mod provider;
mod record;
mod roots;
mod setup;
mod sign;
mod ticket;
mod tls13;

pub use crate::certificates::{CertificateError, CertificatesByName, certified, chain_digest};
pub use crate::connection::{Connection, DEFAULT_MAX_INPUT};
pub use crate::error::{Error, KeyError};
pub use crate::kx::{
    OffloadedEcdhP256, OffloadedEcdhP384, OffloadedSecp256r1Mlkem768, OffloadedX25519,
    OffloadedX25519Mlkem768,
};
pub use crate::provider::{BufferedRandom, prefer_aes128, prefer_aes256, provider};
pub use crate::roots::{NoRoots, system_roots};
pub use crate::setup::{SetupError, client_config, server_config};
pub use crate::sign::{KeyOffload, LoadedKey, OffloadingKeyProvider, device_key, load_private_key};
pub use crate::ticket::{ChainTicketer, MOST_PERIODS, SCOPE_LEN, TicketSeed};
pub use spinlane_lcore::Progress;

/// The rustls that this crate is built on, for its configurations.
pub use rustls;
