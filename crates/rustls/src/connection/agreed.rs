//! What both sides have agreed on.

use rustls::pki_types::CertificateDer;
use rustls::{CommonState, HandshakeKind, NamedGroup, ProtocolVersion, SupportedCipherSuite};

use super::Connection;

impl Connection {
    /// Version, once agreed on.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.with_common(CommonState::protocol_version).flatten()
    }

    /// Cipher suite, once agreed on.
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.with_common(CommonState::negotiated_cipher_suite)
            .flatten()
    }

    /// Key exchange group, once agreed on; none in a resumption without one.
    pub fn group(&self) -> Option<NamedGroup> {
        let group = |common: &CommonState| common.negotiated_key_exchange_group();
        self.with_common(|common| group(common).map(|group| group.name()))
            .flatten()
    }

    /// Protocol chosen by ALPN.
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.with_common(|common| common.alpn_protocol().map(<[u8]>::to_vec))
            .flatten()
    }

    /// The peer's certificates, if it has presented some.
    pub fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.with_common(|common| common.peer_certificates().map(<[_]>::to_vec))
            .flatten()
    }

    /// Whether the handshake resumed a session.
    pub fn session_reused(&self) -> bool {
        let kind = self.with_common(CommonState::handshake_kind).flatten();
        kind == Some(HandshakeKind::Resumed)
    }

    fn with_common<T>(&self, visit: impl FnOnce(&CommonState) -> T) -> Option<T> {
        self.with_machine(|machine| machine.side.common().map(visit))
            .flatten()
    }
}
