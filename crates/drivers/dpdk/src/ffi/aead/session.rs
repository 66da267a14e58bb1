//! Symmetric sessions: a key as a device wants it, for one direction and one length of associated data.

use std::ffi::c_void;
use std::ptr::NonNull;

use dpdk_sys as sys;
use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::aead::{Direction, Key};

use crate::ffi::{DeviceId, Running, errno, unique_name};

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

/// Where the sessions of one queue pair come from. Freed after the last of them: [`AeadSession`] cannot
/// say so by itself, the queue pair that owns both does by the order of its fields.
pub(crate) struct AeadSessionPool {
    pool: NonNull<sys::rte_mempool>,
    _running: Running,
    /// Not to be freed: a device has kept ops with sessions of it.
    leaked: bool,
}

impl AeadSessionPool {
    /// Room for `count` sessions of `device`.
    ///
    /// # Errors
    /// `rte_errno`.
    pub(crate) fn new(running: &Running, device: DeviceId, count: u32) -> Result<Self, i32> {
        let name = unique_name("aeads");
        let socket = device.socket(running);
        // SAFETY: the device exists, the name is copied, EAL runs.
        let pool = unsafe {
            let len = sys::rte_cryptodev_sym_get_private_session_size(device.id);
            sys::rte_cryptodev_sym_session_pool_create(name.as_ptr(), count, len, 0, 0, socket)
        };
        Ok(Self {
            pool: NonNull::new(pool).ok_or_else(errno)?,
            _running: running.clone(),
            leaked: false,
        })
    }

    /// Sessions in use.
    pub(crate) fn in_use(&self) -> u32 {
        // SAFETY: the pool is ours and alive.
        unsafe { sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }

    /// Keeps its memory for ever.
    pub(crate) fn leak(&mut self) {
        self.leaked = true;
    }

    /// A session of `device`.
    ///
    /// # Errors
    /// `rte_errno`: the device does not take the key, or sessions are used up.
    pub(crate) fn session(
        &self,
        device: DeviceId,
        key: &Key,
        direction: Direction,
        aad_len: usize,
    ) -> Result<AeadSession, i32> {
        let key = key_of(key.algorithm(), direction, aad_len, key.secret());
        // SAFETY: the device exists, and the pool is for its sessions; the key's bytes are copied.
        let session = unsafe { sys::shim_aead_session(device.id, self.pool.as_ptr(), &key) };
        let session = NonNull::new(session).ok_or_else(errno)?;
        Ok(AeadSession { session, device })
    }
}

impl Drop for AeadSessionPool {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: every session is back (see the type).
        unsafe { sys::rte_mempool_free(self.pool.as_ptr()) }
    }
}

/// A session of one device, used by one queue pair alone.
pub(crate) struct AeadSession {
    session: NonNull<c_void>,
    device: DeviceId,
}

/// An [`AeadSession`], as long as that lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionHandle(NonNull<c_void>);

impl AeadSession {
    #[inline]
    pub(crate) fn handle(&self) -> SessionHandle {
        SessionHandle(self.session)
    }
}

impl SessionHandle {
    #[inline]
    pub(super) fn as_ptr(self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl Drop for AeadSession {
    fn drop(&mut self) {
        // SAFETY: ours, of this device, and no op with it is left in the device: its queue pair counts
        // them. (The driver wipes what it made of the key.)
        unsafe { sys::rte_cryptodev_sym_session_free(self.device.id, self.session.as_ptr()) };
    }
}
