//! Signatures with RSA and EC keys: the functions libcrypto calls, over [`Signer`].

use std::ffi::{CStr, c_char, c_int, c_uchar, c_void};
use std::ptr;

use libc::size_t;
use spinlane_cryptodev::MAX_OUTPUT;

use super::context::param_lists;
use super::counters::{Delegated, count_delegated};
use super::dispatch;
use super::error::{check, guard};
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, borrow_mut};
use super::key::{self, Operand};
use super::key_ec;
use super::output::Output;
use super::params::Params;
use super::signer::{Algorithm, Signer};

/// The functions of RSA signatures.
pub(super) static RSA: [OSSL_DISPATCH; 22] = table([
    dispatch::signature_newctx(new_rsa),
    dispatch::signature_gettable_ctx_params(rsa_gettable),
    dispatch::signature_settable_ctx_params(rsa_settable),
    dispatch::signature_verify_recover_init(verify_recover_init),
    dispatch::signature_verify_recover(verify_recover),
    dispatch::END,
]);

/// The functions of ECDSA signatures.
pub(super) static ECDSA: [OSSL_DISPATCH; 22] = table([
    dispatch::signature_newctx(new_ecdsa),
    dispatch::signature_gettable_ctx_params(ecdsa_gettable),
    dispatch::signature_settable_ctx_params(ecdsa_settable),
    dispatch::END,
    dispatch::END,
    dispatch::END,
]);

/// Makes a table of what both have and what `own` adds.
const fn table(own: [OSSL_DISPATCH; 6]) -> [OSSL_DISPATCH; 22] {
    let [a, b, c, d, e, f] = own;
    [
        dispatch::signature_freectx(held::free::<Signer>),
        dispatch::signature_dupctx(held::dup::<Signer>),
        dispatch::signature_sign_init(sign_init),
        dispatch::signature_sign(sign),
        dispatch::signature_verify_init(verify_init),
        dispatch::signature_verify(verify),
        dispatch::signature_digest_sign_init(digest_sign_init),
        dispatch::signature_digest_sign_update(digest_sign_update),
        dispatch::signature_digest_sign_final(digest_sign_final),
        dispatch::signature_digest_sign(digest_sign),
        dispatch::signature_digest_verify_init(digest_verify_init),
        dispatch::signature_digest_verify_update(digest_verify_update),
        dispatch::signature_digest_verify_final(digest_verify_final),
        dispatch::signature_digest_verify(digest_verify),
        dispatch::signature_get_ctx_params(get_ctx_params),
        dispatch::signature_set_ctx_params(set_ctx_params),
        a,
        b,
        c,
        d,
        e,
        f,
    ]
}

/// Safety of this and the functions below: libcrypto passes contexts that were given out here and
/// have not been freed, one call at a time, key data of the algorithm's key manager or null, and
/// buffers and parameter arrays of the lengths it says.
fn new(algorithm: Algorithm) -> *mut c_void {
    guard(ptr::null_mut(), || held::give(Some(Signer::new(algorithm))))
}

unsafe extern "C" fn new_rsa(_provctx: *mut c_void, _properties: *const c_char) -> *mut c_void {
    new(Algorithm::Rsa)
}

unsafe extern "C" fn new_ecdsa(_provctx: *mut c_void, _properties: *const c_char) -> *mut c_void {
    new(Algorithm::Ec)
}

/// Runs an init function.
///
/// # Safety
/// See [`new`].
unsafe fn start(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
    body: impl FnOnce(&mut Signer, Option<Operand>, Params<'_>) -> bool,
) -> c_int {
    check(|| {
        // SAFETY: by the caller's promise.
        let (Some(signer), params) = (unsafe { (borrow_mut::<Signer>(ctx), Params::new(params)) })
        else {
            return false;
        };
        // SAFETY: by the caller's promise.
        let key = unsafe {
            match signer.algorithm() {
                Algorithm::Rsa => key::operand(key),
                Algorithm::Ec => key_ec::operand(key),
            }
        };
        key.is_ok_and(|key| body(signer, key, params))
    })
}

unsafe extern "C" fn sign_init(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `new`.
    unsafe { start(ctx, key, params, Signer::start_sign) }
}

unsafe extern "C" fn verify_init(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    let init = ffi::EVP_PKEY_verify_init_ex;
    // SAFETY: see `new`.
    unsafe {
        start(ctx, key, params, |signer, key, params| {
            signer.start_delegated(key, params, init)
        })
    }
}

unsafe extern "C" fn verify_recover_init(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    let init = ffi::EVP_PKEY_verify_recover_init_ex;
    // SAFETY: see `new`.
    unsafe {
        start(ctx, key, params, |signer, key, params| {
            signer.start_delegated(key, params, init)
        })
    }
}

unsafe extern "C" fn digest_sign_init(
    ctx: *mut c_void,
    digest: *const c_char,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: null or a C string that lives through the call.
    let digest = (!digest.is_null()).then(|| unsafe { CStr::from_ptr(digest) });
    // SAFETY: see `new`.
    unsafe {
        start(ctx, key, params, |signer, key, params| {
            signer.start_digest_sign(digest, key, params)
        })
    }
}

unsafe extern "C" fn digest_verify_init(
    ctx: *mut c_void,
    digest: *const c_char,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: null or a C string that lives through the call.
    let digest = (!digest.is_null()).then(|| unsafe { CStr::from_ptr(digest) });
    // SAFETY: see `new`.
    unsafe {
        start(ctx, key, params, |signer, key, params| {
            signer.start_digest_verify(digest, key, params)
        })
    }
}

/// Signs by `body`.
///
/// # Safety
/// See [`new`].
unsafe fn produce(
    ctx: *mut c_void,
    output: Option<Output>,
    body: impl FnOnce(&Signer, &mut [u8; MAX_OUTPUT]) -> Option<usize>,
) -> c_int {
    check(|| {
        // SAFETY: by the caller's promise.
        let (Some(signer), Some(output)) = (unsafe { borrow_mut::<Signer>(ctx) }, output) else {
            return false;
        };
        let signer = &*signer;
        signer
            .size()
            .is_some_and(|longest| output.produce("signature", longest, |out| body(signer, out)))
    })
}

/// May pause.
unsafe extern "C" fn sign(
    ctx: *mut c_void,
    sig: *mut c_uchar,
    sig_len: *mut size_t,
    sig_size: size_t,
    tbs: *const c_uchar,
    tbs_len: size_t,
) -> c_int {
    // SAFETY: see `new`.
    unsafe {
        let hash = ffi::bytes(tbs, tbs_len);
        let output = Output::new(sig, sig_len, sig_size);
        produce(ctx, output, |signer, out| signer.sign_hash(hash, out))
    }
}

unsafe extern "C" fn digest_sign_update(
    ctx: *mut c_void,
    data: *const c_uchar,
    len: size_t,
) -> c_int {
    check(|| {
        // SAFETY: see `new`.
        let (signer, data) = unsafe { (borrow_mut::<Signer>(ctx), ffi::bytes(data, len)) };
        signer.is_some_and(|signer| signer.update(data))
    })
}

/// May pause.
unsafe extern "C" fn digest_sign_final(
    ctx: *mut c_void,
    sig: *mut c_uchar,
    sig_len: *mut size_t,
    sig_size: size_t,
) -> c_int {
    // SAFETY: see `new`.
    unsafe { digest_sign_rest(ctx, Output::new(sig, sig_len, sig_size), &[]) }
}

/// May pause.
unsafe extern "C" fn digest_sign(
    ctx: *mut c_void,
    sig: *mut c_uchar,
    sig_len: *mut size_t,
    sig_size: size_t,
    tbs: *const c_uchar,
    tbs_len: size_t,
) -> c_int {
    // SAFETY: see `new`.
    unsafe {
        let output = Output::new(sig, sig_len, sig_size);
        digest_sign_rest(ctx, output, ffi::bytes(tbs, tbs_len))
    }
}

/// # Safety
/// See [`new`].
unsafe fn digest_sign_rest(ctx: *mut c_void, output: Option<Output>, rest: &[u8]) -> c_int {
    // SAFETY: by the caller's promise.
    let delegate =
        unsafe { borrow_mut::<Signer>(ctx) }.and_then(|signer| signer.message_delegate());
    let Some(delegate) = delegate else {
        // SAFETY: by the caller's promise.
        return unsafe { produce(ctx, output, |signer, out| signer.sign_message(rest, out)) };
    };
    check(|| {
        count_delegated(Delegated::Sign);
        let ctx = delegate.as_ptr();
        output.is_some_and(|output| {
            // SAFETY: live context; the caller's buffers, handed on with their lengths.
            output.delegate(|sig, len| unsafe {
                if sig.is_null() || rest.is_empty() {
                    openssl_sys::EVP_DigestSignFinal(ctx, sig, len)
                } else {
                    openssl_sys::EVP_DigestSign(ctx, sig, len, rest.as_ptr(), rest.len())
                }
            })
        })
    })
}

/// The default provider's answer: 1, 0 for a wrong signature, less where it is none at all.
unsafe extern "C" fn verify(
    ctx: *mut c_void,
    sig: *const c_uchar,
    sig_len: size_t,
    tbs: *const c_uchar,
    tbs_len: size_t,
) -> c_int {
    guard(0, || {
        // SAFETY: see `new`.
        let signer = unsafe { borrow_mut::<Signer>(ctx) };
        let Some(delegate) = signer.as_ref().and_then(|signer| signer.hash_delegate()) else {
            return 0;
        };
        count_delegated(Delegated::Verify);
        // SAFETY: live context; the caller's buffers, handed on with their lengths.
        unsafe { openssl_sys::EVP_PKEY_verify(delegate.as_ptr(), sig, sig_len, tbs, tbs_len) }
    })
}

unsafe extern "C" fn verify_recover(
    ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: *mut size_t,
    out_size: size_t,
    sig: *const c_uchar,
    sig_len: size_t,
) -> c_int {
    check(|| {
        // SAFETY: see `new`.
        let Some(signer) = (unsafe { borrow_mut::<Signer>(ctx) }) else {
            return false;
        };
        // SAFETY: see `new`.
        let output = unsafe { Output::new(out, out_len, out_size) };
        let (Some(delegate), Some(output)) = (signer.hash_delegate(), output) else {
            return false;
        };
        count_delegated(Delegated::Verify);
        // SAFETY: live context; the caller's buffers, handed on with their lengths.
        output.delegate(|out, len| unsafe {
            openssl_sys::EVP_PKEY_verify_recover(delegate.as_ptr(), out, len, sig, sig_len)
        })
    })
}

unsafe extern "C" fn digest_verify_update(
    ctx: *mut c_void,
    data: *const c_uchar,
    len: size_t,
) -> c_int {
    check(|| {
        // SAFETY: see `new`.
        let Some(signer) = (unsafe { borrow_mut::<Signer>(ctx) }) else {
            return false;
        };
        let Some(delegate) = signer.message_delegate() else {
            return false;
        };
        // SAFETY: live context; the caller's buffer, handed on with its length.
        unsafe { openssl_sys::EVP_DigestVerifyUpdate(delegate.as_ptr(), data.cast(), len) > 0 }
    })
}

/// Answers as [`verify`].
unsafe extern "C" fn digest_verify_final(
    ctx: *mut c_void,
    sig: *const c_uchar,
    sig_len: size_t,
) -> c_int {
    guard(0, || {
        // SAFETY: see `new`.
        let signer = unsafe { borrow_mut::<Signer>(ctx) };
        let Some(delegate) = signer.as_ref().and_then(|signer| signer.message_delegate()) else {
            return 0;
        };
        count_delegated(Delegated::Verify);
        // SAFETY: live context; the caller's buffer, handed on with its length.
        unsafe { openssl_sys::EVP_DigestVerifyFinal(delegate.as_ptr(), sig, sig_len) }
    })
}

unsafe extern "C" fn digest_verify(
    ctx: *mut c_void,
    sig: *const c_uchar,
    sig_len: size_t,
    tbs: *const c_uchar,
    tbs_len: size_t,
) -> c_int {
    // SAFETY: see `new`.
    unsafe {
        if digest_verify_update(ctx, tbs, tbs_len) != 1 {
            return 0;
        }
        digest_verify_final(ctx, sig, sig_len)
    }
}

unsafe extern "C" fn get_ctx_params(ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `new`.
        unsafe { borrow_mut::<Signer>(ctx) }
            .is_some_and(|signer| params.is_null() || signer.get(params))
    })
}

unsafe extern "C" fn set_ctx_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `new`.
        let (signer, params) = unsafe { (borrow_mut::<Signer>(ctx), Params::new(params)) };
        signer.is_some_and(|signer| signer.set(params))
    })
}

param_lists! {
    rsa_gettable(_ctx) = rsa_signature.gettable;
    rsa_settable(_ctx) = rsa_signature.settable;
    ecdsa_gettable(_ctx) = ecdsa_signature.gettable;
    ecdsa_settable(_ctx) = ecdsa_signature.settable;
}
