//! AES-GCM and ChaCha20-Poly1305, in place or from one memory into another.

use std::fmt;
use std::ptr::NonNull;

use aws_lc_sys as sys;

use super::take_error_reason;
use crate::aead::{Algorithm, KeyLengthError, NONCE_LEN, TAG_LEN};

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
pub struct Cipher(NonNull<sys::EVP_AEAD_CTX>);

// SAFETY: the context is never changed after `new`, and no thread owns it: it is plain memory.
unsafe impl Send for Cipher {}
// SAFETY: openssl/aead.h, "Concurrency" at EVP_AEAD_CTX_seal: seals and opens by one context may
// run at once, of the AEADs used here among others.
unsafe impl Sync for Cipher {}

impl Cipher {
    /// Makes the key of these bytes. Every value is a key.
    ///
    /// # Errors
    /// [`KeyLengthError`] unless there are [`Algorithm::key_len`] bytes.
    ///
    /// # Panics
    /// If memory is out.
    pub fn new(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyLengthError> {
        let got = secret.len();
        if got != algorithm.key_len() {
            return Err(KeyLengthError { algorithm, got });
        }
        // SAFETY: functions without preconditions that return static tables.
        let aead = unsafe {
            match algorithm {
                Algorithm::Aes128Gcm => sys::EVP_aead_aes_128_gcm(),
                Algorithm::Aes256Gcm => sys::EVP_aead_aes_256_gcm(),
                Algorithm::ChaCha20Poly1305 => sys::EVP_aead_chacha20_poly1305(),
            }
        };
        // SAFETY: a static table; `secret` is valid for its length and copied.
        let context = unsafe { sys::EVP_AEAD_CTX_new(aead, secret.as_ptr(), got, TAG_LEN) };
        let context = NonNull::new(context);
        Ok(Self(
            context.expect("memory for a key of the algorithm's length"),
        ))
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
        // SAFETY: `data` is its own input.
        unsafe { self.scatter(nonce, aad, data.as_ptr(), &[], data, tag) }
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
        let (text, tail) = out.split_at_mut(plain.len());
        assert_eq!(tail.len(), last.len() + TAG_LEN, "length of the output");
        // SAFETY: `plain` is as long as `text`, which is borrowed mutably, and so disjoint from it.
        unsafe { self.scatter(nonce, aad, plain.as_ptr(), last, text, tail) }
    }

    /// Seals what is at `plain`, as long as `text`, into that, and `last` into `tail`, with the tag behind it. Leaves
    /// zeros if it fails.
    ///
    /// # Safety
    /// So many bytes can be read at `plain`, which are those of `text` or none of them.
    #[inline]
    unsafe fn scatter(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plain: *const u8,
        last: &[u8],
        text: &mut [u8],
        tail: &mut [u8],
    ) -> bool {
        let mut tail_len = 0;
        // SAFETY: the context is live; every pointer is valid for the length beside it, `plain` by the caller's
        // promise. Input and output may be the same (openssl/aead.h). `text` and `tail` are borrowed mutably, so that
        // they are disjoint from each other and from everything else. Each of these AEADs takes `extra_in` (their
        // methods' seal_scatter_supports_extra_in) and encrypts it to the front of the tag's memory.
        let ok = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                self.0.as_ptr(),
                text.as_mut_ptr(),
                tail.as_mut_ptr(),
                &raw mut tail_len,
                tail.len(),
                nonce.as_ptr(),
                NONCE_LEN,
                plain,
                text.len(),
                last.as_ptr(),
                last.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        if ok != 1 {
            take_error_reason();
        }
        ok == 1 && tail_len == tail.len()
    }

    /// Opens `data` in place. Returns `false`, and leaves zeros (EVP_AEAD_CTX_open_gather clears its output), if `tag`
    /// is not its tag.
    #[must_use]
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        // SAFETY: the context is live; every pointer is valid for the length beside it. Input and output may be the
        // same (openssl/aead.h).
        let ok = unsafe {
            sys::EVP_AEAD_CTX_open_gather(
                self.0.as_ptr(),
                data.as_mut_ptr(),
                nonce.as_ptr(),
                NONCE_LEN,
                data.as_ptr(),
                data.len(),
                tag.as_ptr(),
                TAG_LEN,
                aad.as_ptr(),
                aad.len(),
            )
        };
        if ok != 1 {
            take_error_reason();
        }
        ok == 1
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // SAFETY: we hold the only reference. aws-lc's OPENSSL_free wipes what it frees.
        unsafe { sys::EVP_AEAD_CTX_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Cipher {
    /// Nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").finish_non_exhaustive()
    }
}
