//! `spinlane proxy --record-device`: records that devices seal arrive whole, whatever the devices do.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use spinlane_tests::backend::spawn;
use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::noise::{Noise, hash_of};
use spinlane_tests::program::{PATIENCE, TempDir, cores, has, run, spinlane};
use spinlane_tests::proxy::{Ended, Proxy};

const LEN: u64 = 20_000_000;

fn body() -> Noise {
    Noise::new(11, LEN)
}

/// Answers a request with [`body`].
fn answer(mut socket: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut part = [0; 1024];
        match socket.read(&mut part)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&part[..count]),
        }
    }
    write!(
        socket,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {LEN}\r\n\r\n"
    )?;
    io::copy(&mut body(), &mut socket)?;
    socket.shutdown(std::net::Shutdown::Write)
}

/// Devices that seal records, of which this build and this machine have all.
fn devices() -> Vec<String> {
    let mut devices = vec![
        "soft".to_owned(),
        format!("lookaside:soft@{},sleep_us=20", cores()[0]),
        "sim:5,latency=uniform:1us-400us,reorder=0.3,lose=0.001,dup=0.01,wrong-status=0.01,refuse=0.01:soft"
            .to_owned(),
    ];
    if cfg!(feature = "dpdk") {
        devices.extend(["crypto_aesni_gcm", "crypto_aesni_mb"].map(|name| format!("dpdk:{name}")));
    } else {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED dpdk devices: built without the feature dpdk; `make test` turns it on where DPDK is"
        );
    }
    devices
}

/// Numbers of the last table's line about queue pairs for records: before each of these words.
fn numbers(ended: &Ended, words: &[&str]) -> Vec<u64> {
    let last = ended.stdout.rsplit("  device ").next().unwrap();
    let number = |word: &&str| {
        let before = last.split(word).next().unwrap().trim_end();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    words.iter().map(number).collect()
}

/// Whatever was enqueued has ended; returns how many the device ended and how many software did in its place.
fn adds_up(ended: &Ended) -> (u64, u64) {
    let words = [
        " ops:",
        " completed",
        " fallback",
        " cancelled",
        " in flight",
    ];
    let counts = numbers(ended, &words);
    let [enqueued, completed, fallback, cancelled, in_flight] = counts[..] else {
        panic!("{counts:?}");
    };
    let ended_somehow = completed + fallback + cancelled;
    assert_eq!(
        (enqueued, in_flight),
        (ended_somehow, 0),
        "{}",
        ended.stdout
    );
    (completed, fallback)
}

/// Several clients of curl's fetch the body at once.
fn fetch(proxy: &Proxy, args: &[&str]) {
    let dir = TempDir::new();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let path = dir.path(&format!("body{number}"));
            scope.spawn(move || {
                let mut curl = Command::new("curl");
                curl.args(["-sSk", "-o"]).arg(&path).args(args);
                let output = run(curl.arg(format!("https://{}/", proxy.address)), b"");
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{said}");
                let got = hash_of(&mut File::open(&path).unwrap()).unwrap();
                assert_eq!(got, (LEN, body().hash()), "{args:?}");
            });
        }
    });
}

#[test]
fn twenty_megabytes_arrive_whole_from_every_device() {
    if !has("curl") {
        return;
    }
    let backend = spawn(answer).to_string();
    for device in devices() {
        let args = ["--record-device", &device, "--backend", &backend];
        let proxy = Proxy::start(&[&args[..], &["--op-deadline", "0.02"]].concat());
        fetch(&proxy, &["--tlsv1.3"]);
        fetch(
            &proxy,
            &[
                "--tls-max",
                "1.2",
                "--ciphers",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
            ],
        );
        let ended = proxy.stop();
        assert_eq!(ended.closed("finished"), 8, "{}", ended.stdout);
        let (completed, fallback) = adds_up(&ended);
        let records = 8 * LEN / 16_384;
        assert!(
            completed + fallback >= records,
            "{device}: {}",
            ended.stdout
        );
        assert!(completed > records / 2, "{device}: {}", ended.stdout);
    }
}

#[test]
fn a_device_that_dies_in_the_middle_is_replaced_by_software_until_it_lives_again() {
    if !has("curl") {
        return;
    }
    let backend = spawn(answer).to_string();
    let device = "sim:3,die=200ms,revive=100ms:soft";
    let args = ["--record-device", device, "--backend", &backend];
    let proxy = Proxy::start(&[&args[..], &["--op-deadline", "0.01"]].concat());
    // When it dies is a matter of the clock: bodies are fetched until it has, and has been found to live again.
    let deadline = Instant::now() + PATIENCE;
    let mut fetches = 0;
    while !["device unhealthy", "device healthy again"]
        .iter()
        .all(|words| proxy.log().contains(words))
    {
        assert!(Instant::now() < deadline, "{}", proxy.log());
        fetch(&proxy, &["--tlsv1.3"]);
        fetches += 1;
    }
    let ended = proxy.stop();
    let (completed, fallback) = adds_up(&ended);
    assert!(completed > 0 && fallback > 0, "{}", ended.stdout);
    assert_eq!(ended.closed("finished"), 4 * fetches, "{}", ended.stdout);
}

#[test]
fn clients_that_leave_with_records_in_flight_hurt_nobody() {
    let backend = spawn(answer).to_string();
    let device = "sim:3,latency=uniform:1us-2ms:soft";
    let proxy = Proxy::start(&["--record-device", device, "--backend", &backend]);
    for number in 0..60 {
        let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut part = vec![0; 100_000 * (number % 3)];
        client.read_exact(&mut part).unwrap();
    }
    proxy.wait_until_all_closed();
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    let start = all.len() - usize::try_from(LEN).unwrap();
    assert_eq!(hash_of(&mut &all[start..]).unwrap().1, body().hash());
    drop(client);
    adds_up(&proxy.stop());
}

#[test]
fn a_device_that_seals_no_records_and_a_library_that_seals_itself_are_named() {
    for (args, wanted) in [
        (
            ["--record-device", "mb", "--tls", "rustls"],
            "it seals no records",
        ),
        (
            ["--record-device", "soft", "--tls", "openssl"],
            "use --tls rustls",
        ),
        (
            ["--record-device", "nothing", "--tls", "rustls"],
            "unknown device",
        ),
    ] {
        let mut command = Command::new(spinlane());
        command
            .args(["proxy", "--listen", "127.0.0.1:0"])
            .args(args);
        let output = run(&mut command, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{said}");
    }
}

#[test]
fn the_metrics_count_records_by_algorithm() {
    let proxy = Proxy::start(&["--record-device", "soft", "--metrics", "127.0.0.1:0"]);
    let mut client = TlsClient::connect(proxy.address, &context(), None).unwrap();
    client.get().unwrap();
    let address = proxy.said();
    let address = address
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let is_of_records =
        |line: &&str| line.contains("op=\"aes-") && line.contains("queue_pair=\"1\"");
    let lines: Vec<_> = text.lines().filter(is_of_records).collect();
    let has = |name: &str| {
        lines
            .iter()
            .any(|line| line.starts_with(name) && !line.ends_with(" 0"))
    };
    for name in [
        "spinlane_ops_completed_total",
        "spinlane_ops_bytes_total",
        "spinlane_op_latency_seconds_count",
    ] {
        assert!(has(name), "{name}: {text}");
    }
    client.close_notify().unwrap();
    drop(client);
    proxy.stop();
}
