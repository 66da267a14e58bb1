//! `spinlane proxy` and clients that do not behave; stopping while they do.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use spinlane_tests::backend::{echo, spawn};
use spinlane_tests::client::{TlsClient, context, hello};
use spinlane_tests::program::PATIENCE;
use spinlane_tests::proxy::{LIBRARIES, Proxy};

/// Sends `bytes` over plain TCP, and the end if `end`; returns what came back until the proxy closed.
fn send_raw(address: SocketAddr, bytes: &[u8], end: bool) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = socket.write_all(bytes);
    if end {
        let _ = socket.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the proxy does not close"),
        _ => answer,
    }
}

/// Content type of an alert record (RFC 8446, section 5.1).
const ALERT: u8 = 21;

#[test]
fn what_is_not_tls_is_told_apart_and_counted() {
    for library in LIBRARIES {
        tell_apart(library);
    }
}

fn tell_apart(library: &str) {
    let proxy = Proxy::start(&["--tls", library]);
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for not_tls in [&http[..], &[0xa5; 600]] {
        let answer = send_raw(proxy.address, not_tls, false);
        assert!(matches!(answer.first(), None | Some(&ALERT)), "{answer:?}");
    }
    let mut confused = hello();
    confused[5] = 20; // A Finished where a ClientHello should be.
    let answer = send_raw(proxy.address, &confused, false);
    assert_eq!(
        answer.first(),
        Some(&ALERT),
        "an alert is sent before closing"
    );
    assert_eq!(send_raw(proxy.address, &hello()[..100], true), b"");
    assert_eq!(send_raw(proxy.address, b"", true), b"");
    TlsClient::connect(proxy.address, &context(), None)
        .unwrap()
        .get()
        .unwrap();
    let ended = proxy.stop();
    assert_eq!(ended.closed("handshake failed"), 1, "{}", ended.stdout);
    let counts = ["plain http", "not tls", "truncated handshake", "finished"]
        .map(|reason| ended.closed(reason));
    assert_eq!(counts, [1, 1, 2, 1], "{}", ended.stdout);
    assert_eq!(ended.count("failed"), 5, "{}", ended.stdout);
    assert!(ended.stderr.contains("plain http"), "{}", ended.stderr);
}

#[test]
fn damaged_handshakes_hurt_nobody_else() {
    let proxy = Proxy::start(&[]);
    let hello = hello();
    for position in (0..hello.len()).step_by(3) {
        let mut damaged = hello.clone();
        damaged[position] ^= 0xff;
        send_raw(proxy.address, &damaged, true);
    }
    TlsClient::connect(proxy.address, &context(), None)
        .unwrap()
        .get()
        .unwrap();
    let ended = proxy.stop();
    let damaged = hello.len().div_ceil(3) as u64;
    assert_eq!(
        (ended.count("failed"), ended.count("accepted")),
        (damaged, damaged + 1),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_slow_handshake_is_cut_off() {
    let proxy = Proxy::start(&["--handshake-timeout", "0.5"]);
    let silent = TcpStream::connect(proxy.address).unwrap();
    let mut dripping = TcpStream::connect(proxy.address).unwrap();
    // Drips as long as the proxy listens; that it ends is the test.
    for byte in hello().iter().cycle() {
        if dripping.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Others are served; on a busy machine they, too, may take longer than that at first.
    let mut cut_off = 2;
    let mut client = loop {
        match TlsClient::connect(proxy.address, &context(), None) {
            Ok(client) => break client,
            Err(_) => cut_off += 1,
        }
    };
    client.get().unwrap();
    drop(silent);
    assert_eq!(proxy.stop().closed("handshake timeout"), cut_off);
}

#[test]
fn an_idle_connection_is_closed_cleanly() {
    let proxy = Proxy::start(&["--idle-timeout", "0.5"]);
    let mut silent = TlsClient::connect(proxy.address, &context(), None).unwrap();
    let mut dripping = TlsClient::connect(proxy.address, &context(), None).unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "close_notify");
    // A request that drips in for ever keeps nothing alive.
    while dripping.write_all(b"G").is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop((silent, dripping));
    assert_eq!(proxy.stop().closed("idle timeout"), 2);
}

#[test]
fn bad_requests_get_their_answer() {
    let proxy = Proxy::start(&[]);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for (request, status) in [
        ("\u{1}\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        (&long, "431"),
        ("DELETE / HTTP/1.0\r\n\r\n", "405"),
    ] {
        let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    client
        .write_all(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500))
        .unwrap();
    client.close_notify().unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 500);
    drop(client);
    proxy.stop();
}

#[test]
fn a_signal_lets_connections_finish_but_takes_no_new_ones() {
    let proxy = Proxy::start(&["--backend", &spawn(echo).to_string()]);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    proxy.signal("TERM");
    proxy.wait_until("it drains", |proxy| proxy.log().contains("draining"));
    proxy.wait_until("it does not listen", |proxy| {
        TcpStream::connect(proxy.address).is_err()
    });
    let mut echoed = [0; 5];
    client.write_all(b"still").unwrap();
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"still");
    client.close_notify().unwrap();
    assert_eq!(client.read(&mut echoed).unwrap(), 0);
    drop(client);
    let ended = proxy.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(
        (ended.closed("finished"), ended.closed("stopped")),
        (1, 0),
        "{}",
        ended.stdout
    );
}

#[test]
fn idle_requests_do_not_hold_up_a_drain() {
    let proxy = Proxy::start(&[]);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    client.get().unwrap();
    proxy.signal("INT");
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0, "close_notify");
    drop(client);
    let ended = proxy.wait();
    assert!(
        ended.status.success() && ended.closed("finished") == 1,
        "{ended:?}"
    );
}

#[test]
fn draining_has_an_end() {
    let proxy = Proxy::start(&[
        "--backend",
        &spawn(echo).to_string(),
        "--drain-timeout",
        "0.2",
    ]);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    proxy.signal("TERM");
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0, "close_notify");
    let ended = proxy.wait();
    assert!(
        ended.status.success() && ended.closed("stopped") == 1,
        "{ended:?}"
    );
}

#[test]
fn a_second_signal_does_not_wait() {
    let proxy = Proxy::start(&[
        "--backend",
        &spawn(echo).to_string(),
        "--drain-timeout",
        "1000",
    ]);
    let _client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    proxy.signal("TERM");
    proxy.wait_until("it drains", |proxy| proxy.log().contains("draining"));
    proxy.signal("TERM");
    assert_eq!(proxy.wait().status.code(), Some(1));
}
