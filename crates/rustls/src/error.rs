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
    /// Early data came, which only a configuration that asks for it lets in.
    #[error("early data is not served; leave max_early_data_size at 0")]
    EarlyData,
    /// The connection was called from within a job.
    #[error("a connection was called from within a job; call it from the pipeline's loop")]
    Nested,
    /// The job was lost: it ended without giving the connection's state back.
    #[error("the handshake's job ended without a result; it was abandoned by someone else")]
    Lost,
}

/// An offload's failure in rustls' terms.
pub(crate) fn offload_error(error: OffloadError) -> rustls::Error {
    rustls::Error::Other(OtherError(Arc::new(error)))
}
