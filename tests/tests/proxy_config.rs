//! `spinlane proxy --config FILE` and `spinlane check FILE`: what files can say, and what is said to bad ones.

#![forbid(unsafe_code)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use spinlane_tests::backend::{nobody, serve, spawn};
use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::identity::{Identity, issued, self_signed};
use spinlane_tests::program::{TempDir, cores, run, spinlane, text};
use spinlane_tests::proxy::{LIBRARIES, Proxy};

/// What every file here begins with.
fn head() -> String {
    format!(
        "cores = {}\ncore_dumps = true\nhandshake_timeout = 100\nop_deadline = 100\ndrain_timeout = 100\n\
         metrics = \"127.0.0.1:0\"\n",
        cores()[0]
    )
}

/// A backend that says `name` to everybody, and ends.
fn speaker(name: &'static str) -> SocketAddr {
    spawn(move |mut socket| socket.write_all(name.as_bytes()))
}

/// What the backend says to a client of `openssl s_client`; all that this says if there is no connection.
fn answer(address: SocketAddr, args: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-connect",
        &address.to_string(),
        "-quiet",
        "-ign_eof",
    ]);
    let output = run(command.args(args), b"");
    let said = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    String::from_utf8_lossy(&said).into_owned()
}

fn check(file: &Path) -> (bool, String) {
    let output = run(
        Command::new(spinlane())
            .arg("check")
            .arg(file)
            .env("NO_COLOR", "1"),
        b"",
    );
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn every_bad_file_is_told_its_line_culprit_and_remedy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/bad");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 30, "the files are there");
    let mut wrong = String::new();
    for file in files {
        let contents = std::fs::read_to_string(&file).unwrap();
        let expected = contents
            .lines()
            .next()
            .unwrap()
            .strip_prefix("# says: ")
            .unwrap();
        let (good, said) = check(&file);
        let missing = expected.split(" | ").find(|part| !said.contains(part));
        if good || missing.is_some() || said.contains("panicked") {
            wrong += &format!("{}: expected {expected:?}, said {said}\n", file.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_good_file_is_good_and_flags_beside_it_are_refused() {
    let dir = TempDir::new();
    let file = dir.file("good.toml", format!("{}[[listener]]\n", head()).as_bytes());
    let (good, said) = check(&file);
    assert!(good && said.contains("1 listener"), "{said}");
    let beside = run(
        Command::new(spinlane())
            .args(["proxy", "--tickets", "1", "--config"])
            .arg(&file),
        b"",
    );
    assert!(!beside.status.success());
    assert!(String::from_utf8_lossy(&beside.stderr).contains("--config"));
}

#[test]
fn listeners_names_and_protocols_lead_to_their_backends() {
    let dir = TempDir::new();
    let unix = dir.path("backend.socket");
    let listener = UnixListener::bind(&unix).unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let _ = socket.write_all(b"unix");
        }
    });
    for library in LIBRARIES {
        let file = format!(
            "{}[[listener]]\nlisten = \"127.0.0.1:0\"\ntls = \"{library}\"\nbackend = \"{}\"\nalpn = [\"h2\", \"http/1.1\"]\n\
             [[listener.route]]\nserver_name = \"*.wild.test\"\nbackend = \"wild\"\n\
             [[listener.route]]\nalpn = \"h2\"\nbackend = \"{}\"\n\
             [[listener]]\nlisten = \"127.0.0.1:00\"\ntls = \"{library}\"\nbackend = \"unix:{}\"\n\
             [backend.wild]\nserver = [{{ address = \"{}\" }}]\n",
            head(),
            speaker("plain"),
            speaker("two"),
            text(&unix),
            speaker("wild")
        );
        let proxy = Proxy::start_by(&dir.file("file.toml", file.as_bytes()));
        let [first, second] = proxy.addresses[..] else {
            panic!("two listeners: {}", proxy.said())
        };
        assert_eq!(answer(first, &["-noservername"]), "plain", "{library}");
        assert_eq!(
            answer(first, &["-servername", "A.wild.test"]),
            "wild",
            "{library}"
        );
        assert_eq!(
            answer(first, &["-servername", "a.b.wild.test"]),
            "plain",
            "{library}"
        );
        assert_eq!(
            answer(first, &["-servername", "x.test", "-alpn", "h2"]),
            "two",
            "{library}"
        );
        assert_eq!(
            answer(first, &["-servername", "x.test", "-alpn", "http/1.1"]),
            "plain",
            "{library}"
        );
        assert_eq!(answer(second, &["-noservername"]), "unix", "{library}");
        let ended = proxy.stop();
        assert_eq!(ended.closed("finished"), 6, "{}", ended.stdout);
    }
}

/// The value of a line of /metrics that begins so.
fn metric(proxy: &Proxy, name: &str, label: &str) -> Option<f64> {
    let said = proxy.said();
    let url = said.lines().find_map(|line| line.split_once("http://"))?.1;
    let address = url.trim().trim_end_matches("/metrics");
    let mut socket = std::net::TcpStream::connect(address).ok()?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut socket, &mut text).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn turns_go_by_weight_and_a_dead_server_gets_none_until_it_lives() {
    let dir = TempDir::new();
    let (heavy, light) = (speaker("h"), speaker("l"));
    // A port that nobody has while nobody listens there again.
    let late = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let file = format!(
        "{}[[listener]]\nlisten = \"127.0.0.1:0\"\nbackend = \"web\"\n[backend.web]\n\
         check = {{ interval = 0.05, rise = 1, fall = 1 }}\n\
         server = [{{ address = \"{heavy}\", weight = 2 }}, {{ address = \"{light}\" }}, {{ address = \"{late}\" }}]\n",
        head()
    );
    let proxy = Proxy::start_by(&dir.file("file.toml", file.as_bytes()));
    let up = |proxy: &Proxy| metric(proxy, "spinlane_server_up", &late.to_string());
    proxy.wait_until("the dead server is noticed", |proxy| up(proxy) == Some(0.0));
    let turns = || -> Vec<String> { (0..6).map(|_| answer(proxy.address, &[])).collect() };
    let mut said = turns();
    said.sort();
    assert_eq!(said.concat(), "hhhhll");
    assert_eq!(
        metric(
            &proxy,
            "spinlane_server_connections_total",
            &heavy.to_string()
        ),
        Some(4.0)
    );
    serve(TcpListener::bind(late).unwrap(), |mut socket| {
        socket.write_all(b"n")
    });
    proxy.wait_until("it is noticed that it lives", |proxy| {
        up(proxy) == Some(1.0)
    });
    assert!(turns().contains(&"n".to_owned()));
    assert!(proxy.log().contains("is down") && proxy.log().contains("is up again"));
    proxy.stop();
}

#[test]
fn sighup_applies_a_file_whole_or_refuses_it_whole() {
    let dir = TempDir::new();
    let echo = spawn(spinlane_tests::backend::echo);
    let listening = |listen: &str, backend: &str| {
        format!("[[listener]]\nlisten = \"{listen}\"\nbackend = \"{backend}\"\n")
    };
    let path = dir.file(
        "file.toml",
        (head() + &listening("127.0.0.1:0", &echo.to_string())).as_bytes(),
    );
    let proxy = Proxy::start_by(&path);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    let mut still_there = || {
        client.write_all(b"still there").unwrap();
        let mut back = [0; 11];
        std::io::Read::read_exact(&mut client, &mut back).unwrap();
        assert_eq!(&back, b"still there");
    };
    still_there();

    // Another backend, and one listener more.
    let more = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let other = speaker("other");
    let changed = head()
        + &listening("127.0.0.1:0", &other.to_string())
        + &listening(&more.to_string(), &speaker("more").to_string());
    std::fs::write(&path, &changed).unwrap();
    proxy.signal("HUP");
    proxy.wait_until("the file is read again", |proxy| {
        proxy.log().contains("read again")
    });
    proxy.wait_until("the new listener serves", |_| answer(more, &[]) == "more");
    assert_eq!(answer(proxy.address, &[]), "other");
    still_there();

    // One that is at fault in its last line changes nothing, not even in its first.
    let bad = head() + &listening("127.0.0.1:0", &nobody().to_string()) + "tickets = 99\n";
    std::fs::write(&path, bad).unwrap();
    proxy.signal("HUP");
    proxy.wait_until("the file is refused", |proxy| {
        proxy.log().contains("nothing is changed")
    });
    assert!(
        proxy
            .log()
            .contains("file.toml:10:11: 99: not a number in 0..=16"),
        "{}",
        proxy.log()
    );
    assert_eq!(
        (answer(proxy.address, &[]), answer(more, &[])),
        ("other".into(), "more".into())
    );
    assert_eq!(
        metric(&proxy, "spinlane_config_last_reload_successful", ""),
        Some(0.0)
    );
    assert!(
        metric(
            &proxy,
            "spinlane_config_last_reload_success_timestamp_seconds",
            ""
        )
        .unwrap()
            > 1e9
    );

    // What cannot change, and a listener less.
    std::fs::write(&path, format!("device = \"soft\"\n{changed}")).unwrap();
    proxy.signal("HUP");
    proxy.wait_until("a device is no matter of a reload", |proxy| {
        proxy
            .log()
            .contains("file.toml:1:10: device cannot change while the program runs")
    });
    std::fs::write(
        &path,
        head() + &listening("127.0.0.1:0", &other.to_string()),
    )
    .unwrap();
    proxy.signal("HUP");
    proxy.wait_until("the listener is gone", |_| {
        std::net::TcpStream::connect(more).is_err()
    });
    assert_eq!(
        metric(&proxy, "spinlane_config_last_reload_successful", ""),
        Some(1.0)
    );
    still_there();
    drop(client);
    proxy.stop();
}

/// An issuer's revocation list with `revoked` on it.
fn revocation_list(dir: &TempDir, name: &str, issuer: &Identity, revoked: &[&Identity]) -> String {
    let database = dir.file(&format!("{name}.index"), b"");
    let number = dir.file(&format!("{name}.number"), b"01\n");
    let list = dir.path(&format!("{name}.crl"));
    let settings = format!(
        "[ca]\ndefault_ca = it\n[it]\ndatabase = {}\ndefault_md = sha256\ndefault_crl_days = 2\ncrlnumber = {}\n",
        text(&database),
        text(&number)
    );
    let settings = dir.file(&format!("{name}.cnf"), settings.as_bytes());
    let openssl = |args: &[&str]| {
        let mut command = Command::new("openssl");
        command.args([
            "ca",
            "-config",
            text(&settings),
            "-cert",
            text(&issuer.certificate),
        ]);
        let output = run(
            command.args(["-keyfile", text(&issuer.key)]).args(args),
            b"",
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    for identity in revoked {
        openssl(&["-revoke", text(&identity.certificate)]);
    }
    openssl(&["-gencrl", "-out", text(&list)]);
    text(&list).to_owned()
}

#[test]
fn clients_may_or_must_have_a_certificate_that_no_list_revokes() {
    let dir = TempDir::new();
    let issuer = self_signed(&dir, "issuer", "p256");
    let good = issued(&dir, "good", "p256", &issuer, "DNS:good.test");
    let revoked = issued(&dir, "revoked", "p256", &issuer, "DNS:revoked.test");
    let list = revocation_list(&dir, "list", &issuer, &[&revoked]);
    let hello = speaker("hello");
    for library in LIBRARIES {
        let listener = |auth: &str| {
            format!(
                "[[listener]]\nlisten = \"127.0.0.1:0\"\ntls = \"{library}\"\nbackend = \"{hello}\"\nclient_auth = \"{auth}\"\n\
                 client_ca = \"{}\"\nclient_crl = \"{list}\"\n",
                text(&issuer.certificate)
            )
        };
        let file = head()
            + &listener("required")
            + &listener("optional").replace(":0", ":00")
            + &listener("off").replace(":0", ":000");
        let proxy = Proxy::start_by(&dir.file("file.toml", file.as_bytes()));
        let [required, optional, off] = proxy.addresses[..] else {
            panic!("{}", proxy.said())
        };
        let with = |identity: &Identity, address| {
            answer(
                address,
                &[
                    "-cert",
                    text(&identity.certificate),
                    "-key",
                    text(&identity.key),
                ],
            )
        };
        assert_eq!(with(&good, required), "hello", "{library}");
        assert_ne!(answer(required, &[]), "hello", "{library}");
        assert_ne!(with(&revoked, required), "hello", "{library}");
        assert_eq!(with(&good, optional), "hello", "{library}");
        assert_eq!(answer(optional, &[]), "hello", "{library}");
        assert_ne!(with(&revoked, optional), "hello", "{library}");
        assert_eq!(answer(off, &[]), "hello", "{library}");
        assert_eq!(proxy.stop().closed("client certificate"), 3, "{library}");
    }
}

#[test]
fn versions_suites_and_groups_are_those_that_are_named() {
    let dir = TempDir::new();
    let hello = speaker("hello");
    for library in LIBRARIES {
        let file = format!(
            "{}[[listener]]\nlisten = \"127.0.0.1:0\"\ntls = \"{library}\"\nbackend = \"{hello}\"\n\
             suites = [\"TLS_CHACHA20_POLY1305_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\"]\ngroups = \"P-384\"\n\
             [[listener]]\nlisten = \"127.0.0.1:00\"\ntls = \"{library}\"\nbackend = \"{hello}\"\nmax_protocol = 1.2\n",
            head()
        );
        let proxy = Proxy::start_by(&dir.file("file.toml", file.as_bytes()));
        let [first, second] = proxy.addresses[..] else {
            panic!("{}", proxy.said())
        };
        assert_eq!(answer(first, &["-groups", "P-384"]), "hello", "{library}");
        assert_ne!(
            answer(first, &["-groups", "P-256:X25519"]),
            "hello",
            "{library}"
        );
        assert_ne!(
            answer(
                first,
                &["-ciphersuites", "TLS_AES_128_GCM_SHA256", "-tls1_3"]
            ),
            "hello",
            "{library}"
        );
        assert_eq!(answer(first, &["-tls1_2"]), "hello", "{library}");
        let other = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"];
        assert_ne!(answer(first, &other), "hello", "{library}");
        assert_eq!(answer(second, &["-tls1_2"]), "hello", "{library}");
        assert_ne!(answer(second, &["-tls1_3"]), "hello", "{library}");
        proxy.stop();
    }
}

#[test]
fn a_folder_has_certificates_by_name() {
    let dir = TempDir::new();
    let issuer = self_signed(&dir, "issuer", "p256");
    let folder = dir.path("certificates");
    std::fs::create_dir(&folder).unwrap();
    for name in ["a", "b"] {
        let identity = issued(&dir, name, "p256", &issuer, &format!("DNS:*.{name}.test"));
        std::fs::copy(&identity.certificate, folder.join(format!("{name}.crt"))).unwrap();
        std::fs::copy(&identity.key, folder.join(format!("{name}.key"))).unwrap();
    }
    let file = format!(
        "{}[[listener]]\nlisten = \"127.0.0.1:0\"\ncert_dir = \"{}\"\n",
        head(),
        text(&folder)
    );
    let proxy = Proxy::start_by(&dir.file("file.toml", file.as_bytes()));
    for (name, subject) in [
        ("x.b.test", "CN=b"),
        ("x.a.test", "CN=a"),
        ("other.test", "CN=a"),
    ] {
        let said = proxy.s_client(&["-servername", name]);
        assert!(
            said.contains(&format!("subject={subject}")),
            "{name}: {said}"
        );
    }
    proxy.stop();
}
