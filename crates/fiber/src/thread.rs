//! What this thread runs now: one record, found without a call.
//!
//! A `thread_local!` in a shared library is found by calling `__tls_get_addr`, several times
//! per switch. On x86_64 the record is therefore declared in assembly with the initial-exec
//! model: its offset from the thread pointer is a load in a shared library and a constant in an
//! executable. A library that is loaded late finds room for its few words in the surplus
//! that glibc keeps for that.

use core::cell::Cell;
#[cfg(not(target_arch = "x86_64"))]
use core::ptr;

use crate::fiber::Control;

/// A thread's record. [`thread`] finds it.
#[derive(Debug)]
#[repr(C)]
pub struct Thread {
    /// The innermost running fiber, or null.
    pub(crate) fiber: Cell<*mut Control>,
    /// Words of the layer above, 0 at first, kept here so that one address serves for all.
    pub words: [Cell<usize>; 3],
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .tbss.spinlane_thread, \"awT\", @nobits",
    ".p2align 5",
    ".globl spinlane_thread",
    ".hidden spinlane_thread",
    ".type spinlane_thread, @tls_object",
    ".size spinlane_thread, {size}",
    "spinlane_thread:",
    ".zero {size}",
    ".popsection",
    size = const size_of::<Thread>(),
);

/// The calling thread's record, which lives as long as the thread. Its address names the thread.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn thread() -> &'static Thread {
    let record: *const Thread;
    // SAFETY: the thread pointer plus the symbol's offset from it is the thread's own copy of
    // the zeroes above, which are a valid Thread. `Thread` is not `Sync`, so the reference stays
    // on this thread, whose memory it is to the thread's end.
    unsafe {
        core::arch::asm!(
            "mov {record}, [rip + spinlane_thread@GOTTPOFF]",
            "add {record}, fs:[0]",
            record = out(reg) record,
            options(pure, nomem, nostack),
        );
        &*record
    }
}

/// The calling thread's record, which lives as long as the thread. Its address names the thread.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn thread() -> &'static Thread {
    thread_local! {
        static THREAD: Thread = const {
            Thread { fiber: Cell::new(ptr::null_mut()), words: [const { Cell::new(0) }; 3] }
        };
    }
    // SAFETY: it has no destructor, so it lives as long as the thread, and `Thread` is not
    // `Sync`, so the reference stays on it.
    THREAD.with(|thread| unsafe { &*ptr::from_ref(thread) })
}
