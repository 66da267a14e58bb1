//! Signatures with Ed25519 keys (RFC 8032): of a whole message at once, which is the only
//! way there is.
//!
//! Ours are plain Ed25519 signatures over messages that fit an op; libssl makes no others.
//! Verification, longer messages, and the variants with a context or a hash that OpenSSL has from
//! 3.2 on are the default provider's.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_void};
use std::ptr;

use libc::size_t;
use spinlane_cryptodev::{MAX_INPUT, Request};

use super::context::param_lists;
use super::counters::{Delegated, count_delegated};
use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, Dup, borrow_mut};
use super::inner::{DigestCtx, DigestInit};
use super::key::{self, Operand};
use super::names;
use super::offload::offload;
use super::output::Output;
use super::params::Params;

/// The functions of Ed25519 signatures.
pub(super) static TABLE: [OSSL_DISPATCH; 12] = [
    dispatch::signature_newctx(newctx),
    dispatch::signature_freectx(held::free::<Eddsa>),
    dispatch::signature_dupctx(held::dup::<Eddsa>),
    dispatch::signature_digest_sign_init(digest_sign_init),
    dispatch::signature_digest_sign(digest_sign),
    dispatch::signature_digest_verify_init(digest_verify_init),
    dispatch::signature_digest_verify(digest_verify),
    dispatch::signature_get_ctx_params(get_ctx_params),
    dispatch::signature_gettable_ctx_params(gettable_ctx_params),
    dispatch::signature_set_ctx_params(set_ctx_params),
    dispatch::signature_settable_ctx_params(settable_ctx_params),
    dispatch::END,
];

const SIGNATURE_LEN: usize = 64;

/// One operation context.
#[derive(Default)]
struct Eddsa {
    key: Option<Operand>,
    /// The default provider's context, if it does the operation.
    delegate: Option<DigestCtx>,
}

impl Dup for Eddsa {
    fn dup(&self) -> Option<Self> {
        let delegate = match &self.delegate {
            None => None,
            Some(ctx) => Some(ctx.dup()?),
        };
        Some(Self {
            key: self.key.clone(),
            delegate,
        })
    }
}

impl Eddsa {
    /// A context of the default provider, made by `init`.
    fn inner_ctx(&self, init: DigestInit, params: Params<'_>) -> Option<DigestCtx> {
        let key = self.key.as_ref()?;
        DigestCtx::start(&key.context.inner, &key.inner, init, None, params)
    }

    /// The default provider's context of this operation, or one that signs, which is put in `fresh`.
    fn signing_ctx<'a>(&'a self, fresh: &'a mut Option<DigestCtx>) -> Option<&'a DigestCtx> {
        if self.delegate.is_none() {
            *fresh = self.inner_ctx(ffi::EVP_DigestSignInit_ex, Params::NONE);
        }
        self.delegate.as_ref().or(fresh.as_ref())
    }

    /// Begins an operation with `key`, or with the last one; `init` is the default provider's way to
    /// begin it, if it does it.
    fn start(
        &mut self,
        digest: Option<&CStr>,
        key: Option<Operand>,
        params: Params<'_>,
        init: Option<DigestInit>,
    ) -> bool {
        self.delegate = None;
        if key.is_some() {
            self.key = key;
        }
        if self.key.is_none() {
            raise(format_args!("Ed25519: no key; bind one first"));
            return false;
        }
        if digest.is_some_and(|name| !name.is_empty()) {
            raise(format_args!(
                "Ed25519 hashes by itself; give no digest to EVP_DigestSignInit"
            ));
            return false;
        }
        match init {
            None => self.set(params),
            Some(init) => {
                self.delegate = self.inner_ctx(init, params);
                self.delegate.is_some()
            }
        }
    }

    /// Takes in parameters, none of which is ours; the TLS version says nothing about the signature.
    fn set(&mut self, params: Params<'_>) -> bool {
        if params.iter().all(|param| param.key() == names::TLS_VERSION) {
            return true;
        }
        match &self.delegate {
            Some(ctx) => ctx.set(params),
            None => {
                self.delegate = self.inner_ctx(ffi::EVP_DigestSignInit_ex, params);
                self.delegate.is_some()
            }
        }
    }

    /// Signs `message`. May pause.
    fn sign(&self, message: &[u8], output: Output) -> bool {
        let device = self.key.as_ref().and_then(|key| key.device.as_ref());
        if let (Some(device), None, true) = (device, &self.delegate, message.len() <= MAX_INPUT) {
            return output.produce("signature", SIGNATURE_LEN, |signature| {
                let request = Request::ed25519(device, message).ok()?;
                offload(&request, &mut signature[..SIGNATURE_LEN]).then_some(SIGNATURE_LEN)
            });
        }
        let mut fresh = None;
        let Some(ctx) = self.signing_ctx(&mut fresh) else {
            return false;
        };
        count_delegated(Delegated::Sign);
        // SAFETY: live context; the caller's buffers, handed on with their lengths.
        output.delegate(|sig, len| unsafe {
            openssl_sys::EVP_DigestSign(ctx.as_ptr(), sig, len, message.as_ptr(), message.len())
        })
    }

    /// # Safety
    /// `params` is the caller's parameter array.
    unsafe fn get(&self, params: *mut OSSL_PARAM) -> bool {
        let mut fresh = None;
        let Some(ctx) = self.signing_ctx(&mut fresh) else {
            return false;
        };
        // SAFETY: live context; the array is handed on as it came.
        unsafe { openssl_sys::EVP_PKEY_CTX_get_params(ctx.key_ctx(), params) > 0 }
    }
}

/// Safety of this and the functions below: libcrypto passes contexts that were given out here
/// and have not been freed, one call at a time, key data of our Ed25519 key manager or null, and
/// buffers and parameter arrays of the lengths it says.
unsafe extern "C" fn newctx(_provctx: *mut c_void, _properties: *const c_char) -> *mut c_void {
    guard(ptr::null_mut(), || held::give(Some(Eddsa::default())))
}

/// # Safety
/// See [`newctx`].
unsafe fn start(
    ctx: *mut c_void,
    digest: *const c_char,
    key: *mut c_void,
    params: *const OSSL_PARAM,
    init: Option<DigestInit>,
) -> c_int {
    check(|| {
        // SAFETY: null or a C string that lives through the call.
        let digest = (!digest.is_null()).then(|| unsafe { CStr::from_ptr(digest) });
        // SAFETY: by the caller's promise.
        let (eddsa, key, params) = unsafe {
            (
                borrow_mut::<Eddsa>(ctx),
                key::operand(key),
                Params::new(params),
            )
        };
        let (Some(eddsa), Ok(key)) = (eddsa, key) else {
            return false;
        };
        params.have_values() && eddsa.start(digest, key, params, init)
    })
}

unsafe extern "C" fn digest_sign_init(
    ctx: *mut c_void,
    digest: *const c_char,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `newctx`.
    unsafe { start(ctx, digest, key, params, None) }
}

unsafe extern "C" fn digest_verify_init(
    ctx: *mut c_void,
    digest: *const c_char,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    let init = ffi::EVP_DigestVerifyInit_ex;
    // SAFETY: see `newctx`.
    unsafe { start(ctx, digest, key, params, Some(init)) }
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
    check(|| {
        // SAFETY: see `newctx`.
        let (eddsa, output, message) = unsafe {
            (
                borrow_mut::<Eddsa>(ctx),
                Output::new(sig, sig_len, sig_size),
                ffi::bytes(tbs, tbs_len),
            )
        };
        eddsa
            .zip(output)
            .is_some_and(|(eddsa, output)| eddsa.sign(message, output))
    })
}

/// The default provider's answer: 1, 0 for a wrong signature, less where it is none at all.
unsafe extern "C" fn digest_verify(
    ctx: *mut c_void,
    sig: *const c_uchar,
    sig_len: size_t,
    tbs: *const c_uchar,
    tbs_len: size_t,
) -> c_int {
    guard(0, || {
        // SAFETY: see `newctx`.
        let Some(Eddsa {
            delegate: Some(ctx),
            ..
        }) = (unsafe { borrow_mut::<Eddsa>(ctx) })
        else {
            return 0;
        };
        count_delegated(Delegated::Verify);
        // SAFETY: live context; the caller's buffers, handed on with their lengths.
        unsafe { openssl_sys::EVP_DigestVerify(ctx.as_ptr(), sig, sig_len, tbs, tbs_len) }
    })
}

unsafe extern "C" fn get_ctx_params(ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    // SAFETY: see `newctx`.
    check(|| unsafe {
        borrow_mut::<Eddsa>(ctx).is_some_and(|eddsa| params.is_null() || eddsa.get(params))
    })
}

unsafe extern "C" fn set_ctx_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (eddsa, params) = unsafe { (borrow_mut::<Eddsa>(ctx), Params::new(params)) };
        eddsa.is_some_and(|eddsa| params.have_values() && eddsa.set(params))
    })
}

param_lists! {
    gettable_ctx_params(_ctx) = ed25519_signature.gettable;
    settable_ctx_params(_ctx) = ed25519_signature.settable;
}
