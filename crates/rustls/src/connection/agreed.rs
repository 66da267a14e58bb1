//! What both sides have agreed on.

use rustls::pki_types::CertificateDer;
use rustls::{CommonState, HandshakeKind, NamedGroup, ProtocolVersion, SupportedCipherSuite};

use super::{Connection, Stage};

/// The same, once the handshake is done and rustls' state is gone.
pub(super) struct Agreed {
    version: Option<ProtocolVersion>,
    suite: Option<SupportedCipherSuite>,
    group: Option<NamedGroup>,
    alpn: Option<Box<[u8]>>,
    certificates: Option<Box<[CertificateDer<'static>]>>,
    resumed: bool,
}

impl Agreed {
    pub(super) fn new(common: &CommonState) -> Self {
        Self {
            version: common.protocol_version(),
            suite: common.negotiated_cipher_suite(),
            group: group(common),
            alpn: common.alpn_protocol().map(Into::into),
            certificates: common.peer_certificates().map(Into::into),
            resumed: is_resumed(common),
        }
    }
}

impl Connection {
    /// Version, once agreed on.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.visit(CommonState::protocol_version, |agreed| agreed.version)
    }

    /// Cipher suite, once agreed on.
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.visit(CommonState::negotiated_cipher_suite, |agreed| agreed.suite)
    }

    /// Key exchange group, once agreed on; none in a resumption without one.
    pub fn group(&self) -> Option<NamedGroup> {
        self.visit(group, |agreed| agreed.group)
    }

    /// Protocol chosen by ALPN.
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.visit(
            |common| common.alpn_protocol().map(Vec::from),
            |agreed| agreed.alpn.as_deref().map(Vec::from),
        )
    }

    /// The peer's certificates, if it has presented some.
    pub fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.visit(
            |common| common.peer_certificates().map(Vec::from),
            |agreed| agreed.certificates.as_deref().map(Vec::from),
        )
    }

    /// Whether the handshake resumed a session.
    pub fn session_reused(&self) -> bool {
        let resumed = self.visit(
            |common| Some(is_resumed(common)),
            |agreed| Some(agreed.resumed),
        );
        resumed.unwrap_or(false)
    }

    /// Asks rustls, or what is left of it. None while a paused job has it.
    fn visit<T>(
        &self,
        rustls: impl FnOnce(&CommonState) -> Option<T>,
        established: impl FnOnce(&Agreed) -> Option<T>,
    ) -> Option<T> {
        match &self.stage {
            Stage::Handshake(handshake) => handshake
                .with_machine(|machine| machine.side.common().and_then(rustls))
                .flatten(),
            Stage::Established(conn) => established(conn.agreed()),
        }
    }
}

fn group(common: &CommonState) -> Option<NamedGroup> {
    let group = common.negotiated_key_exchange_group();
    group.map(|group| group.name())
}

fn is_resumed(common: &CommonState) -> bool {
    common.handshake_kind() == Some(HandshakeKind::Resumed)
}
