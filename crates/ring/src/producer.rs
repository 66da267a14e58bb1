//! The end that pushes.

use core::fmt;
use core::ptr::NonNull;
use std::collections::VecDeque;

use crate::Full;
use crate::shared::Shared;
use crate::slots::Slots;

/// The end of a ring that pushes; made by [`ring`](crate::ring).
///
/// This end is `Send`, and neither `Sync` nor `Clone`: one thread pushes.
///
/// When this end is dropped, the values in the ring stay and can be popped.
pub struct Producer<T> {
    shared: NonNull<Shared<T>>,
    slots: Slots<T>,
    /// The shared tail, which only this end stores.
    tail: usize,
    /// The head when last looked at; the true one is the same or further on.
    seen_head: usize,
}

// SAFETY: a producer moves values of T to another thread, which T: Send
// allows, and shares with the other end nothing but `Shared`, whose slots each
// belong to one end at a time.
unsafe impl<T: Send> Send for Producer<T> {}

impl<T> Producer<T> {
    /// # Safety
    ///
    /// `shared` comes from [`Shared::allocate`] and has no other producer.
    pub(crate) unsafe fn new(shared: NonNull<Shared<T>>) -> Self {
        Self {
            // SAFETY: it lives until both ends have released it.
            slots: unsafe { shared.as_ref() }.slots(),
            shared,
            tail: Shared::<T>::first_index(),
            seen_head: Shared::<T>::first_index(),
        }
    }

    /// Pushes one value.
    ///
    /// # Errors
    ///
    /// [`Full`] gives the value back if no slot is free.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), Full<T>> {
        if self.room_for(1) == 0 {
            return Err(Full(value));
        }
        // SAFETY: there is room, so the slot at the tail is free and ours.
        unsafe { self.slots.write(self.tail, value) };
        self.tail = self.tail.wrapping_add(1);
        self.shared().publish_tail(self.tail);
        Ok(())
    }

    /// Pushes values from the front of `burst` until it is empty or the ring
    /// full, and returns how many. The consumer sees them all at once.
    ///
    /// What did not fit stays in `burst`, in order.
    #[inline]
    pub fn push_burst(&mut self, burst: &mut VecDeque<T>) -> usize {
        let count = self.room_for(burst.len()).min(burst.len());
        for value in burst.drain(..count) {
            // SAFETY: there is room for `count` values from the old tail on,
            // so the slot at the tail is free and ours.
            unsafe { self.slots.write(self.tail, value) };
            self.tail = self.tail.wrapping_add(1);
        }
        if count > 0 {
            self.shared().publish_tail(self.tail);
        }
        count
    }

    /// Slots that a push would find free. It can only grow before this end's
    /// next push.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.slots.capacity() - self.tail.wrapping_sub(self.shared().head())
    }

    /// Returns `true` if the next push would fail, unless the consumer pops before it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free_slots() == 0
    }

    /// Slots in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Returns `true` if the consumer has been dropped, so that nobody will pop. A push
    /// then still succeeds until the ring is full; the values left are dropped
    /// with this end.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.shared().is_abandoned()
    }

    /// Returns the free slots, exact only as far as `wanted`: the head is looked at
    /// again if the one seen last leaves less room.
    #[inline(always)]
    fn room_for(&mut self, wanted: usize) -> usize {
        let room = self.slots.capacity() - self.tail.wrapping_sub(self.seen_head);
        if room >= wanted {
            return room;
        }
        self.seen_head = self.shared().head();
        self.slots.capacity() - self.tail.wrapping_sub(self.seen_head)
    }

    #[inline(always)]
    fn shared(&self) -> &Shared<T> {
        // SAFETY: it lives until both ends have released it.
        unsafe { self.shared.as_ref() }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer is from `allocate`, and this end's last use.
        unsafe { Shared::release(self.shared) };
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("capacity", &self.capacity())
            .field("free_slots", &self.free_slots())
            .finish_non_exhaustive()
    }
}
