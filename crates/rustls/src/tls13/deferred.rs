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
    /// Zeros once it has been used: taken out of an `Option`, it would leave its bytes behind.
    key: (AeadKey, Iv),
    made: Option<Box<T>>,
}

fn zeros() -> (AeadKey, Iv) {
    (AeadKey::from([0; 32]), Iv::new([0; 12]))
}

impl<T: ?Sized> Direction<T> {
    fn new(algorithm: &'static dyn Tls13AeadAlgorithm, key: AeadKey, iv: Iv) -> Self {
        Self {
            algorithm,
            key: (key, iv),
            made: None,
        }
    }

    fn made(&mut self, make: fn(&'static dyn Tls13AeadAlgorithm, AeadKey, Iv) -> Box<T>) -> &mut T {
        self.made.get_or_insert_with(|| {
            let (key, iv) = std::mem::replace(&mut self.key, zeros());
            make(self.algorithm, key, iv)
        })
    }
}

impl<T: ?Sized> Drop for Direction<T> {
    /// An `Iv` is not wiped by its own.
    fn drop(&mut self) {
        self.key = zeros();
        std::hint::black_box(&self.key);
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
        encrypter.encrypt(message, sequence)
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
        decrypter.decrypt(message, sequence)
    }
}
