//! A queue pair of a device, and the objects of DPDK's that stand for ops in it.

use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys as sys;

use super::{QueuePairId, QueuePairs, Running, errno, unique_name};

/// A DPDK function that takes ops of one kind from a pool.
pub(super) type Alloc =
    unsafe extern "C" fn(*mut sys::rte_mempool, *mut *mut sys::rte_crypto_op, u16) -> u16;

/// What ops of one kind are made of.
pub(super) struct Objects {
    /// Begins the pool's name.
    pub(super) name: &'static str,
    /// `RTE_CRYPTO_OP_TYPE_…`.
    pub(super) kind: u32,
    /// Bytes of ours behind each.
    pub(super) private_len: u16,
    pub(super) alloc: Alloc,
    pub(super) count: u16,
}

/// A queue pair that nobody else uses, and its objects: taken from their pool once, when it is opened,
/// and given back when it is closed. Where the device has kept some, all of it stays for ever.
pub(super) struct RawPair {
    device: u8,
    queue_pair: u16,
    /// Taken when this is dropped.
    id: Option<QueuePairId>,
    home: Arc<QueuePairs>,
    _running: Running,
    pool: ManuallyDrop<Pool>,
    objects: Box<[NonNull<sys::rte_crypto_op>]>,
    with_device: usize,
}

impl RawPair {
    /// A queue pair from `home`, to which it returns when this is dropped. `init` gets each object, which is
    /// ours and has the private data that it was to have, and its number.
    ///
    /// # Errors
    /// `None` if there is none left, or `rte_errno`: memory is used up, say.
    pub(super) fn new(
        running: &Running,
        home: &Arc<QueuePairs>,
        of: &Objects,
        init: impl Fn(NonNull<sys::rte_crypto_op>, u32),
    ) -> Result<Self, Option<i32>> {
        let name = unique_name(of.name);
        let count = usize::from(of.count);
        // SAFETY: the name is copied; EAL runs.
        let pool = unsafe {
            sys::rte_crypto_op_pool_create(
                name.as_ptr(),
                of.kind,
                u32::from(of.count),
                0,
                of.private_len,
                home.device().socket(running),
            )
        };
        let pool = Pool(NonNull::new(pool).ok_or_else(|| Some(errno()))?);
        let mut taken = vec![ptr::null_mut(); count];
        // SAFETY: the pool has `count` objects, and `taken` room for them.
        let got = unsafe { (of.alloc)(pool.0.as_ptr(), taken.as_mut_ptr(), of.count) };
        let objects: Box<[_]> = taken.into_iter().filter_map(NonNull::new).collect();
        if got != of.count || objects.len() != count {
            return Err(Some(libc::ENOMEM));
        }
        for (index, object) in (0..).zip(&objects) {
            init(*object, index);
        }
        let id = home.take().ok_or(None)?;
        Ok(Self {
            device: id.device.id,
            queue_pair: id.index,
            id: Some(id),
            home: Arc::clone(home),
            _running: running.clone(),
            pool: ManuallyDrop::new(pool),
            objects,
            with_device: 0,
        })
    }

    pub(super) fn objects(&self) -> &[NonNull<sys::rte_crypto_op>] {
        &self.objects
    }

    /// Objects that the device has.
    pub(super) fn with_device(&self) -> usize {
        self.with_device
    }

    /// Numbers of the device and of the queue pair.
    #[cfg(feature = "null")]
    pub(super) fn numbers(&self) -> (u8, u16) {
        (self.device, self.queue_pair)
    }

    /// Hands objects to the device; returns how many it took, the first ones, `None` if it is stopped.
    ///
    /// # Safety
    /// They are among its objects, not with the device, and set for its queue pair; at most 65,535.
    #[inline]
    pub(super) unsafe fn enqueue(
        &mut self,
        objects: &mut [*mut sys::rte_crypto_op],
    ) -> Option<usize> {
        let count = objects.len();
        // SAFETY: the caller's promise; the queue pair is set up, and nobody else uses it (what `id`
        // stands for).
        let taken = unsafe {
            sys::shim_enqueue_burst(
                self.device,
                self.queue_pair,
                objects.as_mut_ptr(),
                count as u16,
            )
        };
        let taken = usize::from(taken).min(count);
        if taken == 0 && count > 0 && errno() == libc::ENOTSUP {
            return None;
        }
        self.with_device += taken;
        Some(taken)
    }

    /// Takes objects back, which are ours again; returns how many, `None` if the device is stopped.
    #[inline]
    pub(super) fn dequeue(&mut self, objects: &mut [*mut sys::rte_crypto_op]) -> Option<usize> {
        let max = u16::try_from(objects.len()).unwrap_or(u16::MAX);
        // SAFETY: room for `max` objects; see `enqueue`.
        let count = unsafe {
            sys::shim_dequeue_burst(self.device, self.queue_pair, objects.as_mut_ptr(), max)
        };
        if count == 0 && errno() == libc::ENOTSUP {
            return None;
        }
        let count = usize::from(count.min(max));
        self.with_device -= count;
        Some(count)
    }
}

impl Drop for RawPair {
    fn drop(&mut self) {
        if self.with_device > 0 {
            // The device may write to them still: their memory stays, and nobody else gets the queue
            // pair. Its owner says so aloud.
            return;
        }
        let mut objects: Vec<_> = self.objects.iter().map(|object| object.as_ptr()).collect();
        // SAFETY: every object is ours, and used no more.
        unsafe { sys::shim_op_free(objects.as_mut_ptr(), objects.len() as u16) };
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.pool) };
        if let Some(id) = self.id.take() {
            self.home.put(id);
        }
    }
}

/// A pool of objects, all of which are back when it goes.
struct Pool(NonNull<sys::rte_mempool>);

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: ours; nobody has an op of it.
        unsafe { sys::rte_mempool_free(self.0.as_ptr()) }
    }
}
