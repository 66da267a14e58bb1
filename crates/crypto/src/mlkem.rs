//! ML-KEM-768 (FIPS 203). What is random is given by the caller.

use crate::aws_lc;

/// Bytes of the seed of a key pair: d, then z.
pub const SEED: usize = 64;
/// Bytes of an encapsulation key.
pub const ENCAPSULATION_KEY: usize = 1184;
/// Bytes of a decapsulation key, expanded.
pub const DECAPSULATION_KEY: usize = 2400;
/// Bytes of the random message that an encapsulation begins with.
pub const MESSAGE: usize = 32;
/// Bytes of a ciphertext.
pub const CIPHERTEXT: usize = 1088;
/// Bytes of a shared secret.
pub const SHARED_SECRET: usize = 32;

/// Writes the key pair of `seed` (ML-KEM.KeyGen_internal). Returns `false` if memory is out.
#[must_use]
pub fn generate(
    seed: &[u8; SEED],
    encapsulation_key: &mut [u8; ENCAPSULATION_KEY],
    decapsulation_key: &mut [u8; DECAPSULATION_KEY],
) -> bool {
    aws_lc::mlkem_generate(seed, encapsulation_key, decapsulation_key)
}

/// Writes the ciphertext and the secret that `message` makes for the key (ML-KEM.Encaps_internal).
/// Returns `false` if a coefficient of the key is not below 3329 (section 7.2), or if memory is
/// out.
#[must_use]
pub fn encapsulate(
    encapsulation_key: &[u8; ENCAPSULATION_KEY],
    message: &[u8; MESSAGE],
    ciphertext: &mut [u8; CIPHERTEXT],
    shared_secret: &mut [u8; SHARED_SECRET],
) -> bool {
    aws_lc::mlkem_encapsulate(encapsulation_key, message, ciphertext, shared_secret)
}

/// Writes the secret in `ciphertext`, or one that nobody knows if no encapsulation made that
/// (ML-KEM.Decaps_internal). Returns `false` if the key does not contain its own hash (section
/// 7.3), or if memory is out.
#[must_use]
pub fn decapsulate(
    decapsulation_key: &[u8; DECAPSULATION_KEY],
    ciphertext: &[u8; CIPHERTEXT],
    shared_secret: &mut [u8; SHARED_SECRET],
) -> bool {
    aws_lc::mlkem_decapsulate(decapsulation_key, ciphertext, shared_secret)
}
