//! RSA encryption and decryption: the functions libcrypto calls, over
//! [`Decryption`]. Encryption is the default provider's.

use std::ffi::{c_int, c_uchar, c_void};
use std::ptr;

use libc::size_t;

use super::context::param_lists;
use super::counters::{Delegated, count_delegated};
use super::decryption::Decryption;
use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, Dup, borrow, borrow_mut};
use super::inner::KeyCtx;
use super::key::{self, Operand};
use super::output::Output;
use super::params::Params;

/// The cipher's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 12] = [
    dispatch::asym_cipher_newctx(newctx),
    dispatch::asym_cipher_freectx(held::free::<Cipher>),
    dispatch::asym_cipher_dupctx(held::dup::<Cipher>),
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

impl Dup for Cipher {
    fn dup(&self) -> Option<Self> {
        Some(match self {
            Self::Empty => Self::Empty,
            Self::Encryption(ctx) => Self::Encryption(ctx.dup()?),
            Self::Decryption(decryption) => Self::Decryption(decryption.dup()?),
        })
    }
}

impl Cipher {
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

/// Safety of this and the functions below: libcrypto passes contexts that were given out here
/// and have not been freed, one call at a time, key data of our RSA key manager, and
/// buffers and parameter arrays of the lengths it says.
unsafe extern "C" fn newctx(_provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || held::give(Some(Cipher::Empty)))
}

/// # Safety
/// See [`newctx`].
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
                borrow_mut::<Cipher>(ctx),
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
    // SAFETY: see `newctx`.
    unsafe { start(ctx, key, params, Cipher::start_encryption) }
}

unsafe extern "C" fn decrypt_init(
    ctx: *mut c_void,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `newctx`.
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
        // SAFETY: see `newctx`.
        let (cipher, output) =
            unsafe { (borrow::<Cipher>(ctx), Output::new(out, out_len, out_size)) };
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
        // SAFETY: see `newctx`.
        let (cipher, output, input) = unsafe {
            (
                borrow::<Cipher>(ctx),
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
        // SAFETY: see `newctx`.
        match unsafe { borrow::<Cipher>(ctx) } {
            // SAFETY: live context; the array is handed on as it came.
            Some(Cipher::Encryption(ctx)) => unsafe {
                openssl_sys::EVP_PKEY_CTX_get_params(ctx.as_ptr(), params) > 0
            },
            // SAFETY: see `newctx`.
            Some(Cipher::Decryption(decryption)) => unsafe { decryption.get(params) },
            _ => false,
        }
    })
}

unsafe extern "C" fn set_ctx_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (cipher, params) = unsafe { (borrow_mut::<Cipher>(ctx), Params::new(params)) };
        match cipher {
            Some(Cipher::Encryption(ctx)) => ctx.set(params),
            Some(Cipher::Decryption(decryption)) => decryption.set(params),
            _ => false,
        }
    })
}

param_lists! {
    gettable_ctx_params(_ctx) = rsa_cipher.gettable;
    settable_ctx_params(_ctx) = rsa_cipher.settable;
}
