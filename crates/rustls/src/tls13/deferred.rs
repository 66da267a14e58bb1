//! Record protection whose keys are expanded when the first record comes, and which keeps to what RFC
//! 8446 demands of a record beyond rustls.
//!
//! rustls makes both directions' keys for application data, which a [`Connection`](crate::Connection) takes
//! over as they are: most of them never see a record here.

use std::cell::Cell;

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, Error, PeerMisbehaved};
use spinlane_crypto::aead::TAG_LEN;

use crate::record::{FATAL, MAX_PAYLOAD_TLS13};

thread_local! {
    /// What an alert says in place of rustls' words.
    static ALERT: Cell<Option<AlertDescription>> = const { Cell::new(None) };
}

/// Runs `call`; what it seals as an alert says `alert`. Only the encrypter has the keys of a handshake,
/// and rustls cannot be told what to say.
pub(crate) fn saying<T>(alert: AlertDescription, call: impl FnOnce() -> T) -> T {
    ALERT.set(Some(alert));
    let value = call();
    ALERT.set(None);
    value
}

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
        if message.typ == ContentType::Alert
            && let Some(alert) = ALERT.get()
        {
            let payload = [FATAL, alert.into()];
            let message = OutboundPlainMessage {
                payload: payload.as_slice().into(),
                ..message
            };
            return encrypter.encrypt(message, sequence);
        }
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
        // RFC 8446, section 5.2: whatever its tag.
        if message.payload.len() > MAX_PAYLOAD_TLS13 {
            return Err(Error::PeerSentOversizedRecord);
        }
        let decrypter = self.made(|algorithm, key, iv| algorithm.decrypter(key, iv));
        let message = decrypter.decrypt(message, sequence)?;
        // Section 5.4.
        let may_be_empty = message.typ == ContentType::ApplicationData;
        if message.payload.is_empty() && !may_be_empty {
            return Err(PeerMisbehaved::IllegalTlsInnerPlaintext.into());
        }
        Ok(message)
    }
}
