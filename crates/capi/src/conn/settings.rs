//! What `spinlane_conn`s are made from: settings, and the configuration of rustls that comes of them.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use spinlane::cryptodev::KeyHandle;
use spinlane::openssl::{Pem, Wanted};
use spinlane::rustls::rustls::client::danger::ServerCertVerifier;
use spinlane::rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use spinlane::rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup};
use spinlane::rustls::rustls::pki_types::pem::PemObject;
use spinlane::rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use spinlane::rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use spinlane::rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use spinlane::rustls::rustls::{
    CipherSuite, ClientConfig, NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion, version,
};
use spinlane::rustls::{
    CertificatesByName, DEFAULT_MAX_INPUT, KeyOffload, LoadedKey, SCOPE_LEN, TicketSeed, certified,
    chain_digest, device_key, load_private_key, provider, system_roots,
};

use super::name::NotesName;
use super::unverified::Unverified;
use crate::error::{Failure, failure};

/// Tickets per full handshake of TLS 1.3, and how long one is good, unless set.
const TICKETS: usize = 2;
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Which end of its connections a configuration is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// rustls' configuration.
#[derive(Clone)]
pub(super) enum Built {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>),
}

/// Settings as they are made.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) side: Side,
    /// Each with what errors call it.
    certificates: Vec<(String, Arc<CertifiedKey>)>,
    /// The issuers of the peers that are let in.
    issuers: Option<(String, Vec<CertificateDer<'static>>)>,
    accepts_any: bool,
    pub(super) alpn: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    groups: Vec<&'static dyn SupportedKxGroup>,
    suites: Vec<SupportedCipherSuite>,
    pub(super) tickets: usize,
    seed: TicketSeed,
    pub(super) max_input: usize,
    /// What came of them, until the next change.
    built: Option<Built>,
}

impl Settings {
    pub(super) fn new(side: Side) -> Self {
        let provider = provider();
        Self {
            side,
            certificates: Vec::new(),
            issuers: None,
            accepts_any: false,
            alpn: Vec::new(),
            versions: vec![&version::TLS13, &version::TLS12],
            groups: provider.kx_groups,
            suites: provider.cipher_suites,
            tickets: TICKETS,
            seed: TicketSeed::new(LIFETIME),
            max_input: DEFAULT_MAX_INPUT,
            built: None,
        }
    }

    /// A copy that shares nothing that changes, but for the seed of tickets, which each copy has links of its own of.
    pub(super) fn copy(&self) -> Self {
        Self {
            built: None,
            ..self.clone()
        }
    }

    /// Says that a setting has changed.
    pub(super) fn touch(&mut self) {
        self.built = None;
    }

    pub(super) fn server_only(&self, what: &str) -> Result<(), Failure> {
        match self.side {
            Side::Server => Ok(()),
            Side::Client => Err(failure(format!(
                "{what} is a server's; this configuration is a client's"
            ))),
        }
    }

    /// Adds a certificate with its issuers, and its key.
    pub(super) fn add_certificate(
        &mut self,
        chain: &Pem,
        key: &Pem,
    ) -> Result<KeyOffload, Failure> {
        key.check(Wanted::PrivateKey)?;
        let der = PrivateKeyDer::from_pem_slice(key.text());
        let der = der.map_err(|error| unreadable(key, "private key", &error))?;
        let loaded = load_private_key(&der).map_err(|error| named(key.name(), &error))?;
        self.add_loaded(chain, key.name(), loaded)
    }

    /// The same with a key that stays in its device.
    pub(super) fn add_own_key(
        &mut self,
        chain: &Pem,
        name: &str,
        key: &Arc<KeyHandle>,
    ) -> Result<KeyOffload, Failure> {
        let loaded = device_key(key).ok_or_else(|| failure(format!("{name}: is in memory")))?;
        self.add_loaded(chain, name, loaded)
    }

    fn add_loaded(
        &mut self,
        chain: &Pem,
        name: &str,
        loaded: LoadedKey,
    ) -> Result<KeyOffload, Failure> {
        let chain_of = certificates(chain)?;
        let certified = certified(chain_of, loaded.key)
            .map_err(|error| failure(format!("{} with {}: {error}", chain.name(), name)))?;
        if self.side == Side::Client && !self.certificates.is_empty() {
            return Err(failure(
                "a client has one certificate; this one has it already",
            ));
        }
        self.certificates.push((chain.name().to_owned(), certified));
        Ok(loaded.offload)
    }

    /// Takes `pem`'s certificates for the issuers of the peers that are let in, nobody else from now on.
    pub(super) fn set_issuers(&mut self, pem: &Pem) -> Result<(), Failure> {
        self.issuers = Some((pem.name().to_owned(), certificates(pem)?));
        self.accepts_any = false;
        Ok(())
    }

    pub(super) fn accept_any(&mut self) {
        self.accepts_any = true;
    }

    /// Sets the versions from the numbers that TLS has for them.
    pub(super) fn set_versions(&mut self, least: u32, most: u32) -> Result<(), Failure> {
        let all = [(0x0304, &version::TLS13), (0x0303, &version::TLS12)];
        let wanted = all
            .into_iter()
            .filter(|(number, _)| (least..=most).contains(number));
        let versions: Vec<_> = wanted.map(|(_, version)| version).collect();
        if versions.is_empty() {
            return Err(failure(format!(
                "no version of TLS is from {least:#06x} to {most:#06x}; there are 0x0303 (1.2) and 0x0304 (1.3)"
            )));
        }
        self.versions = versions;
        Ok(())
    }

    /// Sets the groups of key exchange, most preferred first.
    pub(super) fn set_groups(&mut self, list: &str) -> Result<(), Failure> {
        let provider = provider();
        let mut known = provider.kx_groups;
        known.push(&spinlane::rustls::OffloadedSecp256r1Mlkem768);
        known.dedup_by_key(|group| group.name());
        self.groups = chosen(list, "group", &known, |group| group_named(group.name()))?;
        Ok(())
    }

    /// Sets the cipher suites, most preferred first.
    pub(super) fn set_suites(&mut self, list: &str) -> Result<(), Failure> {
        let known = provider().cipher_suites;
        self.suites = chosen(list, "cipher suite", &known, |suite| {
            suite_named(suite.suite())
        })?;
        Ok(())
    }

    /// Sets how many tickets a full handshake gives, and how long one is good.
    pub(super) fn set_tickets(&mut self, count: usize, lifetime: Duration) {
        self.tickets = count;
        self.seed = TicketSeed::new(lifetime);
    }

    pub(super) fn set_seed(&mut self, seed: TicketSeed) {
        self.seed = seed;
    }

    /// The configuration, made if there is none.
    pub(super) fn build(&mut self) -> Result<Built, Failure> {
        if let Some(built) = &self.built {
            return Ok(built.clone());
        }
        let mut provider = provider();
        provider.kx_groups.clone_from(&self.groups);
        provider.cipher_suites.clone_from(&self.suites);
        let provider = Arc::new(provider);
        let built = match self.side {
            Side::Server => Built::Server(Arc::new(self.server(provider)?)),
            Side::Client => Built::Client(Arc::new(self.client(provider)?)),
        };
        self.built = Some(built.clone());
        Ok(built)
    }

    fn server(&self, provider: Arc<CryptoProvider>) -> Result<ServerConfig, Failure> {
        let clients = match &self.issuers {
            // All zeros is no digest.
            None => [0; SCOPE_LEN],
            Some((_, issuers)) => chain_digest(issuers),
        };
        let all = self.certificates.iter().map(|(_, key)| Arc::clone(key));
        let certificates = CertificatesByName::new(all.collect(), &clients);
        let certificates = Arc::new(certificates.map_err(|(index, error)| {
            let name = self.certificates.get(index).map(|(name, _)| &**name);
            named(
                name.unwrap_or("spinlane_conn_config_add_certificate"),
                &error,
            )
        })?);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| disagreeing(&error))?;
        let builder = match &self.issuers {
            None => builder.with_no_client_auth(),
            Some((name, _)) => {
                let roots = Arc::new(self.roots()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| named(name, &error))?)
            }
        };
        let names = NotesName(Arc::<CertificatesByName>::clone(&certificates));
        let mut config = builder.with_cert_resolver(Arc::new(names));
        config.enable_secret_extraction = true;
        config.ignore_client_order = true;
        config.alpn_protocols.clone_from(&self.alpn);
        config.send_tls13_tickets = self.tickets;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.tickets != 0 {
            config.ticketer = self.seed.ticketer(move |name| certificates.scope(name));
        }
        Ok(config)
    }

    fn client(&self, provider: Arc<CryptoProvider>) -> Result<ClientConfig, Failure> {
        let verifier: Arc<dyn ServerCertVerifier> = match self.accepts_any {
            true => Arc::new(Unverified(Arc::clone(&provider))),
            false => {
                let roots = Arc::new(self.roots()?);
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .map_err(|error| disagreeing(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.certificates.first() {
            None => builder.with_no_client_auth(),
            Some((_, key)) => {
                let key = SingleCertAndKey::from(Arc::clone(key));
                builder.with_client_cert_resolver(Arc::new(key))
            }
        };
        config.enable_secret_extraction = true;
        config.alpn_protocols.clone_from(&self.alpn);
        if self.tickets == 0 {
            config.resumption = Resumption::disabled();
        }
        Ok(config)
    }

    /// The issuers that were set; for a client without them, those that this system trusts.
    fn roots(&self) -> Result<RootCertStore, Failure> {
        let Some((name, issuers)) = &self.issuers else {
            return Ok(system_roots()?);
        };
        let mut roots = RootCertStore::empty();
        for issuer in issuers {
            roots
                .add(issuer.clone())
                .map_err(|error| named(name, &error))?;
        }
        Ok(roots)
    }
}

/// As SSL_CTX_set1_groups_list(3) calls it.
pub(super) fn group_named(group: NamedGroup) -> String {
    match group {
        NamedGroup::secp256r1 => "P-256".to_owned(),
        NamedGroup::secp384r1 => "P-384".to_owned(),
        NamedGroup::secp256r1MLKEM768 => "SecP256r1MLKEM768".to_owned(),
        group => format!("{group:?}"),
    }
}

/// As IANA calls it.
pub(super) fn suite_named(suite: CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}

/// Those of `known` that `list` names, in its order; colons in between.
fn chosen<T: Copy>(
    list: &str,
    what: &str,
    known: &[T],
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, Failure> {
    let found = list.split(':').map(|wanted| {
        let found = known
            .iter()
            .find(|known| name(known).eq_ignore_ascii_case(wanted));
        found.copied().ok_or_else(|| {
            let names: Vec<String> = known.iter().map(&name).collect();
            failure(format!(
                "no {what} is called {wanted:?}; there are: {}",
                names.join(":")
            ))
        })
    });
    found.collect()
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Failure> {
    pem.check(Wanted::Certificate)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.text()).collect();
    found.map_err(|error| unreadable(pem, "certificate", &error))
}

fn unreadable(pem: &Pem, what: &str, error: &dyn std::fmt::Debug) -> Failure {
    failure(format!(
        "{}: no {what} in PEM format can be read from it ({error:?}); make or export it again",
        pem.name()
    ))
}

fn disagreeing(error: &dyn Display) -> Failure {
    failure(format!(
        "versions, cipher suites and groups do not go together ({error}); give a suite of one of the versions \
         (spinlane_conn_config_set_suites, spinlane_conn_config_set_versions)"
    ))
}

fn named(name: &str, error: &dyn Display) -> Failure {
    failure(format!("{name}: {error}"))
}
