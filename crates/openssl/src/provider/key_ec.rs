//! Key manager of EC keys: the functions libcrypto calls, over [`EcKey`] and [`Generation`].
//!
//! libssl asks for ephemeral keys by the name EC and the property query, so that this key manager
//! gets every EC key of its library context: those of all curves, and peers' public keys.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use super::context::ContextRef;
use super::dispatch;
use super::ec_gen::Generation;
use super::ec_key::EcKey;
use super::error::{check, guard};
use super::ffi::{self, OSSL_CALLBACK, OSSL_DISPATCH, OSSL_PARAM};
use super::held;
use super::key::{Empty, Given};
use super::names;
use super::params::{Params, Table};

/// The key manager's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 22] = [
    dispatch::keymgmt_new(new),
    dispatch::keymgmt_free(free),
    dispatch::keymgmt_has(has),
    dispatch::keymgmt_match(matches),
    dispatch::keymgmt_validate(validate),
    dispatch::keymgmt_import(import),
    dispatch::keymgmt_import_types(types),
    dispatch::keymgmt_export(export),
    dispatch::keymgmt_export_types(types),
    dispatch::keymgmt_get_params(get_params),
    dispatch::keymgmt_gettable_params(gettable_params),
    dispatch::keymgmt_set_params(set_params),
    dispatch::keymgmt_settable_params(settable_params),
    dispatch::keymgmt_query_operation_name(query_operation_name),
    dispatch::keymgmt_dup(dup),
    dispatch::keymgmt_gen_init(gen_init),
    dispatch::keymgmt_gen_set_params(gen_set_params),
    dispatch::keymgmt_gen_settable_params(gen_settable_params),
    dispatch::keymgmt_gen_set_template(gen_set_template),
    dispatch::keymgmt_gen(generate),
    dispatch::keymgmt_gen_cleanup(gen_cleanup),
    dispatch::END,
];

/// The key data behind `key`.
///
/// # Safety
/// `key` is null or was given out by this key manager and has not been freed; it stays so,
/// unchanged, for `'a`.
pub(super) unsafe fn borrow<'a>(key: *const c_void) -> Option<&'a EcKey> {
    // SAFETY: by the caller's promise.
    unsafe { key.cast::<EcKey>().as_ref() }
}

/// What an operation needs of the key behind `key`.
///
/// # Safety
/// As for [`borrow`].
pub(super) unsafe fn operand(key: *const c_void) -> Given {
    // SAFETY: by the caller's promise.
    match unsafe { borrow(key) } {
        None => Ok(None),
        Some(key) => key.operand().map(Some).ok_or(Empty),
    }
}

fn into_raw(key: EcKey) -> *mut c_void {
    held::give(Some(key))
}

unsafe extern "C" fn new(provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: libcrypto passes what our init function gave out.
        let context = unsafe { ContextRef::new(provctx) };
        context.map_or(ptr::null_mut(), |context| into_raw(EcKey::new(context)))
    })
}

/// Safety of this and the functions below: libcrypto passes key data that this key manager gave
/// out and that has not been freed, and parameter arrays as OSSL_PARAM(3) describes them.
unsafe extern "C" fn free(key: *mut c_void) {
    // SAFETY: see above.
    unsafe { held::free::<EcKey>(key) }
}

unsafe extern "C" fn has(key: *const c_void, selection: c_int) -> c_int {
    // SAFETY: see `free`.
    check(|| unsafe { borrow(key) }.is_some_and(|key| key.has(selection)))
}

unsafe extern "C" fn matches(a: *const c_void, b: *const c_void, selection: c_int) -> c_int {
    check(|| {
        // SAFETY: see `free`.
        let (a, b) = unsafe { (borrow(a), borrow(b)) };
        a.zip(b).is_some_and(|(a, b)| a.matches(b, selection))
    })
}

unsafe extern "C" fn validate(key: *const c_void, selection: c_int, kind: c_int) -> c_int {
    let quick = kind == ffi::OSSL_KEYMGMT_VALIDATE_QUICK_CHECK;
    // SAFETY: see `free`.
    check(|| unsafe { borrow(key) }.is_some_and(|key| key.validate(selection, quick)))
}

unsafe extern "C" fn import(
    key: *mut c_void,
    selection: c_int,
    params: *const OSSL_PARAM,
) -> c_int {
    check(|| {
        // SAFETY: see `free`; the caller is alone with the key.
        let (key, params) = unsafe { (key.cast::<EcKey>().as_mut(), Params::new(params)) };
        key.is_some_and(|key| key.import(selection, params))
    })
}

unsafe extern "C" fn export(
    key: *mut c_void,
    selection: c_int,
    callback: Option<OSSL_CALLBACK>,
    arg: *mut c_void,
) -> c_int {
    check(|| {
        // SAFETY: see `free`.
        let (Some(key), Some(callback)) = (unsafe { borrow(key) }, callback) else {
            return false;
        };
        // SAFETY: callback and argument as they came.
        unsafe { key.export(selection, callback, arg) }
    })
}

unsafe extern "C" fn get_params(key: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    // SAFETY: see `free`.
    check(|| unsafe { borrow(key).is_some_and(|key| key.get(params)) })
}

unsafe extern "C" fn set_params(key: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `free`; the caller is alone with the key.
        let (key, params) = unsafe { (key.cast::<EcKey>().as_mut(), Params::new(params)) };
        key.is_some_and(|key| key.set(params))
    })
}

unsafe extern "C" fn gettable_params(provctx: *mut c_void) -> *const OSSL_PARAM {
    // SAFETY: libcrypto passes what our init function gave out.
    unsafe { ContextRef::new(provctx) }.map_or(ptr::null(), |context| context.ec_key.gettable)
}

unsafe extern "C" fn settable_params(provctx: *mut c_void) -> *const OSSL_PARAM {
    // SAFETY: as above.
    unsafe { ContextRef::new(provctx) }.map_or(ptr::null(), |context| context.ec_key.settable)
}

/// EC keys are for more than one algorithm, none of which is called EC.
unsafe extern "C" fn query_operation_name(operation: c_int) -> *const c_char {
    match operation {
        ffi::OSSL_OP_SIGNATURE => c"ECDSA".as_ptr(),
        ffi::OSSL_OP_KEYEXCH => c"ECDH".as_ptr(),
        _ => ptr::null(),
    }
}

unsafe extern "C" fn types(selection: c_int) -> *const OSSL_PARAM {
    static PARAMETERS: Table<2> = Table::new([
        (Some(names::GROUP), ffi::OSSL_PARAM_UTF8_STRING),
        Table::<2>::END,
    ]);
    static PUBLIC: Table<3> = Table::new([
        (Some(names::GROUP), ffi::OSSL_PARAM_UTF8_STRING),
        (Some(names::PUB), ffi::OSSL_PARAM_OCTET_STRING),
        Table::<3>::END,
    ]);
    static PAIR: Table<4> = Table::new([
        (Some(names::GROUP), ffi::OSSL_PARAM_UTF8_STRING),
        (Some(names::PUB), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::PRIV), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        Table::<4>::END,
    ]);
    match selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR {
        0 => PARAMETERS.as_ptr(),
        ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY => PUBLIC.as_ptr(),
        _ => PAIR.as_ptr(),
    }
}

unsafe extern "C" fn dup(key: *const c_void, selection: c_int) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: see `free`.
        let copy = unsafe { borrow(key) }.and_then(|key| key.dup(selection));
        copy.map_or(ptr::null_mut(), into_raw)
    })
}

unsafe extern "C" fn gen_init(
    provctx: *mut c_void,
    selection: c_int,
    params: *const OSSL_PARAM,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: libcrypto passes what our init function gave out, and an array as in `free`.
        let (context, params) = unsafe { (ContextRef::new(provctx), Params::new(params)) };
        let Some(context) = context else {
            return ptr::null_mut();
        };
        let mut generation = Generation::new(context, selection);
        held::give(generation.set(params).then_some(generation))
    })
}

/// Safety of this and the functions below: as for [`free`], and libcrypto passes what [`gen_init`]
/// gave out, one call at a time.
unsafe extern "C" fn gen_set_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see above.
        let (ctx, params) = unsafe { (ctx.cast::<Generation>().as_mut(), Params::new(params)) };
        ctx.is_some_and(|generation| generation.set(params))
    })
}

unsafe extern "C" fn gen_settable_params(
    _ctx: *mut c_void,
    provctx: *mut c_void,
) -> *const OSSL_PARAM {
    // SAFETY: libcrypto passes what our init function gave out.
    unsafe { ContextRef::new(provctx) }.map_or(ptr::null(), |context| context.ec_gen.settable)
}

unsafe extern "C" fn gen_set_template(ctx: *mut c_void, template: *mut c_void) -> c_int {
    check(|| {
        // SAFETY: see `gen_set_params`.
        let (ctx, template) = unsafe { (ctx.cast::<Generation>().as_mut(), borrow(template)) };
        ctx.zip(template)
            .is_some_and(|(generation, template)| generation.like(template))
    })
}

/// May pause.
unsafe extern "C" fn generate(
    ctx: *mut c_void,
    _callback: Option<OSSL_CALLBACK>,
    _arg: *mut c_void,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: see `gen_set_params`.
        let generation = unsafe { ctx.cast::<Generation>().as_ref() };
        generation
            .and_then(Generation::run)
            .map_or(ptr::null_mut(), into_raw)
    })
}

unsafe extern "C" fn gen_cleanup(ctx: *mut c_void) {
    // SAFETY: see `gen_set_params`; held by it.
    unsafe { held::free::<Generation>(ctx) }
}
