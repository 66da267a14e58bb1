//! Record protection whose keys are expanded when the first record comes.
//!
//! rustls makes both directions' keys for application data, which a [`Connection`](crate::Connection) takes
//! over as they are: most of them never see a record here.

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{ConnectionTrafficSecrets, Error};
use spinlane_cryptodev::aead::TAG_LEN;

/// Another's record protection, deferred.
pub(super) struct Deferred(pub(super) &'static dyn Tls13AeadAlgorithm);

/// One direction: the key, then what was made of it.
struct Direction<T: ?Sized> {
    algorithm: &'static dyn Tls13AeadAlgorithm,
    key: Option<(AeadKey, Iv)>,
    made: Option<Box<T>>,
}

impl<T: ?Sized> Direction<T> {
    fn new(algorithm: &'static dyn Tls13AeadAlgorithm, key: AeadKey, iv: Iv) -> Self {
        Self {
            algorithm,
            key: Some((key, iv)),
            made: None,
        }
    }

    fn made(
        &mut self,
        make: fn(&'static dyn Tls13AeadAlgorithm, AeadKey, Iv) -> Box<T>,
    ) -> Option<&mut T> {
        if let Some((key, iv)) = self.key.take() {
            self.made = Some(make(self.algorithm, key, iv));
        }
        self.made.as_deref_mut()
    }
}

impl Tls13AeadAlgorithm for Deferred {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Direction::<dyn MessageEncrypter>::new(self.0, key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Direction::<dyn MessageDecrypter>::new(self.0, key, iv))
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

impl MessageEncrypter for Direction<dyn MessageEncrypter> {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let encrypter = self.made(|algorithm, key, iv| algorithm.encrypter(key, iv));
        encrypter
            .ok_or(Error::EncryptError)?
            .encrypt(message, sequence)
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG_LEN
    }
}

impl MessageDecrypter for Direction<dyn MessageDecrypter> {
    fn decrypt<'a>(
        &mut self,
        message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let decrypter = self.made(|algorithm, key, iv| algorithm.decrypter(key, iv));
        decrypter
            .ok_or(Error::DecryptError)?
            .decrypt(message, sequence)
    }
}
