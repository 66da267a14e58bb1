//! The end that pops.

use core::fmt;
use core::iter::FusedIterator;
use core::ptr::NonNull;

use crate::shared::Shared;
use crate::slots::Slots;

/// The end of a ring that pops; made by [`ring`](crate::ring).
///
/// This end is `Send`, and neither `Sync` nor `Clone`: one thread pops.
///
/// When this end is dropped, the values in the ring stay until the producer is dropped too.
pub struct Consumer<T> {
    shared: NonNull<Shared<T>>,
    slots: Slots<T>,
    /// The next index to pop. The shared head lags behind it during a
    /// [`Burst`].
    head: usize,
    /// The tail when last looked at; the true one is the same or further on.
    seen_tail: usize,
}

// SAFETY: a consumer takes values of T from another thread, which T: Send
// allows, and shares with the other end nothing but `Shared`, whose slots each
// belong to one end at a time.
unsafe impl<T: Send> Send for Consumer<T> {}

impl<T> Consumer<T> {
    /// # Safety
    ///
    /// `shared` comes from [`Shared::allocate`] and has no other consumer.
    pub(crate) unsafe fn new(shared: NonNull<Shared<T>>) -> Self {
        Self {
            // SAFETY: it lives until both ends have released it.
            slots: unsafe { shared.as_ref() }.slots(),
            shared,
            head: Shared::<T>::first_index(),
            seen_tail: Shared::<T>::first_index(),
        }
    }

    /// Pops the oldest value; `None` if the ring is empty.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.ready_for(1) == 0 {
            return None;
        }
        // SAFETY: a value is ready at the head.
        let value = unsafe { self.take() };
        self.shared().publish_head(self.head);
        Some(value)
    }

    /// Pops up to `max` values, oldest first, by an iterator.
    ///
    /// Their slots become free for the producer when the iterator is dropped,
    /// all at once. Values it has not yielded then stay in the ring.
    ///
    /// ```
    /// let (mut producer, mut consumer) = spinlane_ring::ring(4)?;
    /// for value in 0..4 {
    ///     producer.push(value)?;
    /// }
    /// let mut completions = std::collections::VecDeque::with_capacity(4);
    /// completions.extend(consumer.pop_burst(3));
    /// assert_eq!(completions, [0, 1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn pop_burst(&mut self, max: usize) -> Burst<'_, T> {
        let left = self.ready_for(max).min(max);
        Burst {
            first: self.head,
            left,
            consumer: self,
        }
    }

    /// Values that can be popped. It can only grow before this end's next pop.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared().tail().wrapping_sub(self.head)
    }

    /// Returns `true` if the next pop would find nothing, unless the producer pushes
    /// before it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Returns `true` if the producer has been dropped. Once it is true, what
    /// [`Consumer::len`] then says is all that will ever come.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.shared().is_abandoned()
    }

    /// Returns the values ready, exact only as far as `wanted`: the tail is looked at
    /// again if the one seen last leaves fewer.
    #[inline(always)]
    fn ready_for(&mut self, wanted: usize) -> usize {
        let ready = self.seen_tail.wrapping_sub(self.head);
        if ready >= wanted {
            return ready;
        }
        self.seen_tail = self.shared().tail();
        self.seen_tail.wrapping_sub(self.head)
    }

    /// Moves the value at the head out, without handing its slot back.
    ///
    /// # Safety
    ///
    /// The head must be before the tail.
    #[inline(always)]
    unsafe fn take(&mut self) -> T {
        // SAFETY: as the caller says; the head moves on, so the slot is not
        // read again.
        let value = unsafe { self.slots.read(self.head) };
        self.head = self.head.wrapping_add(1);
        value
    }

    #[inline(always)]
    fn shared(&self) -> &Shared<T> {
        // SAFETY: it lives until both ends have released it.
        unsafe { self.shared.as_ref() }
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // A forgotten burst has moved values out and not published it.
        self.shared().publish_head(self.head);
        // SAFETY: the pointer is from `allocate`, and this end's last use.
        unsafe { Shared::release(self.shared) };
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Values being popped; made by [`Consumer::pop_burst`].
///
/// Dropping it hands the slots of the values it yielded back to the producer.
/// If it is forgotten instead, the next pop that yields a value, or the
/// consumer's drop, does so.
#[must_use = "a burst pops only what is taken from it"]
pub struct Burst<'a, T> {
    consumer: &'a mut Consumer<T>,
    /// The head when the burst began.
    first: usize,
    /// Values still to yield, all ready.
    left: usize,
}

impl<T> Iterator for Burst<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: `left` was at least 1, so a value is ready at the head.
        Some(unsafe { self.consumer.take() })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Burst<'_, T> {}
impl<T> FusedIterator for Burst<'_, T> {}

impl<T> Drop for Burst<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let head = self.consumer.head;
        if head != self.first {
            self.consumer.shared().publish_head(head);
        }
    }
}

impl<T> fmt::Debug for Burst<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Burst")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
