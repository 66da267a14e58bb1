//! RSA encryption and decryption with a bound key, done by the default provider.
//!
//! TLS 1.2 needs it for RSA key exchange. All parameters go through as they come, the TLS
//! padding and its versions among them, so its implicit rejection is the default provider's.

use std::ffi::{c_int, c_uchar, c_void};
use std::ptr;

use libc::size_t;

use super::context::ContextRef;
use super::counters::{Delegated, count_delegated};
use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{self, EVP_PKEY_CTX, OSSL_DISPATCH, OSSL_PARAM};
use super::inner::KeyCtx;
use super::key;
use super::params::Params;

/// The cipher's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 12] = [
    dispatch::asym_cipher_newctx(newctx),
    dispatch::asym_cipher_freectx(freectx),
    dispatch::asym_cipher_dupctx(dupctx),
    dispatch::asym_cipher_encrypt_init(encrypt_init),
    dispatch::asym_cipher_encrypt(encrypt),
    dispatch::asym_cipher_decrypt_init(decrypt_init),
    dispatch::asym_cipher_decrypt(decrypt),
    dispatch::asym_cipher_get_ctx_params(get_ctx_params),
    dispatch::asym_cipher_gettable_ctx_params(gettable_ctx_params),
    dispatch::asym_cipher_set_ctx_params(set_ctx_params),
    dispatch::asym_cipher_settable_ctx_params(settable_ctx_params),
    dispatch::END,
];

/// Empty until an init function gives it a key.
struct Cipher(Option<KeyCtx>);

/// Of an init function of libcrypto and of its operation.
type Init = unsafe extern "C" fn(*mut EVP_PKEY_CTX, *const OSSL_PARAM) -> c_int;
type Run = unsafe extern "C" fn(
    *mut EVP_PKEY_CTX,
    *mut c_uchar,
    *mut size_t,
    *const c_uchar,
    size_t,
) -> c_int;

unsafe extern "C" fn newctx(_provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        Box::into_raw(Box::new(Cipher(None))).cast()
    })
}

/// Safety of this and the functions below: libcrypto passes contexts that [`newctx`] or
/// [`dupctx`] gave out and that have not been freed, one call at a time, key data of our RSA key
/// manager, and buffers and parameter arrays of the lengths it says.
unsafe extern "C" fn freectx(ctx: *mut c_void) {
    guard((), || {
        if !ctx.is_null() {
            // SAFETY: see above.
            drop(unsafe { Box::from_raw(ctx.cast::<Cipher>()) });
        }
    });
}

unsafe extern "C" fn dupctx(ctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: see `freectx`.
        let Some(Cipher(ctx)) = (unsafe { ctx.cast::<Cipher>().as_ref() }) else {
            return ptr::null_mut();
        };
        let copy = ctx.as_ref().map(KeyCtx::dup);
        if matches!(copy, Some(None)) {
            return ptr::null_mut();
        }
        Box::into_raw(Box::new(Cipher(copy.flatten()))).cast()
    })
}

/// # Safety
/// See [`freectx`].
unsafe fn start(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
    init: Init,
) -> c_int {
    check(|| {
        // SAFETY: by the caller's promise.
        let (Some(cipher), Some(key)) =
            (unsafe { (ctx.cast::<Cipher>().as_mut(), key::borrow(key)) })
        else {
            raise(format_args!("RSA cipher: no key; bind one first"));
            return false;
        };
        let Some(content) = key.content() else {
            return false;
        };
        // SAFETY: by the caller's promise.
        if !unsafe { Params::new(params) }.have_values() {
            return false;
        }
        let Some(ctx) = KeyCtx::new(&key.context.inner, &content.inner) else {
            return false;
        };
        // SAFETY: live context; the array is handed on as it came.
        let ready = unsafe { init(ctx.as_ptr(), params) } > 0;
        cipher.0 = ready.then_some(ctx);
        ready
    })
}

/// # Safety
/// See [`freectx`].
unsafe fn run(
    ctx: *mut c_void,
    (out, out_len, out_size): (*mut c_uchar, *mut size_t, size_t),
    (input, input_len): (*const c_uchar, size_t),
    operation: Run,
) -> c_int {
    check(|| {
        // SAFETY: by the caller's promise.
        let Some(Cipher(Some(ctx))) = (unsafe { ctx.cast::<Cipher>().as_ref() }) else {
            return false;
        };
        if out_len.is_null() {
            return false;
        }
        count_delegated(Delegated::AsymCipher);
        // SAFETY: the caller's buffers, handed on with their lengths.
        unsafe {
            *out_len = out_size;
            operation(ctx.as_ptr(), out, out_len, input, input_len) > 0
        }
    })
}

unsafe extern "C" fn encrypt_init(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `freectx`.
    unsafe { start(ctx, key, params, ffi::EVP_PKEY_encrypt_init_ex) }
}

unsafe extern "C" fn decrypt_init(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `freectx`.
    unsafe { start(ctx, key, params, ffi::EVP_PKEY_decrypt_init_ex) }
}

unsafe extern "C" fn encrypt(
    ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: *mut size_t,
    out_size: size_t,
    input: *const c_uchar,
    input_len: size_t,
) -> c_int {
    // SAFETY: see `freectx`.
    unsafe {
        run(
            ctx,
            (out, out_len, out_size),
            (input, input_len),
            openssl_sys::EVP_PKEY_encrypt,
        )
    }
}

unsafe extern "C" fn decrypt(
    ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: *mut size_t,
    out_size: size_t,
    input: *const c_uchar,
    input_len: size_t,
) -> c_int {
    // SAFETY: see `freectx`.
    unsafe {
        run(
            ctx,
            (out, out_len, out_size),
            (input, input_len),
            openssl_sys::EVP_PKEY_decrypt,
        )
    }
}

unsafe extern "C" fn get_ctx_params(ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        let Some(Cipher(Some(ctx))) = (unsafe { ctx.cast::<Cipher>().as_ref() }) else {
            return false;
        };
        // SAFETY: live context; the array is handed on as it came.
        unsafe { openssl_sys::EVP_PKEY_CTX_get_params(ctx.as_ptr(), params) > 0 }
    })
}

unsafe extern "C" fn set_ctx_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        let Some(Cipher(Some(ctx))) = (unsafe { ctx.cast::<Cipher>().as_ref() }) else {
            return false;
        };
        // SAFETY: see `freectx`.
        if !unsafe { Params::new(params) }.have_values() {
            return false;
        }
        // SAFETY: live context; the array is handed on as it came.
        params.is_null()
            || unsafe { openssl_sys::EVP_PKEY_CTX_set_params(ctx.as_ptr(), params) > 0 }
    })
}

unsafe extern "C" fn gettable_ctx_params(
    _ctx: *mut c_void,
    provctx: *mut c_void,
) -> *const OSSL_PARAM {
    // SAFETY: libcrypto passes what our init function gave out.
    unsafe { ContextRef::new(provctx) }.map_or(ptr::null(), |context| context.rsa_cipher.gettable)
}

unsafe extern "C" fn settable_ctx_params(
    _ctx: *mut c_void,
    provctx: *mut c_void,
) -> *const OSSL_PARAM {
    // SAFETY: as above.
    unsafe { ContextRef::new(provctx) }.map_or(ptr::null(), |context| context.rsa_cipher.settable)
}
