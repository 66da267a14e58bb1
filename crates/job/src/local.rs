//! What this crate keeps for a thread, all in one place: in a shared library each thread-local is found
//! by a call.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::job::Job;

/// A thread's.
pub(crate) struct Local {
    /// The job that runs now, or null.
    pub(crate) current: Cell<*const Job>,
    /// ASYNC_block_pause(3) calls not yet taken back.
    pub(crate) blocked: Cell<usize>,
    /// Whether the next job to be resumed is cancelled first.
    pub(crate) cancelling: Cell<bool>,
    /// The [context](crate::context) word in force, as far as it was told.
    pub(crate) context: Cell<usize>,
    /// See [`name`]; 0 until it is asked for.
    pub(crate) name: Cell<usize>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            current: Cell::new(ptr::null()),
            blocked: Cell::new(0),
            cancelling: Cell::new(false),
            context: Cell::new(0),
            name: Cell::new(0),
        }
    };
}

/// Runs `visit` with what the calling thread has. It has that to its very end.
#[inline(always)]
pub(crate) fn local<T>(visit: impl FnOnce(&Local) -> T) -> T {
    LOCAL.with(visit)
}

/// Returns the calling thread's name, not 0, which no other thread of the process has or will have.
/// So neither a thread's pointer nor the address of what is its own: both are the next thread's when
/// it has ended.
#[inline(always)]
pub fn name() -> usize {
    match local(|local| local.name.get()) {
        0 => give_name(),
        name => name,
    }
}

#[cold]
fn give_name() -> usize {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: nothing else is published by it. It does not wrap: there are not so many threads.
    let name = NAMES.fetch_add(1, Ordering::Relaxed) + 1;
    local(|local| local.name.set(name));
    name
}
