//! What a service manager and balancers are told: sd_notify over a socket of the test's own, and /ready.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::program::{PATIENCE, TempDir, spinlane, text};
use spinlane_tests::proxy::Proxy;

/// What is said next, but for that all is well.
fn next(manager: &UnixDatagram) -> String {
    loop {
        let said = receive(manager);
        if said.trim() != "WATCHDOG=1" {
            return said;
        }
    }
}

fn receive(manager: &UnixDatagram) -> String {
    let mut block = [0; 256];
    let count = manager.recv(&mut block).expect("the manager is told");
    String::from_utf8_lossy(&block[..count]).into_owned()
}

fn get(proxy: &Proxy, path: &str) -> String {
    let said = proxy.said();
    let (_, url) = said
        .lines()
        .find_map(|line| line.split_once("http://"))
        .unwrap();
    let mut socket = TcpStream::connect(url.trim().trim_end_matches("/metrics")).unwrap();
    socket
        .write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_service_manager_is_told_and_balancers_are_before_the_listeners_close() {
    let dir = TempDir::new();
    let path = dir.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new(spinlane());
    command
        .env("NOTIFY_SOCKET", text(&path))
        .env("WATCHDOG_USEC", "200000");
    let arguments = ["--metrics", "127.0.0.1:0", "--close-delay", "1000"];
    let proxy = Proxy::start_as(command, &arguments);
    assert_eq!(next(&manager).trim(), "READY=1");
    // All cores turn.
    while receive(&manager).trim() != "WATCHDOG=1" {}
    assert!(get(&proxy, "/ready").starts_with("HTTP/1.1 200 "));
    assert!(
        get(&proxy, "/metrics")
            .contains("spinlane_certificate_expiry_timestamp_seconds{certificate=")
    );

    proxy.signal("HUP");
    let reloading = next(&manager);
    assert!(
        reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(next(&manager).trim(), "READY=1");

    proxy.signal("TERM");
    assert_eq!(next(&manager).trim(), "STOPPING=1");
    assert!(get(&proxy, "/ready").starts_with("HTTP/1.1 503 "));
    // The listeners are open for long still.
    assert!(TlsClient::connect(proxy.address, &context(), None).is_ok());
    proxy.signal("TERM");
    assert!(
        !proxy.wait().status.success(),
        "a second signal does not wait"
    );

    // A delay that is over.
    Proxy::start(&["--close-delay", "0.001"]).stop();
}
