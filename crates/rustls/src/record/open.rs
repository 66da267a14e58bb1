//! Opening, in place.

use std::ops::Range;

use rustls::{
    AlertDescription, ConnectionTrafficSecrets, Error, InvalidMessage, PeerMisbehaved,
    ProtocolVersion,
};
use spinlane_crypto::aead::TAG_LEN;

use super::content::{APPLICATION_DATA, CHANGE_CIPHER_SPEC, HEARTBEAT};
use super::keys::{Form, Keys};
use super::{
    Fault, HEADER, LAST_SEQUENCE, MAX_FRAGMENT, MAX_PAYLOAD_TLS13, NEARLY_LAST_SEQUENCE,
    TOO_LONG_PAYLOAD_TLS12,
};

/// Opens the records of one direction.
pub(crate) struct Opener(Keys);

impl Opener {
    /// # Errors
    /// rustls has an algorithm that is unknown here.
    pub(crate) fn new(
        version: ProtocolVersion,
        secrets: (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        Ok(Self(Keys::new(version, secrets)?))
    }

    /// Length of the record that `input` begins with; `None` if a part of it is missing. A header that is
    /// none is found as soon as it is there.
    pub(crate) fn whole_record(&self, input: &[u8]) -> Result<Option<usize>, Fault> {
        let Some(&[kind, major, _, high, low]) = input.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446, section 5; RFC 5246, section 6.
        if !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(&kind) {
            return Err(Fault::unexpected(InvalidMessage::InvalidContentType));
        }
        if major != 3 {
            return Err(Fault::decode(InvalidMessage::UnknownProtocolVersion));
        }
        if len == 0 && kind != APPLICATION_DATA {
            return Err(Fault::decode(InvalidMessage::InvalidEmptyPayload));
        }
        let is_too_long = match self.0.form {
            Form::Tls13 => len > MAX_PAYLOAD_TLS13,
            Form::Tls12Gcm | Form::Tls12ChaCha20Poly1305 => len >= TOO_LONG_PAYLOAD_TLS12,
        };
        if is_too_long {
            let error = InvalidMessage::MessageTooLarge;
            return Err(Fault::new(error, AlertDescription::RecordOverflow));
        }
        Ok((input.len() >= HEADER + len).then_some(HEADER + len))
    }

    /// Whether the peer should have changed its keys or ended the connection.
    pub(crate) fn nears_its_end(&self) -> bool {
        self.0.sequence >= NEARLY_LAST_SEQUENCE
    }

    /// Opens a whole record; returns its content type, and where in it the text is.
    pub(crate) fn open(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), Fault> {
        let keys = &mut self.0;
        let (header, payload) = record.split_at_mut(HEADER);
        let explicit = match keys.form {
            Form::Tls12Gcm => 8,
            Form::Tls13 | Form::Tls12ChaCha20Poly1305 => 0,
        };
        let len = payload.len();
        if len < explicit + TAG_LEN || keys.sequence >= LAST_SEQUENCE {
            return Err(bad_record_mac());
        }
        let text = len - explicit - TAG_LEN;
        let (front, tag) = payload.split_at_mut(explicit + text);
        let (nonce, data) = front.split_at_mut(explicit);
        let nonce = match nonce.first_chunk() {
            Some(nonce) => keys.explicit_nonce(nonce),
            None => keys.nonce(),
        };
        let tag = tag.first_chunk().ok_or_else(bad_record_mac)?;
        let opened = match keys.form {
            // As it came: one that is not what the peer sealed fails the tag.
            Form::Tls13 => cipher(keys)?.open(&nonce, header, data, tag),
            Form::Tls12Gcm | Form::Tls12ChaCha20Poly1305 => {
                let aad = keys.tls12_aad([header[0], header[1], header[2]], text);
                cipher(keys)?.open(&nonce, &aad, data, tag)
            }
        };
        if !opened {
            return Err(bad_record_mac());
        }
        keys.sequence += 1;
        let (kind, text) = match keys.form {
            Form::Tls13 => unpad(data)?,
            Form::Tls12Gcm | Form::Tls12ChaCha20Poly1305 => (header[0], data.len()),
        };
        if text > MAX_FRAGMENT {
            return Err(overflow());
        }
        let start = HEADER + explicit;
        Ok((kind, start..start + text))
    }
}

/// Content type and length of a TLSInnerPlaintext's text (RFC 8446, sections 5.2 and 5.4).
fn unpad(data: &[u8]) -> Result<(u8, usize), Fault> {
    if data.len() > MAX_FRAGMENT + 1 {
        return Err(overflow());
    }
    match data.iter().rposition(|byte| *byte != 0) {
        None => Err(Fault::misbehaved(PeerMisbehaved::IllegalTlsInnerPlaintext)),
        Some(end) if data[end] == CHANGE_CIPHER_SPEC => Err(Fault::misbehaved(
            PeerMisbehaved::IllegalMiddleboxChangeCipherSpec,
        )),
        Some(end) => Ok((data[end], end)),
    }
}

fn cipher(keys: &mut Keys) -> Result<&spinlane_crypto::aead::Cipher, Fault> {
    let internal = |error| Fault::new(error, AlertDescription::InternalError);
    keys.cipher().map_err(internal)
}

fn bad_record_mac() -> Fault {
    Fault::new(Error::DecryptError, AlertDescription::BadRecordMac)
}

fn overflow() -> Fault {
    Fault::new(
        Error::PeerSentOversizedRecord,
        AlertDescription::RecordOverflow,
    )
}
