//! `spinlane proxy --backend NAME`: every address of the name, and the name resolved again.

#![forbid(unsafe_code)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use spinlane_tests::backend::serve;
use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::program::{TempDir, run, spinlane};
use spinlane_tests::proxy::Proxy;

/// `program` under another /etc/hosts, which is the file `hosts`.
fn under(hosts: &Path, program: &Path) -> Command {
    let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script]);
    command.arg(hosts).arg(program);
    command
}

/// The addresses of backend.test in the order in which they will be tried. If there can be no other
/// /etc/hosts, says so where the test harness does not swallow it.
fn resolved(hosts: &Path) -> Option<Vec<String>> {
    let output = run(
        under(hosts, Path::new("getent")).args(["ahostsv4", "backend.test"]),
        b"",
    );
    if !output.status.success() {
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        let why = String::from_utf8_lossy(&output.stderr);
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: this process may not have a mount namespace of its own: {why}"
        );
        return None;
    }
    let said = String::from_utf8(output.stdout).unwrap();
    let streams = said.lines().filter(|line| line.contains("STREAM"));
    let address = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    Some(streams.map(address).collect())
}

/// Who answers: the name of the backend that the proxy relays to.
fn answer(proxy: &Proxy) -> String {
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut client, &mut text).unwrap();
    text
}

/// A backend on `listener` that says `name` to everybody.
fn speaker(listener: TcpListener, name: &'static str) {
    serve(listener, move |mut socket| {
        socket.write_all(name.as_bytes())
    });
}

#[test]
fn all_addresses_of_a_name_are_tried_and_the_failed_one_is_named() {
    let dir = TempDir::new();
    let hosts = dir.file("hosts", b"127.0.0.1 backend.test\n127.0.0.2 backend.test\n");
    let Some(addresses) = resolved(&hosts) else {
        return;
    };
    let [first, second] = addresses.as_slice() else {
        panic!("two addresses: {addresses:?}")
    };
    let listener = TcpListener::bind((second.as_str(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    speaker(listener, "second");
    let name = format!("backend.test:{port}");
    let proxy = Proxy::start_as(under(&hosts, spinlane()), &["--backend", &name]);
    let said = proxy.said();
    assert!(
        said.contains(&format!("{name} ({first}:{port}, {second}:{port})")),
        "{said}"
    );
    for _ in 0..3 {
        assert_eq!(answer(&proxy), "second");
    }
    let failed = format!("{first}:{port}: Connection refused");
    assert!(proxy.log().contains(&failed), "{}", proxy.log());
    assert_eq!(
        proxy.log().matches(&failed).count(),
        1,
        "the one that served is tried first"
    );
    let ended = proxy.stop();
    assert_eq!(ended.closed("backend unreachable"), 0, "{}", ended.stdout);
}

#[test]
fn if_none_can_be_connected_to_all_are_named() {
    let dir = TempDir::new();
    let hosts = dir.file("hosts", b"127.0.0.1 backend.test\n127.0.0.2 backend.test\n");
    let Some(addresses) = resolved(&hosts) else {
        return;
    };
    // Nobody listens there; see `nobody`.
    let proxy = Proxy::start_as(under(&hosts, spinlane()), &["--backend", "backend.test:1"]);
    assert_eq!(answer(&proxy), "");
    let log = proxy.log();
    for address in addresses {
        assert!(
            log.contains(&format!("{address}:1: Connection refused")),
            "{log}"
        );
    }
    assert_eq!(proxy.stop().closed("backend unreachable"), 1);
}

#[test]
fn a_name_is_resolved_again_when_asked_and_when_a_connect_fails() {
    let dir = TempDir::new();
    let hosts = dir.file("hosts", b"127.0.0.1 backend.test\n");
    if resolved(&hosts).is_none() {
        return;
    }
    let old = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = old.local_addr().unwrap().port();
    let new = TcpListener::bind((SocketAddr::from(([127, 0, 0, 2], port))).to_string()).unwrap();
    speaker(old, "old");
    speaker(new, "new");
    let name = format!("backend.test:{port}");
    let proxy = Proxy::start_as(under(&hosts, spinlane()), &["--backend", &name]);
    assert_eq!(answer(&proxy), "old");
    // The file is written in place: the mount is of this very file.
    std::fs::write(&hosts, "127.0.0.2 backend.test\n").unwrap();
    assert_eq!(answer(&proxy), "old", "nobody has asked");
    proxy.signal("HUP");
    proxy.wait_until("the new address", |proxy| answer(proxy) == "new");
    // Where nobody listens, nor may: the name has to be asked for again without a signal.
    std::fs::write(&hosts, "127.0.0.3 backend.test\n").unwrap();
    proxy.signal("HUP");
    proxy.wait_until("an address where nobody is", |proxy| {
        answer(proxy).is_empty()
    });
    std::fs::write(&hosts, "127.0.0.1 backend.test\n").unwrap();
    proxy.wait_until("the old address", |proxy| answer(proxy) == "old");
    // A name that is lost keeps its addresses.
    std::fs::write(&hosts, "").unwrap();
    proxy.signal("HUP");
    proxy.wait_until("a warning", |proxy| {
        proxy.log().contains("found before are kept")
    });
    assert_eq!(answer(&proxy), "old");
    proxy.stop();
}
