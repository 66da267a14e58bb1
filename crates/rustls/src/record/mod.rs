//! The record layer of an established connection: sealed out of the caller's memory in one pass, opened
//! where the bytes came in.
//!
//! rustls seals into memory of its own and copies that out: its traits hand a whole record over. So once
//! the handshake is done, the connection takes over the traffic secrets (rustls' [`kernel`](rustls::kernel)
//! module, made for kernels that do TLS) and protects records itself:
//! ```text
//!   TLS 1.3  │ 17 03 03 length │ ciphertext of text, type, zeros │ tag │   RFC 8446, section 5.2
//!   TLS 1.2  │ type 03 03 length │ (nonce, of GCM) │ ciphertext │ tag │   RFC 5246, 6.2.3.3; 5288; 7905
//! ```
//! What rustls does is done here too, errors and alerts included. Where rustls ends a connection without
//! an alert although RFC 8446 has one for the case, that alert is sent.
//!
//! # Invariants
//! - A nonce is used once: sequence numbers only grow, and stop before they wrap (RFC 8446, section
//!   5.3).
//! - No byte of a record that fails its tag is shown; aws-lc compares tags in constant time.
//! - Keys and nonces are wiped when they go.

mod keys;
mod open;
mod seal;

pub(crate) use open::Opener;
pub(crate) use seal::Sealer;

use rustls::{AlertDescription, Error, InvalidMessage, PeerMisbehaved};

/// Bytes of a record's header.
pub(crate) const HEADER: usize = 5;
/// Longest text of a record (RFC 8446, section 5.1).
pub(crate) const MAX_FRAGMENT: usize = 16 * 1024;
/// No record of TLS 1.2 is as long without its header: 2 KiB of overhead are more than any suite needs (RFC
/// 5246, section 6.2.3).
const TOO_LONG_PAYLOAD_TLS12: usize = MAX_FRAGMENT + 2048;
/// Longest record of TLS 1.3 without its header (RFC 8446, section 5.2).
pub(crate) const MAX_PAYLOAD_TLS13: usize = MAX_FRAGMENT + 256;
/// Most that header, nonce, type and tag take, in any version and suite, and to spare.
pub(crate) const OVERHEAD: usize = 64;
/// From this sequence number on nothing is sealed or opened.
const LAST_SEQUENCE: u64 = u64::MAX - 1;
/// From this one on, a connection prepares to end or to change its keys.
const NEARLY_LAST_SEQUENCE: u64 = u64::MAX - 0xffff;

/// Level of an alert that ends the connection (RFC 8446, section 6).
pub(crate) const FATAL: u8 = 2;

/// Content types (RFC 8446, section 5.1).
pub(crate) mod content {
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const APPLICATION_DATA: u8 = 23;
    pub(crate) const HEARTBEAT: u8 = 24;
}

/// Why a connection ends, and what the peer is told of it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) error: crate::Error,
    pub(crate) alert: Option<AlertDescription>,
}

impl Fault {
    pub(crate) fn new(error: impl Into<Error>, alert: AlertDescription) -> Self {
        let error = crate::Error::Tls(error.into());
        Self {
            error,
            alert: Some(alert),
        }
    }

    /// One that the peer is not told of.
    pub(crate) fn silent(error: impl Into<crate::Error>) -> Self {
        Self {
            error: error.into(),
            alert: None,
        }
    }

    /// A message that cannot be read.
    pub(crate) fn decode(message: InvalidMessage) -> Self {
        Self::new(message, AlertDescription::DecodeError)
    }

    /// A record or message that should not have come.
    pub(crate) fn unexpected(error: impl Into<Error>) -> Self {
        Self::new(error, AlertDescription::UnexpectedMessage)
    }

    /// What the peer must not do.
    pub(crate) fn misbehaved(what: PeerMisbehaved) -> Self {
        Self::unexpected(what)
    }
}
