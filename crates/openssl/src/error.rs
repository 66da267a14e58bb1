//! Errors of the front-end: what libssl said, and what to do about it.

use std::ffi::CStr;
use std::fmt;

use thiserror::Error;

use crate::ffi;

/// What was in OpenSSL's error queue of this thread, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorStack(Vec<String>);

impl ErrorStack {
    /// Takes everything out of the queue.
    pub fn take() -> Self {
        let mut entries = Vec::new();
        loop {
            // SAFETY: reads and removes the oldest entry of this thread's queue; 0 = empty.
            let code = unsafe { ffi::ERR_get_error() };
            if code == 0 {
                return Self(entries);
            }
            let mut text = [0; 256];
            // SAFETY: the buffer is as long as said; OpenSSL writes a terminated string into it.
            unsafe { ffi::ERR_error_string_n(code, text.as_mut_ptr(), text.len()) };
            // SAFETY: terminated within the buffer, see above.
            let text = unsafe { CStr::from_ptr(text.as_ptr()) };
            entries.push(text.to_string_lossy().into_owned());
        }
    }

    /// Whether an entry contains `text`.
    pub fn mentions(&self, text: &str) -> bool {
        self.0.iter().any(|entry| entry.contains(text))
    }
}

impl fmt::Display for ErrorStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("no detail from OpenSSL")
        } else {
            f.write_str(&self.0.join("; "))
        }
    }
}

/// Why a TLS object could not be made or used. The text names the culprit and the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SslError {
    /// A file cannot be read.
    #[error("{name}: {error}")]
    Read {
        /// Its path.
        name: String,
        /// What the system said.
        error: String,
    },
    /// A PEM text cannot be understood.
    #[error("{name}: no {what} in PEM format can be read from it ({detail}); check the file")]
    Pem {
        /// Where the text came from.
        name: String,
        /// What was looked for.
        what: &'static str,
        /// What OpenSSL said.
        detail: ErrorStack,
    },
    /// Certificate and key do not belong together.
    #[error(
        "certificate {certificate} and private key {key} do not match; give the key that the certificate was issued for"
    )]
    Mismatch {
        /// Where the certificate came from.
        certificate: String,
        /// Where the key came from.
        key: String,
    },
    /// A setting is not understood by libssl.
    #[error("TLS setting {setting} = {value:?} is not accepted by libssl ({detail})")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What OpenSSL said.
        detail: ErrorStack,
    },
    /// The provider cannot be loaded.
    #[error("the provider cannot be used: {0}")]
    Provider(String),
    /// The `ASYNC_*` symbols of this process are not ours.
    #[error(transparent)]
    Abi(#[from] crate::abi::BindingError),
    /// The handshake or a record failed; the connection is unusable.
    #[error("TLS failed: {0}")]
    Tls(ErrorStack),
    /// libssl has run out of memory or refused for another reason of its own.
    #[error("{call} failed: {detail}")]
    Call {
        /// Which function.
        call: &'static str,
        /// What OpenSSL said.
        detail: ErrorStack,
    },
}

impl SslError {
    pub(crate) fn call(call: &'static str) -> Self {
        Self::Call {
            call,
            detail: ErrorStack::take(),
        }
    }
}
