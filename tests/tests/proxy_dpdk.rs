//! `spinlane proxy` and `spinlane bench handshake` with DPDK's crypto_openssl.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::Command;
use std::sync::Barrier;

use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::program::{run, spinlane};
use spinlane_tests::proxy::Proxy;

/// Fewer descriptors than connections: most of them wait in the retry queue.
const DEVICE: &str = "dpdk:crypto_openssl,descriptors=64";

/// Whether the program is built with DPDK. If not, says so where the harness does not swallow it.
fn has_dpdk() -> bool {
    if !cfg!(feature = "dpdk") {
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: built without the feature dpdk; `make test` turns it on where DPDK is"
        );
    }
    cfg!(feature = "dpdk")
}

#[test]
fn a_ring_of_64_serves_256_connections_at_once() {
    if !has_dpdk() {
        return;
    }
    for tls in ["openssl", "rustls"] {
        let arguments = ["--device", DEVICE, "--tls", tls, "--self-signed", "rsa2048"];
        let proxy = Proxy::start(&arguments);
        let (ctx, all_open) = (context(), Barrier::new(256));
        std::thread::scope(|scope| {
            for _ in 0..256 {
                scope.spawn(|| {
                    let mut client = TlsClient::connect(proxy.address, &ctx, None).unwrap();
                    client.get().unwrap();
                    all_open.wait();
                    client.get().unwrap();
                });
            }
        });
        let ended = proxy.stop();
        assert_eq!(ended.count("handshakes ("), 256, "{}", ended.stdout);
        assert_eq!(ended.count("failed"), 0, "{}", ended.stdout);
        assert!(
            ended.stdout.contains("dpdk:crypto_openssl"),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn in_memory_handshakes_finish_on_a_ring_of_64() {
    if !has_dpdk() {
        return;
    }
    for tls in ["openssl", "rustls"] {
        let mut command = Command::new(spinlane());
        command.args(["bench", "handshake", "--device", DEVICE, "--tls", tls]);
        command.args(["--connections", "256", "--burst", "256", "--rounds", "1"]);
        let output = run(command.args(["--handshakes", "512", "--json"]), b"");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            report.to_string().contains("dpdk:crypto_openssl"),
            "{report}"
        );
    }
}

#[test]
fn what_the_device_does_not_have_is_not_called_offloaded() {
    if !has_dpdk() {
        return;
    }
    for tls in ["openssl", "rustls"] {
        for (key, says) in [
            ("rsa2048", "private key  offloaded, rsa2048"),
            (
                "p256",
                "private key  computed in place: the device has no ecdsa-p256",
            ),
        ] {
            let arguments = ["--device", DEVICE, "--tls", tls, "--self-signed", key];
            let proxy = Proxy::start(&arguments);
            let said = proxy.said();
            assert!(said.contains(says), "{tls}: {said}");
            let exchange = "key exchange computed in place: X25519, P-256, P-384";
            assert!(said.contains(exchange), "{tls}: {said}");
            proxy.stop();
        }
    }
}

#[test]
fn memory_that_cannot_be_had_is_named_by_its_option() {
    if !has_dpdk() {
        return;
    }
    for (option, culprit, remedy) in [
        ("descriptors=3", "descriptors=3", "a power of two"),
        (
            "socket_id=7",
            "that socket_id names",
            "leave socket_id away",
        ),
    ] {
        let device = format!("dpdk:crypto_openssl,{option}");
        let mut command = Command::new(spinlane());
        command.args(["proxy", "--listen", "127.0.0.1:0", "--device", &device]);
        let output = run(&mut command, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{option} is accepted");
        assert!(said.contains(culprit) && said.contains(remedy), "{said}");
    }
}
