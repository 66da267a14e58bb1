//! A SoftHSM2 token of each test's own, behind the shim, in a process of the test's own.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use spinlane_cryptodev::KeyHandle;
use spinlane_driver_pkcs11::{
    Failure, Operation, Settings, TokenDevice, TokenOp, TokenQueue, uri::Uri,
};
use spinlane_pkcs11_shim::{Control, Knob};

pub const PIN: &str = "93-7 secret";
const SO_PIN: &str = "11111111";
const FOLDER: &str = "PKCS11_TEST_FOLDER";

/// What a test works with: a token with these keys, by label: rsa2048, rsa3072, p256, p384, ed25519.
pub struct Bench {
    pub folder: PathBuf,
    pub control: Control,
}

/// Runs `body` in a process of its own, where SoftHSM2 has a configuration of its own. `test` is the name of the
/// calling test. Skips, and says so, where there is no SoftHSM2.
pub fn in_process(test: &str, body: impl FnOnce(&Bench)) {
    if let Some(folder) = env::var_os(FOLDER) {
        let folder = PathBuf::from(folder);
        let control = Control::open(&folder.join("control")).unwrap();
        return body(&Bench { folder, control });
    }
    let Some(module) = softhsm() else {
        // Where the test harness does not swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: there is no libsofthsm2.so; `make test` installs it"
        );
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("tokens")).unwrap();
    let tokens = folder.join("tokens");
    let configuration = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(folder.join("softhsm2.conf"), configuration).unwrap();
    fs::write(folder.join("pin"), format!("{PIN}\n")).unwrap();
    Control::open(&folder.join("control")).unwrap();
    fill(&folder);

    let mut child = Command::new(env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--include-ignored"]);
    child
        .env(FOLDER, &folder)
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
        .env("PKCS11_SHIM_MODULE", module)
        .env("PKCS11_SHIM_CONTROL", folder.join("control"))
        .env("TEST_PIN", PIN);
    let output = child.output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{test}: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "{test} has not run:\n{text}");
    print!("{text}");
}

fn text(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

fn softhsm() -> Option<PathBuf> {
    let known = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ];
    known
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
}

/// The shim, which cargo has built beside the test. An instrumented one cannot be loaded: $PKCS11_TEST_SHIM is another.
pub fn shim() -> PathBuf {
    if let Some(shim) = env::var_os("PKCS11_TEST_SHIM") {
        return shim.into();
    }
    let test = env::current_exe().unwrap();
    let shim = test.parent().unwrap().join("libspinlane_pkcs11_shim.so");
    assert!(shim.exists(), "{} is missing", shim.display());
    shim
}

/// softhsm2-util in this configuration.
pub fn softhsm_util(folder: &Path, arguments: &[&str]) {
    let mut util = Command::new("softhsm2-util");
    util.args(arguments);
    util.env("SOFTHSM2_CONF", folder.join("softhsm2.conf"));
    let output = util.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

pub fn init_token(folder: &Path, label: &str) {
    let pins = ["--pin", PIN, "--so-pin", SO_PIN];
    let arguments = ["--init-token", "--free", "--label", label];
    softhsm_util(folder, &[&arguments[..], &pins].concat());
}

/// Makes the token "test" and its keys. The private keys stay in the folder, to check by.
fn fill(folder: &Path) {
    init_token(folder, "test");
    let ec = |nid| {
        let group = EcGroup::from_curve_name(nid).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
    let keys = [
        ("rsa2048", "01", rsa(2048)),
        ("rsa3072", "02", rsa(3072)),
        ("p256", "03", ec(Nid::X9_62_PRIME256V1)),
        ("p384", "04", ec(Nid::SECP384R1)),
        ("ed25519", "05", PKey::generate_ed25519().unwrap()),
    ];
    for (label, id, key) in keys {
        import(folder, "test", label, id, &key);
    }
}

pub fn import(folder: &Path, token: &str, label: &str, id: &str, key: &PKey<Private>) {
    let file = folder.join(format!("{label}.pem"));
    fs::write(&file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let file = file.to_str().unwrap();
    let arguments = [
        "--import", file, "--token", token, "--label", label, "--id", id, "--pin", PIN,
    ];
    softhsm_util(folder, &arguments);
}

/// Puts another token of the same label and PIN in the token's place, with this key. The module learns of it when it is
/// initialised again.
pub fn remake(folder: &Path, private: &PKey<Private>, control: &Control) {
    let (next, tokens) = (folder.join("next"), folder.join("tokens"));
    fs::create_dir_all(next.join("tokens")).unwrap();
    let configuration = format!("directories.tokendir = {}\n", next.join("tokens").display());
    fs::write(next.join("softhsm2.conf"), configuration).unwrap();
    init_token(&next, "test");
    import(&next, "test", "p256", "03", private);
    control.set(Knob::Deaf, 1);
    fs::remove_dir_all(&tokens).unwrap();
    fs::rename(next.join("tokens"), &tokens).unwrap();
}

/// Settings with which a test does not wait long for a token that comes back. Nothing is given up for being slow: the
/// machine may be.
pub fn quick(sessions: usize) -> Settings {
    Settings {
        sessions,
        stuck_after: Duration::from_secs(60),
        stuck_threads: 4,
        ask_again_after: Duration::from_millis(20),
        ..Settings::default()
    }
}

/// The same for calls that do not return.
pub fn impatient(sessions: usize) -> Settings {
    Settings {
        stuck_after: Duration::from_secs(2),
        ..quick(sessions)
    }
}

impl Bench {
    /// The URI of an object on the test's token, behind the shim.
    pub fn uri(&self, object: &str) -> Uri {
        let (shim, pin) = (shim(), self.folder.join("pin"));
        let (shim, pin) = (shim.display(), pin.display());
        let text = format!(
            "pkcs11:token=test;object={object};type=private?module-path={shim}&pin-source=file:{pin}"
        );
        text.parse().unwrap()
    }

    pub fn device(&self, settings: Settings) -> TokenDevice {
        TokenDevice::open(&self.uri("any"), settings).unwrap()
    }

    /// The private key that was imported under this label.
    pub fn private(&self, label: &str) -> PKey<Private> {
        let pem = fs::read(self.folder.join(format!("{label}.pem"))).unwrap();
        PKey::private_key_from_pem(&pem).unwrap()
    }
}

/// An op through a queue, waited for.
pub fn run(
    queue: &mut TokenQueue,
    key: &Arc<KeyHandle>,
    operation: Operation,
    input: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut op = TokenOp::new();
    assert!(op.prepare(7, key, operation, input));
    let (mut ops, mut done) = (VecDeque::from([op]), VecDeque::new());
    assert_eq!(queue.enqueue_burst(&mut ops, 0), 1);
    while queue.dequeue_burst(&mut done, 1, 0) == 0 {
        thread::yield_now();
    }
    assert_eq!(done[0].token, 7);
    done[0].result().map(<[u8]>::to_vec)
}

/// Sends `count` ops of `key` and waits for all; returns how many ended in success and how many did not.
pub fn load(
    queue: &mut TokenQueue,
    key: &Arc<KeyHandle>,
    input: &[u8],
    count: usize,
) -> (usize, usize) {
    let mut ops = VecDeque::new();
    for token in 0..count as u64 {
        let mut op = TokenOp::new();
        assert!(op.prepare(token, key, Operation::Private, input));
        ops.push_back(op);
    }
    let mut done = VecDeque::new();
    while done.len() < count {
        queue.enqueue_burst(&mut ops, 0);
        if queue.dequeue_burst(&mut done, 64, 0) == 0 {
            thread::yield_now();
        }
    }
    assert_eq!(queue.in_flight(), 0);
    let mut seen: Vec<_> = done.iter().map(|op| op.token).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..count as u64), "each comes back once");
    let good = done.iter().filter(|op| op.result().is_ok()).count();
    (good, count - good)
}

/// Waits until `is_so`; panics after a minute.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} does not come"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

/// Threads and file descriptors of this process.
pub fn threads_and_descriptors() -> (usize, usize) {
    let count = |folder| fs::read_dir(folder).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// What the file descriptors are of.
pub fn descriptors() -> Vec<PathBuf> {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect()
}
