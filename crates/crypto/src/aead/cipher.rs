//! A key for the CPU alone: sealed and opened at once, without an op.

use std::fmt;

use super::{Algorithm, KeyLengthError, NONCE_LEN, TAG_LEN};
use crate::aws_lc::Aead;

/// A key that seals and opens on the calling thread, where it lies and where it shall go. Expanded
/// when it is made, immutable from then on, wiped when it is dropped.
///
/// ```
/// use spinlane_crypto::aead::{Algorithm, Cipher, TAG_LEN};
///
/// let cipher = Cipher::new(Algorithm::Aes128Gcm, &[7; 16])?;
/// let (nonce, mut sealed) = ([1; 12], [0; 5 + 1 + TAG_LEN]);
/// assert!(cipher.seal_into(&nonce, b"header", b"hello", &[23], &mut sealed));
///
/// let (data, tag) = sealed.split_at_mut(6);
/// assert!(cipher.open(&nonce, b"header", data, tag.first_chunk().unwrap()));
/// assert_eq!(data, b"hello\x17");
/// # Ok::<(), spinlane_crypto::aead::KeyLengthError>(())
/// ```
pub struct Cipher(Aead);

impl Cipher {
    /// Makes the key of these bytes. Every value is a key.
    ///
    /// # Errors
    /// [`KeyLengthError`] unless there are [`Algorithm::key_len`] bytes.
    pub fn new(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyLengthError> {
        if secret.len() != algorithm.key_len() {
            return Err(KeyLengthError {
                algorithm,
                got: secret.len(),
            });
        }
        Ok(Self(Aead::new(algorithm, secret)))
    }

    /// Seals `data` in place and writes `tag`. Returns `false`, and leaves zeros, if a length is
    /// out of the algorithm's range.
    ///
    /// The caller must never use a nonce twice with one key.
    #[must_use]
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> bool {
        self.0.seal(nonce, aad, data, tag)
    }

    /// Seals `plain`, and `last` behind it, into `out`: the ciphertext of both, and the tag. Each
    /// byte is read once and written once. Returns `false`, and leaves zeros, if a length is out of
    /// the algorithm's range.
    ///
    /// The caller must never use a nonce twice with one key.
    ///
    /// # Panics
    /// Unless `out` is as long as `plain`, `last` and [`TAG_LEN`] together.
    #[must_use]
    pub fn seal_into(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plain: &[u8],
        last: &[u8],
        out: &mut [u8],
    ) -> bool {
        self.0.seal_into(nonce, aad, plain, last, out)
    }

    /// Opens `data` in place. Returns `false`, and leaves zeros, if `tag` is not its tag.
    #[must_use]
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        self.0.open(nonce, aad, data, tag)
    }
}

impl fmt::Debug for Cipher {
    /// Nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_seals_what_two_buffers_would_and_opening_undoes_it() {
        let plain: Vec<u8> = (0..16_400_u32).map(|index| index as u8).collect();
        for algorithm in Algorithm::ALL {
            let secret = [9; 32];
            let cipher = Cipher::new(algorithm, &secret[..algorithm.key_len()]).unwrap();
            let (nonce, aad) = ([3; NONCE_LEN], [5; 13]);
            for len in [0, 1, 15, 16, 17, 255, 1024, 16_383, 16_384, 16_400] {
                for last in [&[][..], &[23]] {
                    let mut data = [&plain[..len], last].concat();
                    let mut out = vec![0; data.len() + TAG_LEN];
                    assert!(cipher.seal_into(&nonce, &aad, &plain[..len], last, &mut out));
                    let mut tag = [0; TAG_LEN];
                    assert!(cipher.seal(&nonce, &aad, &mut data, &mut tag));
                    assert_eq!(out, [&data[..], &tag].concat(), "{algorithm}, {len}");
                    assert!(cipher.open(&nonce, &aad, &mut data, &tag));
                    assert_eq!(data, [&plain[..len], last].concat());
                }
            }
        }
    }

    #[test]
    fn a_wrong_tag_shows_nothing() {
        let cipher = Cipher::new(Algorithm::Aes256Gcm, &[1; 32]).unwrap();
        let mut out = [0; 5 + TAG_LEN];
        assert!(cipher.seal_into(&[2; NONCE_LEN], b"", b"plain", b"", &mut out));
        out[20] ^= 1;
        let (data, tag) = out.split_at_mut(5);
        assert!(!cipher.open(&[2; NONCE_LEN], b"", data, tag.first_chunk().unwrap()));
        assert_eq!(data, [0; 5]);
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert!(Cipher::new(Algorithm::Aes128Gcm, &[0; 32]).is_err());
    }
}
