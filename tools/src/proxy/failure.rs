//! What ends a connection early, and how to part from the client then.

use super::counters::Closed;
use super::relay::RelayError;
use crate::tls::TlsError;

/// What ends a connection early.
#[derive(Debug)]
pub struct Failure {
    /// As counted.
    pub closed: Closed,
    /// For the log.
    pub detail: String,
    /// The last words.
    pub parting: Parting,
}

/// How to part from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The TCP connection is gone, or does not matter.
    None,
    /// The TLS library has said what there is to say.
    Alert,
    /// close_notify: the end is a clean one.
    Notify,
}

impl Failure {
    /// A failure of any kind.
    pub fn new(closed: Closed, detail: impl ToString, parting: Parting) -> Self {
        Self {
            closed,
            detail: detail.to_string(),
            parting,
        }
    }

    /// The client went away.
    pub fn truncated() -> Self {
        let detail = "the client closed the connection before the handshake was done";
        Self::new(Closed::Truncated, detail, Parting::Alert)
    }

    /// The handshake failed. `speaks_http`: the client began as plain HTTP does.
    pub fn of_handshake(error: &TlsError, speaks_http: bool) -> Self {
        let closed = match Closed::of_handshake(error) {
            Closed::NotTls if speaks_http => Closed::PlainHttp,
            closed => closed,
        };
        Self::new(closed, error, Parting::Alert)
    }
}

impl From<std::io::Error> for Failure {
    /// The client's socket failed.
    fn from(error: std::io::Error) -> Self {
        Self::new(Closed::ClientReset, error, Parting::None)
    }
}

impl From<TlsError> for Failure {
    /// A record failed.
    fn from(error: TlsError) -> Self {
        Self::new(Closed::TlsError, error, Parting::Alert)
    }
}

impl From<RelayError> for Failure {
    /// An unreachable backend is a clean end, as nothing was sent. After a broken one the client
    /// must not take what it got for the whole: no close_notify.
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Unreachable(error) => {
                Self::new(Closed::BackendUnreachable, error, Parting::Notify)
            }
            RelayError::Reset(error) => Self::new(Closed::BackendReset, error, Parting::Alert),
        }
    }
}
