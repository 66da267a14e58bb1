//! The functions that all key managers have alike: each hands libcrypto's question on to the key
//! data.
//!
//! Safety of all of them: libcrypto passes key data that the same key manager gave out
//! ([`held::give`](super::held::give)) and that has not been freed, alone with it where it is
//! changed, and parameter arrays as OSSL_PARAM(3) describes them.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::error::{Quiet, check, guard};
use super::ffi::{self, OSSL_CALLBACK, OSSL_PARAM};
use super::held::{self, borrow, borrow_mut};
use super::params::Params;

/// Key data of a key manager.
pub(super) trait KeyData: Sized {
    /// Returns `true` if it has all parts that are selected.
    fn has(&self, selection: c_int) -> bool;

    /// Returns `true` if the parts selected are the same.
    fn matches(&self, other: &Self, selection: c_int) -> bool;

    /// Returns `true` if the parts selected are what they should be; if `quick`, as far as is
    /// quickly seen.
    fn validate(&self, selection: c_int, quick: bool) -> bool;

    /// Takes in the key that `params` describe.
    fn import(&mut self, selection: c_int, params: Params<'_>) -> bool;

    /// Gives the parts selected to `callback`.
    ///
    /// # Safety
    /// `callback` may be called with `arg` and a parameter array.
    unsafe fn export(&self, selection: c_int, callback: OSSL_CALLBACK, arg: *mut c_void) -> bool;

    /// Answers what `params` ask for.
    ///
    /// # Safety
    /// `params` is the caller's parameter array.
    unsafe fn get(&self, params: *mut OSSL_PARAM) -> bool;

    /// Makes a copy of the parts selected.
    fn dup(&self, selection: c_int) -> Option<Self>;
}

/// OSSL_FUNC_keymgmt_has.
pub(super) unsafe extern "C" fn has<K: KeyData>(key: *const c_void, selection: c_int) -> c_int {
    // SAFETY: see the module.
    check(|| unsafe { borrow::<K>(key) }.is_some_and(|key| key.has(selection)))
}

/// OSSL_FUNC_keymgmt_match.
pub(super) unsafe extern "C" fn matches<K: KeyData>(
    a: *const c_void,
    b: *const c_void,
    selection: c_int,
) -> c_int {
    check(|| {
        // SAFETY: see the module.
        let (a, b) = unsafe { (borrow::<K>(a), borrow::<K>(b)) };
        a.zip(b).is_some_and(|(a, b)| a.matches(b, selection))
    })
}

/// OSSL_FUNC_keymgmt_validate.
pub(super) unsafe extern "C" fn validate<K: KeyData>(
    key: *const c_void,
    selection: c_int,
    kind: c_int,
) -> c_int {
    let quick = kind == ffi::OSSL_KEYMGMT_VALIDATE_QUICK_CHECK;
    // SAFETY: see the module.
    check(|| unsafe { borrow::<K>(key) }.is_some_and(|key| key.validate(selection, quick)))
}

/// OSSL_FUNC_keymgmt_import.
pub(super) unsafe extern "C" fn import<K: KeyData>(
    key: *mut c_void,
    selection: c_int,
    params: *const OSSL_PARAM,
) -> c_int {
    check(|| {
        // SAFETY: see the module.
        let (key, params) = unsafe { (borrow_mut::<K>(key), Params::new(params)) };
        key.is_some_and(|key| key.import(selection, params))
    })
}

/// OSSL_FUNC_keymgmt_export.
pub(super) unsafe extern "C" fn export<K: KeyData>(
    key: *mut c_void,
    selection: c_int,
    callback: Option<OSSL_CALLBACK>,
    arg: *mut c_void,
) -> c_int {
    check(|| {
        // SAFETY: see the module; callback and argument are handed on as they came.
        unsafe {
            borrow::<K>(key)
                .zip(callback)
                .is_some_and(|(key, callback)| key.export(selection, callback, arg))
        }
    })
}

/// OSSL_FUNC_keymgmt_get_params.
pub(super) unsafe extern "C" fn get_params<K: KeyData>(
    key: *mut c_void,
    params: *mut OSSL_PARAM,
) -> c_int {
    // SAFETY: see the module; the array is handed on as it came.
    check(|| unsafe { borrow::<K>(key).is_some_and(|key| key.get(params)) })
}

/// OSSL_FUNC_keymgmt_dup.
pub(super) unsafe extern "C" fn dup<K: KeyData>(
    key: *const c_void,
    selection: c_int,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        let _quiet = Quiet::new();
        // SAFETY: see the module.
        held::give(unsafe { borrow::<K>(key) }.and_then(|key| key.dup(selection)))
    })
}
