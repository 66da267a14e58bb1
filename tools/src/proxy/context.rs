//! What connections are made from: certificates, keys and settings, in either TLS library's terms.

mod sni;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use spinlane::openssl::{self, Pem, Protocol, SslCtx};
use spinlane::rustls::{Connection, TicketSeed, provider};
use spinlane::{Conn, Lcore, Ssl};

use super::args::Args;
use crate::tls::{Identity, Library, Tls, certificates};
use sni::CertificatesByName;

/// What connections are made from.
#[derive(Clone)]
pub struct Context {
    settings: Settings,
    not_offloaded: Option<String>,
}

#[derive(Clone)]
enum Settings {
    Openssl(SslCtx),
    Rustls {
        config: Arc<ServerConfig>,
        tickets: Option<TicketSeed>,
        max_input: usize,
    },
}

/// What outlives a reload of certificates: tickets issued before it are still good.
pub struct Lasting {
    tickets: TicketSeed,
    /// Made once, where no files are given.
    throw_away: Option<Identity>,
}

impl Lasting {
    /// For the life of the program.
    ///
    /// # Errors
    /// A throw-away certificate cannot be made.
    pub fn new(args: &Args) -> Result<Self> {
        let throw_away = if args.cert.is_empty() {
            let made = Identity::self_signed(args.self_signed);
            Some(made.context("--self-signed")?)
        } else {
            None
        };
        Ok(Self {
            tickets: TicketSeed::new(args.ticket_rotation),
            throw_away,
        })
    }
}

impl Context {
    /// Reads the files that the arguments name.
    ///
    /// # Errors
    /// A file or an argument is at fault; the text names it.
    pub fn new(args: &Args, lasting: &Lasting) -> Result<Self> {
        let identities = match &lasting.throw_away {
            Some(identity) => vec![identity.clone()],
            None => read_identities(args)?,
        };
        for name in &args.alpn {
            ensure!(
                (1..=255).contains(&name.len()),
                "--alpn {name:?}: a protocol's name has 1 to 255 bytes"
            );
        }
        match args.tls {
            Library::Openssl => Self::openssl(args, &identities),
            Library::Rustls => Self::rustls(args, &identities, &lasting.tickets),
        }
    }

    fn openssl(args: &Args, identities: &[Identity]) -> Result<Self> {
        let [identity] = identities else {
            anyhow::bail!("several --cert need --tls rustls; with --tls openssl give one");
        };
        let (certificate, key) = identity.openssl();
        let mut config = openssl::ServerConfig::new(certificate, key);
        config.min_protocol = args.min_protocol;
        config.tickets = usize::from(args.tickets);
        let roots = args.client_ca.as_ref().map(|path| -> Result<Pem> {
            let (name, text) = read_client_ca(path)?;
            Ok(Pem::new(name, text))
        });
        config.client_roots = roots.transpose()?;
        config.alpn.clone_from(&args.alpn);
        let ctx = SslCtx::server(&config)?;
        let not_offloaded = match ctx.key_offload() {
            openssl::KeyOffload::Offloaded => None,
            openssl::KeyOffload::Off => Some("not asked for".to_owned()),
            openssl::KeyOffload::Unsupported(why) => Some(why.clone()),
        };
        Ok(Self {
            settings: Settings::Openssl(ctx),
            not_offloaded,
        })
    }

    fn rustls(args: &Args, identities: &[Identity], tickets: &TicketSeed) -> Result<Self> {
        let resolver = CertificatesByName::new(identities)?;
        let not_offloaded = resolver.not_offloaded().map(str::to_owned);
        let provider = Arc::new(provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(args.min_protocol))?;
        let builder = match &args.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.enable_secret_extraction = true;
        config.send_tls13_tickets = usize::from(args.tickets);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = args
            .alpn
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect();
        Ok(Self {
            settings: Settings::Rustls {
                config: Arc::new(config),
                tickets: (args.tickets != 0).then(|| tickets.clone()),
                max_input: usize::try_from(args.max_handshake_bytes)?,
            },
            not_offloaded,
        })
    }

    /// For one core's own use: nothing of it that changes is shared with other cores.
    pub fn for_core(&self) -> Self {
        let mut context = self.clone();
        if let Settings::Rustls {
            config,
            tickets: Some(seed),
            ..
        } = &mut context.settings
        {
            Arc::make_mut(config).ticketer = seed.ticketer();
        }
        context
    }

    /// The server's side of a connection, called `conn` on `lcore`.
    ///
    /// # Errors
    /// The library is out of memory.
    pub fn accept(&self, lcore: &Lcore, conn: Conn) -> Result<Tls> {
        let mut tls = match &self.settings {
            Settings::Openssl(ctx) => Tls::Openssl(Ssl::server(ctx)?),
            Settings::Rustls {
                config, max_input, ..
            } => {
                let mut connection = Connection::server(Arc::clone(config))?;
                connection.set_max_input(*max_input);
                Tls::Rustls(connection)
            }
        };
        tls.attach(lcore, conn);
        Ok(tls)
    }

    /// Why private keys are not offloaded, if one is not.
    pub fn not_offloaded(&self) -> Option<&str> {
        self.not_offloaded.as_deref()
    }
}

fn read_identities(args: &Args) -> Result<Vec<Identity>> {
    ensure!(
        args.cert.len() == args.key.len(),
        "{} --cert and {} --key were given; give one --key for each --cert, in their order",
        args.cert.len(),
        args.key.len()
    );
    let pairs = args.cert.iter().zip(&args.key);
    pairs.map(|(cert, key)| Identity::read(cert, key)).collect()
}

fn read_client_ca(path: &Path) -> Result<(String, Vec<u8>)> {
    let name = format!("--client-ca {}", path.display());
    let text = std::fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
    Ok((name, text))
}

fn versions(least: Protocol) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match least {
        Protocol::Tls12 => &BOTH,
        Protocol::Tls13 => &BOTH[..1],
    }
}

/// Clients must present a certificate of one of the issuers in this file.
fn verifier(
    path: &Path,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let (name, text) = read_client_ca(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&name, &text)? {
        roots.add(certificate).with_context(|| name.clone())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().with_context(|| name)
}
