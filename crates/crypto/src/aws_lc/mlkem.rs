//! ML-KEM-768 (FIPS 203), with randomness given.

use std::ptr::{NonNull, null_mut};

use aws_lc_sys as sys;

use super::take_error_reason;

/// A key; wiped by aws-lc when it goes.
struct KemKey(NonNull<sys::EVP_PKEY>);

impl KemKey {
    /// Returns `None` if memory is out.
    fn owned(key: *mut sys::EVP_PKEY) -> Option<Self> {
        NonNull::new(key).map(Self)
    }

    /// Returns `None` if memory is out.
    fn context(&self) -> Option<Context> {
        // SAFETY: a live key, of which the context takes a reference of its own; null: no engine.
        Context::owned(unsafe { sys::EVP_PKEY_CTX_new(self.0.as_ptr(), null_mut()) })
    }
}

impl Drop for KemKey {
    fn drop(&mut self) {
        // SAFETY: we own a reference and do not use it after this.
        unsafe { sys::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

struct Context(NonNull<sys::EVP_PKEY_CTX>);

impl Context {
    /// Returns `None` if memory is out.
    fn owned(context: *mut sys::EVP_PKEY_CTX) -> Option<Self> {
        NonNull::new(context).map(Self)
    }

    fn as_ptr(&self) -> *mut sys::EVP_PKEY_CTX {
        self.0.as_ptr()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: we own it and nobody uses it after us.
        unsafe { sys::EVP_PKEY_CTX_free(self.0.as_ptr()) }
    }
}

/// Returns `true` if `run` succeeds. Otherwise empties the error queue.
fn succeeds(run: impl FnOnce() -> Option<bool>) -> bool {
    let ok = run() == Some(true);
    if !ok {
        take_error_reason();
    }
    ok
}

/// See [`crate::mlkem::generate`].
#[must_use]
pub(crate) fn mlkem_generate(
    seed: &[u8; 64],
    encapsulation_key: &mut [u8; 1184],
    decapsulation_key: &mut [u8; 2400],
) -> bool {
    succeeds(|| {
        // SAFETY: null: no engine.
        let context =
            Context::owned(unsafe { sys::EVP_PKEY_CTX_new_id(sys::EVP_PKEY_KEM, null_mut()) })?;
        let (mut key, mut seed_len) = (null_mut(), seed.len());
        // SAFETY: a live context; the seed is valid for the length given with it; a key that is
        // written is ours.
        let made = unsafe {
            sys::EVP_PKEY_CTX_kem_set_params(context.as_ptr(), sys::NID_MLKEM768) == 1
                && sys::EVP_PKEY_keygen_init(context.as_ptr()) == 1
                && sys::EVP_PKEY_keygen_deterministic(
                    context.as_ptr(),
                    &mut key,
                    seed.as_ptr(),
                    &mut seed_len,
                ) == 1
        };
        let key = KemKey::owned(key)?;
        let (mut public_len, mut private_len) = (encapsulation_key.len(), decapsulation_key.len());
        // SAFETY: a live key; both arrays are valid for the lengths given with them.
        let got = unsafe {
            sys::EVP_PKEY_get_raw_public_key(
                key.0.as_ptr(),
                encapsulation_key.as_mut_ptr(),
                &mut public_len,
            ) == 1
                && sys::EVP_PKEY_get_raw_private_key(
                    key.0.as_ptr(),
                    decapsulation_key.as_mut_ptr(),
                    &mut private_len,
                ) == 1
        };
        Some(made && got && (public_len, private_len) == (1184, 2400))
    })
}

/// See [`crate::mlkem::encapsulate`].
#[must_use]
pub(crate) fn mlkem_encapsulate(
    encapsulation_key: &[u8; 1184],
    message: &[u8; 32],
    ciphertext: &mut [u8; 1088],
    shared_secret: &mut [u8; 32],
) -> bool {
    succeeds(|| {
        // SAFETY: the key is valid for its length and copied.
        let key = KemKey::owned(unsafe {
            sys::EVP_PKEY_kem_new_raw_public_key(
                sys::NID_MLKEM768,
                encapsulation_key.as_ptr(),
                encapsulation_key.len(),
            )
        })?;
        let context = key.context()?;
        let (mut len, mut secret_len) = (ciphertext.len(), shared_secret.len());
        let mut message_len = message.len();
        // SAFETY: a live context; the arrays are valid for the lengths given with them.
        let done = unsafe {
            sys::EVP_PKEY_encapsulate_deterministic(
                context.as_ptr(),
                ciphertext.as_mut_ptr(),
                &mut len,
                shared_secret.as_mut_ptr(),
                &mut secret_len,
                message.as_ptr(),
                &mut message_len,
            )
        };
        Some(done == 1)
    })
}

/// See [`crate::mlkem::decapsulate`].
#[must_use]
pub(crate) fn mlkem_decapsulate(
    decapsulation_key: &[u8; 2400],
    ciphertext: &[u8; 1088],
    shared_secret: &mut [u8; 32],
) -> bool {
    succeeds(|| {
        // SAFETY: the key is valid for its length and copied.
        let key = KemKey::owned(unsafe {
            sys::EVP_PKEY_kem_new_raw_secret_key(
                sys::NID_MLKEM768,
                decapsulation_key.as_ptr(),
                decapsulation_key.len(),
            )
        })?;
        let context = key.context()?;
        let mut len = shared_secret.len();
        // SAFETY: a live context; the arrays are valid for the lengths given with them.
        let done = unsafe {
            sys::EVP_PKEY_decapsulate(
                context.as_ptr(),
                shared_secret.as_mut_ptr(),
                &mut len,
                ciphertext.as_ptr(),
                ciphertext.len(),
            )
        };
        Some(done == 1)
    })
}
