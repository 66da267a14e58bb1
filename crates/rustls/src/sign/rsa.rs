//! RSA signatures (RFC 8017) on devices: hash and padding here, the private operation there.

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use spinlane_crypto::digest::{Digest, MAX_DIGEST_LEN};
use spinlane_crypto::padding;
use spinlane_cryptodev::{KeyHandle, MAX_OUTPUT, Request};
use spinlane_lcore::offload;

use super::pss;
use crate::error::offload_error;

/// Of a key that may sign by any, most preferred first. SHA-256 comes first since CPUs have instructions for it.
pub(super) const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// An RSA key whose private operations are offloaded.
#[derive(Debug)]
pub(super) struct OffloadedRsaKey {
    key: Arc<KeyHandle>,
    /// What it signs by, most preferred first.
    schemes: Vec<SignatureScheme>,
    spki: Option<SubjectPublicKeyInfoDer<'static>>,
}

/// Signs by one scheme.
#[derive(Debug)]
struct OffloadedRsaSigner {
    key: Arc<KeyHandle>,
    scheme: SignatureScheme,
}

impl OffloadedRsaKey {
    /// `schemes`: what it may sign by, most preferred first. `spki`: the public key.
    pub(super) fn new(
        key: Arc<KeyHandle>,
        schemes: Vec<SignatureScheme>,
        spki: Option<SubjectPublicKeyInfoDer<'static>>,
    ) -> Self {
        Self { key, schemes, spki }
    }
}

impl SigningKey for OffloadedRsaKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let mut schemes = self.schemes.iter();
        let scheme = schemes.find(|scheme| offered.contains(scheme))?;
        Some(Box::new(OffloadedRsaSigner {
            key: Arc::clone(&self.key),
            scheme: *scheme,
        }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.spki.clone()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for OffloadedRsaSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let Some(modulus_len) = self.key.modulus().map(<[u8]>::len) else {
            return Err(Error::General("the key is no RSA key".to_owned()));
        };
        let mut block = [0; MAX_OUTPUT];
        let block = &mut block[..modulus_len];
        let digest = self.digest();
        let mut hash = [0; MAX_DIGEST_LEN];
        digest.hash(&[message], &mut hash);
        let hash = &hash[..digest.len()];
        let is_pss = self.pad(digest, hash, block)?;
        let mut request = Request::rsa_private(&self.key, block).map_err(general)?;
        if is_pss {
            request = request.of_pss(digest, hash);
        }
        let mut signature = vec![0; modulus_len];
        offload(&request, &mut signature).map_err(offload_error)?;
        Ok(signature)
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl OffloadedRsaSigner {
    fn digest(&self) -> Digest {
        match self.scheme {
            SignatureScheme::RSA_PSS_SHA512 | SignatureScheme::RSA_PKCS1_SHA512 | pss::SHA512 => {
                Digest::Sha512
            }
            SignatureScheme::RSA_PSS_SHA384 | SignatureScheme::RSA_PKCS1_SHA384 | pss::SHA384 => {
                Digest::Sha384
            }
            _ => Digest::Sha256,
        }
    }

    /// Pads `hash` to the whole of `block`; returns whether that is by PSS.
    fn pad(&self, digest: Digest, hash: &[u8], block: &mut [u8]) -> Result<bool, Error> {
        let is_pss = !matches!(
            self.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        );
        match is_pss {
            false => padding::pkcs1_v15(digest, hash, block),
            // The salt is as long as the hash (RFC 8446, section 4.2.3).
            true => padding::pss(digest, hash, digest.len(), block),
        }
        .map_err(general)?;
        Ok(is_pss)
    }
}

fn general(error: impl std::error::Error) -> Error {
    Error::General(error.to_string())
}
