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
use super::error::{Quiet, check, guard, raise};
use super::ffi::{self, OSSL_CALLBACK, OSSL_PARAM};
use super::held;
use super::inner::{Key, KeyCtx};
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

    /// Fills it with the key that `params` describe, if it is one for devices.
    fn import(&self, selection: c_int, params: Params<'_>) -> bool {
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

    fn dup(&self, selection: c_int) -> Option<Self> {
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

/// The key data behind `key`.
///
/// # Safety
/// `key` is null or came from [`into_raw`] and has not been freed; it stays so for `'a`.
unsafe fn borrow<'a>(key: *const c_void) -> Option<&'a BoundKey> {
    // SAFETY: by the caller's promise.
    unsafe { key.cast::<BoundKey>().as_ref() }
}

/// What an operation needs of the key behind `key`.
///
/// # Safety
/// `key` is null or key data of one of our key managers of bound keys.
pub(super) unsafe fn operand(key: *const c_void) -> Given {
    // SAFETY: by the caller's promise.
    match unsafe { borrow(key) } {
        None => Ok(None),
        Some(key) => match key.content() {
            Some(content) => Ok(Some(content.operand.clone())),
            None => Err(Empty),
        },
    }
}

fn into_raw(key: BoundKey) -> *mut c_void {
    held::give(Some(key))
}

/// OSSL_FUNC_keymgmt_new for `kind`.
///
/// # Safety
/// `provctx` is what our init function gave out.
pub(super) unsafe fn new(provctx: *mut c_void, kind: &'static Kind) -> *mut c_void {
    guard(std::ptr::null_mut(), || {
        // SAFETY: by the caller's promise.
        let Some(context) = (unsafe { ContextRef::new(provctx) }) else {
            return std::ptr::null_mut();
        };
        into_raw(BoundKey::new(context, kind))
    })
}

/// OSSL_FUNC_keymgmt_free. Safety of this and the functions below: libcrypto passes key data
/// that [`new`] or [`dup`] gave out and that it has not freed, and parameter arrays as
/// OSSL_PARAM(3) describes them.
pub(super) unsafe extern "C" fn free(key: *mut c_void) {
    // SAFETY: see above.
    unsafe { held::free::<BoundKey>(key) }
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
        unsafe {
            ffi::EVP_PKEY_export(content.operand.inner.as_ptr(), selection, callback, arg) == 1
        }
    })
}

/// OSSL_FUNC_keymgmt_get_params: of the public part only.
pub(super) unsafe extern "C" fn get_params(key: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `free`.
        let (key, wanted) = unsafe { (borrow(key), Params::new(params)) };
        let Some((key, content)) = key.and_then(|key| Some((key, key.content()?))) else {
            return false;
        };
        if key
            .kind
            .private
            .iter()
            .any(|name| wanted.find(name).is_some())
        {
            return false;
        }
        // SAFETY: live key; the array is handed on as it came.
        unsafe { openssl_sys::EVP_PKEY_get_params(content.operand.inner.as_ptr(), params) == 1 }
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
