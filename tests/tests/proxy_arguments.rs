//! What `spinlane proxy` says to arguments it cannot use: culprit and remedy.

#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::Command;

use spinlane_tests::identity::self_signed;
use spinlane_tests::program::{TempDir, cores, has, run, spinlane};
use spinlane_tests::proxy::Proxy;

/// Starts a proxy that is expected to fail; returns what it says.
fn complaint(args: &[&str]) -> String {
    let output = run(
        Command::new(spinlane())
            .arg("proxy")
            .args(args)
            .env("NO_COLOR", "1"),
        b"",
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} is accepted");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    said
}

#[track_caller]
fn complains(args: &[&str], about: &[&str]) {
    let said = complaint(args);
    for part in about {
        assert!(
            said.contains(part),
            "{args:?}: {part:?} is missing in: {said}"
        );
    }
}

#[test]
fn values_that_mean_nothing() {
    complains(&["--listen", "nowhere"], &["--listen nowhere", "HOST:PORT"]);
    complains(
        &["--listen", "127.0.0.1:99999"],
        &["--listen 127.0.0.1:99999", "\"99999\" is no port"],
    );
    complains(
        &["--backend", "127.0.0.1"],
        &["--backend 127.0.0.1", "HOST:PORT"],
    );
    complains(
        &["--backend", "127.0.0.1:0"],
        &["--backend 127.0.0.1:0", "port 0"],
    );
    complains(
        &["--backend", "no-such-host.invalid:80"],
        &["--backend no-such-host.invalid:80", "resolved"],
    );
    for option in ["--listen", "--metrics"] {
        complains(
            &[option, "unix:/run/socket"],
            &[option, "unix:/run/socket", "only TCP is spoken here"],
        );
    }
    complains(
        &["--backend", "unix:socket"],
        &["--backend unix:socket", "does not begin at the root"],
    );
    complains(&["--cores", "x"], &["--cores", "\"x\" is no core number"]);
    complains(
        &["--cores", "4095"],
        &["--cores", "core 4095 does not exist", "usable cores"],
    );
    let core = cores()[0];
    complains(
        &["--cores", &format!("{core},{core}")],
        &["--cores", &format!("core {core} is named twice")],
    );
    complains(
        &["--device", "abacus"],
        &["--device abacus", "unknown device", "auto, mb, soft"],
    );
    complains(
        &["--device", "lookaside:soft"],
        &[
            "--device lookaside:soft",
            "@CORE is missing",
            "lookaside:mb@1",
        ],
    );
    complains(
        &["--device", "lookaside:soft@4095"],
        &["--device", "crypto core 4095 does not exist"],
    );
    complains(
        &["--metrics", "nowhere"],
        &["--metrics nowhere", "HOST:PORT"],
    );
    complains(
        &["--tls", "gnutls"],
        &["--tls", "gnutls", "rustls, openssl"],
    );
    complains(&["--min-protocol", "1.1"], &["--min-protocol", "1.2, 1.3"]);
    complains(&["--tickets", "17"], &["--tickets", "16"]);
    complains(
        &["--handshake-timeout", "soon"],
        &["--handshake-timeout", "seconds"],
    );
    complains(&["--max-connections", "0"], &["--max-connections", "1.."]);
    complains(&["--alpn", ""], &["--alpn", "1 to 255 bytes"]);
    complains(
        &["--self-signed", "dsa"],
        &["--self-signed", "p256, rsa2048"],
    );
}

#[test]
fn a_core_that_is_to_serve_and_to_compute() {
    let core = cores()[0].to_string();
    let device = format!("lookaside:soft@{core},sleep_us=50");
    let proxy = Proxy::start(&["--cores", &core, "--device", &device]);
    let warning = format!("core {core} is one of --cores and a crypto core");
    proxy.wait_until("a warning", |proxy| proxy.log().contains(&warning));
    proxy.stop();
}

#[test]
fn more_connections_than_the_system_has_stacks_for() {
    let core = cores()[0].to_string();
    let proxy = Proxy::start(&["--cores", &core, "--max-connections", "1048576"]);
    proxy.wait_until("a warning", |proxy| {
        proxy.log().contains("`sysctl vm.max_map_count=")
    });
    assert!(proxy.s_client(&[]).contains("200 OK"));
    proxy.stop();
}

#[test]
fn addresses_that_cannot_be_listened_on() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    complains(
        &["--listen", &address],
        &["--listen", &address, "in use", "free the port"],
    );
    complains(
        &["--listen", "127.0.0.1:0", "--metrics", &address],
        &["--metrics", &address, "in use", "free the port"],
    );
    // An address for documentation (RFC 5737) is no machine's.
    complains(
        &["--listen", "192.0.2.1:1"],
        &["--listen 192.0.2.1:1", "cannot listen there"],
    );
}

#[test]
fn files_that_are_not_what_they_should_be() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let (one, other) = (
        self_signed(&dir, "one", "p256"),
        self_signed(&dir, "other", "rsa2048"),
    );
    let noise = dir.file("noise.pem", b"this is no PEM");
    let missing = dir.path("missing.pem");
    let files = [&one.certificate, &one.key, &other.key, &noise, &missing];
    let [cert, key, other_key, noise, missing] = files.map(|path| path.to_str().unwrap());

    complains(&["--cert", cert], &["--key"]);
    complains(&["--key", key], &["--cert"]);
    complains(
        &["--cert", cert, "--key", other_key],
        &["--cert", cert, "--key", other_key, "do not match"],
    );
    complains(
        &["--cert", missing, "--key", key],
        &["--cert", missing, "No such file"],
    );
    complains(
        &["--cert", cert, "--key", missing],
        &["--key", missing, "No such file"],
    );
    complains(
        &["--cert", noise, "--key", key],
        &["--cert", noise, "no certificate"],
    );
    complains(
        &["--cert", cert, "--key", noise],
        &["--key", noise, "no private key"],
    );
    complains(
        &["--cert", key, "--key", key],
        &["--cert", key, "no certificate"],
    );
    // What has no end is not read to it.
    let endless = "/dev/zero";
    complains(
        &["--cert", endless, "--key", key],
        &["--cert", endless, "longer than 4 MiB"],
    );
    complains(
        &["--cert", cert, "--key", endless],
        &["--key", endless, "longer than 4 MiB"],
    );
    complains(
        &["--client-ca", endless],
        &["--client-ca", endless, "longer than 4 MiB"],
    );
    complains(
        &["--client-ca", missing],
        &["--client-ca", missing, "No such file"],
    );
    complains(
        &["--client-ca", noise],
        &["--client-ca", noise, "no certificate"],
    );
}

#[test]
fn devices_are_listed_with_what_they_offer() {
    let output = run(Command::new(spinlane()).arg("devices"), b"");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let line = |device: &str| {
        said.lines()
            .find(|line| line.split(' ').next() == Some(device))
    };
    assert!(
        line("soft")
            .is_some_and(|soft| soft.contains("available, 1 lane") && soft.contains("rsa2048")),
        "{said}"
    );
    assert!(
        line("auto").is_some_and(|auto| auto.contains("stands for")),
        "{said}"
    );
    assert!(
        line("mb")
            .is_some_and(|mb| mb.contains("available, 8 lanes") || mb.contains("is missing;")),
        "{said}"
    );
}

/// Nothing about lanes is known of a CPU on which nothing was measured.
#[test]
fn from_how_many_ops_on_lanes_pay_is_said_of_the_cpu_that_the_program_runs_on() {
    let fills = |command: &mut Command| {
        let output = run(command.arg("devices"), b"");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let of_mb = said.lines().find(|line| line.starts_with("mb "));
        let kinds = of_mb.and_then(|mb| mb.split("ops: ").nth(1)?.split(';').next());
        let kinds = kinds.map_or(0, |kinds| kinds.split(", ").count());
        let fills = said.lines().filter(|line| line.contains("lanes pay"));
        assert_eq!(fills.count(), kinds, "{said}");
        kinds
    };
    fills(&mut Command::new(spinlane()));
    if has("qemu-x86_64") {
        let mut without_lanes = Command::new("qemu-x86_64");
        let kinds = fills(without_lanes.args(["-cpu", "Haswell"]).arg(spinlane()));
        assert_eq!(kinds, 0, "it has no AVX-512");
    }
}
