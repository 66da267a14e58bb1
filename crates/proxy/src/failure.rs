//! What ends a connection early, and how to part from the client then.

use super::counters::Closed;
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

    /// The client went away before the handshake was done.
    pub fn truncated() -> Self {
        let detail = "the client closed the connection before the handshake was done";
        Self::new(Closed::Truncated, detail, Parting::Alert)
    }

    /// Of all unfinished handshakes, which hold too much, this one holds more than its share.
    pub fn hoards() -> Self {
        let detail = "unfinished handshakes have more under way than --max-unfinished-bytes, and this one more \
                      than its share";
        Self::new(Closed::HandshakeMemory, detail, Parting::None)
    }

    /// What came in place of a header of the PROXY protocol is none.
    pub fn no_header() -> Self {
        let detail = "what came is no header of the PROXY protocol, v1 or v2; have the balancer send one, or take it out of \
                      --proxy-from";
        Self::new(Closed::ProxyHeader, detail, Parting::None)
    }

    /// The client's TCP connection broke.
    pub fn reset(error: &std::io::Error) -> Self {
        Self::new(Closed::ClientReset, error, Parting::None)
    }

    /// The client ended TCP, but not TLS.
    pub fn bare_end() -> Self {
        let detail = "the client ended TCP without close_notify, so that its request may have been cut short; \
                      the backend's connection is reset; --bare-end pass takes it for the end";
        Self::new(Closed::BareEnd, detail, Parting::Alert)
    }

    /// No address of the backend can be connected to; `failed` names them. A clean end, as nothing was
    /// sent.
    pub fn unreachable(failed: &str) -> Self {
        Self::new(Closed::BackendUnreachable, failed, Parting::Notify)
    }

    /// The backend's connection broke. The client must not take what it got for the whole: no
    /// close_notify.
    pub fn backend_reset(error: &std::io::Error) -> Self {
        Self::new(Closed::BackendReset, error, Parting::Alert)
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

impl From<TlsError> for Failure {
    /// A record failed.
    fn from(error: TlsError) -> Self {
        Self::new(Closed::TlsError, error, Parting::Alert)
    }
}
