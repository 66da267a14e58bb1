//! Ed25519 (RFC 8032).

use aws_lc_sys as sys;
use zeroize::Zeroizing;

/// A private key.
pub(crate) struct Ed25519 {
    public: [u8; 32],
    /// Seed and public key, as aws-lc wants them. Boxed, so that a move leaves no copy behind.
    pair: Box<Zeroizing<[u8; 64]>>,
}

impl Ed25519 {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let mut pair = Box::new(Zeroizing::new([0; 64]));
        let mut public = [0; 32];
        // SAFETY: the arrays have the 32, 64 and 32 bytes that the function writes and reads.
        unsafe {
            sys::ED25519_keypair_from_seed(public.as_mut_ptr(), pair.as_mut_ptr(), seed.as_ptr());
        }
        Self { public, pair }
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        let (seed, _) = self.pair.split_first_chunk().expect("a pair of 64 bytes");
        seed
    }

    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Signs `message`. Returns `false` if memory is out.
    #[must_use]
    pub(crate) fn sign(&self, message: &[u8], signature: &mut [u8; 64]) -> bool {
        // SAFETY: the message is valid for its length, the arrays have the 64 bytes each that
        // the function writes and reads.
        let ok = unsafe {
            sys::ED25519_sign(
                signature.as_mut_ptr(),
                message.as_ptr(),
                message.len(),
                self.pair.as_ptr(),
            )
        };
        ok == 1
    }

    /// Returns `true` if `signature` is one over `message`.
    #[must_use]
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        ed25519_verify(&self.public, message, signature)
    }
}

/// Returns `true` if `signature` is one over `message` by the owner of `public`.
#[must_use]
pub(crate) fn ed25519_verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    // SAFETY: the message is valid for its length, the arrays have the 64 and 32 bytes that the
    // function reads.
    let ok = unsafe {
        sys::ED25519_verify(
            message.as_ptr(),
            message.len(),
            signature.as_ptr(),
            public.as_ptr(),
        )
    };
    if ok != 1 {
        super::take_error_reason();
    }
    ok == 1
}
