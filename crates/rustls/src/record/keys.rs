//! The keys of one direction.

use std::sync::Arc;

use rustls::{ConnectionTrafficSecrets, Error, ProtocolVersion};
use spinlane_crypto::aead::{Algorithm, Cipher, NONCE_LEN};
use spinlane_crypto::{Wiped, wiping_stack};
use spinlane_cryptodev::aead;

/// How records look, which depends on version and suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 8446, section 5.2.
    Tls13,
    /// RFC 5288: half of the nonce is in the record.
    Tls12Gcm,
    /// RFC 7905: as in TLS 1.3 the nonce is not sent.
    Tls12ChaCha20Poly1305,
}

/// Key, nonces and sequence number.
pub(super) struct Keys {
    pub(super) form: Form,
    algorithm: Algorithm,
    key: Key,
    iv: Wiped<NONCE_LEN>,
    pub(super) sequence: u64,
}

enum Key {
    /// As it came: an idle connection needs no more.
    Bytes(Wiped<32>),
    /// From the first record on.
    Expanded(Cipher),
    /// Likewise, where records go to devices.
    Shared(Arc<aead::Key>),
}

impl Keys {
    /// # Errors
    /// rustls has an algorithm that is unknown here.
    pub(super) fn new(
        version: ProtocolVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
        let (algorithm, secret, iv) = match &secrets {
            Aes128Gcm { key, iv } => (Algorithm::Aes128Gcm, key, iv),
            Aes256Gcm { key, iv } => (Algorithm::Aes256Gcm, key, iv),
            Chacha20Poly1305 { key, iv } => (Algorithm::ChaCha20Poly1305, key, iv),
            _ => return Err(unknown()),
        };
        let (secret, iv) = (secret.as_ref(), iv.as_ref());
        if secret.len() != algorithm.key_len() {
            return Err(unknown());
        }
        let mut bytes = Wiped::<32>::ZEROS;
        bytes[..secret.len()].copy_from_slice(secret);
        Ok(Self {
            form: match (version, algorithm) {
                (ProtocolVersion::TLSv1_3, _) => Form::Tls13,
                (_, Algorithm::ChaCha20Poly1305) => Form::Tls12ChaCha20Poly1305,
                _ => Form::Tls12Gcm,
            },
            algorithm,
            key: Key::Bytes(bytes),
            iv: Wiped::new(iv.try_into().map_err(|_| unknown())?),
            sequence,
        })
    }

    /// The nonce of the next record: the sequence number over the IV (RFC 8446, section 5.3; in TLS 1.2
    /// with GCM as rustls has it, so that no two records share one).
    pub(super) fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = *self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }

    /// That of a record which brings half of it along.
    pub(super) fn explicit_nonce(&self, explicit: &[u8; 8]) -> [u8; NONCE_LEN] {
        let mut nonce = *self.iv;
        nonce[4..].copy_from_slice(explicit);
        nonce
    }

    /// What TLS 1.2 authenticates with a record: number, type, version and length of text (RFC 5246,
    /// section 6.2.3.3).
    pub(super) fn tls12_aad(&self, kind: [u8; 3], text: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8..11].copy_from_slice(&kind);
        aad[11..].copy_from_slice(&(text as u16).to_be_bytes());
        aad
    }

    pub(super) fn cipher(&mut self) -> Result<&Cipher, Error> {
        if let Key::Bytes(bytes) = &self.key {
            let secret = &bytes[..self.algorithm.key_len()];
            self.key = Key::Expanded(Cipher::new(self.algorithm, secret).map_err(|_| unknown())?);
        }
        match &self.key {
            Key::Expanded(cipher) => Ok(cipher),
            Key::Shared(key) => Ok(key.cipher()),
            Key::Bytes(_) => Err(unknown()),
        }
    }

    /// The key for records that go to devices; `None` if the first one did not.
    pub(super) fn shared(&mut self) -> Option<&Arc<aead::Key>> {
        if let Key::Bytes(bytes) = &self.key {
            let secret = &bytes[..self.algorithm.key_len()];
            self.key = Key::Shared(Arc::new(aead::Key::new(self.algorithm, secret).ok()?));
        }
        match &self.key {
            Key::Shared(key) => Some(key),
            Key::Bytes(_) | Key::Expanded(_) => None,
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Drop for Keys {
    /// aws-lc's ChaCha20-Poly1305 leaves the key on the stack of whoever sealed or opened a record, which is
    /// the one that this is called on.
    fn drop(&mut self) {
        if self.algorithm == Algorithm::ChaCha20Poly1305 {
            wiping_stack(|| {});
        }
    }
}

fn unknown() -> Error {
    Error::General("record protection that Spinlane does not know".to_owned())
}
