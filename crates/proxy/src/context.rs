//! What connections are made from: certificates, keys and settings, in either TLS library's terms.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::{NamedGroup, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use spinlane::crypto::digest::{Digest, Hasher};
use spinlane::openssl::{self, Pem, Protocol, SslCtx, SuitePreference, read_file};
use spinlane::rustls::{
    CertificatesByName, ChainTicketer, Connection, SCOPE_LEN, TicketSeed, chain_digest,
    prefer_aes256, provider,
};
use spinlane::{Conn, Lcore, Ssl};

use super::config::{ClientAuth, Config, KeySource, Listener, Named, Origin, Preference};
use super::offload::ServedKey;
use super::tokens::{self, Tokens};
use crate::tls::{Identity, KeyKind, Library, Naming, Tls, certificates};

/// What connections are made from.
#[derive(Clone)]
pub struct Context {
    settings: Settings,
    keys: Vec<ServedKey>,
    expiries: Arc<[(String, i64)]>,
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
/// they were, if clients are asked for the same certificates.
pub struct Lasting {
    tickets: TicketSeed,
    /// Made once each, where no files are given.
    throw_away: Mutex<Vec<(KeyKind, Identity)>>,
    /// Open as long as the program runs.
    tokens: Tokens,
}

impl Lasting {
    /// For the life of the program.
    ///
    /// # Errors
    /// The cores cannot be told.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            tickets: TicketSeed::new(config.ticket_rotation.0),
            throw_away: Mutex::default(),
            tokens: Tokens::new(config)?,
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

    /// The throw-away certificate with such a key.
    fn throw_away(&self, kind: KeyKind) -> Result<Identity> {
        let mut made = self
            .throw_away
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, identity)) = made.iter().find(|(of, _)| *of == kind) {
            return Ok(identity.clone());
        }
        let identity = Identity::self_signed(kind).context("--self-signed")?;
        made.push((kind, identity.clone()));
        Ok(identity)
    }

    fn identities(&self, listener: &Listener) -> Result<Vec<Identity>> {
        let named = listener.identities()?;
        if named.is_empty() {
            return Ok(vec![self.throw_away(listener.self_signed)?]);
        }
        named
            .into_iter()
            .map(|named| read_identity(named, &self.tokens))
            .collect()
    }
}

impl Context {
    /// Reads the files that a listener names.
    ///
    /// # Errors
    /// A file or a value is at fault; the text names it.
    pub fn new(listener: &Listener, config: &Config, lasting: &Lasting) -> Result<Self> {
        let identities = lasting.identities(listener)?;
        let mut made = match listener.tls {
            Library::Openssl => Self::openssl(listener, config, &identities),
            Library::Rustls => Self::rustls(listener, config, &identities, &lasting.tickets),
        }?;
        made.expiries = identities.iter().filter_map(Identity::expiry).collect();
        Ok(made)
    }

    fn openssl(listener: &Listener, settings: &Config, identities: &[Identity]) -> Result<Self> {
        let [identity] = identities else {
            anyhow::bail!(
                "{}: several certificates need --tls rustls; with --tls openssl give one",
                listener.origin.place("cert")
            );
        };
        ensure!(
            identity.token_key().is_none(),
            "{}: a key on a token needs --tls rustls",
            identity.key_name()
        );
        let (certificate, key) = identity.openssl();
        let mut config = openssl::ServerConfig::new(certificate, key);
        config.min_protocol = listener.min_protocol.0;
        config.max_protocol = listener.max_protocol.0;
        config.preference = match listener.prefer {
            Preference::Aes128 => SuitePreference::Aes128,
            Preference::Aes256 => SuitePreference::Aes256,
            Preference::Client => SuitePreference::Clients,
        };
        config.tickets = listener.tickets.get();
        config.session_lifetime = settings.ticket_rotation.0;
        config.groups = (!listener.groups.is_empty()).then(|| listener.groups.join(":"));
        config.suites.clone_from(&listener.suites);
        if listener.client_auth() != ClientAuth::Off {
            let roots = listener.client_ca.as_ref().map(|path| -> Result<Pem> {
                let (name, text) = read_named(&listener.origin, "client_ca", path)?;
                Ok(Pem::new(name, text))
            });
            config.client_roots = roots.transpose()?;
            for (at, path) in listener.client_crl.iter().enumerate() {
                let (name, text) = read_named(&listener.origin, &format!("client_crl.{at}"), path)?;
                config.client_crls.push(Pem::new(name, text));
            }
        }
        config.clients_may_be_anonymous = listener.client_auth() == ClientAuth::Optional;
        config.alpn.clone_from(&listener.alpn);
        let ctx = SslCtx::server(&config).map_err(|error| {
            let key = match &error {
                openssl::SslError::Setting { setting, .. } => *setting,
                _ => return anyhow::Error::from(error),
            };
            anyhow!("{}: {error}", listener.origin.place(key))
        })?;
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
            expiries: Arc::default(),
        })
    }

    fn rustls(
        listener: &Listener,
        settings: &Config,
        identities: &[Identity],
        tickets: &TicketSeed,
    ) -> Result<Self> {
        let provider = Arc::new(restricted(listener)?);
        let clients = match listener.client_auth() {
            ClientAuth::Off => None,
            _ => Clients::read(listener, Arc::clone(&provider))?,
        };
        // All zeros is no digest of a file.
        let scope = clients
            .as_ref()
            .map_or([0; SCOPE_LEN], |clients| clients.scope);
        let (certificates, keys) = certificates_by_name(identities, &scope)?;
        let versions = versions(listener.min_protocol.0, listener.max_protocol.0);
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| {
                anyhow!(
                    "{}: {error}; add some that do",
                    listener.origin.place("suites")
                )
            })?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.verifier),
        };
        let resolver: Arc<dyn ResolvesServerCert> = match settings.wants_names(listener) {
            true => Arc::new(Naming(Arc::clone(&certificates))),
            false => Arc::<CertificatesByName>::clone(&certificates),
        };
        let mut config = builder.with_cert_resolver(resolver);
        config.enable_secret_extraction = true;
        config.ignore_client_order = listener.prefer != Preference::Client;
        config.send_tls13_tickets = listener.tickets.get();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = listener
            .alpn
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect();
        Ok(Self {
            settings: Settings::Rustls {
                config: Arc::new(config),
                certificates,
                ticketer: None,
                tickets: (listener.tickets.get() != 0).then(|| tickets.clone()),
                max_input: settings.max_handshake_bytes.get(),
            },
            keys,
            expiries: Arc::default(),
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

    /// When the certificates end, in seconds since 1970, by their names.
    pub fn expiries(&self) -> &[(String, i64)] {
        &self.expiries
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

fn read_identity(named: Named, tokens: &Tokens) -> Result<Identity> {
    let Named {
        cert_name,
        key_name,
        cert,
        key,
    } = named;
    match (tokens::uri(&key_name, &key)?, &key) {
        (Some(uri), _) => {
            let handle = tokens.key((&key_name, &uri), (&cert_name, &cert))?;
            Identity::on_token((cert_name, &cert), key_name, handle)
        }
        (None, KeySource::File(key)) => Identity::read_as((cert_name, &cert), (key_name, key)),
        (None, KeySource::Token(_)) => anyhow::bail!("{key_name}: is no URI"),
    }
}

/// The file at a key, and what errors call it.
fn read_named(origin: &Origin, key: &str, path: &Path) -> Result<(String, Vec<u8>)> {
    let name = origin.name(key, path.display());
    let text = read_file(path).with_context(|| format!("{name}: cannot be read"))?;
    Ok((name, text.to_vec()))
}

fn versions(least: Protocol, most: Protocol) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match (least, most) {
        (Protocol::Tls13, _) => &BOTH[..1],
        (_, Protocol::Tls12) => &BOTH[1..],
        (Protocol::Tls12, Protocol::Tls13) => &BOTH,
    }
}

/// rustls' cryptography, as far as the listener wants it.
fn restricted(listener: &Listener) -> Result<CryptoProvider> {
    let mut all = provider();
    if listener.prefer == Preference::Aes256 {
        prefer_aes256(&mut all);
    }
    if !listener.suites.is_empty() {
        let known: Vec<_> = all
            .cipher_suites
            .iter()
            .map(|suite| {
                // rustls has its own names for those of TLS 1.3.
                (
                    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_"),
                    *suite,
                )
            })
            .collect();
        all.cipher_suites = chosen(&listener.origin, "suites", &listener.suites, &known)?;
    }
    if !listener.groups.is_empty() {
        let known: Vec<_> = all
            .kx_groups
            .iter()
            .map(|group| {
                let name = match group.name() {
                    NamedGroup::secp256r1 => "P-256".to_owned(),
                    NamedGroup::secp384r1 => "P-384".to_owned(),
                    other => format!("{other:?}"),
                };
                (name, *group)
            })
            .collect();
        all.kx_groups = chosen(&listener.origin, "groups", &listener.groups, &known)?;
    }
    Ok(all)
}

/// Those of `known` that are `wanted`, in the order wanted.
fn chosen<T: Copy>(
    origin: &Origin,
    key: &str,
    wanted: &[String],
    known: &[(String, T)],
) -> Result<Vec<T>> {
    let find = |(at, name): (usize, &String)| {
        let found = known
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value).with_context(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            let culprit = origin.name(&format!("{key}.{at}"), name);
            format!(
                "{culprit}: not one that is served here; there are: {}",
                names.join(", ")
            )
        })
    };
    wanted.iter().enumerate().map(find).collect()
}

/// Which clients get in: those that present a certificate of one of the issuers in a file, which no list revokes.
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// A digest of all that.
    scope: [u8; SCOPE_LEN],
}

impl Clients {
    fn read(listener: &Listener, provider: Arc<CryptoProvider>) -> Result<Option<Self>> {
        let Some(path) = &listener.client_ca else {
            return Ok(None);
        };
        let (name, text) = read_named(&listener.origin, "client_ca", path)?;
        let issuers = certificates(&name, &text)?;
        let mut scope = chain_digest(&issuers);
        let mut roots = RootCertStore::empty();
        for certificate in issuers {
            roots.add(certificate).with_context(|| name.clone())?;
        }
        let lists = revocation_lists(listener)?;
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let may_be_anonymous = listener.client_auth() == ClientAuth::Optional;
        if may_be_anonymous {
            verifier = verifier.allow_unauthenticated();
        }
        if may_be_anonymous || !lists.is_empty() {
            // Issuers alone have the digest that they always had.
            let mut hasher = Hasher::new(Digest::Sha256);
            hasher.update(&scope);
            hasher.update(&[u8::from(may_be_anonymous)]);
            for list in &lists {
                hasher.update(&u64::try_from(list.len())?.to_be_bytes());
                hasher.update(list);
            }
            hasher.finish(&mut scope);
        }
        if !lists.is_empty() {
            // As libssl has it by X509_V_FLAG_CRL_CHECK.
            verifier = verifier
                .with_crls(lists)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration();
        }
        let verifier = verifier.build().map_err(|error| match error {
            VerifierBuilderError::InvalidCrl(why) => anyhow!(
                "{}: a list cannot be used ({why:?}); rustls takes lists of version 2, which have a number (crlnumber \
                 of openssl ca)",
                listener.origin.place("client_crl")
            ),
            error => anyhow!("{name}: {error}"),
        })?;
        Ok(Some(Self { verifier, scope }))
    }
}

fn revocation_lists(listener: &Listener) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let mut lists = Vec::new();
    for (at, path) in listener.client_crl.iter().enumerate() {
        let (name, text) = read_named(&listener.origin, &format!("client_crl.{at}"), path)?;
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(&text) {
            lists.push(
                list.map_err(|error| {
                    anyhow!("{name}: no revocation list in PEM format ({error})")
                })?,
            );
        }
        ensure!(
            lists.len() > before,
            "{name}: no revocation list in PEM format: it has none that begins with -----BEGIN X509 CRL-----; \
             convert it (openssl crl)"
        );
    }
    Ok(lists)
}
