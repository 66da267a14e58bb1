//! Cipher suites: whose order counts, and what comes first.

use std::ffi::{CStr, CString, c_char, c_int};

use super::ctx::setting;
use crate::error::SslError;
use crate::ffi::{self, SSL_CTX};

/// Which cipher suite a server takes of those that both sides have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SuitePreference {
    /// AES-128-GCM, in TLS 1.2 with ECDHE; without it, the first of the server's list. A client that puts ChaCha20
    /// first gets that.
    #[default]
    Aes128,
    /// The same with AES-256-GCM.
    Aes256,
    /// The first of the client's list.
    Clients,
}

impl SuitePreference {
    /// How names of the preferred suites begin.
    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Aes128 => &[
                "TLS_AES_128_GCM_",
                "ECDHE-ECDSA-AES128-GCM-",
                "ECDHE-RSA-AES128-GCM-",
            ],
            Self::Aes256 => &[
                "TLS_AES_256_GCM_",
                "ECDHE-ECDSA-AES256-GCM-",
                "ECDHE-RSA-AES256-GCM-",
            ],
            Self::Clients => &[],
        }
    }
}

/// Sets the suites of TLS 1.2, as SSL_CTX_set_cipher_list(3) takes them.
///
/// # Safety
/// `ctx` is live, and not shared yet.
pub(super) unsafe fn set_tls12(ctx: *mut SSL_CTX, list: &str) -> Result<(), SslError> {
    // SAFETY: by the caller's promise.
    unsafe { set(ctx, "ciphers", ffi::SSL_CTX_set_cipher_list, list) }
}

/// Sets the suites of TLS 1.3, as SSL_CTX_set_ciphersuites(3) takes them: it passes over names that it does not know.
///
/// # Safety
/// `ctx` is live, and not shared yet.
pub(super) unsafe fn set_tls13(ctx: *mut SSL_CTX, list: &str) -> Result<(), SslError> {
    // SAFETY: by the caller's promise.
    unsafe { set(ctx, "suites", ffi::SSL_CTX_set_ciphersuites, list) }
}

/// Has the server's order count, and puts the preferred suites first; the others stay as they are. `is_ordered`: the
/// list of TLS 1.2 is in the caller's order, and stays.
///
/// # Safety
/// `ctx` is live, and not shared yet.
pub(super) unsafe fn prefer(
    ctx: *mut SSL_CTX,
    preference: SuitePreference,
    is_ordered: bool,
) -> Result<(), SslError> {
    let prefixes = preference.prefixes();
    if prefixes.is_empty() {
        return Ok(());
    }
    let options = ffi::SSL_OP_CIPHER_SERVER_PREFERENCE | ffi::SSL_OP_PRIORITIZE_CHACHA;
    // SAFETY: by the caller's promise.
    let mut names = unsafe {
        ffi::SSL_CTX_set_options(ctx, options);
        names(ctx)
    };
    names.sort_by_key(|name| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
    let (tls13, tls12): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name.starts_with("TLS_"));
    // SAFETY: by the caller's promise.
    unsafe {
        set_tls13(ctx, &tls13.join(":"))?;
        match is_ordered || tls12.is_empty() {
            true => Ok(()),
            false => set_tls12(ctx, &tls12.join(":")),
        }
    }
}

/// The suites of all versions, in order; those of TLS 1.3 by their standard names.
///
/// # Safety
/// `ctx` is live.
unsafe fn names(ctx: *mut SSL_CTX) -> Vec<String> {
    // SAFETY: the list is the live context's own. Each entry is a static of libssl's, and so is its name.
    unsafe {
        let list = ffi::SSL_CTX_get_ciphers(ctx).cast();
        let name = |index| {
            let suite = ffi::OPENSSL_sk_value(list, index);
            CStr::from_ptr(ffi::SSL_CIPHER_get_name(suite.cast()))
        };
        let names = (0..ffi::OPENSSL_sk_num(list)).map(name);
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

/// # Safety
/// `ctx` is live, and not shared yet; `call` is one of libssl's.
unsafe fn set(
    ctx: *mut SSL_CTX,
    what: &'static str,
    call: unsafe extern "C" fn(*mut SSL_CTX, *const c_char) -> c_int,
    list: &str,
) -> Result<(), SslError> {
    let text = CString::new(list).map_err(|_| setting(what, list))?;
    // SAFETY: by the caller's promise; the text is terminated, and copied.
    match unsafe { call(ctx, text.as_ptr()) } {
        1 => Ok(()),
        _ => Err(setting(what, list)),
    }
}
