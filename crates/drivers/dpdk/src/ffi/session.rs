//! Asymmetric sessions: a key in the form a device wants it, and the memory it reads it from.

mod ec;

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use dpdk_sys as sys;

#[cfg(feature = "null")]
use super::SymmetricSession;
use super::{DeviceId, Running, errno, unique_name};
pub(crate) use ec::{Group, Multiplying, Signing};

/// Big-endian numbers of an RSA key.
#[derive(Clone, Copy)]
pub(crate) struct RsaNumbers<'a> {
    pub(crate) n: &'a [u8],
    pub(crate) e: &'a [u8],
    pub(crate) p: &'a [u8],
    pub(crate) q: &'a [u8],
    pub(crate) dp: &'a [u8],
    pub(crate) dq: &'a [u8],
    pub(crate) qinv: &'a [u8],
}

/// Where sessions of one queue pair come from, asymmetric or symmetric ones. Freed after the last of them: a session
/// cannot say so by itself, the queue pair that owns both does by the order of its fields.
pub(crate) struct SessionPool {
    pub(super) pool: NonNull<sys::rte_mempool>,
    running: Running,
    /// Not to be freed: a device has kept ops with sessions of it.
    leaked: bool,
}

impl SessionPool {
    /// Room for `count` sessions of any device there is by now.
    ///
    /// # Errors
    /// `rte_errno`.
    pub(crate) fn new(running: &Running, count: u32, socket: i32) -> Result<Self, i32> {
        let name = unique_name("session");
        // SAFETY: the name is copied; EAL runs.
        let pool = unsafe {
            sys::rte_cryptodev_asym_session_pool_create(name.as_ptr(), count, 0, 0, socket)
        };
        Self::of(pool, running)
    }

    /// What DPDK made, or `rte_errno`.
    pub(super) fn of(pool: *mut sys::rte_mempool, running: &Running) -> Result<Self, i32> {
        Ok(Self {
            pool: NonNull::new(pool).ok_or_else(errno)?,
            running: running.clone(),
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

    /// A session of `device` that raises to an RSA key's private exponent.
    ///
    /// # Errors
    /// An errno: the device does not take the key, or memory or sessions are used up.
    pub(crate) fn rsa(&self, device: DeviceId, key: &RsaNumbers<'_>) -> Result<Session, i32> {
        let parts = [key.n, key.e, key.p, key.q, key.dp, key.dq, key.qinv];
        let memory = KeyMemory::new(&self.running, &parts)?;
        let [n, e, p, q, dp, dq, qinv] = memory.places(parts);
        let key = sys::shim_rsa_key {
            n,
            e,
            p,
            q,
            dp,
            dq,
            qinv,
        };
        self.session(device, memory, |pool, session| {
            // SAFETY: the numbers lie in `memory`, which the session keeps.
            unsafe { sys::shim_rsa_session(device.id, pool, &key, session) }
        })
    }

    /// A session of `device` that raises to `exponent` modulo `modulus`.
    ///
    /// # Errors
    /// As for [`SessionPool::rsa`].
    pub(crate) fn modexp(
        &self,
        device: DeviceId,
        modulus: &[u8],
        exponent: &[u8],
    ) -> Result<Session, i32> {
        let parts = [modulus, exponent];
        let memory = KeyMemory::new(&self.running, &parts)?;
        let [modulus, exponent] = memory.places(parts);
        self.session(device, memory, |pool, session| {
            // SAFETY: the numbers lie in `memory`, which the session keeps.
            unsafe { sys::shim_modexp_session(device.id, pool, modulus, exponent, session) }
        })
    }

    fn session(
        &self,
        device: DeviceId,
        memory: KeyMemory,
        create: impl FnOnce(*mut sys::rte_mempool, *mut *mut c_void) -> i32,
    ) -> Result<Session, i32> {
        let mut session = ptr::null_mut();
        let error = create(self.pool.as_ptr(), &mut session);
        match NonNull::new(session) {
            Some(session) if error == 0 => Ok(Session {
                session,
                device,
                _memory: memory,
            }),
            _ if error == 0 => Err(errno()),
            _ => Err(error),
        }
    }
}

impl Drop for SessionPool {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: every session is back (see the type).
        unsafe { sys::rte_mempool_free(self.pool.as_ptr()) }
    }
}

#[cfg(feature = "null")]
impl SessionPool {
    /// Room for `count` symmetric sessions.
    ///
    /// # Errors
    /// `rte_errno`.
    pub(crate) fn symmetric(running: &Running, count: u32, socket: i32) -> Result<Self, i32> {
        let name = unique_name("session");
        // SAFETY: the name is copied; EAL runs. DPDK keeps the size of the largest device's session.
        let pool = unsafe {
            sys::rte_cryptodev_sym_session_pool_create(name.as_ptr(), count, 512, 0, 0, socket)
        };
        Self::of(pool, running)
    }

    /// A session that does nothing, from a pool of symmetric ones.
    ///
    /// # Errors
    /// `rte_errno`.
    pub(crate) fn null(&self, device: DeviceId) -> Result<SymmetricSession, i32> {
        // SAFETY: the device exists; the pool is one of symmetric sessions or the call fails.
        let session = unsafe { sys::shim_null_session(device.id, self.pool.as_ptr()) };
        let session = NonNull::new(session).ok_or_else(errno)?;
        Ok(SymmetricSession { session, device })
    }
}

/// A session of one device, used by one queue pair alone: drivers change it as they run ops.
pub(crate) struct Session {
    session: NonNull<c_void>,
    device: DeviceId,
    /// Dropped, that is wiped, after the session.
    _memory: KeyMemory,
}

impl Session {
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.session.as_ptr()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: ours, of this device, and no op with it is left in the device: its queue pair
        // counts them. (The driver wipes what it made of the key.)
        unsafe { sys::rte_cryptodev_asym_session_free(self.device.id, self.session.as_ptr()) };
    }
}

/// Numbers one after the other in DPDK's heap, where a card can read them. Wiped when it goes.
struct KeyMemory {
    start: NonNull<u8>,
    len: usize,
}

impl KeyMemory {
    fn new(running: &Running, parts: &[&[u8]]) -> Result<Self, i32> {
        let len = parts.iter().map(|part| part.len()).sum();
        let start = NonNull::new(running.allocate(len)).ok_or(libc::ENOMEM)?;
        let mut at = 0;
        for part in parts {
            // SAFETY: `start` has `len` bytes, the sum of all parts, and is no part of any.
            unsafe {
                start
                    .as_ptr()
                    .add(at)
                    .copy_from_nonoverlapping(part.as_ptr(), part.len());
            }
            at += part.len();
        }
        Ok(Self { start, len })
    }

    /// Where the parts that it was made of lie.
    fn places<const N: usize>(&self, parts: [&[u8]; N]) -> [sys::shim_bytes; N] {
        // SAFETY: what `rte_zmalloc` gave, of which alone DPDK can tell the address.
        let iova = unsafe { sys::rte_malloc_virt2iova(self.start.as_ptr().cast()) };
        let mut at = 0;
        parts.map(|part| {
            // SAFETY: below `len`, which is the sum of all parts.
            let data = unsafe { self.start.as_ptr().add(at) };
            let bytes = sys::shim_bytes {
                data,
                iova: iova + at as u64,
                length: part.len(),
            };
            at += part.len();
            bytes
        })
    }
}

impl Drop for KeyMemory {
    fn drop(&mut self) {
        // SAFETY: `start` has `len` bytes of ours, which nobody else uses any more.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) };
        zeroize::Zeroize::zeroize(bytes);
        // SAFETY: it came from DPDK's heap and is used no more.
        unsafe { sys::rte_free(self.start.as_ptr().cast()) }
    }
}
