//! RSA without padding.

use std::ptr::NonNull;

use aws_lc_sys as sys;

use super::{BigNum, take_error_reason};
use crate::key::RsaComponents;

/// Why aws-lc refused an RSA key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RsaFault {
    /// The public exponent is even, one, or longer than 33 bits.
    PublicExponent,
    /// p * q is not n.
    Primes,
    /// d is not the inverse of e.
    PrivateExponent,
    /// dp, dq or qinv do not follow from p, q and d.
    Crt,
    /// Anything else, out of memory included.
    Other,
}

/// An RSA key in aws-lc. Never changed once made.
pub(crate) struct Rsa(NonNull<sys::RSA>);

// SAFETY: the key is never changed after `new`. openssl/rsa.h declares the operations below
// non-mutating for thread-safety purposes, so that they may run concurrently: what they cache
// is behind the RSA's own lock.
unsafe impl Send for Rsa {}
// SAFETY: as above.
unsafe impl Sync for Rsa {}

impl Rsa {
    /// Makes the key of these components, which RSA_check_key has found to fit together. It does
    /// not test p and q for being prime.
    pub(crate) fn new(components: &RsaComponents<'_>) -> Result<Self, RsaFault> {
        let number = |bytes| BigNum::from_be(bytes).ok_or(RsaFault::Other);
        let n = number(components.n)?;
        let e = number(components.e)?;
        let d = number(components.d)?;
        let p = number(components.p)?;
        let q = number(components.q)?;
        let dp = number(components.dp)?;
        let dq = number(components.dq)?;
        let qinv = number(components.qinv)?;
        // SAFETY: all eight are live BIGNUMs; the function copies them.
        let rsa = unsafe {
            sys::RSA_new_private_key(
                n.as_ptr(),
                e.as_ptr(),
                d.as_ptr(),
                p.as_ptr(),
                q.as_ptr(),
                dp.as_ptr(),
                dq.as_ptr(),
                qinv.as_ptr(),
            )
        };
        NonNull::new(rsa)
            .map(Self)
            .ok_or_else(|| match take_error_reason() {
                sys::RSA_R_BAD_E_VALUE => RsaFault::PublicExponent,
                sys::RSA_R_N_NOT_EQUAL_P_Q => RsaFault::Primes,
                sys::RSA_R_D_E_NOT_CONGRUENT_TO_1 => RsaFault::PrivateExponent,
                sys::RSA_R_CRT_VALUES_INCORRECT => RsaFault::Crt,
                _ => RsaFault::Other,
            })
    }

    /// Makes a key that has its public part alone; [`Rsa::private`] of it fails. Returns `None` if
    /// `e` is even, 1 or above 33 bits, `n` is even, or if memory is out.
    pub(crate) fn from_public(n: &[u8], e: &[u8]) -> Option<Self> {
        let (n, e) = (BigNum::from_be(n)?, BigNum::from_be(e)?);
        // SAFETY: both are live BIGNUMs; the function copies them.
        let rsa = NonNull::new(unsafe { sys::RSA_new_public_key(n.as_ptr(), e.as_ptr()) });
        if rsa.is_none() {
            take_error_reason();
        }
        rsa.map(Self)
    }

    /// Computes the private operation without padding. `block` and `out` have the length of the
    /// modulus.
    ///
    /// aws-lc blinds the operation and checks its result by the public exponent before it gives
    /// it out (rsa_default_private_transform, "Verify the result to protect against fault
    /// attacks"; it does so for every key that has e, and `new` makes no other), so that false
    /// also stands for a fault that would have leaked the key. It also refuses 0, 1 and n-1.
    #[must_use]
    pub(crate) fn private(&self, block: &[u8], out: &mut [u8]) -> bool {
        let mut written = 0;
        // SAFETY: the key is live; `out` and `block` are valid for the lengths given. The
        // function takes a mutable RSA only to cache values under the RSA's lock.
        let ok = unsafe {
            sys::RSA_sign_raw(
                self.0.as_ptr(),
                &raw mut written,
                out.as_mut_ptr(),
                out.len(),
                block.as_ptr(),
                block.len(),
                sys::RSA_NO_PADDING,
            )
        };
        if ok != 1 {
            take_error_reason();
        }
        ok == 1 && written == out.len()
    }

    /// Computes the public operation without padding. `signature` and `out` have the length of the
    /// modulus.
    #[must_use]
    pub(crate) fn public(&self, signature: &[u8], out: &mut [u8]) -> bool {
        let mut written = 0;
        // SAFETY: as in `private`.
        let ok = unsafe {
            sys::RSA_verify_raw(
                self.0.as_ptr(),
                &raw mut written,
                out.as_mut_ptr(),
                out.len(),
                signature.as_ptr(),
                signature.len(),
                sys::RSA_NO_PADDING,
            )
        };
        if ok != 1 {
            take_error_reason();
        }
        ok == 1 && written == out.len()
    }
}

impl Drop for Rsa {
    fn drop(&mut self) {
        // SAFETY: we hold the only reference. aws-lc's OPENSSL_free wipes what it frees.
        unsafe { sys::RSA_free(self.0.as_ptr()) }
    }
}
