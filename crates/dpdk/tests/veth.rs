//! Our stack on a port of DPDK's, `net_af_packet` on one end of a pair of virtual cables; the kernel's TCP and curl on the other,
//! in a network namespace of their own.
#![cfg(feature = "dpdk")]

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant as Clock;

use spinlane_dpdk::{Port, PortConfig, PortError, QueuePair};
use spinlane_net::{Mac, Reason};
use support::responder::{PATIENCE, Responder, body};
use support::{Cable, eal};

/// On our end of the cable.
fn responder(cable: &Cable, number: u32, mac: Option<Mac>) -> Responder<QueuePair> {
    let config = PortConfig {
        mac,
        ..PortConfig::default()
    };
    let spec = format!("net_af_packet{number},iface={}", cable.ours);
    let (port, mut pairs) = Port::open(eal(), &spec, &config).unwrap();
    Responder::on(pairs.remove(0), port.mac())
}

fn curl(cable: &Cable, address: &str, len: usize) -> Child {
    let url = format!("http://{address}/{len}");
    let mut command = cable.command("curl");
    command.args(["-sS", "-g", "--http1.0", "--max-time", "200", &url]);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Three pings, if the program is installed.
fn ping(cable: &Cable, address: &str) -> Option<Command> {
    let installed = Command::new("ping").arg("-V").output().is_ok();
    if !installed {
        eprintln!("SKIPPED pings: ping is not installed");
        return None;
    }
    let mut command = cable.command("ping");
    command.args(["-c", "3", "-i", "0.2", address]);
    Some(command)
}

#[test]
fn curl_is_served_over_a_dpdk_port() {
    let Some(cable) = Cable::new("curl_is_served_over_a_dpdk_port", 0) else {
        return;
    };
    let mut responder = self::responder(&cable, 0, None);
    for address in ["10.77.0.2", "[fd77::2]"] {
        for len in [0, 1, 1000, 100_000, 3_000_000] {
            let client = curl(&cable, address, len);
            let got = responder.serve(client);
            assert!(got == body(len), "{address}: {} of {len} bytes", got.len());
        }
    }
    assert_eq!(responder.served, 10);
    let counters = responder.stack.counters();
    assert_eq!(counters.accepted, 10);
    assert_eq!(counters.dropped(Reason::Checksum), 0);
    // Pings of both families, and a port that nobody listens on.
    for address in ["10.77.0.2", "fd77::2"] {
        if let Some(mut ping) = ping(&cable, address) {
            let output = responder.serve(ping.stdout(Stdio::piped()).spawn().unwrap());
            assert!(
                String::from_utf8_lossy(&output).contains("3 received"),
                "{address}"
            );
        }
    }
    let refused = cable
        .command("curl")
        .args(["-sS", "--max-time", "20", "http://10.77.0.2:81/"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let waiting = std::thread::spawn(|| refused.wait_with_output().unwrap());
    while !waiting.is_finished() {
        responder.turn();
    }
    let output = waiting.join().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("onnection refused") || text.contains("Couldn't connect"),
        "{text}"
    );
}

/// The same end with an address that is not the card's: it is set, or everything is received.
#[test]
fn a_chosen_address_is_answered_for() {
    let Some(cable) = Cable::new("a_chosen_address_is_answered_for", 1) else {
        return;
    };
    let mac = Mac([2, 0, 0x5e, 0, 0, 0x17]);
    let mut responder = self::responder(&cable, 1, Some(mac));
    let client = curl(&cable, "10.77.0.2", 5000);
    assert_eq!(responder.serve(client), body(5000));
    let neighbours = cable.run("ip", &["neigh", "show", "10.77.0.2"]);
    assert!(neighbours.contains(&mac.to_string()), "{neighbours}");
}

/// Our stack opens the connection; the kernel's python serves.
#[test]
fn a_connection_is_opened_to_the_kernels_server() {
    let Some(cable) = Cable::new("a_connection_is_opened_to_the_kernels_server", 2) else {
        return;
    };
    let mut responder = self::responder(&cable, 2, None);
    for address in ["10.77.0.1", "fd77::1"] {
        let script = "import socket,sys\n\
            f = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n\
            s = socket.create_server((sys.argv[1], 90), family=f)\n\
            print('listening', flush=True)\n\
            c, _ = s.accept()\n\
            n = 0\n\
            while True:\n\
            \x20   d = c.recv(65536)\n\
            \x20   if not d: break\n\
            \x20   n += len(d)\n\
            c.sendall(b'%d' % n)\n\
            c.close()\n";
        let mut server = cable.command("python3");
        let mut server = server
            .args(["-c", script, address])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = std::io::BufReader::new(server.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        assert_eq!(line, "listening\n");
        let to = SocketAddr::new(address.parse().unwrap(), 90);
        responder.turn();
        let id = responder.stack.connect(to).unwrap();
        let data = body(500_000);
        let (mut sent, mut got, begun) = (0, Vec::new(), Clock::now());
        while !responder.stack.peer_finished(id) {
            responder.turn();
            sent += responder.stack.write(id, &data[sent..]);
            if sent == data.len() {
                responder.stack.close(id);
            }
            responder.stack.read(id, |parts| {
                let bytes = parts.concat();
                got.extend_from_slice(&bytes);
                bytes.len()
            });
            assert!(begun.elapsed() < PATIENCE && responder.stack.end(id).is_none());
        }
        responder.stack.release(id);
        assert_eq!(String::from_utf8_lossy(&got), "500000");
        assert!(server.wait().unwrap().success());
    }
    assert_eq!(responder.stack.counters().connected, 2);
}

/// Every mistake at the start is named, and leaves nothing: the same name can be opened afterwards.
#[test]
fn mistakes_are_named_with_their_remedy() {
    let Some(cable) = Cable::new("mistakes_are_named_with_their_remedy", 3) else {
        return;
    };
    let open = |spec: &str, queues| {
        let config = PortConfig {
            queues,
            ..PortConfig::default()
        };
        Port::open(eal(), spec, &config).map(|(port, _)| port.name().to_owned())
    };
    let error = |spec: &str, queues| open(spec, queues).unwrap_err();
    assert!(matches!(error("eth0", 1), PortError::Spec { .. }));
    let error_of = error("net_nothing0", 1);
    assert!(
        matches!(error_of, PortError::NoDriver { .. }),
        "{error_of:?}"
    );
    let error_of = error("net_af_packet7,iface=sl-none", 1);
    assert!(
        matches!(error_of, PortError::Arguments { .. }),
        "{error_of:?}"
    );
    let spec = format!("net_af_packet3,iface={}", cable.ours);
    let error_of = error(&spec, 2);
    let few = PortError::Queues {
        name: "net_af_packet3".to_owned(),
        has: 1,
        wanted: 2,
    };
    assert_eq!(error_of, few);
    let config = PortConfig::default();
    let held = Port::open(eal(), &spec, &config).unwrap();
    let error_of = error(&spec, 1);
    assert!(matches!(error_of, PortError::InUse { .. }), "{error_of:?}");
    let (port, pairs) = held;
    assert!(port.is_up() && port.caps().mtu == 1500);
    drop(port);
    assert!(matches!(error(&spec, 1), PortError::InUse { .. }));
    drop(pairs);
    assert_eq!(open(&spec, 1), Ok("net_af_packet3".to_owned()));
}

/// Two cores, each with a queue pair and a stack of its own, share the address: a connection stays where the port has put its first
/// frame (`PACKET_FANOUT_HASH`; on a card receive-side scaling).
#[test]
fn two_queues_serve_an_address_together() {
    let Some(cable) = Cable::new("two_queues_serve_an_address_together", 4) else {
        return;
    };
    let spec = format!("net_af_packet4,iface={},qpairs=2", cable.ours);
    let config = PortConfig {
        queues: 2,
        ..PortConfig::default()
    };
    let (port, pairs) = Port::open(eal(), &spec, &config).unwrap();
    let stop = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let cores: Vec<_> = pairs
            .into_iter()
            .map(|pair| {
                let (mac, stop) = (port.mac(), &stop);
                scope.spawn(move || {
                    let mut responder = Responder::on(pair, mac);
                    while !stop.load(Ordering::Relaxed) {
                        responder.turn();
                    }
                    let counters = responder.stack.counters();
                    (counters.accepted, counters.dropped(Reason::NoConnection))
                })
            })
            .collect();
        for number in 0..24 {
            let address = if number % 2 == 0 {
                "10.77.0.2"
            } else {
                "[fd77::2]"
            };
            let output = curl(&cable, address, 20_000).wait_with_output().unwrap();
            assert!(
                output.status.success() && output.stdout == body(20_000),
                "{number}"
            );
        }
        stop.store(true, Ordering::Relaxed);
        cores
            .into_iter()
            .map(|core| core.join().unwrap())
            .collect::<Vec<_>>()
    });
    let served: u64 = counts.iter().map(|(served, _)| served).sum();
    assert!(
        served == 24
            && counts
                .iter()
                .all(|(served, strays)| *served > 0 && *strays == 0),
        "{counts:?}"
    );
}
