//! Why a key is none that rustls over aws-lc signs with. aws-lc-rs tells no more than that it is not.

use pkcs8::ObjectIdentifier;
use pkcs8::der::Decode;
use rustls::pki_types::PrivateKeyDer;

use super::der::{EC, ED25519, RSA, RSA_PSS};
use crate::error::KeyError;

/// Bits that an RSA modulus may have.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bits of a public exponent at most.
const MAX_EXPONENT_BITS: usize = 33;
/// Kinds of keys, and curves, that have names.
const NAMES: [(&str, &str); 13] = [
    ("1.2.840.10040.4.1", "a DSA key"),
    ("1.3.101.110", "an X25519 key, which cannot sign,"),
    ("1.3.101.111", "an X448 key, which cannot sign,"),
    ("1.3.101.113", "an Ed448 key"),
    ("2.16.840.1.101.3.4.3.17", "an ML-DSA-44 key"),
    ("2.16.840.1.101.3.4.3.18", "an ML-DSA-65 key"),
    ("2.16.840.1.101.3.4.3.19", "an ML-DSA-87 key"),
    ("1.3.132.0.10", "an EC key on secp256k1"),
    ("1.3.132.0.33", "an EC key on P-224"),
    ("1.3.132.0.35", "an EC key on P-521"),
    ("1.3.36.3.3.2.8.1.1.7", "an EC key on brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "an EC key on brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "an EC key on brainpoolP512r1"),
];
const P521: &str = "1.3.132.0.35";

fn unsupported(what: impl Into<String>) -> KeyError {
    KeyError::Unsupported { what: what.into() }
}

fn damaged(what: impl Into<String>) -> KeyError {
    KeyError::Damaged { what: what.into() }
}

fn named(oid: ObjectIdentifier, of: &str) -> String {
    let oid = oid.to_string();
    let name = NAMES.iter().find(|(named, _)| *named == oid);
    name.map_or_else(|| format!("{of} {oid}"), |(_, name)| (*name).to_owned())
}

/// Why `der` is refused.
pub(super) fn explain(der: &PrivateKeyDer<'_>) -> KeyError {
    match der {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => ec(key.secret_sec1_der(), None),
        PrivateKeyDer::Pkcs8(key) => {
            match pkcs8::PrivateKeyInfo::from_der(key.secret_pkcs8_der()) {
                Ok(info) => match info.algorithm.oid {
                    RSA | RSA_PSS => rsa(info.private_key),
                    EC => ec(info.private_key, Some(&info.algorithm)),
                    ED25519 => damaged(
                        "not an Ed25519 private key of 32 bytes, or not that of its public key",
                    ),
                    oid => unsupported(named(oid, "a key of type")),
                },
                Err(error) => damaged(format!("not PKCS#8: {error}")),
            }
        }
        _ => unsupported("a key in an encoding other than PKCS#8, PKCS#1 and SEC1"),
    }
}

fn rsa(der: &[u8]) -> KeyError {
    // A sequence that begins with version 1, which this parser does not read.
    if let [0x30, 0x82, _, _, 0x02, 0x01, 0x01, ..] = der {
        return unsupported("an RSA key of more than two primes");
    }
    let key = match pkcs1::RsaPrivateKey::from_der(der) {
        Ok(key) => key,
        Err(error) => return damaged(format!("not an RSA private key (PKCS#1): {error}")),
    };
    let bits = bit_len(key.modulus.as_bytes());
    let exponent = key.public_exponent.as_bytes();
    let crt = [
        key.prime1,
        key.prime2,
        key.exponent1,
        key.exponent2,
        key.coefficient,
    ];
    if !RSA_BITS.contains(&bits) {
        unsupported(format!("an RSA key of {bits} bits"))
    } else if bit_len(exponent) > MAX_EXPONENT_BITS {
        let bits = bit_len(exponent);
        unsupported(format!(
            "an RSA key whose public exponent has {bits} bits in place of at most {MAX_EXPONENT_BITS}"
        ))
    } else if crt.iter().any(|number| bit_len(number.as_bytes()) == 0) {
        unsupported(
            "an RSA key without its primes and the numbers of the Chinese remainder theorem (p, q, dp, dq, qinv)",
        )
    } else {
        damaged("the RSA key's numbers do not fit together")
    }
}

/// `algorithm`: as told by the wrapping, where there is one.
fn ec(der: &[u8], algorithm: Option<&pkcs8::AlgorithmIdentifierRef<'_>>) -> KeyError {
    let key = match sec1::EcPrivateKey::from_der(der) {
        Ok(key) => key,
        // Explicit parameters are no choice that this parser knows.
        Err(error) => {
            return damaged(format!(
                "not an EC private key (SEC1) on a named curve: {error}"
            ));
        }
    };
    let told = algorithm.and_then(|algorithm| algorithm.parameters_oid().ok());
    let curve = told.or_else(|| {
        key.parameters
            .and_then(|parameters| parameters.named_curve())
    });
    match curve {
        None => unsupported("an EC key with explicit parameters in place of a curve's name"),
        Some(super::der::P256 | super::der::P384) => mismatched(),
        Some(oid) if oid.to_string() == P521 => mismatched(),
        Some(oid) => unsupported(named(oid, "an EC key on curve")),
    }
}

fn mismatched() -> KeyError {
    damaged("the EC key's private number is out of range, or its public point is another key's")
}

fn bit_len(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    match &number[zeros..] {
        [] => 0,
        [first, rest @ ..] => rest.len() * 8 + 8 - first.leading_zeros() as usize,
    }
}
