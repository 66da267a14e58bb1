//! A queue pair of a device, and the objects of DPDK's that stand for ops in it.

use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys as sys;

use super::{QueuePairId, QueuePairs, Running, errno, unique_name};

/// Objects per call of the driver.
pub(crate) const BURST: usize = 64;

pub(super) const SUCCESS: u8 = sys::RTE_CRYPTO_OP_STATUS_SUCCESS as u8;
pub(super) const NOT_PROCESSED: u8 = sys::RTE_CRYPTO_OP_STATUS_NOT_PROCESSED as u8;

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

/// What came of handing staged objects to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// It took so many, which may be all.
    Accepted(usize),
    /// It took so many, and never will the next one, which is no longer staged.
    Rejected(usize, *mut sys::rte_crypto_op),
    /// It is stopped or gone.
    Stopped,
}

/// A queue pair that nobody else uses, and its objects: taken from their pool once, when it is opened,
/// and given back when it is closed. Where the device has kept some, all of it stays for ever.
pub(super) struct RawPair {
    /// Goes home when this is dropped.
    id: ManuallyDrop<QueuePairId>,
    home: Arc<QueuePairs>,
    _running: Running,
    pool: ManuallyDrop<Pool>,
    objects: Box<[NonNull<sys::rte_crypto_op>]>,
    /// To be handed to the device next.
    staged: Staged,
    /// What the device gave back last.
    returned: Box<[*mut sys::rte_crypto_op; BURST]>,
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
            id: ManuallyDrop::new(id),
            home: Arc::clone(home),
            _running: running.clone(),
            pool: ManuallyDrop::new(pool),
            objects,
            staged: Staged::new(count),
            returned: Box::new([ptr::null_mut(); BURST]),
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
        (self.id.device.id, self.id.index)
    }

    /// Objects that wait to be handed to the device, the next one first.
    #[inline]
    pub(super) fn staged(&self) -> &[*mut sys::rte_crypto_op] {
        &self.staged.objects[self.staged.start..self.staged.end]
    }

    /// Has `object` handed over by a [`submit`](Self::submit) to come.
    ///
    /// # Safety
    /// It is one of these, set for a session of this device that lives until it is back, neither staged nor with
    /// the device; until it is back nobody else looks at it or at the memory it points to.
    #[inline]
    pub(super) unsafe fn stage(&mut self, object: *mut sys::rte_crypto_op) {
        self.staged.push(object);
    }

    /// Takes back the object that was staged first.
    pub(super) fn unstage(&mut self) -> Option<*mut sys::rte_crypto_op> {
        let object = self.staged().first().copied()?;
        self.staged.remove(1);
        Some(object)
    }

    /// Hands at most `max` staged objects to the device, one burst at most.
    #[inline]
    pub(super) fn submit(&mut self, max: usize) -> Handed {
        let Staged {
            objects,
            start,
            end,
        } = &mut self.staged;
        let objects = &mut objects[*start..*end];
        let count = objects.len().min(max).min(BURST);
        // SAFETY: staged objects are set and not with the device.
        let taken = unsafe { self.id.enqueue(objects.as_mut_ptr(), count as u16) };
        if usize::from(taken) == count {
            self.with_device += count;
            self.staged.remove(count);
            return Handed::Accepted(count);
        }
        self.partly_submitted(usize::from(taken).min(count))
    }

    #[cold]
    fn partly_submitted(&mut self, mut taken: usize) -> Handed {
        let Self { staged, id, .. } = self;
        let next = &mut staged.objects[staged.start..staged.end][..1];
        // SAFETY: as in `submit`.
        let again = || unsafe { id.enqueue(next.as_mut_ptr(), 1) };
        if taken == 0 {
            match unless_stopped(again) {
                Some(one) => taken = one.min(1).into(),
                None => return Handed::Stopped,
            }
        }
        self.with_device += taken;
        self.staged.remove(taken);
        if let Some(&next) = self.staged().first()
            // SAFETY: not taken, it is still ours.
            && !matches!(unsafe { status_of(next) }, SUCCESS | NOT_PROCESSED)
        {
            self.staged.remove(1);
            return Handed::Rejected(taken, next);
        }
        Handed::Accepted(taken)
    }

    /// Takes at most `max` objects back, one burst at most, which are ours again; `None` if the device
    /// is stopped.
    #[inline]
    pub(super) fn collect(&mut self, max: usize) -> Option<&[*mut sys::rte_crypto_op]> {
        let Self { id, returned, .. } = self;
        let max = max.min(BURST);
        // SAFETY: room for `max` objects.
        let mut dequeue = || unsafe { id.dequeue(returned.as_mut_ptr(), max as u16) };
        let mut count = dequeue();
        if count == 0 {
            count = unless_stopped(dequeue)?;
        }
        let count = usize::from(count).min(max);
        self.with_device -= count;
        Some(&self.returned[..count])
    }
}

/// What a burst comes to that came to 0; `None` if that is because the device is stopped, which
/// `rte_errno` says. Asked `again` where that may be what another call left there.
#[cold]
fn unless_stopped(again: impl FnOnce() -> u16) -> Option<u16> {
    let is_stopped = || errno() == libc::ENOTSUP;
    if !is_stopped() {
        return Some(0);
    }
    // SAFETY: sets a thread-local number.
    unsafe { sys::shim_clear_errno() };
    let count = again();
    (count > 0 || !is_stopped()).then_some(count)
}

/// A queue in one piece, so that a burst is: `objects[start..end]`.
struct Staged {
    /// Twice as long as what is staged at most: it moves to the front once in as many pushes.
    objects: Box<[*mut sys::rte_crypto_op]>,
    start: usize,
    end: usize,
}

impl Staged {
    fn new(most: usize) -> Self {
        Self {
            objects: vec![ptr::null_mut(); 2 * most].into(),
            start: 0,
            end: 0,
        }
    }

    #[inline]
    fn push(&mut self, object: *mut sys::rte_crypto_op) {
        if self.end == self.objects.len() {
            self.objects.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.objects[self.end] = object;
        self.end += 1;
    }

    /// Removes the first `count`.
    #[inline]
    fn remove(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0); // few objects keep to little memory
        }
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
        // SAFETY: taken once, here.
        self.home.put(unsafe { ManuallyDrop::take(&mut self.id) });
    }
}

/// # Safety
/// `object` is one of ours and not with the device.
#[inline]
pub(super) unsafe fn status_of(object: *mut sys::rte_crypto_op) -> u8 {
    // SAFETY: an op starts so, as the shim checks when it is compiled.
    unsafe { (*object.cast::<sys::shim_op_head>()).status }
}

/// A pool of objects, all of which are back when it goes.
struct Pool(NonNull<sys::rte_mempool>);

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: ours; nobody has an op of it.
        unsafe { sys::rte_mempool_free(self.0.as_ptr()) }
    }
}
