//! How a worker sleeps, and how a poll core wakes it, with a system call only if it does sleep.
//!
//! ```text
//!  worker                          poll core
//!  asleep = 1                      push op
//!  ---- fence ----                 ---- fence ----
//!  op there? then stay awake       asleep == 1? then wake
//! ```
//! Of the two fences one comes first in the single order that all SeqCst fences have, so that at least one
//! side sees what the other has written before its fence: either the worker finds the op, or the poll core
//! finds the worker asleep.

use super::sync::{Futex, Ordering, fence};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// One worker's sleep.
#[derive(Debug, Default)]
pub(crate) struct Sleep(Futex);

impl Sleep {
    /// Sleeps until [`wake`](Self::wake), unless `is_due` says that there is something to do.
    pub(crate) fn sleep_unless(&self, is_due: impl FnOnce() -> bool) {
        // A swap and not a store: that of a waker which has seen an earlier sleep comes before or after it.
        self.0.word().swap(ASLEEP, Ordering::Relaxed);
        // Pairs with the fence in `wake`.
        fence(Ordering::SeqCst);
        if is_due() {
            self.0.word().swap(AWAKE, Ordering::Relaxed);
            return;
        }
        // Relaxed: what the waker has done is read under the slot's lock, or by the ring's own Acquire.
        while self.0.word().load(Ordering::Relaxed) == ASLEEP {
            self.0.wait(ASLEEP);
        }
    }

    /// Wakes the worker if it sleeps; returns whether it did. To be called after what it shall find.
    #[inline]
    pub(crate) fn wake(&self) -> bool {
        // Pairs with the fence in `sleep_unless`.
        fence(Ordering::SeqCst);
        let word = self.0.word();
        if word.load(Ordering::Relaxed) != ASLEEP || word.swap(AWAKE, Ordering::Relaxed) != ASLEEP {
            return false;
        }
        self.0.wake();
        true
    }
}
