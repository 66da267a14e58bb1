//! What connections are made from: certificates, keys and settings, in either TLS library's terms.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use spinlane::openssl::{self, Pem, Protocol, SslCtx, SuitePreference, read_file};
use spinlane::rustls::{
    CertificatesByName, ChainTicketer, Connection, SCOPE_LEN, TicketSeed, chain_digest,
    prefer_aes256, provider,
};
use spinlane::{Conn, Lcore, Ssl};

use super::args::{Args, KeySource, Preference};
use super::offload::ServedKey;
use super::tokens::{self, Tokens};
use crate::tls::{Identity, Library, Tls, certificates};

/// What connections are made from.
#[derive(Clone)]
pub struct Context {
    settings: Settings,
    keys: Vec<ServedKey>,
}

#[derive(Clone)]
enum Settings {
    Openssl(SslCtx),
    Rustls {
        config: Arc<ServerConfig>,
        certificates: Arc<CertificatesByName>,
        tickets: Option<TicketSeed>,
        /// Of this core.
        ticketer: Option<Arc<ChainTicketer>>,
        max_input: usize,
    },
}

/// What outlives a reload: tickets issued before it are still good, for the names whose certificates are what
/// they were, if --client-ca is what it was.
pub struct Lasting {
    tickets: TicketSeed,
    /// Made once, where no files are given.
    throw_away: Option<Identity>,
    /// Open as long as the program runs.
    tokens: Tokens,
}

impl Lasting {
    /// For the life of the program.
    ///
    /// # Errors
    /// A throw-away certificate cannot be made, or the cores cannot be told.
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
            tokens: Tokens::new(args)?,
        })
    }

    /// The tokens that keys are on.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Overwrites ticket keys whose time is over.
    pub fn mind_the_time(&self) {
        self.tickets.advance();
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
            None => read_identities(args, &lasting.tokens)?,
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
        ensure!(
            identity.token_key().is_none(),
            "{}: a key on a token needs --tls rustls",
            identity.key_name()
        );
        let (certificate, key) = identity.openssl();
        let mut config = openssl::ServerConfig::new(certificate, key);
        config.min_protocol = args.min_protocol;
        config.preference = match args.prefer {
            Preference::Aes128 => SuitePreference::Aes128,
            Preference::Aes256 => SuitePreference::Aes256,
            Preference::Client => SuitePreference::Clients,
        };
        config.tickets = usize::from(args.tickets);
        config.session_lifetime = args.ticket_rotation;
        let roots = args.client_ca.as_ref().map(|path| -> Result<Pem> {
            let (name, text) = read_client_ca(path)?;
            Ok(Pem::new(name, text))
        });
        config.client_roots = roots.transpose()?;
        config.alpn.clone_from(&args.alpn);
        let ctx = SslCtx::server(&config)?;
        let op = ctx.key_op().ok_or_else(|| match ctx.key_offload() {
            openssl::KeyOffload::Unsupported(why) => why.clone(),
            openssl::KeyOffload::Offloaded | openssl::KeyOffload::Off => {
                "it is of no kind that devices have".to_owned()
            }
        });
        let name = identity.key_name().to_owned();
        Ok(Self {
            settings: Settings::Openssl(ctx),
            keys: vec![ServedKey {
                name,
                op,
                on_token: None,
            }],
        })
    }

    fn rustls(args: &Args, identities: &[Identity], tickets: &TicketSeed) -> Result<Self> {
        let mut provider = provider();
        if args.prefer == Preference::Aes256 {
            prefer_aes256(&mut provider);
        }
        let provider = Arc::new(provider);
        let clients = args.client_ca.as_deref();
        let clients = clients.map(|path| Clients::read(path, Arc::clone(&provider)));
        let clients = clients.transpose()?;
        // All zeros is no digest of a file.
        let scope = clients
            .as_ref()
            .map_or([0; SCOPE_LEN], |clients| clients.scope);
        let (certificates, keys) = certificates_by_name(identities, &scope)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(args.min_protocol))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.verifier),
        };
        let mut config =
            builder.with_cert_resolver(Arc::<CertificatesByName>::clone(&certificates));
        config.enable_secret_extraction = true;
        config.ignore_client_order = args.prefer != Preference::Client;
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
                certificates,
                ticketer: None,
                tickets: (args.tickets != 0).then(|| tickets.clone()),
                max_input: usize::try_from(args.max_handshake_bytes)?,
            },
            keys,
        })
    }

    /// For one core's own use: nothing of it that changes is shared with other cores.
    pub fn for_core(&self) -> Self {
        let mut context = self.clone();
        if let Settings::Rustls {
            config,
            certificates,
            tickets: Some(seed),
            ticketer,
            ..
        } = &mut context.settings
        {
            let certificates = Arc::clone(certificates);
            let ours = seed.ticketer(move |name| certificates.scope(name));
            Arc::make_mut(config).ticketer = Arc::<ChainTicketer>::clone(&ours);
            *ticketer = Some(ours);
        }
        context
    }

    /// Overwrites this core's ticket keys whose time is over.
    pub fn mind_the_time(&self) {
        if let Settings::Rustls {
            ticketer: Some(ticketer),
            ..
        } = &self.settings
        {
            ticketer.advance();
        }
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

    /// The private keys that serve.
    pub fn keys(&self) -> &[ServedKey] {
        &self.keys
    }
}

/// The identities by their names, and their keys. `clients`: a digest of what decides which clients get in.
fn certificates_by_name(
    identities: &[Identity],
    clients: &[u8; SCOPE_LEN],
) -> Result<(Arc<CertificatesByName>, Vec<ServedKey>)> {
    let (mut all, mut keys) = (Vec::new(), Vec::new());
    for identity in identities {
        let (key, op) = identity.rustls()?;
        all.push(key);
        keys.push(ServedKey {
            name: identity.key_name().to_owned(),
            op,
            on_token: identity.token_key().cloned(),
        });
    }
    let certificates = CertificatesByName::new(all, clients).map_err(|(index, error)| {
        let name = identities.get(index).map_or("--cert", Identity::name);
        anyhow!("{name}: {error}")
    })?;
    Ok((Arc::new(certificates), keys))
}

fn read_identities(args: &Args, tokens: &Tokens) -> Result<Vec<Identity>> {
    ensure!(
        args.cert.len() == args.key.len(),
        "{} --cert and {} --key were given; give one --key for each --cert, in their order",
        args.cert.len(),
        args.key.len()
    );
    let pairs = args.cert.iter().zip(&args.key);
    let read = |(cert, key): (&PathBuf, &KeySource)| match (tokens::uri(key)?, key) {
        (Some(uri), _) => Identity::on_token(cert, &uri, tokens.key(&uri, cert)?),
        (None, KeySource::File(key)) => Identity::read(cert, key),
        (None, KeySource::Token(uri)) => anyhow::bail!("--key {uri}: is no URI"),
    };
    pairs.map(read).collect()
}

fn read_client_ca(path: &Path) -> Result<(String, Vec<u8>)> {
    let name = format!("--client-ca {}", path.display());
    let text = read_file(path).with_context(|| format!("{name}: cannot be read"))?;
    Ok((name, text.to_vec()))
}

fn versions(least: Protocol) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match least {
        Protocol::Tls12 => &BOTH,
        Protocol::Tls13 => &BOTH[..1],
    }
}

/// Which clients get in: those that present a certificate of one of the issuers in a file.
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// A digest of the issuers.
    scope: [u8; SCOPE_LEN],
}

impl Clients {
    fn read(path: &Path, provider: Arc<rustls::crypto::CryptoProvider>) -> Result<Self> {
        let (name, text) = read_client_ca(path)?;
        let issuers = certificates(&name, &text)?;
        let scope = chain_digest(&issuers);
        let mut roots = RootCertStore::empty();
        for certificate in issuers {
            roots.add(certificate).with_context(|| name.clone())?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().with_context(|| name)?;
        Ok(Self { verifier, scope })
    }
}
