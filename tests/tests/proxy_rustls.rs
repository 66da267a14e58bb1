//! What `spinlane proxy --tls rustls` does beyond libssl: several certificates, reload, rotating
//! ticket keys on several cores; and every group and signature algorithm with `openssl s_client`.

#![forbid(unsafe_code)]

use std::process::Command;

use spinlane_tests::identity::{Identity, issued, self_signed};
use spinlane_tests::program::{TempDir, cores, has, run, spinlane, text, two_cores};
use spinlane_tests::proxy::{LIBRARIES, Proxy, signature_type};

fn s_client(proxy: &Proxy, args: &[&str]) -> String {
    proxy.s_client(args)
}

fn arguments(identities: &[&Identity]) -> Vec<String> {
    let pairs = identities.iter().flat_map(|identity| {
        let (certificate, key) = (text(&identity.certificate), text(&identity.key));
        ["--cert", certificate, "--key", key].map(str::to_owned)
    });
    pairs.collect()
}

fn start(arguments: &[String], more: &[&str]) -> Proxy {
    let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
    all.extend(more);
    Proxy::start(&all)
}

#[test]
fn certificates_are_chosen_by_name_and_by_what_the_client_can_verify() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let ca = self_signed(&dir, "ca", "p256");
    let make = |name: &str, kind, names| issued(&dir, name, kind, &ca, names);
    let first = make("first", "p256", "DNS:localhost");
    let other = make("other", "p256", "DNS:other.example,DNS:*.wild.example");
    let rsa = make("rsa", "rsa2048", "DNS:other.example");
    let proxy = start(&arguments(&[&first, &other, &rsa]), &[]);
    for (name, wanted) in [
        ("localhost", "first"),
        ("unknown.example", "first"),
        ("other.example", "other"),
        ("OTHER.example", "other"),
        ("a.wild.example", "other"),
        ("wild.example", "first"),
        ("a.b.wild.example", "first"),
    ] {
        let said = s_client(&proxy, &["-servername", name]);
        let subject = format!("subject=CN={wanted}");
        assert!(said.contains(&subject), "{name}: {said}");
        assert!(said.contains("hello from spinlane"), "{name}: {said}");
    }
    let rsa_only = [
        "-servername",
        "other.example",
        "-sigalgs",
        "rsa_pss_rsae_sha256",
    ];
    let said = s_client(&proxy, &rsa_only);
    assert!(said.contains("subject=CN=rsa"), "{said}");
    assert!(s_client(&proxy, &["-noservername"]).contains("subject=CN=first"));
    proxy.stop();
}

#[test]
fn sighup_reads_certificates_again_and_drops_nobody() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    for library in ["rustls", "openssl"] {
        let served = self_signed(&dir, "served", "p256");
        let proxy = start(&arguments(&[&served]), &["--tls", library]);
        let context = spinlane_tests::client::context();
        let mut open = spinlane_tests::client::TlsClient::connect(proxy.address, &context, None)
            .expect("a connection");
        assert!(s_client(&proxy, &[]).contains("subject=CN=served"));
        let renewed = self_signed(&dir, "renewed", "rsa2048");
        for (from, to) in [
            (&renewed.certificate, &served.certificate),
            (&renewed.key, &served.key),
        ] {
            std::fs::copy(from, to).expect("files can be copied");
        }
        proxy.signal("HUP");
        proxy.wait_until("the new certificate", |proxy| {
            s_client(proxy, &[]).contains("subject=CN=renewed")
        });
        // What cannot be read changes nothing.
        std::fs::write(&served.certificate, "nonsense").expect("a file can be written");
        proxy.signal("HUP");
        proxy.wait_until("a complaint", |proxy| {
            proxy.log().contains("nothing is changed")
        });
        assert!(s_client(&proxy, &[]).contains("subject=CN=renewed"));
        open.get().expect("an answer on the old connection");
        drop(open);
        proxy.stop();
    }
}

#[test]
fn every_group_and_signature_algorithm_works_with_openssl() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let (rsa, p256) = (
        self_signed(&dir, "rsa", "rsa2048"),
        self_signed(&dir, "p256", "p256"),
    );
    let proxy = start(&arguments(&[&rsa, &p256]), &[]);
    for version in ["-tls1_2", "-tls1_3"] {
        for group in ["X25519", "P-256", "P-384"] {
            // TLS 1.2 wants the certificate's curve in the list as well.
            let said = s_client(
                &proxy,
                &[version, "-groups", group, "-sigalgs", "RSA-PSS+SHA256"],
            );
            assert!(
                said.contains("hello from spinlane"),
                "{version} {group}: {said}"
            );
        }
        for (algorithm, kind) in [
            ("rsa_pss_rsae_sha256", "RSA-PSS"),
            ("rsa_pss_rsae_sha384", "RSA-PSS"),
            ("rsa_pss_rsae_sha512", "RSA-PSS"),
            ("ECDSA+SHA256", "ECDSA"),
        ] {
            let said = s_client(&proxy, &[version, "-sigalgs", algorithm]);
            assert!(
                said.contains("hello from spinlane"),
                "{version} {algorithm}: {said}"
            );
            assert!(
                signature_type(&said).starts_with(kind),
                "{version} {algorithm}: {said}"
            );
        }
    }
    for algorithm in ["RSA+SHA256", "RSA+SHA384", "RSA+SHA512"] {
        let said = s_client(&proxy, &["-tls1_2", "-sigalgs", algorithm]);
        assert!(said.contains("hello from spinlane"), "{algorithm}: {said}");
    }
    for (version, suite) in [
        ("-tls1_3", "TLS_AES_128_GCM_SHA256"),
        ("-tls1_3", "TLS_AES_256_GCM_SHA384"),
        ("-tls1_3", "TLS_CHACHA20_POLY1305_SHA256"),
        ("-tls1_2", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("-tls1_2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("-tls1_2", "ECDHE-RSA-CHACHA20-POLY1305"),
    ] {
        let option = if version == "-tls1_3" {
            "-ciphersuites"
        } else {
            "-cipher"
        };
        let said = s_client(&proxy, &[version, option, suite]);
        assert!(said.contains("hello from spinlane"), "{suite}: {said}");
    }
    let ended = proxy.stop();
    assert_eq!(ended.count("failed"), 0, "{}", ended.stdout);
}

#[test]
fn the_suite_is_the_one_that_is_preferred() {
    if !has("openssl") {
        return;
    }
    // Of TLS 1.3 and of TLS 1.2, where s_client has AES-256 first.
    for (prefer, suites) in [
        (&[][..], ["TLS_AES_128_GCM", "AES128-GCM"]),
        (&["--prefer", "aes256"], ["TLS_AES_256_GCM", "AES256-GCM"]),
        (&["--prefer", "client"], ["TLS_AES_256_GCM", "AES256-GCM"]),
    ] {
        for library in LIBRARIES {
            let proxy = Proxy::start(&[&["--tls", library], prefer].concat());
            for (version, suite) in ["-tls1_3", "-tls1_2"].into_iter().zip(suites) {
                let said = s_client(&proxy, &[version]);
                assert!(said.contains(suite), "{library} {prefer:?}: {said}");
            }
        }
    }
}

#[test]
fn a_session_of_one_core_is_resumed_on_another() {
    let (true, Some([one, other])) = (has("openssl"), two_cores()) else {
        return;
    };
    let dir = TempDir::new();
    let proxy = Proxy::start(&["--cores", &format!("{one},{other}")]);
    let session = dir.path("session");
    s_client(&proxy, &["-sess_out", text(&session)]);
    // The kernel spreads connections over the cores: of twenty, some go to each.
    for _ in 0..20 {
        let said = s_client(&proxy, &["-sess_in", text(&session)]);
        assert!(said.contains("Reused, TLSv1.3"), "{said}");
    }
    let ended = proxy.stop();
    assert_eq!(ended.count("resumed"), 20, "{}", ended.stdout);
    for core in [one, other] {
        let last = ended.stdout.rsplit(&format!("core {core}:")).next();
        let accepted = last.and_then(|last| last.lines().nth(1)).unwrap_or("");
        assert!(!accepted.contains(" 0 accepted"), "{}", ended.stdout);
    }
}

#[test]
fn a_hello_that_never_ends_is_counted_and_bounded() {
    use std::io::{Read, Write};
    let proxy = Proxy::start(&["--max-handshake-bytes", "20480"]);
    let mut socket = std::net::TcpStream::connect(proxy.address).expect("a connection");
    // A handshake message of 65 000 bytes in records of a thousand.
    let mut record = vec![22, 3, 1, 3, 0xe8, 1, 0, 0xfd, 0xe8];
    record.resize(1005, 0);
    for _ in 0..40 {
        if socket.write_all(&record).is_err() {
            break;
        }
        record[5..].fill(0);
    }
    let _ = socket.read_to_end(&mut Vec::new());
    let ended = proxy.stop();
    assert_eq!(ended.closed("handshake too long"), 1, "{}", ended.stdout);
}

/// Many clients that each send a part of a long hello: those that hold the most make room, no more of them than
/// have to, and others are served meanwhile.
#[test]
fn unfinished_handshakes_of_a_core_share_a_bound() {
    use std::io::{ErrorKind, Read, Write};
    let proxy = Proxy::start(&["--max-unfinished-bytes", "1048576"]);
    // A handshake message of 65 000 bytes in records of a thousand, and a sixth of it left out.
    let mut record = vec![22, 3, 1, 3, 0xe8, 1, 0, 0xfd, 0xe8];
    record.resize(1005, 0);
    let mut hoarders = Vec::new();
    // What they send waits for it, so that it finds all of them at once.
    proxy.signal("STOP");
    for _ in 0..40 {
        let mut socket = std::net::TcpStream::connect(proxy.address).expect("a connection");
        record[5..9].copy_from_slice(&[1, 0, 0xfd, 0xe8]);
        for _ in 0..54 {
            if socket.write_all(&record).is_err() {
                break;
            }
            record[5..9].fill(0);
        }
        hoarders.push(socket);
    }
    proxy.signal("CONT");
    let is_closed = |mut socket: &std::net::TcpStream| {
        socket.set_nonblocking(true).expect("a socket");
        let read = socket.read(&mut [0]);
        !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    // What 19 of them sent fits the bound.
    proxy.wait_until("hoarders closed", |_| {
        hoarders.iter().filter(|socket| is_closed(socket)).count() >= 21
    });
    assert!(proxy.s_client(&[]).contains("200 OK"));
    drop(hoarders);
    let ended = proxy.stop();
    let closed = ended.closed("handshake memory");
    assert!((21..30).contains(&closed), "{}", ended.stdout);
    let timed_out = ended.closed("handshake timeout");
    assert_eq!(timed_out, 0, "{}", ended.stdout);
    assert_eq!(ended.closed("finished"), 1, "{}", ended.stdout);
}

#[test]
fn bench_connect_makes_connections_and_resumes_sessions() {
    let core = cores()[0].to_string();
    for (library, more) in [("rustls", ""), ("openssl", ""), ("rustls", "--resume")] {
        let proxy = Proxy::start(&["--tls", library, "--cores", &core]);
        let mut command = Command::new(spinlane());
        command.args(["bench", "connect", &proxy.address.to_string(), "--json"]);
        // As many at a time as there are tickets of the first.
        command.args(["--seconds", "0.3", "--connections", "2"]);
        command.args(more.split_whitespace());
        let output = run(&mut command, b"");
        let said = String::from_utf8_lossy(&output.stdout);
        let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let connections = report["connections"].as_u64().expect("a number");
        assert!(connections > 0 && report["failed"] == 0, "{report}");
        let resumed = report["resumed"].as_u64().expect("a number");
        assert_eq!(resumed > 0, more == "--resume", "{report}");
        let ended = proxy.stop();
        assert!(
            ended.count("handshakes (") >= connections,
            "{}",
            ended.stdout
        );
    }
}
