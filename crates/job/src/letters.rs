//! What other threads free under a thread's paused jobs.
//!
//! Freeing a wait context cannot fail (ASYNC_WAIT_CTX_free(3) returns nothing), yet a job is
//! touched by its own thread alone. So another thread leaves the freed context here, and the owner
//! ends the job under it when it starts its next one, and at its own end.

use std::mem;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use spinlane_fiber::valgrind;

use crate::wait_ctx::WaitCtx;

/// The letters of one thread, shared with its jobs.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    /// Whether there are letters. A start of a job looks at nothing else.
    any: AtomicBool,
    /// The freed contexts; `None` once the thread has ended.
    freed: Mutex<Option<Vec<Freed>>>,
}

#[derive(Debug)]
struct Freed(Rc<WaitCtx>);

// SAFETY: whoever posts it gives its reference away and touches the context no more (`post`);
// reference counts and contents are the owner's again, in an order that the mutex sees to.
#[allow(unsafe_code)]
unsafe impl Send for Freed {}

impl Letters {
    pub(crate) fn open() -> Self {
        Self {
            any: AtomicBool::new(false),
            freed: Mutex::new(Some(Vec::new())),
        }
    }

    /// Leaves a context to its job's thread. If the thread has ended, context and job are leaked.
    ///
    /// # Safety
    /// `context` is the caller's only reference, is not used again, and may be used up by the job's
    /// thread.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn post(&self, context: Rc<WaitCtx>) {
        self.with(|freed| match freed {
            Some(freed) => {
                freed.push(Freed(context));
                // The mutex orders what it says; whoever misses it looks again at the next start.
                self.any.store(true, Ordering::Relaxed);
            }
            None => mem::forget(context),
        });
    }

    /// Returns `true` if there are letters.
    #[inline]
    pub(crate) fn are_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Takes all letters. For the owning thread.
    #[cold]
    pub(crate) fn take(&self) -> Vec<Rc<WaitCtx>> {
        let all = self.with(|freed| {
            self.any.store(false, Ordering::Relaxed);
            freed.as_mut().map(mem::take).unwrap_or_default()
        });
        all.into_iter().map(|Freed(context)| context).collect()
    }

    /// Takes all letters, and refuses further ones: the thread ends.
    pub(crate) fn close(&self) -> Vec<Rc<WaitCtx>> {
        let all = self.with(Option::take).unwrap_or_default();
        all.into_iter().map(|Freed(context)| context).collect()
    }

    fn with<T>(&self, visit: impl FnOnce(&mut Option<Vec<Freed>>) -> T) -> T {
        let mut freed = self.freed.lock().unwrap_or_else(|lock| lock.into_inner());
        valgrind::locked(&self.freed);
        let value = visit(&mut freed);
        valgrind::unlocking(&self.freed);
        value
    }
}
