//! Numbers of a private key out of its encoding.

use pkcs8::ObjectIdentifier;
use pkcs8::der::Decode;
use rustls::pki_types::PrivateKeyDer;
use spinlane_crypto::{EcP256Key, EcP384Key, Ed25519Key, Key, RsaComponents, RsaKey};
use zeroize::Zeroizing;

/// rsaEncryption (RFC 8017, appendix A).
pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-RSASSA-PSS (RFC 8017, appendix A).
pub(super) const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// id-ecPublicKey (RFC 5480).
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// id-Ed25519 (RFC 8410).
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// secp384r1 (RFC 5480).
pub(super) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// secp256r1 (RFC 5480).
pub(super) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// The key for devices.
///
/// # Errors
/// There is none; the text says why.
pub(super) fn device_key(der: &PrivateKeyDer<'_>) -> Result<Key, String> {
    match der {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => ec(key.secret_sec1_der(), None),
        PrivateKeyDer::Pkcs8(key) => {
            let info = pkcs8::PrivateKeyInfo::from_der(key.secret_pkcs8_der())
                .map_err(|error| format!("not PKCS#8: {error}"))?;
            match info.algorithm.oid {
                RSA | RSA_PSS => rsa(info.private_key),
                EC => ec(info.private_key, info.algorithm.parameters_oid().ok()),
                ED25519 => ed25519(info.private_key),
                oid => Err(format!("no device signs with keys of type {oid}")),
            }
        }
        _ => Err("no device knows this encoding".to_owned()),
    }
}

fn rsa(der: &[u8]) -> Result<Key, String> {
    let key =
        pkcs1::RsaPrivateKey::from_der(der).map_err(|error| format!("not PKCS#1: {error}"))?;
    if key.other_prime_infos.is_some() {
        return Err("RSA key of more than two primes".to_owned());
    }
    let components = RsaComponents {
        n: key.modulus.as_bytes(),
        e: key.public_exponent.as_bytes(),
        d: key.private_exponent.as_bytes(),
        p: key.prime1.as_bytes(),
        q: key.prime2.as_bytes(),
        dp: key.exponent1.as_bytes(),
        dq: key.exponent2.as_bytes(),
        qinv: key.coefficient.as_bytes(),
    };
    let key = RsaKey::from_components(&components).map_err(|error| error.to_string())?;
    Ok(Key::Rsa(key))
}

/// `curve`: as told by the wrapping, where there is one.
fn ec(der: &[u8], curve: Option<ObjectIdentifier>) -> Result<Key, String> {
    let key = sec1::EcPrivateKey::from_der(der).map_err(|error| format!("not SEC1: {error}"))?;
    let curve = curve.or_else(|| {
        key.parameters
            .and_then(|parameters| parameters.named_curve())
    });
    match curve {
        Some(P256) => EcP256Key::from_scalar(key.private_key)
            .map(Key::EcP256)
            .map_err(|error| error.to_string()),
        Some(P384) => EcP384Key::from_scalar(key.private_key)
            .map(Key::EcP384)
            .map_err(|error| error.to_string()),
        Some(oid) => Err(format!("no device signs on curve {oid}")),
        None => Err("EC key without a named curve".to_owned()),
    }
}

/// `der`: CurvePrivateKey (RFC 8410, section 7), an octet string of 32 bytes.
fn ed25519(der: &[u8]) -> Result<Key, String> {
    match der {
        [0x04, 32, seed @ ..] if seed.len() == 32 => {
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(seed);
            Ok(Key::Ed25519(Ed25519Key::from_seed(&key)))
        }
        _ => Err("not an Ed25519 private key of 32 bytes".to_owned()),
    }
}
