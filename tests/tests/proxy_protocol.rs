//! The PROXY protocol, to backends and from balancers: real haproxy and nginx at the other end.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use spinlane_tests::backend::spawn;
use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::identity::{issued, self_signed};
use spinlane_tests::program::{PATIENCE, TempDir, has, text};
use spinlane_tests::proxy::{LIBRARIES, Proxy};

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server of another make.
struct Other(Child);

impl Other {
    /// Starts it, and waits until it accepts on `port`.
    fn start(command: &mut Command, port: u16) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let other = Self(child.expect("it runs"));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        other
    }

    fn nginx(dir: &TempDir, port: u16) -> Self {
        let file = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/error;\nevents {{ }}\nhttp {{ access_log off;\n\
             client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
             server {{ listen 127.0.0.1:{port} proxy_protocol;\n\
             location / {{ return 200 \"it is $proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port\\n\"; }} }} }}\n",
            text(&dir.path(""))
        );
        let file = dir.file("nginx.conf", file.as_bytes());
        Self::start(
            Command::new("nginx").args(["-e", "stderr", "-c"]).arg(file),
            port,
        )
    }

    fn haproxy(dir: &TempDir, port: u16, of_mode: &str) -> Self {
        let file = format!(
            "defaults\n timeout client 100s\n timeout server 100s\n timeout connect 100s\n{of_mode}"
        );
        let file = dir.file("haproxy.cfg", file.as_bytes());
        Self::start(Command::new("haproxy").arg("-db").arg("-f").arg(file), port)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A backend that keeps the begin of each stream, as far as that comes in one go with `ends`, and answers.
fn keeper(ends: &'static [u8]) -> (SocketAddr, Receiver<Vec<u8>>) {
    let (sender, kept) = channel();
    let address = spawn(move |mut socket| {
        let mut all = Vec::new();
        let mut block = [0; 4096];
        while !all.ends_with(ends) {
            let count = socket.read(&mut block)?;
            if count == 0 {
                break;
            }
            all.extend_from_slice(&block[..count]);
        }
        let _ = sender.send(all);
        socket.write_all(b"kept")
    });
    (address, kept)
}

/// Sends `text`, reads until the end, and returns the client's own address.
fn say(mut client: TlsClient, text: &[u8]) -> (SocketAddr, String) {
    let own = client.socket().local_addr().unwrap();
    client.write_all(text).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    (own, answer)
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn nginx_takes_our_headers() {
    if !has("nginx") {
        return;
    }
    let dir = TempDir::new();
    let port = free_port();
    let _nginx = Other::nginx(&dir, port);
    for version in ["v1", "v2"] {
        let backend = format!("127.0.0.1:{port}");
        let proxy = Proxy::start(&["--backend", &backend, "--send-proxy", version]);
        let client = TlsClient::connect(proxy.address, &context(), None).unwrap();
        let (own, answer) = say(client, REQUEST);
        let wanted = format!("it is 127.0.0.1 {} {}\n", own.port(), proxy.address.port());
        assert!(answer.ends_with(&wanted), "{version}: {answer}");
        proxy.stop();
    }
}

#[test]
fn haproxy_takes_our_headers_with_name_and_id() {
    if !has("haproxy") {
        return;
    }
    let dir = TempDir::new();
    let port = free_port();
    let answering = format!(
        "frontend f\n mode http\n bind 127.0.0.1:{port} accept-proxy\n \
         http-request return status 200 content-type text/plain lf-string \
         \"it is %[src] %[src_port] %[dst_port] name %[fc_pp_authority] id %[fc_pp_unique_id].\"\n"
    );
    let _haproxy = Other::haproxy(&dir, port, &answering);
    for library in LIBRARIES {
        let backend = format!("127.0.0.1:{port}");
        let proxy = Proxy::start(&[
            "--backend",
            &backend,
            "--send-proxy",
            "v2",
            "--tls",
            library,
        ]);
        let answer = proxy.s_client(&["-servername", "a.example"]);
        let told = answer
            .lines()
            .find_map(|line| line.split_once("it is 127.0.0.1 "))
            .map(|(_, told)| told);
        let told = told.unwrap_or_else(|| panic!("{library}: {answer}"));
        assert!(
            told.contains(&format!(" {} name a.example id ", proxy.address.port())),
            "{library}: {told}"
        );
        let (_, id) = told.split_once(" id ").unwrap();
        assert!(
            id.split_once('.').unwrap().0.split('-').count() == 4,
            "{library}: {told}"
        );
        proxy.stop();
    }
}

/// The values of a header of v2 by their types, those of TLS behind the others.
fn values(header: &[u8]) -> Vec<(u8, Vec<u8>)> {
    fn walk(mut bytes: &[u8], values: &mut Vec<(u8, Vec<u8>)>) {
        while let [kind, high, low, rest @ ..] = bytes {
            let (value, after) = rest.split_at(usize::from(*high) << 8 | usize::from(*low));
            values.push((*kind, value.to_vec()));
            bytes = after;
        }
    }
    let mut all = Vec::new();
    let end = 16 + (usize::from(header[14]) << 8 | usize::from(header[15]));
    walk(&header[28..end], &mut all);
    let ssl = all
        .iter()
        .find(|(kind, _)| *kind == 0x20)
        .unwrap()
        .1
        .clone();
    walk(&ssl[5..], &mut all);
    all
}

#[test]
fn a_backend_is_told_of_tls_and_of_the_clients_certificate() {
    let dir = TempDir::new();
    let issuer = self_signed(&dir, "issuer", "p256");
    let client = issued(&dir, "the client", "p256", &issuer, "DNS:client.test");
    for library in LIBRARIES {
        let (backend, kept) = keeper(b"close\r\n\r\n");
        let proxy = Proxy::start(&[
            "--backend",
            &backend.to_string(),
            "--send-proxy",
            "v2",
            "--tls",
            library,
            "--client-ca",
            text(&issuer.certificate),
            "--client-auth",
            "optional",
            "--alpn",
            "h2,http/1.1",
            "--groups",
            "P-256",
        ]);
        let with = [
            "-cert",
            text(&client.certificate),
            "-key",
            text(&client.key),
            "-alpn",
            "h2",
        ];
        assert!(proxy.s_client(&with).contains("kept"), "{library}");
        let header = kept.recv_timeout(PATIENCE).unwrap();
        let all = values(&header);
        let value = |kind: u8| {
            let found = all.iter().find(|(of, _)| *of == kind);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(value(0x01).as_deref(), Some("h2"), "{library}");
        assert_eq!(
            all.iter().find(|(kind, _)| *kind == 0x20).unwrap().1[..5],
            [7, 0, 0, 0, 0],
            "{library}"
        );
        assert_eq!(value(0x21).as_deref(), Some("TLSv1.3"), "{library}");
        assert_eq!(value(0x22).as_deref(), Some("the client"), "{library}");
        assert!(value(0x23).unwrap().starts_with("TLS_"), "{library}");
        assert_eq!(value(0x26).as_deref(), Some("secp256r1"), "{library}");
        let first = value(0x05).unwrap();
        // Another one, without a certificate, over version 1.2.
        assert!(proxy.s_client(&["-tls1_2"]).contains("kept"), "{library}");
        let header = kept.recv_timeout(PATIENCE).unwrap();
        let all = values(&header);
        let find = |kind: u8| {
            all.iter()
                .find(|(of, _)| *of == kind)
                .map(|(_, value)| value.clone())
        };
        assert_eq!(find(0x20).unwrap()[..5], [1, 0, 0, 0, 1], "{library}");
        assert_eq!(
            (find(0x21), find(0x22)),
            (Some(b"TLSv1.2".to_vec()), None),
            "{library}"
        );
        assert_ne!(find(0x05).unwrap(), first.into_bytes(), "{library}");
        proxy.stop();
    }
}

#[test]
fn haproxy_in_front_says_who_the_client_is() {
    if !has("haproxy") {
        return;
    }
    for (library, header) in LIBRARIES.into_iter().zip(["send-proxy", "send-proxy-v2"]) {
        let dir = TempDir::new();
        let (backend, kept) = keeper(b"hello");
        let port = free_port();
        let arguments = [
            "--proxy-from",
            "127.0.0.0/8",
            "--send-proxy",
            "v1",
            "--tls",
            library,
        ];
        let proxy = Proxy::start(&[&["--backend", &backend.to_string()], &arguments[..]].concat());
        let relaying = format!(
            "listen l\n mode tcp\n bind 127.0.0.1:{port}\n server s {} {header}\n",
            proxy.address
        );
        let _haproxy = Other::haproxy(&dir, port, &relaying);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let client = TlsClient::connect(address, &context(), None).unwrap();
        let (own, answer) = say(client, b"hello");
        assert_eq!(answer, "kept", "{library}");
        let wanted = format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\nhello",
            own.port()
        );
        let all = std::iter::from_fn(|| kept.recv_timeout(PATIENCE).ok())
            .find(|begin| begin.ends_with(b"hello"));
        assert_eq!(String::from_utf8_lossy(&all.unwrap()), wanted, "{library}");
        proxy.stop();
    }
}

#[test]
fn without_a_header_nobody_gets_in_from_a_balancers_network_and_elsewhere_none_is_taken() {
    let (backend, kept) = keeper(b"hello");
    let backend = backend.to_string();
    let proxy = Proxy::start(&["--backend", &backend, "--proxy-from", "127.0.0.1"]);
    assert!(TlsClient::connect(proxy.address, &context(), None).is_err());
    let mut silent = TcpStream::connect(proxy.address).unwrap();
    silent.write_all(b"PROXY TCP4 1.2").unwrap();
    silent.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap_or_default();
    assert!(rest.is_empty());
    assert_eq!(proxy.stop().closed("proxy header"), 2);

    let proxy = Proxy::start(&["--backend", &backend, "--proxy-from", "10.9.8.0/24"]);
    let client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    assert_eq!(say(client, b"hello").1, "kept");
    assert_eq!(kept.recv_timeout(PATIENCE).unwrap(), b"hello");
    let mut liar = TcpStream::connect(proxy.address).unwrap();
    liar.write_all(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n")
        .unwrap();
    let mut rest = Vec::new();
    liar.read_to_end(&mut rest).unwrap_or_default();
    let ended = proxy.stop();
    assert_eq!(
        ended.closed("plain http") + ended.closed("not tls"),
        1,
        "{}",
        ended.stdout
    );
}
