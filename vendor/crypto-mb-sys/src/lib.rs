//! Bindings to Intel's crypto_mb, linked statically (a system's own may be shared).
//!
//! Eight operations at a time, one per lane of AVX-512 registers. Every function takes arrays of
//! eight pointers; a lane's status is four bits of the [`Status`] it returns.
//!
//! # Invariants
//! - Declares, and does nothing else: safety is up to the caller.
//! - On other targets than x86_64 it is empty and links nothing.
//! - Only the entry points on plain operands: those on OpenSSL's BIGNUMs convert them at every
//!   call. (They share objects with these, so libcrypto is linked for the linker's sake.)
//!
//! The functions are declared by hand, and `abi_check.c` compares each with the library's
//! headers at every build. bindgen would need libclang on every machine that builds, for a few
//! lines.
//!
//! `fetch.sh`, called by `make setup`, puts the library in place; `CRYPTO_MB_DIR` names another.

#![cfg(target_arch = "x86_64")]

use std::os::raw::c_int;

/// A status per lane: lane i's in bits 4i to 4i+3.
pub type Status = u32;

/// The lane's result is valid.
pub const STATUS_OK: Status = 0;
/// X25519: the shared secret is all zero.
pub const STATUS_LOW_ORDER: Status = 4;

/// Lanes per call.
pub const LANES: usize = 8;

/// Status of one lane of the eight.
pub const fn lane_status(status: Status, lane: usize) -> Status {
    status >> (4 * lane) & 0xf
}

/// An RSA algorithm for one modulus size; static in the library.
#[repr(C)]
pub struct RsaMethod {
    _private: [u8; 0],
}

/// Eight inputs of bytes.
pub type Inputs = [*const u8; LANES];
/// Eight places for bytes.
pub type Outputs = [*mut u8; LANES];
/// Eight numbers in 64-bit limbs, least significant first.
pub type Limbs = [*const u64; LANES];

unsafe extern "C" {
    /// 1 if the library can use this CPU; `cpu_features` 0 lets it look for itself. Also true
    /// of CPUs that have only AVX2, which it serves by a slower variant.
    pub safe fn mbx_is_crypto_mb_applicable(cpu_features: u64) -> c_int;

    /// Public operation with exponent 65537. Null for a size it does not know.
    pub safe fn mbx_RSA_pub65537_Method(rsa_bits: c_int) -> *const RsaMethod;
    /// Private operation by the Chinese remainder theorem. Null for a size it does not know.
    pub safe fn mbx_RSA_private_crt_Method(rsa_bits: c_int) -> *const RsaMethod;
    /// Bytes of work buffer that `method` needs.
    pub fn mbx_RSA_Method_BufSize(method: *const RsaMethod) -> c_int;

    /// Public operation: `from` and `to` are big-endian, `rsa_bits / 8` bytes each.
    pub fn mbx_rsa_public_mb8(
        from: *const *const u8,
        to: *const *mut u8,
        n: *const *const u64,
        rsa_bits: c_int,
        method: *const RsaMethod,
        buffer: *mut u8,
    ) -> Status;
    /// Private operation: `from` and `to` as above, the key's parts `rsa_bits / 128` limbs each.
    pub fn mbx_rsa_private_crt_mb8(
        from: *const *const u8,
        to: *const *mut u8,
        p: *const *const u64,
        q: *const *const u64,
        dp: *const *const u64,
        dq: *const *const u64,
        qinv: *const *const u64,
        rsa_bits: c_int,
        method: *const RsaMethod,
        buffer: *mut u8,
    ) -> Status;

    /// ECDSA on P-256: `r`, `s` and `digest` are 32 bytes, big-endian; `nonce` and `key` four
    /// limbs, in 1..n. `buffer` is unused and may be null.
    pub fn mbx_nistp256_ecdsa_sign_mb8(
        r: *mut *mut u8,
        s: *mut *mut u8,
        digest: *const *const u8,
        nonce: *const *const u64,
        key: *const *const u64,
        buffer: *mut u8,
    ) -> Status;

    /// [`mbx_nistp256_ecdsa_sign_mb8`] on P-384: 48 bytes and six limbs.
    pub fn mbx_nistp384_ecdsa_sign_mb8(
        r: *mut *mut u8,
        s: *mut *mut u8,
        digest: *const *const u8,
        nonce: *const *const u64,
        key: *const *const u64,
        buffer: *mut u8,
    ) -> Status;

    /// Public keys on P-256: coordinates and private keys are four limbs, the latter in 1..n. With
    /// a null `z` the point is affine. `buffer` is unused and may be null.
    pub fn mbx_nistp256_ecpublic_key_mb8(
        x: *mut *mut u64,
        y: *mut *mut u64,
        z: *mut *mut u64,
        key: *const *const u64,
        buffer: *mut u8,
    ) -> Status;
    /// The same on P-384: six limbs.
    pub fn mbx_nistp384_ecpublic_key_mb8(
        x: *mut *mut u64,
        y: *mut *mut u64,
        z: *mut *mut u64,
        key: *const *const u64,
        buffer: *mut u8,
    ) -> Status;

    /// ECDH on P-256: the shared secret is 32 bytes, big-endian; the rest as for the public key.
    pub fn mbx_nistp256_ecdh_mb8(
        secret: *mut *mut u8,
        key: *const *const u64,
        x: *const *const u64,
        y: *const *const u64,
        z: *const *const u64,
        buffer: *mut u8,
    ) -> Status;
    /// The same on P-384: 48 bytes and six limbs.
    pub fn mbx_nistp384_ecdh_mb8(
        secret: *mut *mut u8,
        key: *const *const u64,
        x: *const *const u64,
        y: *const *const u64,
        z: *const *const u64,
        buffer: *mut u8,
    ) -> Status;

    /// Ed25519 signatures: `r`, `s`, `private` (the seed) and `public` are 32 bytes, messages as
    /// long as `message_len` says.
    pub fn mbx_ed25519_sign_mb8(
        r: *mut *mut [u8; 32],
        s: *mut *mut [u8; 32],
        message: *const *const u8,
        message_len: *const u32,
        private: *const *const [u8; 32],
        public: *const *const [u8; 32],
    ) -> Status;

    /// X25519 shared secrets; 32 bytes each.
    pub fn mbx_x25519_mb8(
        secret: *const *mut u8,
        private: *const *const u8,
        public: *const *const u8,
    ) -> Status;
}
