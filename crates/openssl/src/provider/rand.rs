//! Random numbers for libssl: those of [`spinlane_cryptodev::random`], buffered per thread.
//!
//! A handshake draws some ten times a few bytes, each of which costs OpenSSL's generator a lock,
//! a process check and a run of AES-CTR. This one has no state of its own, so nothing to
//! instantiate, to seed or to lock.

use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::ptr;

use libc::size_t;
use spinlane_cryptodev::random;

use super::dispatch;
use super::error::check;
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::names;
use super::params::{Params, Table};

/// The generator's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 12] = [
    dispatch::rand_newctx(newctx),
    dispatch::rand_freectx(freectx),
    dispatch::rand_instantiate(instantiate),
    dispatch::rand_uninstantiate(succeed),
    dispatch::rand_generate(generate),
    dispatch::rand_reseed(reseed),
    dispatch::rand_enable_locking(succeed),
    dispatch::rand_lock(succeed),
    dispatch::rand_unlock(unlock),
    dispatch::rand_get_ctx_params(get_ctx_params),
    dispatch::rand_gettable_ctx_params(gettable_ctx_params),
    dispatch::END,
];

/// Bits of security of aws-lc's generator.
const STRENGTH: c_int = 256;
/// Bytes a caller may ask for at once.
const MAX_REQUEST: usize = 1 << 16;

/// A context that all share: there is nothing in it.
static CONTEXT: u8 = 0;

unsafe extern "C" fn newctx(
    _provctx: *mut c_void,
    _parent: *mut c_void,
    _parent_calls: *const OSSL_DISPATCH,
) -> *mut c_void {
    ptr::from_ref(&CONTEXT).cast_mut().cast()
}

unsafe extern "C" fn freectx(_ctx: *mut c_void) {}

unsafe extern "C" fn succeed(_ctx: *mut c_void) -> c_int {
    1
}

unsafe extern "C" fn unlock(_ctx: *mut c_void) {}

unsafe extern "C" fn instantiate(
    _ctx: *mut c_void,
    strength: c_uint,
    _prediction_resistance: c_int,
    _personal: *const c_uchar,
    _personal_len: size_t,
    _params: *const OSSL_PARAM,
) -> c_int {
    c_int::from(strength <= STRENGTH as c_uint)
}

unsafe extern "C" fn reseed(
    _ctx: *mut c_void,
    _prediction_resistance: c_int,
    _entropy: *const c_uchar,
    _entropy_len: size_t,
    _additional: *const c_uchar,
    _additional_len: size_t,
) -> c_int {
    1
}

unsafe extern "C" fn generate(
    _ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: size_t,
    strength: c_uint,
    _prediction_resistance: c_int,
    _additional: *const c_uchar,
    _additional_len: size_t,
) -> c_int {
    check(|| {
        if out.is_null() || strength > STRENGTH as c_uint {
            return false;
        }
        spinlane_job::wipe_stack_at_end();
        // SAFETY: the caller's buffer of `out_len` bytes.
        random::fill(unsafe { std::slice::from_raw_parts_mut(out, out_len) });
        true
    })
}

unsafe extern "C" fn get_ctx_params(_ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: the caller's parameter array.
        unsafe { Params::new(params) }.iter().all(|param| {
            let key = param.key();
            if key == names::RAND_STATE {
                param.set_int(ffi::EVP_RAND_STATE_READY)
            } else if key == names::RAND_STRENGTH {
                param.set_int(STRENGTH)
            } else if key == names::RAND_MAX_REQUEST {
                param.set_size(MAX_REQUEST)
            } else {
                true
            }
        })
    })
}

unsafe extern "C" fn gettable_ctx_params(
    _ctx: *mut c_void,
    _provctx: *mut c_void,
) -> *const OSSL_PARAM {
    static GETTABLE: Table<4> = Table::new([
        (Some(names::RAND_STATE), ffi::OSSL_PARAM_INTEGER),
        (Some(names::RAND_STRENGTH), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (
            Some(names::RAND_MAX_REQUEST),
            ffi::OSSL_PARAM_UNSIGNED_INTEGER,
        ),
        Table::<4>::END,
    ]);
    GETTABLE.as_ptr()
}
