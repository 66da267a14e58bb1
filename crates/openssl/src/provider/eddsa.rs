//! Signatures with Ed25519 keys (RFC 8032): of a whole message at once, which is the only
//! way there is.
//!
//! Ours are plain Ed25519 signatures over messages that fit an op; libssl makes no others.
//! Verification, longer messages, and the variants with a context or a hash that OpenSSL has from
//! 3.2 on are the default provider's. So is what EVP_PKEY_sign_init begins, which OpenSSL has from
//! 3.4 on and which signs a caller's hash; in an older one the default provider says that there is
//! no such thing.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_void};
use std::ptr;

use libc::size_t;
use spinlane_cryptodev::{OpKind, Request};

use super::context::param_lists;
use super::counters::{Delegated, count_delegated};
use super::delegate::Delegate;
use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, Dup, borrow_mut};
use super::inner::{DigestCtx, DigestInit, KeyInit};
use super::key::{self, Operand};
use super::names;
use super::newer;
use super::offload::offload;
use super::output::Output;
use super::params::Params;

/// The functions of Ed25519 signatures; an OpenSSL before 3.4 does not know the three last.
pub(super) static TABLE: [OSSL_DISPATCH; 19] = [
    dispatch::signature_newctx(newctx),
    dispatch::signature_freectx(held::free::<Eddsa>),
    dispatch::signature_dupctx(held::dup::<Eddsa>),
    dispatch::signature_sign_init(sign_init),
    dispatch::signature_sign(sign),
    dispatch::signature_verify_init(verify_init),
    dispatch::signature_verify(verify),
    dispatch::signature_digest_sign_init(digest_sign_init),
    dispatch::signature_digest_sign(sign),
    dispatch::signature_digest_verify_init(digest_verify_init),
    dispatch::signature_digest_verify(verify),
    dispatch::signature_get_ctx_params(get_ctx_params),
    dispatch::signature_gettable_ctx_params(gettable_ctx_params),
    dispatch::signature_set_ctx_params(set_ctx_params),
    dispatch::signature_settable_ctx_params(settable_ctx_params),
    dispatch::signature_query_key_types(query_key_types),
    dispatch::signature_sign_message_init(sign_message_init),
    dispatch::signature_verify_message_init(verify_message_init),
    dispatch::END,
];

const SIGNATURE_LEN: usize = 64;

/// One operation context.
#[derive(Default)]
struct Eddsa {
    key: Option<Operand>,
    operation: Operation,
    /// The default provider's context, if it does the operation.
    delegate: Option<Delegate>,
}

/// Which operation it is, by the function that began it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Operation {
    Sign,
    Verify,
    SignMessage,
    VerifyMessage,
    #[default]
    DigestSign,
    DigestVerify,
}

impl Dup for Eddsa {
    fn dup(&self) -> Option<Self> {
        let delegate = match &self.delegate {
            None => None,
            Some(delegate) => Some(delegate.dup()?),
        };
        Some(Self {
            key: self.key.clone(),
            operation: self.operation,
            delegate,
        })
    }
}

impl Eddsa {
    /// Returns a context of the default provider for this operation, or what it answers instead.
    fn inner_ctx(&self, params: Params<'_>) -> Result<Delegate, c_int> {
        match self.operation {
            Operation::Sign => self.key_ctx(ffi::EVP_PKEY_sign_init_ex, params),
            Operation::Verify => self.key_ctx(ffi::EVP_PKEY_verify_init_ex, params),
            Operation::SignMessage => self.key_ctx(newer::sign_message_init, params),
            Operation::VerifyMessage => self.key_ctx(newer::verify_message_init, params),
            Operation::DigestSign => self.digest_ctx(ffi::EVP_DigestSignInit_ex, params),
            Operation::DigestVerify => self.digest_ctx(ffi::EVP_DigestVerifyInit_ex, params),
        }
    }

    fn key_ctx(&self, init: KeyInit, params: Params<'_>) -> Result<Delegate, c_int> {
        let ctx = self.key.as_ref().and_then(Operand::inner_ctx).ok_or(0)?;
        // SAFETY: live context; the array is handed on as it came.
        match unsafe { init(ctx.as_ptr(), params.as_ptr()) } {
            1.. => Ok(Delegate::Key(ctx)),
            answer => Err(answer),
        }
    }

    fn digest_ctx(&self, init: DigestInit, params: Params<'_>) -> Result<Delegate, c_int> {
        let key = self.key.as_ref().ok_or(0)?;
        let ctx = DigestCtx::start(&key.context.inner, &key.inner, init, None, params).ok_or(0)?;
        Ok(Delegate::Digest(ctx))
    }

    /// Returns the default provider's context of this operation, or a new one, which is put in
    /// `fresh`.
    fn delegate<'a>(&'a self, fresh: &'a mut Option<Delegate>) -> Option<&'a Delegate> {
        if self.delegate.is_none() {
            *fresh = self.inner_ctx(Params::NONE).ok();
        }
        self.delegate.as_ref().or(fresh.as_ref())
    }

    /// Begins an operation with `key`, or with the last one. Answers 1, or as the default provider
    /// does, 0 or less.
    fn start(
        &mut self,
        operation: Operation,
        digest: Option<&CStr>,
        key: Option<Operand>,
        params: Params<'_>,
    ) -> c_int {
        self.delegate = None;
        self.operation = operation;
        if key.is_some() {
            self.key = key;
        }
        if self.key.is_none() {
            raise(format_args!("Ed25519: no key; bind one first"));
            return 0;
        }
        if digest.is_some_and(|name| !name.is_empty()) {
            raise(format_args!(
                "Ed25519 hashes by itself; give no digest to EVP_DigestSignInit"
            ));
            return 0;
        }
        match operation {
            Operation::SignMessage | Operation::DigestSign => c_int::from(self.set(params)),
            _ => self.hand_on(params).map_or_else(|answer| answer, |()| 1),
        }
    }

    /// Makes the operation the default provider's.
    fn hand_on(&mut self, params: Params<'_>) -> Result<(), c_int> {
        self.delegate = Some(self.inner_ctx(params)?);
        Ok(())
    }

    /// Takes in parameters, none of which is ours; the TLS version says nothing about the
    /// signature.
    fn set(&mut self, params: Params<'_>) -> bool {
        if params.iter().all(|param| param.key() == names::TLS_VERSION) {
            return true;
        }
        match &self.delegate {
            Some(delegate) => delegate.set(params),
            None => self.hand_on(params).is_ok(),
        }
    }

    /// Signs `message`. May pause.
    fn sign(&self, message: &[u8], output: Output) -> bool {
        let device = self.key.as_ref().and_then(|key| key.device.as_ref());
        if let (Some(device), None, true) = (
            device,
            &self.delegate,
            message.len() <= OpKind::Ed25519.input_len(),
        ) {
            return output.produce("signature", SIGNATURE_LEN, |signature| {
                let request = Request::ed25519(device, message).ok()?;
                offload(&request, &mut signature[..SIGNATURE_LEN]).then_some(SIGNATURE_LEN)
            });
        }
        let mut fresh = None;
        let Some(delegate) = self.delegate(&mut fresh) else {
            return false;
        };
        count_delegated(Delegated::Sign);
        let (data, data_len) = (message.as_ptr(), message.len());
        // SAFETY: live context; the caller's buffers, handed on with their lengths.
        output.delegate(|sig, len| unsafe {
            match delegate {
                Delegate::Key(ctx) => {
                    openssl_sys::EVP_PKEY_sign(ctx.as_ptr(), sig, len, data, data_len)
                }
                Delegate::Digest(ctx) => {
                    openssl_sys::EVP_DigestSign(ctx.as_ptr(), sig, len, data, data_len)
                }
            }
        })
    }

    /// # Safety
    /// `params` is the caller's parameter array.
    unsafe fn get(&self, params: *mut OSSL_PARAM) -> bool {
        let mut fresh = None;
        // SAFETY: by the caller's promise.
        self.delegate(&mut fresh)
            .is_some_and(|delegate| unsafe { delegate.get(params) })
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
    operation: Operation,
    ctx: *mut c_void,
    digest: *const c_char,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    guard(0, || {
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
        match (eddsa, key) {
            (Some(eddsa), Ok(key)) if params.have_values() => {
                eddsa.start(operation, digest, key, params)
            }
            _ => 0,
        }
    })
}

/// The functions that begin an operation without a digest's name.
macro_rules! inits {
    ($($name:ident = $operation:ident;)*) => {
        $(
            unsafe extern "C" fn $name(
                ctx: *mut c_void,
                key: *mut c_void,
                params: *const OSSL_PARAM,
            ) -> c_int {
                // SAFETY: see `newctx`.
                unsafe { start(Operation::$operation, ctx, ptr::null(), key, params) }
            }
        )*
    };
}

inits! {
    sign_init = Sign;
    verify_init = Verify;
    sign_message_init = SignMessage;
    verify_message_init = VerifyMessage;
}

unsafe extern "C" fn digest_sign_init(
    ctx: *mut c_void,
    digest: *const c_char,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `newctx`.
    unsafe { start(Operation::DigestSign, ctx, digest, key, params) }
}

unsafe extern "C" fn digest_verify_init(
    ctx: *mut c_void,
    digest: *const c_char,
    key: *mut c_void,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: see `newctx`.
    unsafe { start(Operation::DigestVerify, ctx, digest, key, params) }
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
unsafe extern "C" fn verify(
    ctx: *mut c_void,
    sig: *const c_uchar,
    sig_len: size_t,
    tbs: *const c_uchar,
    tbs_len: size_t,
) -> c_int {
    guard(0, || {
        // SAFETY: see `newctx`.
        let eddsa = unsafe { borrow_mut::<Eddsa>(ctx) };
        let Some(delegate) = eddsa.and_then(|eddsa| eddsa.delegate.as_ref()) else {
            return 0;
        };
        count_delegated(Delegated::Verify);
        // SAFETY: live context; the caller's buffers, handed on with their lengths.
        unsafe {
            match delegate {
                Delegate::Key(ctx) => {
                    openssl_sys::EVP_PKEY_verify(ctx.as_ptr(), sig, sig_len, tbs, tbs_len)
                }
                Delegate::Digest(ctx) => {
                    openssl_sys::EVP_DigestVerify(ctx.as_ptr(), sig, sig_len, tbs, tbs_len)
                }
            }
        }
    })
}

/// The key managers whose keys it takes.
unsafe extern "C" fn query_key_types() -> *const *const c_char {
    struct Names([*const c_char; 2]);
    // SAFETY: static C strings, never written.
    unsafe impl Sync for Names {}
    static NAMES: Names = Names([c"ED25519".as_ptr(), ptr::null()]);
    NAMES.0.as_ptr()
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
