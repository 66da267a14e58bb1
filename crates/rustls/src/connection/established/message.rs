//! Alerts, and what of handshakes comes after the handshake (RFC 8446, section 4.6).

use std::time::Instant;

use rustls::{
    AlertDescription, ContentType, Error as TlsError, HandshakeType, InvalidMessage,
    PeerMisbehaved, ProtocolVersion,
};
use spinlane_crypto::wiping_stack;

use super::patience::Nuisance;
use super::{Established, Kernel};
use crate::connection::Progress;
use crate::error::Error;
use crate::record::{Fault, Opener, Sealer, content};

/// Bytes before a handshake message's body: type and length.
const MESSAGE_HEADER: usize = 4;
/// rustls' limit of a handshake message.
const MAX_MESSAGE: usize = 0xffff;
/// A KeyUpdate (RFC 8446, section 4.6.3) but for its last byte.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const UPDATE_NOT_REQUESTED: u8 = 0;
const UPDATE_REQUESTED: u8 = 1;

impl Kernel {
    fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }
}

impl Established {
    fn is_tls13(&self) -> bool {
        self.kernel.version() == ProtocolVersion::TLSv1_3
    }

    /// Does what an alert or handshake record says.
    pub(super) fn control(&mut self, kind: u8, text: &[u8]) -> Result<(), Fault> {
        match (kind, text) {
            // RFC 8446, section 5.4; not to be sent in TLS 1.2 either (RFC 5246, section 6.2.1).
            (_, []) => Err(Fault::unexpected(InvalidMessage::InvalidEmptyPayload)),
            (content::ALERT, &[level, description]) => self.alert(level, description.into()),
            (content::ALERT, [_, _, _, ..]) => {
                Err(Fault::decode(InvalidMessage::TrailingData("Alert")))
            }
            (content::ALERT, _) => Err(Fault::decode(InvalidMessage::MissingData("Alert"))),
            _ => self.handshake_record(text),
        }
    }

    /// RFC 8446, section 6; RFC 5246, section 7.2.
    fn alert(&mut self, level: u8, description: AlertDescription) -> Result<(), Fault> {
        let error = TlsError::AlertReceived(description);
        match (level, description) {
            (1 | 2, AlertDescription::CloseNotify) => self.closed = true,
            (1, _) => {
                self.patience.spend(Nuisance::Warning, Instant::now())?;
                if self.is_tls13() && description != AlertDescription::UserCanceled {
                    return Err(Fault::new(error, AlertDescription::DecodeError));
                }
            }
            (2, _) => return Err(Fault::silent(error)),
            _ => return Err(Fault::new(error, AlertDescription::IllegalParameter)),
        }
        Ok(())
    }

    /// Handles the messages that end in this record, and keeps what is left over.
    fn handshake_record(&mut self, text: &[u8]) -> Result<(), Fault> {
        if self.partial.is_empty() {
            let done = self.messages(text)?;
            self.partial.push(&text[done..]);
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.push(text);
            let done = self.messages(partial.unread())?;
            partial.consume(done);
            self.partial = partial;
        }
        if self.partial.len() >= self.limit {
            let limit = self.limit;
            return Err(Fault {
                error: Error::InputTooLong { limit },
                alert: Some(AlertDescription::DecodeError),
            });
        }
        Ok(())
    }

    /// Handles the whole messages in `bytes`; returns their length.
    fn messages(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut done = 0;
        while let Some(&[kind, a, b, c]) = bytes[done..].first_chunk::<MESSAGE_HEADER>() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > MAX_MESSAGE {
                return Err(Fault::decode(InvalidMessage::HandshakePayloadTooLarge));
            }
            let start = done + MESSAGE_HEADER;
            let Some(body) = bytes.get(start..start + len) else {
                break;
            };
            done = start + len;
            self.message(kind.into(), body, done == bytes.len())?;
        }
        Ok(done)
    }

    /// Does what a message says. `is_last`: nothing of another follows in its record.
    fn message(&mut self, kind: HandshakeType, body: &[u8], is_last: bool) -> Result<(), Fault> {
        if !self.is_tls13() {
            return self.renegotiation(kind);
        }
        match (kind, &mut self.kernel) {
            (HandshakeType::KeyUpdate, _) => self.key_update(body, is_last),
            (HandshakeType::NewSessionTicket, Kernel::Client(kernel)) => {
                let handled = wiping_stack(|| kernel.handle_new_session_ticket(body));
                handled.map_err(|error| {
                    let alert = match &error {
                        TlsError::InvalidMessage(message) => (*message).into(),
                        _ => AlertDescription::InternalError,
                    };
                    Fault::new(error, alert)
                })
            }
            (got_type, kernel) => {
                let ticket = kernel
                    .is_client()
                    .then_some(HandshakeType::NewSessionTicket);
                let expect_types = ticket.into_iter().chain([HandshakeType::KeyUpdate]);
                Err(Fault::unexpected(TlsError::InappropriateHandshakeMessage {
                    expect_types: expect_types.collect(),
                    got_type,
                }))
            }
        }
    }

    /// TLS 1.2: a wish to renegotiate is refused (RFC 5246, section 7.2.2); one that comes again too
    /// soon ends the connection.
    fn renegotiation(&mut self, kind: HandshakeType) -> Result<(), Fault> {
        let wish = if self.kernel.is_client() {
            HandshakeType::HelloRequest
        } else {
            HandshakeType::ClientHello
        };
        if kind != wish {
            return Err(self.inappropriate(content::HANDSHAKE));
        }
        self.patience
            .spend(Nuisance::Renegotiation, Instant::now())?;
        const WARNING: u8 = 1;
        self.say(WARNING, AlertDescription::NoRenegotiation);
        Ok(())
    }

    /// A record of a kind that has no place here.
    pub(super) fn inappropriate(&self, kind: u8) -> Fault {
        let handshake = self.is_tls13().then_some(ContentType::Handshake);
        let expect_types = [ContentType::ApplicationData].into_iter().chain(handshake);
        Fault::unexpected(TlsError::InappropriateMessage {
            expect_types: expect_types.collect(),
            got_type: kind.into(),
        })
    }

    /// The peer has new keys, and may want us to have some too (RFC 8446, section 4.6.3).
    fn key_update(&mut self, body: &[u8], is_last: bool) -> Result<(), Fault> {
        let request = match body {
            [request] => *request,
            [] => return Err(Fault::decode(InvalidMessage::MissingData("KeyUpdate"))),
            _ => return Err(Fault::decode(InvalidMessage::TrailingData("KeyUpdate"))),
        };
        if !is_last {
            let what = PeerMisbehaved::KeyEpochWithPendingFragment;
            return Err(Fault::misbehaved(what));
        }
        self.patience.spend(Nuisance::KeyUpdate, Instant::now())?;
        let internal = |error| Fault::new(error, AlertDescription::InternalError);
        match request {
            UPDATE_NOT_REQUESTED => {}
            UPDATE_REQUESTED if self.silent => {}
            UPDATE_REQUESTED => self.update_sealer(UPDATE_NOT_REQUESTED).map_err(internal)?,
            _ => {
                let error = InvalidMessage::InvalidKeyUpdate;
                return Err(Fault::new(error, AlertDescription::IllegalParameter));
            }
        }
        self.update_opener().map_err(internal)
    }

    /// Opens with the peer's next keys from here on.
    fn update_opener(&mut self) -> Result<(), TlsError> {
        wiping_stack(|| {
            let secrets = match &mut self.kernel {
                Kernel::Server(kernel) => kernel.update_rx_secret(),
                Kernel::Client(kernel) => kernel.update_rx_secret(),
            }?;
            self.opener = Opener::new(self.kernel.version(), secrets)?;
            Ok(())
        })
    }

    /// Tells the peer of new keys, and seals with them from then on.
    fn update_sealer(&mut self, request: u8) -> Result<(), TlsError> {
        let [kind, a, b, c] = KEY_UPDATE;
        self.send(content::HANDSHAKE, &[kind, a, b, c, request])?;
        wiping_stack(|| {
            let secrets = match &mut self.kernel {
                Kernel::Server(kernel) => kernel.update_tx_secret(),
                Kernel::Client(kernel) => kernel.update_tx_secret(),
            }?;
            let limit = self.kernel.confidentiality_limit();
            self.sealer = Sealer::new(self.kernel.version(), secrets, limit)?;
            if self.devices.is_some() {
                self.sealer.share();
            }
            Ok(())
        })
    }

    /// New keys in both directions.
    pub(in crate::connection) fn refresh(&mut self) -> Result<Progress, Error> {
        if self.silent {
            return Ok(Progress::Closed);
        }
        if !self.is_tls13() {
            let why = "TLS 1.2 has no key update; open another connection".to_owned();
            return Err(TlsError::General(why).into());
        }
        self.update_sealer(UPDATE_REQUESTED)?;
        Ok(Progress::Done(0))
    }

    /// New keys before those in use have sealed as much as they may (RFC 8446, section 5.5). TLS 1.2 has
    /// none: the connection ends.
    pub(super) fn refresh_in_time(&mut self) -> Result<(), Error> {
        if self.is_tls13() {
            if self.sealer.wants_new_keys() {
                self.update_sealer(UPDATE_REQUESTED)?;
            }
        } else if self.sealer.is_exhausted() {
            self.close();
            return Err(TlsError::EncryptError.into());
        }
        Ok(())
    }
}
