//! The proxy's counters, over HTTP and as a table, with a lookaside device behind it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use spinlane_tests::client::{TlsClient, context};
use spinlane_tests::program::{PATIENCE, cores};
use spinlane_tests::proxy::Proxy;

/// Samples by name and labels.
type Samples = BTreeMap<(String, BTreeMap<String, String>), f64>;

const HANDSHAKES: usize = 12;

fn get(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Reads the text format (version 0.0.4), and checks that every sample's family has been declared.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            families.push(declared.split(' ').next().unwrap().to_owned());
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, labels, value) = match line.split_once('{') {
            Some((name, rest)) => {
                let (labels, value) = rest.rsplit_once("} ").unwrap();
                (name, labels, value)
            }
            // Of the program as a whole.
            None => {
                let (name, value) = line.split_once(' ').unwrap();
                (name, "", value)
            }
        };
        let family = families.last().unwrap();
        let suffixed = [
            family.clone(),
            format!("{family}_sum"),
            format!("{family}_count"),
        ];
        assert!(
            suffixed.contains(&name.to_owned()),
            "{line} within {family}"
        );
        let labels = labels.split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        let key = (name.to_owned(), labels.collect());
        assert_eq!(
            samples.insert(key, value.parse().unwrap()),
            None,
            "{line} twice"
        );
    }
    samples
}

/// The sum over all samples of `name` whose labels include `wanted`.
fn sum(samples: &Samples, name: &str, wanted: &[(&str, &str)]) -> f64 {
    let fits = |labels: &BTreeMap<String, String>| {
        let has = |(name, value): &(&str, &str)| labels.get(*name).is_some_and(|is| is == value);
        wanted.iter().all(has)
    };
    let found: Vec<f64> = samples
        .iter()
        .filter(|((of, labels), _)| of.strip_prefix("spinlane_") == Some(name) && fits(labels))
        .map(|(_, value)| *value)
        .collect();
    assert!(
        !found.is_empty(),
        "no {name} with {wanted:?} in {samples:#?}"
    );
    found.iter().sum()
}

#[test]
fn counters_are_scraped_and_add_up() {
    // Both share a core, where there is but one.
    let device = format!("lookaside:soft@{},sleep_us=20", cores()[0]);
    let proxy = Proxy::start(&[
        "--device",
        &device,
        "--metrics",
        "127.0.0.1:0",
        "--stats-interval",
        "0.05",
    ]);
    let said = proxy.said();
    let url = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("metrics      http://"));
    let address = url
        .unwrap()
        .strip_suffix("/metrics")
        .unwrap()
        .parse()
        .unwrap();

    let ctx = context();
    for _ in 0..HANDSHAKES {
        drop(TlsClient::connect(proxy.address, &ctx, None).unwrap());
    }
    let mut answer = String::new();
    proxy.wait_until("all connections are closed", |_| {
        answer = get(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let samples = parse(body(&answer));
        // On a busy machine the core may answer too late.
        sum(&samples, "core_up", &[]) == 1.0 && sum(&samples, "connections_open", &[]) == 0.0
    });
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("Content-Type: text/plain; version=0.0.4\r\n"),
        "{answer}"
    );
    let samples = parse(body(&answer));

    let all = HANDSHAKES as f64;
    assert_eq!(sum(&samples, "handshakes_total", &[]), all);
    assert_eq!(sum(&samples, "connections_accepted_total", &[]), all);
    assert_eq!(sum(&samples, "connections_closed_total", &[]), all);
    assert_eq!(sum(&samples, "device_healthy", &[]), 1.0);
    assert_eq!(
        sum(&samples, "device_xstat", &[("name", "crypto_cores_usable")]),
        1.0
    );
    assert!(sum(&samples, "ops_in_flight_peak", &[]) >= 1.0);
    assert!(sum(&samples, "polls_total", &[]) > sum(&samples, "callbacks_total", &[]));
    for op in ["ecdsa-p256", "x25519-exchange"] {
        let device = device.split(',').next().unwrap();
        let labels = [("op", op), ("device", device), ("queue_pair", "0")];
        let of = |name| sum(&samples, name, &labels);
        assert_eq!(of("ops_enqueued_total"), all, "{op}");
        let ended = of("ops_completed_total") + of("ops_fallback_total");
        assert_eq!(ended + of("ops_cancelled_total"), all, "{op}");
        assert_eq!(of("op_latency_seconds_count"), ended, "{op}");
        assert_eq!(of("ops_timed_out_total"), 0.0, "{op}");
        let quantiles = ["0.5", "0.99", "0.999"].map(|quantile| {
            let labels = [labels.as_slice(), &[("quantile", quantile)]].concat();
            sum(&samples, "op_latency_seconds", &labels)
        });
        assert!(
            quantiles.is_sorted() && quantiles[0] > 0.0,
            "{op}: {quantiles:?}"
        );
        assert!(of("op_latency_seconds_sum") >= quantiles[2] * 0.99, "{op}");
    }

    assert!(get(address, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    // Clients that say nothing hold up nobody. If each were waited for, it would take too long.
    let silent: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    drop(TlsClient::connect(proxy.address, &ctx, None).unwrap());
    assert!(get(address, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    drop(silent);

    proxy.wait_until("a table", |proxy| proxy.said().contains("p99.9 us"));
    let ended = proxy.stop();
    let table = ended.stdout.rsplit("p99.9 us").next().unwrap();
    let row = table
        .lines()
        .find(|line| line.trim().starts_with("ecdsa-p256"))
        .unwrap();
    let columns: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(columns.len(), 11, "{row}");
    assert_eq!(columns[1], (HANDSHAKES + 1).to_string(), "{row}");
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}
