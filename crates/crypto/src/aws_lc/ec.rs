//! ECDSA and ECDH on P-256 and P-384.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::{BigNum, take_error_reason};

/// One of the two curves.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    nid: c_int,
    /// Bytes of a scalar, and of a coordinate.
    len: usize,
}

impl Group {
    pub(crate) const P256: Self = Self {
        nid: sys::NID_X9_62_prime256v1,
        len: 32,
    };
    pub(crate) const P384: Self = Self {
        nid: sys::NID_secp384r1,
        len: 48,
    };

    fn as_ptr(&self) -> *const sys::EC_GROUP {
        // SAFETY: the function knows both numbers, and for these it returns a static group.
        unsafe { sys::EC_GROUP_new_by_curve_name(self.nid) }
    }
}

/// A point of our own.
struct Point<'a> {
    group: &'a Group,
    point: NonNull<sys::EC_POINT>,
}

impl<'a> Point<'a> {
    /// Makes the point at infinity. Returns `None` if memory is out.
    fn new(group: &'a Group) -> Option<Self> {
        // SAFETY: a live group.
        let point = NonNull::new(unsafe { sys::EC_POINT_new(group.as_ptr()) })?;
        Some(Self { group, point })
    }

    /// Makes the point with this uncompressed encoding. Returns `None` if it is not on the curve.
    fn from_uncompressed(group: &'a Group, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 2 * group.len + 1 || bytes[0] != 0x04 {
            return None;
        }
        let point = Self::new(group)?;
        // SAFETY: all live, `bytes` valid for its length; null stands for an own context. The
        // function checks the curve's equation.
        let ok = unsafe {
            sys::EC_POINT_oct2point(
                group.as_ptr(),
                point.point.as_ptr(),
                bytes.as_ptr(),
                bytes.len(),
                ptr::null_mut(),
            )
        };
        if ok != 1 {
            take_error_reason();
        }
        (ok == 1).then_some(point)
    }

    /// Multiplies `base`, or the generator, by `scalar`. aws-lc takes the same time for all scalars
    /// below the order. Returns `None` if memory is out, or on a fault.
    fn times(group: &'a Group, scalar: &BigNum, base: Option<&Self>) -> Option<Self> {
        let product = Self::new(group)?;
        let (g_scalar, p_scalar, p) = match base {
            None => (scalar.as_ptr(), ptr::null(), ptr::null()),
            Some(base) => (
                ptr::null(),
                scalar.as_ptr(),
                base.point.as_ptr().cast_const(),
            ),
        };
        // SAFETY: all live or null, of which null means "not that term" and "own context".
        let ok = unsafe {
            sys::EC_POINT_mul(
                group.as_ptr(),
                product.point.as_ptr(),
                g_scalar,
                p,
                p_scalar,
                ptr::null_mut(),
            )
        };
        if ok != 1 {
            take_error_reason();
        }
        (ok == 1).then_some(product)
    }

    /// Writes the uncompressed encoding. Returns `false` if the point is infinity, or if `out` has
    /// another length.
    fn write(&self, out: &mut [u8]) -> bool {
        // SAFETY: both live; `out` is valid for its length.
        let written = unsafe {
            sys::EC_POINT_point2oct(
                self.group.as_ptr(),
                self.point.as_ptr(),
                sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
                out.as_mut_ptr(),
                out.len(),
                ptr::null_mut(),
            )
        };
        if written == 0 {
            take_error_reason();
        }
        written == out.len()
    }
}

impl Drop for Point<'_> {
    fn drop(&mut self) {
        // SAFETY: we own it. aws-lc's OPENSSL_free wipes what it frees.
        unsafe { sys::EC_POINT_free(self.point.as_ptr()) }
    }
}

/// Returns `true` if `bytes` is an uncompressed point of the curve.
#[must_use]
pub(crate) fn is_point(group: &Group, bytes: &[u8]) -> bool {
    Point::from_uncompressed(group, bytes).is_some()
}

/// Writes the public key of `private` (in 1..n), uncompressed. Returns `false` if memory is out.
#[must_use]
pub(crate) fn ec_public(group: &Group, private: &[u8], public: &mut [u8]) -> bool {
    BigNum::from_be(private)
        .and_then(|scalar| Point::times(group, &scalar, None))
        .is_some_and(|point| point.write(public))
}

/// Writes the x coordinate of `private` times `peer` (SP 800-56A, section 5.7.1.2). Returns `false`
/// if `peer` is not on the curve.
#[must_use]
pub(crate) fn ec_shared(group: &Group, private: &[u8], peer: &[u8], secret: &mut [u8]) -> bool {
    let mut uncompressed = zeroize::Zeroizing::new([0; 2 * 48 + 1]);
    let uncompressed = &mut uncompressed[..2 * group.len + 1];
    let done = BigNum::from_be(private)
        .zip(Point::from_uncompressed(group, peer))
        .and_then(|(scalar, peer)| Point::times(group, &scalar, Some(&peer)))
        .is_some_and(|point| point.write(uncompressed));
    if done {
        secret.copy_from_slice(&uncompressed[1..=group.len]);
    }
    done
}

/// A key in aws-lc. Never changed once made.
pub(crate) struct Ec {
    group: Group,
    key: NonNull<sys::EC_KEY>,
}

// SAFETY: the key is never changed after `new`. openssl/ec_key.h lets non-mutating functions,
// which all below are, use one key concurrently.
unsafe impl Send for Ec {}
// SAFETY: as above.
unsafe impl Sync for Ec {}

impl Ec {
    /// Makes the key with this big-endian scalar. Returns `None` if it is not in 1..n, or if memory
    /// is out.
    pub(crate) fn new(group: Group, scalar: &[u8]) -> Option<Self> {
        let private = BigNum::from_be(scalar)?;
        // SAFETY: a constructor without preconditions.
        let key = NonNull::new(unsafe { sys::EC_KEY_new_by_curve_name(group.nid) })?;
        let key = Self { group, key };
        // SAFETY: both are live; the function copies the number and checks its range.
        let ok = unsafe { sys::EC_KEY_set_private_key(key.key.as_ptr(), private.as_ptr()) };
        if ok != 1 {
            take_error_reason();
            return None;
        }
        let point = Point::times(&key.group, &private, None)?;
        // SAFETY: both are live; the function copies the point.
        let ok = unsafe { sys::EC_KEY_set_public_key(key.key.as_ptr(), point.point.as_ptr()) };
        drop(point);
        if ok != 1 {
            take_error_reason();
        }
        (ok == 1).then_some(key)
    }

    /// Makes a key that has its public part alone, uncompressed; [`Ec::sign`] of it fails. Returns
    /// `None` if the point is not on the curve, or if memory is out.
    pub(crate) fn from_public(group: Group, point: &[u8]) -> Option<Self> {
        // SAFETY: a constructor without preconditions.
        let key = NonNull::new(unsafe { sys::EC_KEY_new_by_curve_name(group.nid) })?;
        let key = Self { group, key };
        let point = Point::from_uncompressed(&key.group, point)?;
        // SAFETY: both are live; the function copies the point.
        let ok = unsafe { sys::EC_KEY_set_public_key(key.key.as_ptr(), point.point.as_ptr()) };
        drop(point);
        if ok != 1 {
            take_error_reason();
        }
        (ok == 1).then_some(key)
    }

    /// Writes the public key, uncompressed: 0x04, x, y.
    pub(crate) fn public(&self, out: &mut [u8]) {
        // SAFETY: the key is live and `new` gave it a group and a public key; `out` is valid for
        // its length.
        let written = unsafe {
            sys::EC_POINT_point2oct(
                self.group.as_ptr(),
                sys::EC_KEY_get0_public_key(self.key.as_ptr()),
                sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
                out.as_mut_ptr(),
                out.len(),
                ptr::null_mut(),
            )
        };
        assert_eq!(written, out.len(), "an uncompressed point");
    }

    /// Signs `digest`; `out` becomes `r || s`. aws-lc draws the nonce itself, with the key and
    /// the digest as additional input to its generator. Returns `false` if memory
    /// is out, or if a length is wrong.
    #[must_use]
    pub(crate) fn sign(&self, digest: &[u8], out: &mut [u8]) -> bool {
        let len = self.group.len;
        if digest.len() != len || out.len() != 2 * len {
            return false;
        }
        // SAFETY: the key is live, `digest` valid for its length.
        let signature =
            unsafe { sys::ECDSA_do_sign(digest.as_ptr(), digest.len(), self.key.as_ptr()) };
        let Some(signature) = NonNull::new(signature) else {
            take_error_reason();
            return false;
        };
        let (r_out, s_out) = out.split_at_mut(len);
        let (mut r, mut s) = (ptr::null(), ptr::null());
        // SAFETY: the signature is live until it is freed, last and once; r and s point into
        // it. Either output has the `len` bytes given as its length.
        let ok = unsafe {
            sys::ECDSA_SIG_get0(signature.as_ptr(), &raw mut r, &raw mut s);
            let ok = sys::BN_bn2bin_padded(r_out.as_mut_ptr(), len, r) == 1
                && sys::BN_bn2bin_padded(s_out.as_mut_ptr(), len, s) == 1;
            sys::ECDSA_SIG_free(signature.as_ptr());
            ok
        };
        if !ok {
            take_error_reason();
        }
        ok
    }

    /// Returns `true` if `signature` (`r || s`) is one over `digest`.
    #[must_use]
    pub(crate) fn verify(&self, digest: &[u8], signature: &[u8]) -> bool {
        let Some((r, s)) = signature.split_at_checked(self.group.len) else {
            return false;
        };
        let (Some(r), Some(s)) = (BigNum::from_be(r), BigNum::from_be(s)) else {
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
                    self.key.as_ptr(),
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

impl Drop for Ec {
    fn drop(&mut self) {
        // SAFETY: we hold the only reference. aws-lc's OPENSSL_free wipes what it frees.
        unsafe { sys::EC_KEY_free(self.key.as_ptr()) }
    }
}
