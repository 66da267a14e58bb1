//! Keys whose secret is a device's own, in the shape that libssl takes: an `EVP_PKEY` with the public
//! part, whose signatures go to the device or fail.

use std::cell::RefCell;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::Arc;

use spinlane_crypto::PublicKey;
use spinlane_cryptodev::KeyHandle;

use super::OF_KEYS;
use super::error::last_error;
use super::ffi::{self, EVP_PKEY, OSSL_LIB_CTX};
use super::inner::{Key, KeyCtx};
use super::load::BindError;
use super::names;
use super::params::{self, Params};

thread_local! {
    /// The key that this thread is binding just now. A parameter says that there is one; no address
    /// passes through libcrypto.
    static BINDING: RefCell<Option<Arc<KeyHandle>>> = const { RefCell::new(None) };
}

/// Makes a key of the provider's from `key`, whose secret is a device's own; the caller owns it and
/// frees it by `EVP_PKEY_free`. Give it to `SSL_CTX_use_PrivateKey`. It is a bound key.
///
/// # Errors
/// The secret of `key` is in memory, for which there is [`bind`](super::bind), or the provider is not
/// loaded.
///
/// # Safety
/// `libctx` is the library context that the provider is loaded in.
pub unsafe fn bind_remote(
    key: &Arc<KeyHandle>,
    libctx: *mut OSSL_LIB_CTX,
) -> Result<*mut EVP_PKEY, BindError> {
    let what = key.name().to_owned();
    let Some(public) = key.as_remote() else {
        return Err(BindError::NotOffloaded { what });
    };
    BINDING.set(Some(Arc::clone(key)));
    // SAFETY: by the caller's promise.
    let made = unsafe { import(public, libctx) };
    BINDING.set(None);
    made.map(Key::into_ptr).ok_or_else(|| {
        let detail = last_error();
        BindError::Rejected { what, detail }
    })
}

/// Takes the key that is being bound, if `params` say that there is one.
pub(super) fn take(params: Params<'_>) -> Option<Arc<KeyHandle>> {
    params.find(names::REMOTE)?;
    BINDING.try_with(RefCell::take).ok().flatten()
}

/// # Safety
/// `libctx` is a library context.
unsafe fn import(public: &PublicKey, libctx: *mut OSSL_LIB_CTX) -> Option<Key> {
    let native = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if cfg!(target_endian = "little") {
            bytes.reverse();
        }
        bytes
    };
    let (mut bound, mut remote) = (1, 1);
    let (first, second);
    let mut array = vec![
        params::int(names::BOUND, &mut bound),
        params::int(names::REMOTE, &mut remote),
    ];
    let name: &CStr = match public {
        PublicKey::Rsa(key) => {
            (first, second) = (native(key.modulus()), native(key.public_exponent()));
            array.extend([
                params::unsigned(names::RSA_N, &first),
                params::unsigned(names::RSA_E, &second),
            ]);
            c"RSA"
        }
        PublicKey::EcP256(key) => {
            first = key.point().as_ref().to_vec();
            array.extend(on_curve(c"prime256v1", &first));
            c"EC"
        }
        PublicKey::EcP384(key) => {
            first = key.point().as_ref().to_vec();
            array.extend(on_curve(c"secp384r1", &first));
            c"EC"
        }
        PublicKey::Ed25519(key) => {
            array.push(params::octets(names::PUB, key));
            c"ED25519"
        }
    };
    array.push(params::end());
    // SAFETY: C strings, a library context by the caller's promise; the result is owned.
    let ctx = KeyCtx::own(unsafe {
        openssl_sys::EVP_PKEY_CTX_new_from_name(libctx, name.as_ptr(), OF_KEYS.as_ptr())
    })?;
    const WHOLE: c_int = ffi::OSSL_KEYMGMT_SELECT_ALL;
    let mut made = ptr::null_mut();
    // SAFETY: live context, an array that its end stops and whose values live through the calls; what is
    // made is owned.
    let done = unsafe {
        openssl_sys::EVP_PKEY_fromdata_init(ctx.as_ptr()) > 0
            && openssl_sys::EVP_PKEY_fromdata(ctx.as_ptr(), &mut made, WHOLE, array.as_mut_ptr())
                > 0
    };
    Key::own(made).filter(|_| done)
}

fn on_curve(curve: &'static CStr, point: &[u8]) -> [ffi::OSSL_PARAM; 2] {
    [
        params::text(names::GROUP, curve),
        params::octets(names::PUB, point),
    ]
}
