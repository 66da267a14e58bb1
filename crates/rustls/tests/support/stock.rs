//! Stock rustls as the peer, and a peer without rustls, which can send what rustls would not.

use std::io::{Cursor, Read, Write};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ServerConfig, ServerConnection,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use spinlane_crypto::aead::{Algorithm, Cipher, TAG_LEN};
use spinlane_rustls::{Connection, Error, Progress};

use super::{Wanted, rustls};

/// Suites of stock rustls, with a key of ours that fits.
pub fn suites() -> Vec<(SupportedCipherSuite, &'static str)> {
    let suites = aws_lc_rs::default_provider().cipher_suites.into_iter();
    let with_key = suites.map(|suite| {
        let name = format!("{:?}", suite.suite());
        (
            suite,
            if name.contains("RSA") {
                "rsa2048"
            } else {
                "p256"
            },
        )
    });
    with_key.collect()
}

pub fn version(suite: SupportedCipherSuite) -> &'static SupportedProtocolVersion {
    suite.version()
}

/// A connection of stock rustls', buffered.
pub struct Stock(pub rustls::Connection);

/// Which side ours is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ours {
    Client,
    Server,
}

pub const BOTH: [Ours; 2] = [Ours::Client, Ours::Server];

fn only(suite: SupportedCipherSuite) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    Arc::new(provider)
}

/// Ours and stock rustls, established.
pub fn pair(ours: Ours, suite: SupportedCipherSuite, key: &'static str) -> (Connection, Stock) {
    let wanted = Wanted {
        key,
        version: suite.version(),
        ..Wanted::default()
    };
    pair_with(ours, suite, wanted, |_| {}, |_| {})
}

/// The same with settings of the test's.
pub fn pair_with(
    ours: Ours,
    suite: SupportedCipherSuite,
    wanted: Wanted,
    of_server: impl FnOnce(&mut ServerConfig),
    of_client: impl FnOnce(&mut ClientConfig),
) -> (Connection, Stock) {
    let (mut server, mut client) = configs(ours, suite, &wanted);
    of_server(&mut server);
    of_client(&mut client);
    let (ours, stock) = connect(ours, &server.into(), &client.into());
    assert_eq!(ours.cipher_suite().unwrap().suite(), suite.suite());
    (ours, stock)
}

/// One of them ours, the other stock rustls'.
pub fn configs(
    ours: Ours,
    suite: SupportedCipherSuite,
    wanted: &Wanted,
) -> (ServerConfig, ClientConfig) {
    let identity = super::identity(wanted.key);
    let (mut server, mut client) = (wanted.server(), wanted.client());
    match ours {
        Ours::Server => {
            client = ClientConfig::builder_with_provider(only(suite))
                .with_protocol_versions(&[suite.version()])
                .unwrap()
                .with_root_certificates(identity.roots())
                .with_no_client_auth();
        }
        Ours::Client => {
            server = ServerConfig::builder_with_provider(only(suite))
                .with_protocol_versions(&[suite.version()])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(identity.certified());
            server.send_tls13_tickets = 0;
        }
    }
    server.enable_secret_extraction = true;
    client.enable_secret_extraction = true;
    (server, client)
}

/// Ours and stock rustls, which have not said anything yet.
pub fn start(
    ours: Ours,
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (Connection, Stock) {
    let (server, client) = (Arc::clone(server), Arc::clone(client));
    let name = ServerName::try_from("localhost").unwrap();
    let (conn, stock) = match ours {
        Ours::Server => {
            let stock = ClientConnection::new(client, name).unwrap();
            (Connection::server(server).unwrap(), stock.into())
        }
        Ours::Client => {
            let stock = ServerConnection::new(server).unwrap();
            (Connection::client(client, name), stock.into())
        }
    };
    (conn, Stock(stock))
}

pub fn connect(
    ours: Ours,
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (Connection, Stock) {
    let (mut conn, mut stock) = start(ours, server, client);
    for _ in 0..10 {
        let progress = conn.handshake().unwrap();
        stock.feed(&output(&mut conn)).unwrap();
        if progress == Progress::Done(0) && !stock.0.is_handshaking() {
            return (conn, stock);
        }
        give(&mut conn, &stock.output());
    }
    panic!("the handshake gets stuck");
}

/// What a connection has to send.
pub fn output(conn: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while conn.output_len() != 0 {
        let taken = conn.write_output(|output| {
            bytes.extend_from_slice(output);
            Ok(output.len())
        });
        taken.unwrap();
    }
    bytes
}

pub fn give(conn: &mut Connection, bytes: &[u8]) {
    assert_eq!(conn.push_input(bytes), bytes.len(), "no room");
}

/// All the text that there is, up to what ends it.
pub fn text(conn: &mut Connection) -> (Vec<u8>, Result<Progress, Error>) {
    let (mut all, mut part) = (Vec::new(), [0; 7000]);
    loop {
        match conn.read(&mut part) {
            Ok(Progress::Done(count)) => all.extend_from_slice(&part[..count]),
            end => return (all, end),
        }
    }
}

impl Stock {
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), rustls::Error> {
        let mut from = Cursor::new(bytes);
        while (from.position() as usize) < bytes.len() {
            self.0.read_tls(&mut from).unwrap();
            self.0.process_new_packets()?;
        }
        Ok(())
    }

    pub fn output(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    pub fn write(&mut self, text: &[u8]) {
        self.0.set_buffer_limit(None);
        self.0.writer().write_all(text).unwrap();
    }

    /// All the text that there is, and whether the other side has closed.
    pub fn text(&mut self) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let closed = self.0.reader().read_to_end(&mut all).is_ok();
        (all, closed)
    }

    /// The same peer without rustls.
    pub fn raw(self) -> Raw {
        let tls13 = self.0.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        let secrets = self.0.dangerous_extract_secrets().unwrap();
        Raw {
            tx: Keys::new(tls13, secrets.tx),
            rx: Keys::new(tls13, secrets.rx),
        }
    }
}

/// A peer that sends whatever it is told to.
pub struct Raw {
    tx: Keys,
    rx: Keys,
}

struct Keys {
    tls13: bool,
    explicit: usize,
    cipher: Cipher,
    iv: [u8; 12],
    sequence: u64,
}

impl Keys {
    fn new(tls13: bool, (sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Algorithm::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Algorithm::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Algorithm::ChaCha20Poly1305, key, iv)
            }
            _ => panic!("another algorithm"),
        };
        let implicit = tls13 || algorithm == Algorithm::ChaCha20Poly1305;
        Self {
            tls13,
            explicit: if implicit { 0 } else { 8 },
            cipher: Cipher::new(algorithm, key.as_ref()).unwrap(),
            iv: iv.as_ref().try_into().unwrap(),
            sequence,
        }
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        nonce[4..]
            .iter_mut()
            .zip(sequence)
            .for_each(|(to, from)| *to ^= from);
        nonce
    }

    fn aad(&self, kind: u8, text: usize, payload: usize) -> Vec<u8> {
        let len = |len: usize| (len as u16).to_be_bytes();
        if self.tls13 {
            [&[23, 3, 3], &len(payload)[..]].concat()
        } else {
            [&self.sequence.to_be_bytes()[..], &[kind, 3, 3], &len(text)].concat()
        }
    }
}

impl Raw {
    /// One of TLS 1.3 that seals and opens by these keys.
    pub fn tls13(tx: ConnectionTrafficSecrets, rx: ConnectionTrafficSecrets) -> Self {
        Self {
            tx: Keys::new(true, (0, tx)),
            rx: Keys::new(true, (0, rx)),
        }
    }

    /// A record with this in it; in TLS 1.3 followed by its type and `padding` zeros.
    pub fn record(&mut self, kind: u8, text: &[u8], padding: usize) -> Vec<u8> {
        let mut inner = text.to_vec();
        if self.tx.tls13 {
            inner.push(kind);
            inner.resize(inner.len() + padding, 0);
        }
        self.inner(kind, &inner)
    }

    /// A record of just this.
    pub fn inner(&mut self, kind: u8, inner: &[u8]) -> Vec<u8> {
        let keys = &mut self.tx;
        let nonce = keys.nonce();
        let len = keys.explicit + inner.len() + TAG_LEN;
        let outer = if keys.tls13 { 23 } else { kind };
        let mut record = vec![outer, 3, 3, (len >> 8) as u8, len as u8];
        record.extend_from_slice(&nonce[12 - keys.explicit..]);
        let (start, aad) = (record.len(), keys.aad(kind, inner.len(), len));
        record.resize(start + inner.len() + TAG_LEN, 0);
        let sealed = &mut record[start..];
        assert!(keys.cipher.seal_into(&nonce, &aad, inner, &[], sealed));
        keys.sequence += 1;
        record
    }

    /// The records in `bytes`: types and texts.
    pub fn open(&mut self, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let (mut rest, mut records) = (bytes, Vec::new());
        while !rest.is_empty() {
            let len = usize::from(rest[3]) << 8 | usize::from(rest[4]);
            let record = &rest[..5 + len];
            rest = &rest[5 + len..];
            let keys = &mut self.rx;
            let mut nonce = keys.nonce();
            nonce[12 - keys.explicit..].copy_from_slice(&record[5..][..keys.explicit]);
            let end = record.len() - TAG_LEN;
            let mut text = record[5 + keys.explicit..end].to_vec();
            let aad = keys.aad(record[0], text.len(), len);
            let tag = record[end..].try_into().unwrap();
            assert!(keys.cipher.open(&nonce, &aad, &mut text, tag), "tag");
            keys.sequence += 1;
            let kind = if keys.tls13 {
                text.pop().unwrap()
            } else {
                record[0]
            };
            records.push((kind, text));
        }
        records
    }
}
