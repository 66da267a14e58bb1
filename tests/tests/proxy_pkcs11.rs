//! `spinlane proxy` with keys that stay on a PKCS#11 token: SoftHSM2, behind a module that does what hardware
//! does wrong.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream};

use spinlane_pkcs11_shim::{Control, Counter, Knob};
use spinlane_tests::identity::{Identity, self_signed};
use spinlane_tests::program::{TempDir, has, run, spinlane, two_cores};
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
        self.identity_on("web", kind, id)
    }

    fn identity_on(&self, label: &str, kind: &str, id: &str) -> (Identity, String) {
        let identity = self_signed(&self.dir, kind, kind);
        let pkcs8 = self.dir.path("pkcs8");
        let mut convert = Command::new("openssl");
        convert.args(["pkcs8", "-topk8", "-nocrypt", "-in"]);
        convert.arg(&identity.key).arg("-out").arg(&pkcs8);
        assert!(run(&mut convert, b"").status.success());
        let file = pkcs8.to_str().unwrap();
        let of = ["--token", label, "--label", kind, "--id", id, "--pin", PIN];
        self.util(&[&["--import", file][..], &of].concat());
        std::fs::remove_file(&identity.key).unwrap();
        std::fs::remove_file(&pkcs8).unwrap();
        let uri = self.uri(kind);
        (
            identity,
            uri.replace("token=web", &format!("token={label}")),
        )
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

#[test]
fn a_token_without_public_keys_serves_by_that_of_the_certificate() {
    let Some(token) = Token::new() else {
        return;
    };
    if !has("pkcs11-tool") {
        return;
    }
    let (p256, key) = token.identity("p256", "01");
    let (other, _) = token.identity("p384", "02");
    for label in ["p256", "p384"] {
        let mut tool = token.command("pkcs11-tool");
        tool.args([
            "--module",
            MODULE,
            "--token-label",
            "web",
            "--login",
            "--pin",
            PIN,
        ]);
        tool.args(["--delete-object", "--type", "pubkey", "--label", label]);
        let output = run(&mut tool, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    let arguments = ["--cert", certificate(&p256), "--key", &key];
    let proxy = Proxy::start_as(token.command(spinlane()), &arguments);
    let said = proxy.s_client(&["-sigalgs", "ECDSA+SHA256"]);
    assert!(said.contains("HTTP/1.1 200"), "{said}");
    // The certificate of another key shows by the signature that is tried at the start.
    token.refused(&other, &["--key", &key], &["--key pkcs11:", "object=p256"]);
}

#[test]
fn a_token_that_pads_for_itself_serves_tls_1_3_by_rsa() {
    let Some(token) = Token::new() else {
        return;
    };
    let hidden = Control::HIDE_RSA_RAW | Control::HIDE_RSA_PKCS;
    token.control.set(Knob::Hide, hidden);
    let (rsa, key) = token.identity("rsa2048", "01");
    let arguments = ["--cert", certificate(&rsa), "--key", &key];
    let proxy = Proxy::start_as(token.command(spinlane()), &arguments);
    for hash in ["SHA256", "SHA384", "SHA512"] {
        let said = proxy.s_client(&["-sigalgs", &format!("RSA-PSS+{hash}")]);
        assert!(said.contains("HTTP/1.1 200"), "{said}");
        assert_eq!(signature_type(&said), "RSA-PSS", "{said}");
    }
    let hidden = Control::HIDE_RSA_RAW | Control::HIDE_RSA_PSS;
    token.control.set(Knob::Hide, hidden);
    token.refused(
        &rsa,
        &["--key", &key],
        &["CKM_RSA_PKCS_PSS", "--key pkcs11:"],
    );
}

#[test]
fn sighup_takes_new_keys_and_tokens_and_closes_the_sessions_of_old_ones() {
    let Some(token) = Token::new() else {
        return;
    };
    let (first, first_key) = token.identity("p256", "01");
    let init = ["--init-token", "--free", "--label", "new", "--pin", PIN];
    token.util(&[&init[..], &["--so-pin", "12345678"]].concat());
    let (second, second_key) = token.identity_on("new", "p384", "01");
    let (cert, key) = (token.dir.path("served.pem"), token.dir.path("served.key"));
    let copy = |identity: &Identity| std::fs::copy(&identity.certificate, &cert).unwrap();
    copy(&first);
    token
        .dir
        .file("served.key", format!("{first_key}\n").as_bytes());
    let arguments = [
        "--cert",
        cert.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    let proxy = Proxy::start_as(token.command(spinlane()), &arguments);
    let serves = |scheme: &str| {
        proxy
            .s_client(&["-sigalgs", scheme])
            .contains("HTTP/1.1 200")
    };
    assert!(serves("ECDSA+SHA256"));
    let open = || token.control.count(Counter::Opened) - token.control.count(Counter::Closed);
    assert_eq!(open(), 1, "that of the handshake");

    // Another token.
    copy(&second);
    token.dir.file("served.key", second_key.as_bytes());
    proxy.signal("HUP");
    proxy.wait_until("the new key serves", |_| serves("ECDSA+SHA384"));
    proxy.wait_until("the old token's sessions are closed", |_| open() == 1);
    assert!(!serves("ECDSA+SHA256"), "the old key has gone");
    assert!(proxy.log().contains("its sessions are closed by SIGHUP"));

    // And back.
    copy(&first);
    token.dir.file("served.key", first_key.as_bytes());
    proxy.signal("HUP");
    proxy.wait_until("the first key serves again", |_| serves("ECDSA+SHA256"));
    proxy.wait_until("the second token's sessions are closed", |_| open() == 1);

    // What cannot be used changes nothing.
    token.dir.file(
        "served.key",
        b"pkcs11:token=nowhere;object=x?module-name=softhsm2",
    );
    proxy.signal("HUP");
    proxy.wait_until("the refusal", |proxy| {
        proxy.log().contains("nothing is changed by SIGHUP")
    });
    assert!(serves("ECDSA+SHA256"));
    let ended = proxy.stop();
    assert!(ended.status.success(), "{}", ended.stderr);
}

/// What others meet: handshakes with a key in a file, and requests on a connection that is open.
#[derive(Default)]
struct Probe {
    handshakes: Vec<Duration>,
    requests: Vec<Duration>,
}

impl Probe {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    /// One handshake and one request each 2 ms.
    fn run(&mut self, proxy: SocketAddr, time: Duration) {
        let mut open = connect(proxy, "ECDSA+SHA384").unwrap();
        let end = Instant::now() + time;
        while Instant::now() < end {
            let start = Instant::now();
            open.write_all(Self::REQUEST).unwrap();
            let mut answer = [0; 4096];
            assert_ne!(open.read(&mut answer).unwrap(), 0);
            self.requests.push(start.elapsed());
            let start = Instant::now();
            let mut fresh = connect(proxy, "ECDSA+SHA384").unwrap();
            self.handshakes.push(start.elapsed());
            fresh.write_all(Self::CLOSE).unwrap();
            let _ = fresh.read_to_end(&mut Vec::new());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn p99(mut times: Vec<Duration>) -> f64 {
        times.sort();
        times[times.len() * 99 / 100].as_secs_f64() * 1e6
    }
}

fn connect(proxy: SocketAddr, scheme: &str) -> Option<SslStream<TcpStream>> {
    // A connector would read the system's roots each time.
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    context.set_sigalgs_list(scheme).unwrap();
    let socket = TcpStream::connect(proxy).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut ssl = Ssl::new(&context.build()).unwrap();
    ssl.set_hostname("localhost").unwrap();
    ssl.connect(socket).ok()
}

/// Prints the 99th percentiles of what does not need the token, while the token is saturated or stuck, beside those
/// without any load on it: `cargo test --package spinlane-tests --test proxy_pkcs11 -- --ignored --nocapture`. The proxy is on
/// the first core, all else on the others.
#[test]
#[ignore = "prints figures"]
fn p99_of_what_does_not_need_the_token() {
    const WAITING: usize = 48;
    const ROUND: Duration = Duration::from_secs(3);
    let (Some(token), Some([core, others])) = (Token::new(), two_cores()) else {
        return;
    };
    assert!(core_affinity::set_for_current(CoreId { id: others }));
    let (p256, key) = token.identity("p256", "01");
    let file = self_signed(&token.dir, "file", "p384");
    let mut command = Command::new("taskset");
    command.args(["-c", &format!("{core},{others}")]);
    let program = token.command(spinlane());
    command.arg(program.get_program());
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap());
    }
    let (core, file_key) = (core.to_string(), file.key.to_str().unwrap());
    let arguments = [
        "--cores",
        &core,
        "--cert",
        certificate(&p256),
        "--key",
        &key,
    ];
    let rest = ["--cert", certificate(&file), "--key", file_key];
    let proxy = Proxy::start_as(command, &[&arguments[..], &rest].concat());
    let address = proxy.address;

    let mut found: BTreeMap<&str, Vec<[f64; 2]>> = BTreeMap::new();
    for (round, name) in ["idle", "saturated", "idle", "stuck"]
        .iter()
        .cycle()
        .enumerate()
    {
        if round == 16 {
            break;
        }
        match *name {
            // 16 signatures a second: clients that wait, and little else to do for them.
            "saturated" => token.control.set(Knob::LatencyUs, 1_000_000),
            "stuck" => token.control.set(Knob::Hang, 1 << 32),
            _ => {}
        }
        let stop = AtomicBool::new(false);
        let mut probe = Probe::default();
        thread::scope(|scope| {
            let load = || {
                while !stop.load(Ordering::Relaxed) {
                    drop(connect(address, "ECDSA+SHA256"));
                }
            };
            if *name != "idle" {
                (0..WAITING).for_each(|_| drop(scope.spawn(load)));
                thread::sleep(Duration::from_millis(500));
            }
            probe.run(address, ROUND);
            stop.store(true, Ordering::Relaxed);
            token.control.set(Knob::Hang, 0);
            token.control.set(Knob::Release, round as u64 + 1);
            token.control.set(Knob::LatencyUs, 0);
        });
        let p99 = [Probe::p99(probe.handshakes), Probe::p99(probe.requests)];
        println!(
            "{name}: handshakes {:.0}, requests {:.0} us",
            p99[0], p99[1]
        );
        found.entry(name).or_default().push(p99);
    }
    let median = |name: &str, which: usize| {
        let mut all: Vec<_> = found[name].iter().map(|p99| p99[which]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    for (which, what) in ["handshakes", "requests"].iter().enumerate() {
        let idle = median("idle", which);
        println!("{what}: p99 {idle:.0} us without load on the token");
        for name in ["saturated", "stuck"] {
            let p99 = median(name, which);
            println!("{what}: p99 {p99:.0} us, {name}: {:.2} of that", p99 / idle);
        }
    }
}
