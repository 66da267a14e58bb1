//! The thread's default library context, saved and restored around a job as OpenSSL does.
//!
//! OSSL_LIB_CTX_set0_default(3) costs about 10 ns, more than the rest of a resume, and it
//! takes two of them. But the value it reads is a POSIX thread-specific datum of libcrypto's,
//! and reading that costs 1 ns. Its key is found once per process: a marker is set as the
//! default and looked for among the thread's data. As long as a job leaves the default
//! alone, which nearly all do, nothing else is called. Where the key is not found (another C library,
//! an OpenSSL that stores it otherwise), OSSL_LIB_CTX_set0_default is called each time.
//!
//! A context is a word here: the datum where the key is known (0 = the global default), the
//! pointer otherwise.

use std::ptr;
use std::sync::OnceLock;

use crate::ffi;

#[derive(Clone, Copy)]
struct Access {
    key: Option<libc::pthread_key_t>,
    /// The global default context.
    global: usize,
}

static ACCESS: OnceLock<Access> = OnceLock::new();

/// The thread's default context.
#[inline]
pub(super) fn current() -> usize {
    let access = ACCESS.get_or_init(find);
    match access.key {
        // SAFETY: the key is libcrypto's, found below, and never deleted before process exit.
        Some(key) => unsafe { libc::pthread_getspecific(key).addr() },
        None => query(),
    }
}

/// Makes `jobs` the default; returns what was.
#[inline]
pub(super) fn enter(jobs: usize) -> usize {
    let callers = current();
    if callers != jobs {
        set(jobs);
    }
    callers
}

/// Makes `callers` the default again; returns what was, i.e. the job's.
#[inline]
pub(super) fn leave(callers: usize) -> usize {
    enter(callers)
}

fn query() -> usize {
    // SAFETY: NULL only asks.
    unsafe { ffi::OSSL_LIB_CTX_set0_default(ptr::null_mut()).expose_provenance() }
}

#[cold]
fn set(context: usize) {
    let global = ACCESS.get_or_init(find).global;
    let context = if context == 0 { global } else { context };
    // SAFETY: it was the thread's default before, so it is a context; that it still lives is
    // asked of whoever set it, by OSSL_LIB_CTX_set0_default(3).
    unsafe { ffi::OSSL_LIB_CTX_set0_default(ptr::with_exposed_provenance_mut(context)) };
}

/// Looks for the key on a thread of its own, so that this one's default is never touched.
fn find() -> Access {
    let found = std::thread::spawn(|| {
        let global = query();
        // SAFETY: a context of our own, freed below after it stopped being the default.
        let marker = unsafe { ffi::OSSL_LIB_CTX_new() };
        if marker.is_null() {
            return Access { key: None, global };
        }
        let before = keys_holding(marker.addr());
        // SAFETY: `marker` is a live context.
        unsafe { ffi::OSSL_LIB_CTX_set0_default(marker) };
        let after = keys_holding(marker.addr());
        // SAFETY: `global` is the global default context, which is never freed.
        unsafe { ffi::OSSL_LIB_CTX_set0_default(ptr::with_exposed_provenance_mut(global)) };
        // Exactly one datum followed: the marker is its value, and NULL stands for the global default.
        let key = match after[..] {
            [key] if before.is_empty() && datum(key) == 0 => Some(key),
            _ => None,
        };
        // SAFETY: ours, and no thread's default any more.
        unsafe { ffi::OSSL_LIB_CTX_free(marker) };
        Access { key, global }
    });
    found.join().unwrap_or_else(|_| Access {
        key: None,
        global: query(),
    })
}

fn keys_holding(value: usize) -> Vec<libc::pthread_key_t> {
    if !cfg!(target_env = "gnu") {
        return Vec::new();
    }
    // glibc's PTHREAD_KEYS_MAX; it answers NULL for keys that are not in use.
    (0..1024).filter(|&key| datum(key) == value).collect()
}

fn datum(key: libc::pthread_key_t) -> usize {
    // SAFETY: a read of this thread's own data; glibc checks the key's range and use.
    unsafe { libc::pthread_getspecific(key).addr() }
}
