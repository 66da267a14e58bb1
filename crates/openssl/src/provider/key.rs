//! A bound key: what RSA, EC and Ed25519 have in common.
//!
//! It holds the key twice: as a key of the default provider in the inner library context, which
//! answers every question and does what is not offloaded, and as a [`Key`] for devices, if a
//! device can do its private operation. It gives its public part to other providers and never
//! its private part: a key that another provider could have would silently be used there.

use std::ffi::{CStr, c_int, c_void};
use std::sync::{Arc, OnceLock};

use spinlane_cryptodev as cryptodev;
use spinlane_cryptodev::KeyError;

use super::context::ContextRef;
use super::error::{Quiet, check, guard, raise};
use super::ffi::{self, OSSL_CALLBACK, OSSL_PARAM};
use super::inner::{Key, KeyCtx};
use super::params::{Param, Params};
use super::{key_ec, key_ed25519, key_rsa, names};

/// The types of keys that can be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSA, without restriction to PSS.
    Rsa,
    /// EC, on any curve; P-256 and P-384 are offloaded.
    Ec,
    /// Ed25519.
    Ed25519,
}

impl Algorithm {
    /// Name of the key type.
    pub fn key_name(self) -> &'static CStr {
        match self {
            Self::Rsa => c"RSA",
            Self::Ec => c"EC",
            Self::Ed25519 => c"ED25519",
        }
    }

    /// Whether `params` look like a private key that devices do. What passes may still fail.
    fn is_for_devices(self, params: Params<'_>) -> bool {
        match self {
            Self::Rsa => {
                // A number may be padded.
                let bytes = params.find(names::RSA_N).map_or(0, Param::len);
                bytes >= 256 && params.find(names::RSA_D).is_some()
            }
            Self::Ec => {
                let group = params.find(names::GROUP).and_then(Param::text);
                group.is_some_and(|name| {
                    key_ec::NAMES
                        .iter()
                        .any(|known| name.eq_ignore_ascii_case(known))
                }) && params.find(names::PRIV).is_some()
            }
            Self::Ed25519 => params
                .find(names::PRIV)
                .is_some_and(|param| param.len() == key_ed25519::LEN),
        }
    }

    /// The key for devices in `key`: none if no device does its kind.
    pub fn device_key(self, key: &Key) -> Result<Option<cryptodev::Key>, KeyError> {
        match self {
            Self::Rsa => key_rsa::device_key(key),
            Self::Ec => key_ec::device_key(key),
            Self::Ed25519 => key_ed25519::device_key(key),
        }
    }
}

/// Key data of our RSA, EC and Ed25519 key managers.
pub(super) struct BoundKey {
    pub context: ContextRef,
    pub algorithm: Algorithm,
    content: OnceLock<Content>,
}

/// What an import fills in.
pub(super) struct Content {
    /// In the inner library context.
    pub inner: Key,
    /// For devices.
    pub device: Option<Arc<cryptodev::Key>>,
    /// Longest signature in bytes.
    pub size: usize,
    has_public: bool,
    has_private: bool,
}

impl BoundKey {
    fn new(context: ContextRef, algorithm: Algorithm) -> Self {
        Self {
            context,
            algorithm,
            content: OnceLock::new(),
        }
    }

    /// The content, or an error on the queue if nothing has been imported.
    pub fn content(&self) -> Option<&Content> {
        let content = self.content.get();
        if content.is_none() {
            raise(format_args!("the key is empty; import one first"));
        }
        content
    }

    /// A context of the default provider for operations with the key.
    pub fn inner_ctx(&self) -> Option<KeyCtx> {
        KeyCtx::new(&self.context.inner, &self.content()?.inner)
    }

    /// Fills it with the key that `params` describe, if it is one for devices.
    fn import(&self, selection: c_int, params: Params<'_>) -> bool {
        let name = self.algorithm.key_name();
        // Asked first, as it costs least: libcrypto offers us every public key it verifies with.
        if !self.algorithm.is_for_devices(params) {
            raise(format_args!(
                "{name:?}: not a private key that devices do; leave it in the default provider"
            ));
            return false;
        }
        let Some(inner) = self.context.inner.import(name, selection, params) else {
            return false;
        };
        let device = match self.algorithm.device_key(&inner) {
            Ok(Some(device)) => device,
            Ok(None) => {
                raise(format_args!(
                    "{name:?}: devices do no such key; leave it in the default provider"
                ));
                return false;
            }
            Err(error) => {
                raise(format_args!("{error}"));
                return false;
            }
        };
        let content = Content {
            size: inner.size(),
            has_public: match self.algorithm {
                Algorithm::Rsa => true,
                Algorithm::Ec | Algorithm::Ed25519 => inner.has_octets(names::PUB),
            },
            has_private: true,
            device: Some(Arc::new(device)),
            inner,
        };
        let filled = self.content.set(content).is_ok();
        if !filled {
            raise(format_args!(
                "the key has content already; import into a fresh one"
            ));
        }
        filled
    }

    fn has(&self, selection: c_int) -> bool {
        let Some(content) = self.content.get() else {
            return false;
        };
        (selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY == 0 || content.has_private)
            && (selection & ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY == 0 || content.has_public)
    }

    fn matches(&self, other: &Self, selection: c_int) -> bool {
        let (Some(this), Some(other)) = (self.content.get(), other.content.get()) else {
            return false;
        };
        let (this, other) = (this.inner.as_ptr(), other.inner.as_ptr());
        // SAFETY: both keys live.
        unsafe {
            if selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR != 0 {
                openssl_sys::EVP_PKEY_eq(this, other) == 1
            } else {
                openssl_sys::EVP_PKEY_parameters_eq(this, other) == 1
            }
        }
    }

    fn validate(&self, selection: c_int, quick: bool) -> bool {
        let Some(ctx) = self.inner_ctx() else {
            return false;
        };
        let ctx = ctx.as_ptr();
        let both = ffi::OSSL_KEYMGMT_SELECT_KEYPAIR;
        // SAFETY: live context.
        let result = unsafe {
            match selection & both {
                pair if pair == both => ffi::EVP_PKEY_pairwise_check(ctx),
                ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY => ffi::EVP_PKEY_private_check(ctx),
                ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY if quick => {
                    ffi::EVP_PKEY_public_check_quick(ctx)
                }
                ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY => openssl_sys::EVP_PKEY_public_check(ctx),
                _ => ffi::EVP_PKEY_param_check(ctx),
            }
        };
        result == 1
    }

    fn dup(&self, selection: c_int) -> Option<Self> {
        let copy = Self::new(self.context, self.algorithm);
        let Some(content) = self.content.get() else {
            return Some(copy);
        };
        let whole =
            selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR == ffi::OSSL_KEYMGMT_SELECT_KEYPAIR;
        let inner = if whole {
            // SAFETY: live key; the result is owned.
            Key::own(unsafe { ffi::EVP_PKEY_dup(content.inner.as_ptr()) })?
        } else {
            let mut parts = std::ptr::null_mut();
            // SAFETY: live key; `parts` receives an owned array, which is read and freed here.
            unsafe {
                if openssl_sys::EVP_PKEY_todata(content.inner.as_ptr(), selection, &mut parts) != 1
                {
                    return None;
                }
                let name = self.algorithm.key_name();
                let inner = self
                    .context
                    .inner
                    .import(name, selection, Params::new(parts));
                openssl_sys::OSSL_PARAM_free(parts);
                inner?
            }
        };
        let content = Content {
            inner,
            device: content.device.clone().filter(|_| whole),
            size: content.size,
            has_public: content.has_public && selection & ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY != 0,
            has_private: content.has_private
                && selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY != 0,
        };
        copy.content.set(content).ok().map(|()| copy)
    }
}

/// The key data behind `key`.
///
/// # Safety
/// `key` is null or came from [`into_raw`] and has not been freed; it stays so for `'a`.
pub(super) unsafe fn borrow<'a>(key: *const c_void) -> Option<&'a BoundKey> {
    // SAFETY: by the caller's promise.
    unsafe { key.cast::<BoundKey>().as_ref() }
}

/// A share in the key data behind `key`.
///
/// # Safety
/// As for [`borrow`], at the time of the call.
pub(super) unsafe fn share(key: *const c_void) -> Option<Arc<BoundKey>> {
    let key = key.cast::<BoundKey>();
    if key.is_null() {
        return None;
    }
    // SAFETY: `key` came from `Arc::into_raw` and holds the count that `free` gives back.
    unsafe {
        Arc::increment_strong_count(key);
        Some(Arc::from_raw(key))
    }
}

fn into_raw(key: BoundKey) -> *mut c_void {
    Arc::into_raw(Arc::new(key)).cast_mut().cast()
}

/// OSSL_FUNC_keymgmt_new for `algorithm`.
///
/// # Safety
/// `provctx` is what our init function gave out.
pub(super) unsafe fn new(provctx: *mut c_void, algorithm: Algorithm) -> *mut c_void {
    guard(std::ptr::null_mut(), || {
        // SAFETY: by the caller's promise.
        let Some(context) = (unsafe { ContextRef::new(provctx) }) else {
            return std::ptr::null_mut();
        };
        into_raw(BoundKey::new(context, algorithm))
    })
}

/// OSSL_FUNC_keymgmt_free. Safety of this and the functions below: libcrypto passes key data
/// that [`new`] or [`dup`] gave out and that it has not freed, and parameter arrays as
/// OSSL_PARAM(3) describes them.
pub(super) unsafe extern "C" fn free(key: *mut c_void) {
    guard((), || {
        if !key.is_null() {
            // SAFETY: gives back the count of `into_raw`.
            drop(unsafe { Arc::from_raw(key.cast::<BoundKey>()) });
        }
    });
}

/// OSSL_FUNC_keymgmt_has.
pub(super) unsafe extern "C" fn has(key: *const c_void, selection: c_int) -> c_int {
    // SAFETY: see `free`.
    check(|| unsafe { borrow(key) }.is_some_and(|key| key.has(selection)))
}

/// OSSL_FUNC_keymgmt_match.
pub(super) unsafe extern "C" fn matches(
    a: *const c_void,
    b: *const c_void,
    selection: c_int,
) -> c_int {
    check(|| {
        // SAFETY: see `free`.
        let (a, b) = unsafe { (borrow(a), borrow(b)) };
        a.zip(b).is_some_and(|(a, b)| a.matches(b, selection))
    })
}

/// OSSL_FUNC_keymgmt_validate.
pub(super) unsafe extern "C" fn validate(
    key: *const c_void,
    selection: c_int,
    kind: c_int,
) -> c_int {
    let quick = kind == ffi::OSSL_KEYMGMT_VALIDATE_QUICK_CHECK;
    // SAFETY: see `free`.
    check(|| unsafe { borrow(key) }.is_some_and(|key| key.validate(selection, quick)))
}

/// OSSL_FUNC_keymgmt_import.
pub(super) unsafe extern "C" fn import(
    key: *mut c_void,
    selection: c_int,
    params: *const OSSL_PARAM,
) -> c_int {
    check(|| {
        // SAFETY: see `free`.
        let (key, params) = unsafe { (borrow(key), Params::new(params)) };
        key.is_some_and(|key| key.import(selection, params))
    })
}

/// OSSL_FUNC_keymgmt_export: the public part only.
pub(super) unsafe extern "C" fn export(
    key: *mut c_void,
    selection: c_int,
    callback: Option<OSSL_CALLBACK>,
    arg: *mut c_void,
) -> c_int {
    check(|| {
        // No error is raised: libcrypto tries this for every signature before it asks us to sign.
        if selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY != 0 {
            return false;
        }
        // SAFETY: see `free`.
        let (Some(key), Some(callback)) = (unsafe { borrow(key) }, callback) else {
            return false;
        };
        let Some(content) = key.content() else {
            return false;
        };
        // SAFETY: live key; callback and argument are handed on as they came.
        unsafe { ffi::EVP_PKEY_export(content.inner.as_ptr(), selection, callback, arg) == 1 }
    })
}

/// OSSL_FUNC_keymgmt_get_params.
pub(super) unsafe extern "C" fn get_params(key: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `free`.
        let Some(content) = unsafe { borrow(key) }.and_then(BoundKey::content) else {
            return false;
        };
        // SAFETY: live key; the array is handed on as it came.
        unsafe { openssl_sys::EVP_PKEY_get_params(content.inner.as_ptr(), params) == 1 }
    })
}

/// OSSL_FUNC_keymgmt_set_params: how the public part is encoded, which signing does not look at.
pub(super) unsafe extern "C" fn set_params(key: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `free`.
        let Some(content) = unsafe { borrow(key) }.and_then(BoundKey::content) else {
            return false;
        };
        // SAFETY: see `free`.
        if !unsafe { Params::new(params) }.have_values() {
            return false;
        }
        // SAFETY: live key, with which libcrypto's caller is alone; the array is only read.
        unsafe { openssl_sys::EVP_PKEY_set_params(content.inner.as_ptr(), params.cast_mut()) == 1 }
    })
}

/// OSSL_FUNC_keymgmt_dup.
pub(super) unsafe extern "C" fn dup(key: *const c_void, selection: c_int) -> *mut c_void {
    guard(std::ptr::null_mut(), || {
        let _quiet = Quiet::new();
        // SAFETY: see `free`.
        let copy = unsafe { borrow(key) }.and_then(|key| key.dup(selection));
        copy.map_or(std::ptr::null_mut(), into_raw)
    })
}
