//! Key manager of bound Ed25519 keys.

use std::ffi::{c_int, c_void};

use spinlane_cryptodev as cryptodev;
use spinlane_cryptodev::{Ed25519Key, KeyError};

use super::context::param_lists;
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::inner::Key;
use super::key::{self, Kind};
use super::names;
use super::params::{Params, Table};

/// The key manager's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 13] = key::table(new, types, gettable_params);

/// What Ed25519 keys have of their own.
static KIND: Kind = Kind {
    name: c"ED25519",
    is_for_devices,
    device_key,
    private: &[names::PRIV],
};

/// Bytes of either part.
const LEN: usize = 32;

fn is_for_devices(params: Params<'_>) -> bool {
    params
        .find(names::PRIV)
        .is_some_and(|param| param.len() == LEN)
}

/// The key for devices. Every seed is one.
///
/// # Errors
/// None.
pub(super) fn device_key(key: &Key) -> Result<Option<cryptodev::Key>, KeyError> {
    let seed = key.raw_private::<LEN>();
    Ok(seed.map(|seed| cryptodev::Key::Ed25519(Ed25519Key::from_seed(&seed))))
}

unsafe extern "C" fn new(provctx: *mut c_void) -> *mut c_void {
    // SAFETY: libcrypto passes what our init function gave out.
    unsafe { key::new(provctx, &KIND) }
}

param_lists! {
    gettable_params() = ed25519_key.gettable;
}

unsafe extern "C" fn types(selection: c_int) -> *const OSSL_PARAM {
    static PAIR: Table<3> = Table::new([
        (Some(names::PUB), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::PRIV), ffi::OSSL_PARAM_OCTET_STRING),
        Table::<3>::END,
    ]);
    if selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR == 0 {
        std::ptr::null()
    } else {
        PAIR.as_ptr()
    }
}
