//! What one loading of the provider holds.

use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::NonNull;

use super::ffi;
use super::inner::{Inner, Tables};

/// Made when the provider is initialised, freed when it is torn down.
pub(super) struct Context {
    pub inner: Inner,
    pub rsa_key: Tables,
    pub rsa_gen: Tables,
    pub ec_key: Tables,
    pub ec_gen: Tables,
    pub ecdh: Tables,
    pub ed25519_key: Tables,
    pub ed25519_gen: Tables,
    pub ed25519_signature: Tables,
    pub rsa_signature: Tables,
    pub ecdsa_signature: Tables,
    pub rsa_cipher: Tables,
    /// Salt of a PSS signature whose salt length nobody set.
    pub default_salt_len: i32,
}

impl Context {
    /// Makes a context. Returns `None` if the default provider lacks something, or if memory is
    /// out.
    pub fn new() -> Option<Self> {
        let inner = Inner::new()?;
        // SAFETY: no arguments, no state.
        let version = unsafe { (ffi::OPENSSL_version_major(), ffi::OPENSSL_version_minor()) };
        Some(Self {
            rsa_key: Tables::of_keymgmt(&inner, c"RSA")?,
            rsa_gen: Tables::of_generation(&inner, c"RSA")?,
            ec_key: Tables::of_keymgmt(&inner, c"EC")?,
            ec_gen: Tables::of_generation(&inner, c"EC")?,
            ecdh: Tables::of_keyexch(&inner, c"ECDH")?,
            ed25519_key: Tables::of_keymgmt(&inner, c"ED25519")?,
            ed25519_gen: Tables::of_generation(&inner, c"ED25519")?,
            ed25519_signature: Tables::of_signature(&inner, c"ED25519")?,
            rsa_signature: Tables::of_signature(&inner, c"RSA")?,
            ecdsa_signature: Tables::of_signature(&inner, c"ECDSA")?,
            rsa_cipher: Tables::of_asym_cipher(&inner, c"RSA")?,
            default_salt_len: if version > (3, 0) {
                ffi::RSA_PSS_SALTLEN_AUTO_DIGEST_MAX
            } else {
                ffi::RSA_PSS_SALTLEN_AUTO
            },
            inner,
        })
    }

    /// Hands it to libcrypto as the provider's context.
    pub fn into_raw(self) -> *mut c_void {
        Box::into_raw(Box::new(self)).cast()
    }
}

/// A provider context as everything made by the provider refers to it.
///
/// libcrypto tears a provider down only when all is freed that was made through its functions:
/// every key and every operation context holds a reference to the algorithm it belongs to, and
/// every algorithm one to its provider. So the context outlives each `ContextRef`.
#[derive(Clone, Copy)]
pub(super) struct ContextRef(NonNull<Context>);

// SAFETY: a shared reference in effect, and `Context` is `Sync`.
unsafe impl Send for ContextRef {}
// SAFETY: as above.
unsafe impl Sync for ContextRef {}

impl ContextRef {
    /// # Safety
    /// `provctx` is null or came from [`Context::into_raw`] and has not been torn down.
    pub unsafe fn new(provctx: *mut c_void) -> Option<Self> {
        NonNull::new(provctx.cast()).map(Self)
    }

    /// Frees it.
    ///
    /// # Safety
    /// As for [`ContextRef::new`]; nothing refers to it any more.
    pub unsafe fn tear_down(self) {
        // SAFETY: came from `into_raw`; last use by the caller's promise.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Deref for ContextRef {
    type Target = Context;

    fn deref(&self) -> &Context {
        // SAFETY: alive, see above; never changed after it was made.
        unsafe { self.0.as_ref() }
    }
}

const _: () = {
    const fn sync<T: Sync>() {}
    sync::<Context>();
};

/// Functions that hand out a list of parameters of [`Tables`]: `name(arguments before) =
/// field.list;`.
macro_rules! param_lists {
    ($($name:ident($($before:ident)?) = $tables:ident.$list:ident;)*) => {$(
        unsafe extern "C" fn $name(
            $($before: *mut std::ffi::c_void,)?
            provctx: *mut std::ffi::c_void,
        ) -> *const $crate::provider::ffi::OSSL_PARAM {
            // SAFETY: libcrypto passes what our init function gave out.
            unsafe { $crate::provider::context::ContextRef::new(provctx) }
                .map_or(std::ptr::null(), |context| context.$tables.$list)
        }
    )*};
}
pub(super) use param_lists;
