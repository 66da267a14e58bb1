//! Crypto devices as DPDK numbers them: what they offer, and how they are set up.

use std::ffi::{CStr, c_int};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpdk_sys as sys;

use super::Running;

/// A crypto device of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceId {
    pub(super) id: u8,
}

impl DeviceId {
    /// The device called `name`, if there is one.
    pub(crate) fn find(_running: &Running, name: &CStr) -> Option<Self> {
        // SAFETY: a string that ends with a zero and is not kept.
        let id = unsafe { sys::rte_cryptodev_get_dev_id(name.as_ptr()) };
        u8::try_from(id).ok().map(|id| Self { id })
    }

    /// The device numbered `id`, if there is one.
    pub(crate) fn with_number(_running: &Running, id: u8) -> Option<Self> {
        // SAFETY: takes any number.
        let valid = unsafe { sys::rte_cryptodev_is_valid_dev(id) };
        (valid != 0).then_some(Self { id })
    }

    /// Its name.
    pub(crate) fn name(self) -> String {
        // SAFETY: the device exists (its constructors looked); its name lives as long.
        let name = unsafe { sys::rte_cryptodev_name_get(self.id) };
        if name.is_null() {
            return String::new();
        }
        // SAFETY: not null, and ends with a zero.
        unsafe { CStr::from_ptr(name) }
            .to_string_lossy()
            .into_owned()
    }

    fn info(self) -> sys::rte_cryptodev_info {
        let mut info = sys::rte_cryptodev_info::default();
        // SAFETY: `info` is ours to write; the device exists.
        unsafe { sys::rte_cryptodev_info_get(self.id, &mut info) };
        info
    }

    /// Most queue pairs that it can be configured with.
    pub(crate) fn max_queue_pairs(self) -> u16 {
        u16::try_from(self.info().max_nb_queue_pairs).unwrap_or(u16::MAX)
    }

    /// Whether it is a card, rather than a driver that computes on the caller's core.
    pub(crate) fn is_hardware(self) -> bool {
        self.has(sys::RTE_CRYPTODEV_FF_HW_ACCELERATED)
    }

    /// Whether it takes RSA keys in quintuple format.
    pub(crate) fn takes_quintuples(self) -> bool {
        self.has(sys::RTE_CRYPTODEV_FF_RSA_PRIV_OP_KEY_QT)
    }

    fn has(self, feature: u32) -> bool {
        self.info().feature_flags & u64::from(feature) != 0
    }

    /// Whether it signs by RSA keys of `bytes`.
    pub(crate) fn has_rsa(self, bytes: u16) -> bool {
        let signs = |capability| {
            // SAFETY: the device's own capability, which lives as long as the device.
            unsafe {
                sys::rte_cryptodev_asym_xform_capability_check_optype(
                    capability,
                    sys::RTE_CRYPTO_ASYM_OP_SIGN,
                ) == 1
            }
        };
        self.capability(sys::RTE_CRYPTO_ASYM_XFORM_RSA)
            .is_some_and(|capability| signs(capability) && takes(capability, bytes))
    }

    /// Whether it has asymmetric ops at all.
    pub(crate) fn is_asymmetric(self) -> bool {
        self.has(sys::RTE_CRYPTODEV_FF_ASYMMETRIC_CRYPTO)
    }

    /// Whether it says that it signs by ECDSA. (On which curves, none says.)
    pub(crate) fn lists_ecdsa(self) -> bool {
        // SAFETY: the device exists.
        unsafe { sys::shim_ecdsa_listed(self.id) != 0 }
    }

    /// Whether it says that it multiplies points of curves.
    pub(crate) fn lists_ecpm(self) -> bool {
        // SAFETY: the device exists.
        unsafe { sys::shim_ecpm_listed(self.id) != 0 }
    }

    /// Whether it raises to powers modulo numbers of `bytes`.
    pub(crate) fn has_modexp(self, bytes: u16) -> bool {
        self.capability(sys::RTE_CRYPTO_ASYM_XFORM_MODEX)
            .is_some_and(|capability| takes(capability, bytes))
    }

    fn capability(
        self,
        kind: sys::rte_crypto_asym_xform_type,
    ) -> Option<*const sys::rte_cryptodev_asymmetric_xform_capability> {
        let index = sys::rte_cryptodev_asym_capability_idx { type_: kind };
        // SAFETY: the device exists; `index` is not kept.
        let capability = unsafe { sys::rte_cryptodev_asym_capability_get(self.id, &index) };
        (!capability.is_null()).then_some(capability)
    }

    /// Configures the stopped device, which has no queue pair in use, with `queue_pairs` of
    /// `descriptors` each; returns the right to use each.
    ///
    /// # Errors
    /// A negative errno.
    pub(crate) fn configure(
        self,
        queue_pairs: u16,
        descriptors: u32,
        socket: c_int,
    ) -> Result<Vec<QueuePairId>, c_int> {
        let mut config = sys::rte_cryptodev_config {
            socket_id: socket,
            nb_queue_pairs: queue_pairs,
            ff_disable: 0,
        };
        // SAFETY: the device exists; `config` is copied.
        result(unsafe { sys::rte_cryptodev_configure(self.id, &mut config) })?;
        let setup = sys::rte_cryptodev_qp_conf::of(descriptors);
        for queue_pair in 0..queue_pairs {
            // SAFETY: a queue pair that was just configured; `setup` is copied, and sessions are
            // given with each op, so that the device needs no pool of its own for them.
            result(unsafe {
                sys::rte_cryptodev_queue_pair_setup(self.id, queue_pair, &setup, socket)
            })?;
        }
        let ids = 0..queue_pairs;
        Ok(ids
            // SAFETY: just set up, for who gets this.
            .map(|index| unsafe { QueuePairId::new(self, index) })
            .collect())
    }

    /// Starts it.
    ///
    /// # Errors
    /// A negative errno.
    pub(crate) fn start(self) -> Result<(), c_int> {
        // SAFETY: the device exists.
        result(unsafe { sys::rte_cryptodev_start(self.id) })
    }

    /// Stops it. No other thread may be in one of its bursts.
    pub(crate) fn stop(self) {
        // SAFETY: the device exists; its queue pairs are used by nobody else meanwhile
        // (the caller counts them).
        unsafe { sys::rte_cryptodev_stop(self.id) }
    }

    /// Closes the stopped device.
    ///
    /// # Errors
    /// A negative errno.
    pub(crate) fn close(self) -> Result<(), c_int> {
        // SAFETY: the device exists and has no queue pair in use.
        result(unsafe { sys::rte_cryptodev_close(self.id) })
    }

    /// NUMA node it is on, or that of the caller.
    pub(crate) fn socket(self, running: &Running) -> c_int {
        // SAFETY: the device exists.
        match unsafe { sys::rte_cryptodev_socket_id(self.id) } {
            socket @ 0.. => socket,
            _ => running.socket(),
        }
    }
}

/// The right to use a queue pair that is set up: nobody else enqueues to it or dequeues from it.
#[derive(Debug)]
pub(crate) struct QueuePairId {
    pub(super) device: DeviceId,
    pub(super) index: u16,
    fast_path: FastPath,
}

/// A device's entry in the table by which DPDK's inline functions call drivers. There is one for every device,
/// also for a stopped one.
#[derive(Debug)]
struct FastPath(*const sys::rte_crypto_fp_ops);

// SAFETY: the table is static, and read only while its device is used.
unsafe impl Send for FastPath {}

impl QueuePairId {
    /// The right to use queue pair `index` of `device`.
    ///
    /// # Safety
    /// The queue pair is set up and nobody else uses it.
    pub(crate) unsafe fn new(device: DeviceId, index: u16) -> Self {
        let table = (&raw const sys::rte_crypto_fp_ops).cast::<sys::rte_crypto_fp_ops>();
        Self {
            device,
            index,
            fast_path: FastPath(table.wrapping_add(usize::from(device.id))),
        }
    }

    /// `rte_cryptodev_enqueue_burst`: hands `count` objects to the device; how many it took, the first ones.
    ///
    /// # Safety
    /// There are so many, set, which nobody else uses until they are back.
    #[inline]
    pub(super) unsafe fn enqueue(
        &mut self,
        objects: *mut *mut sys::rte_crypto_op,
        count: u16,
    ) -> u16 {
        let at = usize::from(self.index);
        // SAFETY: the device exists and has this queue pair, which nobody else uses (see the type). Objects are as
        // the caller promises.
        unsafe {
            let fast = &*self.fast_path.0;
            match fast.enqueue_burst {
                Some(enqueue) if has_no_callback(fast.qp.enq_cb, at) => {
                    enqueue(*fast.qp.data.add(at), objects, count)
                }
                _ => self.enqueue_and_tell(objects, count),
            }
        }
    }

    /// # Safety
    /// As for [`QueuePairId::enqueue`].
    #[cold]
    unsafe fn enqueue_and_tell(&self, objects: *mut *mut sys::rte_crypto_op, count: u16) -> u16 {
        // SAFETY: the caller's promise.
        unsafe { sys::shim_enqueue_burst(self.device.id, self.index, objects, count) }
    }

    /// `rte_cryptodev_dequeue_burst`: takes at most `max` objects back from the device; how many there are.
    ///
    /// # Safety
    /// There is room for so many.
    #[inline]
    pub(super) unsafe fn dequeue(
        &mut self,
        objects: *mut *mut sys::rte_crypto_op,
        max: u16,
    ) -> u16 {
        let at = usize::from(self.index);
        // SAFETY: as for `enqueue`.
        unsafe {
            let fast = &*self.fast_path.0;
            match fast.dequeue_burst {
                Some(dequeue) if has_no_callback(fast.qp.deq_cb, at) => {
                    dequeue(*fast.qp.data.add(at), objects, max)
                }
                _ => self.dequeue_and_tell(objects, max),
            }
        }
    }

    /// # Safety
    /// As for [`QueuePairId::dequeue`].
    #[cold]
    unsafe fn dequeue_and_tell(&self, objects: *mut *mut sys::rte_crypto_op, max: u16) -> u16 {
        // SAFETY: the caller's promise.
        unsafe { sys::shim_dequeue_burst(self.device.id, self.index, objects, max) }
    }
}

/// Whether an application of DPDK's wants to be told of no burst of queue pair `at`.
///
/// # Safety
/// `callbacks` are those of a device that has the queue pair.
#[inline]
unsafe fn has_no_callback(callbacks: *mut sys::rte_cryptodev_cb_rcu, at: usize) -> bool {
    // SAFETY: there is one per queue pair, if DPDK was built with them.
    sys::SHIM_CALLBACKS == 0 || unsafe { (*callbacks.add(at)).next.is_null() }
}

/// The queue pairs of a device that nobody uses.
#[derive(Debug)]
pub(crate) struct QueuePairs {
    device: DeviceId,
    free: Mutex<Vec<QueuePairId>>,
}

impl QueuePairs {
    pub(crate) fn new(device: DeviceId, mut free: Vec<QueuePairId>) -> Self {
        // The first one is taken first.
        free.reverse();
        Self {
            device,
            free: Mutex::new(free),
        }
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.device
    }

    pub(crate) fn free(&self) -> usize {
        self.list().len()
    }

    pub(super) fn take(&self) -> Option<QueuePairId> {
        self.list().pop()
    }

    pub(super) fn put(&self, id: QueuePairId) {
        self.list().push(id);
    }

    fn list(&self) -> MutexGuard<'_, Vec<QueuePairId>> {
        // A push or a pop that panics leaves the list whole.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn takes(capability: *const sys::rte_cryptodev_asymmetric_xform_capability, bytes: u16) -> bool {
    // SAFETY: as where it came from: a device's own capability.
    unsafe { sys::rte_cryptodev_asym_xform_capability_check_modlen(capability, bytes) == 0 }
}

fn result(code: c_int) -> Result<(), c_int> {
    if code == 0 { Ok(()) } else { Err(code) }
}
