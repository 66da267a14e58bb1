//! What the two ends share: two indices, the slots, and who has gone.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crossbeam_utils::CachePadded;

use crate::slots::{Slot, Slots};
use crate::sync::{AtomicBool, AtomicUsize, Ordering, UnsafeCell};
use crate::{CapacityError, MAX_CAPACITY};

/// Where both indices start: two short of the end of `usize`, so that every
/// ring, and thus every test, soon wraps them around.
const FIRST_INDEX: usize = usize::MAX - 1;

/// The memory that both ends point to.
///
/// ```text
///           head                 tail          indices run freely and wrap;
///             │                    │           slot = index & mask
///   ┌────┬────┬────┬────┬────┬────┬────┬────┐
///   │free│free│ v0 │ v1 │ v2 │ v3 │free│free│  free: uninitialised
///   └────┴────┴────┴────┴────┴────┴────┴────┘
///               └── the consumer's ─┘          all others: the producer's
/// ```
///
/// The two indices have a cache line pair each, so that the ends do not
/// disturb each other; the other fields are read-only until an end goes.
pub(crate) struct Shared<T> {
    /// The next index to push; stored by the producer only.
    tail: CachePadded<AtomicUsize>,
    /// The next index to pop; stored by the consumer only.
    head: CachePadded<AtomicUsize>,
    /// An end has been dropped.
    abandoned: AtomicBool,
    slots: Box<[Slot<T>]>,
}

impl<T> Shared<T> {
    /// Checks `capacity` and allocates an empty ring.
    ///
    /// The caller makes one producer and one consumer of it, each of which
    /// calls [`Shared::release`] once.
    pub(crate) fn allocate(capacity: usize) -> Result<NonNull<Self>, CapacityError> {
        if !capacity.is_power_of_two() {
            return Err(CapacityError::NotPowerOfTwo { capacity });
        }
        if capacity > MAX_CAPACITY {
            return Err(CapacityError::TooLarge { capacity });
        }
        let mut slots = Vec::<Slot<T>>::new();
        slots
            .try_reserve_exact(capacity)
            .map_err(|_| CapacityError::OutOfMemory {
                capacity,
                slot_bytes: size_of::<Slot<T>>(),
            })?;
        slots.resize_with(capacity, || UnsafeCell::new(MaybeUninit::uninit()));
        let shared = Box::new(Self {
            tail: CachePadded::new(AtomicUsize::new(FIRST_INDEX)),
            head: CachePadded::new(AtomicUsize::new(FIRST_INDEX)),
            abandoned: AtomicBool::new(false),
            slots: slots.into_boxed_slice(),
        });
        Ok(NonNull::from(Box::leak(shared)))
    }

    /// Returns the index both ends start from.
    pub(crate) fn first_index() -> usize {
        FIRST_INDEX
    }

    /// Returns the slots, for an end to keep at hand.
    pub(crate) fn slots(&self) -> Slots<T> {
        Slots {
            first: NonNull::from(&*self.slots).cast(),
            mask: self.slots.len() - 1,
        }
    }

    /// Returns the tail as the consumer may use it: the slots before it are written.
    #[inline(always)]
    pub(crate) fn tail(&self) -> usize {
        // Acquire: pairs with the Release in `publish_tail`.
        self.tail.load(Ordering::Acquire)
    }

    /// Returns the head as the producer may use it: the slots before it are read.
    #[inline(always)]
    pub(crate) fn head(&self) -> usize {
        // Acquire: pairs with the Release in `publish_head`.
        self.head.load(Ordering::Acquire)
    }

    /// Hands the slots before `tail` to the consumer. Only the producer calls
    /// it, with every slot before `tail` written.
    #[inline(always)]
    pub(crate) fn publish_tail(&self, tail: usize) {
        // Release: pairs with the Acquire in `tail`.
        self.tail.store(tail, Ordering::Release);
    }

    /// Hands the slots before `head` back to the producer. Only the consumer
    /// calls it, with every slot before `head` read.
    #[inline(always)]
    pub(crate) fn publish_head(&self, head: usize) {
        // Release: pairs with the Acquire in `head`.
        self.head.store(head, Ordering::Release);
    }

    /// Returns `true` if an end has been dropped. All that it did is visible then.
    pub(crate) fn is_abandoned(&self) -> bool {
        // Acquire: pairs with the Release in `release`.
        self.abandoned.load(Ordering::Acquire)
    }

    /// Gives up one end; the second call frees the ring and the values in it.
    ///
    /// # Safety
    ///
    /// `shared` comes from [`Shared::allocate`], the caller is one of its two
    /// ends, and touches it no more.
    pub(crate) unsafe fn release(shared: NonNull<Self>) {
        // SAFETY: the other end frees the ring only when it finds the mark
        // that this call is about to set.
        let first = !unsafe { shared.as_ref() }
            .abandoned
            // Release: all of this end's work comes before the mark.
            // Acquire: pairs with that Release of the end dropped first.
            .swap(true, Ordering::AcqRel);
        if !first {
            // SAFETY: the other end set the mark and touches the ring no
            // more, so this is the last pointer to the leaked box.
            drop(unsafe { Box::from_raw(shared.as_ptr()) });
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (mut head, tail, slots) = (self.head(), self.tail(), self.slots());
        while head != tail {
            // SAFETY: both ends are gone, so the slots from head to tail are
            // initialised and nobody else's, and each is read once.
            drop(unsafe { slots.read(head) });
            head = head.wrapping_add(1);
        }
    }
}
