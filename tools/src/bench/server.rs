//! The servers that are compared: ours, and the stock libraries without Spinlane.

use std::io::{Cursor, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{HandshakeKind, NamedGroup, ServerConfig, ServerConnection};
use spinlane::openssl::{self, KeyOffload, SslCtx, SuitePreference};
use spinlane::rustls::{Connection, TicketSeed, prefer_aes128, prefer_aes256, provider};
use spinlane::{Conn, Lcore, Ssl};

use super::c::{CConn, CServers};
use super::handshake::{Args, Group, Suite, Version};
use spinlane_proxy::tls::{Identity, Library, Progress, Tls};

/// A server's settings.
pub enum ServerCtx {
    /// libssl, offloaded or not.
    Openssl(SslCtx),
    /// Ours.
    Rustls(Arc<ServerConfig>),
    /// rustls over aws-lc-rs as it comes.
    StockRustls(Arc<ServerConfig>),
    /// Ours, as C programs have it, with an lcore of its own.
    C(CServers),
}

/// A server's side of a connection.
pub enum Server {
    /// On jobs, or by libssl without.
    Tls(Tls),
    /// rustls' own buffered connection.
    StockRustls(Box<ServerConnection>),
    /// By `spinlane_conn_*`.
    C(CConn),
}

impl ServerCtx {
    /// The library on Spinlane.
    ///
    /// # Errors
    /// The key is not offloaded.
    pub fn ours(library: Library, args: &Args, identity: &Identity) -> Result<Self> {
        Ok(match library {
            Library::Openssl => {
                let ctx = openssl_ctx(args, identity, true)?;
                if let KeyOffload::Unsupported(why) = ctx.key_offload() {
                    anyhow::bail!("the key of --cert is not offloaded: {why}");
                }
                Self::Openssl(ctx)
            }
            Library::Rustls => {
                let (key, offload) = identity.rustls()?;
                if let Err(why) = offload {
                    anyhow::bail!("the key of --cert is not offloaded: {why}");
                }
                let resolver = Arc::new(SingleCertAndKey::from(key));
                let mut config = rustls_config(args, provider(), resolver)?;
                if args.tickets != 0 {
                    // One certificate, for anybody, for as long as this runs.
                    let seed = TicketSeed::new(Duration::from_secs(3600));
                    config.ticketer = seed.ticketer(|_| [0; 32]);
                }
                Self::Rustls(Arc::new(config))
            }
        })
    }

    /// rustls by `spinlane_conn_*`.
    ///
    /// # Errors
    /// There is no such library, or it rejects a setting.
    pub fn c(args: &Args, identity: &Identity) -> Result<Self> {
        Ok(Self::C(CServers::new(args, identity)?))
    }

    /// libssl alone.
    ///
    /// # Errors
    /// It rejects a setting.
    pub fn stock_openssl(args: &Args, identity: &Identity) -> Result<Self> {
        Ok(Self::Openssl(openssl_ctx(args, identity, false)?))
    }

    /// rustls alone.
    ///
    /// # Errors
    /// It rejects a setting.
    pub fn stock_rustls(args: &Args, identity: &Identity) -> Result<Self> {
        let resolver = Arc::new(SingleCertAndKey::from(identity.stock_rustls()?));
        let mut config = rustls_config(args, aws_lc_rs::default_provider(), resolver)?;
        if args.tickets != 0 {
            config.ticketer = aws_lc_rs::Ticketer::new()?;
        }
        Ok(Self::StockRustls(Arc::new(config)))
    }

    /// A new connection, called `conn` on `lcore` if there is one.
    ///
    /// # Errors
    /// The library rejects its settings.
    pub fn accept(&self, lcore: Option<&Lcore>, conn: Conn) -> Result<Server> {
        let mut tls = match self {
            Self::Openssl(ctx) => Tls::Openssl(Ssl::server(ctx)?),
            Self::Rustls(config) => Tls::Rustls(Connection::server(Arc::clone(config))?),
            Self::StockRustls(config) => {
                let conn = ServerConnection::new(Arc::clone(config))?;
                return Ok(Server::StockRustls(Box::new(conn)));
            }
            Self::C(servers) => return Ok(Server::C(servers.accept(conn.0)?)),
        };
        if let Some(lcore) = lcore {
            tls.attach(lcore, conn);
        }
        Ok(Server::Tls(tls))
    }

    /// What it is.
    pub fn name(&self) -> String {
        match self {
            Self::Openssl(_) => format!("{}, synchronous", ::openssl::version::version()),
            Self::Rustls(_) => "rustls on Spinlane".to_owned(),
            Self::StockRustls(_) => "rustls+aws-lc-rs".to_owned(),
            Self::C(_) => "spinlane_conn_*, called from C".to_owned(),
        }
    }
}

fn openssl_ctx(args: &Args, identity: &Identity, offload: bool) -> Result<SslCtx> {
    let (certificate, key) = identity.openssl();
    let config = openssl::ServerConfig {
        offload,
        tickets: args.tickets,
        max_protocol: args.protocol.into(),
        preference: match args.preferred() {
            Suite::Aes128 => SuitePreference::Aes128,
            Suite::Aes256 => SuitePreference::Aes256,
        },
        ..openssl::ServerConfig::new(certificate, key)
    };
    SslCtx::server(&config).context("the server's settings")
}

fn rustls_config(
    args: &Args,
    mut provider: CryptoProvider,
    resolver: Arc<SingleCertAndKey>,
) -> Result<ServerConfig> {
    provider.kx_groups = groups(&provider, args.group)?;
    match args.preferred() {
        Suite::Aes128 => prefer_aes128(&mut provider),
        Suite::Aes256 => prefer_aes256(&mut provider),
    }
    let version = match args.protocol {
        Version::Tls12 => &rustls::version::TLS12,
        Version::Tls13 => &rustls::version::TLS13,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.enable_secret_extraction = true;
    config.ignore_client_order = true;
    config.send_tls13_tickets = args.tickets;
    if args.tickets == 0 {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(config)
}

/// The provider's own version of `group`.
///
/// # Errors
/// It has none.
pub fn groups(
    provider: &CryptoProvider,
    group: Group,
) -> Result<Vec<&'static dyn SupportedKxGroup>> {
    let name = match group {
        Group::X25519 => NamedGroup::X25519,
        Group::P256 => NamedGroup::secp256r1,
        Group::X25519Mlkem768 => NamedGroup::X25519MLKEM768,
    };
    let group = provider.kx_groups.iter().find(|group| group.name() == name);
    Ok(vec![*group.context("rustls lacks the --group")?])
}

impl Server {
    /// Takes bytes of the client's; returns how many.
    ///
    /// # Errors
    /// rustls' buffer is full.
    pub fn push_input(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Tls(tls) => Ok(tls.push_input(bytes)),
            Self::C(conn) => Ok(conn.push_input(bytes)),
            Self::StockRustls(conn) => {
                let mut from = Cursor::new(bytes);
                // It reads 4 KiB at a time.
                while (from.position() as usize) < bytes.len() && conn.read_tls(&mut from)? != 0 {}
                Ok(from.position() as usize)
            }
        }
    }

    /// Hands what is to be sent to `to`.
    ///
    /// # Errors
    /// None in practice: memory takes all.
    pub fn write_output(&mut self, mut to: impl FnMut(&[u8]) -> usize) -> Result<usize> {
        match self {
            Self::Tls(tls) => Ok(tls.write_output(|bytes| Ok(to(bytes)))?),
            Self::C(conn) => Ok(conn.write_output(to)),
            Self::StockRustls(conn) => {
                let mut total = 0;
                while conn.wants_write() {
                    total += conn.write_tls(&mut Taker(&mut to))?;
                }
                Ok(total)
            }
        }
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// It fails.
    pub fn handshake(&mut self) -> Result<Progress> {
        match self {
            Self::Tls(tls) => Ok(tls.handshake()?),
            Self::C(conn) => conn.handshake(),
            Self::StockRustls(conn) => {
                conn.process_new_packets()?;
                Ok(if conn.is_handshaking() {
                    Progress::WantInput
                } else {
                    Progress::Done(0)
                })
            }
        }
    }

    /// Reads plain text.
    ///
    /// # Errors
    /// A record is at fault.
    pub fn read(&mut self, to: &mut [u8]) -> Result<Progress> {
        match self {
            Self::Tls(tls) => Ok(tls.read(to)?),
            Self::C(conn) => conn.read(to),
            Self::StockRustls(conn) => {
                conn.process_new_packets()?;
                match conn.reader().read(to) {
                    Ok(count) => Ok(Progress::Done(count)),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        Ok(Progress::WantInput)
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Writes plain text, all of it.
    ///
    /// # Errors
    /// The library refuses.
    pub fn write(&mut self, from: &[u8]) -> Result<Progress> {
        match self {
            Self::Tls(tls) => Ok(tls.write(from)?),
            Self::C(conn) => conn.write(from),
            Self::StockRustls(conn) => {
                let count = conn.writer().write(from)?;
                ensure!(count == from.len(), "rustls took {count} bytes only");
                Ok(Progress::Done(count))
            }
        }
    }

    /// Whether the handshake resumed a session.
    pub fn session_reused(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.session_reused(),
            Self::C(conn) => conn.session_reused(),
            Self::StockRustls(conn) => conn.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// Writes to a function.
struct Taker<'a, F>(&'a mut F);

impl<F: FnMut(&[u8]) -> usize> Write for Taker<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok((self.0)(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
