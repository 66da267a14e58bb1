//! The one module that speaks C: safe wrappers over aws-lc, for this crate only.
//!
//! A failing call leaves nothing in aws-lc's error queue. Nothing here keeps a pointer to the
//! caller's memory after it returns.

#![allow(unsafe_code)]

mod aead;
mod ec;
mod ed25519;
mod fork;
mod mlkem;
mod rsa;
mod sha;

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use aws_lc_sys as sys;

pub use aead::Cipher;
pub use ec::Group;
pub(crate) use ec::{Ec, ec_public, ec_shared, is_point};
pub(crate) use ed25519::{Ed25519, ed25519_verify};
pub(crate) use fork::WipedPage;
pub use fork::fork_generation;
pub(crate) use mlkem::{mlkem_decapsulate, mlkem_encapsulate, mlkem_generate};
pub(crate) use rsa::{Rsa, RsaFault};
pub(crate) use sha::{sha256_compress, sha512_compress};

/// Fills `out` with random bytes from aws-lc's generator, which is safe across fork.
pub(crate) fn random(out: &mut [u8]) {
    // SAFETY: `out` is valid for `len` bytes. RAND_bytes returns 1 or aborts the process.
    let ok = unsafe { sys::RAND_bytes(out.as_mut_ptr(), out.len()) };
    assert_eq!(ok, 1, "RAND_bytes promises never to fail");
}

/// Writes the X25519 public key of `private` (RFC 7748).
pub(crate) fn x25519_public(private: &[u8; 32], public: &mut [u8; 32]) {
    // SAFETY: both arrays have the 32 bytes the function reads and writes.
    unsafe { sys::X25519_public_from_private(public.as_mut_ptr(), private.as_ptr()) }
}

/// Writes the X25519 shared secret. Returns `false` if the secret is all zeros, which aws-lc tests
/// in constant time.
#[must_use]
pub(crate) fn x25519(private: &[u8; 32], peer: &[u8; 32], secret: &mut [u8; 32]) -> bool {
    // SAFETY: the three arrays have the 32 bytes the function reads and writes.
    let ok = unsafe { sys::X25519(secret.as_mut_ptr(), private.as_ptr(), peer.as_ptr()) };
    ok == 1
}

/// Returns `true` if `a` and `b` are equal, in a time that depends on their lengths alone.
#[inline]
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    // SAFETY: the lengths are compared first, so that both slices have `a.len()` bytes.
    a.len() == b.len()
        && unsafe { sys::CRYPTO_memcmp(a.as_ptr().cast(), b.as_ptr().cast(), a.len()) } == 0
}

/// Zeroes `secret`, also where nobody reads it again. Byte-wise volatile writes would take ten
/// times as long, and this is on every op's way.
#[inline]
pub fn cleanse(secret: &mut [u8]) {
    // SAFETY: `secret` is valid for writes of its length.
    unsafe { sys::OPENSSL_cleanse(secret.as_mut_ptr().cast(), secret.len()) }
}

/// Zeroes all bytes of `memory`, as [`cleanse`] does.
pub(crate) fn cleanse_memory<T>(memory: &mut MaybeUninit<T>) {
    // SAFETY: valid for writes of its size.
    unsafe { sys::OPENSSL_cleanse(memory.as_mut_ptr().cast(), size_of::<T>()) }
}

/// Empties the thread's aws-lc error queue; returns the reason code of its oldest entry, 0 if none.
fn take_error_reason() -> i32 {
    // SAFETY: both functions only touch the calling thread's error queue.
    let packed = unsafe { sys::ERR_get_error() };
    // SAFETY: as above.
    unsafe { sys::ERR_clear_error() };
    // The reason is in the low 12 bits (openssl/err.h, ERR_GET_REASON).
    (packed & 0xfff) as i32
}

/// A BIGNUM of our own; cleared when it goes.
struct BigNum(NonNull<sys::BIGNUM>);

impl BigNum {
    /// Makes the number with this big-endian encoding. Returns `None` if memory is out.
    fn from_be(bytes: &[u8]) -> Option<Self> {
        // SAFETY: `bytes` is valid for its length; a null third argument asks for a new BIGNUM.
        NonNull::new(unsafe { sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), std::ptr::null_mut()) })
            .map(Self)
    }

    fn as_ptr(&self) -> *const sys::BIGNUM {
        self.0.as_ptr()
    }
}

impl Drop for BigNum {
    fn drop(&mut self) {
        // SAFETY: we own the BIGNUM and nobody uses it after us.
        unsafe { sys::BN_clear_free(self.0.as_ptr()) }
    }
}
