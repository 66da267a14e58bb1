//! Symmetric sessions: a key as a device wants it, for one direction and one length of associated data.

use std::ffi::c_void;
use std::ptr::NonNull;

use dpdk_sys as sys;
use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::aead::{Direction, Key};

use crate::ffi::{DeviceId, Running, SessionPool, errno, unique_name};

const _: () = assert!(sys::SHIM_AEAD_NONCE as usize == spinlane_crypto::aead::NONCE_LEN);
const _: () = assert!(sys::SHIM_AEAD_TAG as usize == spinlane_crypto::aead::TAG_LEN);
const _: () = assert!(sys::SHIM_AEAD_MAX_AAD as usize == spinlane_cryptodev::aead::MAX_AAD);

/// Whether `device` has `algorithm` with so much associated data.
pub(crate) fn takes(device: DeviceId, algorithm: Algorithm, aad_len: usize) -> bool {
    let wanted = key_of(algorithm, Direction::Seal, aad_len, &[]);
    // SAFETY: the device exists; `wanted` is not kept, and its bytes are not read.
    unsafe { sys::shim_aead_takes(device.id, &wanted) != 0 }
}

fn key_of(
    algorithm: Algorithm,
    direction: Direction,
    aad_len: usize,
    secret: &[u8],
) -> sys::shim_aead_key {
    sys::shim_aead_key {
        algorithm: match algorithm {
            Algorithm::Aes128Gcm | Algorithm::Aes256Gcm => sys::RTE_CRYPTO_AEAD_AES_GCM,
            Algorithm::ChaCha20Poly1305 => sys::RTE_CRYPTO_AEAD_CHACHA20_POLY1305,
        },
        operation: match direction {
            Direction::Seal => sys::RTE_CRYPTO_AEAD_OP_ENCRYPT,
            Direction::Open => sys::RTE_CRYPTO_AEAD_OP_DECRYPT,
        },
        secret: secret.as_ptr(),
        secret_length: algorithm.key_len() as u16,
        aad_length: aad_len as u16,
    }
}

impl SessionPool {
    /// Room for `count` sessions of `device` that seal or open.
    ///
    /// # Errors
    /// `rte_errno`.
    pub(crate) fn for_aead(running: &Running, device: DeviceId, count: u32) -> Result<Self, i32> {
        let name = unique_name("aeads");
        let socket = device.socket(running);
        // SAFETY: the device exists, the name is copied, EAL runs.
        let pool = unsafe {
            let len = sys::rte_cryptodev_sym_get_private_session_size(device.id);
            sys::rte_cryptodev_sym_session_pool_create(name.as_ptr(), count, len, 0, 0, socket)
        };
        Self::of(pool, running)
    }

    /// A session of `device` that seals or opens, from a pool of such.
    ///
    /// # Errors
    /// `rte_errno`: the device does not take the key, or sessions are used up.
    pub(crate) fn aead(
        &self,
        device: DeviceId,
        key: &Key,
        direction: Direction,
        aad_len: usize,
    ) -> Result<SymmetricSession, i32> {
        let key = key_of(key.algorithm(), direction, aad_len, key.secret());
        // SAFETY: the device exists, and the pool is for its sessions; the key's bytes are copied.
        let session = unsafe { sys::shim_aead_session(device.id, self.pool.as_ptr(), &key) };
        let session = NonNull::new(session).ok_or_else(errno)?;
        Ok(SymmetricSession { session, device })
    }
}

/// A session of one device, used by one queue pair alone.
pub(crate) struct SymmetricSession {
    pub(in crate::ffi) session: NonNull<c_void>,
    pub(in crate::ffi) device: DeviceId,
}

/// An [`SymmetricSession`], as long as that lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionHandle(NonNull<c_void>);

impl SymmetricSession {
    #[inline]
    pub(crate) fn handle(&self) -> SessionHandle {
        SessionHandle(self.session)
    }
}

impl SessionHandle {
    #[inline]
    pub(in crate::ffi) fn as_ptr(self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl Drop for SymmetricSession {
    fn drop(&mut self) {
        // SAFETY: ours, of this device, and no op with it is left in the device: its queue pair counts
        // them. (The driver wipes what it made of the key.)
        unsafe { sys::rte_cryptodev_sym_session_free(self.device.id, self.session.as_ptr()) };
    }
}
