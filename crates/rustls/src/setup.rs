//! Configurations of rustls as a [`Connection`](crate::Connection) wants them, for those who have no wishes of their
//! own.

use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig};
use thiserror::Error;

use crate::certificates::{CertificateError, CertificatesByName, certified};
use crate::error::KeyError;
use crate::provider;
use crate::roots::{NoRoots, system_roots};
use crate::sign::load_private_key;
use crate::ticket::SCOPE_LEN;

/// Why a configuration cannot be made.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A text is not PEM, or lacks what is wanted.
    #[error("no {what} in PEM format can be read ({error}); make or export it again")]
    Pem {
        /// What is wanted.
        what: &'static str,
        /// What is wrong.
        error: pem::Error,
    },
    /// The private key is of no use.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate is of no use.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// There is nothing to verify servers by.
    #[error(transparent)]
    NoRoots(#[from] NoRoots),
    /// rustls says why.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// A server's configuration: a certificate with its issuers behind it, and its private key, as PEM texts. Any
/// client gets in; TLS 1.2 and 1.3; no session is resumed, for which there is
/// [`TicketSeed`](crate::TicketSeed); the suite is the first of [`provider`]'s that the client has too. For the client's
/// own order set `ignore_client_order` to `false`.
///
/// # Errors
/// See [`SetupError`].
///
/// # Example
/// ```no_run
/// use std::sync::Arc;
/// use spinlane_rustls::{Connection, server_config};
///
/// fn accept() -> Result<Connection, Box<dyn std::error::Error>> {
///     let config = server_config(&std::fs::read("server.crt")?, &std::fs::read("server.key")?)?;
///     Ok(Connection::server(Arc::new(config))?)
/// }
/// ```
pub fn server_config(chain: &[u8], key: &[u8]) -> Result<ServerConfig, SetupError> {
    let unreadable = |what| move |error| SetupError::Pem { what, error };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(unreadable("private key"))?;
    let key = load_private_key(&key)?.key;
    let certified = certified(chain.map_err(unreadable("certificate"))?, key)?;
    let certificates = CertificatesByName::new(vec![certified], &[0; SCOPE_LEN]);
    let certificates = certificates.map_err(|(_, error)| error)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.enable_secret_extraction = true;
    config.ignore_client_order = true;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A client's configuration: servers are verified by the certificate authorities of this system
/// ([`system_roots`]); TLS 1.2 and 1.3.
///
/// # Errors
/// See [`SetupError`].
pub fn client_config() -> Result<ClientConfig, SetupError> {
    let roots = system_roots()?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    Ok(config)
}
