//! Whom a session ticket lets in: nobody whom a full handshake would refuse. `openssl s_client` keeps the
//! sessions.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509NameBuilder};
use spinlane_tests::identity::{Identity, issued, self_signed};
use spinlane_tests::program::{PATIENCE, TempDir, has, text};
use spinlane_tests::proxy::{LIBRARIES, Proxy};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

fn served(said: &str) -> bool {
    said.contains("hello from spinlane")
}

fn resumed(said: &str) -> bool {
    said.contains("Reused, TLSv1")
}

/// Whether the certificate shown is for this common name.
fn shows(said: &str, name: &str) -> bool {
    said.contains(&format!("subject=CN={name}\n"))
}

fn replace(with: &Identity, served: &Identity) {
    for (from, to) in [
        (&with.certificate, &served.certificate),
        (&with.key, &served.key),
    ] {
        fs::copy(from, to).expect("files can be copied");
    }
}

#[test]
fn a_ticket_opens_under_the_client_ca_it_was_made_under_alone() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let (ca, other_ca) = (
        self_signed(&dir, "ca", "p256"),
        self_signed(&dir, "other", "p256"),
    );
    let client = issued(&dir, "client", "p256", &ca, "DNS:client");
    let certified = [
        "-cert",
        text(&client.certificate),
        "-key",
        text(&client.key),
    ];
    let trusted = dir.path("trusted.pem");
    for library in LIBRARIES {
        fs::copy(&ca.certificate, &trusted).expect("a file can be copied");
        let proxy = Proxy::start(&["--tls", library, "--client-ca", text(&trusted)]);
        let sessions = VERSIONS.map(|version| {
            let session = dir.path(&format!("{library}{version}"));
            let keep = [version, "-sess_out", text(&session)];
            let said = proxy.s_client(&[&certified[..], &keep].concat());
            assert!(served(&said), "{library}: {said}");
            let said = proxy.s_client(&[version, "-sess_in", text(&session)]);
            assert!(served(&said) && resumed(&said), "{library}: {said}");
            (version, session)
        });
        fs::copy(&other_ca.certificate, &trusted).expect("a file can be copied");
        proxy.signal("HUP");
        proxy.wait_until("clients of the old issuer are refused", |proxy| {
            !served(&proxy.s_client(&certified))
        });
        for (version, session) in &sessions {
            let said = proxy.s_client(&[version, "-sess_in", text(session)]);
            assert!(!served(&said), "{library} {version}: {said}");
            assert!(!resumed(&said), "{library} {version}: {said}");
        }
        proxy.stop();
    }
}

#[test]
fn a_ticket_opens_under_the_name_and_the_certificate_it_was_made_under_alone() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let ca = self_signed(&dir, "ca", "p256");
    let make = |name: &str, names: &str| issued(&dir, name, "p256", &ca, names);
    let (one, two) = (
        make("one", "DNS:one.example"),
        make("two", "DNS:two.example"),
    );
    let [[one_cert, one_key], [two_cert, two_key]] =
        [&one, &two].map(|of| [text(&of.certificate), text(&of.key)]);
    let proxy = Proxy::start(&[
        "--cert", one_cert, "--key", one_key, "--cert", two_cert, "--key", two_key,
    ]);
    let ask = |version, name, more: &[&str]| {
        proxy.s_client(&[&[version, "-servername", name], more].concat())
    };
    let sessions = VERSIONS.map(|version| {
        let session = dir.path(&format!("session{version}"));
        ask(version, "two.example", &["-sess_out", text(&session)]);
        (version, session)
    });
    let resumes = |name| {
        sessions.each_ref().map(|(version, session)| {
            let said = ask(version, name, &["-sess_in", text(session)]);
            assert!(served(&said), "{said}");
            resumed(&said)
        })
    };
    assert_eq!(resumes("two.example"), [true, true]);
    assert_eq!(resumes("one.example"), [false, false], "another name");
    let renew = |served: &Identity, name, renewed| {
        replace(&make(renewed, &format!("DNS:{name}")), served);
        proxy.signal("HUP");
        proxy.wait_until("the new certificate", |_| {
            shows(&ask("-tls1_3", name, &[]), renewed)
        });
    };
    renew(&one, "one.example", "one-renewed");
    assert_eq!(
        resumes("two.example"),
        [true, true],
        "another name's certificate is new"
    );
    renew(&two, "two.example", "two-renewed");
    assert_eq!(
        resumes("two.example"),
        [false, false],
        "its certificate is new"
    );
    proxy.stop();
}

/// Resumes and keeps each renewed session, until that is no longer accepted.
fn until_it_ends(proxy: &Proxy, version: &str, session: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while resumed(&proxy.s_client(&[
        version,
        "-sess_in",
        text(session),
        "-sess_out",
        text(session),
    ])) {
        assert!(
            Instant::now() < deadline,
            "{version}: the session never ends"
        );
    }
}

#[test]
fn a_session_ends_a_time_after_its_full_handshake_however_often_it_is_renewed() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    for library in LIBRARIES {
        let proxy = Proxy::start(&["--tls", library, "--ticket-rotation", "2"]);
        for version in VERSIONS {
            let session = dir.path(&format!("{library}{version}"));
            let start = Instant::now();
            proxy.s_client(&[version, "-sess_out", text(&session)]);
            until_it_ends(&proxy, version, &session);
            // Whole seconds are counted.
            assert!(
                start.elapsed() > Duration::from_secs(1),
                "{library} {version}"
            );
        }
        proxy.stop();
    }
}

#[test]
fn a_session_ends_with_the_clients_certificate() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let ca = self_signed(&dir, "ca", "p256");
    for library in LIBRARIES {
        let proxy = Proxy::start(&["--tls", library, "--client-ca", text(&ca.certificate)]);
        for version in VERSIONS {
            let session = dir.path(&format!("{library}{version}"));
            // A busy machine may come too late for a certificate of seconds.
            let mut seconds = 2;
            let end = loop {
                let end = unix_seconds() + seconds;
                let [certificate, key] = short_lived(&dir, &ca, end);
                let args = [version, "-cert", text(&certificate), "-key", text(&key)];
                if served(&proxy.s_client(&[&args[..], &["-sess_out", text(&session)]].concat())) {
                    break end;
                }
                seconds *= 2;
                assert!(
                    seconds < 1000,
                    "{library} {version}: clients are not served"
                );
            };
            until_it_ends(&proxy, version, &session);
            assert!(
                unix_seconds() >= end,
                "{library} {version}: it ended before"
            );
        }
        proxy.stop();
    }
}

fn unix_seconds() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970
        .expect("a clock")
        .as_secs()
        .try_into()
        .expect("few")
}

/// A client's certificate that `ca` has issued and that ends at `end`, and its key, as files.
fn short_lived(dir: &TempDir, ca: &Identity, end: i64) -> [std::path::PathBuf; 2] {
    let read = |path| fs::read(path).expect("a file can be read");
    let issuer = X509::from_pem(&read(&ca.certificate)).expect("a certificate");
    let issuer_key = PKey::private_key_from_pem(&read(&ca.key)).expect("a key");
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
    let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
    let build = || {
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "short-lived")?;
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_subject_name(&name.build())?;
        builder.set_issuer_name(issuer.subject_name())?;
        builder.set_pubkey(&key)?;
        let begin = Asn1Time::from_unix(end - 1000)?;
        builder.set_not_before(&begin)?;
        let end = Asn1Time::from_unix(end)?;
        builder.set_not_after(&end)?;
        builder.sign(&issuer_key, MessageDigest::sha256())?;
        let key = key.private_key_to_pem_pkcs8()?;
        Ok::<_, openssl::error::ErrorStack>((builder.build().to_pem()?, key))
    };
    let (certificate, key) = build().expect("a certificate can be made");
    [("short.pem", certificate), ("short.key", key)].map(|(name, pem)| dir.file(name, &pem))
}
