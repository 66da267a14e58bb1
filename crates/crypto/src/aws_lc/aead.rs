//! AES-GCM and ChaCha20-Poly1305, in place or from one memory into another.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::take_error_reason;
use crate::aead::{Algorithm, NONCE_LEN, TAG_LEN};

/// An expanded key in aws-lc. Never changed once made.
pub(crate) struct Aead(NonNull<sys::EVP_AEAD_CTX>);

// SAFETY: the context is never changed after `new`, and no thread owns it: it is plain memory.
unsafe impl Send for Aead {}
// SAFETY: openssl/aead.h, "Concurrency" at EVP_AEAD_CTX_seal: seals and opens by one context may
// run at once, of the AEADs used here among others.
unsafe impl Sync for Aead {}

impl Aead {
    /// Makes the key of these bytes, [`Algorithm::key_len`] of them.
    ///
    /// # Panics
    /// If there are more or fewer, or memory is out.
    pub(crate) fn new(algorithm: Algorithm, secret: &[u8]) -> Self {
        assert_eq!(secret.len(), algorithm.key_len(), "key length");
        // SAFETY: functions without preconditions that return static tables.
        let aead = unsafe {
            match algorithm {
                Algorithm::Aes128Gcm => sys::EVP_aead_aes_128_gcm(),
                Algorithm::Aes256Gcm => sys::EVP_aead_aes_256_gcm(),
                Algorithm::ChaCha20Poly1305 => sys::EVP_aead_chacha20_poly1305(),
            }
        };
        // SAFETY: a static table; `secret` is valid for its length and copied.
        let context =
            unsafe { sys::EVP_AEAD_CTX_new(aead, secret.as_ptr(), secret.len(), TAG_LEN) };
        Self(NonNull::new(context).expect("memory for a key of the algorithm's length"))
    }

    /// Seals `data` in place. Returns `false`, and leaves `data` and `tag` zero, if a length is out
    /// of the algorithm's range.
    #[must_use]
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> bool {
        let mut tag_len = 0;
        // SAFETY: the context is live; every pointer is valid for the length beside it. Input and
        // output may be the same (openssl/aead.h), and `tag` is disjoint from them, both being
        // borrowed mutably.
        let ok = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                self.0.as_ptr(),
                data.as_mut_ptr(),
                tag.as_mut_ptr(),
                &raw mut tag_len,
                TAG_LEN,
                nonce.as_ptr(),
                NONCE_LEN,
                data.as_ptr(),
                data.len(),
                ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        if ok != 1 {
            take_error_reason();
        }
        ok == 1 && tag_len == TAG_LEN
    }

    /// Seals `plain`, and `last` behind it, into `out`: the ciphertext of both and the tag. Returns
    /// `false`, and leaves `out` zero, if a length is out of the algorithm's range.
    ///
    /// # Panics
    /// Unless `out` is as long as the three.
    #[must_use]
    pub(crate) fn seal_into(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plain: &[u8],
        last: &[u8],
        out: &mut [u8],
    ) -> bool {
        let (text, tail) = out.split_at_mut(plain.len());
        assert_eq!(tail.len(), last.len() + TAG_LEN, "length of the output");
        let mut tail_len = 0;
        // SAFETY: the context is live; every pointer is valid for the length beside it, `text` for
        // as many bytes as `plain` has. `text` and `tail` are borrowed mutably, so that they are
        // disjoint from each other and from everything else. Each of these AEADs takes `extra_in`
        // (their methods' seal_scatter_supports_extra_in) and encrypts it to the front of the tag's
        // memory.
        let ok = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                self.0.as_ptr(),
                text.as_mut_ptr(),
                tail.as_mut_ptr(),
                &raw mut tail_len,
                tail.len(),
                nonce.as_ptr(),
                NONCE_LEN,
                plain.as_ptr(),
                plain.len(),
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

    /// Opens `data` in place. Returns `false`, and leaves `data` zero, if `tag` is not its tag
    /// (EVP_AEAD_CTX_open_gather clears its output).
    #[must_use]
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        // SAFETY: as in `seal`.
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

impl Drop for Aead {
    fn drop(&mut self) {
        // SAFETY: we hold the only reference. aws-lc's OPENSSL_free wipes what it frees.
        unsafe { sys::EVP_AEAD_CTX_free(self.0.as_ptr()) }
    }
}
