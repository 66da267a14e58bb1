//! Builds the library and C programs, and runs them with the library and without.

#![allow(dead_code, reason = "each test uses a part")]

pub mod servers;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock};

/// A folder of this test's own that holds libspinlane.so under its names.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        // A test that does not link the library does not make cargo build it.
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "--offline",
            "--package",
            "spinlane-capi",
        ]);
        build.arg("--target-dir").arg(target);
        let profile = if cfg!(debug_assertions) {
            "debug"
        } else {
            build.arg("--release");
            "release"
        };
        succeed(build.current_dir(env!("CARGO_MANIFEST_DIR")));
        let built = target.join(profile).join("libspinlane.so");
        assert!(built.exists(), "{} is missing", built.display());
        let folder = scratch().join("lib");
        fs::create_dir_all(&folder).unwrap();
        for name in ["libspinlane.so", "libspinlane.so.0"] {
            let _ = fs::remove_file(folder.join(name));
            symlink(&built, folder.join(name)).unwrap();
        }
        folder
    })
}

/// The library's file.
pub fn library_file() -> PathBuf {
    library().join("libspinlane.so.0")
}

/// An empty folder of this test's own.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// Whether a C program is linked with libspinlane or knows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Spinlane,
    Stock,
}

/// Compiles a C program of this crate, once, with every warning an error; more flags in `flags`.
pub fn compile(source: &str, link: Link, flags: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
    let program = scratch().join(format!("{name}{}", flags.concat()));
    let _lock = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|lock| lock.into_inner());
    if program.exists() {
        return program;
    }
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]);
    cc.arg("-I").arg(crate_dir.join("include"));
    cc.arg(crate_dir.join(source))
        .arg("-o")
        .arg(&program)
        .args(flags);
    if link == Link::Spinlane {
        cc.arg("-L")
            .arg(library())
            .arg(format!("-Wl,-rpath,{}", library().display()));
        cc.args(["-Wl,--no-as-needed", "-lspinlane"]);
    }
    cc.args(["-lssl", "-lcrypto", "-pthread"]);
    succeed(&mut cc);
    program
}

/// A certificate and its key, made by the openssl program.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// For `rsa2048` or `p256`.
pub fn identity(kind: &str) -> Identity {
    let certificate = scratch().join(format!("{kind}.pem"));
    let key = scratch().join(format!("{kind}.key"));
    let algorithm: &[&str] = match kind {
        "rsa2048" => &["rsa:2048"],
        "p256" => &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        _ => panic!("no such kind of key: {kind}"),
    };
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|lock| lock.into_inner());
    if !key.exists() {
        let mut request = Command::new("openssl");
        request
            .args(["req", "-x509", "-nodes", "-days", "2", "-newkey"])
            .args(algorithm);
        request.args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ]);
        request
            .arg("-out")
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key);
        succeed(&mut request);
    }
    Identity { certificate, key }
}

/// A certificate on P-256 for this name that may not issue others, as servers have them, and its key.
pub fn leaf(name: &str) -> Identity {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|lock| lock.into_inner());
    let certificate = scratch().join(format!("{name}.pem"));
    let key = scratch().join(format!("{name}.key"));
    if !key.exists() {
        let mut request = Command::new("openssl");
        request.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]);
        request.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj"]);
        request.arg(format!("/CN={name}"));
        request.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        request
            .arg("-addext")
            .arg(format!("subjectAltName=DNS:{name}"));
        request.arg("-out").arg(&certificate);
        request.arg("-keyout").arg(&key);
        succeed(&mut request);
    }
    Identity { certificate, key }
}

/// An openssl.cnf, called `name`, that loads the library as a provider, with `settings` in the provider's section.
pub fn configuration(name: &str, settings: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|lock| lock.into_inner());
    let file = scratch().join(format!("{name}.cnf"));
    if file.exists() {
        return file;
    }
    let text = format!(
        "openssl_conf = init\n\
         config_diagnostics = 1\n\
         extensions = leaf\n\
         [init]\nproviders = providers\nalg_section = algorithms\n\
         [providers]\ndefault = default_section\nspinlane = spinlane_section\n\
         [default_section]\nactivate = 1\n\
         [spinlane_section]\nmodule = {}\nactivate = 1\n{settings}\n\
         [algorithms]\ndefault_properties = ?spinlane.kex=yes\n\
         [req]\ndistinguished_name = name\n[name]\n\
         [leaf]\nbasicConstraints = CA:FALSE\n",
        library_file().display()
    );
    fs::write(&file, text).unwrap();
    file
}

/// The command with the library preloaded and the provider active.
pub fn with_spinlane(command: &mut Command, configuration: &Path) {
    command.env("LD_PRELOAD", library_file());
    command.env("OPENSSL_CONF", configuration);
}

/// Runs `command`, which must succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether `program` is on this machine; if not, says so. A test that needs it ends then.
pub fn has(program: impl AsRef<OsStr>) -> bool {
    let program = program.as_ref();
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null"])
        .arg(program)
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED: {program:?} is not here; tools/setup/setup.sh fetches it");
    }
    found
}
