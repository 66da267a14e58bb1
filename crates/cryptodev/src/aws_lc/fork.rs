//! Notices forks, so that no random byte is used by parent and child alike.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many forks lie between this process and the one that called [`watch_forks`] first.
static GENERATION: AtomicU64 = AtomicU64::new(0);

extern "C" fn in_child() {
    // Relaxed: the child has one thread, and it forked.
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Starts to count forks; more calls change nothing.
///
/// # Panics
/// If the C library has no memory for the handler.
pub fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler lives as long as the process (this library is linked in, or kept
        // loaded by its thread-local destructors) and only adds to an atomic, which is
        // async-signal-safe.
        let error = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        assert_eq!(error, 0, "pthread_atfork: out of memory");
    });
}

/// A number that differs between a process and its forked children, from [`watch_forks`] on. A bare clone system call
/// escapes it, as it escapes pthread_atfork.
pub fn fork_generation() -> u64 {
    // Relaxed: see `in_child`.
    GENERATION.load(Ordering::Relaxed)
}
