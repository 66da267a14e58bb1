//! The command line, and what it means once checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spinlane::openssl::Protocol;
use spinlane::pkcs11::uri::{Uri, UriError};

use super::address::resolve_one;
use super::backend::Directory;
use super::packets::{PacketArgs, Via};
use crate::cores::Cores;
use crate::tls::{KeyKind, Library};

/// What `--backend` calls the built-in responder.
const RESPOND: &str = "respond";
/// An hour: with a ticket per connection, far from as many as a key may seal (2^32).
const TICKET_ROTATION: &str = "3600";

/// Terminates TLS in front of a plain-TCP backend, on cores that poll.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 takes a free one. By default 127.0.0.1:8443, and with --port port 8443 of all of its addresses.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// The port, if not the kernel's sockets.
    #[command(flatten)]
    pub packets: PacketArgs,
    /// How the backend is connected to where clients come from a --port.
    #[arg(long, value_name = "WAY", default_value = "port", requires = "port")]
    pub backend_via: Via,
    /// Where the plain text goes; `respond` answers HTTP requests here. All addresses of a name are
    /// tried, first the one that served last. It is resolved again at SIGHUP, and when an address
    /// cannot be connected to.
    #[arg(long, value_name = "HOST:PORT|respond", default_value = RESPOND)]
    pub backend: String,
    /// Certificate, then its issuers. Give it several times, with as many --key, to choose by
    /// the name that the client asks for (SNI; --tls rustls); the first serves all other names. Without
    /// it, a throw-away one is made in memory. SIGHUP has the files read again.
    #[arg(long, value_name = "PEM", requires = "key")]
    pub cert: Vec<PathBuf>,
    /// The certificate's private key: a file, without pass phrase, or the URI of a key that stays on a PKCS#11
    /// token (RFC 7512; --tls rustls), such as
    /// `pkcs11:token=web;object=site?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin`.
    /// A file may have such a URI in place of a key. SIGHUP has it read again, and refused PINs tried again.
    #[arg(long, value_name = "PEM|pkcs11:URI", requires = "cert", value_parser = KeySource::parse)]
    pub key: Vec<KeySource>,
    /// Sessions with each PKCS#11 token: as many signatures as it makes at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub token_sessions: u16,
    /// Cores that the sessions' threads run on, which wait for tokens. By default all but --cores, if there
    /// are others.
    #[arg(long, value_name = "LIST")]
    pub token_cores: Option<Cores>,
    /// Lets a token's signatures leave unchecked. Whoever gets a wrong one of an RSA key may have the key.
    #[arg(long)]
    pub no_token_verify: bool,
    /// Key of the throw-away certificate.
    #[arg(
        long,
        value_name = "KEY",
        default_value = "p256",
        conflicts_with = "cert"
    )]
    pub self_signed: KeyKind,
    /// Cores to run on, as in `taskset -c`, each at full load: `1`, `0,2-4`. By default the last one.
    #[arg(long, value_name = "LIST")]
    pub cores: Option<Cores>,
    /// Crypto device; `spinlane devices` lists them.
    #[arg(long, value_name = "SPEC", default_value = "auto")]
    pub device: String,
    /// Device that seals records, those of all connections of a turn as one burst (--tls rustls); `spinlane bench
    /// records --device SPEC` measures whether that pays. Without it each is sealed in place.
    #[arg(long, value_name = "SPEC")]
    pub record_device: Option<String>,
    /// TLS library.
    #[arg(long, value_name = "LIBRARY", default_value = "rustls")]
    pub tls: Library,
    /// Lets the kernel write core dumps of this process, and debuggers of its user attach: both show
    /// keys and plain text.
    #[arg(long)]
    pub core_dumps: bool,
    /// A crypto op that the device has not given back by then is computed in software; a device
    /// that gives nothing back for so long is left alone until a probe succeeds.
    /// The driver's own deadline, mostly 1, unless given.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub op_deadline: Option<Duration>,
    /// Lowest version of TLS accepted.
    #[arg(long, value_name = "1.2|1.3", default_value = "1.2", value_parser = protocol)]
    pub min_protocol: Protocol,
    /// The cipher suite that is taken where the client has it.
    #[arg(long, value_name = "SUITE", default_value = "aes128")]
    pub prefer: Preference,
    /// Issuers of client certificates; if given, a client must present one.
    #[arg(long, value_name = "PEM")]
    pub client_ca: Option<PathBuf>,
    /// Protocols to choose from by ALPN, most preferred first: `http/1.1`.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub alpn: Vec<String>,
    /// Session tickets per full handshake of TLS 1.3, where TLS 1.2 has one; 0 switches resumption off.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(..=16))]
    pub tickets: u8,
    /// A session can be resumed for so long after its full handshake (7 days at most), and no longer than the
    /// client's certificate is valid. With --tls rustls tickets are sealed under a new key as often; libssl's
    /// key lasts until the next SIGHUP.
    #[arg(long, value_name = "SECONDS", default_value = TICKET_ROTATION, value_parser = rotation)]
    pub ticket_rotation: Duration,
    /// Bytes that a client's handshake may have under way, such as a long certificate chain
    /// (--tls rustls).
    #[arg(long, value_name = "BYTES", default_value_t = 65536, value_parser = clap::value_parser!(u32).range(20480..=1 << 20))]
    pub max_handshake_bytes: u32,
    /// Bytes that all unfinished handshakes of a core may have under way together. Above it, those with
    /// more than an equal share are closed.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 40))]
    pub max_unfinished_bytes: u64,
    /// A client that has not finished its handshake by then is closed.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub handshake_timeout: Duration,
    /// What the backend sees when a client ends TCP without TLS's close_notify, which anybody on the
    /// way can do to cut its request short.
    #[arg(long, value_name = "HOW", default_value = "reset")]
    pub bare_end: BareEnd,
    /// A connection on which no byte of the application moves for so long is closed.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub idle_timeout: Duration,
    /// Connections per core; further ones wait in the listen queue.
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub max_connections: u32,
    /// Print the counters that often.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub stats_interval: Option<Duration>,
    /// Serve the counters there over HTTP, path /metrics, in Prometheus' text format; port 0 takes a
    /// free one.
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<String>,
    /// After SIGTERM or SIGINT, connections have that long to finish; a second signal does not wait.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub drain_timeout: Duration,
}

/// Where a private key is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// On a token.
    Token(Uri),
}

impl KeySource {
    fn parse(text: &str) -> Result<Self, UriError> {
        match text.starts_with("pkcs11:") {
            true => text.parse().map(Self::Token),
            false => Ok(Self::File(text.into())),
        }
    }
}

fn protocol(version: &str) -> Result<Protocol, String> {
    match version {
        "1.2" => Ok(Protocol::Tls12),
        "1.3" => Ok(Protocol::Tls13),
        _ => Err("not a version served here; there are: 1.2, 1.3".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|seconds| (0.001..=1e6).contains(seconds));
    let seconds = seconds.ok_or("not a time; give seconds from 0.001 to 1000000, e.g. 10")?;
    Ok(Duration::from_secs_f64(seconds))
}

fn rotation(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    if time < Duration::from_secs(1) {
        return Err("too often; give at least 1 second".to_owned());
    }
    Ok(time)
}

/// What a client's end of TCP without close_notify is to a backend (RFC 8446, section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BareEnd {
    /// Its connection is reset: it cannot take what it got for the whole.
    Reset,
    /// The end of the request: for clients that never send close_notify.
    Pass,
}

/// Which cipher suite is taken of those that both sides have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preference {
    /// AES-128-GCM, with SHA-256: a fifth more handshakes than the next.
    Aes128,
    /// AES-256-GCM, with SHA-384.
    Aes256,
    /// The first of the client's list.
    Client,
}

/// What connections are for.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Each is relayed to an address of this name.
    Relay(Directory),
    /// Each is answered by the built-in HTTP responder.
    Respond,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Relay(directory) => write!(f, "{directory}, plain TCP"),
            Self::Respond => f.write_str("built-in HTTP responder"),
        }
    }
}

/// The part of the arguments that the cores work by. Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What connections are for.
    pub backend: Backend,
    /// Handshakes end within this.
    pub handshake_ns: u64,
    /// A byte of the application moves within this.
    pub idle_ns: u64,
    /// What a client's end without close_notify is.
    pub bare_end: BareEnd,
    /// Draining ends within this.
    pub drain_ns: u64,
    /// Counters are sent that often; `u64::MAX` = only at the end.
    pub stats_ns: u64,
    /// Connections per core.
    pub max_connections: usize,
    /// Bytes of a core's unfinished handshakes.
    pub max_unfinished_bytes: usize,
}

impl Limits {
    /// TCP connections that a connection has: with its client, and with the backend.
    pub fn carriers(&self) -> usize {
        match self.backend {
            Backend::Respond => 1,
            Backend::Relay(_) => 2,
        }
    }
}

impl Args {
    /// Checks the values that mean nothing to clap, and resolves the backend's name.
    ///
    /// # Errors
    /// The backend's address is at fault.
    pub fn limits(&self) -> Result<Limits> {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Ok(Limits {
            backend: self.backend()?,
            handshake_ns: nanoseconds(self.handshake_timeout),
            idle_ns: nanoseconds(self.idle_timeout),
            bare_end: self.bare_end,
            drain_ns: nanoseconds(self.drain_timeout),
            stats_ns: self.stats_interval.map_or(u64::MAX, nanoseconds),
            max_connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
            max_unfinished_bytes: usize::try_from(self.max_unfinished_bytes).unwrap_or(usize::MAX),
        })
    }

    /// The address to listen on, if one was given.
    ///
    /// # Errors
    /// It is none.
    pub fn listen_address(&self) -> Result<Option<SocketAddr>> {
        let resolved = self
            .listen
            .as_ref()
            .map(|address| resolve_one(address).with_context(|| format!("--listen {address}")));
        resolved.transpose()
    }

    /// The address to serve the counters on, if any.
    ///
    /// # Errors
    /// It is none.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>> {
        let resolved = self
            .metrics
            .as_ref()
            .map(|address| resolve_one(address).with_context(|| format!("--metrics {address}")));
        resolved.transpose()
    }

    /// The cores to run on.
    ///
    /// # Errors
    /// None was given and the machine does not tell which there are.
    pub fn core_list(&self) -> Result<Vec<usize>> {
        if let Some(cores) = &self.cores {
            return Ok(cores.0.clone());
        }
        let usable = core_affinity::get_core_ids().unwrap_or_default();
        let last = usable
            .last()
            .context("cannot tell which cores there are; give --cores")?;
        Ok(vec![last.id])
    }

    fn backend(&self) -> Result<Backend> {
        if self.backend == RESPOND {
            return Ok(Backend::Respond);
        }
        let name = &self.backend;
        ensure!(
            !name.ends_with(":0"),
            "--backend {name}: port 0 cannot be connected to"
        );
        let directory = Directory::new(name).with_context(|| format!("--backend {name}"))?;
        Ok(Backend::Relay(directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for text in ["0", "-1", "x", "1e9", "nan"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
