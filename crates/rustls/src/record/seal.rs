//! Sealing.

use rustls::{ConnectionTrafficSecrets, Error, ProtocolVersion};
use spinlane_crypto::aead::{Algorithm, NONCE_LEN, TAG_LEN};
use spinlane_cryptodev::Token;
use spinlane_cryptodev::aead::{Direction, Op, Request};

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

    /// Keeps the key so that devices can have it. Returns `false` if a record was sealed without.
    pub(crate) fn share(&mut self) -> bool {
        self.keys.shared().is_some()
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
    pub(crate) fn sealed_len(&self, text: usize) -> usize {
        HEADER
            + text
            + TAG_LEN
            + match self.keys.form {
                Form::Tls13 => 1,
                Form::Tls12Gcm => 8,
                Form::Tls12ChaCha20Poly1305 => 0,
            }
    }

    /// The algorithm, and how many bytes it authenticates besides the text.
    pub(crate) fn algorithm(&self) -> (Algorithm, usize) {
        let aad_len = match self.keys.form {
            Form::Tls13 => HEADER,
            Form::Tls12Gcm | Form::Tls12ChaCha20Poly1305 => 13,
        };
        (self.keys.algorithm(), aad_len)
    }

    /// Seals `text` into the front of `to`; returns the record's length.
    ///
    /// # Errors
    /// `text` is too long for a record or for `to`, or there is no sequence number left.
    pub(crate) fn seal(&mut self, kind: u8, text: &[u8], to: &mut [u8]) -> Result<usize, Error> {
        let len = self.sealed_len(text.len());
        let Some(record) = to.get_mut(..len) else {
            return Err(Error::EncryptError);
        };
        let frame = self.begin(kind, text.len(), record)?;
        let keys = &mut self.keys;
        let Frame { nonce, aad, start } = &frame;
        let inner_type = &[kind][..usize::from(keys.form == Form::Tls13)];
        let (header, payload) = record.split_at_mut(*start);
        let aad = aad.as_ref().map_or(&*header, |aad| aad);
        let cipher = keys.cipher()?;
        let sealed = cipher.seal_into(nonce, aad, text, inner_type, payload);
        match sealed {
            true => Ok(len),
            false => Err(Error::EncryptError),
        }
    }

    /// Prepares `op` to seal `text`, which is copied into its buffer, whose front becomes the record; returns the
    /// record's length. `None`: the key is not for devices.
    ///
    /// # Errors
    /// As for [`Sealer::seal`].
    pub(crate) fn prepare(
        &mut self,
        kind: u8,
        text: &[u8],
        op: &mut Op,
    ) -> Result<Option<usize>, Error> {
        if self.keys.shared().is_none() {
            return Ok(None);
        }
        let len = self.sealed_len(text.len());
        let Some(record) = op.buffer_mut().get_mut(..len) else {
            return Err(Error::EncryptError);
        };
        let frame = self.begin(kind, text.len(), record)?;
        let (data, end) = (&mut record[frame.start..], len - TAG_LEN);
        data[..text.len()].copy_from_slice(text);
        if self.keys.form == Form::Tls13 {
            data[text.len()] = kind;
        }
        let (Some(header), Some(key)) = (record.first_chunk().copied(), self.keys.shared()) else {
            return Err(Error::EncryptError);
        };
        let header: [u8; HEADER] = header;
        let request = Request {
            direction: Direction::Seal,
            key,
            nonce: &frame.nonce,
            aad: frame.aad.as_ref().map_or(&header, |aad| &aad[..]),
            data: frame.start..end,
        };
        let prepared = op.prepare(Token(0), &request);
        prepared
            .map(|()| Some(len))
            .map_err(|_| Error::EncryptError)
    }

    /// Writes what of a record is not sealed, and takes the next sequence number for it: whatever becomes of the
    /// record, no other has its nonce.
    #[inline(always)]
    fn begin(&mut self, kind: u8, text: usize, record: &mut [u8]) -> Result<Frame, Error> {
        let keys = &mut self.keys;
        if text > MAX_FRAGMENT || keys.sequence >= LAST_SEQUENCE {
            return Err(Error::EncryptError);
        }
        let [high, low] = ((record.len() - HEADER) as u16).to_be_bytes();
        let Some(header) = record.first_chunk_mut() else {
            return Err(Error::EncryptError);
        };
        *header = [kind, 3, 3, high, low];
        let nonce = keys.nonce();
        let (aad, start) = match keys.form {
            Form::Tls13 => {
                header[0] = APPLICATION_DATA;
                (None, HEADER)
            }
            Form::Tls12Gcm => {
                let aad = keys.tls12_aad([kind, 3, 3], text);
                record[HEADER..HEADER + 8].copy_from_slice(&nonce[4..]);
                (Some(aad), HEADER + 8)
            }
            Form::Tls12ChaCha20Poly1305 => (Some(keys.tls12_aad([kind, 3, 3], text)), HEADER),
        };
        keys.sequence += 1;
        Ok(Frame { nonce, aad, start })
    }
}

/// What a record is sealed with, besides the key.
struct Frame {
    nonce: [u8; NONCE_LEN],
    /// What is authenticated; `None`: the header itself (TLS 1.3).
    aad: Option<[u8; 13]>,
    /// Where the ciphertext begins.
    start: usize,
}
