//! The default provider's context of a signature or verification that it does for us.

use super::ffi::{self, EVP_PKEY_CTX};
use super::inner::{DigestCtx, KeyCtx};
use super::params::Params;

/// Such a context, by the interface that it was begun with.
pub(super) enum Delegate {
    /// EVP_PKEY_sign_init and its like, which take a hash, or Ed25519 a message.
    Key(KeyCtx),
    /// EVP_DigestSignInit and its like, which take a message.
    Digest(DigestCtx),
}

impl Delegate {
    /// Makes a copy in the same state.
    pub fn dup(&self) -> Option<Self> {
        Some(match self {
            Self::Key(ctx) => Self::Key(ctx.dup()?),
            Self::Digest(ctx) => Self::Digest(ctx.dup()?),
        })
    }

    /// Returns the context of the key.
    pub fn key_ctx(&self) -> *mut EVP_PKEY_CTX {
        match self {
            Self::Key(ctx) => ctx.as_ptr(),
            Self::Digest(ctx) => ctx.key_ctx(),
        }
    }

    /// Hands on a caller's parameters.
    pub fn set(&self, params: Params<'_>) -> bool {
        // SAFETY: live context; the array is handed on as it came.
        unsafe { openssl_sys::EVP_PKEY_CTX_set_params(self.key_ctx(), params.as_ptr()) > 0 }
    }

    /// Has it answer a caller's request for parameters.
    ///
    /// # Safety
    /// `params` is the caller's parameter array.
    pub unsafe fn get(&self, params: *mut ffi::OSSL_PARAM) -> bool {
        // SAFETY: live context; the array is handed on as it came.
        unsafe { openssl_sys::EVP_PKEY_CTX_get_params(self.key_ctx(), params) > 0 }
    }
}
