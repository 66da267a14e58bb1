//! The thread's default library context, kept apart for a job and its caller as OpenSSL does.
//!
//! OpenSSL calls OSSL_LIB_CTX_set0_default(3) twice per resume, which costs more than all the rest of
//! one. Here the function is ours: the thread's default is known without asking, and as long as a job
//! leaves the default alone, which nearly all do, libcrypto is not called. Where the references of
//! others lead past ours (in a program that loaded this library late), libcrypto is asked each time.
//! Who takes libcrypto's own function by dlsym(3) or RTLD_DEEPBIND elsewhere is not heard.
//!
//! A context is a word here: its address, or 0 for the global default.

use std::ffi::CStr;
use std::sync::{Once, OnceLock};
use std::{mem, ptr};

use spinlane_job::{self as job, Context};

use super::binding;
use crate::ffi::{self, OSSL_LIB_CTX};

const NAME: &CStr = c"OSSL_LIB_CTX_set0_default";

type SetDefault = unsafe extern "C" fn(*mut OSSL_LIB_CTX) -> *mut OSSL_LIB_CTX;

/// OSSL_LIB_CTX_set0_default(3): makes `libctx` the calling thread's default; NULL only asks. Returns
/// the context that was the default before, or NULL if libcrypto has no such function.
///
/// # Safety
/// `libctx` is NULL or a library context that lives as long as it is a default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OSSL_LIB_CTX_set0_default(libctx: *mut OSSL_LIB_CTX) -> *mut OSSL_LIB_CTX {
    // SAFETY: the function that this one stands for, under its contract.
    let before = libcryptos().map_or(ptr::null_mut(), |set| unsafe { set(libctx) });
    if !libctx.is_null() && !before.is_null() {
        // SAFETY: takes nothing.
        let global = unsafe { ffi::OSSL_LIB_CTX_get0_global_default() };
        job::note_context(match libctx == global {
            true => 0,
            false => libctx.expose_provenance(),
        });
    }
    before
}

/// Returns libcrypto's function of this name: the next one in the search order, or the first, where libcrypto comes
/// before this library.
fn libcryptos() -> Option<SetDefault> {
    static FOUND: OnceLock<Option<SetDefault>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: a terminated name; what has it is a function of that type, or there is none.
        unsafe {
            let mut found = libc::dlsym(libc::RTLD_NEXT, NAME.as_ptr());
            if found.is_null() && !binding::is_ours(NAME) {
                found = libc::dlsym(libc::RTLD_DEFAULT, NAME.as_ptr());
            }
            mem::transmute::<*mut libc::c_void, Option<SetDefault>>(found)
        }
    })
}

/// Has jobs keep the default library context apart. To be called before the first job starts.
#[inline]
pub(super) fn keep_apart() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ask: fn() -> usize = query;
        let ask = (!binding::is_ours(NAME)).then_some(ask);
        job::keep_apart(Context { ask, set });
    });
}

#[cold]
fn query() -> usize {
    // SAFETY: NULL only asks.
    libcryptos().map_or(0, |set| unsafe { set(ptr::null_mut()) }.expose_provenance())
}

#[cold]
fn set(context: usize) {
    let libctx = match context {
        // SAFETY: takes nothing.
        0 => unsafe { ffi::OSSL_LIB_CTX_get0_global_default() },
        _ => ptr::with_exposed_provenance_mut(context),
    };
    // SAFETY: it was the thread's default before, so it is a context; that it still lives is
    // asked of whoever set it, by OSSL_LIB_CTX_set0_default(3).
    unsafe { OSSL_LIB_CTX_set0_default(libctx) };
}
