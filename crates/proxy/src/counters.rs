//! What a core counts, and why connections end.

use rustls::InvalidMessage;
use spinlane::openssl::{ErrorStack, SslError};
use spinlane::rustls::Error;

use crate::tls::TlsError;

/// Why a connection was closed. Every connection ends with exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Both sides said all they had to say.
    Finished,
    /// What a balancer sent is no header of the PROXY protocol (`--proxy-from`).
    ProxyHeader,
    /// A plain-HTTP request came to the TLS port.
    PlainHttp,
    /// What came is not TLS.
    NotTls,
    /// Client and server share no version, cipher suite, group or signature algorithm.
    NothingInCommon,
    /// The client's certificate is missing or not accepted.
    ClientCertificate,
    /// The client broke off the handshake with an alert, e.g. because it distrusts our certificate.
    ClientAlert,
    /// The client went away in the middle of the handshake.
    Truncated,
    /// The handshake took too long.
    HandshakeTimeout,
    /// A handshake message was longer than allowed (`--max-handshake-bytes`).
    HandshakeTooLong,
    /// All unfinished handshakes held more than allowed (`--max-unfinished-bytes`), and this one more than
    /// its share.
    HandshakeMemory,
    /// The handshake failed in another way.
    HandshakeFailed,
    /// The client's TCP connection was reset.
    ClientReset,
    /// The client ended TCP without close_notify, and its request may have been cut short
    /// (`--bare-end reset`).
    BareEnd,
    /// A record was not authentic or not allowed.
    TlsError,
    /// The backend did not accept the connection.
    BackendUnreachable,
    /// The backend's connection was reset.
    BackendReset,
    /// No byte of the application moved for too long.
    IdleTimeout,
    /// Closed by us, because the program stops.
    Stopped,
}

impl Closed {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 19] = [
        Self::Finished,
        Self::ProxyHeader,
        Self::PlainHttp,
        Self::NotTls,
        Self::NothingInCommon,
        Self::ClientCertificate,
        Self::ClientAlert,
        Self::Truncated,
        Self::HandshakeTimeout,
        Self::HandshakeTooLong,
        Self::HandshakeMemory,
        Self::HandshakeFailed,
        Self::ClientReset,
        Self::BareEnd,
        Self::TlsError,
        Self::BackendUnreachable,
        Self::BackendReset,
        Self::IdleTimeout,
        Self::Stopped,
    ];

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ProxyHeader => "proxy header",
            Self::PlainHttp => "plain http",
            Self::NotTls => "not tls",
            Self::NothingInCommon => "nothing in common",
            Self::ClientCertificate => "client certificate",
            Self::ClientAlert => "client alert",
            Self::Truncated => "truncated handshake",
            Self::HandshakeTimeout => "handshake timeout",
            Self::HandshakeTooLong => "handshake too long",
            Self::HandshakeMemory => "handshake memory",
            Self::HandshakeFailed => "handshake failed",
            Self::ClientReset => "client reset",
            Self::BareEnd => "bare end",
            Self::TlsError => "tls error",
            Self::BackendUnreachable => "backend unreachable",
            Self::BackendReset => "backend reset",
            Self::IdleTimeout => "idle timeout",
            Self::Stopped => "stopped",
        }
    }

    /// What a failed handshake failed of.
    pub fn of_handshake(error: &TlsError) -> Self {
        match error {
            TlsError::Openssl(SslError::Tls(stack)) => Self::of_openssl(stack),
            TlsError::Openssl(_) => Self::HandshakeFailed,
            TlsError::Rustls(Error::Tls(error)) => Self::of_rustls(error),
            TlsError::Rustls(Error::InputTooLong { .. }) => Self::HandshakeTooLong,
            TlsError::Rustls(_) => Self::HandshakeFailed,
        }
    }

    /// By what rustls said.
    fn of_rustls(error: &rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::PeerIncompatible(_) | E::NoApplicationProtocol => Self::NothingInCommon,
            E::NoCertificatesPresented | E::InvalidCertificate(_) => Self::ClientCertificate,
            E::AlertReceived(_) => Self::ClientAlert,
            E::PeerSentOversizedRecord
            | E::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Self::NotTls,
            E::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => Self::HandshakeTooLong,
            _ => Self::HandshakeFailed,
        }
    }

    /// By what libssl said.
    fn of_openssl(stack: &ErrorStack) -> Self {
        const TELLTALES: [(&str, Closed); 20] = [
            ("http request", Closed::PlainHttp),
            ("https proxy request", Closed::PlainHttp),
            (
                "peer did not return a certificate",
                Closed::ClientCertificate,
            ),
            ("certificate verify failed", Closed::ClientCertificate),
            ("alert number", Closed::ClientAlert),
            (" alert ", Closed::ClientAlert),
            ("unsupported protocol", Closed::NothingInCommon),
            ("no shared cipher", Closed::NothingInCommon),
            ("no suitable key share", Closed::NothingInCommon),
            ("no suitable signature algorithm", Closed::NothingInCommon),
            ("no shared signature algorithms", Closed::NothingInCommon),
            ("inappropriate fallback", Closed::NothingInCommon),
            ("no protocols available", Closed::NothingInCommon),
            ("version too low", Closed::NothingInCommon),
            ("no application protocol", Closed::NothingInCommon),
            ("wrong version number", Closed::NotTls),
            ("unknown protocol", Closed::NotTls),
            ("packet length too long", Closed::NotTls),
            ("record length", Closed::NotTls),
            ("unexpected eof", Closed::Truncated),
        ];
        let told = TELLTALES.iter().find(|(text, _)| stack.mentions(text));
        told.map_or(Self::HandshakeFailed, |(_, closed)| *closed)
    }
}

/// Counters of one core's connections since the start.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Times no connection could be accepted, e.g. for want of file descriptors.
    pub accept_errors: u64,
    /// Handshakes done.
    pub handshakes: u64,
    /// Of these, resumptions of an earlier session.
    pub resumed: u64,
    /// Handshakes that failed, for whichever reason.
    pub handshakes_failed: u64,
    /// Times a queue pair was full (status EAGAIN).
    pub refused: u64,
    /// Times the thread had no job left.
    pub no_jobs: u64,
    /// Clients that ended the stream without saying so in TLS.
    pub bare_ends: u64,
    /// Backend connections made.
    pub backend_connects: u64,
    /// HTTP requests answered by the built-in responder.
    pub responses: u64,
    /// Bytes from clients, encrypted.
    pub received: u64,
    /// Bytes to clients, encrypted.
    pub sent: u64,
    /// Connections closed, by reason.
    closed: [u64; Closed::ALL.len()],
}

impl Counters {
    /// A connection is closed.
    pub fn count_closed(&mut self, closed: Closed) {
        self.closed[closed as usize] += 1;
    }

    /// Connections closed for each reason that occurred.
    pub fn closed(&self) -> impl Iterator<Item = (Closed, u64)> + '_ {
        Closed::ALL
            .into_iter()
            .map(|closed| (closed, self.closed[closed as usize]))
            .filter(|(_, count)| *count != 0)
    }
}

impl std::ops::AddAssign<&Self> for Counters {
    fn add_assign(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.accept_errors += other.accept_errors;
        self.handshakes += other.handshakes;
        self.resumed += other.resumed;
        self.handshakes_failed += other.handshakes_failed;
        self.refused += other.refused;
        self.no_jobs += other.no_jobs;
        self.bare_ends += other.bare_ends;
        self.backend_connects += other.backend_connects;
        self.responses += other.responses;
        self.received += other.received;
        self.sent += other.sent;
        for (sum, count) in self.closed.iter_mut().zip(other.closed) {
            *sum += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_where_they_belong() {
        for (index, closed) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(closed as usize, index, "{closed:?}");
        }
        let (mut one, mut sum) = (Counters::default(), Counters::default());
        one.count_closed(Closed::Stopped);
        sum += &one;
        sum += &one;
        assert_eq!(sum.closed().collect::<Vec<_>>(), [(Closed::Stopped, 2)]);
    }
}
