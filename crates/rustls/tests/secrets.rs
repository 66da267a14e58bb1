//! Secrets of a connection are gone with it: a child process serves one, or is its client, and what is left in
//! its memory is compared with what stock rustls leaves in the memory of another.

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup,
    aws_lc_rs,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, KeyLog, NamedGroup, ServerConfig, SupportedCipherSuite};
use spinlane_crypto::digest::{Digest, HmacKey};
use spinlane_lcore::Lcore;
use spinlane_rustls::{Connection, Progress};

use support::scan::{Copies, Secret, scan};
use support::stock::suites;
use support::{GIVEN, SERVER, Wanted, identity, lcore, rustls};

/// What the child is to be; names its variable.
const CHILD: &str = "SPINLANE_TEST_CHILD";

/// What is waited for at most. Only reached when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// After text both ways, properly.
    Closed,
    /// After new keys both ways.
    Updated,
    /// Broken off before the client has finished.
    Broken,
}

const ENDS: [Ends; 3] = [Ends::Closed, Ends::Updated, Ends::Broken];

/// What the child does, as it stands in [`CHILD`].
#[derive(Clone, Debug)]
struct Part {
    is_ours: bool,
    is_server: bool,
    suite: SupportedCipherSuite,
    key: &'static str,
    ends: Ends,
    port: u16,
}

impl Part {
    fn to_give(&self) -> String {
        let suite = suites()
            .iter()
            .position(|(suite, _)| suite.suite() == self.suite.suite());
        let ends = ENDS.iter().position(|ends| *ends == self.ends);
        format!(
            "{} {} {} {} {}",
            u8::from(self.is_ours),
            u8::from(self.is_server),
            suite.unwrap(),
            ends.unwrap(),
            self.port
        )
    }

    fn given(given: &str) -> Self {
        let words: Vec<usize> = given.split(' ').map(|word| word.parse().unwrap()).collect();
        let (suite, key) = suites()[words[2]];
        Self {
            is_ours: words[0] == 1,
            is_server: words[1] == 1,
            suite,
            key,
            ends: ENDS[words[3]],
            port: words[4] as u16,
        }
    }

    /// Stock rustls', whose group says what it agreed on.
    fn stock_provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![self.suite];
        provider.kx_groups = vec![&Logged];
        Arc::new(provider)
    }

    /// What stock rustls is configured with.
    fn stock_server(&self) -> ServerConfig {
        let identity = identity(self.key);
        let mut config = ServerConfig::builder_with_provider(self.stock_provider())
            .with_protocol_versions(&[self.suite.version()])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone()], identity.key())
            .unwrap();
        config.send_tls13_tickets = 0;
        config
    }

    fn stock_client(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(self.stock_provider())
            .with_protocol_versions(&[self.suite.version()])
            .unwrap()
            .with_root_certificates(identity(self.key).roots())
            .with_no_client_auth()
    }

    fn stock(&self) -> rustls::Connection {
        if self.is_server {
            let config = Arc::new(self.stock_server());
            rustls::ServerConnection::new(config).unwrap().into()
        } else {
            let config = Arc::new(self.stock_client());
            rustls::ClientConnection::new(config, name())
                .unwrap()
                .into()
        }
    }

    fn ours(&self, lcore: &Lcore) -> Connection {
        let suites = spinlane_rustls::provider().cipher_suites.into_iter();
        let mut suites = suites.filter(|suite| suite.suite() == self.suite.suite());
        let wanted = Wanted {
            key: self.key,
            version: self.suite.version(),
            suite: suites.next(),
            ..Wanted::default()
        };
        let mut conn = if self.is_server {
            Connection::server(Arc::new(wanted.server())).unwrap()
        } else {
            Connection::client(Arc::new(wanted.client()), name())
        };
        conn.attach(lcore, SERVER);
        conn
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// The child: serves, drops the connection, says so, and waits to be looked at.
#[test]
#[ignore = "the other tests start it as a child"]
fn child() {
    let Ok(given) = std::env::var(CHILD) else {
        return;
    };
    let part = Part::given(&given);
    let connect = || TcpStream::connect(("127.0.0.1", part.port)).unwrap();
    let mut control = connect();
    let lcore = lcore(64);
    // As under load, when jobs' stacks wait to be wiped.
    let busy_until_ns = lcore.now_ns() + 50_000_000;
    while lcore.now_ns() < busy_until_ns {
        lcore.note_work();
        lcore.poll().unwrap();
    }
    let mut stream = connect();
    if part.is_ours {
        let mut conn = part.ours(&lcore);
        let _ = echo(&mut conn, &mut stream, &lcore);
        drop(conn);
        // Until a poll has nothing to do.
        for _ in 0..100 {
            lcore.poll().unwrap();
        }
    } else {
        let mut conn = part.stock();
        let mut text = [0; 100];
        while let Some(count @ 1..) = receive(&mut conn, &mut stream, &mut text) {
            send(&mut conn, &mut stream, &text[..count]);
        }
        conn.send_close_notify();
        let _ = conn.complete_io(&mut stream);
    }
    drop(stream);
    control.write_all(b"x").unwrap();
    let _ = control.read(&mut [0]);
}

/// Sends back what comes, until the peer closes.
fn echo(conn: &mut Connection, stream: &mut TcpStream, lcore: &Lcore) -> Option<()> {
    let mut text = [0; 100];
    loop {
        let progress = match conn.handshake().ok()? {
            Progress::Done(_) => match conn.read(&mut text).ok()? {
                Progress::Done(count) => conn.write(&text[..count]).ok()?,
                Progress::Closed => {
                    conn.shutdown();
                    Progress::Closed
                }
                other => other,
            },
            other => other,
        };
        while conn.output_len() != 0 {
            let written = conn.write_output(|output| stream.write(output));
            written.ok()?;
        }
        match progress {
            Progress::WantInput => {
                conn.read_input(|room| stream.read(room))
                    .ok()
                    .filter(|count| *count != 0)?;
            }
            Progress::Closed => return None,
            _ => {
                while conn.is_paused() && lcore.next_ready().is_none() {
                    lcore.note_work();
                    lcore.poll().unwrap();
                }
            }
        }
    }
}

fn send(conn: &mut rustls::Connection, stream: &mut TcpStream, text: &[u8]) {
    conn.writer().write_all(text).unwrap();
    while conn.wants_write() {
        conn.write_tls(stream).unwrap();
    }
}

/// Some text; none and 0 at the end.
fn receive(
    conn: &mut rustls::Connection,
    stream: &mut TcpStream,
    text: &mut [u8],
) -> Option<usize> {
    loop {
        if let Ok(count) = conn.reader().read(text) {
            return Some(count);
        }
        while conn.wants_write() {
            conn.write_tls(stream).ok()?;
        }
        if conn.read_tls(stream).ok()? == 0 {
            return None;
        }
        conn.process_new_packets().ok()?;
    }
}

thread_local! {
    /// What [`Logged`] agreed on last.
    static AGREED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// X25519 of stock rustls'. Where [`CHILD`] is not set, says what it agreed on.
#[derive(Debug)]
struct Logged;

struct LoggedExchange(Box<dyn ActiveKeyExchange>);

fn log_agreed(secret: &SharedSecret) {
    if std::env::var_os(CHILD).is_none() {
        AGREED.replace(secret.secret_bytes().to_vec());
    }
}

impl SupportedKxGroup for Logged {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(LoggedExchange(
            aws_lc_rs::kx_group::X25519.start()?,
        )))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let exchange = aws_lc_rs::kx_group::X25519.start_and_complete(peer)?;
        log_agreed(&exchange.secret);
        Ok(exchange)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for LoggedExchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let secret = self.0.complete(peer)?;
        log_agreed(&secret);
        Ok(secret)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[derive(Debug, Default)]
struct Log(Mutex<BTreeMap<String, Vec<u8>>>);

impl KeyLog for Log {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.0
            .lock()
            .unwrap()
            .insert(label.to_owned(), secret.to_vec());
    }
}

/// What the child leaves of each secret.
fn left(part: &Part) -> Vec<(Secret, Copies)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let part = Part {
        port,
        ..part.clone()
    };
    let mut child = Running::start(&part);
    let (mut control, _) = listener.accept().unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let log = Arc::new(Log::default());
    let peer = Part {
        is_server: !part.is_server,
        ..part.clone()
    };
    let mut conn: rustls::Connection = if peer.is_server {
        let mut config = peer.stock_server();
        config.key_log = log.clone();
        rustls::ServerConnection::new(Arc::new(config))
            .unwrap()
            .into()
    } else {
        let mut config = peer.stock_client();
        config.key_log = log.clone();
        rustls::ClientConnection::new(Arc::new(config), name())
            .unwrap()
            .into()
    };
    converse(&mut conn, stream, &part, || {
        let secrets = derived(&log.0.lock().unwrap(), &part);
        let found = scan(child.0.id(), &secrets);
        let is_there = found.iter().any(|copies| copies.whole != 0);
        assert!(is_there, "a connection has secrets: {part:?}");
    });
    let mut done = [0];
    assert_eq!(
        control.read(&mut done).unwrap(),
        1,
        "the child has ended: {part:?}"
    );
    let log = log.0.lock().unwrap();
    let mut secrets = derived(&log, &part);
    secrets.push(("shared secret".to_owned(), AGREED.take()));
    let copies = scan(child.0.id(), &secrets);
    drop(control);
    assert!(child.0.wait().unwrap().success());
    secrets.into_iter().zip(copies).collect()
}

/// A child that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(part: &Part) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "child",
                "--exact",
                "--ignored",
                "--quiet",
                "--test-threads=1",
            ])
            .env(CHILD, part.to_give())
            .env(GIVEN, identity(part.key).to_give())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The test's side. Calls `while_it_lasts` before the end, unless the connection is broken off.
fn converse(
    conn: &mut rustls::Connection,
    mut stream: TcpStream,
    part: &Part,
    while_it_lasts: impl FnOnce(),
) {
    if part.ends == Ends::Broken {
        // Of a client the first flight, of a server all that a client may answer with; nothing is answered.
        if part.is_server {
            conn.write_tls(&mut stream).unwrap();
        }
        while conn.is_handshaking() && !conn.wants_write() {
            assert_ne!(conn.read_tls(&mut stream).unwrap(), 0);
            conn.process_new_packets().unwrap();
        }
        while conn.wants_write() && !part.is_server {
            conn.write_tls(&mut stream).unwrap();
        }
        return;
    }
    let turns = if part.ends == Ends::Updated { 2 } else { 1 };
    for turn in 0..turns {
        if turn == 1 {
            conn.refresh_traffic_keys().unwrap();
        }
        send(conn, &mut stream, b"text");
        assert_eq!(receive(conn, &mut stream, &mut [0; 100]), Some(4));
    }
    while_it_lasts();
    conn.send_close_notify();
    conn.complete_io(&mut stream).unwrap();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// What is logged, and what is derived from it.
fn derived(log: &BTreeMap<String, Vec<u8>>, part: &Part) -> Vec<Secret> {
    let mut all = Vec::new();
    let name = format!("{:?}", part.suite.suite());
    let digest = if name.ends_with("384") {
        Digest::Sha384
    } else {
        Digest::Sha256
    };
    let key_len = if name.contains("128_GCM") { 16 } else { 32 };
    for (label, secret) in log {
        all.push((label.clone(), secret.clone()));
        if !label.contains("TRAFFIC") {
            continue;
        }
        let mut of = |label: &str, secret: &[u8]| {
            for (what, len) in [("key", key_len), ("iv", 12)] {
                all.push((format!("{label} {what}"), expand(digest, secret, what, len)));
            }
        };
        of(label, secret);
        if label.ends_with("SECRET_0") && part.ends == Ends::Updated {
            let label = label.replace('0', "1");
            let next = expand(digest, secret, "traffic upd", digest.len());
            of(&label, &next);
            all.push((label, next));
        }
    }
    all
}

/// HKDF-Expand-Label (RFC 8446, section 7.1).
fn expand(digest: Digest, secret: &[u8], label: &str, len: usize) -> Vec<u8> {
    let mut info = (len as u16).to_be_bytes().to_vec();
    info.push(6 + label.len() as u8);
    info.extend_from_slice(b"tls13 ");
    info.extend_from_slice(label.as_bytes());
    info.extend_from_slice(&[0, 1]);
    let mut out = vec![0; digest.len()];
    HmacKey::new(digest, secret).sign(&[&info], &mut out);
    out.truncate(len);
    out
}

/// Sums up what is left: whole copies and pieces, of secrets and keys, not of nonces.
fn sum(left: &[(Secret, Copies)]) -> (usize, usize) {
    let secrets = left.iter().filter(|((name, _), _)| !name.ends_with(" iv"));
    secrets.fold((0, 0), |(whole, pieces), (_, copies)| {
        (whole + copies.whole, pieces + copies.pieces)
    })
}

fn compare(is_server: bool) {
    let tls13 = |(suite, _): &(SupportedCipherSuite, _)| suite.version() == &TLS13;
    let (tls13, tls12): (Vec<_>, Vec<_>) = suites().into_iter().partition(tls13);
    let all = tls13
        .into_iter()
        .flat_map(|suite| ENDS.map(|ends| (suite, ends)));
    for ((suite, key), ends) in all.chain([(tls12[0], Ends::Closed)]) {
        let part = Part {
            is_ours: true,
            is_server,
            suite,
            key,
            ends,
            port: 0,
        };
        let ours = left(&part);
        let stock = left(&Part {
            is_ours: false,
            ..part
        });
        let (found, allowed) = (sum(&ours), sum(&stock));
        assert!(
            found.0 <= allowed.0 && found.1 <= allowed.1,
            "{part:?} leaves {found:?} copies and pieces, stock rustls {allowed:?}: {ours:#?}"
        );
        for ((name, _), copies) in ours {
            let is_key = name.ends_with(" key");
            assert!(
                !is_key || copies.pieces == 0,
                "{part:?}: {name}, {copies:?}"
            );
        }
    }
}

#[test]
#[cfg_attr(
    spinlane_asan,
    ignore = "AddressSanitizer keeps what is freed, and has a shadow too large to read"
)]
fn no_more_is_left_of_a_servers_connection_than_stock_rustls_leaves() {
    compare(true);
}

#[test]
#[cfg_attr(
    spinlane_asan,
    ignore = "AddressSanitizer keeps what is freed, and has a shadow too large to read"
)]
fn no_more_is_left_of_a_clients_connection_than_stock_rustls_leaves() {
    compare(false);
}
