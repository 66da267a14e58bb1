//! The slots by index, and nothing about whose they are.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::sync::UnsafeCell;

/// Room for one value.
pub(crate) type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// Where the slots are. Each end has a copy, so that a burst need not reread
/// it from the shared memory after every value it writes there.
pub(crate) struct Slots<T> {
    pub(crate) first: NonNull<Slot<T>>,
    /// Their number, a power of two, less one.
    pub(crate) mask: usize,
}

impl<T> Slots<T> {
    /// Slots in all.
    #[inline(always)]
    pub(crate) fn capacity(&self) -> usize {
        self.mask + 1
    }

    /// # Safety
    ///
    /// The ring must be live for `'a`.
    #[inline(always)]
    unsafe fn slot<'a>(&self, index: usize) -> &'a Slot<T> {
        // SAFETY: `index & mask` is less than the number of slots, and they
        // live as long as the ring.
        unsafe { self.first.add(index & self.mask).as_ref() }
    }

    /// Moves `value` into the slot of `index`.
    ///
    /// # Safety
    ///
    /// The slot must be the caller's and uninitialised: the caller is the
    /// producer, `index` is at or past its tail, and less than the capacity
    /// past a head it has seen.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, index: usize, value: T) {
        // SAFETY: the caller is an end, so the ring is live.
        unsafe { self.slot(index) }.with_mut(|slot| {
            // SAFETY: the slot is the caller's alone, so this is the only
            // pointer in use; `MaybeUninit::write` drops no old value.
            unsafe { (*slot).write(value) };
        });
    }

    /// Moves the value out of the slot of `index`.
    ///
    /// # Safety
    ///
    /// The slot must be the caller's and initialised, and the caller must not
    /// read it again: the caller is the consumer, or the ring being freed, and
    /// `index` is its head and before a tail it has seen.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, index: usize) -> T {
        // SAFETY: the caller is an end, so the ring is live.
        unsafe { self.slot(index) }.with(|slot| {
            // SAFETY: the slot is initialised and the caller's alone; the
            // caller takes the value once.
            unsafe { (*slot).assume_init_read() }
        })
    }
}
