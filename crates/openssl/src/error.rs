//! Errors of the front-end: what libssl said, and what to do about it.

use std::ffi::CStr;
use std::fmt;

use thiserror::Error;

use crate::ffi;
use crate::{PemFault, Wanted};

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

    /// Returns `true` if an entry contains `text`.
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
        /// Path of the file.
        name: String,
        /// What the system said.
        error: String,
    },
    /// A text is no PEM, or not what it should be.
    #[error("{name}: no {wanted} in PEM format can be read from it: {fault}")]
    PemFault {
        /// Where the text came from.
        name: String,
        /// What was looked for.
        wanted: Wanted,
        /// What is wrong.
        fault: PemFault,
    },
    /// A section of a PEM text is whole, but its contents cannot be understood.
    #[error(
        "{name}: no {wanted} in PEM format can be read from it: its contents are damaged, or of a kind that OpenSSL does not know ({detail}); make or export it again"
    )]
    Pem {
        /// Where the text came from.
        name: String,
        /// What was looked for.
        wanted: Wanted,
        /// What OpenSSL said.
        detail: ErrorStack,
    },
    /// libssl takes a certificate for too weak.
    #[error(
        "{name}: libssl takes a certificate for too weak ({detail}); use keys of RSA from 2048 bits on or of ECDSA, and signatures from SHA-256 on"
    )]
    Weak {
        /// Where the certificate came from.
        name: String,
        /// What OpenSSL said.
        detail: ErrorStack,
    },
    /// libssl does not take a certificate.
    #[error("{name}: libssl does not take the certificate ({detail}); make it again")]
    Certificate {
        /// Where it came from.
        name: String,
        /// What OpenSSL said.
        detail: ErrorStack,
    },
    /// The certificate of the key is not the first.
    #[error(
        "{certificate}: the certificate of private key {key} is number {position}; put it first, and its issuers behind it"
    )]
    Order {
        /// Where the certificates came from.
        certificate: String,
        /// Where the key came from.
        key: String,
        /// Which one it is, counted from one.
        position: usize,
    },
    /// A key that can be read cannot sign.
    #[error(
        "{key}: the private key does not sign ({detail}); an RSA key has to have its primes and the numbers of the Chinese remainder theorem: make or export it again"
    )]
    Unusable {
        /// Where the key came from.
        key: String,
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
        /// Value of the setting.
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
    /// A client does not say which server it wants, and would believe any that the system does.
    #[error(
        "the client verifies servers by the system's certificate authorities, and has no name to verify; set the name that the certificate has to have (Ssl::set_server_name)"
    )]
    NoServerName,
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
    /// Makes the error of a certificate that libssl has just refused.
    pub(crate) fn certificate(name: &str) -> Self {
        let (name, detail) = (name.to_owned(), ErrorStack::take());
        // "ee key too small", "ca md too weak" and their like.
        if detail.mentions("too small") || detail.mentions("too weak") {
            Self::Weak { name, detail }
        } else {
            Self::Certificate { name, detail }
        }
    }

    pub(crate) fn call(call: &'static str) -> Self {
        Self::Call {
            call,
            detail: ErrorStack::take(),
        }
    }
}
