//! The examples, run as whole programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// What a test waits for at most. Only reached when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// An example, built as this test was.
fn example(name: &str) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--offline", "--package", "spinlane"]);
    build.args(["--example", name, "--target-dir"]).arg(target);
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        build.arg("--release");
        "release"
    };
    succeed(build.current_dir(env!("CARGO_MANIFEST_DIR")));
    Command::new(target.join(profile).join("examples").join(name))
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    output
}

/// A certificate for localhost and its key.
fn identity() -> [PathBuf; 2] {
    static MADE: OnceLock<[PathBuf; 2]> = OnceLock::new();
    let make = || {
        let [cert, key] = ["server.crt", "server.key"].map(|name| scratch().join(name));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req", "-x509", "-nodes", "-days", "2", "-newkey", "rsa:2048",
        ]);
        openssl.args(["-subj", "/CN=localhost"]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        succeed(openssl.arg("-out").arg(&cert).arg("-keyout").arg(&key));
        [cert, key]
    };
    MADE.get_or_init(make).clone()
}

/// A server example, ended with this.
struct Server(Child, u16);

impl Server {
    fn start(name: &str, more: &[&str]) -> Self {
        static TRIED: AtomicU16 = AtomicU16::new(0);
        let port = 10_000 + (std::process::id() % 9_000) as u16;
        let port = port + TRIED.fetch_add(1, Ordering::Relaxed);
        let mut command = example(name);
        command.args(identity()).arg(port.to_string()).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = Self(command.spawn().unwrap(), port);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.0.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{ended:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Ends its input; what it printed.
    fn stop(mut self) -> String {
        drop(self.0.stdin.take());
        let mut said = String::new();
        let mut output = self.0.stdout.take().unwrap();
        output.read_to_string(&mut said).unwrap();
        assert!(self.0.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program printed under this name.
fn counted(said: &str, name: &str) -> u64 {
    let mut words = said.split_whitespace();
    words.find(|word| *word == name);
    words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("{name}: {said}"))
}

/// Sends a line by the openssl program, which verifies the server, and gets it back.
fn echo(port: u16, protocol: &str) {
    let mut client = Command::new("openssl");
    client.args([
        "s_client",
        "-quiet",
        "-no_ign_eof",
        "-verify_return_error",
        protocol,
    ]);
    client.arg("-CAfile").arg(&identity()[0]);
    client.args([
        "-verify_hostname",
        "localhost",
        "-connect",
        &format!("127.0.0.1:{port}"),
    ]);
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    client
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"anyone there?\n")
        .unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "anyone there?\n", "{protocol}");
    drop(client.stdin.take());
    client.wait().unwrap();
}

#[test]
fn echo_servers_serve_many_at_a_time() {
    for name in ["echo_rustls", "echo_libssl"] {
        // Room for one op: some are refused.
        let server = Server::start(name, &["soft", "1"]);
        let port = server.1;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || ["-tls1_2", "-tls1_3"].map(|protocol| echo(port, protocol)));
            }
        });
        // Neither has said a word of TLS, or no more than half of one.
        TcpStream::connect(("127.0.0.1", port))
            .unwrap()
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .unwrap();
        TcpStream::connect(("127.0.0.1", port))
            .unwrap()
            .write_all(&[22, 3, 1])
            .unwrap();
        echo(port, "-tls1_3");
        let said = server.stop();
        assert_eq!(
            counted(&said, "accepted"),
            1 + 2 * 8 + 2 + 1,
            "{name}, the probe of start included"
        );
        assert!(counted(&said, "enqueued") >= 17 * 2, "{name}: {said}");
    }
}

#[test]
fn forty_lines_serve_curl() {
    let source = include_str!("../examples/hello.rs");
    assert!(source.lines().count() <= 40);
    let found = Command::new("sh").args(["-c", "command -v curl"]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        eprintln!("SKIPPED: curl is not here; tools/setup/setup.sh fetches it");
        return;
    }
    let server = Server::start("hello", &[]);
    for protocol in ["1.2", "1.3", "1.3"] {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "100",
            "--tls-max",
            protocol,
        ]);
        curl.arg("--cacert").arg(&identity()[0]);
        let page = succeed(curl.arg(format!("https://localhost:{}/", server.1))).stdout;
        assert_eq!(page, b"hello", "TLS {protocol}");
    }
}

#[test]
fn signatures_without_tls() {
    for (args, is_refused) in [
        (&[][..], true),
        (&["soft", "8"], true),
        (&["soft", "1000"], false),
    ] {
        let said = succeed(example("sign").args(args)).stdout;
        let said = String::from_utf8_lossy(&said);
        assert_eq!(counted(&said, "signed"), 1000);
        assert_eq!(counted(&said, "refused") != 0, is_refused, "{said}");
        assert!(counted(&said, "in_flight_peak") > 1, "{said}");
    }
}
