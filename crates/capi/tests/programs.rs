//! The openssl program, which knows nothing of Spinlane: the library preloaded, the provider loaded by an
//! openssl.cnf. That it is really used is seen by its log.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use support::servers::{Running, free_port};
use support::{Identity, configuration, identity, scratch, succeed, text, with_spinlane};

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
