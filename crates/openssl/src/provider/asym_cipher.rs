//! RSA encryption and decryption with a bound key: the functions libcrypto calls, over
//! [`Decryption`]. Encryption is the default provider's.

use std::ffi::{c_int, c_uchar, c_void};
use std::ptr;

use libc::size_t;

use super::context::ContextRef;
use super::counters::{Delegated, count_delegated};
use super::decryption::Decryption;
use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::held;
use super::inner::KeyCtx;
use super::key::{self, Operand};
use super::output::Output;
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

/// One operation context.
enum Cipher {
    /// Until an init function gives it a key.
    Empty,
    Encryption(KeyCtx),
    Decryption(Decryption),
}

impl Cipher {
    fn dup(&self) -> Option<Self> {
        Some(match self {
            Self::Empty => Self::Empty,
            Self::Encryption(ctx) => Self::Encryption(ctx.dup()?),
            Self::Decryption(decryption) => Self::Decryption(decryption.dup()?),
        })
    }

    fn start_encryption(key: Operand, params: Params<'_>) -> Option<Self> {
        let ctx = key.inner_ctx()?;
        // SAFETY: live context; the array is handed on as it came.
        let ready = unsafe { ffi::EVP_PKEY_encrypt_init_ex(ctx.as_ptr(), params.as_ptr()) } > 0;
        ready.then_some(Self::Encryption(ctx))
    }

    fn start_decryption(key: Operand, params: Params<'_>) -> Option<Self> {
        Decryption::start(key, params).map(Self::Decryption)
    }
}

unsafe extern "C" fn newctx(_provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || held::give(Some(Cipher::Empty)))
}

/// Safety of this and the functions below: libcrypto passes contexts that [`newctx`] or
/// [`dupctx`] gave out and that have not been freed, one call at a time, key data of our RSA key
/// manager, and buffers and parameter arrays of the lengths it says.
unsafe extern "C" fn freectx(ctx: *mut c_void) {
    // SAFETY: see above.
    unsafe { held::free::<Cipher>(ctx) }
}

unsafe extern "C" fn dupctx(ctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: see `freectx`.
        let copy = unsafe { ctx.cast::<Cipher>().as_ref() }.and_then(Cipher::dup);
        held::give(copy)
    })
}

/// # Safety
/// See [`freectx`].
unsafe fn start(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
    begin: fn(Operand, Params<'_>) -> Option<Cipher>,
) -> c_int {
    check(|| {
        // SAFETY: by the caller's promise.
        let (cipher, key, params) = unsafe {
            (
                ctx.cast::<Cipher>().as_mut(),
                key::operand(key),
                Params::new(params),
            )
        };
        let (Some(cipher), Ok(Some(key))) = (cipher, key) else {
            raise(format_args!("RSA cipher: no key; bind one first"));
            return false;
        };
        let Some(begun) = params.have_values().then(|| begin(key, params)).flatten() else {
            return false;
        };
        *cipher = begun;
        true
    })
}

unsafe extern "C" fn encrypt_init(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `freectx`.
    unsafe { start(ctx, key, params, Cipher::start_encryption) }
}

unsafe extern "C" fn decrypt_init(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `freectx`.
    unsafe { start(ctx, key, params, Cipher::start_decryption) }
}

unsafe extern "C" fn encrypt(
    ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: *mut size_t,
    out_size: size_t,
    input: *const c_uchar,
    input_len: size_t,
) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        let (cipher, output) = unsafe {
            (
                ctx.cast::<Cipher>().as_ref(),
                Output::new(out, out_len, out_size),
            )
        };
        let (Some(Cipher::Encryption(ctx)), Some(output)) = (cipher, output) else {
            return false;
        };
        count_delegated(Delegated::AsymCipher);
        // SAFETY: live context; the caller's buffers, handed on with their lengths.
        output.delegate(|out, len| unsafe {
            openssl_sys::EVP_PKEY_encrypt(ctx.as_ptr(), out, len, input, input_len)
        })
    })
}

/// May pause.
unsafe extern "C" fn decrypt(
    ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: *mut size_t,
    out_size: size_t,
    input: *const c_uchar,
    input_len: size_t,
) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        let (cipher, output, input) = unsafe {
            (
                ctx.cast::<Cipher>().as_ref(),
                Output::new(out, out_len, out_size),
                ffi::bytes(input, input_len),
            )
        };
        let (Some(Cipher::Decryption(decryption)), Some(output)) = (cipher, output) else {
            return false;
        };
        decryption.decrypt(input, output)
    })
}

unsafe extern "C" fn get_ctx_params(ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        match unsafe { ctx.cast::<Cipher>().as_ref() } {
            // SAFETY: live context; the array is handed on as it came.
            Some(Cipher::Encryption(ctx)) => unsafe {
                openssl_sys::EVP_PKEY_CTX_get_params(ctx.as_ptr(), params) > 0
            },
            // SAFETY: see `freectx`.
            Some(Cipher::Decryption(decryption)) => unsafe { decryption.get(params) },
            _ => false,
        }
    })
}

unsafe extern "C" fn set_ctx_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        let (cipher, params) = unsafe { (ctx.cast::<Cipher>().as_mut(), Params::new(params)) };
        match cipher {
            Some(Cipher::Encryption(ctx)) => ctx.set(params),
            Some(Cipher::Decryption(decryption)) => decryption.set(params),
            _ => false,
        }
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
