//! The C ABI of `<openssl/async.h>`, over `spinlane-job`.
//!
//! Whoever links this crate into a program (or preloads the library that contains it)
//! defines these symbols ahead of libcrypto, and libssl's references bind to them;
//! [`verify_binding`] checks that this is so. Return values, defaults and the order of
//! effects are those of OpenSSL 3.0; where OpenSSL crashes (a NULL, a job of another thread, a
//! wait context freed under its job) these functions return the error value instead.

mod binding;
mod call;
mod job;
mod libctx;
mod wait_ctx;

pub use binding::{BindingError, verify_binding};
pub use job::*;
pub use libctx::OSSL_LIB_CTX_set0_default;
pub use wait_ctx::*;

use std::ffi::{CStr, c_int};
use std::ptr;

use crate::ffi;

/// Puts an entry of the library ASYNC into OpenSSL's error queue.
#[cold]
fn raise(function: &'static CStr, reason: c_int) {
    // SAFETY: strings are static and terminated; a NULL format means that no text is added.
    unsafe {
        ffi::ERR_new();
        ffi::ERR_set_debug(c"spinlane".as_ptr(), 0, function.as_ptr());
        ffi::ERR_set_error(ffi::ERR_LIB_ASYNC, reason, ptr::null());
    }
}
