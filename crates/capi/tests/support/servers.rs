//! Servers that tests start and end, and what asks them.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{configuration, library_file, succeed, text, with_spinlane};

/// What a test waits for at most. Only reached when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server, ended with this; what it wrote to stderr.
pub struct Running {
    child: Child,
    log: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it, and waits until it takes connections on `port`.
    pub fn start(command: &mut Command, port: u16) -> Self {
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

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    /// Ends it; what it logged. Nothing at a second call.
    pub fn stop(&mut self) -> String {
        let Some(log) = self.log.take() else {
            return String::new();
        };
        if let Ok(None) = self.child.try_wait() {
            self.signal(libc::SIGTERM);
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
pub fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    loop {
        let port = first + TRIED.fetch_add(1, Ordering::Relaxed);
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

/// Name of libssl's file in the output of ldd.
fn libssl(listed: &str) -> Option<&str> {
    listed
        .split_whitespace()
        .find(|word| word.starts_with("libssl.so"))
}

/// Where tools/setup/programs.sh unpacks what the machine lacks.
pub fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/programs")
}

/// A program of the machine's, or an unpacked one, with Spinlane. `linked` is what of it is linked
/// with libssl, if that is another file.
pub fn program(name: &str, linked: Option<&Path>) -> Option<Command> {
    let mut folders = ["usr/sbin", "usr/bin"]
        .map(|folder| unpacked().join(folder))
        .to_vec();
    folders.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    folders.push(PathBuf::from("/usr/sbin"));
    // Debian's php is called by its version where it is not installed.
    let versions = ["", "8.2", "8.3", "8.4", "8.5"].map(|version| format!("{name}{version}"));
    let files = folders
        .iter()
        .flat_map(|folder| versions.iter().map(|name| folder.join(name)));
    let Some(found) = files.into_iter().find(|file| file.exists()) else {
        eprintln!("SKIPPED: {name} is not here; tools/setup/setup.sh fetches it");
        return None;
    };
    let theirs = text(&succeed(Command::new("ldd").arg(linked.unwrap_or(&found))).stdout);
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
    let libraries = libraries.map(|path| unpacked().join(path).into_os_string());
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    with_spinlane(&mut command, &configuration(name, ""));
    command.env("SPINLANE_LOG", "info");
    Some(command)
}

/// Gets `https://localhost:port/` a few times with each protocol by curl, without Spinlane.
pub fn curl(port: u16, roots: &Path) {
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
