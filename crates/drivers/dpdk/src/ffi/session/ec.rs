//! Sessions on elliptic curves.

use dpdk_sys as sys;

use super::{KeyMemory, Session, SessionPool};
use crate::ffi::DeviceId;

/// A curve, as DPDK numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    P256 = sys::RTE_CRYPTO_EC_GROUP_SECP256R1 as isize,
    P384 = sys::RTE_CRYPTO_EC_GROUP_SECP384R1 as isize,
}

/// A session that signs by one key.
pub(crate) struct Signing {
    pub(in crate::ffi) session: Session,
    /// The private scalar, in the session's memory: before DPDK 23.11 each op tells it.
    pub(in crate::ffi) secret: sys::shim_bytes,
}

/// A session that multiplies points of one curve, and its generator.
pub(crate) struct Multiplying {
    pub(in crate::ffi) session: Session,
    /// Its x and y, in the session's memory.
    pub(in crate::ffi) generator: [sys::shim_bytes; 2],
}

impl SessionPool {
    /// A session of `device` that signs by the key of big-endian scalar `secret` and point `public`.
    ///
    /// # Errors
    /// As for [`SessionPool::rsa`].
    pub(crate) fn ecdsa(
        &self,
        device: DeviceId,
        group: Group,
        secret: &[u8],
        public: [&[u8]; 2],
    ) -> Result<Signing, i32> {
        let parts = [secret, public[0], public[1]];
        let memory = KeyMemory::new(&self.running, &parts)?;
        let [secret, x, y] = memory.places(parts);
        let key = sys::shim_ec_key { secret, x, y };
        let session = self.session(device, memory, |pool, session| {
            // SAFETY: the numbers lie in `memory`, which the session keeps.
            unsafe { sys::shim_ecdsa_session(device.id, pool, group as i32, &key, session) }
        })?;
        Ok(Signing { session, secret })
    }

    /// A session of `device` that multiplies points of a curve, which has this generator.
    ///
    /// # Errors
    /// As for [`SessionPool::rsa`].
    pub(crate) fn ecpm(
        &self,
        device: DeviceId,
        group: Group,
        generator: [&[u8]; 2],
    ) -> Result<Multiplying, i32> {
        let memory = KeyMemory::new(&self.running, &generator)?;
        let generator = memory.places(generator);
        let session = self.session(device, memory, |pool, session| {
            // SAFETY: there is nothing that the session must not outlive.
            unsafe { sys::shim_ecpm_session(device.id, pool, group as i32, session) }
        })?;
        Ok(Multiplying { session, generator })
    }
}
