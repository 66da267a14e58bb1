//! `spinlane proxy` in front of devices that fail: clients notice nothing, and the counters tell.

#![forbid(unsafe_code)]

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use spinlane_tests::client::{TlsClient, context, hello};
use spinlane_tests::program::cores;
use spinlane_tests::proxy::{Ended, Proxy};

/// Every fault there is, frequent enough that a few hundred handshakes meet each.
const ALL_FAULTS: &str = "sim:7,latency=tail:20us-2ms,lose=0.003,dup=0.02,late=0.003,late-by=200ms,\
                          corrupt=0.02,wrong-status=0.01,refuse=0.02,reorder=0.3,reset=0.001,\
                          die=400ms,revive=100ms,descriptors=64:auto";
/// Clients at a time.
const CLIENTS: usize = 8;

/// One in so many clients goes away in its handshake, where they are to.
const LEAVES: usize = 16;

/// `count` connections with a request each, by several clients at a time. All succeed, but for
/// those that leave: every [`LEAVES`]th, if `some_leave`.
fn connect(address: SocketAddr, count: usize, some_leave: bool) {
    let (ctx, next, hello) = (context(), AtomicUsize::new(0), hello());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    if some_leave && number % LEAVES == 0 {
                        let mut socket = TcpStream::connect(address).unwrap();
                        socket.write_all(&hello).unwrap();
                        continue;
                    }
                    let mut client = TlsClient::connect(address, &ctx, None).unwrap();
                    client.get().unwrap();
                    client.close_notify().unwrap();
                }
            });
        }
    });
}

/// The counters of the only core's device at the end.
struct Device<'a>(&'a str);

impl<'a> Device<'a> {
    fn of(ended: &'a Ended) -> Self {
        let last = ended.stdout.rsplit("  device ").next().unwrap();
        Self(last.split("all cores, final").next().unwrap())
    }

    /// The number in front of `name`.
    fn before(&self, name: &str) -> u64 {
        let before = self.0.split(name).next().unwrap().trim_end();
        let number = before.rsplit(' ').next().unwrap();
        let number = number.parse();
        number.unwrap_or_else(|_| panic!("no number before {name:?} in {}", self.0))
    }

    /// The number that follows `name`.
    fn after(&self, name: &str) -> u64 {
        let after = self.0.split(&format!("{name} ")).nth(1);
        let after = after.unwrap_or_else(|| panic!("no {name:?} in {}", self.0));
        let digits = after.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap()
    }

    fn adds_up(&self) {
        let [enqueued, completed, fallback, cancelled, in_flight] = [
            " ops:",
            " completed",
            " fallback",
            " cancelled",
            " in flight",
        ]
        .map(|name| self.before(name));
        assert_eq!(enqueued, completed + fallback + cancelled, "{}", self.0);
        assert_eq!(in_flight, 0, "{}", self.0);
        assert!(completed > 0 && fallback > 0, "{}", self.0);
    }
}

/// `count` connections to `tls` behind every fault: all complete, or close for the reason that
/// the client left, and nothing is left behind.
fn every_fault(tls: &str, count: usize) {
    let proxy = Proxy::start(&[
        "--tls",
        tls,
        "--device",
        ALL_FAULTS,
        "--op-deadline",
        "0.05",
        "--self-signed",
        "rsa2048",
    ]);
    // Pools fill.
    let (first, rest) = (count / 4, count - count / 4);
    connect(proxy.address, first, true);
    let rounds = proxy.stops_growing(|| connect(proxy.address, rest, true));
    let ended = proxy.stop();
    let left = first.div_ceil(LEAVES) + rounds * rest.div_ceil(LEAVES);
    let (stayed, left) = ((first + rounds * rest - left) as u64, left as u64);
    assert_eq!(
        (ended.count("handshakes ("), ended.closed("finished")),
        (stayed, stayed),
        "{}",
        ended.stdout
    );
    let reasons = ["truncated handshake", "client reset"].map(|reason| ended.closed(reason));
    assert_eq!(
        (ended.count("failed"), reasons.iter().sum()),
        (left, left),
        "{}",
        ended.stdout
    );
    let device = Device::of(&ended);
    device.adds_up();
    for fault in [
        "lost",
        "duplicated",
        "late",
        "corrupted",
        "wrong_status",
        "refused",
        "reordered",
        "deaths",
        "revivals",
    ] {
        assert!(device.after(fault) > 0, "{fault} in {}", device.0);
    }
    println!("{}", ended.stdout);
}

#[test]
fn two_thousand_connections_to_openssl_do_not_notice_any_fault() {
    every_fault("openssl", 2_000);
}

#[test]
fn two_thousand_connections_to_rustls_do_not_notice_any_fault() {
    every_fault("rustls", 2_000);
}

/// `SPINLANE_BIN=target/release/spinlane cargo test --release -p spinlane-tests --test proxy_sim --
/// --ignored --nocapture`
#[test]
#[ignore = "takes minutes; run by name"]
fn a_hundred_thousand_connections_do_not_notice_any_fault() {
    every_fault("openssl", 100_000);
}

/// A device that dies and revives under load: no handshake fails, software helps out.
fn dies_and_revives(device: &str) {
    let proxy = Proxy::start(&["--device", device, "--op-deadline", "0.1"]);
    let mut connections = 0;
    proxy.wait_until("it died and revived twice", |proxy| {
        connect(proxy.address, 50, false);
        connections += 50;
        proxy.log().matches("device healthy again").count() >= 2
    });
    let ended = proxy.stop();
    assert_eq!(
        (ended.count("handshakes ("), ended.count("failed")),
        (connections, 0),
        "{}",
        ended.stdout
    );
    let counts = Device::of(&ended);
    counts.adds_up();
    assert!(counts.after("failures") >= 2 && counts.after("recoveries") >= 2);
    let log = &ended.stderr;
    assert!(log.contains("device unhealthy: no answer"), "{log}");
}

#[test]
fn a_device_that_dies_and_revives_under_load_fails_no_handshake() {
    dies_and_revives("sim:1,latency=uniform:50us-500us,die=700ms,revive=700ms:auto");
}

#[test]
fn nor_does_one_behind_a_crypto_core() {
    dies_and_revives(&format!(
        "lookaside:sim:1,die=700ms,revive=700ms:auto@{},sleep_us=50",
        cores()[0]
    ));
}

#[test]
fn a_device_that_is_dead_for_good_only_costs_its_deadline() {
    let proxy = Proxy::start(&["--device", "sim:1,die=1ms:auto", "--op-deadline", "0.05"]);
    connect(proxy.address, 200, false);
    let ended = proxy.stop();
    assert_eq!(ended.count("failed"), 0, "{}", ended.stdout);
    let device = Device::of(&ended);
    assert!(device.before(" fallback") > 200, "{}", device.0);
    assert!(ended.stdout.contains("UNHEALTHY"), "{}", ended.stdout);
}

#[test]
fn ops_of_connections_that_are_cut_off_meanwhile_are_counted_as_cancelled() {
    const CUT_OFF: usize = 40;
    let proxy = Proxy::start(&[
        "--device",
        "sim:1,latency=constant:4s:auto",
        "--handshake-timeout",
        "1",
        "--stats-interval",
        "0.1",
    ]);
    let hello = hello();
    let sockets: Vec<_> = (0..CUT_OFF)
        .map(|_| {
            let mut socket = TcpStream::connect(proxy.address).unwrap();
            socket.write_all(&hello).unwrap();
            socket
        })
        .collect();
    // Each asks for one op, but for those whose hello comes too late on a busy machine.
    let ops = |proxy: &Proxy| {
        let said = proxy.said();
        let last = said.rsplit(" ops: ").next()?.lines().next()?.to_owned();
        let rest = last.strip_prefix("0 completed, 0 fallback, ")?;
        let (cancelled, _) = rest.split_once(" cancelled, 0 in flight")?;
        cancelled.parse::<usize>().ok()
    };
    proxy.wait_until("the device gave all ops back", |proxy| {
        ops(proxy).is_some_and(|cancelled| (1..=CUT_OFF).contains(&cancelled))
    });
    drop(sockets);
    let ended = proxy.stop();
    assert_eq!(
        ended.closed("handshake timeout"),
        CUT_OFF as u64,
        "{}",
        ended.stdout
    );
}
