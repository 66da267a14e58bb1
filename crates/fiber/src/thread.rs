//! What this thread runs now: one record, found without a call.
//!
//! A `thread_local!` in a shared library is found by calling `__tls_get_addr`, several times per
//! switch. On x86_64 the record is therefore declared in assembly and found by a TLS descriptor
//! (Oliva and Araújo, "Speeding Up Thread-Local Storage Access in Dynamic Libraries"): in an
//! executable the linker makes a constant of it; in a library that is there when the program starts
//! (linked, preloaded) it is a call of three instructions; in one that is loaded later (dlopen) it
//! finds the record wherever the dynamic linker put it. The initial-exec model, which has no call,
//! would put all thread-local data of the library into the block that glibc lays out at start:
//! dlopen then fails with "cannot allocate memory in static TLS block".

use core::cell::Cell;
#[cfg(not(target_arch = "x86_64"))]
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::fiber::Control;

/// A thread's record. [`thread`] finds it.
#[derive(Debug)]
#[repr(C)]
pub struct Thread {
    /// The innermost running fiber, or null.
    pub(crate) fiber: Cell<*mut Control>,
    /// Words of the layer above, 0 at first, kept here so that one address serves for all.
    pub words: [Cell<usize>; 3],
    /// See [`name`]; 0 until it is asked for.
    pub(crate) name: Cell<usize>,
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .tbss.spinlane_thread, \"awT\", @nobits",
    ".p2align 6",
    ".globl spinlane_thread",
    ".hidden spinlane_thread",
    ".type spinlane_thread, @tls_object",
    ".size spinlane_thread, {size}",
    "spinlane_thread:",
    ".zero {size}",
    ".popsection",
    size = const size_of::<Thread>(),
);

/// Returns the calling thread's record, which lives as long as the thread.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn thread() -> &'static Thread {
    let record: *const Thread;
    // SAFETY: the thread pointer plus the symbol's offset from it is the thread's own copy of
    // the zeroes above, which are a valid Thread. `Thread` is not `Sync`, so the reference stays
    // on this thread, whose memory it is to the thread's end. The call is an ordinary one to the
    // compiler: before 2.40 glibc's way to data of a library that was loaded late did not keep
    // vector registers (its bug 31372).
    unsafe {
        core::arch::asm!(
            "lea rax, [rip + spinlane_thread@TLSDESC]",
            "call [rax + spinlane_thread@TLSCALL]",
            "add rax, fs:[0]",
            out("rax") record,
            clobber_abi("C"),
            options(pure, nomem),
        );
        &*record
    }
}

/// Returns the calling thread's name, not 0, which no other thread of the process has or will have.
/// So neither a thread's pointer nor its record's address: both are the next thread's when it has
/// ended.
#[inline(always)]
pub fn name() -> usize {
    match thread().name.get() {
        0 => give_name(),
        name => name,
    }
}

#[cold]
fn give_name() -> usize {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: nothing else is published by it. It does not wrap: there are not so many threads.
    let name = NAMES.fetch_add(1, Ordering::Relaxed) + 1;
    thread().name.set(name);
    name
}

/// Returns the calling thread's record, which lives as long as the thread.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn thread() -> &'static Thread {
    thread_local! {
        static THREAD: Thread = const {
            Thread {
                fiber: Cell::new(ptr::null_mut()),
                words: [const { Cell::new(0) }; 3],
                name: Cell::new(0),
            }
        };
    }
    // SAFETY: it has no destructor, so it lives as long as the thread, and `Thread` is not
    // `Sync`, so the reference stays on it.
    THREAD.with(|thread| unsafe { &*ptr::from_ref(thread) })
}
