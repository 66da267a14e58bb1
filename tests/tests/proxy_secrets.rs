//! What `spinlane proxy` leaves of secrets: in its memory after a connection, and in a core dump.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use spinlane::crypto::digest::{Digest, HmacKey};
use spinlane_tests::program::{TempDir, has, spinlane};
use spinlane_tests::proxy::Proxy;

#[path = "../../crates/rustls/tests/support/scan.rs"]
mod scan;

use scan::{Secret, scan};

/// Suites, and bytes of their keys.
const SUITES: [(&str, Digest, usize); 3] = [
    ("TLS_AES_256_GCM_SHA384", Digest::Sha384, 32),
    ("TLS_AES_128_GCM_SHA256", Digest::Sha256, 16),
    ("TLS_CHACHA20_POLY1305_SHA256", Digest::Sha256, 32),
];

/// The secrets of a connection of `openssl s_client`'s that has ended, and the record keys that are
/// derived from them.
fn secrets_of_a_connection(
    proxy: &Proxy,
    log: &Path,
    (suite, digest, key_len): (&str, Digest, usize),
) -> Vec<Secret> {
    let log = log.to_str().expect("a path that is text");
    let said = proxy.s_client(&["-tls1_3", "-ciphersuites", suite, "-keylogfile", log]);
    assert!(said.contains("hello from spinlane"), "{said}");
    let lines = std::fs::read_to_string(log).unwrap();
    let mut all = Vec::new();
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [label, _, hex] = words[..] else {
            panic!("three words: {line}");
        };
        let digits = hex
            .as_bytes()
            .chunks(2)
            .map(|two| str::from_utf8(two).unwrap());
        let secret = digits.map(|two| u8::from_str_radix(two, 16).unwrap());
        let secret: Vec<u8> = secret.collect();
        if label.contains("TRAFFIC") {
            let mut key = vec![0; digest.len()];
            // HKDF-Expand-Label (RFC 8446, section 7.1).
            let info = [&[0, key_len as u8, 9][..], b"tls13 key\0\x01"].concat();
            HmacKey::new(digest, &secret).sign(&[&info], &mut key);
            key.truncate(key_len);
            all.push((format!("{label} key"), key));
        }
        all.push((label.to_owned(), secret));
    }
    assert!(all.len() >= 8, "{lines}");
    all
}

/// rustls leaves one of some secrets, when its states go from box to box; stock rustls as well.
#[test]
fn after_a_connection_no_record_key_is_left_and_of_secrets_what_rustls_leaves() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    for suite in SUITES {
        let proxy = Proxy::start(&["--tls", "rustls"]);
        let secrets = secrets_of_a_connection(&proxy, &dir.path(suite.0), suite);
        proxy.wait_until_all_closed();
        for ((name, _), copies) in secrets.iter().zip(scan(proxy.pid(), &secrets)) {
            let most = usize::from(!name.ends_with(" key"));
            assert!(copies.whole <= most, "{}, {name}: {copies:?}", suite.0);
        }
        proxy.stop();
    }
}

/// Whether a proxy with these arguments leaves a core dump when it is aborted.
fn dumps_core(dir: &TempDir, args: &[&str]) -> bool {
    let mut command = Command::new("sh");
    let shell = "ulimit -c unlimited 2>/dev/null; exec \"$@\"";
    command.args(["-c", shell, "sh"]).arg(spinlane());
    command.args(["proxy", "--listen", "127.0.0.1:0", "--device", "soft"]);
    command.args(args).current_dir(dir.path(""));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("  try") {
        line.clear();
        assert_ne!(
            std::io::BufRead::read_line(&mut said, &mut line).unwrap(),
            0
        );
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-ABRT", &pid])
            .status()
            .unwrap()
            .success()
    );
    child.wait().unwrap().core_dumped()
}

#[test]
fn no_core_is_dumped_unless_it_is_wished() {
    let dir = TempDir::new();
    if !dumps_core(&dir, &["--core-dumps"]) {
        // Past the test harness.
        let _ = std::io::stderr().write_all(b"SKIPPED: this system dumps no core\n");
        return;
    }
    assert!(!dumps_core(&dir, &[]));
}
