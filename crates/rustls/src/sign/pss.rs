//! RSA keys that sign by PSS alone (id-RSASSA-PSS; RFC 4055, section 3): what their encoding allows.
//! aws-lc-rs knows no such keys.

use pkcs1::RsaPssParams;
use pkcs8::der::asn1::BitStringRef;
use pkcs8::der::{Decode, Encode};
use pkcs8::spki::SubjectPublicKeyInfo;
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier};
use rustls::SignatureScheme;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use super::der::RSA_PSS;
use crate::error::KeyError;

/// rsa_pss_pss_sha256 and its like (RFC 8446, section 4.2.3), which rustls has no names for. SHA-256 comes
/// first since CPUs have instructions for it.
pub(super) const SCHEMES: [SignatureScheme; 3] = [SHA256, SHA384, SHA512];
const SHA256: SignatureScheme = SignatureScheme::Unknown(0x0809);
pub(super) const SHA384: SignatureScheme = SignatureScheme::Unknown(0x080a);
pub(super) const SHA512: SignatureScheme = SignatureScheme::Unknown(0x080b);

/// Hash functions (RFC 5754, section 2), as in [`SCHEMES`], and how long they are: as long as the salt is.
const HASHES: [(ObjectIdentifier, u8); 3] = [
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), 32),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), 48),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), 64),
];

/// What is known of such a key besides its numbers.
pub(super) struct PssKey {
    /// Schemes that it may sign by, most preferred first; at least one.
    pub(super) schemes: Vec<SignatureScheme>,
    /// Its public part.
    pub(super) spki: SubjectPublicKeyInfoDer<'static>,
}

/// `None` if `der` is no such key.
///
/// # Errors
/// It is one that TLS has no scheme for, or damaged.
pub(super) fn read(der: &PrivateKeyDer<'_>) -> Option<Result<PssKey, KeyError>> {
    let PrivateKeyDer::Pkcs8(key) = der else {
        return None;
    };
    let info = pkcs8::PrivateKeyInfo::from_der(key.secret_pkcs8_der()).ok()?;
    (info.algorithm.oid == RSA_PSS).then(|| understand(info.algorithm, info.private_key))
}

fn understand(
    algorithm: AlgorithmIdentifierRef<'_>,
    private_key: &[u8],
) -> Result<PssKey, KeyError> {
    let damaged = |error: pkcs8::der::Error| KeyError::Damaged {
        what: format!("not an RSA-PSS private key: {error}"),
    };
    let numbers =
        pkcs1::RsaPrivateKey::from_der(private_key).map_err(|error| KeyError::Damaged {
            what: format!("not an RSA private key (PKCS#1): {error}"),
        })?;
    // An encoded public key has its modulus and little else.
    let room = private_key.len();
    let mut public = vec![0; room];
    let public = numbers
        .public_key()
        .encode_to_slice(&mut public)
        .map_err(damaged)?;
    let mut spki = vec![0; 2 * room];
    let spki = SubjectPublicKeyInfo {
        algorithm,
        subject_public_key: BitStringRef::from_bytes(public).map_err(damaged)?,
    }
    .encode_to_slice(&mut spki)
    .map_err(damaged)?;
    Ok(PssKey {
        schemes: schemes(algorithm)?,
        spki: SubjectPublicKeyInfoDer::from(spki.to_vec()),
    })
}

/// Without parameters, all. Parameters name one hash function, and the salt that is the shortest allowed.
fn schemes(algorithm: AlgorithmIdentifierRef<'_>) -> Result<Vec<SignatureScheme>, KeyError> {
    let Some(parameters) = algorithm.parameters else {
        return Ok(SCHEMES.to_vec());
    };
    let unsupported = || KeyError::Unsupported {
        what: "an RSA-PSS key whose parameters (hash, mask generation, salt) are none of TLS"
            .to_owned(),
    };
    let parameters: RsaPssParams<'_> = parameters.decode_as().map_err(|_| unsupported())?;
    let by_mgf = parameters.mask_gen.parameters.map(|hash| hash.oid);
    let mut schemes = SCHEMES.iter().zip(HASHES);
    let found = schemes.find(|(_, (hash, len))| {
        parameters.hash.oid == *hash && by_mgf == Some(*hash) && parameters.salt_len <= *len
    });
    let (scheme, _) = found.ok_or_else(unsupported)?;
    Ok(vec![*scheme])
}
