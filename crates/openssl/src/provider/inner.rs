//! Owned libcrypto objects of the inner library context, in which the default provider does what
//! is not offloaded.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{self, NonNull};

use zeroize::Zeroizing;

use super::error::Quiet;
use super::ffi::{
    self, EVP_MD_CTX, EVP_PKEY, EVP_PKEY_CTX, OSSL_LIB_CTX, OSSL_PARAM, OSSL_PROVIDER,
};
use super::names;
use super::params::Params;

/// A library context with the default provider and nothing else.
pub(super) struct Inner {
    libctx: NonNull<OSSL_LIB_CTX>,
    default: NonNull<OSSL_PROVIDER>,
}

// SAFETY: library contexts and providers may be used and freed on any thread (OSSL_LIB_CTX(3)).
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Inner {
    /// Makes an inner library context. Returns `None` if libcrypto has no default provider, or if
    /// memory is out.
    pub fn new() -> Option<Self> {
        // SAFETY: takes no arguments; the result is owned.
        let libctx = NonNull::new(unsafe { openssl_sys::OSSL_LIB_CTX_new() })?;
        // SAFETY: `libctx` is live, the name a C string.
        let default =
            unsafe { openssl_sys::OSSL_PROVIDER_load(libctx.as_ptr(), c"default".as_ptr()) };
        let Some(default) = NonNull::new(default) else {
            // SAFETY: just made, nothing refers to it.
            unsafe { openssl_sys::OSSL_LIB_CTX_free(libctx.as_ptr()) };
            return None;
        };
        Some(Self { libctx, default })
    }

    /// For calls that take one.
    pub fn libctx(&self) -> *mut OSSL_LIB_CTX {
        self.libctx.as_ptr()
    }

    /// Returns the default provider of the context.
    pub fn default_provider(&self) -> *const OSSL_PROVIDER {
        self.default.as_ptr()
    }

    /// Returns the key that `params` describe.
    pub fn import(&self, algorithm: &CStr, selection: c_int, params: Params<'_>) -> Option<Key> {
        if !params.have_values() {
            return None;
        }
        // SAFETY: live context, C string; the result is owned.
        let ctx = unsafe {
            openssl_sys::EVP_PKEY_CTX_new_from_name(self.libctx(), algorithm.as_ptr(), ptr::null())
        };
        let ctx = KeyCtx::own(ctx)?;
        let mut key = ptr::null_mut();
        // SAFETY: live context; `params` is a parameter array, which fromdata only reads.
        let made = unsafe {
            openssl_sys::EVP_PKEY_fromdata_init(ctx.as_ptr()) > 0
                && openssl_sys::EVP_PKEY_fromdata(
                    ctx.as_ptr(),
                    &mut key,
                    selection,
                    params.as_ptr().cast_mut(),
                ) > 0
        };
        if made { Key::own(key) } else { None }
    }
}

impl Inner {
    /// Returns a copy of what `selection` selects of `key`, whose type is `algorithm`.
    pub fn copy_parts(&self, algorithm: &CStr, key: &Key, selection: c_int) -> Option<Key> {
        let mut parts = ptr::null_mut();
        // SAFETY: live key; `parts` receives an owned array, which is read and freed here.
        unsafe {
            if openssl_sys::EVP_PKEY_todata(key.as_ptr(), selection, &mut parts) != 1 {
                return None;
            }
            let copy = self.import(algorithm, selection, Params::new(parts));
            openssl_sys::OSSL_PARAM_free(parts);
            copy
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: both are owned; keys and contexts that were made from them hold references of
        // their own or are gone.
        unsafe {
            openssl_sys::OSSL_PROVIDER_unload(self.default.as_ptr());
            openssl_sys::OSSL_LIB_CTX_free(self.libctx.as_ptr());
        }
    }
}

/// An owned `EVP_PKEY`.
pub(super) struct Key(NonNull<EVP_PKEY>);

// SAFETY: EVP_PKEY is reference-counted atomically and locks what it caches (EVP_PKEY_new(3)).
unsafe impl Send for Key {}
// SAFETY: as above; nothing here changes a key that others may see, but `EVP_PKEY_set_params`,
// of which libcrypto's callers make sure that they are alone with the key.
unsafe impl Sync for Key {}

impl Key {
    /// Takes over `key`.
    pub fn own(key: *mut EVP_PKEY) -> Option<Self> {
        NonNull::new(key).map(Self)
    }

    /// For calls that take one.
    pub fn as_ptr(&self) -> *mut EVP_PKEY {
        self.0.as_ptr()
    }

    /// Gives up ownership.
    pub fn into_ptr(self) -> *mut EVP_PKEY {
        let key = self.as_ptr();
        std::mem::forget(self);
        key
    }

    /// Makes a whole copy.
    pub fn dup(&self) -> Option<Self> {
        // SAFETY: live key; the result is owned.
        Self::own(unsafe { ffi::EVP_PKEY_dup(self.as_ptr()) })
    }

    /// Returns `true` if its type is `name`.
    pub fn is_a(&self, name: &CStr) -> bool {
        // SAFETY: live key, C string.
        unsafe { openssl_sys::EVP_PKEY_is_a(self.as_ptr(), name.as_ptr()) == 1 }
    }

    /// Returns a number of it, big-endian without leading zeros; `None` if it has none of this
    /// name.
    pub fn number(&self, name: &CStr) -> Option<Zeroizing<Vec<u8>>> {
        let _quiet = Quiet::new();
        let mut number = ptr::null_mut();
        // SAFETY: live key, C string; `number` receives an owned BIGNUM.
        if unsafe { openssl_sys::EVP_PKEY_get_bn_param(self.as_ptr(), name.as_ptr(), &mut number) }
            != 1
        {
            return None;
        }
        // SAFETY: `number` is the BIGNUM from above; the buffer is as long as it says.
        unsafe {
            let len = usize::try_from(openssl_sys::BN_num_bits(number))
                .unwrap_or(0)
                .div_ceil(8);
            let mut bytes = Zeroizing::new(vec![0; len]);
            openssl_sys::BN_bn2bin(number, bytes.as_mut_ptr());
            openssl_sys::BN_clear_free(number);
            Some(bytes)
        }
    }

    /// Returns a number in the machine's byte order, as a parameter has it.
    pub fn native_number(&self, name: &CStr) -> Option<Zeroizing<Vec<u8>>> {
        let mut number = self.number(name)?;
        if cfg!(target_endian = "little") {
            number.reverse();
        }
        Some(number)
    }

    /// Returns the private part, if it is `N` bytes without structure.
    /// (EVP_PKEY_get_raw_private_key would leave a copy in memory that is freed as it is.)
    pub fn raw_private<const N: usize>(&self) -> Option<Zeroizing<[u8; N]>> {
        let _quiet = Quiet::new();
        let (mut bytes, mut len) = (Zeroizing::new([0; N]), 0);
        // SAFETY: live key, C string; the buffer has the length said.
        let got = unsafe {
            openssl_sys::EVP_PKEY_get_octet_string_param(
                self.as_ptr(),
                names::PRIV.as_ptr(),
                bytes.as_mut_ptr(),
                N,
                &mut len,
            )
        };
        (got == 1 && len == N).then_some(bytes)
    }

    /// Returns an integer of it; `None` if it has none of this name.
    pub fn int(&self, name: &CStr) -> Option<c_int> {
        let _quiet = Quiet::new();
        let mut value = 0;
        // SAFETY: live key, C string, a place for the answer.
        let got = unsafe { ffi::EVP_PKEY_get_int_param(self.as_ptr(), name.as_ptr(), &mut value) };
        (got == 1).then_some(value)
    }

    /// Returns `true` if it has octets of this name.
    pub fn has_octets(&self, name: &CStr) -> bool {
        let _quiet = Quiet::new();
        let mut len = 0;
        // SAFETY: live key, C string; a null buffer asks for the length only.
        unsafe {
            openssl_sys::EVP_PKEY_get_octet_string_param(
                self.as_ptr(),
                name.as_ptr(),
                ptr::null_mut(),
                0,
                &mut len,
            ) == 1
                && len > 0
        }
    }

    /// Returns `true` if a string of it equals `wanted`.
    pub fn text_is(&self, name: &CStr, wanted: &CStr) -> bool {
        let _quiet = Quiet::new();
        let mut text = [0 as c_char; 64];
        // SAFETY: live key, C string, a buffer of the length said; libcrypto ends it with NUL.
        unsafe {
            openssl_sys::EVP_PKEY_get_utf8_string_param(
                self.as_ptr(),
                name.as_ptr(),
                text.as_mut_ptr(),
                text.len(),
                ptr::null_mut(),
            ) == 1
                && CStr::from_ptr(text.as_ptr()) == wanted
        }
    }

    /// Returns the bits of the modulus or field; 0 if the key has neither.
    pub fn bits(&self) -> usize {
        // SAFETY: live key.
        usize::try_from(unsafe { openssl_sys::EVP_PKEY_bits(self.as_ptr()) }).unwrap_or(0)
    }

    /// Returns the length in bytes of the longest signature or ciphertext; 0 if the key makes
    /// neither.
    pub fn size(&self) -> usize {
        // SAFETY: live key.
        usize::try_from(unsafe { openssl_sys::EVP_PKEY_size(self.as_ptr()) }).unwrap_or(0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { openssl_sys::EVP_PKEY_free(self.as_ptr()) };
    }
}

/// An owned `EVP_PKEY_CTX`.
pub(super) struct KeyCtx(NonNull<EVP_PKEY_CTX>);

impl KeyCtx {
    /// Takes over `ctx`.
    pub fn own(ctx: *mut EVP_PKEY_CTX) -> Option<Self> {
        NonNull::new(ctx).map(Self)
    }

    /// Makes a context for operations with `key`.
    pub fn new(inner: &Inner, key: &Key) -> Option<Self> {
        // SAFETY: live library context and key; the result is owned and holds its own reference.
        Self::own(unsafe {
            ffi::EVP_PKEY_CTX_new_from_pkey(inner.libctx(), key.as_ptr(), ptr::null())
        })
    }

    /// Makes a context that generates keys of the type called `name`, or, unless `pair`, parameters
    /// of such keys.
    pub fn generator(inner: &Inner, name: &CStr, pair: bool) -> Option<Self> {
        // SAFETY: live library context, C string; the result is owned.
        let ctx = Self::own(unsafe {
            openssl_sys::EVP_PKEY_CTX_new_from_name(inner.libctx(), name.as_ptr(), ptr::null())
        })?;
        ctx.start_generating(pair).then_some(ctx)
    }

    /// Makes it generate, key pairs or parameters.
    pub fn start_generating(&self, pair: bool) -> bool {
        // SAFETY: live context.
        unsafe {
            if pair {
                openssl_sys::EVP_PKEY_keygen_init(self.as_ptr()) > 0
            } else {
                openssl_sys::EVP_PKEY_paramgen_init(self.as_ptr()) > 0
            }
        }
    }

    /// Generates what it was made to.
    pub fn generate(&self, pair: bool) -> Option<Key> {
        let mut key = ptr::null_mut();
        // SAFETY: live context; `key` receives an owned key.
        let made = unsafe {
            if pair {
                openssl_sys::EVP_PKEY_keygen(self.as_ptr(), &mut key) > 0
            } else {
                openssl_sys::EVP_PKEY_paramgen(self.as_ptr(), &mut key) > 0
            }
        };
        Key::own(key).filter(|_| made)
    }

    /// For calls that take one.
    pub fn as_ptr(&self) -> *mut EVP_PKEY_CTX {
        self.0.as_ptr()
    }

    /// Checks what `selection` selects of its key, as OSSL_FUNC_keymgmt_validate.
    pub fn check(&self, selection: c_int, quick: bool) -> bool {
        let (ctx, both) = (self.as_ptr(), ffi::OSSL_KEYMGMT_SELECT_KEYPAIR);
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

    /// Hands on a caller's parameters. Returns `false` if one has no value, or is refused.
    pub fn set(&self, params: Params<'_>) -> bool {
        // SAFETY: live context; the array is handed on as it came.
        params.is_null()
            || params.have_values()
                && unsafe {
                    openssl_sys::EVP_PKEY_CTX_set_params(self.as_ptr(), params.as_ptr()) > 0
                }
    }

    /// Makes a copy in the same state.
    pub fn dup(&self) -> Option<Self> {
        // SAFETY: live context; the result is owned.
        Self::own(unsafe { ffi::EVP_PKEY_CTX_dup(self.as_ptr()) })
    }
}

impl Drop for KeyCtx {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { openssl_sys::EVP_PKEY_CTX_free(self.as_ptr()) };
    }
}

/// EVP_PKEY_sign_init_ex and its like.
pub(super) type KeyInit = unsafe extern "C" fn(*mut EVP_PKEY_CTX, *const OSSL_PARAM) -> c_int;

/// EVP_DigestSignInit_ex or EVP_DigestVerifyInit_ex.
pub(super) type DigestInit = unsafe extern "C" fn(
    *mut EVP_MD_CTX,
    *mut *mut EVP_PKEY_CTX,
    *const c_char,
    *mut OSSL_LIB_CTX,
    *const c_char,
    *mut EVP_PKEY,
    *const OSSL_PARAM,
) -> c_int;

/// An owned `EVP_MD_CTX`, of a signature or verification once [`DigestCtx::start`] has made it.
pub(super) struct DigestCtx(NonNull<EVP_MD_CTX>);

impl DigestCtx {
    /// Makes an empty context.
    fn new() -> Option<Self> {
        // SAFETY: takes no arguments; the result is owned.
        NonNull::new(unsafe { openssl_sys::EVP_MD_CTX_new() }).map(Self)
    }

    /// Makes a context for an operation with `key` on a message.
    pub fn start(
        inner: &Inner,
        key: &Key,
        init: DigestInit,
        digest: Option<&CStr>,
        params: Params<'_>,
    ) -> Option<Self> {
        let ctx = Self::new()?;
        // SAFETY: live contexts and key; name and array are handed on as they came.
        let ready = unsafe {
            init(
                ctx.as_ptr(),
                ptr::null_mut(),
                digest.map_or(ptr::null(), CStr::as_ptr),
                inner.libctx(),
                ptr::null(),
                key.as_ptr(),
                params.as_ptr(),
            )
        } > 0;
        ready.then_some(ctx)
    }

    /// Returns the context of the key.
    pub fn key_ctx(&self) -> *mut EVP_PKEY_CTX {
        // SAFETY: live context, initialised, so it has one.
        unsafe { ffi::EVP_MD_CTX_get_pkey_ctx(self.as_ptr()) }
    }

    /// For calls that take one.
    pub fn as_ptr(&self) -> *mut EVP_MD_CTX {
        self.0.as_ptr()
    }

    /// Makes a copy in the same state.
    pub fn dup(&self) -> Option<Self> {
        let copy = Self::new()?;
        // SAFETY: both live.
        (unsafe { openssl_sys::EVP_MD_CTX_copy_ex(copy.as_ptr(), self.as_ptr()) } == 1)
            .then_some(copy)
    }
}

impl Drop for DigestCtx {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { openssl_sys::EVP_MD_CTX_free(self.as_ptr()) };
    }
}

/// Parameter tables of the default provider's own implementations, which ours hand on. They are
/// static data of libcrypto.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    pub gettable: *const OSSL_PARAM,
    pub settable: *const OSSL_PARAM,
}

// SAFETY: static, never written.
unsafe impl Send for Tables {}
// SAFETY: as above.
unsafe impl Sync for Tables {}

impl Tables {
    /// Finds the functions of the key type called `name`.
    pub fn of_keymgmt(inner: &Inner, name: &CStr) -> Option<Self> {
        // SAFETY: live library context, C string; what is fetched is freed once, here.
        unsafe {
            let keymgmt = ffi::EVP_KEYMGMT_fetch(inner.libctx(), name.as_ptr(), ptr::null());
            NonNull::new(keymgmt)?;
            let gettable = ffi::EVP_KEYMGMT_gettable_params(keymgmt);
            let settable = ffi::EVP_KEYMGMT_settable_params(keymgmt);
            ffi::EVP_KEYMGMT_free(keymgmt);
            Some(Self { gettable, settable })
        }
    }

    /// Finds the functions of the generation of keys of the type called `name`.
    pub fn of_generation(inner: &Inner, name: &CStr) -> Option<Self> {
        // SAFETY: as above.
        unsafe {
            let keymgmt = ffi::EVP_KEYMGMT_fetch(inner.libctx(), name.as_ptr(), ptr::null());
            NonNull::new(keymgmt)?;
            let settable = ffi::EVP_KEYMGMT_gen_settable_params(keymgmt);
            ffi::EVP_KEYMGMT_free(keymgmt);
            Some(Self {
                gettable: ptr::null(),
                settable,
            })
        }
    }

    /// Finds the functions of the key exchange called `name`.
    pub fn of_keyexch(inner: &Inner, name: &CStr) -> Option<Self> {
        // SAFETY: as above.
        unsafe {
            let keyexch = ffi::EVP_KEYEXCH_fetch(inner.libctx(), name.as_ptr(), ptr::null());
            NonNull::new(keyexch)?;
            let gettable = ffi::EVP_KEYEXCH_gettable_ctx_params(keyexch);
            let settable = ffi::EVP_KEYEXCH_settable_ctx_params(keyexch);
            ffi::EVP_KEYEXCH_free(keyexch);
            Some(Self { gettable, settable })
        }
    }

    /// Finds the functions of the signature algorithm called `name`.
    pub fn of_signature(inner: &Inner, name: &CStr) -> Option<Self> {
        // SAFETY: as above.
        unsafe {
            let signature = ffi::EVP_SIGNATURE_fetch(inner.libctx(), name.as_ptr(), ptr::null());
            NonNull::new(signature)?;
            let gettable = ffi::EVP_SIGNATURE_gettable_ctx_params(signature);
            let settable = ffi::EVP_SIGNATURE_settable_ctx_params(signature);
            ffi::EVP_SIGNATURE_free(signature);
            Some(Self { gettable, settable })
        }
    }

    /// Finds the functions of the asymmetric cipher called `name`.
    pub fn of_asym_cipher(inner: &Inner, name: &CStr) -> Option<Self> {
        // SAFETY: as above.
        unsafe {
            let cipher = ffi::EVP_ASYM_CIPHER_fetch(inner.libctx(), name.as_ptr(), ptr::null());
            NonNull::new(cipher)?;
            let gettable = ffi::EVP_ASYM_CIPHER_gettable_ctx_params(cipher);
            let settable = ffi::EVP_ASYM_CIPHER_settable_ctx_params(cipher);
            ffi::EVP_ASYM_CIPHER_free(cipher);
            Some(Self { gettable, settable })
        }
    }
}
