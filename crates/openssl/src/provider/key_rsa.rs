//! Key manager of RSA keys.

use std::ffi::{CStr, c_int, c_void};

use spinlane_crypto as crypto;
use spinlane_crypto::{KeyError, RsaComponents, RsaKey};

use super::context::param_lists;
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::inner::Key;
use super::key::{self, Kind};
use super::key_gen;
use super::names;
use super::params::Table;

/// The key manager's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 18] =
    key::table(new, types, gettable_params, gen_init, gen_settable_params);

/// What RSA keys have of their own.
static KIND: Kind = Kind {
    name: c"RSA",
    device_key,
    parts,
    private: &PRIVATE,
};

/// The numbers of a private part.
pub(super) const PRIVATE: [&CStr; 6] = [
    names::RSA_D,
    names::RSA_FACTOR1,
    names::RSA_FACTOR2,
    names::RSA_EXPONENT1,
    names::RSA_EXPONENT2,
    names::RSA_COEFFICIENT1,
];

fn parts(key: &Key) -> (bool, bool) {
    (
        key.number(names::RSA_E).is_some(),
        key.number(names::RSA_D).is_some(),
    )
}

/// Returns the key for devices: of 2048, 3072 or 4096 bits, two primes, with CRT components.
///
/// # Errors
/// The key has all its parts, and they do not fit together.
pub(super) fn device_key(key: &Key) -> Result<Option<crypto::Key>, KeyError> {
    if !matches!(key.bits(), 2048 | 3072 | 4096) || key.number(names::RSA_FACTOR3).is_some() {
        return Ok(None);
    }
    let names = [
        names::RSA_N,
        names::RSA_E,
        names::RSA_D,
        names::RSA_FACTOR1,
        names::RSA_FACTOR2,
        names::RSA_EXPONENT1,
        names::RSA_EXPONENT2,
        names::RSA_COEFFICIENT1,
    ];
    let numbers = names.map(|name| key.number(name));
    let [
        Some(n),
        Some(e),
        Some(d),
        Some(p),
        Some(q),
        Some(dp),
        Some(dq),
        Some(qinv),
    ] = &numbers
    else {
        return Ok(None);
    };
    let components = RsaComponents {
        n,
        e,
        d,
        p,
        q,
        dp,
        dq,
        qinv,
    };
    match RsaKey::from_components(&components) {
        Ok(key) => Ok(Some(crypto::Key::Rsa(key))),
        // Legal, if rare; the default provider serves it.
        Err(KeyError::RsaPrimeSize { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

unsafe extern "C" fn new(provctx: *mut c_void) -> *mut c_void {
    // SAFETY: libcrypto passes what our init function gave out.
    unsafe { key::new(provctx, &KIND) }
}

unsafe extern "C" fn gen_init(
    provctx: *mut c_void,
    selection: c_int,
    params: *const OSSL_PARAM,
) -> *mut c_void {
    // SAFETY: libcrypto passes what our init function gave out, and its caller's array.
    unsafe { key_gen::init(provctx, &KIND, selection, params) }
}

param_lists! {
    gettable_params() = rsa_key.gettable;
    gen_settable_params(_ctx) = rsa_gen.settable;
}

unsafe extern "C" fn types(selection: c_int) -> *const OSSL_PARAM {
    static PUBLIC: Table<3> = Table::new([
        (Some(names::RSA_N), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (Some(names::RSA_E), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        Table::<3>::END,
    ]);
    static PAIR: Table<9> = Table::new([
        (Some(names::RSA_N), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (Some(names::RSA_E), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (Some(names::RSA_D), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (Some(names::RSA_FACTOR1), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (Some(names::RSA_FACTOR2), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (Some(names::RSA_EXPONENT1), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (Some(names::RSA_EXPONENT2), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (
            Some(names::RSA_COEFFICIENT1),
            ffi::OSSL_PARAM_UNSIGNED_INTEGER,
        ),
        Table::<9>::END,
    ]);
    match selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR {
        0 => std::ptr::null(),
        ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY => PUBLIC.as_ptr(),
        _ => PAIR.as_ptr(),
    }
}
