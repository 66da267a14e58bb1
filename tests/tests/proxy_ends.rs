//! `spinlane proxy` and how streams end: what was said arrives whole, and what was cut short is never
//! taken for the whole.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use spinlane_tests::backend::spawn;
use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::identity::{issued, self_signed};
use spinlane_tests::noise::{Noise, hash_of};
use spinlane_tests::program::{PATIENCE, TempDir, has};
use spinlane_tests::proxy::{LIBRARIES, Proxy};
use spinlane_tests::stock;

/// Bytes in a record at most.
const RECORD: u64 = 16 * 1024;

/// A proxy whose certificate the CA in the returned file has issued.
fn certified(dir: &TempDir, args: &[&str]) -> (Proxy, std::path::PathBuf) {
    let ca = self_signed(dir, "ca", "p256");
    let server = issued(dir, "server", "p256", &ca, "DNS:localhost");
    let [cert, key] = [&server.certificate, &server.key].map(|path| path.to_str().unwrap());
    let own = ["--cert", cert, "--key", key];
    (Proxy::start(&[&own, args].concat()), ca.certificate)
}

/// How many bytes arrived, their hash, and how they ended.
type Arrived = (u64, u64, Result<(), ErrorKind>);

/// A backend that reads to the end. Returns where, and who is told what it read and how it ended.
fn reader() -> (SocketAddr, Receiver<Arrived>) {
    let (sender, receiver) = channel();
    let address = spawn(move |mut socket| {
        let mut bytes = Vec::new();
        let end = socket.read_to_end(&mut bytes);
        let (len, hash) = hash_of(&mut &bytes[..])?;
        let _ = sender.send((len, hash, end.map(drop).map_err(|error| error.kind())));
        Ok(())
    });
    (address, receiver)
}

/// Whether the proxy has ended its stream to the client at `client`, though not all of it has arrived
/// there (state FIN_WAIT1 of proc(5), /proc/net/tcp).
fn has_ended(proxy: &Proxy, client: SocketAddr) -> bool {
    let port = |address: SocketAddr| format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let mut columns = line.split_whitespace().skip(1);
        columns
            .next()
            .is_some_and(|at| at.ends_with(&port(proxy.address)))
            && columns.next().is_some_and(|at| at.ends_with(&port(client)))
            && columns.next() == Some("04")
    })
}

/// libssl answers a KeyUpdate although we have ended the stream; that cannot be sent, and means nothing.
#[test]
fn key_updates_after_our_end_cost_nothing_of_the_answer() {
    // More than a client takes that does not read, less than what the proxy's socket takes besides.
    const LEN: u64 = 1_000_000;
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let answer = Noise::new(6, LEN);
    for library in LIBRARIES {
        let sent = answer.clone();
        let backend = spawn(move |mut socket| {
            socket.read_exact(&mut [0])?;
            io::copy(&mut sent.clone(), &mut socket)?;
            socket.shutdown(Shutdown::Write)?;
            socket.read(&mut [0]).map(drop)
        });
        let args = ["--tls", library, "--backend", &backend.to_string()];
        let (proxy, ca) = certified(&dir, &args);
        let mut client = stock::connect(proxy.address, &ca).unwrap();
        client.write_all(b"?").unwrap();
        let address = client.sock.local_addr().unwrap();
        proxy.wait_until("the proxy ends its stream", |proxy| {
            has_ended(proxy, address)
        });
        let (mut block, mut read) = ([0; 50_000], Vec::new());
        while let count @ 1.. = client.read(&mut block).unwrap() {
            read.extend_from_slice(&block[..count]);
            if read.len() < 400_000 {
                stock::update_keys(&mut client).unwrap();
            }
        }
        assert_eq!(
            hash_of(&mut &read[..]).unwrap(),
            (LEN, answer.hash()),
            "{library}"
        );
        client.conn.send_close_notify();
        client.flush().unwrap();
        drop(client);
        let ended = proxy.stop();
        assert_eq!(ended.closed("finished"), 1, "{library}: {}", ended.stdout);
    }
}

/// A client that has said all it had to say may be gone before it was passed on.
#[test]
fn an_upload_arrives_whole_though_its_client_does_not_wait() {
    for library in LIBRARIES {
        let (backend, uploads) = reader();
        let proxy = Proxy::start(&["--tls", library, "--backend", &backend.to_string()]);
        for seed in 0..20 {
            let upload = Noise::new(seed, 3 * RECORD);
            let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
            io::copy(&mut upload.clone(), &mut client).unwrap();
            client.close_notify().unwrap();
            // It has not read its session tickets: closing resets the connection.
            client.socket().peek(&mut [0]).unwrap();
            drop(client);
            let arrived = uploads.recv_timeout(PATIENCE).unwrap();
            assert_eq!(arrived, (3 * RECORD, upload.hash(), Ok(())), "{library}");
        }
        proxy.stop();
    }
}

#[test]
fn what_was_cut_short_never_looks_whole() {
    type Cut = fn(&mut TlsClient);
    let cuts: [(&str, &str, Cut); 4] = [
        ("bare end", "100", |client| client.bare_end().unwrap()),
        ("tls error", "100", |client| {
            client.socket().write_all(b"no record of TLS").unwrap();
        }),
        ("client reset", "100", |client| {
            // Closing resets the connection, as there are session tickets to be read.
            client.socket().peek(&mut [0]).unwrap();
        }),
        ("idle timeout", "0.5", |client| {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }),
    ];
    for library in LIBRARIES {
        for (reason, idle, cut) in cuts {
            let (backend, requests) = reader();
            let backend = backend.to_string();
            let proxy = Proxy::start(&[
                "--tls",
                library,
                "--backend",
                &backend,
                "--idle-timeout",
                idle,
            ]);
            let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
            client.write_all(b"DELETE FROM t WHERE ").unwrap();
            cut(&mut client);
            drop(client);
            let (_, _, end) = requests.recv_timeout(PATIENCE).unwrap();
            assert_eq!(end, Err(ErrorKind::ConnectionReset), "{library}: {reason}");
            let ended = proxy.stop();
            assert_eq!(ended.closed(reason), 1, "{library}: {}", ended.stdout);
        }
    }
}

#[test]
fn a_drain_that_is_over_cuts_short() {
    let (backend, requests) = reader();
    let backend = backend.to_string();
    let proxy = Proxy::start(&["--backend", &backend, "--drain-timeout", "0.2"]);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    client.write_all(b"DELETE FROM t WHERE ").unwrap();
    assert_eq!(proxy.stop().closed("stopped"), 1);
    let (_, _, end) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

/// Once it has its answer and our end, a client may leave without a word, as many do.
#[test]
fn a_client_that_has_its_answer_may_leave_without_a_word() {
    let backend = spawn(|mut socket| {
        socket.read_exact(&mut [0])?;
        socket.write_all(b"that was all")
    });
    let proxy = Proxy::start(&["--backend", &backend.to_string()]);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    client.write_all(b"?").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "that was all");
    // The end of TCP, so that the proxy has said its last.
    assert_eq!(client.socket().read(&mut [0]).unwrap(), 0);
    client.bare_end().unwrap();
    drop(client);
    proxy.wait_until_all_closed();
    let ended = proxy.stop();
    assert_eq!(ended.closed("finished"), 1, "{}", ended.stdout);
}

#[test]
fn key_updates_keep_no_connection() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    for library in LIBRARIES {
        let backend = spawn(|mut socket| socket.read_to_end(&mut Vec::new()).map(drop));
        let args = [
            "--tls",
            library,
            "--backend",
            &backend.to_string(),
            "--idle-timeout",
            "0.5",
        ];
        let (proxy, ca) = certified(&dir, &args);
        let mut client = stock::connect(proxy.address, &ca).unwrap();
        client.write_all(b"?").unwrap();
        let is_cut_off = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            stock::update_keys(&mut client).is_err()
        });
        assert!(is_cut_off, "{library}");
        drop(client);
        let ended = proxy.stop();
        assert_eq!(
            ended.closed("idle timeout"),
            1,
            "{library}: {}",
            ended.stdout
        );
    }
}
