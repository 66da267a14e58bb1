//! Objects of ours that libcrypto holds: boxed, and known to it by a `void *`.

use std::ffi::c_void;
use std::ptr;

use super::error::guard;

/// Gives `object` out; null where there is none. [`free`] takes it back.
pub(super) fn give<T>(object: Option<T>) -> *mut c_void {
    object.map_or(ptr::null_mut(), |object| {
        Box::into_raw(Box::new(object)).cast()
    })
}

/// Takes an object back and drops it. Null is allowed.
///
/// # Safety
/// `held` is null, or [`give`] gave it out for a `T`, and it has not been freed.
pub(super) unsafe fn free<T>(held: *mut c_void) {
    guard((), || {
        if !held.is_null() {
            // SAFETY: by the caller's promise, the box of `give`.
            drop(unsafe { Box::from_raw(held.cast::<T>()) });
        }
    });
}
