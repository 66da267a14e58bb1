//! Certificates made by libcrypto, and a client and a server joined in memory.
#![allow(dead_code, reason = "each test crate uses its part of it")]

use std::io;
use std::process::Command;
use std::sync::OnceLock;

use spinlane_lcore::{Conn, Lcore};
use spinlane_openssl::{ClientConfig, Pem, Progress, ServerConfig, Ssl, SslCtx};

/// A self-signed certificate and its key; `kind` is rsa2048, p256, p384, ed25519 or p521. Made once per
/// process by the program openssl.
pub fn identity(kind: &'static str) -> (Pem, Pem) {
    type Made = Vec<(&'static str, (Pem, Pem))>;
    static MADE: OnceLock<Made> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        ["rsa2048", "p256", "p384", "ed25519", "p521"]
            .map(|kind| (kind, make(kind)))
            .into()
    });
    let found = made.iter().find(|(name, _)| *name == kind);
    found
        .unwrap_or_else(|| panic!("no identity {kind}"))
        .1
        .clone()
}

fn make(kind: &str) -> (Pem, Pem) {
    let algorithm: &[&str] = match kind {
        "rsa2048" => &["-newkey", "rsa:2048"],
        "p256" => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "p384" => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        "p521" => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
        _ => &["-newkey", "ed25519"],
    };
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "-",
            "-out",
            "-",
        ])
        .args(algorithm)
        .output()
        .expect("the program openssl runs; make setup installs it");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let split = text
        .find("-----BEGIN CERTIFICATE")
        .expect("openssl prints a certificate");
    let (key, certificate) = text.split_at(split);
    (
        Pem::new(format!("{kind}.crt"), certificate),
        Pem::new(format!("{kind}.key"), key),
    )
}

pub fn server_config(kind: &'static str) -> ServerConfig {
    let (chain, key) = identity(kind);
    ServerConfig::new(chain, key)
}

/// A server and a stock client.
pub struct Pair {
    pub server: Ssl,
    pub client: Ssl,
}

impl Pair {
    pub fn new(server: &SslCtx, lcore: &Lcore, conn: u64) -> Self {
        static CLIENT: OnceLock<SslCtx> = OnceLock::new();
        let client = CLIENT.get_or_init(|| {
            SslCtx::client(&ClientConfig::dangerously_accepting_any_certificate()).expect("client")
        });
        let mut pair = Self {
            server: Ssl::server(server).expect("server"),
            client: Ssl::client(client).expect("client"),
        };
        pair.server.attach(lcore, Conn(conn));
        pair
    }

    /// Sends `text` there and back through an established pair.
    pub fn echo(&mut self, text: &[u8]) {
        let mut buffer = [0; 256];
        assert_eq!(self.client.write(text), Ok(Progress::Done(text.len())));
        pump(&mut self.client, &mut self.server);
        assert_eq!(
            self.server.read(&mut buffer),
            Ok(Progress::Done(text.len()))
        );
        assert_eq!(self.server.write(text), Ok(Progress::Done(text.len())));
        pump(&mut self.server, &mut self.client);
        assert_eq!(
            self.client.read(&mut buffer),
            Ok(Progress::Done(text.len()))
        );
        assert_eq!(&buffer[..text.len()], text);
    }
}

/// Carries all bytes from one side to the other.
pub fn pump(from: &mut Ssl, to: &mut Ssl) {
    while from.output_len() > 0 {
        let moved: io::Result<usize> = from.write_output(|bytes| Ok(to.push_input(bytes)));
        assert!(
            moved.is_ok_and(|count| count > 0),
            "the receiver's buffer is full"
        );
    }
}

/// A small seeded generator (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
