//! What can go wrong, and how it is told to rustls.

use std::sync::Arc;

use rustls::OtherError;
use spinlane_lcore::OffloadError;
use thiserror::Error;

/// Why a connection cannot go on. The text names the culprit.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Error {
    /// rustls ended the connection; the output may hold an alert to be sent before closing.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// A handshake message did not fit the input that a connection may hold.
    #[error(
        "a handshake message is longer than the {limit} bytes of input that a connection may hold; raise the limit"
    )]
    InputTooLong {
        /// The limit.
        limit: usize,
    },
    /// Data came before the handshake was done, which only a configuration that asks for early data lets
    /// in.
    #[error("early data is not served; leave max_early_data_size at 0")]
    EarlyData,
    /// The configuration does not let the connection have its keys.
    #[error(
        "enable_secret_extraction is not set in the configuration; a connection seals and opens records itself and needs the keys: set it"
    )]
    SecretsKept,
    /// A record is lost, and so the connection, since the peer would miss it.
    #[error(
        "a device failed to seal a record, and software may not in its place; see the device's counters, or allow the fallback"
    )]
    Unsealed,
    /// The connection was called from within a job.
    #[error("a connection was called from within a job; call it from the pipeline's loop")]
    Nested,
    /// The job was lost: it ended without giving the connection's state back.
    #[error("the handshake's job ended without a result; it was abandoned by someone else")]
    Lost,
}

/// Why a private key cannot be used. The text names the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// It is of a kind that rustls over aws-lc does not sign with.
    #[error(
        "{what} is not supported; use RSA of 2048 to 8192 bits with two primes, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    Unsupported {
        /// What key it is.
        what: String,
    },
    /// It is of a known kind and cannot be understood, or does not fit together.
    #[error("the key is damaged: {what}; export it again from where it was made")]
    Damaged {
        /// What is wrong.
        what: String,
    },
}

/// An offload's failure in rustls' terms.
pub(crate) fn offload_error(error: OffloadError) -> rustls::Error {
    rustls::Error::Other(OtherError(Arc::new(error)))
}
