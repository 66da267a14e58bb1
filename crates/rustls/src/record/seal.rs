//! Sealing.

use rustls::{ConnectionTrafficSecrets, Error, ProtocolVersion};
use spinlane_crypto::aead::TAG_LEN;

use super::content::APPLICATION_DATA;
use super::keys::{Form, Keys};
use super::{HEADER, LAST_SEQUENCE, MAX_FRAGMENT, NEARLY_LAST_SEQUENCE};

/// Seals the records of one direction.
pub(crate) struct Sealer {
    keys: Keys,
    /// Sequence number that no record with these keys may have but the last alert.
    limit: u64,
}

impl Sealer {
    /// With keys that serve for `confidentiality_limit` records (RFC 8446, section 5.5).
    ///
    /// # Errors
    /// rustls has an algorithm that is unknown here.
    pub(crate) fn new(
        version: ProtocolVersion,
        secrets: (u64, ConnectionTrafficSecrets),
        confidentiality_limit: u64,
    ) -> Result<Self, Error> {
        Ok(Self {
            keys: Keys::new(version, secrets)?,
            limit: confidentiality_limit.min(NEARLY_LAST_SEQUENCE),
        })
    }

    /// Whether the next record is the last but one: a KeyUpdate takes the last place (as in rustls,
    /// new keys are not updated before they were used).
    pub(crate) fn wants_new_keys(&self) -> bool {
        self.keys.sequence > 0 && self.keys.sequence.saturating_add(1) >= self.limit
    }

    /// Whether the keys are used up.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.keys.sequence >= self.limit
    }

    /// Length of the record of `text` bytes.
    fn sealed_len(&self, text: usize) -> usize {
        HEADER
            + text
            + TAG_LEN
            + match self.keys.form {
                Form::Tls13 => 1,
                Form::Tls12Gcm => 8,
                Form::Tls12ChaCha20Poly1305 => 0,
            }
    }

    /// Seals `text` into the front of `to`; returns the record's length.
    ///
    /// # Errors
    /// `text` is too long for a record or for `to`, or there is no sequence number left.
    pub(crate) fn seal(&mut self, kind: u8, text: &[u8], to: &mut [u8]) -> Result<usize, Error> {
        let len = self.sealed_len(text.len());
        let keys = &mut self.keys;
        if text.len() > MAX_FRAGMENT || keys.sequence >= LAST_SEQUENCE {
            return Err(Error::EncryptError);
        }
        let record = to.get_mut(..len).ok_or(Error::EncryptError)?;
        let (header, payload) = record.split_at_mut(HEADER);
        let [high, low] = ((len - HEADER) as u16).to_be_bytes();
        header.copy_from_slice(&[kind, 3, 3, high, low]);
        let nonce = keys.nonce();
        let sealed = match keys.form {
            Form::Tls13 => {
                header[0] = APPLICATION_DATA;
                let cipher = keys.cipher()?;
                cipher.seal_into(&nonce, header, text, &[kind], payload)
            }
            Form::Tls12Gcm => {
                let aad = keys.tls12_aad([kind, 3, 3], text.len());
                let (explicit, rest) = payload.split_at_mut(8);
                explicit.copy_from_slice(&nonce[4..]);
                keys.cipher()?.seal_into(&nonce, &aad, text, &[], rest)
            }
            Form::Tls12ChaCha20Poly1305 => {
                let aad = keys.tls12_aad([kind, 3, 3], text.len());
                keys.cipher()?.seal_into(&nonce, &aad, text, &[], payload)
            }
        };
        keys.sequence += 1;
        sealed.then_some(len).ok_or(Error::EncryptError)
    }
}
