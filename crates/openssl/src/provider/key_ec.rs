//! Key manager of EC keys: the functions libcrypto calls, over [`EcKey`] and [`Generation`].
//!
//! libssl asks for ephemeral keys by the name EC and the property query, so that this key manager
//! gets every EC key of its library context: those of all curves, and peers' public keys.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use super::context::{ContextRef, param_lists};
use super::dispatch;
use super::ec_gen::Generation;
use super::ec_key::EcKey;
use super::error::{check, guard};
use super::ffi::{self, OSSL_CALLBACK, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, borrow, borrow_mut};
use super::key::{Empty, Given};
use super::keymgmt;
use super::names;
use super::params::{Params, Table};

/// The key manager's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 22] = [
    dispatch::keymgmt_new(new),
    dispatch::keymgmt_free(held::free::<EcKey>),
    dispatch::keymgmt_has(keymgmt::has::<EcKey>),
    dispatch::keymgmt_match(keymgmt::matches::<EcKey>),
    dispatch::keymgmt_validate(keymgmt::validate::<EcKey>),
    dispatch::keymgmt_import(keymgmt::import::<EcKey>),
    dispatch::keymgmt_import_types(types),
    dispatch::keymgmt_export(keymgmt::export::<EcKey>),
    dispatch::keymgmt_export_types(types),
    dispatch::keymgmt_get_params(keymgmt::get_params::<EcKey>),
    dispatch::keymgmt_gettable_params(gettable_params),
    dispatch::keymgmt_set_params(set_params),
    dispatch::keymgmt_settable_params(settable_params),
    dispatch::keymgmt_query_operation_name(query_operation_name),
    dispatch::keymgmt_dup(keymgmt::dup::<EcKey>),
    dispatch::keymgmt_gen_init(gen_init),
    dispatch::keymgmt_gen_set_params(gen_set_params),
    dispatch::keymgmt_gen_settable_params(gen_settable_params),
    dispatch::keymgmt_gen_set_template(gen_set_template),
    dispatch::keymgmt_gen(generate),
    dispatch::keymgmt_gen_cleanup(held::free::<Generation>),
    dispatch::END,
];

/// Returns what an operation needs of the key behind `key`.
///
/// # Safety
/// `key` is null or key data of this key manager.
pub(super) unsafe fn operand(key: *const c_void) -> Given {
    // SAFETY: by the caller's promise.
    match unsafe { borrow::<EcKey>(key) } {
        None => Ok(None),
        Some(key) => key.operand().map(Some).ok_or(Empty),
    }
}

/// Safety of this and the functions below: libcrypto passes what our init function gave out, key
/// data that this key manager gave out and that has not been freed, and parameter arrays as
/// OSSL_PARAM(3) describes them.
unsafe extern "C" fn new(provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: libcrypto passes what our init function gave out.
        let context = unsafe { ContextRef::new(provctx) };
        held::give(context.map(EcKey::new))
    })
}

unsafe extern "C" fn set_params(key: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `new`; the caller is alone with the key.
        let (key, params) = unsafe { (borrow_mut::<EcKey>(key), Params::new(params)) };
        key.is_some_and(|key| key.set(params))
    })
}

param_lists! {
    gettable_params() = ec_key.gettable;
    settable_params() = ec_key.settable;
    gen_settable_params(_ctx) = ec_gen.settable;
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

unsafe extern "C" fn gen_init(
    provctx: *mut c_void,
    selection: c_int,
    params: *const OSSL_PARAM,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: libcrypto passes what our init function gave out, and an array as in `new`.
        let (context, params) = unsafe { (ContextRef::new(provctx), Params::new(params)) };
        let Some(context) = context else {
            return ptr::null_mut();
        };
        let mut generation = Generation::new(context, selection);
        held::give(generation.set(params).then_some(generation))
    })
}

/// Safety of this and the functions below: as for [`new`], and libcrypto passes what [`gen_init`]
/// gave out, one call at a time.
unsafe extern "C" fn gen_set_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see above.
        let (ctx, params) = unsafe { (borrow_mut::<Generation>(ctx), Params::new(params)) };
        ctx.is_some_and(|generation| generation.set(params))
    })
}

unsafe extern "C" fn gen_set_template(ctx: *mut c_void, template: *mut c_void) -> c_int {
    check(|| {
        // SAFETY: see `gen_set_params`.
        let (ctx, template) = unsafe { (borrow_mut::<Generation>(ctx), borrow::<EcKey>(template)) };
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
        let generation = unsafe { borrow::<Generation>(ctx) };
        held::give(generation.and_then(Generation::run))
    })
}
