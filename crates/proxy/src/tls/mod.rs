//! The TLS libraries behind one face: libssl and rustls, both on Spinlane's jobs.

mod identity;
mod name;

use std::io;

use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use spinlane::rustls::Connection;
use spinlane::{Conn, Lcore, Ssl, openssl};

pub use identity::{Identity, KeyKind, certificates};
pub use name::{Naming, take_name};

/// A TLS library to terminate TLS with.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Library {
    /// rustls over aws-lc.
    Rustls,
    /// The machine's libssl.
    Openssl,
}

pub use spinlane::Progress;

/// A connection.
pub enum Tls {
    /// By libssl.
    Openssl(Ssl),
    /// By rustls.
    Rustls(Connection),
}

/// What both sides have agreed on; empty where the library does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite, by its name in IANA's list.
    pub suite: &'static str,
    /// Group of the key exchange, by its name in IANA's list.
    pub group: &'static str,
}

/// What a TLS library fails with.
#[derive(Debug)]
pub enum TlsError {
    /// libssl.
    Openssl(openssl::SslError),
    /// rustls.
    Rustls(spinlane::rustls::Error),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Openssl(error) => error.fmt(f),
            Self::Rustls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsError {}

impl From<openssl::SslError> for TlsError {
    fn from(error: openssl::SslError) -> Self {
        Self::Openssl(error)
    }
}

impl From<spinlane::rustls::Error> for TlsError {
    fn from(error: spinlane::rustls::Error) -> Self {
        Self::Rustls(error)
    }
}

/// The name in IANA's list; rustls has names of its own for the suites of TLS 1.3.
fn name_of(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}

/// Each does what the method of this name does in [`Ssl`] and [`Connection`].
impl Tls {
    /// The connection is called `conn` on `lcore`.
    pub fn attach(&mut self, lcore: &Lcore, conn: Conn) {
        match self {
            Self::Openssl(ssl) => ssl.attach(lcore, conn),
            Self::Rustls(tls) => tls.attach(lcore, conn),
        }
    }

    /// Drives the handshake.
    ///
    /// # Errors
    /// The output may hold an alert.
    pub fn handshake(&mut self) -> Result<Progress, TlsError> {
        Ok(match self {
            Self::Openssl(ssl) => ssl.handshake()?,
            Self::Rustls(tls) => tls.handshake()?,
        })
    }

    /// Reads plain text.
    ///
    /// # Errors
    /// As for [`Tls::handshake`].
    pub fn read(&mut self, to: &mut [u8]) -> Result<Progress, TlsError> {
        Ok(match self {
            Self::Openssl(ssl) => ssl.read(to)?,
            Self::Rustls(tls) => tls.read(to)?,
        })
    }

    /// Writes plain text; may take a part only.
    ///
    /// # Errors
    /// As for [`Tls::handshake`].
    pub fn write(&mut self, from: &[u8]) -> Result<Progress, TlsError> {
        Ok(match self {
            Self::Openssl(ssl) => ssl.write(from)?,
            Self::Rustls(tls) => tls.write(from)?,
        })
    }

    /// Says that no more will be written.
    pub fn shutdown(&mut self) {
        match self {
            Self::Openssl(ssl) => ssl.shutdown(),
            Self::Rustls(tls) => tls.shutdown(),
        }
    }

    /// Takes the peer's bytes.
    ///
    /// # Errors
    /// What `read` fails with.
    pub fn read_input(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self {
            Self::Openssl(ssl) => ssl.read_input(read),
            Self::Rustls(tls) => tls.read_input(read),
        }
    }

    /// Takes as many of `bytes` as there is room for; returns how many.
    pub fn push_input(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Openssl(ssl) => ssl.push_input(bytes),
            Self::Rustls(tls) => tls.push_input(bytes),
        }
    }

    /// Whether there is room for input.
    pub fn has_input_room(&self) -> bool {
        match self {
            Self::Openssl(ssl) => ssl.has_input_room(),
            Self::Rustls(tls) => tls.has_input_room(),
        }
    }

    /// Hands what is to be sent to `write`.
    ///
    /// # Errors
    /// What `write` fails with.
    pub fn write_output(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self {
            Self::Openssl(ssl) => ssl.write_output(write),
            Self::Rustls(tls) => tls.write_output(write),
        }
    }

    /// Whether [`Tls::write_output`] has something to hand over now.
    pub fn has_output(&self) -> bool {
        match self {
            Self::Openssl(ssl) => ssl.output_len() != 0,
            Self::Rustls(tls) => tls.has_output(),
        }
    }

    /// Bytes to be sent, those included that devices are sealing.
    pub fn output_len(&self) -> usize {
        match self {
            Self::Openssl(ssl) => ssl.output_len(),
            Self::Rustls(tls) => tls.output_len(),
        }
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        match self {
            Self::Openssl(ssl) => ssl.is_established(),
            Self::Rustls(tls) => tls.is_established(),
        }
    }

    /// What both sides have agreed on, once the handshake is done.
    pub fn agreed(&self) -> Agreed {
        match self {
            Self::Openssl(ssl) => Agreed {
                version: ssl.version(),
                suite: ssl.cipher_suite(),
                group: ssl.group(),
            },
            Self::Rustls(tls) => Agreed {
                version: match tls.protocol_version() {
                    Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                    Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                    _ => "",
                },
                suite: tls
                    .cipher_suite()
                    .map_or("", |suite| name_of(suite.suite())),
                group: match tls.group() {
                    Some(NamedGroup::X25519) => "x25519",
                    Some(group) => group.as_str().unwrap_or(""),
                    None => "",
                },
            },
        }
    }

    /// The client's own certificate, if it has shown one, in DER.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        match self {
            Self::Openssl(ssl) => ssl.peer_certificate(),
            Self::Rustls(tls) => {
                let chain = tls.peer_certificates()?;
                chain.first().map(|certificate| certificate.to_vec())
            }
        }
    }

    /// The protocol chosen by ALPN, if one was.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        match self {
            Self::Openssl(ssl) => ssl.alpn_protocol(),
            Self::Rustls(tls) => tls.alpn_protocol(),
        }
    }

    /// Whether the handshake resumed a session.
    pub fn session_reused(&self) -> bool {
        match self {
            Self::Openssl(ssl) => ssl.session_reused(),
            Self::Rustls(tls) => tls.session_reused(),
        }
    }
}
