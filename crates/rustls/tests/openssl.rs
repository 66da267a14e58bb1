//! `openssl s_client` and `s_server`: every suite, and KeyUpdates that either side asks for.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::SupportedCipherSuite;
use rustls::pki_types::ServerName;
use spinlane_rustls::{Connection, Progress};

use support::stock::{suites, text, version};
use support::{Wanted, identity, rustls};

/// What is waited for at most. Only reached when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether `openssl` is there; if not, says so past the test harness.
fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        let _ = std::io::stderr().write_all(b"SKIPPED: there is no program openssl\n");
    }
    found
}

/// Files that go with it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let name = format!("spinlane-rustls-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, and what it says.
struct Program {
    child: Child,
    said: Arc<(Mutex<String>, Condvar)>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let piped = || Stdio::piped();
        let command = command.stdin(piped()).stdout(piped()).stderr(piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::<(Mutex<String>, Condvar)>::default();
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let mut line = Vec::new();
                while stream
                    .read_until(b'\n', &mut line)
                    .is_ok_and(|count| count != 0)
                {
                    said.0
                        .lock()
                        .unwrap()
                        .push_str(&String::from_utf8_lossy(&line));
                    said.1.notify_all();
                    line.clear();
                }
            });
        }
        Self { child, said }
    }

    /// A line of input.
    fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits until it has said `wanted`; all that it has said.
    fn wait_for(&self, wanted: &str) -> String {
        let said = self.said.0.lock().unwrap();
        let missing = |said: &mut String| !said.contains(wanted);
        let (said, _) = self
            .said
            .1
            .wait_timeout_while(said, PATIENCE, missing)
            .unwrap();
        assert!(said.contains(wanted), "no {wanted:?} in {said}");
        said.clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.said.0.lock().unwrap());
        }
    }
}

/// A connection of ours on a socket.
struct Link {
    conn: Connection,
    socket: TcpStream,
}

impl Link {
    fn new(conn: Connection, socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut link = Self { conn, socket };
        loop {
            let progress = link.conn.handshake().unwrap();
            link.flush();
            match progress {
                Progress::Done(_) => return link,
                Progress::WantInput => assert_ne!(link.pull(), 0, "the peer has gone"),
                other => panic!("{other:?}"),
            }
        }
    }

    fn flush(&mut self) {
        let Self { conn, socket } = self;
        while conn.output_len() != 0 {
            conn.write_output(|bytes| socket.write(bytes)).unwrap();
        }
    }

    /// Takes what comes next from the socket; returns how much.
    fn pull(&mut self) -> usize {
        let Self { conn, socket } = self;
        conn.read_input(|room| socket.read(room)).unwrap()
    }

    fn hears(&mut self, wanted: &str) {
        let mut heard = Vec::new();
        while heard.len() < wanted.len() {
            assert_ne!(self.pull(), 0, "the peer has gone");
            heard.extend(text(&mut self.conn).0);
        }
        assert_eq!(String::from_utf8_lossy(&heard), wanted);
    }

    /// Takes records without text: a KeyUpdate.
    fn hears_nothing(&mut self) {
        loop {
            assert_ne!(self.pull(), 0, "the peer has gone");
            assert_eq!(text(&mut self.conn), (Vec::new(), Ok(Progress::WantInput)));
            if self.conn.input_len() == 0 {
                return;
            }
        }
    }

    fn says(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if let Progress::Done(count) = self.conn.write(rest).unwrap() {
                rest = &rest[count..];
            }
            self.flush();
        }
    }

    /// Text and new keys in each direction.
    fn converse(&mut self, peer: &mut Program, tls13: bool) {
        let long: String = (0..8000).map(|number| format!("{number:05}")).collect();
        self.says(&format!("{long}\n"));
        peer.wait_for(&long);
        peer.tell("hello\n");
        self.hears("hello\n");
        if tls13 {
            peer.tell("k\n");
            self.hears_nothing();
            assert_eq!(self.conn.output_len(), 0, "it wants no answer");
            peer.tell("their keys are new\n");
            self.hears("their keys are new\n");

            peer.tell("K\n");
            self.hears_nothing();
            assert_ne!(self.conn.output_len(), 0, "it wants an answer");
            self.says("so are ours\n");
            peer.wait_for("so are ours\n");

            assert_eq!(self.conn.refresh_traffic_keys(), Ok(Progress::Done(0)));
            self.says("ours are newer\n");
            peer.wait_for("ours are newer\n");
            // It answers before its next text.
            peer.tell("theirs too\n");
            self.hears("theirs too\n");
        }
        self.conn.shutdown();
        self.flush();
        // close_notify, or the end of a program that says none.
        while !matches!(text(&mut self.conn).1, Ok(Progress::Closed)) && self.pull() != 0 {}
    }
}

/// The suite's arguments.
fn arguments(suite: SupportedCipherSuite) -> [String; 3] {
    let name = format!("{:?}", suite.suite());
    match name.strip_prefix("TLS13_") {
        Some(name) => ["-tls1_3", "-ciphersuites", &format!("TLS_{name}")].map(str::to_owned),
        None => {
            let name = name.trim_start_matches("TLS_").replace("WITH_", "");
            let name = name
                .replace("AES_", "AES")
                .replace("POLY1305_SHA256", "POLY1305");
            ["-tls1_2", "-cipher", &name.replace('_', "-")].map(str::to_owned)
        }
    }
}

#[test]
fn s_client_talks_to_our_server() {
    if !has_openssl() {
        return;
    }
    for (suite, key) in suites() {
        let wanted = Wanted {
            key,
            version: version(suite),
            ..Wanted::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", &address])
            .args(arguments(suite));
        let mut client = Program::start(&mut command);
        let (socket, _) = listener.accept().unwrap();
        let server = Connection::server(wanted.server().into()).unwrap();
        let mut link = Link::new(server, socket);
        assert_eq!(link.conn.cipher_suite().unwrap().suite(), suite.suite());
        link.converse(&mut client, suite.tls13().is_some());
        client.child.wait().unwrap();
    }
}

#[test]
fn our_client_talks_to_s_server() {
    if !has_openssl() {
        return;
    }
    let files = Files::new("s-server");
    for (suite, kind) in suites() {
        let identity = identity(kind);
        let certificate = files.write("certificate.der", &identity.certificate);
        let key = files.write("key.der", identity.key().secret_der());
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1"]);
        command.args(arguments(suite)).arg("-certform").arg("DER");
        command
            .arg("-keyform")
            .arg("DER")
            .arg("-cert")
            .arg(certificate)
            .arg("-key")
            .arg(key);
        let mut server = Program::start(&mut command);
        let said = server.wait_for("ACCEPT ");
        let address = said.split("ACCEPT ").nth(1).unwrap();
        let socket = TcpStream::connect(address.lines().next().unwrap()).unwrap();
        let wanted = Wanted {
            key: kind,
            version: version(suite),
            ..Wanted::default()
        };
        let name = ServerName::try_from("localhost").unwrap();
        let client = Connection::client(wanted.client().into(), name);
        let mut link = Link::new(client, socket);
        assert_eq!(link.conn.cipher_suite().unwrap().suite(), suite.suite());
        link.converse(&mut server, suite.tls13().is_some());
        server.child.wait().unwrap();
    }
}
