//! rustls at both ends, in memory, for what is measured of rustls alone.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};
use spinlane::rustls::{Connection, provider};

use super::handshake::Suite;
use super::server::Server;
use spinlane_proxy::tls::{Identity, KeyKind, Progress, Tls};

/// A stock client, and servers of both kinds, all of TLS 1.3.
pub struct Local {
    client: Arc<ClientConfig>,
    ours: Arc<ServerConfig>,
    stock: Arc<ServerConfig>,
}

impl Local {
    /// Of a throw-away certificate; the client offers `suite` alone.
    ///
    /// # Errors
    /// rustls rejects a setting.
    pub fn new(suite: Suite) -> Result<Self> {
        let identity = Identity::self_signed(KeyKind::P256)?;
        let ours = SingleCertAndKey::from(identity.rustls()?.0);
        let stock = SingleCertAndKey::from(identity.stock_rustls()?);
        let mut roots = RootCertStore::empty();
        for certificate in identity.certificates()? {
            roots.add(certificate)?;
        }
        let mut of_client = aws_lc_rs::default_provider();
        let wanted = CipherSuite::from(suite);
        of_client
            .cipher_suites
            .retain(|suite| suite.suite() == wanted);
        let mut client = ClientConfig::builder_with_provider(Arc::new(of_client))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            client: Arc::new(client),
            ours: server(provider(), ours)?,
            stock: server(aws_lc_rs::default_provider(), stock)?,
        })
    }

    /// A client that has said hello.
    ///
    /// # Errors
    /// rustls cannot make it.
    pub fn client(&self) -> Result<Connection> {
        let name = ServerName::try_from("localhost")?;
        let mut client = Connection::client(Arc::clone(&self.client), name);
        client.handshake()?;
        Ok(client)
    }

    /// Our server.
    ///
    /// # Errors
    /// rustls cannot make it.
    pub fn ours(&self) -> Result<Server> {
        let connection = Connection::server(Arc::clone(&self.ours))?;
        Ok(Server::Tls(Tls::Rustls(connection)))
    }

    /// The stock server.
    ///
    /// # Errors
    /// rustls cannot make it.
    pub fn stock(&self) -> Result<Server> {
        let connection = rustls::ServerConnection::new(Arc::clone(&self.stock))?;
        Ok(Server::StockRustls(Box::new(connection)))
    }
}

/// Does the handshake.
///
/// # Errors
/// It fails, or does not end.
pub fn establish(client: &mut Connection, server: &mut Server) -> Result<()> {
    for _ in 0..100 {
        client.write_output(|bytes| server.push_input(bytes).map_err(std::io::Error::other))?;
        let progress = server.handshake()?;
        server.write_output(|bytes| client.push_input(bytes))?;
        let done = client.handshake()?;
        if (progress, done) == (Progress::Done(0), Progress::Done(0)) {
            ensure!(client.output_len() == 0, "the client has more to say");
            return Ok(());
        }
    }
    anyhow::bail!("the handshake does not end")
}

fn server(provider: CryptoProvider, key: SingleCertAndKey) -> Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("the server's settings")?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(key));
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}
