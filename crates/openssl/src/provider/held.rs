//! Objects of ours that libcrypto holds: boxed, and known to it by a `void *`.
//!
//! Safety of all functions that get one: it is null, or [`give`] gave it out for a `T`, and it has
//! not been freed. It stays so, and unchanged but by the one who borrows it mutably, while it is
//! borrowed: libcrypto's callers are alone with a key while they change it, and with a context
//! always.

use std::ffi::c_void;
use std::ptr;

use super::error::guard;

/// Gives `object` out; null if it is `None`. [`free`] takes it back.
pub(super) fn give<T>(object: Option<T>) -> *mut c_void {
    object.map_or(ptr::null_mut(), |object| {
        Box::into_raw(Box::new(object)).cast()
    })
}

/// Returns the object, if there is one.
///
/// # Safety
/// See the module.
pub(super) unsafe fn borrow<'a, T>(held: *const c_void) -> Option<&'a T> {
    // SAFETY: by the caller's promise.
    unsafe { held.cast::<T>().as_ref() }
}

/// Returns the object, if there is one, to be changed.
///
/// # Safety
/// See the module.
pub(super) unsafe fn borrow_mut<'a, T>(held: *mut c_void) -> Option<&'a mut T> {
    // SAFETY: by the caller's promise.
    unsafe { held.cast::<T>().as_mut() }
}

/// Takes an object back and drops it: OSSL_FUNC_keymgmt_free, and freectx of every operation.
pub(super) unsafe extern "C" fn free<T>(held: *mut c_void) {
    guard((), || {
        if !held.is_null() {
            // SAFETY: see the module; the box of `give`.
            drop(unsafe { Box::from_raw(held.cast::<T>()) });
        }
    });
}

/// A context that libcrypto may have copied.
pub(super) trait Dup: Sized {
    /// Makes a copy; `None` if libcrypto is out of memory.
    fn dup(&self) -> Option<Self>;
}

/// Gives a copy out: dupctx of every operation.
pub(super) unsafe extern "C" fn dup<T: Dup>(held: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: see the module.
        give(unsafe { borrow::<T>(held) }.and_then(T::dup))
    })
}
