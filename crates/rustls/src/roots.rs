//! The certificate authorities that this system trusts.

use rustls::RootCertStore;
use thiserror::Error;

/// This system has no certificate authorities that can be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "this system has no certificate authorities to verify servers by{why}; install ca-certificates, name a file in \
     SSL_CERT_FILE, or set the issuers yourself"
)]
pub struct NoRoots {
    why: String,
}

/// Reads the certificate authorities that this system trusts: where SSL_CERT_FILE and SSL_CERT_DIR say, as for
/// OpenSSL, or where distributions keep them. What rustls cannot read of it is left out.
///
/// # Errors
/// There is none.
pub fn system_roots() -> Result<RootCertStore, NoRoots> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added != 0 {
        return Ok(roots);
    }
    let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let why = match why.is_empty() {
        true => String::new(),
        false => format!(" ({})", why.join(", ")),
    };
    Err(NoRoots { why })
}
