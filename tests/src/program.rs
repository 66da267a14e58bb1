//! Programs: `spinlane` itself, built once, and those that the machine may lack.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a test waits for at most. Only reached when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The program `spinlane`: `$SPINLANE_BIN`, or else built by cargo in this test's own profile.
///
/// # Panics
/// It cannot be built.
pub fn spinlane() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("SPINLANE_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().expect("path of this test");
    let output = test.ancestors().nth(2).expect("directory of the profile");
    let profile = match output.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = output.parent().expect("target directory");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "spinlane-tools",
        "--profile",
        profile,
        "--target-dir",
    ]);
    let features: &[&str] = if cfg!(feature = "dpdk") {
        &["--features", "dpdk"]
    } else {
        &[]
    };
    let built = cargo
        .arg(target)
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "cargo build -p spinlane-tools failed");
    output.join("spinlane")
}

/// Whether `program` is installed. If not, says so where the test harness does not swallow it.
pub fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("version")
        .stdin(Stdio::null())
        .output()
        .is_ok();
    if !found {
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: {program} is not installed; `make test` installs it"
        );
    }
    found
}

/// The cores that this process may use; at least one.
///
/// # Panics
/// The kernel does not tell.
pub fn cores() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().expect("the kernel tells which cores there are");
    ids.into_iter().map(|id| id.id).collect()
}

/// The first two of [`cores`]. If there is but one, says so where the test harness does not swallow it.
pub fn two_cores() -> Option<[usize; 2]> {
    let two = cores().first_chunk().copied();
    if two.is_none() {
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: it wants two cores, and this process may use one"
        );
    }
    two
}

/// Runs `command` to its end, with `input` to its standard input.
///
/// # Panics
/// It cannot be run, or does not end in time.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut stdin, mut stdout) = (
        child.stdin.take().expect("piped"),
        child.stdout.take().expect("piped"),
    );
    let mut stderr = child.stderr.take().expect("piped");
    std::thread::scope(|scope| {
        // A program that does not read its input is no failure of ours.
        scope.spawn(move || drop(stdin.write_all(input)));
        let stdout = scope.spawn(move || read_all(&mut stdout));
        let stderr = scope.spawn(move || read_all(&mut stderr));
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    panic!("{command:?} does not end");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        Output {
            status,
            stdout: stdout.join().expect("reader"),
            stderr: stderr.join().expect("reader"),
        }
    })
}

fn read_all(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("a pipe can be read");
    bytes
}

/// A path as an argument.
///
/// # Panics
/// It is no text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// A directory that goes with the value.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// An empty one.
    ///
    /// # Panics
    /// It cannot be made.
    #[expect(
        clippy::new_without_default,
        reason = "making a directory is no default"
    )]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("spinlane-test-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file in it.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).expect("a temporary file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
