//! The clients in memory, which are not timed: libssl's, or rustls' where a group is asked for that
//! libssl lacks, or a suite.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use spinlane::Ssl;
use spinlane::openssl::{self, SslCtx};
use spinlane::rustls::Connection;

use super::handshake::{Args, Group};
use super::server::groups;
use spinlane_proxy::tls::{Identity, Tls};

/// A client's settings.
pub struct ClientCtx {
    library: Library,
    resumes: bool,
}

enum Library {
    Openssl(SslCtx),
    Rustls(Arc<ClientConfig>, ServerName<'static>),
}

impl Library {
    fn rustls(args: &Args, identity: &Identity) -> Result<Self> {
        let config = Arc::new(rustls_config(args, identity)?);
        Ok(Self::Rustls(config, ServerName::try_from("localhost")?))
    }
}

impl ClientCtx {
    /// The same client for every server that is compared.
    ///
    /// # Errors
    /// A library rejects a setting.
    pub fn new(args: &Args, identity: &Identity) -> Result<Self> {
        let library = match args.group {
            // libssl's clients offer all suites.
            _ if args.suite.is_some() => Library::rustls(args, identity)?,
            // X25519 or P-256 it is; but TLS 1.2 wants the certificate's curve listed, too
            // (RFC 8422, section 5.1).
            Group::X25519 => Library::Openssl(openssl_ctx(args, "X25519:P-256")?),
            Group::P256 => Library::Openssl(openssl_ctx(args, "P-256")?),
            Group::X25519Mlkem768 => Library::rustls(args, identity)?,
        };
        Ok(Self {
            library,
            resumes: args.resume,
        })
    }

    /// A new connection, resuming the session of `earlier` if given.
    ///
    /// # Errors
    /// The library is out of memory, or there is no session.
    pub fn connect(&self, earlier: Option<&Tls>) -> Result<Tls> {
        match &self.library {
            Library::Openssl(ctx) => {
                let mut ssl = Ssl::client(ctx)?;
                if let Some(Tls::Openssl(earlier)) = earlier {
                    anyhow::ensure!(
                        ssl.resume_session_of(earlier),
                        "the server issued no ticket"
                    );
                }
                Ok(Tls::Openssl(ssl))
            }
            Library::Rustls(config, name) => Ok(Tls::Rustls(Connection::client(
                Arc::clone(config),
                name.clone(),
            ))),
        }
    }

    /// Whether connections resume the first one's session.
    pub fn resumes(&self) -> bool {
        self.resumes
    }
}

fn openssl_ctx(args: &Args, groups: &str) -> Result<SslCtx> {
    let config = openssl::ClientConfig {
        min_protocol: args.protocol.into(),
        max_protocol: args.protocol.into(),
        groups: Some(groups.to_owned()),
        ..openssl::ClientConfig::dangerously_accepting_any_certificate()
    };
    SslCtx::client(&config).context("the client's settings")
}

fn rustls_config(args: &Args, identity: &Identity) -> Result<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = groups(&provider, args.group)?;
    if let Some(wanted) = args.suite {
        let wanted = wanted.into();
        provider
            .cipher_suites
            .retain(|suite| suite.suite() == wanted);
    }
    let mut roots = RootCertStore::empty();
    for certificate in identity.certificates()? {
        roots.add(certificate)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config.resumption = Resumption::disabled();
    Ok(config)
}
