//! What the peer is told of an error in the handshake that rustls has no word for.
//!
//! A peer must hear why a handshake fails (RFC 8446, section 6.2; RFC 5246, section 7.2.2), and sees
//! a bare end of the stream otherwise. rustls says nothing where it returns an error without an alert, and
//! cannot be told what to say. Before it seals what it sends, the alert that fits is written in the clear.
//! Afterwards rustls is given a record that is none, to which it has an alert, and our record protection
//! seals the one that fits in its place ([`saying`]; TLS 1.2 has none of ours, and says decode_error).

use rustls::{AlertDescription, CommonState, InvalidMessage, PeerMisbehaved, ProtocolVersion};
use spinlane_crypto::aead::TAG_LEN;

use super::machine::Machine;
use crate::error::Error;
use crate::record::{FATAL, HEADER, content};
use crate::tls13::saying;

/// Alerts are sent within so many steps.
const MAX_ALERT_STEPS: usize = 8;
/// A header with a content type that there is not.
const NO_RECORD: [u8; HEADER] = [0xff; HEADER];
/// Bytes of a sealed alert of TLS 1.3 without its header: level, description, content type, tag.
const SEALED_ALERT: usize = 2 + 1 + TAG_LEN;

/// What the peer has been told so far.
#[derive(Default)]
pub(super) struct Said {
    /// Something was sealed, and all that follows is.
    sealed: bool,
    alert: bool,
}

impl Said {
    /// Takes note of `records`, sent by a connection that has agreed on `version`.
    pub(super) fn note(&mut self, version: Option<ProtocolVersion>, records: &[u8]) {
        let mut rest = records;
        while let Some(&[kind, _, _, high, low]) = rest.first_chunk::<HEADER>() {
            let len = usize::from(u16::from_be_bytes([high, low]));
            let tls13 = version == Some(ProtocolVersion::TLSv1_3);
            match kind {
                content::ALERT => self.alert = true,
                content::APPLICATION_DATA => {
                    self.sealed = true;
                    self.alert |= len == SEALED_ALERT;
                }
                // In TLS 1.3 it means nothing (RFC 8446, appendix D.4).
                content::CHANGE_CIPHER_SPEC => self.sealed |= !tls13,
                _ => {}
            }
            rest = rest.get(HEADER + len..).unwrap_or_default();
        }
    }
}

impl Machine {
    /// The handshake has failed: puts an alert into the output, rustls' own or the one that fits.
    pub(super) fn give_up(&mut self, error: &Error) {
        self.encode_alert();
        let has_begun = self.side.common().is_some();
        let Some(alert) = fitting(error).filter(|_| has_begun && !self.said.alert) else {
            return;
        };
        if self.said.sealed {
            saying(alert, || self.provoke_alert());
        } else {
            let record = [content::ALERT, 3, 3, 0, 2, FATAL, alert.into()];
            self.output.push(&record);
            self.said.alert = true;
        }
    }

    /// What rustls still has to say after an error. It must not be called again once it has: it
    /// would look at more input.
    fn encode_alert(&mut self) {
        for _ in 0..MAX_ALERT_STEPS {
            let wants_write = self.side.common().is_some_and(CommonState::wants_write);
            if !wants_write || self.call().is_err() {
                break;
            }
        }
    }

    /// Makes rustls say decode_error of what came behind the records that it keeps.
    fn provoke_alert(&mut self) {
        self.input.truncate(self.held);
        self.input.push(&NO_RECORD);
        self.idle = true;
        // The error is of our own making.
        let _ = self.call();
        self.encode_alert();
    }
}

/// The alert for `error` (RFC 8446, section 6.2). `None` where the peer knows, or there is no peer yet.
fn fitting(error: &Error) -> Option<AlertDescription> {
    use rustls::Error as Tls;
    let error = match error {
        Error::Tls(error) => error,
        Error::InputTooLong { .. } => return Some(AlertDescription::DecodeError),
        Error::EarlyData => return Some(AlertDescription::UnexpectedMessage),
        Error::SecretsKept | Error::Nested | Error::Lost | Error::Unsealed => return None,
    };
    Some(match error {
        Tls::AlertReceived(_) => return None,
        Tls::InvalidMessage(InvalidMessage::InvalidContentType)
        | Tls::InappropriateMessage { .. }
        | Tls::InappropriateHandshakeMessage { .. } => AlertDescription::UnexpectedMessage,
        Tls::InvalidMessage(message) => (*message).into(),
        Tls::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Tls::DecryptError => AlertDescription::BadRecordMac,
        Tls::InvalidCertificate(error) => error.clone().into(),
        Tls::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Tls::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Tls::PeerMisbehaved(what) if is_out_of_place(what) => AlertDescription::UnexpectedMessage,
        Tls::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Tls::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        // TLS 1.2: no signature scheme in common (section 4.4.3; RFC 5246, section 7.4.1.4.1).
        Tls::General(what) if what == "incompatible signing key" => {
            AlertDescription::HandshakeFailure
        }
        _ => AlertDescription::InternalError,
    })
}

/// Whether a record or message came that should not have.
fn is_out_of_place(what: &PeerMisbehaved) -> bool {
    use PeerMisbehaved as What;
    matches!(
        what,
        What::MessageInterleavedWithHandshakeMessage
            | What::RejectedEarlyDataInterleavedWithHandshakeMessage
            | What::KeyEpochWithPendingFragment
            | What::IllegalMiddleboxChangeCipherSpec
            | What::IllegalTlsInnerPlaintext
            | What::TooManyEmptyFragments
            | What::TooManyWarningAlertsReceived
            | What::TooManyRenegotiationRequests
    )
}
