//! RSA signature padding (RFC 8017, section 9): devices sign blocks, not messages.
//!
//! A block has the length of the modulus, whose bits are a multiple of 8
//! ([`crate::RsaKey`] admits no other).

use thiserror::Error;

use crate::aws_lc::cleanse;
use crate::digest::{Digest, Hasher, MAX_DIGEST_LEN};
use crate::random;

/// What cannot be padded. The text names the culprit.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PaddingError {
    /// The hash is not one of this digest.
    #[error("hash of {got} bytes; {digest:?} has {}", .digest.len())]
    HashLength {
        /// The digest asked for.
        digest: Digest,
        /// Length of the hash given.
        got: usize,
    },
    /// The message or salt leaves too little room for the padding.
    #[error("{what} of {got} bytes does not fit a block of {block} bytes; at most {most} do")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Length of what was given, in bytes.
        got: usize,
        /// Longest that fits.
        most: usize,
        /// Length of the block.
        block: usize,
    },
}

/// Pads `hash` by PKCS#1 v1.5 (RFC 8017, section 9.2) to the whole of `block`.
///
/// # Errors
/// `hash` has not the digest's length, or `block` is too short.
pub fn pkcs1_v15(digest: Digest, hash: &[u8], block: &mut [u8]) -> Result<(), PaddingError> {
    check_hash(digest, hash)?;
    let prefix = digest_info_prefix(digest);
    pad_pkcs1(&[prefix, hash], block)
}

/// Pads `digest_info`, which the caller has encoded (TLS 1.1's MD5 and SHA-1 pair, say), by
/// PKCS#1 v1.5 to the whole of `block`.
///
/// # Errors
/// `digest_info` is longer than `block` less 11 bytes.
pub fn pkcs1_v15_raw(digest_info: &[u8], block: &mut [u8]) -> Result<(), PaddingError> {
    pad_pkcs1(&[digest_info], block)
}

/// Pads `hash` by PSS (RFC 8017, section 9.1.1) to the whole of `block`, with a fresh salt of
/// `salt_len` bytes and MGF1 over the same digest.
///
/// # Errors
/// `hash` has not the digest's length, or the salt is longer than [`pss_max_salt_len`].
pub fn pss(
    digest: Digest,
    hash: &[u8],
    salt_len: usize,
    block: &mut [u8],
) -> Result<(), PaddingError> {
    pad_pss(digest, hash, salt_len, random::fill, block)
}

/// Does what [`pss`] does, with the caller's salt, which makes the block a function of its inputs.
///
/// # Errors
/// As [`pss`].
pub fn pss_with_salt(
    digest: Digest,
    hash: &[u8],
    salt: &[u8],
    block: &mut [u8],
) -> Result<(), PaddingError> {
    pad_pss(
        digest,
        hash,
        salt.len(),
        |place| place.copy_from_slice(salt),
        block,
    )
}

/// Returns the length of the longest salt of [`pss`] for a block of `block_len` bytes.
pub fn pss_max_salt_len(digest: Digest, block_len: usize) -> usize {
    block_len.saturating_sub(digest.len() + 2)
}

/// Returns the DigestInfo in `block`, if `block` is padded as [`pkcs1_v15_raw`] does it. For
/// signatures, in which nothing is secret: takes a time that depends on the block.
pub fn pkcs1_v15_message(block: &[u8]) -> Option<&[u8]> {
    let padded = block.strip_prefix(&[0x00, 0x01])?;
    let padding = padded.iter().take_while(|byte| **byte == 0xff).count();
    let message = padded[padding..].strip_prefix(&[0x00])?;
    (padding >= 8).then_some(message)
}

/// Returns whether `block` is `hash` padded as [`pss`] does it with a salt of `salt_len` bytes (RFC
/// 8017, section 9.1.2). For signatures, in which nothing is secret.
pub fn is_pss(digest: Digest, hash: &[u8], salt_len: usize, block: &[u8]) -> bool {
    if check_hash(digest, hash).is_err() || salt_len > pss_max_salt_len(digest, block.len()) {
        return false;
    }
    let Some((0xbc, rest)) = block.split_last().map(|(last, rest)| (*last, rest)) else {
        return false;
    };
    let Some((masked, h)) = rest.split_at_checked(rest.len().wrapping_sub(digest.len())) else {
        return false;
    };
    let mut db = masked.to_vec();
    mask_by_mgf1(digest, h, &mut db);
    let Some(salt_at) = db.len().checked_sub(salt_len).filter(|at| *at > 0) else {
        return false;
    };
    db[0] &= 0x7f;
    let (zeros, salt) = db.split_at(salt_at);
    let mut wanted = [0; MAX_DIGEST_LEN];
    let wanted = &mut wanted[..digest.len()];
    digest.hash(&[&[0; 8], hash, salt], wanted);
    masked[0] & 0x80 == 0
        && zeros.ends_with(&[1])
        && zeros[..zeros.len() - 1].iter().all(|byte| *byte == 0)
        && wanted == h
}

fn check_hash(digest: Digest, hash: &[u8]) -> Result<(), PaddingError> {
    if hash.len() == digest.len() {
        Ok(())
    } else {
        Err(PaddingError::HashLength {
            digest,
            got: hash.len(),
        })
    }
}

/// Returns the DER of DigestInfo up to the hash itself (RFC 8017, section 9.2, note 1).
fn digest_info_prefix(digest: Digest) -> &'static [u8] {
    match digest {
        Digest::Sha256 => {
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
        }
        Digest::Sha384 => {
            b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"
        }
        Digest::Sha512 => {
            b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"
        }
    }
}

/// Writes 0x00 0x01 0xff… 0x00 and the parts, with at least eight 0xff.
fn pad_pkcs1(parts: &[&[u8]], block: &mut [u8]) -> Result<(), PaddingError> {
    let len = parts.iter().map(|part| part.len()).sum();
    let most = block.len().saturating_sub(11);
    if len > most || block.len() < 11 {
        return Err(PaddingError::TooLong {
            what: "DigestInfo",
            got: len,
            most,
            block: block.len(),
        });
    }
    let (padding, mut rest) = block.split_at_mut(block.len() - len);
    padding.fill(0xff);
    padding[0] = 0x00;
    padding[1] = 0x01;
    padding[padding.len() - 1] = 0x00;
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    Ok(())
}

/// ```text
/// block   | 0x00…  0x01  salt | H                             | 0xbc |
///         |  DB, xored with   | hash(8 zeros || hash || salt) |
///         |  MGF1(H)          |
/// ```
fn pad_pss(
    digest: Digest,
    hash: &[u8],
    salt_len: usize,
    write_salt: impl FnOnce(&mut [u8]),
    block: &mut [u8],
) -> Result<(), PaddingError> {
    check_hash(digest, hash)?;
    let most = pss_max_salt_len(digest, block.len());
    if salt_len > most || block.len() < digest.len() + 2 {
        return Err(PaddingError::TooLong {
            what: "PSS salt",
            got: salt_len,
            most,
            block: block.len(),
        });
    }
    let (db, rest) = block.split_at_mut(block.len() - digest.len() - 1);
    let (h, trailer) = rest.split_at_mut(digest.len());
    trailer[0] = 0xbc;

    let (zeros, salt) = db.split_at_mut(db.len() - salt_len);
    zeros.fill(0);
    zeros[zeros.len() - 1] = 0x01;
    write_salt(salt);
    digest.hash(&[&[0; 8], hash, salt], h);

    mask_by_mgf1(digest, h, db);
    // emBits is one less than the modulus has, so that the block is below the modulus.
    db[0] &= 0x7f;
    Ok(())
}

/// Xors MGF1(`seed`) onto `data` (RFC 8017, appendix B.2.1).
fn mask_by_mgf1(digest: Digest, seed: &[u8], data: &mut [u8]) {
    let mut seeded = Hasher::new(digest);
    seeded.update(seed);
    let mut mask = [0; MAX_DIGEST_LEN];
    for (counter, chunk) in (0u32..).zip(data.chunks_mut(digest.len())) {
        let mut hasher = seeded.clone();
        hasher.update(&counter.to_be_bytes());
        hasher.finish(&mut mask);
        chunk
            .iter_mut()
            .zip(&mask)
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    cleanse(&mut mask);
}
