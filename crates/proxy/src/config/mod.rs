//! What the program is to do: one value, [`Config`], whether flags or a file say it.
//!
//! ```text
//!   flags ── clap ──▶ Config { listener: [Listener] }   the flags' defaults are the file's
//!   file ─── serde ─▶ Config { listener, backend }      each flag has a key of its name, with _ for -
//!                       │ check
//!                       ▼
//!                     Limits, Doors, Pools
//! ```

mod origin;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::address::{UNIX, resolve_one};
use super::packets::{PacketArgs, Via};
use crate::cores::{self, Cores};
pub use crate::header::SendProxy;
use crate::tls::{KeyKind, Library};
pub use origin::Origin;
pub use values::{KeySource, Net, Number, Rotation, Seconds, Version, text, texts};

/// What `--backend` calls the built-in responder.
pub const RESPOND: &str = "respond";

/// Terminates TLS in front of a plain-TCP backend, on cores that poll.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Take everything from this file (TOML) in place of options. Each option is a key there, with `_` for `-`; several listeners and
    /// backends are tables. `spinlane check FILE` tries it. SIGHUP has it read again.
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub config: Option<PathBuf>,
    /// What is said once.
    #[command(flatten)]
    pub common: Config,
    /// The listener.
    #[command(flatten)]
    pub listener: Listener,
}

impl Args {
    /// What they say, or the file that they name; checked.
    ///
    /// # Errors
    /// The file cannot be read, or a value is at fault; the text names it.
    pub fn config(&self) -> Result<Config> {
        match &self.config {
            Some(path) => Config::read(path),
            None => {
                let listener = vec![self.listener.clone()];
                let config = Config {
                    listener,
                    ..self.common.clone()
                };
                config.check()?;
                Ok(config)
            }
        }
    }
}

/// All that the program is to do.
#[derive(Clone, Debug, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients come from, each with its certificates and backend.
    #[arg(skip)]
    pub listener: Vec<Listener>,
    /// Backends by the names that listeners call them.
    #[arg(skip)]
    pub backend: BTreeMap<String, Backend>,
    /// The port, if not the kernel's sockets.
    #[command(flatten)]
    pub packets: PacketArgs,
    /// How the backend is connected to where clients come from a --port.
    #[arg(long, value_name = "WAY", default_value = "port")]
    pub backend_via: Via,
    /// Sessions with each PKCS#11 token: as many signatures as it makes at a time.
    #[arg(long, value_name = "N", default_value = "16")]
    pub token_sessions: Number<1, 256>,
    /// Cores that the sessions' threads run on, which wait for tokens. By default, and by `auto`, all but --cores, if
    /// there are others.
    #[arg(long, value_name = "LIST")]
    pub token_cores: Option<Cores>,
    /// Lets a token's signatures leave unchecked. Whoever gets a wrong one of an RSA key may have the key.
    #[arg(long)]
    pub no_token_verify: bool,
    /// Cores to run on, as in `taskset -c`, each at full load: `1`, `0,2-4`; `auto` are those that are isolated
    /// (isolcpus), if any are. By default the last one.
    #[arg(long, value_name = "LIST")]
    pub cores: Option<Cores>,
    /// Crypto device; `spinlane devices` lists them.
    #[arg(long, value_name = "SPEC", default_value = "auto")]
    pub device: String,
    /// Device that seals records, those of all connections of a turn as one burst (--tls rustls); `spinlane bench
    /// records --device SPEC` measures whether that pays. Without it each is sealed in place.
    #[arg(long, value_name = "SPEC")]
    pub record_device: Option<String>,
    /// Lets the kernel write core dumps of this process, and debuggers of its user attach: both show
    /// keys and plain text.
    #[arg(long)]
    pub core_dumps: bool,
    /// A crypto op that the device has not given back by then is computed in software; a device
    /// that gives nothing back for so long is left alone until a probe succeeds.
    /// The driver's own deadline, mostly 1, unless given.
    #[arg(long, value_name = "SECONDS")]
    pub op_deadline: Option<Seconds>,
    /// A session can be resumed for so long after its full handshake (7 days at most), and no longer than the
    /// client's certificate is valid. With --tls rustls tickets are sealed under a new key as often; libssl's
    /// key lasts until the next SIGHUP.
    // An hour: with a ticket per connection, far from as many as a key may seal (2^32).
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    pub ticket_rotation: Rotation,
    /// Bytes that a client's handshake may have under way, such as a long certificate chain
    /// (--tls rustls).
    #[arg(long, value_name = "BYTES", default_value = "65536")]
    pub max_handshake_bytes: Number<20480, { 1 << 20 }>,
    /// Bytes that all unfinished handshakes of a core may have under way together. Above it, those with
    /// more than an equal share are closed.
    #[arg(long, value_name = "BYTES", default_value = "67108864")]
    pub max_unfinished_bytes: Number<{ 1 << 20 }, { 1 << 40 }>,
    /// A client that has not finished its handshake by then is closed.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub handshake_timeout: Seconds,
    /// What the backend sees when a client ends TCP without TLS's close_notify, which anybody on the
    /// way can do to cut its request short.
    #[arg(long, value_name = "HOW", default_value = "reset")]
    pub bare_end: BareEnd,
    /// A connection on which no byte of the application moves for so long is closed.
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub idle_timeout: Seconds,
    /// Connections per core; further ones wait in the listen queue.
    #[arg(long, value_name = "N", default_value = "16384")]
    pub max_connections: Number<1, { 1 << 20 }>,
    /// Print the counters that often.
    #[arg(long, value_name = "SECONDS")]
    pub stats_interval: Option<Seconds>,
    /// Serve the counters there over HTTP, path /metrics, in Prometheus' text format; port 0 takes a
    /// free one. Path /ready says 200 while clients are served, and 503 from the first signal to stop on.
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<String>,
    /// After SIGTERM or SIGINT, clients are accepted for so long still, while /ready of --metrics says 503, so that balancers
    /// send them elsewhere.
    #[arg(long, value_name = "SECONDS")]
    pub close_delay: Option<Seconds>,
    /// After SIGTERM or SIGINT, connections have that long to finish; a second signal does not wait.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub drain_timeout: Seconds,
    /// Who says all this.
    #[arg(skip)]
    #[serde(skip)]
    pub origin: Origin,
}

/// Where clients come from, and what they find there.
#[derive(Clone, Debug, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Address to listen on; port 0 takes a free one. By default 127.0.0.1:8443, and with --port port 8443 of all of its addresses.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where the plain text goes; `respond` answers HTTP requests here. All addresses of a name are
    /// tried, first the one that served last. It is resolved again at SIGHUP, and when an address
    /// cannot be connected to.
    #[arg(long, value_name = "HOST:PORT|unix:PATH|respond", default_value = RESPOND)]
    pub backend: String,
    /// Backends for some names or protocols; the first that fits is taken.
    #[arg(skip)]
    pub route: Vec<Route>,
    /// What a backend is told of each client, by the PROXY protocol: with v2 also version, suite and group of TLS, the name
    /// asked for, the protocol agreed on, the client certificate's common name, and a unique id.
    #[arg(long, value_name = "VERSION", default_value = "off")]
    pub send_proxy: SendProxy,
    /// Networks of balancers in front: what comes from there begins with a header of the PROXY protocol, v1 or v2, which
    /// says who the client is. From elsewhere none is taken.
    #[arg(long, value_name = "IP/BITS", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub proxy_from: Vec<Net>,
    /// Certificate, then its issuers. Give it several times, with as many --key, to choose by
    /// the name that the client asks for (SNI; --tls rustls); the first serves all other names. Without
    /// it, a throw-away one is made in memory. SIGHUP has the files read again.
    #[arg(long, value_name = "PEM")]
    #[serde(deserialize_with = "texts")]
    pub cert: Vec<PathBuf>,
    /// The certificate's private key: a file, without pass phrase, or the URI of a key that stays on a PKCS#11
    /// token (RFC 7512; --tls rustls), such as
    /// `pkcs11:token=web;object=site?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin`.
    /// A file may have such a URI in place of a key. SIGHUP has it read again, and refused PINs tried again.
    #[arg(long, value_name = "PEM|pkcs11:URI")]
    #[serde(deserialize_with = "texts")]
    pub key: Vec<KeySource>,
    /// Folder of certificates, `*.crt` and `*.pem`, each with its key in a file of the same name that ends in `.key`, or in
    /// itself; they come behind those of --cert, in the order of their names.
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Key of the throw-away certificate.
    #[arg(
        long,
        value_name = "KEY",
        default_value = "p256",
        conflicts_with = "cert"
    )]
    pub self_signed: KeyKind,
    /// TLS library.
    #[arg(long, value_name = "LIBRARY", default_value = "rustls")]
    pub tls: Library,
    /// Lowest version of TLS accepted.
    #[arg(long, value_name = "1.2|1.3", default_value = "1.2")]
    pub min_protocol: Version,
    /// Highest version of TLS accepted.
    #[arg(long, value_name = "1.2|1.3", default_value = "1.3")]
    pub max_protocol: Version,
    /// The cipher suite that is taken where the client has it.
    #[arg(long, value_name = "SUITE", default_value = "aes128")]
    pub prefer: Preference,
    /// Cipher suites, by their names in IANA's list, in the order that --prefer leaves to ours; all that the TLS library has by
    /// default.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub suites: Vec<String>,
    /// Groups for the key exchange, most preferred first: `X25519MLKEM768,X25519,P-256`; all that the TLS library has by default.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub groups: Vec<String>,
    /// Issuers of client certificates; if given, a client must present one, unless --client-auth says otherwise.
    #[arg(long, value_name = "PEM")]
    pub client_ca: Option<PathBuf>,
    /// Whether a client must present a certificate, may, or is not asked.
    #[arg(long, value_name = "WHETHER")]
    pub client_auth: Option<ClientAuth>,
    /// Revocation lists of the issuers of client certificates: one for the issuer of each client that is to get in, not out of
    /// date.
    #[arg(long, value_name = "PEM")]
    #[serde(deserialize_with = "texts")]
    pub client_crl: Vec<PathBuf>,
    /// Protocols to choose from by ALPN, most preferred first: `http/1.1`.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub alpn: Vec<String>,
    /// Session tickets per full handshake of TLS 1.3, where TLS 1.2 has one; 0 switches resumption off.
    #[arg(long, value_name = "N", default_value = "2")]
    pub tickets: Number<0, 16>,
    /// Who says all this.
    #[arg(skip)]
    #[serde(skip)]
    pub origin: Origin,
}

/// A backend for some of a listener's clients.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Names that a client asks for; `*.example.org` is any one label in place of the star. Empty: whichever, or none.
    #[serde(default, deserialize_with = "texts")]
    pub server_name: Vec<String>,
    /// Protocols agreed on by ALPN. Empty: whichever, or none.
    #[serde(default, deserialize_with = "texts")]
    pub alpn: Vec<String>,
    /// As a listener's.
    pub backend: String,
}

/// Servers that do the same.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// At least one.
    pub server: Vec<Server>,
    /// How one is chosen.
    #[serde(default)]
    pub balance: Balance,
    /// Whether and how often they are asked for signs of life.
    pub check: Option<Check>,
    /// What they are told of each client; what the listener says, unless it is said here.
    pub send_proxy: Option<SendProxy>,
}

impl Backend {
    /// The server at `address` alone.
    pub fn of(address: &str) -> Self {
        Self {
            server: vec![Server {
                address: address.to_owned(),
                weight: one(),
            }],
            balance: Balance::default(),
            check: None,
            send_proxy: None,
        }
    }
}

impl Route {
    /// Whether it is for clients that ask for this name, with whom this protocol was agreed on.
    pub fn fits(&self, name: Option<&str>, alpn: Option<&[u8]>) -> bool {
        let is_asked_for = |pattern: &String| name.is_some_and(|name| covers(pattern, name));
        let is_agreed_on = |protocol: &String| alpn == Some(protocol.as_bytes());
        (self.server_name.is_empty() || self.server_name.iter().any(is_asked_for))
            && (self.alpn.is_empty() || self.alpn.iter().any(is_agreed_on))
    }
}

/// Whether `pattern`, which may begin with `*.`, covers `name` (RFC 6125, section 6.4.3).
fn covers(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(rest), Some((label, domain))) => {
            !label.is_empty() && domain.eq_ignore_ascii_case(rest)
        }
        (Some(_), None) => false,
        (None, _) => name.eq_ignore_ascii_case(pattern),
    }
}

/// One server of a backend.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `HOST:PORT` or `unix:PATH`.
    pub address: String,
    /// Its share.
    #[serde(default = "one")]
    pub weight: Number<1, 1000>,
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One after the other, by their weights.
    #[default]
    RoundRobin,
    /// The one with the fewest connections by its weight, of each core's own.
    LeastConnections,
}

/// Signs of life: a TCP connection that is accepted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// Time between two.
    pub interval: Seconds,
    /// A server that has not accepted by then gave none.
    pub timeout: Seconds,
    /// So many in a row: it is up.
    pub rise: Number<1, 100>,
    /// So many failures in a row: it is down.
    pub fall: Number<1, 100>,
}

/// Of values written here.
fn known<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a value of this program's own is good")
}

fn one() -> Number<1, 1000> {
    known("1")
}

impl Default for Check {
    fn default() -> Self {
        Self {
            interval: known("2"),
            timeout: known("1"),
            rise: known("2"),
            fall: known("3"),
        }
    }
}

/// What clap takes where no flag is given: the one place of defaults.
pub fn defaults<T: clap::Args>() -> T {
    let command = T::augment_args(clap::Command::new("defaults"));
    let matches = command.get_matches_from([""; 1]);
    T::from_arg_matches(&matches).expect("no flag is required")
}

impl Default for Config {
    fn default() -> Self {
        defaults()
    }
}

impl Default for Listener {
    fn default() -> Self {
        defaults()
    }
}

/// Whether a client must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// It is not asked.
    Off,
    /// It may; one that it presents must be good.
    Optional,
    /// It must.
    Required,
}

/// Which cipher suite is taken of those that both sides have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// AES-128-GCM, with SHA-256: a fifth more handshakes than the next.
    Aes128,
    /// AES-256-GCM, with SHA-384.
    Aes256,
    /// The first of the client's list.
    Client,
}

/// What a client's end of TCP without close_notify is to a backend (RFC 8446, section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BareEnd {
    /// Its connection is reset: it cannot take what it got for the whole.
    Reset,
    /// The end of the request: for clients that never send close_notify.
    Pass,
}

/// The part that the cores work by. Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Limits {
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

impl Config {
    /// The part that the cores work by.
    pub fn limits(&self) -> Limits {
        Limits {
            handshake_ns: self.handshake_timeout.ns(),
            idle_ns: self.idle_timeout.ns(),
            bare_end: self.bare_end,
            drain_ns: self.drain_timeout.ns(),
            stats_ns: self.stats_interval.map_or(u64::MAX, Seconds::ns),
            max_connections: self.max_connections.get(),
            max_unfinished_bytes: self.max_unfinished_bytes.get(),
        }
    }

    /// TCP connections that a connection has at most: with its client, and with the backend.
    pub fn carriers(&self) -> usize {
        let relays = |listener: &Listener| {
            let routes = listener.route.iter().map(|route| &route.backend);
            routes
                .chain([&listener.backend])
                .any(|name| name != RESPOND)
        };
        1 + usize::from(self.listener.iter().any(relays))
    }

    /// The address to serve the counters on, if any.
    ///
    /// # Errors
    /// It is none.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>> {
        let address = self.metrics.as_ref();
        let resolved = address.map(|address| {
            resolve_one(address).with_context(|| self.origin.name("metrics", address))
        });
        resolved.transpose()
    }

    /// The cores to run on.
    ///
    /// # Errors
    /// None was given and the machine does not tell which there are.
    pub fn core_list(&self) -> Result<Vec<usize>> {
        match &self.cores {
            Some(cores) if *cores == Cores::auto() => {
                if let Some(isolated) = cores::isolated() {
                    return Ok(isolated);
                }
                tracing::info!("no core is isolated (isolcpus); the last one is taken");
            }
            Some(cores) => return Ok(cores.0.clone()),
            None => {}
        }
        let usable = core_affinity::get_core_ids().unwrap_or_default();
        let last = usable
            .last()
            .context("cannot tell which cores there are; give --cores")?;
        Ok(vec![last.id])
    }

    /// Whether connections need the names that their clients ask for, and what was agreed on.
    pub fn wants_names(&self, listener: &Listener) -> bool {
        let sends = |backend: &Backend| backend.send_proxy == Some(SendProxy::V2);
        !listener.route.is_empty()
            || listener.send_proxy == SendProxy::V2
            || self.backend.values().any(sends)
    }

    /// Checks what no single value tells: what the TLS libraries, files and the network say comes later.
    ///
    /// # Errors
    /// Values do not go together; the text names one, and what to do.
    fn check(&self) -> Result<()> {
        ensure!(
            !self.listener.is_empty(),
            "{}: there is no listener; write a table [[listener]]",
            self.origin
        );
        self.packets.check(&self.origin)?;
        if let (Some(port), [_, second, ..]) = (&self.packets.port, &self.listener[..]) {
            let name = second
                .origin
                .name("listen", second.listen.as_deref().unwrap_or_default());
            bail!("{name}: a port has one listener ({port}); take the others away");
        }
        for (at, listener) in self.listener.iter().enumerate() {
            let earlier = self.listener.iter().take(at);
            ensure!(
                earlier
                    .into_iter()
                    .all(|other| other.listen != listener.listen),
                "{}: another listener has this address; give each its own",
                listener.origin.place("listen")
            );
        }
        for (name, backend) in &self.backend {
            let key = format!("backend.{name}.server");
            ensure!(
                !backend.server.is_empty(),
                "{}: there is no server; write {{ address = \"HOST:PORT\" }}",
                self.origin.name(&key, "[]")
            );
            ensure!(
                backend.check.is_none() || !self.goes_by_port(),
                "{}: checks go by the kernel and connections by the port, which may lead elsewhere; take it out, or set \
                 backend_via = \"kernel\"",
                self.origin.place(&format!("backend.{name}.check"))
            );
            for (at, server) in backend.server.iter().enumerate() {
                self.check_way(
                    &self.origin,
                    &format!("{key}.{at}.address"),
                    &server.address,
                )?;
            }
        }
        for listener in &self.listener {
            self.check_way(&listener.origin, "backend", &listener.backend)?;
            for (at, route) in listener.route.iter().enumerate() {
                self.check_way(
                    &listener.origin,
                    &format!("route.{at}.backend"),
                    &route.backend,
                )?;
            }
        }
        self.listener.iter().try_for_each(Listener::check)
    }

    /// Whether backends are connected to by the port that clients come from.
    fn goes_by_port(&self) -> bool {
        self.packets.port.is_some() && self.backend_via == Via::Port
    }

    /// Whether there is a way to `address`, the value of `key`.
    fn check_way(&self, origin: &Origin, key: &str, address: &str) -> Result<()> {
        ensure!(
            !(self.goes_by_port() && address.starts_with(UNIX)),
            "{}: a port does not lead to unix sockets; set backend_via = \"kernel\"",
            origin.name(key, address)
        );
        Ok(())
    }

    /// Names the first value of those that serve from the start to the end in which `other` differs.
    pub fn differs_for_good(&self, other: &Self) -> Option<&'static str> {
        macro_rules! differs {
            ($($field:ident),*) => {
                [$((stringify!($field), self.$field != other.$field)),*]
            };
        }
        let fields = differs!(
            packets,
            backend_via,
            token_sessions,
            token_cores,
            no_token_verify,
            cores,
            device,
            record_device,
            core_dumps,
            close_delay,
            op_deadline,
            ticket_rotation,
            max_connections,
            metrics
        );
        let differing = fields.into_iter().find(|(_, differs)| *differs);
        differing.map(|(field, _)| field)
    }
}

impl Listener {
    /// The address to listen on, if one was given.
    ///
    /// # Errors
    /// It is none.
    pub fn listen_address(&self) -> Result<Option<SocketAddr>> {
        let address = self.listen.as_ref();
        let resolved = address.map(|address| {
            resolve_one(address).with_context(|| self.origin.name("listen", address))
        });
        resolved.transpose()
    }

    /// Whether clients are asked for certificates.
    pub fn client_auth(&self) -> ClientAuth {
        let by_default = match self.client_ca {
            Some(_) => ClientAuth::Required,
            None => ClientAuth::Off,
        };
        self.client_auth.unwrap_or(by_default)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.cert.len() == self.key.len(),
            "{}: {} --cert and {} --key were given; give one --key for each --cert, in their order",
            self.origin.place("cert"),
            self.cert.len(),
            self.key.len()
        );
        ensure!(
            self.min_protocol <= self.max_protocol,
            "{}: it is above max_protocol, {}; exchange them",
            self.origin.name("min_protocol", self.min_protocol),
            self.max_protocol
        );
        for (at, name) in self.alpn.iter().enumerate() {
            ensure!(
                (1..=255).contains(&name.len()),
                "{}: a protocol's name has 1 to 255 bytes",
                self.origin.name(&format!("alpn.{at}"), format!("{name:?}"))
            );
        }
        if self.client_ca.is_none() {
            let asks = self.client_auth() != ClientAuth::Off;
            let culprit = match self.client_crl.first() {
                Some(path) => Some(self.origin.name("client_crl.0", path.display())),
                None => asks.then(|| self.origin.place("client_auth")),
            };
            if let Some(culprit) = culprit {
                bail!("{culprit}: it needs the issuers of client certificates; give --client-ca");
            }
        }
        for (at, route) in self.route.iter().enumerate() {
            let fits_all = route.server_name.is_empty() && route.alpn.is_empty();
            let key = format!("route.{at}");
            ensure!(
                !fits_all,
                "{}: it fits every client; give server_name or alpn, or name the backend at the listener",
                self.origin.place(&key)
            );
            for (nth, name) in route.server_name.iter().enumerate() {
                let star = name.strip_prefix("*.").unwrap_or(name);
                ensure!(
                    !star.is_empty() && !star.contains('*'),
                    "{}: a star stands for the whole first label; write e.g. *.example.org",
                    self.origin.name(&format!("{key}.server_name.{nth}"), name)
                );
            }
        }
        Ok(())
    }

    /// Certificates with their keys, and what they are called: those given, and those of the folder.
    ///
    /// # Errors
    /// The folder cannot be read, or has none.
    pub fn identities(&self) -> Result<Vec<Named>> {
        let mut all = Vec::new();
        for (at, (cert, key)) in self.cert.iter().zip(&self.key).enumerate() {
            all.push(Named {
                cert_name: self.origin.name(&format!("cert.{at}"), cert.display()),
                key_name: self.origin.name(&format!("key.{at}"), key),
                cert: cert.clone(),
                key: key.clone(),
            });
        }
        if let Some(dir) = &self.cert_dir {
            let name = self.origin.name("cert_dir", dir.display());
            let found = folder(dir).with_context(|| format!("{name}: cannot be read"))?;
            ensure!(
                !found.is_empty(),
                "{name}: there is no certificate in it; it takes files that end in .crt or .pem"
            );
            all.extend(found.into_iter().map(|(cert, key)| Named {
                cert_name: format!("{name}: {}", cert.display()),
                key_name: format!("{name}: {}", key.display()),
                cert,
                key: KeySource::File(key),
            }));
        }
        Ok(all)
    }
}

/// A certificate's files, and what errors call them.
#[derive(Clone, Debug)]
pub struct Named {
    /// What the certificate is called.
    pub cert_name: String,
    /// What the key is called.
    pub key_name: String,
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: KeySource,
}

/// The certificates of a folder with their keys, by name.
fn folder(dir: &Path) -> std::io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let cert = entry?.path();
        if cert
            .extension()
            .is_some_and(|kind| kind == "crt" || kind == "pem")
        {
            let key = cert.with_extension("key");
            let key = if key.exists() { key } else { cert.clone() };
            found.push((cert, key));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `name` is the address of a server, and no name of a backend of the file.
pub fn is_address(name: &str) -> bool {
    name.starts_with(UNIX) || name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_says_nothing_has_the_flags_defaults() {
        let config: Config = toml::from_str("[[listener]]").unwrap();
        assert_eq!(config.listener, [Listener::default()]);
        let others = Config {
            listener: Vec::new(),
            ..config
        };
        assert_eq!(others, Config::default());
    }

    #[test]
    fn a_star_is_one_label() {
        assert!(covers("*.example.org", "A.Example.org") && covers("example.org", "EXAMPLE.org"));
        for name in [
            "example.org",
            "a.b.example.org",
            ".example.org",
            "a.example.com",
        ] {
            assert!(!covers("*.example.org", name), "{name}");
        }
    }

    /// Every flag has a key of its name.
    #[test]
    fn every_flag_has_its_key() {
        let keys = |error: toml::de::Error| error.message().to_owned();
        let common = keys(toml::from_str::<Config>("x = 1").unwrap_err());
        let listener = keys(toml::from_str::<Listener>("x = 1").unwrap_err());
        let packets = keys(toml::from_str::<PacketArgs>("x = 1").unwrap_err());
        let command = <Args as clap::Args>::augment_args(clap::Command::new("proxy"));
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            let key = format!("`{}`", flag.replace('-', "_"));
            let has = |keys: &String| keys.contains(&key);
            let all = [&common, &listener, &packets];
            assert!(
                flag == "config" || all.into_iter().any(has),
                "--{flag} has no key"
            );
        }
    }
}
