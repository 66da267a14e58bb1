//! Loading the provider into a library context, and binding keys to it.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};

use spinlane_crypto::wiping_stack;
use thiserror::Error;

use super::error::{Quiet, check, last_error};
use super::ffi::{self, EVP_PKEY, OSSL_LIB_CTX, OSSL_PARAM, OSSL_PROVIDER};
use super::inner::{Key, KeyCtx};
use super::key::DeviceKey;
use super::params::{self, Params};
use super::{NAME, OF_KEYS, RAND_NAME, ec_key, init, key_ed25519, key_rsa, names};

/// The provider, loaded. Unloads it when dropped; keys and contexts that use it keep it alive.
#[derive(Debug)]
pub struct Provider {
    spinlane: NonNull<OSSL_PROVIDER>,
    default: NonNull<OSSL_PROVIDER>,
}

// SAFETY: providers may be unloaded on any thread (OSSL_PROVIDER(3)).
unsafe impl Send for Provider {}
// SAFETY: nothing is reachable through a shared reference.
unsafe impl Sync for Provider {}

impl Drop for Provider {
    fn drop(&mut self) {
        // SAFETY: owned since `load`.
        unsafe {
            openssl_sys::OSSL_PROVIDER_unload(self.spinlane.as_ptr());
            openssl_sys::OSSL_PROVIDER_unload(self.default.as_ptr());
        }
    }
}

/// The provider cannot be loaded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// A provider is missing or did not start.
    #[error("provider {name} does not load ({detail}); install OpenSSL 3.0 or later whole")]
    Provider {
        /// Which one.
        name: &'static str,
        /// What libcrypto says.
        detail: String,
    },
}

/// A key that cannot be bound.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BindError {
    /// No device does this key's operations. Use it as it is: OpenSSL serves it.
    #[error(
        "{what} is not offloaded: devices do RSA of 2048, 3072 or 4096 bits with two primes, EC on P-256 and P-384, and Ed25519"
    )]
    NotOffloaded {
        /// What key it is.
        what: String,
    },
    /// The key has only a public part.
    #[error("the {what} key has no private part to offload; load the private key")]
    NoPrivateKey {
        /// What key it is.
        what: String,
    },
    /// The key is not consistent in itself, or its provider gives the private part to nobody.
    #[error(
        "the {what} key cannot be bound to the provider ({detail}); check the key, and that the provider is loaded"
    )]
    Rejected {
        /// What key it is.
        what: String,
        /// What libcrypto says.
        detail: String,
    },
}

/// Loads the provider and the default provider into `libctx` (null for the default library
/// context). To be done before anything is fetched from it: loading providers disables
/// libcrypto's loading of the default provider on demand, which this makes up for. Unless it is
/// the default library context, its random numbers come from [`spinlane_crypto::random`] then.
///
/// # Errors
/// See [`LoadError`].
///
/// # Safety
/// `libctx` is null or a library context that outlives the result.
pub unsafe fn load(libctx: *mut OSSL_LIB_CTX) -> Result<Provider, LoadError> {
    // The default provider first: among equals libcrypto takes the provider that came first, and
    // of RSA and EC only bound keys are to come to us.
    // SAFETY: by the caller's promise.
    let default = unsafe { load_one(libctx, c"default") }?;
    // SAFETY: by the caller's promise; the init function is of the type it is called by.
    unsafe {
        if ffi::OSSL_PROVIDER_available(libctx, NAME.as_ptr()) != 1 {
            ffi::OSSL_PROVIDER_add_builtin(libctx, NAME.as_ptr(), init);
        }
    }
    // SAFETY: by the caller's promise.
    match unsafe { load_one(libctx, NAME) } {
        Ok(spinlane) => {
            // SAFETY: by the caller's promise.
            unsafe { use_our_random(libctx) };
            Ok(Provider { spinlane, default })
        }
        Err(error) => {
            // SAFETY: owned, and given to nobody.
            unsafe { openssl_sys::OSSL_PROVIDER_unload(default.as_ptr()) };
            Err(error)
        }
    }
}

/// Makes our generator that of `libctx`. Not of the default library context, which belongs to the
/// whole process; nor of one that has drawn already, which keeps what it has; nor of one that wants
/// validated algorithms only (`fips=yes` among its default properties), which ours is not.
///
/// # Safety
/// As for [`load`].
unsafe fn use_our_random(libctx: *mut OSSL_LIB_CTX) {
    let _quiet = Quiet::new();
    // SAFETY: by the caller's promise.
    if libctx.is_null() || unsafe { ffi::EVP_default_properties_is_fips_enabled(libctx) } == 1 {
        return;
    }
    // SAFETY: by the caller's promise; libcrypto copies the strings.
    unsafe {
        ffi::RAND_set_DRBG_type(
            libctx,
            RAND_NAME.as_ptr(),
            OF_KEYS.as_ptr(),
            ptr::null(),
            ptr::null(),
        );
    }
}

/// # Safety
/// As for [`load`].
unsafe fn load_one(
    libctx: *mut OSSL_LIB_CTX,
    name: &'static CStr,
) -> Result<NonNull<OSSL_PROVIDER>, LoadError> {
    // SAFETY: by the caller's promise.
    NonNull::new(unsafe { openssl_sys::OSSL_PROVIDER_load(libctx, name.as_ptr()) }).ok_or_else(
        || LoadError::Provider {
            name: name.to_str().unwrap_or_default(),
            detail: last_error(),
        },
    )
}

/// Copies `key` into the provider; returns the bound key, which the caller owns and frees by
/// `EVP_PKEY_free`. Give it to `SSL_CTX_use_PrivateKey`. A key that is bound already is returned
/// with one more reference.
///
/// # Errors
/// See [`BindError`]; [`BindError::NotOffloaded`] is no failure, but worth a log line.
///
/// # Safety
/// `key` is a live key; `libctx` is the library context that the provider is loaded in.
pub unsafe fn bind(
    key: *mut EVP_PKEY,
    libctx: *mut OSSL_LIB_CTX,
) -> Result<*mut EVP_PKEY, BindError> {
    // SAFETY: by the caller's promise.
    wiping_stack(|| unsafe { bind_copy(key, libctx) })
}

/// # Safety
/// As for [`bind`].
unsafe fn bind_copy(
    key: *mut EVP_PKEY,
    libctx: *mut OSSL_LIB_CTX,
) -> Result<*mut EVP_PKEY, BindError> {
    // SAFETY: by the caller's promise; the reference taken is the one `stock` gives back.
    let stock = unsafe {
        openssl_sys::EVP_PKEY_up_ref(key);
        Key::own(key)
    };
    let Some(stock) = stock else {
        return Err(BindError::NoPrivateKey {
            what: "null".to_owned(),
        });
    };
    if stock.int(names::BOUND) == Some(1) {
        return Ok(stock.into_ptr());
    }
    let what = describe(&stock);
    let kinds: [(&CStr, DeviceKey); 3] = [
        (c"RSA", key_rsa::device_key),
        (c"EC", ec_key::device_key),
        (c"ED25519", key_ed25519::device_key),
    ];
    let Some((name, device_key)) = kinds.into_iter().find(|(name, _)| stock.is_a(name)) else {
        return Err(BindError::NotOffloaded { what });
    };
    let has_private = stock.number(names::RSA_D).is_some()
        || stock.number(names::PRIV).is_some()
        || stock.has_octets(names::PRIV);
    if !has_private {
        return Err(BindError::NoPrivateKey { what });
    }
    match device_key(&stock) {
        Ok(Some(_)) => {}
        Ok(None) => return Err(BindError::NotOffloaded { what }),
        Err(error) => {
            let detail = error.to_string();
            return Err(BindError::Rejected { what, detail });
        }
    }
    // SAFETY: by the caller's promise.
    match unsafe { copy(&stock, name, libctx) } {
        Some(bound) => Ok(bound.into_ptr()),
        None => {
            let detail = last_error();
            Err(BindError::Rejected { what, detail })
        }
    }
}

/// Copies the key. libcrypto's exports leave what they export in memory that is freed as it is: so
/// the private parts are asked for one by one, and all else is exported.
///
/// # Safety
/// `libctx` is a library context.
unsafe fn copy(key: &Key, name: &CStr, libctx: *mut OSSL_LIB_CTX) -> Option<Key> {
    /// Where the copy is made, and of what.
    struct Copying {
        ctx: KeyCtx,
        private: Vec<OSSL_PARAM>,
        copy: Option<Key>,
    }

    unsafe extern "C" fn import(parts: *const OSSL_PARAM, copying: *mut c_void) -> c_int {
        check(|| {
            // SAFETY: `copy` below handed out `copying`; libcrypto passes a parameter array.
            let (copying, parts) = unsafe { (&mut *copying.cast::<Copying>(), Params::new(parts)) };
            let mut bound = 1;
            let mut array = parts.to_vec();
            array.append(&mut copying.private);
            array.extend([params::int(names::BOUND, &mut bound), params::end()]);
            let (ctx, mut made) = (copying.ctx.as_ptr(), ptr::null_mut());
            // SAFETY: live context, an array that its end stops; what is made is owned.
            let done = unsafe {
                openssl_sys::EVP_PKEY_fromdata_init(ctx) > 0
                    && openssl_sys::EVP_PKEY_fromdata(ctx, &mut made, WHOLE, array.as_mut_ptr()) > 0
            };
            copying.copy = Key::own(made).filter(|_| done);
            copying.copy.is_some()
        })
    }

    const WHOLE: c_int = ffi::OSSL_KEYMGMT_SELECT_ALL;
    const REST: c_int = WHOLE & !ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY;
    let numbers = key_rsa::PRIVATE.iter().chain([&names::PRIV]);
    let numbers: Vec<_> = numbers
        .map(|name| (*name, key.native_number(name)))
        .collect();
    let octets = key.raw_private::<{ key_ed25519::LEN }>();
    let numbers = numbers.iter().filter_map(|(name, number)| {
        let number = number.as_ref()?;
        Some(params::unsigned(name, number))
    });
    let octets = octets
        .iter()
        .map(|octets| params::octets(names::PRIV, &octets[..]));
    let private = numbers.chain(octets).collect();
    // SAFETY: C strings, a library context by the caller's promise; the result is owned.
    let ctx = KeyCtx::own(unsafe {
        openssl_sys::EVP_PKEY_CTX_new_from_name(libctx, name.as_ptr(), OF_KEYS.as_ptr())
    })?;
    let mut copying = Copying {
        ctx,
        private,
        copy: None,
    };
    // SAFETY: live key; what `import` gets lives through the call.
    unsafe {
        ffi::EVP_PKEY_export(
            key.as_ptr(),
            REST,
            import,
            ptr::from_mut(&mut copying).cast(),
        )
    };
    copying.copy
}

/// Returns the key in words: type and size or curve, no part of it.
fn describe(key: &Key) -> String {
    if let Some(curve) = curve(key) {
        return format!("EC on {curve}");
    }
    // SAFETY: live key; the name, if any, is a C string of its.
    let name = unsafe {
        let name = ffi::EVP_PKEY_get0_type_name(key.as_ptr());
        if name.is_null() {
            "unknown".into()
        } else {
            CStr::from_ptr(name).to_string_lossy()
        }
    };
    match key.bits() {
        0 => name.into_owned(),
        bits => format!("{name} of {bits} bits"),
    }
}

/// Returns the name of an EC key's curve. `None` for other keys, and where the curve has no name.
fn curve(key: &Key) -> Option<String> {
    if !key.is_a(c"EC") {
        return None;
    }
    let _quiet = Quiet::new();
    let (mut name, mut len) = ([0_u8; 64], 0);
    let room = name.len();
    // SAFETY: live key; the buffer is as long as said and gets a C string.
    let is_found = unsafe {
        let to = name.as_mut_ptr().cast();
        ffi::EVP_PKEY_get_group_name(key.as_ptr(), to, room, &raw mut len) == 1
    };
    let name = name.get(..len).filter(|_| is_found)?;
    Some(String::from_utf8_lossy(name).into_owned())
}
