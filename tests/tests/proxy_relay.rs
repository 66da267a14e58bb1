//! `spinlane proxy` in front of TCP backends: whole bodies, half-close, back-pressure.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use spinlane_tests::backend::{echo, nobody, spawn};
use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::noise::{Noise, hash_of};
use spinlane_tests::proxy::Proxy;

const MIB: u64 = 1024 * 1024;

fn relay_to(backend: std::net::SocketAddr) -> Proxy {
    Proxy::start(&["--backend", &backend.to_string()])
}

#[test]
fn fifty_megabytes_arrive_whole_in_both_directions() {
    let (upload, download) = (Noise::new(1, 50_000_000), Noise::new(2, 50_000_000));
    let (expected, sent) = (upload.hash(), download.clone());
    let backend = spawn(move |mut socket| {
        let hash = hash_of(&mut socket)?;
        io::copy(&mut sent.clone(), &mut socket)?;
        assert_eq!(hash, (50_000_000, expected), "upload");
        socket.shutdown(Shutdown::Write)
    });
    let proxy = relay_to(backend);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    io::copy(&mut upload.clone(), &mut client).unwrap();
    client.close_notify().unwrap();
    assert_eq!(hash_of(&mut client).unwrap(), (50_000_000, download.hash()));
    drop(client);
    let ended = proxy.stop();
    assert_eq!(
        (ended.closed("finished"), ended.count("backend connections")),
        (1, 1),
        "{}",
        ended.stdout
    );
}

#[test]
fn both_directions_flow_at_once() {
    let proxy = relay_to(spawn(echo));
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    // Less than what buffers and sockets hold is sent before it is read back.
    let (mut noise, mut back) = (Noise::new(3, 2 * MIB), Vec::new());
    let (mut block, mut echoed) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = noise.read(&mut block) {
        client.write_all(&block[..count]).unwrap();
        client.read_exact(&mut echoed[..count]).unwrap();
        back.extend_from_slice(&echoed[..count]);
    }
    client.close_notify().unwrap();
    assert_eq!(
        client.read(&mut block).unwrap(),
        0,
        "the backend's end arrives as close_notify"
    );
    assert_eq!(
        hash_of(&mut &back[..]).unwrap(),
        (2 * MIB, Noise::new(3, 2 * MIB).hash())
    );
    drop(client);
    proxy.stop();
}

#[test]
fn each_direction_ends_on_its_own() {
    // Talks first, ends its direction, and only then listens.
    let heard = Arc::new(AtomicBool::new(false));
    let backend = spawn({
        let heard = Arc::clone(&heard);
        move |mut socket| {
            socket.write_all(b"that was all")?;
            socket.shutdown(Shutdown::Write)?;
            let mut text = String::new();
            socket.read_to_string(&mut text)?;
            heard.store(text == "heard you", Ordering::SeqCst);
            Ok(())
        }
    });
    let proxy = relay_to(backend);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "that was all");
    client.write_all(b"heard you").unwrap();
    client.close_notify().unwrap();
    client.bare_end().unwrap();
    proxy.wait_until("the backend hears the client", |_| {
        heard.load(Ordering::SeqCst)
    });
    drop(client);
    assert_eq!(proxy.stop().closed("finished"), 1);
}

#[test]
fn an_end_without_close_notify_gets_its_answer_where_it_is_passed_on() {
    let backend = spawn(echo).to_string();
    let proxy = Proxy::start(&["--backend", &backend, "--bare-end", "pass"]);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    client.write_all(b"bare").unwrap();
    client.bare_end().unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bare");
    drop(client);
    let ended = proxy.stop();
    assert_eq!(
        ended.count("ends without close_notify"),
        1,
        "{}",
        ended.stdout
    );
}

#[test]
fn a_backend_that_is_down_ends_connections_cleanly() {
    let proxy = relay_to(nobody());
    for _ in 0..3 {
        let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
        assert_eq!(client.read(&mut [0; 16]).unwrap(), 0, "close_notify");
    }
    let ended = proxy.stop();
    assert_eq!(ended.closed("backend unreachable"), 3, "{}", ended.stdout);
    assert_eq!(
        ended.stderr.matches("backend unreachable").count(),
        1,
        "the log is limited: {}",
        ended.stderr
    );
}

#[test]
fn a_backend_that_breaks_off_is_not_taken_for_the_end() {
    let backend = spawn(|mut socket| {
        socket.write_all(b"part")?;
        // What is unread when a socket is closed makes TCP reset the connection.
        let mut byte = [0];
        socket.read_exact(&mut byte)
    });
    let proxy = relay_to(backend);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    client.write_all(b"much that will not be read").unwrap();
    let mut text = Vec::new();
    let error = client.read_to_end(&mut text).unwrap_err();
    assert_eq!(
        (error.kind(), &text[..]),
        (ErrorKind::UnexpectedEof, &b"part"[..])
    );
    drop(client);
    assert_eq!(proxy.stop().closed("backend reset"), 1);
}

/// Moves as much as will move, until nothing has for a while; returns how much that was.
fn until_stuck(counter: &AtomicU64) -> u64 {
    let mut before = u64::MAX;
    loop {
        let now = counter.load(Ordering::SeqCst);
        if now == before && now != 0 {
            return now;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_backend() {
    const LEN: u64 = 64 * MIB;
    let written = Arc::new(AtomicU64::new(0));
    let backend = spawn({
        let written = Arc::clone(&written);
        move |mut socket| {
            let (mut noise, mut block) = (Noise::new(4, LEN), vec![0; 64 * 1024]);
            while let count @ 1.. = noise.read(&mut block)? {
                socket.write_all(&block[..count])?;
                written.fetch_add(count as u64, Ordering::SeqCst);
            }
            socket.shutdown(Shutdown::Write)
        }
    });
    let proxy = relay_to(backend);
    let before_kib = proxy.memory_kib();
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    assert!(
        until_stuck(&written) < LEN,
        "the kernel's buffers hold less than that"
    );
    let grown_kib = proxy.memory_kib().saturating_sub(before_kib);
    assert!(
        grown_kib < 4096,
        "{grown_kib} KiB held for a client that does not read"
    );
    assert_eq!(
        hash_of(&mut client).unwrap(),
        (LEN, Noise::new(4, LEN).hash())
    );
    drop(client);
    proxy.stop();
}

#[test]
fn a_backend_that_does_not_read_stops_the_client() {
    const LEN: u64 = 64 * MIB;
    let reads = Arc::new(AtomicBool::new(false));
    let backend = spawn({
        let reads = Arc::clone(&reads);
        move |mut socket| {
            while !reads.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let (len, hash) = hash_of(&mut socket)?;
            socket.write_all(format!("{len} {hash}").as_bytes())
        }
    });
    let proxy = relay_to(backend);
    let before_kib = proxy.memory_kib();
    let written = Arc::new(AtomicU64::new(0));
    let (address, counter) = (proxy.address, Arc::clone(&written));
    let client = std::thread::spawn(move || {
        let mut client = TlsClient::connect(address, &context(), None)?;
        let (mut noise, mut block) = (Noise::new(5, LEN), vec![0; 64 * 1024]);
        while let count @ 1.. = noise.read(&mut block)? {
            client.write_all(&block[..count])?;
            counter.fetch_add(count as u64, Ordering::SeqCst);
        }
        client.close_notify()?;
        let mut text = String::new();
        client.read_to_string(&mut text)?;
        io::Result::Ok(text)
    });
    assert!(
        until_stuck(&written) < LEN,
        "the kernel's buffers hold less than that"
    );
    let grown_kib = proxy.memory_kib().saturating_sub(before_kib);
    assert!(
        grown_kib < 4096,
        "{grown_kib} KiB held for a backend that does not read"
    );
    reads.store(true, Ordering::SeqCst);
    assert_eq!(
        client.join().unwrap().unwrap(),
        format!("{LEN} {}", Noise::new(5, LEN).hash())
    );
    proxy.stop();
}
