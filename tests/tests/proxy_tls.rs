//! `spinlane proxy` with other people's TLS clients: curl, `openssl s_client`.

#![forbid(unsafe_code)]

use std::process::Command;

use spinlane_tests::identity::{Identity, KEYS, issued, self_signed};
use spinlane_tests::program::{TempDir, has, run, text};
use spinlane_tests::proxy::{Ended, LIBRARIES, Proxy};

/// What curl says to these arguments: the body, the version of HTTP, the status.
fn curl(proxy: &Proxy, args: &[&str]) -> String {
    let url = format!("https://{}/", proxy.address);
    let output = run(
        Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--insecure",
                "--write-out",
                "%{http_code}",
            ])
            .args(args)
            .arg(url),
        b"",
    );
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

fn s_client(proxy: &Proxy, args: &[&str]) -> String {
    proxy.s_client(args)
}

#[test]
fn curl_gets_200_over_both_versions() {
    if !has("curl") {
        return;
    }
    for library in LIBRARIES {
        let proxy = Proxy::start(&["--tls", library, "--alpn", "http/1.1"]);
        for version in ["1.2", "1.3"] {
            let said = curl(&proxy, &[&format!("--tlsv{version}"), "--tls-max", version]);
            assert_eq!(said, "hello from spinlane\n200", "{library}, TLS {version}");
        }
        let ended = proxy.stop();
        assert_eq!(
            (ended.count("handshakes ("), ended.closed("finished")),
            (2, 2),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn the_lowest_version_is_kept_to() {
    if !has("curl") {
        return;
    }
    for library in LIBRARIES {
        let proxy = Proxy::start(&["--tls", library, "--min-protocol", "1.3"]);
        assert!(curl(&proxy, &["--tls-max", "1.2"]).contains("alert protocol version"));
        assert!(curl(&proxy, &["--tlsv1.3"]).ends_with("200"));
        let ended = proxy.stop();
        assert_eq!(ended.closed("nothing in common"), 1, "{}", ended.stdout);
    }
}

#[test]
fn every_kind_of_certificate_serves_both_versions() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    for ((kind, _), library) in KEYS
        .into_iter()
        .flat_map(|key| LIBRARIES.map(|tls| (key, tls)))
    {
        let identity = self_signed(&dir, kind, kind);
        let proxy = Proxy::start(&[
            "--tls",
            library,
            "--cert",
            text(&identity.certificate),
            "--key",
            text(&identity.key),
        ]);
        for version in ["-tls1_2", "-tls1_3"] {
            let said = s_client(&proxy, &[version]);
            assert!(
                said.contains("hello from spinlane"),
                "{library} {kind} {version}: {said}\n{}",
                proxy.log()
            );
        }
        let ended = proxy.stop();
        let offloaded = ended.stdout.contains("private key  offloaded");
        assert_eq!(offloaded, kind != "p521", "{kind}: {}", ended.stdout);
        assert_eq!(ended.count("handshakes ("), 2, "{kind}: {}", ended.stdout);
    }
}

/// Ops of this kind that devices completed, by the final counters.
fn completed(ended: &Ended, kind: &str) -> u64 {
    let counts = ended.stdout.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(kind)).then(|| words.nth(1)?.parse().ok())?
    });
    counts.max().unwrap_or(0)
}

#[test]
fn every_exchange_and_signature_of_libssl_goes_to_the_device() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let cases: [(&str, &[&str], &[&str]); 7] = [
        (
            "rsa2048",
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
            &["rsa2048"],
        ),
        (
            "p384",
            &["-tls1_3", "-groups", "X25519"],
            &["ecdsa-p384", "x25519-keygen", "x25519-derive"],
        ),
        (
            "p384",
            &["-tls1_2", "-groups", "P-384"],
            &["ecdsa-p384", "ecdh-p384-keygen", "ecdh-p384-derive"],
        ),
        (
            "ed25519",
            &["-tls1_3", "-groups", "P-256"],
            &["ed25519", "ecdh-p256-keygen", "ecdh-p256-derive"],
        ),
        ("ed25519", &["-tls1_2"], &["ed25519"]),
        (
            "p256",
            &["-tls1_3", "-groups", "P-384"],
            &["ecdsa-p256", "ecdh-p384-keygen", "ecdh-p384-derive"],
        ),
        (
            "rsa3072",
            &["-tls1_2", "-groups", "P-256"],
            &["rsa3072", "ecdh-p256-keygen", "ecdh-p256-derive"],
        ),
    ];
    for (key, client, kinds) in cases {
        let identity = self_signed(&dir, key, key);
        let (certificate, private) = (text(&identity.certificate), text(&identity.key));
        let proxy = Proxy::start(&["--tls", "openssl", "--cert", certificate, "--key", private]);
        let said = s_client(&proxy, client);
        assert!(said.contains("hello from spinlane"), "{client:?}: {said}");
        let ended = proxy.stop();
        for kind in kinds {
            assert_eq!(
                completed(&ended, kind),
                1,
                "{key} {client:?}: {kind}\n{}",
                ended.stdout
            );
        }
    }
}

#[test]
fn throw_away_certificates_serve_and_devices_can_be_chosen() {
    if !has("curl") {
        return;
    }
    for args in [["--self-signed", "rsa2048"], ["--self-signed", "p256"]] {
        let proxy = Proxy::start(&[&args[..], &["--device", "soft"]].concat());
        assert!(curl(&proxy, &[]).ends_with("200"), "{args:?}");
        let ended = proxy.stop();
        assert!(ended.stdout.contains("device soft"), "{}", ended.stdout);
    }
}

#[test]
fn sessions_are_resumed_unless_tickets_are_off() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    for (library, tickets, resumptions) in [
        ("rustls", "2", 2),
        ("rustls", "0", 0),
        ("openssl", "2", 2),
        ("openssl", "0", 0),
    ] {
        let proxy = Proxy::start(&["--tls", library, "--tickets", tickets]);
        for version in ["-tls1_2", "-tls1_3"] {
            let session = dir.path(&format!("session{version}{tickets}{library}"));
            let first = s_client(&proxy, &[version, "-sess_out", text(&session)]);
            assert!(first.contains("New, TLSv1"), "{first}");
            if session.exists() {
                let second = s_client(&proxy, &[version, "-sess_in", text(&session)]);
                assert_eq!(
                    second.contains("Reused, TLSv1"),
                    resumptions != 0,
                    "{second}"
                );
            }
        }
        let ended = proxy.stop();
        assert_eq!(ended.count("resumed"), resumptions, "{}", ended.stdout);
    }
}

#[test]
fn client_certificates_are_demanded_and_checked() {
    if !has("openssl") || !has("curl") {
        return;
    }
    let dir = TempDir::new();
    let (ca, stranger) = (
        self_signed(&dir, "ca", "p256"),
        self_signed(&dir, "stranger", "rsa2048"),
    );
    let client = issued(&dir, "client", "p256", &ca, "DNS:client");
    let stranger = issued(&dir, "imposter", "rsa2048", &stranger, "DNS:client");
    for library in LIBRARIES {
        let proxy = Proxy::start(&["--tls", library, "--client-ca", text(&ca.certificate)]);
        let said = proxy.said();
        assert!(said.contains("--cert CLIENT.PEM"), "{said}");
        for version in ["1.2", "1.3"] {
            let with = |args: &[&str]| {
                let versions = ["--tlsv1.2", "--tls-max", version];
                curl(&proxy, &[&versions, args].concat())
            };
            let of = |identity: &Identity| {
                let (certificate, key) = (text(&identity.certificate), text(&identity.key));
                with(&["--cert", certificate, "--key", key])
            };
            let identified = of(&client);
            assert!(identified.ends_with("200"), "{version}: {identified}");
            assert!(with(&[]).contains("alert"), "{version}");
            assert!(of(&stranger).contains("alert"), "{version}");
        }
        let ended = proxy.stop();
        assert_eq!(ended.closed("client certificate"), 4, "{}", ended.stdout);
    }
}

#[test]
fn a_protocol_is_chosen_by_alpn() {
    if !has("openssl") {
        return;
    }
    for library in LIBRARIES {
        let proxy = Proxy::start(&["--tls", library, "--alpn", "acme/9,http/1.1"]);
        assert!(s_client(&proxy, &["-alpn", "h2,http/1.1"]).contains("ALPN protocol: http/1.1"));
        assert!(s_client(&proxy, &["-alpn", "http/1.1,acme/9"]).contains("ALPN protocol: acme/9"));
        assert!(s_client(&proxy, &["-alpn", "h2"]).contains("No ALPN negotiated"));
        proxy.stop();
    }
}

#[test]
fn a_client_that_distrusts_the_certificate_says_so() {
    if !has("curl") {
        return;
    }
    let proxy = Proxy::start(&[]);
    let url = format!("https://{}/", proxy.address);
    let output = run(Command::new("curl").args(["--silent", &url]), b"");
    assert_eq!(
        output.status.code(),
        Some(60),
        "curl's exit status for an untrusted certificate"
    );
    assert_eq!(proxy.stop().closed("client alert"), 1);
}

#[test]
fn counters_are_printed_as_often_as_asked() {
    if !has("curl") {
        return;
    }
    let proxy = Proxy::start(&["--stats-interval", "0.05", "--device", "soft"]);
    assert!(curl(&proxy, &[]).ends_with("200"));
    proxy.wait_until("counters of the handshake", |proxy| {
        let said = proxy.said();
        let last = said.rsplit("core ").next().unwrap_or("");
        last.contains("0 open") && last.contains(" 1 responses") && last.contains("x25519-exchange")
    });
    proxy.wait_until("more of them", |proxy| {
        proxy.said().matches("connections   ").count() > 2
    });
    proxy.stop();
}
