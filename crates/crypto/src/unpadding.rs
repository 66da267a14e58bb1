//! RSA decryption padding (RFC 8017, section 7.2) taken off without telling whether it was right.
//!
//! Devices raise a ciphertext to the private exponent; what comes out is a padded block, and
//! whoever learns of chosen ciphertexts whether their blocks were well padded can decrypt and sign
//! with the key (Bleichenbacher 1998). So there is no error for a badly padded block: it is
//! replaced by something the peer cannot tell from a message, in a time and by memory accesses that
//! depend on public lengths and on the length returned alone.

use subtle::{
    Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::digest::{Digest, HmacKey};
use crate::key::{MAX_MODULUS_LEN, RsaKey};
use crate::random;

/// Bytes of the premaster secret of an RSA key exchange (RFC 5246, section 7.4.7.1).
pub const PREMASTER_LEN: usize = 48;

/// Fewest bytes of padding: 0x00, 0x02, eight that are not zero, 0x00.
const MIN_PADDING: usize = 11;

/// What no key's operations have: the caller mixed something up. Says nothing of the padding.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{what} of {got} bytes; it must have {wanted}")]
pub struct LengthError {
    /// What has the wrong length.
    pub what: &'static str,
    /// Length of what was given, in bytes.
    pub got: usize,
    /// The length it must have.
    pub wanted: usize,
}

/// Versions of TLS as they stand in a premaster secret, such as 0x0303.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    /// The one that the client offered.
    pub client: u16,
    /// Another that is accepted: the one negotiated, which old clients sent instead
    /// (SSL_OP_TLS_ROLLBACK_BUG).
    pub negotiated: Option<u16>,
}

/// Takes the premaster secret out of `block`, which a device made of a client's ciphertext. If
/// padding, length or version is wrong, `premaster` becomes random, and the handshake fails at
/// its Finished message as if the client had sent another secret (RFC 5246, section 7.4.7.1).
///
/// # Errors
/// `block` is too short for any premaster secret.
pub fn tls_premaster(
    block: &[u8],
    versions: TlsVersions,
    premaster: &mut [u8; PREMASTER_LEN],
) -> Result<(), LengthError> {
    let (padding, secret) = block
        .split_last_chunk::<PREMASTER_LEN>()
        .filter(|(padding, _)| padding.len() >= MIN_PADDING)
        .ok_or(LengthError {
            what: "RSA block",
            got: block.len(),
            wanted: MIN_PADDING + PREMASTER_LEN,
        })?;
    random::fill(premaster);
    let mut good = padding[0].ct_eq(&0x00) & padding[1].ct_eq(&0x02);
    for byte in &padding[2..padding.len() - 1] {
        good &= !byte.ct_eq(&0x00);
    }
    good &= padding[padding.len() - 1].ct_eq(&0x00);

    let version = u16::from_be_bytes([secret[0], secret[1]]);
    let mut known = version.ct_eq(&versions.client);
    if let Some(negotiated) = versions.negotiated {
        known |= version.ct_eq(&negotiated);
    }
    good &= known;
    for (byte, sent) in premaster.iter_mut().zip(secret) {
        byte.conditional_assign(sent, good);
    }
    Ok(())
}

/// Takes the PKCS#1 v1.5 padding off `block`, which a device made of `ciphertext`, and writes the
/// message to the front of `message`; returns its length. If the padding is wrong, the message is
/// a random one of random length: always the same for this ciphertext and key, so that repeating
/// the question tells nothing, and the same that OpenSSL makes from 3.2 on (implicit rejection,
/// draft-irtf-cfrg-rsa-guidance, section 7).
///
/// # Errors
/// A length is not that of the modulus.
pub fn pkcs1_v15(
    key: &RsaKey,
    ciphertext: &[u8],
    block: &[u8],
    message: &mut [u8],
) -> Result<usize, LengthError> {
    let wanted = key.modulus_len();
    for (what, got) in [
        ("RSA ciphertext", ciphertext.len()),
        ("RSA block", block.len()),
        ("room for a message", message.len()),
    ] {
        if got != wanted {
            return Err(LengthError { what, got, wanted });
        }
    }
    let mut substitute = Zeroizing::new([0; MAX_MODULUS_LEN]);
    let substitute = &mut substitute[..wanted];
    let substitute_start = make_substitute(key, ciphertext, substitute);

    let (good, message_start) = find_message(block);
    let start = u32::conditional_select(&substitute_start, &message_start, good) as usize;
    let len = wanted - start;
    // Both are read at every place, whichever is taken.
    for (out, (rejected, sent)) in message
        .iter_mut()
        .zip(substitute[start..].iter().zip(&block[start..]))
    {
        *out = u8::conditional_select(rejected, sent, good);
    }
    Ok(len)
}

/// Finds out whether `block` is well padded, and where the message starts if so.
fn find_message(block: &[u8]) -> (Choice, u32) {
    let mut good = block[0].ct_eq(&0x00) & block[1].ct_eq(&0x02);
    let mut found = Choice::from(0);
    let mut separator = 0;
    for (index, byte) in (0u32..).zip(block).skip(2) {
        let zero = byte.ct_eq(&0x00);
        separator.conditional_assign(&index, zero & !found);
        found |= zero;
    }
    // None found is at 0, which is too early too.
    good &= separator.ct_gt(&(MIN_PADDING as u32 - 2));
    (good, separator + 1)
}

/// Fills `substitute` with what stands for the message of a badly padded block; returns where in
/// it that message starts.
fn make_substitute(key: &RsaKey, ciphertext: &[u8], substitute: &mut [u8]) -> u32 {
    /// Lengths drawn. That all are too long, and the message is empty, happens once in 2^128.
    const CANDIDATES: usize = 128;

    let mut of_ciphertext = Zeroizing::new([0; 32]);
    key.rejection_key().sign(&[ciphertext], &mut *of_ciphertext);
    let generator = HmacKey::new(Digest::Sha256, &*of_ciphertext);
    expand(&generator, b"message", substitute);
    let mut lengths = Zeroizing::new([0; 2 * CANDIDATES]);
    expand(&generator, b"length", &mut *lengths);

    let block_len = substitute.len() as u32;
    let longest = block_len - (MIN_PADDING as u32 - 1);
    let mask = longest.next_power_of_two() - 1;
    let mut len = 0;
    for candidate in lengths.as_chunks::<2>().0 {
        let candidate = u32::from(u16::from_be_bytes(*candidate)) & mask;
        len.conditional_assign(&candidate, candidate.ct_lt(&longest));
    }
    block_len - len
}

/// Fills `out` with HMAC(counter || label || bits of `out`), one after the other.
fn expand(generator: &HmacKey, label: &[u8], out: &mut [u8]) {
    let bits = (8 * out.len() as u16).to_be_bytes();
    let mut block = Zeroizing::new([0; 32]);
    for (counter, chunk) in (0u16..).zip(out.chunks_mut(32)) {
        generator.sign(&[&counter.to_be_bytes(), label, &bits], &mut *block);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}
