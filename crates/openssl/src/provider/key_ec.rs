//! Key manager of bound EC keys.

use std::ffi::{c_char, c_int, c_void};

use spinlane_cryptodev as cryptodev;
use spinlane_cryptodev::{EcP256Key, EcP384Key, KeyError};

use super::context::ContextRef;
use super::dispatch;
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::inner::Key;
use super::key::{self, Algorithm};
use super::names;
use super::params::Table;

/// The key manager's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 16] = [
    dispatch::keymgmt_new(new),
    dispatch::keymgmt_free(key::free),
    dispatch::keymgmt_has(key::has),
    dispatch::keymgmt_match(key::matches),
    dispatch::keymgmt_validate(key::validate),
    dispatch::keymgmt_import(key::import),
    dispatch::keymgmt_import_types(types),
    dispatch::keymgmt_export(key::export),
    dispatch::keymgmt_export_types(types),
    dispatch::keymgmt_get_params(key::get_params),
    dispatch::keymgmt_gettable_params(gettable_params),
    dispatch::keymgmt_set_params(key::set_params),
    dispatch::keymgmt_settable_params(settable_params),
    dispatch::keymgmt_query_operation_name(query_operation_name),
    dispatch::keymgmt_dup(key::dup),
    dispatch::END,
];

/// P-256 and P-384 in libcrypto.
pub(super) const NAMES: [&[u8]; 7] = [
    b"prime256v1",
    b"P-256",
    b"secp256r1",
    b"1.2.840.10045.3.1.7",
    b"secp384r1",
    b"P-384",
    b"1.3.132.0.34",
];

/// The key for devices, if it is on P-256 or P-384.
///
/// # Errors
/// The private scalar is out of range.
pub(super) fn device_key(key: &Key) -> Result<Option<cryptodev::Key>, KeyError> {
    let Some(scalar) = key.number(names::PRIV) else {
        return Ok(None);
    };
    if key.text_is(names::GROUP, c"prime256v1") {
        EcP256Key::from_scalar(&scalar).map(|key| Some(cryptodev::Key::EcP256(key)))
    } else if key.text_is(names::GROUP, c"secp384r1") {
        EcP384Key::from_scalar(&scalar).map(|key| Some(cryptodev::Key::EcP384(key)))
    } else {
        Ok(None)
    }
}

unsafe extern "C" fn new(provctx: *mut c_void) -> *mut c_void {
    // SAFETY: libcrypto passes what our init function gave out.
    unsafe { key::new(provctx, Algorithm::Ec) }
}

unsafe extern "C" fn gettable_params(provctx: *mut c_void) -> *const OSSL_PARAM {
    // SAFETY: libcrypto passes what our init function gave out.
    unsafe { ContextRef::new(provctx) }.map_or(std::ptr::null(), |context| context.ec_key.gettable)
}

unsafe extern "C" fn settable_params(provctx: *mut c_void) -> *const OSSL_PARAM {
    // SAFETY: as above.
    unsafe { ContextRef::new(provctx) }.map_or(std::ptr::null(), |context| context.ec_key.settable)
}

/// EC keys are for more than one algorithm, none of which is called EC.
unsafe extern "C" fn query_operation_name(operation: c_int) -> *const c_char {
    match operation {
        ffi::OSSL_OP_SIGNATURE => c"ECDSA".as_ptr(),
        ffi::OSSL_OP_KEYEXCH => c"ECDH".as_ptr(),
        _ => std::ptr::null(),
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
