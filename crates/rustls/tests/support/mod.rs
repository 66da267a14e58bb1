//! Certificates, configurations, and two ends of a connection in memory.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test crate uses its part of it"
)]

use std::sync::{Arc, OnceLock};

use rcgen::{CertificateParams, KeyPair, RsaKeySize};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};
use spinlane_cryptodev::{Device, QueuePairConfig};
use spinlane_driver_soft::SoftDevice;
use spinlane_lcore::{Config, Conn, HealthConfig, Lcore};
use spinlane_rustls::{Connection, Error, Progress, load_private_key, prefer_aes256, provider};

pub mod scan;
pub mod schedule;
pub mod stock;

pub use rustls;

/// Kinds of keys, and whether devices sign with them.
pub const KEYS: [(&str, bool); 7] = [
    ("rsa2048", true),
    ("rsa3072", true),
    ("rsa4096", true),
    ("p256", true),
    ("p384", true),
    ("ed25519", true),
    ("p521", false),
];

/// A self-signed certificate and its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    key: String,
}

/// Names the variable by which a test gives its identity to a child of its own.
pub const GIVEN: &str = "SPINLANE_TEST_IDENTITY";

impl Identity {
    /// As it stands in [`GIVEN`].
    pub fn to_give(&self) -> String {
        let hex = self.certificate.iter().map(|byte| format!("{byte:02x}"));
        hex.chain([format!(" {}", self.key)]).collect()
    }

    fn given(given: &str) -> Self {
        let (hex, key) = given.split_once(' ').unwrap();
        let digits = hex
            .as_bytes()
            .chunks(2)
            .map(|two| str::from_utf8(two).unwrap());
        let bytes = digits.map(|two| u8::from_str_radix(two, 16).unwrap());
        Self {
            certificate: bytes.collect::<Vec<_>>().into(),
            key: key.to_owned(),
        }
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    pub fn certified(&self) -> Arc<SingleCertAndKey> {
        let key = load_private_key(&self.key()).unwrap().key;
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            vec![self.certificate.clone()],
            key,
        )))
    }
}

/// One of [`KEYS`], made once.
pub fn identity(kind: &str) -> &'static Identity {
    static MADE: [OnceLock<Identity>; KEYS.len()] = [const { OnceLock::new() }; KEYS.len()];
    let index = KEYS.iter().position(|(name, _)| *name == kind).unwrap();
    MADE[index].get_or_init(|| {
        if let Ok(given) = std::env::var(GIVEN) {
            return Identity::given(&given);
        }
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let key = match kind {
            "rsa2048" => rsa(RsaKeySize::_2048),
            "rsa3072" => rsa(RsaKeySize::_3072),
            "rsa4096" => rsa(RsaKeySize::_4096),
            "p256" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            "p384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            "p521" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
            _ => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        };
        let key = key.unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: key.serialize_pem(),
        }
    })
}

/// What a test wants to be otherwise.
pub struct Wanted {
    pub key: &'static str,
    pub version: &'static SupportedProtocolVersion,
    /// The only group; `None` = all.
    pub group: Option<&'static dyn SupportedKxGroup>,
    /// The only cipher suite; `None` = all.
    pub suite: Option<SupportedCipherSuite>,
    pub prefers_aes256: bool,
    /// The client's own key.
    pub client_key: Option<&'static str>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            key: "p256",
            version: &rustls::version::TLS13,
            group: None,
            suite: None,
            prefers_aes256: false,
            client_key: None,
        }
    }
}

impl Wanted {
    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = provider();
        if let Some(group) = self.group {
            provider.kx_groups = vec![group];
        }
        if self.prefers_aes256 {
            prefer_aes256(&mut provider);
        }
        if let Some(suite) = self.suite {
            provider.cipher_suites = vec![suite];
        }
        Arc::new(provider)
    }

    pub fn server(&self) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&[self.version])
            .unwrap();
        let builder = match self.client_key {
            None => builder.with_no_client_auth(),
            Some(kind) => {
                let roots = identity(kind).roots();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, self.provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_cert_resolver(identity(self.key).certified());
        config.ignore_client_order = true;
        config.send_tls13_tickets = 0;
        config.enable_secret_extraction = true;
        config
    }

    pub fn client(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(identity(self.key).roots());
        let mut config = match self.client_key {
            None => builder.with_no_client_auth(),
            Some(kind) => builder.with_client_cert_resolver(identity(kind).certified()),
        };
        config.enable_secret_extraction = true;
        config
    }

    /// Both ends, attached to no lcore.
    pub fn unattached(&self) -> Ends {
        let name = ServerName::try_from("localhost").unwrap();
        Ends {
            client: Connection::client(Arc::new(self.client()), name),
            server: Connection::server(Arc::new(self.server())).unwrap(),
        }
    }

    /// Both ends.
    pub fn ends(&self, lcore: &Lcore) -> Ends {
        Ends::new(lcore, Arc::new(self.server()), Arc::new(self.client()))
    }
}

/// An lcore on device soft with room for `capacity` ops.
pub fn lcore(capacity: usize) -> Lcore {
    // No op of a busy machine is too late.
    let health = HealthConfig {
        op_deadline_ns: 3_600_000_000_000,
        ..HealthConfig::default()
    };
    let lcore = Lcore::new(Config::default());
    let config = QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    };
    lcore.add_queue_pair_with(SoftDevice::new().queue_pair(config).unwrap(), health);
    lcore
}

/// Two ends.
pub struct Ends {
    pub client: Connection,
    pub server: Connection,
}

pub const CLIENT: Conn = Conn(1);
pub const SERVER: Conn = Conn(2);

impl Ends {
    pub fn new(lcore: &Lcore, server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let mut ends = Self {
            client: Connection::client(client, name),
            server: Connection::server(server).unwrap(),
        };
        ends.client.attach(lcore, CLIENT);
        ends.server.attach(lcore, SERVER);
        ends
    }

    /// Moves bytes both ways, all at once.
    pub fn carry(&mut self) -> usize {
        carry(&mut self.client, &mut self.server) + carry(&mut self.server, &mut self.client)
    }

    /// Both handshakes to their end, polling when nothing else can be done.
    pub fn establish(&mut self, lcore: &Lcore) -> Result<(), Error> {
        for _ in 0..100_000 {
            if self.client.is_established() && self.server.is_established() {
                self.carry();
                return Ok(());
            }
            self.carry();
            for end in [&mut self.client, &mut self.server] {
                if !end.is_paused() && !end.is_established() {
                    end.handshake()?;
                }
            }
            lcore.poll().unwrap();
            while let Some(conn) = lcore.next_ready() {
                let end = if conn == CLIENT {
                    &mut self.client
                } else {
                    &mut self.server
                };
                end.handshake()?;
            }
        }
        panic!(
            "the handshake gets stuck: {:?} {:?}",
            self.client, self.server
        );
    }

    /// Sends `text` each way and checks that it arrives.
    pub fn exchange(&mut self, text: &[u8]) {
        let Self { client, server } = self;
        send(client, server, text);
        send(server, client, text);
    }
}

pub fn carry(from: &mut Connection, to: &mut Connection) -> usize {
    from.write_output(|bytes| Ok(to.push_input(bytes))).unwrap()
}

pub fn send(from: &mut Connection, to: &mut Connection, text: &[u8]) {
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < text.len() {
        if sent < text.len() {
            match from.write(&text[sent..]).unwrap() {
                Progress::Done(count) => sent += count,
                other => assert_eq!(other, Progress::WantOutput),
            }
        }
        carry(from, to);
        let mut part = [0; 5000];
        while let Progress::Done(count) = to.read(&mut part).unwrap() {
            got.extend_from_slice(&part[..count]);
        }
    }
    assert!(got == text, "what arrived is not what was sent");
}
