//! `spinlane proxy` as a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::program::{PATIENCE, run, spinlane};

/// One proxy at a time: each keeps a core busy.
static ONE: Mutex<()> = Mutex::new(());

/// What `--tls` takes.
pub const LIBRARIES: [&str; 2] = ["rustls", "openssl"];

/// Limits that a busy machine might reach though nothing is wrong: far away, unless a test sets them.
const LIMITS: [&str; 3] = ["--handshake-timeout", "--op-deadline", "--drain-timeout"];

/// Where a proxy listens: a free port of the loopback, or what `$SPINLANE_TEST_NETWORK` says in its place, as
/// `tools/test_packets.sh` does.
fn network() -> Vec<String> {
    let network = std::env::var("SPINLANE_TEST_NETWORK");
    let network = network.unwrap_or_else(|_| "--listen 127.0.0.1:0".to_owned());
    network.split_whitespace().map(str::to_owned).collect()
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// All of these, where there are several.
    pub addresses: Vec<SocketAddr>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// Open file descriptors before the first connection.
    idle_descriptors: usize,
    _one: MutexGuard<'static, ()>,
}

/// A proxy that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Everything it said, counters at the end.
    pub stdout: String,
    /// Its log.
    pub stderr: String,
}

impl Proxy {
    /// Starts one on a free port of the loopback with these arguments besides.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(args: &[&str]) -> Self {
        Self::start_as(Command::new(spinlane()), args)
    }

    /// As [`Proxy::start`], but by `command`, which becomes the program.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_as(command: Command, args: &[&str]) -> Self {
        Self::launch(command, &network(), args)
    }

    /// As [`Proxy::start`], but over the network that `network` names in place of a free port of the loopback.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_over(network: &[&str], args: &[&str]) -> Self {
        let network: Vec<String> = network.iter().map(|&arg| arg.to_owned()).collect();
        Self::launch(Command::new(spinlane()), &network, args)
    }

    /// Starts one by a configuration file, which says all.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_by(file: &Path) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new(spinlane());
        command
            .args(["proxy", "--config"])
            .arg(file)
            .env("NO_COLOR", "1");
        Self::spawn(command, one)
    }

    fn launch(mut command: Command, network: &[String], args: &[&str]) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        command
            .arg("proxy")
            .args(network)
            // Else its descriptors are for the superuser alone to count.
            .arg("--core-dumps")
            .args(args)
            .env("NO_COLOR", "1");
        for limit in LIMITS.iter().filter(|limit| !args.contains(limit)) {
            command.args([limit, "100"]);
        }
        Self::spawn(command, one)
    }

    fn spawn(mut command: Command, one: MutexGuard<'static, ()>) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("spinlane runs");
        let (stdout, lines, reader) = collect(child.stdout.take().expect("piped"));
        let (stderr, _, error_reader) = collect(child.stderr.take().expect("piped"));
        let mut proxy = Self {
            child,
            address: SocketAddr::from(([0; 4], 0)),
            addresses: Vec::new(),
            stdout,
            stderr,
            readers: vec![reader, error_reader],
            idle_descriptors: 0,
            _one: one,
        };
        // The last line of what it says at its start is a line to try.
        loop {
            let line = lines.recv_timeout(PATIENCE);
            let line =
                line.unwrap_or_else(|_| panic!("{command:?} did not start: {}", proxy.log()));
            if line.starts_with("  try") {
                break;
            }
        }
        let said = proxy.said();
        let line = said
            .lines()
            .find_map(|line| line.split_once("listens on "))
            .expect("an address");
        let addresses = line.1.split(',').map(|address| address.trim().parse());
        proxy.addresses = addresses.collect::<Result<_, _>>().expect("addresses");
        proxy.address = proxy.addresses[0];
        proxy.idle_descriptors = proxy.descriptors();
        proxy
    }

    /// What `openssl s_client` says after a handshake and one request.
    ///
    /// # Panics
    /// It is not installed.
    pub fn s_client(&self, args: &[&str]) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.address.to_string()]);
        // Names in one form, whatever the release prints by default.
        command.args(["-ign_eof", "-nameopt", "RFC2253"]).args(args);
        // The answer to `Connection: close` ends the connection, and s_client with it.
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let output = run(&mut command, request);
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        self.stdout
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Calls `load` until it leaves memory as it was, when all its connections are closed; returns how
    /// often. A leak grows each time; what pools hold depends on how many connections chance to meet.
    ///
    /// # Panics
    /// Memory still grows at the fifth call.
    pub fn stops_growing(&self, mut load: impl FnMut()) -> usize {
        self.wait_until_all_closed();
        let mut sizes_kib = vec![self.memory_kib()];
        for round in 1..=5 {
            load();
            self.wait_until_all_closed();
            let (before_kib, after_kib) = (sizes_kib[round - 1], self.memory_kib());
            sizes_kib.push(after_kib);
            if after_kib < before_kib + 1024 {
                return round;
            }
        }
        panic!("memory grows: {sizes_kib:?} KiB; {}", self.said());
    }

    /// Waits until no connection is left.
    ///
    /// # Panics
    /// One stays.
    pub fn wait_until_all_closed(&self) {
        self.wait_until("all connections are closed", |proxy| match proxy.open() {
            Some(open) => open == 0,
            None => proxy.descriptors() == proxy.idle_descriptors,
        });
    }

    /// Connections open, where they are no descriptors: as /metrics says, if it is served.
    fn open(&self) -> Option<u64> {
        if !self.said().contains("\n  port ") {
            return None;
        }
        let said = self.said();
        let url = said.lines().find_map(|line| line.split_once("http://"))?.1;
        let address = url.trim_end_matches("/metrics");
        let mut socket = TcpStream::connect(address).expect("/metrics is served");
        socket
            .write_all(b"GET /metrics HTTP/1.1\r\n\r\n")
            .expect("sent");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("an answer");
        let open = text
            .lines()
            .filter(|line| line.starts_with("spinlane_connections_open{"));
        let numbers = open.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Some(numbers.sum())
    }

    /// Memory in use (VmRSS), KiB.
    ///
    /// # Panics
    /// It is not running.
    pub fn memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        line.split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("a number")
    }

    /// Open file descriptors.
    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("it runs")
            .count()
    }

    /// Waits until `holds`.
    ///
    /// # Panics
    /// It does not come to hold.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain: {what}; {}\n{}",
                self.said(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends it a signal, e.g. `TERM`.
    ///
    /// # Panics
    /// It is not running.
    pub fn signal(&self, name: &str) {
        let sent = run(
            Command::new("kill")
                .arg(format!("-{name}"))
                .arg(self.pid().to_string()),
            b"",
        );
        assert!(sent.status.success(), "kill -{name}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end.
    pub fn wait(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "it does not end: {}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        Ended {
            status,
            stdout: self.said(),
            stderr: self.log(),
        }
    }

    /// Asks it to end, and waits. Most tests end so, to see that nothing broke.
    ///
    /// # Panics
    /// It does not end well.
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        let ended = self.wait();
        assert!(ended.status.success(), "{ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        ended
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Whether the final counters say that connections were closed for `reason`, this often.
    pub fn closed(&self, reason: &str) -> u64 {
        let line = self
            .summary()
            .lines()
            .find_map(|line| line.trim().strip_prefix("closed"));
        let entry = line.and_then(|line| {
            line.split(',')
                .find_map(|part| part.trim().strip_prefix(reason))
        });
        entry
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// The number in front of `name` in the final counters.
    ///
    /// # Panics
    /// There is none.
    pub fn count(&self, name: &str) -> u64 {
        let before = self.summary().split(name).next().expect("split");
        let number = before
            .trim_end()
            .rsplit([' ', '('])
            .next()
            .and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no {name:?} in {}", self.stdout))
    }

    fn summary(&self) -> &str {
        self.stdout.split("all cores, final").nth(1).unwrap_or("")
    }
}

type Collected = (Arc<Mutex<String>>, Receiver<String>, JoinHandle<()>);

/// Collects a pipe's lines, so that it never fills.
fn collect(pipe: impl std::io::Read + Send + 'static) -> Collected {
    let text = Arc::new(Mutex::new(String::new()));
    let (sender, receiver) = channel();
    let shared = Arc::clone(&text);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&line);
            text.push('\n');
            // Only the start listens.
            let _ = sender.send(line);
        }
    });
    (text, receiver, reader)
}

/// The type of the server's signature as `openssl s_client` wrote it, in one spelling: "RSA-PSS". (Since
/// OpenSSL 3.5 it writes the scheme: "rsa_pss_rsae_sha256".)
pub fn signature_type(said: &str) -> String {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("Peer signature type: "));
    line.unwrap_or_default().to_uppercase().replace('_', "-")
}
