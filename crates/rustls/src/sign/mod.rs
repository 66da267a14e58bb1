//! Private keys for rustls, offloaded where devices have an op for them.

mod curve;
mod der;
mod explain;
mod pss;
mod rsa;

use std::sync::Arc;

use rustls::crypto::{KeyProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::SigningKey;
use rustls::{Error, SignatureScheme};
use spinlane_crypto::{Key, PublicKey};
use spinlane_cryptodev::{KeyHandle, OpKind};

use self::curve::OffloadedCurveKey;
use self::rsa::OffloadedRsaKey;
use crate::error::KeyError;

/// What became of a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOffload {
    /// Its signatures are made by devices.
    Offloaded,
    /// They are made by aws-lc-rs on the CPU; the text says why.
    Unsupported(String),
}

/// A private key, and who signs with it.
#[derive(Clone, Debug)]
pub struct LoadedKey {
    /// For a [`rustls::sign::CertifiedKey`].
    pub key: Arc<dyn SigningKey>,
    /// Who signs.
    pub offload: KeyOffload,
    /// The op that signs, if it is offloaded and a queue pair serves that kind.
    pub op: Option<OpKind>,
}

/// Loads private keys by [`load_private_key`]. One that is not offloaded is logged.
#[derive(Debug)]
pub struct OffloadingKeyProvider;

impl KeyProvider for OffloadingKeyProvider {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let loaded = load_private_key(&der).map_err(|error| Error::General(error.to_string()))?;
        if let KeyOffload::Unsupported(why) = &loaded.offload {
            tracing::warn!(
                why,
                "private key is not offloaded; aws-lc-rs signs on the CPU"
            );
        }
        Ok(loaded.key)
    }
}

/// The key in `der` (PKCS#8, PKCS#1 or SEC1): offloaded if it is RSA of 2048, 3072 or 4096 bits with
/// two primes of equal length, ECDSA on P-256 or P-384, or Ed25519; by aws-lc-rs if it is another
/// that rustls knows. An RSA key that is for PSS alone (id-RSASSA-PSS) has to be one that is offloaded,
/// and serves TLS 1.3: rustls has no names for its schemes, and takes none that it has no name for in TLS
/// 1.2.
///
/// # Errors
/// It is no such key, or does not fit together.
pub fn load_private_key(der: &PrivateKeyDer<'_>) -> Result<LoadedKey, KeyError> {
    let device_key = der::device_key(der);
    if let Some(pss) = pss::read(der) {
        let pss = pss?;
        let key = device_key.map_err(|_| explain::explain(der))?;
        return Ok(LoadedKey {
            op: Some(op(&key)),
            key: Arc::new(OffloadedRsaKey::new(
                KeyHandle::local(key),
                pss.schemes,
                Some(pss.spki),
            )),
            offload: KeyOffload::Offloaded,
        });
    }
    // Checks encoding and key, and knows the public part.
    let stock = aws_lc_rs::sign::any_supported_type(der).map_err(|_| explain::explain(der))?;
    Ok(match device_key {
        Ok(key) => LoadedKey {
            op: Some(op(&key)),
            key: {
                let spki = stock.public_key().map(|spki| spki.into_owned());
                signing_key(op(&key), KeyHandle::local(key), spki, Some(stock))
            },
            offload: KeyOffload::Offloaded,
        },
        Err(why) => LoadedKey {
            key: stock,
            offload: KeyOffload::Unsupported(why),
            op: None,
        },
    })
}

/// A key whose secret is a device's own: it signs by that device, or not at all. `None` if its secret is in memory,
/// for which there is [`load_private_key`].
pub fn device_key(key: &Arc<KeyHandle>) -> Option<LoadedKey> {
    let public = key.as_remote()?;
    let op = match public {
        PublicKey::Rsa(key) => OpKind::of_modulus(key.modulus()),
        PublicKey::EcP256(_) => OpKind::EcdsaP256,
        PublicKey::EcP384(_) => OpKind::EcdsaP384,
        PublicKey::Ed25519(_) => OpKind::Ed25519,
    };
    let spki = SubjectPublicKeyInfoDer::from(public.to_spki());
    Some(LoadedKey {
        key: signing_key(op, Arc::clone(key), Some(spki), None),
        offload: KeyOffload::Offloaded,
        op: Some(op),
    })
}

/// A key that signs by `op`. `stock`: the same key in aws-lc-rs.
fn signing_key(
    op: OpKind,
    key: Arc<KeyHandle>,
    spki: Option<SubjectPublicKeyInfoDer<'static>>,
    stock: Option<Arc<dyn SigningKey>>,
) -> Arc<dyn SigningKey> {
    let scheme = match op {
        OpKind::EcdsaP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        OpKind::EcdsaP384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        OpKind::Ed25519 => SignatureScheme::ED25519,
        _ => return Arc::new(OffloadedRsaKey::new(key, rsa::SCHEMES.to_vec(), spki)),
    };
    Arc::new(OffloadedCurveKey::new(key, scheme, spki, stock))
}

fn op(key: &Key) -> OpKind {
    match key {
        Key::Rsa(key) => OpKind::of_modulus(key.modulus()),
        Key::EcP256(_) => OpKind::EcdsaP256,
        Key::EcP384(_) => OpKind::EcdsaP384,
        Key::Ed25519(_) => OpKind::Ed25519,
    }
}
