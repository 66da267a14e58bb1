//! SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) in DER, as far as TLS has these keys.

use super::{EcPublicKey, PublicKey, RsaPublicKey};

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// AlgorithmIdentifier of RSA (RFC 3279, section 2.3.1), without its header.
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// Algorithm identifier of ECDSA on P-256 (RFC 5480, section 2.1.1).
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// Algorithm identifier of ECDSA on P-384.
const P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
/// Algorithm identifier of Ed25519 (RFC 8410, section 3).
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

pub(super) fn encode(key: &PublicKey) -> Vec<u8> {
    let (algorithm, bits) = match key {
        PublicKey::Rsa(key) => {
            let numbers = [key.modulus(), key.public_exponent()].map(integer).concat();
            (RSA, element(SEQUENCE, &numbers))
        }
        PublicKey::EcP256(key) => (P256, key.point().as_ref().to_vec()),
        PublicKey::EcP384(key) => (P384, key.point().as_ref().to_vec()),
        PublicKey::Ed25519(key) => (ED25519, key.to_vec()),
    };
    // No bit of the last byte is unused.
    let bits = element(BIT_STRING, &[&[0], &bits[..]].concat());
    element(SEQUENCE, &[element(SEQUENCE, algorithm), bits].concat())
}

pub(super) fn decode(der: &[u8]) -> Option<PublicKey> {
    let (info, rest) = take(SEQUENCE, der)?;
    let (algorithm, info) = take(SEQUENCE, info)?;
    let (bits, after) = take(BIT_STRING, info)?;
    if !rest.is_empty() || !after.is_empty() {
        return None;
    }
    let bits = bits.strip_prefix(&[0])?;
    match algorithm {
        RSA => {
            let (numbers, rest) = take(SEQUENCE, bits)?;
            let (n, numbers) = take(INTEGER, numbers)?;
            let (e, after) = take(INTEGER, numbers)?;
            let is_whole = rest.is_empty() && after.is_empty();
            let key = RsaPublicKey::from_components(n, e).ok();
            key.filter(|_| is_whole).map(PublicKey::Rsa)
        }
        P256 => EcPublicKey::from_point(bits).ok().map(PublicKey::EcP256),
        P384 => EcPublicKey::from_point(bits).ok().map(PublicKey::EcP384),
        ED25519 => bits.try_into().ok().map(PublicKey::Ed25519),
        _ => None,
    }
}

/// Encodes a positive number, which is big-endian, without leading zeros.
fn integer(number: &[u8]) -> Vec<u8> {
    // Else it would be a negative one.
    let sign: &[u8] = match number.first() {
        Some(first) if *first < 0x80 => &[],
        _ => &[0],
    };
    element(INTEGER, &[sign, number].concat())
}

/// Encodes tag, length and contents, of at most 65535 bytes.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [.., high, low] = contents.len().to_be_bytes();
    let header: &[u8] = match (high, low) {
        (0, ..0x80) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [header, contents].concat()
}

/// Returns the contents of the element of this tag that `der` begins with, and what follows it.
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match der.strip_prefix(&[tag])? {
        [0x81, len, rest @ ..] if *len >= 0x80 => (usize::from(*len), rest),
        [0x82, high, low, rest @ ..] if *high > 0 => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        [len, rest @ ..] if *len < 0x80 => (usize::from(*len), rest),
        _ => return None,
    };
    rest.split_at_checked(len)
}
