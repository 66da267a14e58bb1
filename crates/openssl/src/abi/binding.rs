//! Whether libssl's `ASYNC_*` references really bind to ours.

use std::ffi::{CStr, c_void};

use thiserror::Error;

use super::{ASYNC_WAIT_CTX_new, ASYNC_start_job};

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
    // Referring to the functions here also keeps them in a program that never calls them.
    let ours: [(&'static str, &CStr, *const c_void); 2] = [
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
    for (symbol, name, address) in ours {
        // SAFETY: a terminated name; RTLD_DEFAULT searches in the order that libssl's references do.
        let bound = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        if bound.cast_const() != address {
            return Err(BindingError {
                symbol,
                object: object_of(bound),
            });
        }
    }
    Ok(())
}

/// Path of the file that contains `address`.
fn object_of(address: *const c_void) -> String {
    // SAFETY: all fields are pointers, for which zero is valid.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: `dladdr` takes any address and fills `info` if it returns nonzero.
    let known = unsafe { libc::dladdr(address, &raw mut info) } != 0;
    if !known || info.dli_fname.is_null() {
        return "nothing".to_owned();
    }
    // SAFETY: a terminated string that lives as long as the object is loaded.
    unsafe { CStr::from_ptr(info.dli_fname) }
        .to_string_lossy()
        .into_owned()
}
