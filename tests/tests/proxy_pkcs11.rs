//! `spinlane proxy` with keys that stay on a PKCS#11 token: SoftHSM2, behind a module that does what hardware
//! does wrong.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use spinlane_pkcs11_shim::{Control, Counter, Knob};
use spinlane_tests::identity::{Identity, self_signed};
use spinlane_tests::program::{TempDir, has, run, spinlane};
use spinlane_tests::proxy::{Proxy, signature_type};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "1234";

/// A token with keys, and the shim in front of it.
struct Token {
    dir: TempDir,
    control: Control,
    shim: PathBuf,
}

impl Token {
    /// `None`, said aloud, where there is no SoftHSM2.
    fn new() -> Option<Self> {
        if !has("openssl") {
            return None;
        }
        if !PathBuf::from(MODULE).exists() {
            let test = std::thread::current().name().unwrap_or("test").to_owned();
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {test}: {MODULE} is missing; `make test` installs it"
            );
            return None;
        }
        let dir = TempDir::new();
        let tokens = dir.path("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let configuration = format!("directories.tokendir = {}\n", tokens.display());
        dir.file("softhsm2.conf", configuration.as_bytes());
        dir.file("pin", PIN.as_bytes());
        // <target>/<profile>/deps/<this test>
        let test = std::env::current_exe().unwrap();
        let token = Self {
            control: Control::open(&dir.path("control")).unwrap(),
            shim: test.with_file_name("libspinlane_pkcs11_shim.so"),
            dir,
        };
        let init = ["--init-token", "--free", "--label", "web", "--pin", PIN];
        token.util(&[&init[..], &["--so-pin", "12345678"]].concat());
        Some(token)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("SOFTHSM2_CONF", self.dir.path("softhsm2.conf"))
            .env("PKCS11_SHIM_MODULE", MODULE)
            .env("PKCS11_SHIM_CONTROL", self.dir.path("control"));
        command
    }

    fn util(&self, arguments: &[&str]) {
        let mut util = self.command("softhsm2-util");
        let output = run(util.args(arguments), b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }

    /// A certificate whose key is on the token alone, and the key's URI.
    fn identity(&self, kind: &str, id: &str) -> (Identity, String) {
        let identity = self_signed(&self.dir, kind, kind);
        let pkcs8 = self.dir.path("pkcs8");
        let mut convert = Command::new("openssl");
        convert.args(["pkcs8", "-topk8", "-nocrypt", "-in"]);
        convert.arg(&identity.key).arg("-out").arg(&pkcs8);
        assert!(run(&mut convert, b"").status.success());
        let file = pkcs8.to_str().unwrap();
        let of = ["--token", "web", "--label", kind, "--id", id, "--pin", PIN];
        self.util(&[&["--import", file][..], &of].concat());
        std::fs::remove_file(&identity.key).unwrap();
        std::fs::remove_file(&pkcs8).unwrap();
        (identity, self.uri(kind))
    }

    fn uri(&self, object: &str) -> String {
        let (shim, pin) = (self.shim.display(), self.dir.path("pin"));
        let pin = pin.display();
        format!(
            "pkcs11:token=web;object={object};type=private?module-path={shim}&pin-source=file:{pin}"
        )
    }

    /// What a proxy says that refuses to start.
    #[track_caller]
    fn refused(&self, certificate: &Identity, arguments: &[&str], says: &[&str]) {
        let mut proxy = self.command(spinlane());
        proxy.args(["proxy", "--listen", "127.0.0.1:0", "--cert"]);
        proxy.arg(&certificate.certificate).args(arguments);
        let output = run(&mut proxy, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} is accepted");
        for part in says {
            assert!(said.contains(part), "{part:?} is missing in: {said}");
        }
        assert!(!said.contains(PIN), "{said}");
    }
}

fn certificate(identity: &Identity) -> &str {
    identity.certificate.to_str().unwrap()
}

#[test]
fn keys_on_a_token_serve_beside_those_in_files() {
    let Some(token) = Token::new() else {
        return;
    };
    let (p256, p256_key) = token.identity("p256", "01");
    let (rsa, rsa_key) = token.identity("rsa2048", "02");
    let file = self_signed(&token.dir, "file", "p384");
    let files = [certificate(&p256), certificate(&rsa), certificate(&file)];
    let keys = [&p256_key, &rsa_key, file.key.to_str().unwrap()];
    let pairs = files.into_iter().zip(keys);
    let arguments: Vec<_> = pairs
        .flat_map(|(file, key)| ["--cert", file, "--key", key])
        .collect();
    let proxy = Proxy::start_as(token.command(spinlane()), &arguments);
    let said = proxy.said();
    assert!(said.contains("stays on its token, ecdsa-p256"), "{said}");
    assert!(said.contains("stays on its token, rsa2048"), "{said}");

    let before = token.control.count(Counter::Succeeded);
    let ecdsa = proxy.s_client(&["-sigalgs", "ECDSA+SHA256"]);
    assert!(ecdsa.contains("HTTP/1.1 200"), "{ecdsa}");
    assert_eq!(signature_type(&ecdsa), "ECDSA", "{ecdsa}");
    let pss = proxy.s_client(&["-sigalgs", "RSA-PSS+SHA256"]);
    assert!(pss.contains("HTTP/1.1 200"), "{pss}");
    let pkcs1 = proxy.s_client(&["-tls1_2", "-sigalgs", "RSA+SHA256"]);
    assert!(pkcs1.contains("HTTP/1.1 200"), "{pkcs1}");
    assert_eq!(token.control.count(Counter::Succeeded), before + 3);
    let file = proxy.s_client(&["-sigalgs", "ECDSA+SHA384"]);
    assert!(file.contains("HTTP/1.1 200"), "{file}");
    assert_eq!(token.control.count(Counter::Succeeded), before + 3);

    // Every session is closed at the end.
    let ended = proxy.stop();
    assert!(ended.status.success(), "{}", ended.stderr);
    let open = token.control.count(Counter::Opened) - token.control.count(Counter::Closed);
    assert_eq!(open, 0);
}

#[test]
fn a_token_that_is_away_fails_its_own_handshakes_alone() {
    let Some(token) = Token::new() else {
        return;
    };
    let (p256, key) = token.identity("p256", "01");
    let file = self_signed(&token.dir, "file", "p384");
    let arguments = [
        "--cert",
        certificate(&p256),
        "--key",
        &key,
        "--cert",
        certificate(&file),
        "--key",
        file.key.to_str().unwrap(),
    ];
    let proxy = Proxy::start_as(token.command(spinlane()), &arguments);
    let on_token = || proxy.s_client(&["-sigalgs", "ECDSA+SHA256"]);
    let in_file = || proxy.s_client(&["-sigalgs", "ECDSA+SHA384"]);
    assert!(on_token().contains("HTTP/1.1 200"));
    for round in 0..3 {
        token.control.set(Knob::Absent, 1);
        for _ in 0..12 {
            assert!(!on_token().contains("HTTP/1.1 200"), "{round}");
        }
        assert!(in_file().contains("HTTP/1.1 200"), "{round}");
        token.control.set(Knob::Absent, 0);
        proxy.wait_until("the token serves again", |_| {
            on_token().contains("HTTP/1.1 200")
        });
    }
    let ended = proxy.stop();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("is back after"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_served_is_named_at_the_start() {
    let Some(token) = Token::new() else {
        return;
    };
    let (p256, key) = token.identity("p256", "01");
    let other = self_signed(&token.dir, "other", "p256");
    let none = token.uri("nothing");
    token.refused(&p256, &["--key", &none], &["no private key", "object=p256"]);
    token.refused(&other, &["--key", &key], &["--cert", "--key pkcs11:"]);
    let libssl = ["--key", &*key, "--tls", "openssl"];
    token.refused(&p256, &libssl, &["needs --tls rustls"]);
    let elsewhere = key.replace("token=web", "token=other");
    token.refused(
        &p256,
        &["--key", &elsewhere],
        &["no token fits", "token=web"],
    );
    let with_pin = format!("{key}&pin-value=4711");
    token.refused(
        &p256,
        &["--key", &with_pin],
        &["pin-value", "pin-source=file:"],
    );
    token.dir.file("pin", b"9999");
    token.refused(
        &p256,
        &["--key", &key],
        &["refuses the PIN", "not tried again"],
    );
}
