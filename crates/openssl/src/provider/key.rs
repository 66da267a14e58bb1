//! Keys of RSA and Ed25519 as our key managers hold them, and what operations need of any key.
//!
//! libcrypto gives our key managers three sorts of keys: those that were bound, copies of other
//! providers' keys to sign with, and whatever a program makes while the property query, or
//! libcrypto's cache of fetched methods, prefers our key manager. Each is held as a key of the
//! default provider in the inner library context, which answers every question and does what is not
//! offloaded, and as a [`KeyHandle`], if a device can do its private operation.
//!
//! A bound key gives its public part to other providers and never its private part: a key that
//! another provider could have would silently be used there. Every other key is given whole.

use std::ffi::{CStr, c_int, c_void};
use std::sync::{Arc, OnceLock};

use spinlane_crypto as crypto;
use spinlane_crypto::KeyError;
use spinlane_cryptodev::KeyHandle;

use super::context::ContextRef;
use super::dispatch;
use super::error::{Quiet, guard, raise};
use super::ffi::{self, OSSL_CALLBACK, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, borrow};
use super::inner::{Key, KeyCtx};
use super::key_gen::{self, Generation};
use super::keymgmt::{self, KeyData};
use super::names;
use super::params::Params;
use super::remote;

/// Finds the key for devices in a key of the default provider. Returns `None` if no device does its
/// kind.
pub(super) type DeviceKey = fn(&Key) -> Result<Option<crypto::Key>, KeyError>;

/// A type of keys.
pub(super) struct Kind {
    /// Name of the type.
    pub name: &'static CStr,
    pub device_key: DeviceKey,
    /// Whether a key has a public part, and whether it has a private one.
    pub parts: fn(&Key) -> (bool, bool),
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
    pub device: Option<Arc<KeyHandle>>,
    /// Longest signature in bytes.
    pub size: usize,
}

impl Operand {
    /// Returns a context of the default provider for operations with the key.
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
pub(super) struct HeldKey {
    context: ContextRef,
    kind: &'static Kind,
    content: OnceLock<Content>,
}

/// What an import fills in.
#[derive(Clone)]
struct Content {
    inner: Arc<Key>,
    /// Made when an operation first asks.
    device: OnceLock<Option<Arc<KeyHandle>>>,
    /// Whether the private part stays here.
    bound: bool,
    has_public: bool,
    has_private: bool,
}

impl Content {
    fn new(kind: &Kind, inner: Key, bound: bool) -> Self {
        let (has_public, has_private) = (kind.parts)(&inner);
        Self {
            inner: Arc::new(inner),
            device: OnceLock::new(),
            bound,
            has_public,
            has_private,
        }
    }

    /// Returns the key for devices. A key that does not fit together is the default provider's to
    /// judge.
    fn device(&self, kind: &Kind) -> Option<&Arc<KeyHandle>> {
        let make = || {
            let key = (kind.device_key)(&self.inner).ok().flatten();
            key.filter(|_| self.has_private).map(KeyHandle::local)
        };
        self.device.get_or_init(make).as_ref()
    }
}

impl HeldKey {
    fn new(context: ContextRef, kind: &'static Kind) -> Self {
        Self {
            context,
            kind,
            content: OnceLock::new(),
        }
    }

    /// Makes a key that the default provider has generated.
    pub fn generated(context: ContextRef, kind: &'static Kind, inner: Key) -> Self {
        Self {
            context,
            kind,
            content: OnceLock::from(Content::new(kind, inner, false)),
        }
    }

    /// Returns the content, or an error on the queue if nothing has been imported.
    fn content(&self) -> Option<&Content> {
        let content = self.content.get();
        if content.is_none() {
            raise(format_args!("the key is empty; import one first"));
        }
        content
    }

    fn operand(&self) -> Option<Operand> {
        let content = self.content()?;
        Some(Operand {
            context: self.context,
            size: content.inner.size(),
            device: content.device(self.kind).cloned(),
            inner: content.inner.clone(),
        })
    }
}

impl KeyData for HeldKey {
    /// Fills it with the key that `params` describe.
    fn import(&mut self, selection: c_int, params: Params<'_>) -> bool {
        let name = self.kind.name;
        let remote = remote::take(params);
        let parts = match &remote {
            Some(_) => selection & !ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY,
            None => selection,
        };
        let Some(inner) = self.context.inner.import(name, parts, params) else {
            return false;
        };
        let mut content = Content::new(self.kind, inner, params.find(names::BOUND).is_some());
        if let Some(key) = remote {
            content.has_private = true;
            content.device = OnceLock::from(Some(key));
        }
        if content.bound && content.device(self.kind).is_none() {
            raise(format_args!(
                "{name:?}: devices do no such key; leave it in the default provider"
            ));
            return false;
        }
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
        self.content()
            .and_then(|content| KeyCtx::new(&self.context.inner, &content.inner))
            .is_some_and(|ctx| ctx.check(selection, quick))
    }

    /// Of a bound key the public part only.
    unsafe fn export(&self, selection: c_int, callback: OSSL_CALLBACK, arg: *mut c_void) -> bool {
        let Some(content) = self.content() else {
            return false;
        };
        // No error is raised: libcrypto tries this for signatures before it asks us to sign.
        if content.bound && selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY != 0 {
            return false;
        }
        // There are no parameters. libcrypto 3.0's encoder would make an RSA key without numbers of
        // what it gets here, and follow their null pointers (EVP_PKEY_print_params).
        if selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR == 0 {
            return false;
        }
        // SAFETY: live key; callback and argument are handed on as they came.
        unsafe { ffi::EVP_PKEY_export(content.inner.as_ptr(), selection, callback, arg) == 1 }
    }

    /// Of a bound key the public part only.
    unsafe fn get(&self, params: *mut OSSL_PARAM) -> bool {
        let Some(content) = self.content() else {
            return false;
        };
        // SAFETY: by the caller's promise.
        let wanted = unsafe { Params::new(params) };
        if let Some(asked) = wanted.find(names::BOUND) {
            return asked.set_int(c_int::from(content.bound && content.has_private));
        }
        let mut private = self.kind.private.iter();
        if content.bound && private.any(|name| wanted.find(name).is_some()) {
            return false;
        }
        // SAFETY: live key; the array is handed on as it came.
        unsafe { openssl_sys::EVP_PKEY_get_params(content.inner.as_ptr(), params) == 1 }
    }

    fn dup(&self, selection: c_int) -> Option<Self> {
        let _quiet = Quiet::new();
        let copy = Self::new(self.context, self.kind);
        let Some(content) = self.content.get() else {
            return Some(copy);
        };
        let pair = ffi::OSSL_KEYMGMT_SELECT_KEYPAIR;
        let content = if selection & pair == pair {
            content.clone()
        } else {
            let (name, inner) = (self.kind.name, &content.inner);
            let inner = self.context.inner.copy_parts(name, inner, selection)?;
            Content::new(self.kind, inner, content.bound)
        };
        copy.content.set(content).ok().map(|()| copy)
    }
}

/// Returns what an operation needs of the key behind `key`.
///
/// # Safety
/// `key` is null or key data of our RSA or Ed25519 key manager.
pub(super) unsafe fn operand(key: *const c_void) -> Given {
    // SAFETY: by the caller's promise.
    match unsafe { borrow::<HeldKey>(key) } {
        None => Ok(None),
        Some(key) => key.operand().map(Some).ok_or(Empty),
    }
}

/// Returns the table of a key manager of such keys, which differ in these functions.
pub(super) const fn table(
    new: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    types: unsafe extern "C" fn(c_int) -> *const OSSL_PARAM,
    gettable_params: unsafe extern "C" fn(*mut c_void) -> *const OSSL_PARAM,
    gen_init: unsafe extern "C" fn(*mut c_void, c_int, *const OSSL_PARAM) -> *mut c_void,
    gen_settable_params: unsafe extern "C" fn(*mut c_void, *mut c_void) -> *const OSSL_PARAM,
) -> [OSSL_DISPATCH; 18] {
    [
        dispatch::keymgmt_new(new),
        dispatch::keymgmt_free(held::free::<HeldKey>),
        dispatch::keymgmt_has(keymgmt::has::<HeldKey>),
        dispatch::keymgmt_match(keymgmt::matches::<HeldKey>),
        dispatch::keymgmt_validate(keymgmt::validate::<HeldKey>),
        dispatch::keymgmt_import(keymgmt::import::<HeldKey>),
        dispatch::keymgmt_import_types(types),
        dispatch::keymgmt_export(keymgmt::export::<HeldKey>),
        dispatch::keymgmt_export_types(types),
        dispatch::keymgmt_get_params(keymgmt::get_params::<HeldKey>),
        dispatch::keymgmt_gettable_params(gettable_params),
        dispatch::keymgmt_dup(keymgmt::dup::<HeldKey>),
        dispatch::keymgmt_gen_init(gen_init),
        dispatch::keymgmt_gen_set_params(key_gen::set_params),
        dispatch::keymgmt_gen_settable_params(gen_settable_params),
        dispatch::keymgmt_gen(key_gen::generate),
        dispatch::keymgmt_gen_cleanup(held::free::<Generation>),
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
        held::give(context.map(|context| HeldKey::new(context, kind)))
    })
}
