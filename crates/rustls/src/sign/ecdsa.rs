//! ECDSA signatures on P-256 (FIPS 186-5) on devices: hash and encoding here, the rest there.

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use spinlane_cryptodev::digest::Digest;
use spinlane_cryptodev::{Key, Request};
use spinlane_lcore::offload;

use crate::error::offload_error;

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// A P-256 key whose signatures are offloaded.
#[derive(Debug)]
pub(super) struct OffloadedEcdsaP256Key {
    key: Arc<Key>,
    spki: Option<SubjectPublicKeyInfoDer<'static>>,
}

#[derive(Debug)]
struct OffloadedEcdsaP256Signer(Arc<Key>);

impl OffloadedEcdsaP256Key {
    /// `spki`: the public key.
    pub(super) fn new(key: Key, spki: Option<SubjectPublicKeyInfoDer<'static>>) -> Self {
        Self {
            key: Arc::new(key),
            spki,
        }
    }
}

impl SigningKey for OffloadedEcdsaP256Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SCHEME)
            .then(|| Box::new(OffloadedEcdsaP256Signer(Arc::clone(&self.key))) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.spki.clone()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for OffloadedEcdsaP256Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut hash = [0; 32];
        Digest::Sha256.hash(&[message], &mut hash);
        let request = Request::ecdsa_p256(&self.0, &hash)
            .map_err(|error| Error::General(error.to_string()))?;
        let mut signature = [0; 64];
        offload(&request, &mut signature).map_err(offload_error)?;
        Ok(encode(&signature))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

/// `r ‖ s` as Ecdsa-Sig-Value (RFC 3279, section 2.2.3).
fn encode(signature: &[u8; 64]) -> Vec<u8> {
    // Two integers of at most 33 bytes: every length is one byte.
    let mut der = Vec::with_capacity(72);
    der.extend([0x30, 0]);
    for number in signature.chunks(32) {
        let zeros = number
            .iter()
            .take(31)
            .take_while(|byte| **byte == 0)
            .count();
        let number = &number[zeros..];
        // Else it would be a negative one.
        let sign = usize::from(number[0] >= 0x80);
        der.extend([0x02, (number.len() + sign) as u8]);
        der.extend(std::iter::repeat_n(0, sign));
        der.extend_from_slice(number);
    }
    der[1] = (der.len() - 2) as u8;
    der
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn numbers_are_encoded_as_short_as_they_go_and_never_negative() {
        let mut signature = [0; 64];
        assert_eq!(encode(&signature), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        signature[31] = 0x7f;
        signature[63] = 0x80;
        assert_eq!(encode(&signature), [0x30, 7, 2, 1, 0x7f, 2, 2, 0, 0x80]);
        let full = encode(&[0xff; 64]);
        assert_eq!(full.len(), 72);
        assert_eq!(full[..5], [0x30, 70, 2, 33, 0]);
    }
}
