//! Signatures by ECDSA on P-256 and P-384 (FIPS 186-5) and by Ed25519 (RFC 8032) on devices. Each such
//! key signs by one scheme.

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use spinlane_crypto::digest::Digest;
use spinlane_crypto::ecdsa;
use spinlane_cryptodev::{KeyHandle, OpKind, Request};
use spinlane_lcore::offload;

use crate::error::offload_error;

/// A key on a curve whose signatures are offloaded.
#[derive(Debug)]
pub(super) struct OffloadedCurveKey {
    key: Arc<KeyHandle>,
    scheme: SignatureScheme,
    spki: Option<SubjectPublicKeyInfoDer<'static>>,
    /// The same key in aws-lc-rs, for what is too long for an op; `None` if its secret is a device's own.
    stock: Option<Arc<dyn SigningKey>>,
}

#[derive(Debug)]
struct OffloadedCurveSigner {
    key: Arc<KeyHandle>,
    scheme: SignatureScheme,
    stock: Option<Arc<dyn SigningKey>>,
}

impl OffloadedCurveKey {
    /// A key that signs by `scheme`. `stock`: the same key in aws-lc-rs.
    pub(super) fn new(
        key: Arc<KeyHandle>,
        scheme: SignatureScheme,
        spki: Option<SubjectPublicKeyInfoDer<'static>>,
        stock: Option<Arc<dyn SigningKey>>,
    ) -> Self {
        Self {
            key,
            scheme,
            spki,
            stock,
        }
    }
}

impl SigningKey for OffloadedCurveKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme).then(|| {
            Box::new(OffloadedCurveSigner {
                key: Arc::clone(&self.key),
                scheme: self.scheme,
                stock: self.stock.clone(),
            }) as Box<dyn Signer>
        })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.spki.clone()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.scheme {
            SignatureScheme::ED25519 => SignatureAlgorithm::ED25519,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

impl Signer for OffloadedCurveSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        if self.scheme == SignatureScheme::ED25519 && message.len() > OpKind::Ed25519.input_len() {
            return self.sign_here(message);
        }
        let (mut hash, mut signature) = ([0; 48], [0; 96]);
        let (request, signature) = match self.scheme {
            SignatureScheme::ED25519 => {
                (Request::ed25519(&self.key, message), &mut signature[..64])
            }
            SignatureScheme::ECDSA_NISTP384_SHA384 => {
                Digest::Sha384.hash(&[message], &mut hash);
                (Request::ecdsa_p384(&self.key, &hash), &mut signature[..])
            }
            _ => {
                Digest::Sha256.hash(&[message], &mut hash);
                (
                    Request::ecdsa_p256(&self.key, &hash[..32]),
                    &mut signature[..64],
                )
            }
        };
        let request = request.map_err(|error| Error::General(error.to_string()))?;
        offload(&request, signature).map_err(offload_error)?;
        Ok(match self.scheme {
            SignatureScheme::ED25519 => signature.to_vec(),
            _ => {
                let mut der = [0; ecdsa::MAX_DER_LEN];
                let len = ecdsa::to_der(signature, &mut der);
                der[..len].to_vec()
            }
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl OffloadedCurveSigner {
    /// Ed25519 signs messages, not hashes; a client of TLS 1.2 signs the whole handshake so far,
    /// which no op has room for (RFC 8422, section 5.8).
    fn sign_here(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let len = message.len();
        let Some(stock) = &self.stock else {
            return Err(Error::General(format!(
                "a message of {len} bytes is too long for a device to sign by Ed25519; use a key of another type"
            )));
        };
        tracing::debug!(len, "too long to be offloaded; signed on the CPU");
        let signer = stock.choose_scheme(&[self.scheme]);
        signer
            .ok_or_else(|| Error::General("aws-lc-rs has no Ed25519".to_owned()))?
            .sign(message)
    }
}
