//! Errors on their way to C: libcrypto's error queue, and panics stopped at the boundary.

use std::ffi::{CStr, CString, c_int};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr;

use super::ffi;

/// Puts an error on the thread's queue whose data says `text`: the culprit and the remedy.
#[track_caller]
#[cold]
pub(super) fn raise(text: fmt::Arguments<'_>) {
    let text = text.to_string().replace('\0', " ");
    let Ok(text) = CString::new(text) else { return };
    let line = c_int::try_from(Location::caller().line()).unwrap_or(0);
    // SAFETY: libcrypto copies all strings; the format has the one argument it names.
    unsafe {
        openssl_sys::ERR_new();
        openssl_sys::ERR_set_debug(c"spinlane provider".as_ptr(), line, ptr::null());
        openssl_sys::ERR_set_error(
            ffi::ERR_LIB_PROV,
            ffi::ERR_R_OPERATION_FAIL,
            c"spinlane: %s".as_ptr(),
            text.as_ptr(),
        );
    }
}

/// Runs the body of a function that C calls. A panic becomes `failure` and an error.
pub(super) fn guard<R>(failure: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        raise(format_args!(
            "internal error (a panic, printed on stderr); please report it"
        ));
        failure
    })
}

/// Does what [`guard`] does, for functions that answer 1 or 0.
pub(super) fn check(body: impl FnOnce() -> bool) -> c_int {
    guard(0, || c_int::from(body()))
}

/// Drops the errors raised in its lifetime: of probes whose failure is an answer.
pub(super) struct Quiet(PhantomData<*const ()>);

impl Quiet {
    pub fn new() -> Self {
        // SAFETY: marks the thread's own queue.
        unsafe { ffi::ERR_set_mark() };
        Self(PhantomData)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // SAFETY: the thread's own queue, on the thread of `new`: not `Send`.
        unsafe { ffi::ERR_pop_to_mark() };
    }
}

/// Returns what the last error of the thread's queue says. The queue is unchanged.
pub(super) fn last_error() -> String {
    // SAFETY: looks at the thread's own queue; the strings are static or copied at once.
    unsafe {
        let code = openssl_sys::ERR_peek_last_error();
        let reason = openssl_sys::ERR_reason_error_string(code);
        let mut data = ptr::null();
        let mut flags = 0;
        ffi::ERR_peek_last_error_data(&mut data, &mut flags);
        let [reason, data] = [reason, data].map(|text| {
            if text.is_null() {
                String::new()
            } else {
                CStr::from_ptr(text).to_string_lossy().into_owned()
            }
        });
        match (reason.is_empty(), data.is_empty()) {
            (true, true) => format!("error {code:#x} of libcrypto"),
            (false, true) => reason,
            (_, false) => data,
        }
    }
}
