//! The thread's default library context, kept apart for a job and its caller as OpenSSL does.
//!
//! OSSL_LIB_CTX_set0_default(3) costs about 10 ns, more than all the rest of a resume and a pause,
//! and it would take two of them. But what it reads is a POSIX thread-specific datum of
//! libcrypto's, and glibc on x86_64 keeps the first of those in the thread's control block, at a
//! fixed distance from the thread pointer: one load. The distance is found once per process: a
//! marker is set as the default, and looked for in the control block. As long as a job leaves the
//! default alone, which nearly all do, nothing is called. Where the distance is not found (another
//! C library, an OpenSSL that stores it otherwise), OSSL_LIB_CTX_set0_default is called each time.
//!
//! A context is a word here: the datum where the distance is known (0 = the global default), the
//! pointer otherwise.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use spinlane_job::{self as job, Context};

use crate::ffi;

/// Bytes from the thread pointer to the datum; 0 = unknown. What lies at 0 is the thread
/// pointer itself, which is no context: whoever compares without asking goes the long way.
pub(super) static DISTANCE: AtomicUsize = AtomicUsize::new(0);

/// The global default context.
static GLOBAL: OnceLock<usize> = OnceLock::new();

/// Bytes of a glibc thread control block that are searched. It is larger in every version (2304
/// in 2.36), and the data of the first 32 keys end at 1296 there.
const SEARCHED: usize = 1536;

/// Has jobs keep the default library context apart. To be called before the first job starts.
#[inline]
pub(super) fn keep_apart() {
    GLOBAL.get_or_init(find);
}

/// Returns the datum `distance` bytes from this thread's thread pointer.
#[inline(always)]
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn datum(distance: usize) -> usize {
    let datum;
    // SAFETY: reads this thread's control block, of which glibc has as many bytes as are searched;
    // the thread alone writes them.
    unsafe {
        std::arch::asm!(
            "mov {datum}, fs:[{distance}]",
            distance = in(reg) distance,
            datum = lateout(reg) datum,
            options(nostack, readonly, preserves_flags),
        );
    }
    datum
}

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
fn datum(_: usize) -> usize {
    0
}

fn get() -> usize {
    match DISTANCE.load(Relaxed) {
        0 => query(),
        distance => datum(distance),
    }
}

#[cold]
fn set(context: usize) {
    let context = match context {
        0 => GLOBAL.get().copied().unwrap_or(0),
        _ => context,
    };
    // SAFETY: it was the thread's default before, so it is a context; that it still lives is
    // asked of whoever set it, by OSSL_LIB_CTX_set0_default(3).
    unsafe { ffi::OSSL_LIB_CTX_set0_default(ptr::with_exposed_provenance_mut(context)) };
}

fn query() -> usize {
    // SAFETY: NULL only asks.
    unsafe { ffi::OSSL_LIB_CTX_set0_default(ptr::null_mut()).expose_provenance() }
}

/// Looks for the distance on threads of their own, so that this one's default is never touched.
/// Returns the global default context.
fn find() -> usize {
    let (first, second) = (on_another_thread(search), on_another_thread(search));
    // The same distance on two threads is no accident.
    if let (Some(Some(first)), Some(Some(second))) = (first, second)
        && first == second
    {
        DISTANCE.store(first, Relaxed);
    }
    job::keep_apart(Context { get, set });
    on_another_thread(query).unwrap_or_default()
}

/// Runs `ask` on a thread of its own. Returns `None` if no thread can be had.
fn on_another_thread<T: Send + 'static>(ask: fn() -> T) -> Option<T> {
    let thread = std::thread::Builder::new().spawn(ask).ok()?;
    thread.join().ok()
}

/// Returns the one place that holds a marker while that is the default, and 0 before and after.
fn search() -> Option<usize> {
    let global = query();
    // SAFETY: a context of our own, freed below after it stopped being the default.
    let marker = unsafe { ffi::OSSL_LIB_CTX_new() };
    if marker.is_null() {
        return None;
    }
    let holding = |value| {
        let words = (8..SEARCHED).step_by(size_of::<usize>());
        words.filter(move |&distance| datum(distance) == value)
    };
    let before = holding(marker.addr()).count();
    // SAFETY: `marker` is a live context.
    unsafe { ffi::OSSL_LIB_CTX_set0_default(marker) };
    let after: Vec<_> = holding(marker.addr()).collect();
    // SAFETY: `global` is the global default context, which is never freed.
    unsafe { ffi::OSSL_LIB_CTX_set0_default(ptr::with_exposed_provenance_mut(global)) };
    let found = match after[..] {
        [distance] if before == 0 && datum(distance) == 0 => Some(distance),
        _ => None,
    };
    // SAFETY: ours, and no thread's default any more.
    unsafe { ffi::OSSL_LIB_CTX_free(marker) };
    found
}
