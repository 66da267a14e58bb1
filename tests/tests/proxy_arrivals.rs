//! `spinlane proxy` when bytes arrive or leave in pieces: a handshake ends without one more, or says why not.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpStream;

use spinlane::openssl::{ClientConfig, Progress, Protocol};
use spinlane::{Ssl, SslCtx};
use spinlane_tests::client::TlsClient;
use spinlane_tests::identity::self_signed;
use spinlane_tests::program::{PATIENCE, TempDir, has};
use spinlane_tests::proxy::{LIBRARIES, Proxy};

/// Does a handshake whose records each go out by themselves.
fn record_by_record(proxy: &Proxy, ctx: &SslCtx) {
    let mut socket = TcpStream::connect(proxy.address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_nodelay(true).expect("no delay");
    let mut ssl = Ssl::client(ctx).expect("a client");
    loop {
        let progress = ssl.handshake().expect("a handshake");
        while ssl.output_len() != 0 {
            let sent = ssl.write_output(|bytes| {
                let len = 5 + usize::from(bytes[3]) * 256 + usize::from(bytes[4]);
                socket.write_all(&bytes[..len])?;
                Ok(len)
            });
            sent.expect("the proxy listens");
        }
        match progress {
            Progress::Done(_) => return,
            Progress::WantInput => {
                let count = ssl.read_input(|room| socket.read(room));
                assert_ne!(count.expect("the proxy goes on"), 0, "the proxy has closed");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_handshake_ends_whose_records_come_one_by_one() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    for library in LIBRARIES {
        for kind in ["p256", "rsa2048"] {
            let identity = self_signed(&dir, kind, kind);
            let [certificate, key] =
                [&identity.certificate, &identity.key].map(|path| path.to_str().expect("text"));
            let proxy = Proxy::start(&["--tls", library, "--cert", certificate, "--key", key]);
            for max_protocol in [Protocol::Tls12, Protocol::Tls13] {
                let config = ClientConfig {
                    max_protocol,
                    ..ClientConfig::dangerously_accepting_any_certificate()
                };
                let ctx = SslCtx::client(&config).expect("a context");
                for _ in 0..30 {
                    record_by_record(&proxy, &ctx);
                }
            }
            assert_eq!(proxy.stop().count("handshakes ("), 60);
        }
    }
}

#[test]
fn a_handshake_ends_whose_certificates_take_more_than_one_buffer() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let identity = self_signed(&dir, "long", "p256");
    let [certificate, key] =
        [&identity.certificate, &identity.key].map(|path| path.to_str().expect("text"));
    let one = std::fs::read(certificate).expect("a certificate");
    // In PEM a third longer than it is: 80 KiB go over the wire.
    let count = 110 * 1024 / one.len();
    std::fs::write(certificate, one.repeat(count)).expect("a chain");
    for library in LIBRARIES {
        let proxy = Proxy::start(&["--tls", library, "--cert", certificate, "--key", key]);
        for max_protocol in [Protocol::Tls12, Protocol::Tls13] {
            let config = ClientConfig {
                max_protocol,
                ..ClientConfig::dangerously_accepting_any_certificate()
            };
            let ctx = SslCtx::client(&config).expect("a context");
            let mut client = TlsClient::connect(proxy.address, &ctx, None).expect("a handshake");
            client.get().expect("an answer");
        }
        proxy.stop();
    }
}

#[test]
fn a_client_is_told_why_it_is_turned_away() {
    // What no handshake begins with, and the alert for it (RFC 8446, section 6).
    let half_hello = [22, 3, 1, 0, 5, 1, 0, 1, 0, 3];
    let behind_half_hello = |record: &[u8]| [&half_hello, record].concat();
    let proxy = Proxy::start(&["--tls", "rustls"]);
    for (bytes, alert) in [
        (vec![22, 3, 1, 0, 4, 1, 1, 0, 0], 50),
        (behind_half_hello(&[23, 3, 3, 0, 1, 0]), 10),
        (vec![22, 3, 1, 0x40, 1], 22),
    ] {
        let mut socket = TcpStream::connect(proxy.address).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.write_all(&bytes).expect("the proxy listens");
        let mut said = Vec::new();
        socket.read_to_end(&mut said).expect("an end");
        assert_eq!(said, [21, 3, 3, 0, 2, 2, alert], "{bytes:x?}");
    }
    // What no record begins with, once the keys are in use.
    for max_protocol in [Protocol::Tls12, Protocol::Tls13] {
        let config = ClientConfig {
            max_protocol,
            ..ClientConfig::dangerously_accepting_any_certificate()
        };
        let ctx = SslCtx::client(&config).expect("a context");
        for (header, alert) in [
            ([99, 3, 3, 0, 40], "unexpected message"),
            ([23, 3, 3, 0x48, 1], "record overflow"),
        ] {
            let mut client = TlsClient::connect(proxy.address, &ctx, None).expect("a handshake");
            client.get().expect("an answer");
            client.socket().write_all(&header).expect("it listens");
            let error = client.read(&mut [0; 10]).expect_err("an alert").to_string();
            assert!(error.contains(alert), "{header:x?}: {error}");
        }
    }
    proxy.stop();
}
