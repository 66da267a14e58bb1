//! A bound key of RSA or Ed25519, and what operations need of any key.
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
use super::dispatch;
use super::error::{Quiet, guard, raise};
use super::ffi::{self, OSSL_CALLBACK, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, borrow};
use super::inner::{Key, KeyCtx};
use super::keymgmt::{self, KeyData};
use super::params::Params;

/// Finds the key for devices in a key of the default provider: none if no device does its kind.
pub(super) type DeviceKey = fn(&Key) -> Result<Option<cryptodev::Key>, KeyError>;

/// A type of keys that are bound.
pub(super) struct Kind {
    /// Its name.
    pub name: &'static CStr,
    /// Whether parameters look like a private key that devices do. What passes may still fail.
    pub is_for_devices: fn(Params<'_>) -> bool,
    pub device_key: DeviceKey,
    /// Names of the private parts.
    pub private: &'static [&'static CStr],
}

/// What an operation needs of a key. It shares it, so that the key may be freed while the operation
/// pauses.
#[derive(Clone)]
pub(super) struct Operand {
    pub context: ContextRef,
    /// In the inner library context.
    pub inner: Arc<Key>,
    /// For devices.
    pub device: Option<Arc<cryptodev::Key>>,
    /// Longest signature in bytes.
    pub size: usize,
}

impl Operand {
    /// A context of the default provider for operations with the key.
    pub fn inner_ctx(&self) -> Option<KeyCtx> {
        KeyCtx::new(&self.context.inner, &self.inner)
    }
}

/// The key that libcrypto gives to an init function: `Ok(None)` to go on with the last one, `Err`
/// with an error queued if it is empty.
pub(super) type Given = Result<Option<Operand>, Empty>;

/// A key without content.
pub(super) struct Empty;

/// Key data of our RSA and Ed25519 key managers.
pub(super) struct BoundKey {
    context: ContextRef,
    kind: &'static Kind,
    content: OnceLock<Content>,
}

/// What an import fills in.
struct Content {
    operand: Operand,
    has_public: bool,
    has_private: bool,
}

impl BoundKey {
    fn new(context: ContextRef, kind: &'static Kind) -> Self {
        Self {
            context,
            kind,
            content: OnceLock::new(),
        }
    }

    /// The content, or an error on the queue if nothing has been imported.
    fn content(&self) -> Option<&Content> {
        let content = self.content.get();
        if content.is_none() {
            raise(format_args!("the key is empty; import one first"));
        }
        content
    }
}

impl KeyData for BoundKey {
    /// Fills it with the key that `params` describe, if it is one for devices.
    fn import(&mut self, selection: c_int, params: Params<'_>) -> bool {
        let name = self.kind.name;
        // Asked first, as it costs least: libcrypto offers us every public key it verifies with.
        if !(self.kind.is_for_devices)(params) {
            raise(format_args!(
                "{name:?}: not a private key that devices do; leave it in the default provider"
            ));
            return false;
        }
        let Some(inner) = self.context.inner.import(name, selection, params) else {
            return false;
        };
        let device = match (self.kind.device_key)(&inner) {
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
            has_public: true,
            has_private: true,
            operand: Operand {
                context: self.context,
                size: inner.size(),
                device: Some(Arc::new(device)),
                inner: Arc::new(inner),
            },
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
        let (this, other) = (this.operand.inner.as_ptr(), other.operand.inner.as_ptr());
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
        self.content()
            .and_then(|content| content.operand.inner_ctx())
            .is_some_and(|ctx| ctx.check(selection, quick))
    }

    /// The public part only.
    unsafe fn export(&self, selection: c_int, callback: OSSL_CALLBACK, arg: *mut c_void) -> bool {
        // No error is raised: libcrypto tries this for every signature before it asks us to sign.
        if selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY != 0 {
            return false;
        }
        self.content().is_some_and(|content| {
            let key = content.operand.inner.as_ptr();
            // SAFETY: live key; callback and argument are handed on as they came.
            unsafe { ffi::EVP_PKEY_export(key, selection, callback, arg) == 1 }
        })
    }

    /// Of the public part only.
    unsafe fn get(&self, params: *mut OSSL_PARAM) -> bool {
        let Some(content) = self.content() else {
            return false;
        };
        // SAFETY: by the caller's promise.
        let wanted = unsafe { Params::new(params) };
        let mut private = self.kind.private.iter();
        !private.any(|name| wanted.find(name).is_some())
            // SAFETY: live key; the array is handed on as it came.
            && unsafe {
                openssl_sys::EVP_PKEY_get_params(content.operand.inner.as_ptr(), params) == 1
            }
    }

    fn dup(&self, selection: c_int) -> Option<Self> {
        let _quiet = Quiet::new();
        let copy = Self::new(self.context, self.kind);
        let Some(content) = self.content.get() else {
            return Some(copy);
        };
        let Operand { inner, device, .. } = &content.operand;
        let pair = ffi::OSSL_KEYMGMT_SELECT_KEYPAIR;
        let whole = selection & pair == pair;
        let inner = if whole {
            inner.dup()?
        } else {
            self.context
                .inner
                .copy_parts(self.kind.name, inner, selection)?
        };
        let content = Content {
            operand: Operand {
                inner: Arc::new(inner),
                device: device.clone().filter(|_| whole),
                ..content.operand
            },
            has_public: content.has_public && selection & ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY != 0,
            has_private: content.has_private
                && selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY != 0,
        };
        copy.content.set(content).ok().map(|()| copy)
    }
}

/// What an operation needs of the key behind `key`.
///
/// # Safety
/// `key` is null or key data of one of our key managers of bound keys.
pub(super) unsafe fn operand(key: *const c_void) -> Given {
    // SAFETY: by the caller's promise.
    match unsafe { borrow::<BoundKey>(key) } {
        None => Ok(None),
        Some(key) => match key.content() {
            Some(content) => Ok(Some(content.operand.clone())),
            None => Err(Empty),
        },
    }
}

/// The table of a key manager of bound keys, which differ in these functions.
pub(super) const fn table(
    new: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    types: unsafe extern "C" fn(c_int) -> *const OSSL_PARAM,
    gettable_params: unsafe extern "C" fn(*mut c_void) -> *const OSSL_PARAM,
) -> [OSSL_DISPATCH; 13] {
    [
        dispatch::keymgmt_new(new),
        dispatch::keymgmt_free(held::free::<BoundKey>),
        dispatch::keymgmt_has(keymgmt::has::<BoundKey>),
        dispatch::keymgmt_match(keymgmt::matches::<BoundKey>),
        dispatch::keymgmt_validate(keymgmt::validate::<BoundKey>),
        dispatch::keymgmt_import(keymgmt::import::<BoundKey>),
        dispatch::keymgmt_import_types(types),
        dispatch::keymgmt_export(keymgmt::export::<BoundKey>),
        dispatch::keymgmt_export_types(types),
        dispatch::keymgmt_get_params(keymgmt::get_params::<BoundKey>),
        dispatch::keymgmt_gettable_params(gettable_params),
        dispatch::keymgmt_dup(keymgmt::dup::<BoundKey>),
        dispatch::END,
    ]
}

/// OSSL_FUNC_keymgmt_new for `kind`.
///
/// # Safety
/// `provctx` is what our init function gave out.
pub(super) unsafe fn new(provctx: *mut c_void, kind: &'static Kind) -> *mut c_void {
    guard(std::ptr::null_mut(), || {
        // SAFETY: by the caller's promise.
        let context = unsafe { ContextRef::new(provctx) };
        held::give(context.map(|context| BoundKey::new(context, kind)))
    })
}
