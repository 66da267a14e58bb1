//! Whether libssl's `ASYNC_*` references really bind to ours.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod reference;

use std::ffi::{CStr, c_void};

use thiserror::Error;

use super::{ASYNC_WAIT_CTX_new, ASYNC_start_job};
use crate::ffi;

/// The process's `ASYNC_*` functions are not Spinlane's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{symbol} resolves to {object}, not to Spinlane: libssl would pause on OpenSSL's own fibers and no op would ever \
     be offloaded; put Spinlane ahead of libcrypto in the link order (-lspinlane before -lssl -lcrypto) or preload \
     libspinlane.so"
)]
pub struct BindingError {
    /// The symbol.
    pub symbol: &'static str,
    /// The file that defines it, where the dynamic linker knows.
    pub object: String,
}

/// Checks that a reference to `ASYNC_*` from any shared object, libssl first of all, binds to
/// the functions of this crate. Call it once at start; `SslCtx` does.
///
/// # Errors
/// [`BindingError`], with the remedy.
pub fn verify_binding() -> Result<(), BindingError> {
    let ours = base_of(object as *const c_void);
    // Referring to the functions here also keeps them in a program that never calls them.
    let defined: [(&'static str, &CStr, *const c_void); 2] = [
        (
            "ASYNC_start_job",
            c"ASYNC_start_job",
            ASYNC_start_job as *const c_void,
        ),
        (
            "ASYNC_WAIT_CTX_new",
            c"ASYNC_WAIT_CTX_new",
            ASYNC_WAIT_CTX_new as *const c_void,
        ),
    ];
    for (symbol, name, address) in defined {
        let bound = of_libssl(name);
        // In a shared object our own reference may lead elsewhere too: what counts is whose it is.
        if base_of(bound) != ours || base_of(address) != ours {
            return Err(BindingError {
                symbol,
                object: object(bound),
            });
        }
    }
    Ok(())
}

/// Returns `true` if references to `name`, of objects that bind them now, lead to this library.
pub(super) fn is_ours(name: &CStr) -> bool {
    // SAFETY: a terminated name.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    base_of(found.cast_const()) == base_of(object as *const c_void)
}

/// Returns what libssl's reference to `name` is bound to, or will be.
fn of_libssl(name: &CStr) -> *const c_void {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if let Some(bound) = reference::of(base_of(ffi::SSL_do_handshake as *const c_void), name) {
        return bound;
    }
    // SAFETY: a terminated name; RTLD_DEFAULT searches in the order that references of libssl's do
    // which are not bound yet, unless the library was loaded late.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.cast_const()
}

/// Asks the dynamic linker for the file that contains `address`.
fn info(address: *const c_void) -> Option<libc::Dl_info> {
    // SAFETY: all fields are pointers, for which zero is valid.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: `dladdr` takes any address and fills `info` if it returns nonzero.
    let known = unsafe { libc::dladdr(address, &raw mut info) } != 0;
    known.then_some(info)
}

/// Returns the address at which that file is loaded; 0 if it is not loaded.
fn base_of(address: *const c_void) -> usize {
    info(address).map_or(0, |info| info.dli_fbase.addr())
}

/// Returns the path of the object at `address`.
fn object(address: *const c_void) -> String {
    match info(address).filter(|info| !info.dli_fname.is_null()) {
        // SAFETY: a terminated string that lives as long as the object is loaded.
        Some(info) => unsafe { CStr::from_ptr(info.dli_fname) }
            .to_string_lossy()
            .into_owned(),
        None => "nothing".to_owned(),
    }
}
