//! Key manager of Ed25519 keys.

use std::ffi::{c_int, c_void};

use spinlane_crypto as crypto;
use spinlane_crypto::{Ed25519Key, KeyError};

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

/// What Ed25519 keys have of their own.
static KIND: Kind = Kind {
    name: c"ED25519",
    device_key,
    parts,
    private: &[names::PRIV],
};

/// Bytes of either part.
pub(super) const LEN: usize = 32;

fn parts(key: &Key) -> (bool, bool) {
    (key.has_octets(names::PUB), key.has_octets(names::PRIV))
}

/// Returns the key for devices. Every seed is a key.
///
/// # Errors
/// None.
pub(super) fn device_key(key: &Key) -> Result<Option<crypto::Key>, KeyError> {
    let seed = key.raw_private::<LEN>();
    Ok(seed.map(|seed| crypto::Key::Ed25519(Ed25519Key::from_seed(&seed))))
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
    gettable_params() = ed25519_key.gettable;
    gen_settable_params(_ctx) = ed25519_gen.settable;
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
