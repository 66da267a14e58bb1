//! Programs that know nothing of Spinlane, as they come from the distribution: the library preloaded, the
//! provider loaded by an openssl.cnf. That it is really used is seen by its log.

mod support;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::{
    Identity, configuration, identity, library_file, scratch, succeed, text, with_spinlane,
};

/// What a test waits for at most. Only reached when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the log says when an op gets there.
const REACHED: &str = "reached the provider";
/// What the log says when a thread gets an lcore.
const ON_DEMAND: &str = "an lcore was made on demand";

/// The openssl program with Spinlane.
fn openssl(settings: &str) -> Command {
    let name = format!("openssl-{}", settings.len());
    let mut command = Command::new("openssl");
    with_spinlane(&mut command, &configuration(&name, settings));
    command.env("SPINLANE_LOG", "info");
    command.current_dir(scratch());
    command
}

/// Runs it; the op `kind` must have reached the provider.
fn reaches(command: &mut Command, kind: &str) -> String {
    let output = succeed(command);
    let log = text(&output.stderr);
    let reached = log
        .lines()
        .any(|line| line.contains(REACHED) && line.contains(kind));
    assert!(reached, "{command:?}: no {kind} in the provider: {log}");
    text(&output.stdout)
}

#[test]
fn openssl_lists_the_provider() {
    let output = succeed(openssl("").args(["list", "-providers"]));
    assert!(
        text(&output.stdout).contains("name: Spinlane"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn openssl_refuses_a_setting_that_it_does_not_understand() {
    let output = openssl("lcore = maybe")
        .args(["list", "-providers"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(
        said.contains("lcore") && said.contains("on-demand or explicit"),
        "{said}"
    );
}

#[test]
fn openssl_speed_with_jobs() {
    let mut speed = openssl("");
    reaches(
        speed.args(["speed", "-seconds", "1", "-async_jobs", "8", "rsa2048"]),
        "rsa2048",
    );
}

#[test]
fn openssl_signs_requests_certificates_and_messages() {
    for (kind, op) in [("rsa2048", "rsa2048"), ("p256", "ecdsa-p256")] {
        let Identity { certificate, key } = identity(kind);
        let file = |name: &str| scratch().join(format!("{kind}-{name}"));
        let [request, leaf, message, signed] = ["request", "leaf", "message", "signed"].map(file);
        fs::write(&message, "hello\n").unwrap();

        let mut req = openssl("");
        req.args(["req", "-new", "-subj", "/CN=leaf", "-key"])
            .arg(&key)
            .arg("-out")
            .arg(&request);
        reaches(&mut req, op);
        let mut x509 = openssl("");
        x509.args(["x509", "-req", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(&certificate);
        x509.arg("-CAkey").arg(&key).arg("-out").arg(&leaf);
        reaches(&mut x509, op);
        let mut cms = openssl("");
        cms.args(["cms", "-sign", "-in"])
            .arg(&message)
            .arg("-signer")
            .arg(&certificate);
        cms.arg("-inkey").arg(&key).arg("-out").arg(&signed);
        reaches(&mut cms, op);

        // Without Spinlane.
        let mut verify = Command::new("openssl");
        succeed(
            verify
                .arg("verify")
                .arg("-CAfile")
                .arg(&certificate)
                .arg(&leaf),
        );
        let mut verify = Command::new("openssl");
        verify
            .args(["cms", "-verify", "-in"])
            .arg(&signed)
            .arg("-CAfile")
            .arg(&certificate);
        succeed(verify.args(["-purpose", "any"]));
    }
}

/// A server, ended with this; what it wrote to stderr.
struct Running {
    child: Child,
    log: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it, and waits until it takes connections on `port`.
    fn start(command: &mut Command, port: u16) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            let _ = stderr.read_to_end(&mut log);
            text(&log)
        });
        let mut running = Self {
            child,
            log: Some(log),
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = running.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                panic!(
                    "{command:?} does not listen on {port} ({ended:?}): {}",
                    running.stop()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// Ends it; what it logged. Nothing at a second call.
    fn stop(&mut self) -> String {
        let Some(log) = self.log.take() else {
            return String::new();
        };
        if let Ok(None) = self.child.try_wait() {
            // SAFETY: a signal to our own child, which has not been waited for.
            unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        }
        let _ = self.child.wait();
        log.join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let log = self.stop();
        if std::thread::panicking() {
            eprintln!("{log}");
        }
    }
}

/// A port that nobody listens on, another at each call. Below those that the kernel gives to clients
/// (32768 and above, ip_local_port_range in ip(7)), one of which might take it before the server does.
/// It is tried by connecting: a listener of ours would live on in the child that another test is just
/// starting, until that child's exec, and be taken for the server.
fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    loop {
        let port = first + TRIED.fetch_add(1, Ordering::Relaxed);
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

/// `openssl s_client -async` with Spinlane, which asks for a page.
fn client(port: u16, protocol: &str, settings: &str, roots: &Path) {
    let mut client = openssl(settings);
    client.args([
        "s_client",
        "-async",
        "-quiet",
        "-no_ign_eof",
        "-verify_return_error",
        protocol,
    ]);
    client
        .arg("-CAfile")
        .arg(roots)
        .args(["-connect", &format!("localhost:{port}")]);
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    client
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    BufReader::new(client.stdout.as_mut().unwrap())
        .read_line(&mut answer)
        .unwrap();
    drop(client.stdin.take());
    let output = client.wait_with_output().unwrap();
    let log = text(&output.stderr);
    assert_eq!(answer.trim(), "HTTP/1.0 200 ok", "{protocol}: {log}");
    assert!(log.contains(REACHED), "the client's key exchange: {log}");
}

fn s_server_and_s_client(kind: &str, settings: &str, wanted: &str) {
    let Identity { certificate, key } = identity(kind);
    let port = free_port();
    let mut server = openssl(settings);
    server.args([
        "s_server",
        "-async",
        "-www",
        "-accept",
        &port.to_string(),
        "-cert",
    ]);
    server.arg(&certificate).arg("-key").arg(&key);
    let mut server = Running::start(&mut server, port);
    for protocol in ["-tls1_3", "-tls1_2"] {
        client(port, protocol, settings, &certificate);
    }
    let log = server.stop();
    assert!(log.contains(wanted), "no {wanted:?}: {log}");
}

#[test]
fn openssl_s_server_and_s_client_with_async() {
    s_server_and_s_client("rsa2048", "", "kind=rsa2048");
    s_server_and_s_client("p256", "", "kind=ecdsa-p256");
}

#[test]
fn openssl_s_server_and_s_client_that_pause_and_ask_again() {
    s_server_and_s_client("rsa2048", "pause-without-callback = yes", ON_DEMAND);
}

/// Name of libssl's file in the output of ldd.
fn libssl(listed: &str) -> Option<&str> {
    listed
        .split_whitespace()
        .find(|word| word.starts_with("libssl.so"))
}

/// A program of the machine's, or of those that tools/setup/programs.sh unpacked; with Spinlane.
fn program(name: &str) -> Option<Command> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/programs");
    let mut folders = vec![unpacked.join("usr/sbin")];
    folders.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    folders.push(PathBuf::from("/usr/sbin"));
    let Some(found) = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|file| file.exists())
    else {
        eprintln!("SKIPPED: {name} is not here; tools/setup/setup.sh fetches it");
        return None;
    };
    let theirs = text(&succeed(Command::new("ldd").arg(&found)).stdout);
    let ours = text(&succeed(Command::new("ldd").arg(library_file())).stdout);
    if libssl(&theirs) != libssl(&ours) {
        eprintln!("SKIPPED: {name} is linked to another version of OpenSSL than the library");
        return None;
    }
    let mut command = Command::new(found);
    let libraries = [
        format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH),
        "usr/lib".into(),
    ];
    let libraries: Vec<OsString> = libraries
        .iter()
        .map(|path| unpacked.join(path).into())
        .collect();
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    with_spinlane(&mut command, &configuration(name, ""));
    command.env("SPINLANE_LOG", "info");
    Some(command)
}

/// Gets `https://localhost:port/` a few times with each protocol by curl, without Spinlane.
fn curl(port: u16, roots: &Path) {
    for protocol in ["1.2", "1.3"] {
        for _ in 0..3 {
            let mut curl = Command::new("curl");
            curl.args([
                "--silent",
                "--show-error",
                "--max-time",
                &PATIENCE.as_secs().to_string(),
                "--tls-max",
                protocol,
            ]);
            curl.arg("--cacert")
                .arg(roots)
                .arg(format!("https://localhost:{port}/"));
            assert_eq!(text(&succeed(&mut curl).stdout), "hello", "TLS {protocol}");
        }
    }
}

fn nginx(kind: &str, wanted: &str) {
    let Identity { certificate, key } = identity(kind);
    let Some(mut nginx) = program("nginx") else {
        return;
    };
    let port = free_port();
    let folder = scratch().join(format!("nginx-{kind}"));
    fs::create_dir_all(&folder).unwrap();
    let user = match succeed(Command::new("id").arg("-u"))
        .stdout
        .starts_with(b"0\n")
    {
        true => "user root;",
        false => "",
    };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {};", folder.join(name).display()))
        .concat();
    let settings = format!(
        "daemon off; master_process on; worker_processes 2; error_log stderr info; {user} pid {pid};\n\
         events {{}}\n\
         http {{ access_log off; {temporary}\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
         location / {{ return 200 hello; }} }} }}\n",
        certificate.display(),
        key.display(),
        pid = folder.join("pid").display(),
    );
    fs::write(folder.join("nginx.conf"), settings).unwrap();
    nginx.arg("-p").arg(&folder).arg("-e").arg("stderr");
    nginx.arg("-c").arg(folder.join("nginx.conf"));
    let mut nginx = Running::start(&mut nginx, port);
    curl(port, &certificate);
    let log = nginx.stop();
    assert!(log.contains(wanted), "no {wanted:?}: {log}");
}

#[test]
fn nginx_serves_curl() {
    nginx("rsa2048", "kind=rsa2048");
    nginx("p256", "kind=ecdsa-p256");
}

fn haproxy(kind: &str, global: &str, wanted: &str) {
    let Identity { certificate, key } = identity(kind);
    let Some(mut haproxy) = program("haproxy") else {
        return;
    };
    let port = free_port();
    let folder = scratch().join(format!("haproxy-{kind}-{}", global.len()));
    fs::create_dir_all(&folder).unwrap();
    let both = [&certificate, &key]
        .map(|file| fs::read_to_string(file).unwrap())
        .concat();
    fs::write(folder.join("both.pem"), both).unwrap();
    let settings = format!(
        "global\n    nbthread 2\n    {global}\n\
         defaults\n    mode http\n    timeout connect 2m\n    timeout client 2m\n    timeout server 2m\n\
         frontend all\n    bind 127.0.0.1:{port} ssl crt {}\n\
         \x20   http-request return status 200 content-type text/plain string hello\n",
        folder.join("both.pem").display()
    );
    fs::write(folder.join("haproxy.cfg"), settings).unwrap();
    haproxy.arg("-db").arg("-f").arg(folder.join("haproxy.cfg"));
    let mut haproxy = Running::start(&mut haproxy, port);
    curl(port, &certificate);
    let log = haproxy.stop();
    assert!(log.contains(wanted), "no {wanted:?}: {log}");
}

#[test]
fn haproxy_serves_curl() {
    for global in ["", "ssl-mode-async"] {
        haproxy("rsa2048", global, "kind=rsa2048");
        haproxy("p256", global, "kind=ecdsa-p256");
    }
}
