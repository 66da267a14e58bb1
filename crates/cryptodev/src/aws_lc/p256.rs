//! ECDSA on P-256.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::{BigNum, take_error_reason};

/// A P-256 private key in aws-lc. Never changed once made.
pub(crate) struct P256(NonNull<sys::EC_KEY>);

// SAFETY: the key is never changed after `new`. openssl/ec_key.h lets non-mutating functions,
// which all below are, use one key concurrently.
unsafe impl Send for P256 {}
// SAFETY: as above.
unsafe impl Sync for P256 {}

impl P256 {
    /// The key with this big-endian scalar. `None`: it is not in 1..n, or out of memory.
    pub(crate) fn new(scalar: &[u8; 32]) -> Option<Self> {
        let private = BigNum::from_be(scalar)?;
        // SAFETY: a constructor without preconditions.
        let key = unsafe { sys::EC_KEY_new_by_curve_name(sys::NID_X9_62_prime256v1) };
        let key = Self(NonNull::new(key)?);
        // SAFETY: both are live; the function copies the number and checks its range.
        let ok = unsafe { sys::EC_KEY_set_private_key(key.0.as_ptr(), private.as_ptr()) };
        if ok != 1 {
            take_error_reason();
            return None;
        }
        // SAFETY: EC_group_p256 returns a static group.
        let group = unsafe { sys::EC_group_p256() };
        // SAFETY: `group` is a live group.
        let point = NonNull::new(unsafe { sys::EC_POINT_new(group) })?;
        // SAFETY: all are live; null operands mean "times the generator" and "own context".
        // The public key is copied into the key before the point is freed, once.
        let ok = unsafe {
            let ok = sys::EC_POINT_mul(
                group,
                point.as_ptr(),
                private.as_ptr(),
                ptr::null(),
                ptr::null(),
                ptr::null_mut(),
            ) == 1
                && sys::EC_KEY_set_public_key(key.0.as_ptr(), point.as_ptr()) == 1;
            sys::EC_POINT_free(point.as_ptr());
            ok
        };
        if !ok {
            take_error_reason();
        }
        ok.then_some(key)
    }

    /// The public key, uncompressed: 0x04, x, y.
    pub(crate) fn public(&self) -> [u8; 65] {
        let mut out = [0; 65];
        // SAFETY: the key is live and `new` gave it a group and a public key; `out` has the 65
        // bytes of the uncompressed form.
        let written = unsafe {
            sys::EC_POINT_point2oct(
                sys::EC_KEY_get0_group(self.0.as_ptr()),
                sys::EC_KEY_get0_public_key(self.0.as_ptr()),
                sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
                out.as_mut_ptr(),
                out.len(),
                ptr::null_mut(),
            )
        };
        assert_eq!(written, out.len(), "a P-256 point has 65 bytes");
        out
    }

    /// Signs `digest`; `out` becomes `r || s`. aws-lc draws the nonce itself, with the key and
    /// the digest as additional input to its generator. False: out of memory.
    #[must_use]
    pub(crate) fn sign(&self, digest: &[u8; 32], out: &mut [u8; 64]) -> bool {
        // SAFETY: the key is live, `digest` valid for its length.
        let signature =
            unsafe { sys::ECDSA_do_sign(digest.as_ptr(), digest.len(), self.0.as_ptr()) };
        let Some(signature) = NonNull::new(signature) else {
            take_error_reason();
            return false;
        };
        let (r_out, s_out) = out.split_at_mut(32);
        let (mut r, mut s) = (ptr::null(), ptr::null());
        // SAFETY: the signature is live until it is freed, last and once; r and s point into
        // it. Either output has the 32 bytes given as its length.
        let ok = unsafe {
            sys::ECDSA_SIG_get0(signature.as_ptr(), &raw mut r, &raw mut s);
            let ok = sys::BN_bn2bin_padded(r_out.as_mut_ptr(), 32, r) == 1
                && sys::BN_bn2bin_padded(s_out.as_mut_ptr(), 32, s) == 1;
            sys::ECDSA_SIG_free(signature.as_ptr());
            ok
        };
        if !ok {
            take_error_reason();
        }
        ok
    }

    /// Whether `signature` (`r || s`) is one over `digest`.
    #[must_use]
    pub(crate) fn verify(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let (Some(r), Some(s)) = (
            BigNum::from_be(&signature[..32]),
            BigNum::from_be(&signature[32..]),
        ) else {
            return false;
        };
        // SAFETY: a constructor without preconditions.
        let Some(pair) = NonNull::new(unsafe { sys::ECDSA_SIG_new() }) else {
            return false;
        };
        // SAFETY: ECDSA_SIG_set0 takes ownership of r and s exactly when it returns 1, which is
        // when they are forgotten here. The signature is freed last and once.
        let ok = unsafe {
            let ok = sys::ECDSA_SIG_set0(pair.as_ptr(), r.0.as_ptr(), s.0.as_ptr()) == 1 && {
                std::mem::forget((r, s));
                sys::ECDSA_do_verify(
                    digest.as_ptr(),
                    digest.len(),
                    pair.as_ptr(),
                    self.0.as_ptr(),
                ) == 1
            };
            sys::ECDSA_SIG_free(pair.as_ptr());
            ok
        };
        if !ok {
            take_error_reason();
        }
        ok
    }
}

impl Drop for P256 {
    fn drop(&mut self) {
        // SAFETY: we hold the only reference. aws-lc's OPENSSL_free wipes what it frees.
        unsafe { sys::EC_KEY_free(self.0.as_ptr()) }
    }
}
