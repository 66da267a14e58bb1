//! `spinlane proxy` and many clients: none fails, and nothing is left behind.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;

use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::program::two_cores;
use spinlane_tests::proxy::Proxy;

/// `clients` connections that are all open at once, each with a request before and after that.
fn at_once(address: SocketAddr, clients: usize) {
    let (ctx, all_open) = (context(), Barrier::new(clients));
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = TlsClient::connect(address, &ctx, None).unwrap();
                client.get().unwrap();
                all_open.wait();
                client.get().unwrap();
            });
        }
    });
}

/// `count` connections one after the other, every fourth a resumption.
fn in_sequence(address: SocketAddr, count: usize) {
    let ctx = context();
    let mut earlier: Option<TlsClient> = None;
    for number in 0..count {
        let resumes = number % 4 == 3;
        let mut client =
            TlsClient::connect(address, &ctx, earlier.as_ref().filter(|_| resumes)).unwrap();
        client.get().unwrap();
        assert_eq!(client.session_reused(), resumes);
        client.close_notify().unwrap();
        earlier = Some(client);
    }
}

/// Nothing is left of `count` connections.
fn leaves_nothing_behind(count: usize) {
    let proxy = Proxy::start(&[]);
    // Pools fill, and stay.
    at_once(proxy.address, 256);
    let rounds = proxy.stops_growing(|| {
        in_sequence(proxy.address, count);
        at_once(proxy.address, 256);
    });
    let ended = proxy.stop();
    let expected = (256 + rounds * (count + 256)) as u64;
    assert_eq!(
        (ended.count("handshakes ("), ended.closed("finished")),
        (expected, expected),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.count("failed"), 0, "{}", ended.stdout);
}

#[test]
fn two_thousand_connections_leave_nothing_behind() {
    leaves_nothing_behind(2000);
}

#[test]
#[ignore = "takes a minute; run by name"]
fn ten_thousand_connections_leave_nothing_behind() {
    leaves_nothing_behind(10_000);
}

#[test]
fn connections_dropped_in_their_handshakes_leave_nothing_behind() {
    let proxy = Proxy::start(&["--self-signed", "rsa2048"]);
    let hello = spinlane_tests::client::hello();
    for number in 0..1000 {
        let mut socket = TcpStream::connect(proxy.address).unwrap();
        socket.write_all(&hello).unwrap();
        if number % 2 == 0 {
            // Wait for the answer, so that half of them are past their ops.
            let _ = socket.read(&mut [0; 16]);
        }
    }
    proxy.wait_until_all_closed();
    TlsClient::connect(proxy.address, &context(), None)
        .unwrap()
        .get()
        .unwrap();
    let ended = proxy.stop();
    assert_eq!(
        (ended.count("accepted"), ended.count("failed")),
        (1001, 1000),
        "{}",
        ended.stdout
    );
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let proxy = Proxy::start(&["--max-connections", "4"]);
    let ctx = context();
    let mut open: Vec<_> = (0..4)
        .map(|_| TlsClient::connect(proxy.address, &ctx, None).unwrap())
        .collect();
    let (address, late_ctx) = (proxy.address, ctx.clone());
    let late = std::thread::spawn(move || {
        TlsClient::connect(address, &late_ctx, None)
            .unwrap()
            .get()
            .unwrap()
    });
    for client in &mut open {
        client.get().unwrap();
    }
    assert!(!late.is_finished(), "the fifth waits");
    open.pop();
    late.join().unwrap();
    drop(open);
    proxy.stop();
}

#[test]
fn cores_share_the_connections() {
    let Some([one, other]) = two_cores() else {
        return;
    };
    let proxy = Proxy::start(&["--cores", &format!("{one},{other}")]);
    at_once(proxy.address, 64);
    let ended = proxy.stop();
    assert_eq!(ended.count("handshakes ("), 64, "{}", ended.stdout);
    for core in [one, other] {
        assert!(
            ended.stdout.contains(&format!("core {core}: 0 open")),
            "{}",
            ended.stdout
        );
    }
    assert!(
        !ended.stdout.contains(" 0 accepted"),
        "each core gets some: {}",
        ended.stdout
    );
}
