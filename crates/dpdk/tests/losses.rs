//! A port that loses, doubles, delays and spoils frames, curl on the kernel's TCP behind it.
#![cfg(feature = "dpdk")]

mod support;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Instant as Clock;

use spinlane_dpdk::{Port, PortConfig, QueuePair};
use spinlane_net::{Caps, Counters, Frame, FrameIo, Mac, Reason};
use support::responder::{Responder, body};
use support::{Cable, eal};

/// How often something happens to a frame, in either direction, per 10,000.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    lost: u64,
    doubled: u64,
    late: u64,
    spoilt: u64,
}

/// A port with faults, the same ones for the same seed.
#[derive(Debug)]
struct Faulty<F> {
    io: F,
    faults: Faults,
    state: u64,
    /// A frame that comes after the next one.
    held: Option<Vec<u8>>,
}

impl<F> Faulty<F> {
    fn new(io: F, faults: Faults, seed: u64) -> Self {
        Self {
            io,
            faults,
            state: seed | 1,
            held: None,
        }
    }
}

/// Whether something happens that does so `per` times in 10,000 (xorshift64*).
fn chance(state: &mut u64, per: u64) -> bool {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % 10_000 < per
}

/// What comes of a frame: `pass` gets it, once, twice, later or not at all.
fn suffer(
    bytes: &[u8],
    (faults, state, held): (Faults, &mut u64, &mut Option<Vec<u8>>),
    mut pass: impl FnMut(&[u8]),
) {
    if chance(state, faults.lost) {
        return;
    }
    let mut bytes = bytes.to_vec();
    if chance(state, faults.spoilt) {
        let at = (*state >> 8) as usize % (bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
    }
    if held.is_none() && chance(state, faults.late) {
        *held = Some(bytes);
        return;
    }
    pass(&bytes);
    if chance(state, faults.doubled) {
        pass(&bytes);
    }
    if let Some(late) = held.take() {
        pass(&late);
    }
}

impl<F: FrameIo> FrameIo for Faulty<F> {
    fn receive(&mut self, mut take: impl FnMut(Frame<'_>)) -> usize {
        let Self {
            io,
            faults,
            state,
            held,
        } = self;
        io.receive(|frame| {
            suffer(frame.bytes, (*faults, state, held), |bytes| {
                let checked = false;
                take(Frame { bytes, checked });
            });
        })
    }

    /// Only losses: what happens to frames on their way out happens to the peer's as well.
    fn transmit(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        chance(&mut self.state, self.faults.lost) || self.io.transmit(len, fill)
    }

    fn flush(&mut self) {
        self.io.flush();
    }

    fn caps(&self) -> Caps {
        self.io.caps()
    }
}

fn port(cable: &Cable, number: u32) -> (Mac, QueuePair) {
    let spec = format!("net_af_packet{number},iface={}", cable.ours);
    let (port, mut pairs) = Port::open(eal(), &spec, &PortConfig::default()).unwrap();
    (port.mac(), pairs.remove(0))
}

fn curl(cable: &Cable, url: &str, more: &[&str]) -> Child {
    let mut command = cable.command("curl");
    let args = ["-sS", "-g", "--http1.0", "--max-time", "200", url];
    command.args(args).args(more);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn bodies_are_whole_whatever_the_port_does() {
    let Some(cable) = Cable::new("bodies_are_whole_whatever_the_port_does", 20) else {
        return;
    };
    let faults = |lost, doubled, late, spoilt| Faults {
        lost,
        doubled,
        late,
        spoilt,
    };
    for (seed, faults) in [
        faults(300, 0, 0, 0),
        faults(0, 300, 0, 0),
        faults(0, 0, 300, 0),
        faults(0, 0, 0, 200),
        faults(100, 100, 100, 100),
    ]
    .into_iter()
    .enumerate()
    {
        let (mac, pair) = port(&cable, 20);
        let mut responder = Responder::on(Faulty::new(pair, faults, seed as u64 + 1), mac);
        for address in ["10.77.0.2", "[fd77::2]"] {
            let client = curl(&cable, &format!("http://{address}/400000"), &[]);
            let got = responder.serve(client);
            assert!(got == body(400_000), "{faults:?}: {} bytes", got.len());
        }
        let counters = responder.stack.counters();
        let spoilt = counters.dropped(Reason::Checksum) + counters.dropped(Reason::BadIp);
        assert_eq!(spoilt != 0, faults.spoilt != 0, "{counters:?}");
        assert!(
            faults.lost == 0 || counters.retransmissions != 0,
            "{counters:?}"
        );
    }
}

const LENGTH: usize = 20_000_000;

/// MB/s of a download, as curl says.
fn speed(output: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(output);
    let (bytes, speed) = text.trim().split_once(' ').unwrap();
    assert_eq!(bytes, LENGTH.to_string());
    speed.parse::<f64>().unwrap() / 1e6
}

const TOLD: [&str; 4] = [
    "-o",
    "/dev/null",
    "-w",
    "%{size_download} %{speed_download}",
];

fn ours(cable: &Cable, lost: u64, seed: u64) -> f64 {
    let (mac, pair) = port(cable, 21);
    let faults = Faults {
        lost,
        ..Faults::default()
    };
    let mut responder = Responder::on(Faulty::new(pair, faults, seed), mac);
    responder.body = body(LENGTH);
    let url = format!("http://10.77.0.2/{LENGTH}");
    let speed = speed(&responder.serve(curl(cable, &url, &TOLD)));
    let Counters {
        retransmissions,
        recoveries,
        probes,
        timeouts,
        ..
    } = responder.stack.counters();
    println!(
        "  ours: {retransmissions} segments again, {recoveries} recoveries, {probes} probes, {timeouts} time-outs"
    );
    speed
}

/// Linux at both ends, and between them a relay that loses frames.
fn linux(cable: &Cable, other: &Cable, lost: u64, seed: u64) -> f64 {
    let script = "import socket,sys\n\
        s = socket.create_server(('10.77.0.3', 80))\n\
        print('listening', flush=True)\n\
        c, _ = s.accept()\n\
        d = b''\n\
        while not d.endswith(b'\\r\\n\\r\\n'): d += c.recv(65536)\n\
        n = int(sys.argv[1])\n\
        c.sendall(b'HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % n + bytes(n))\n\
        c.close()\n";
    let mut server = other.command("python3");
    let mut server = server
        .args(["-c", script, &LENGTH.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 10];
    server
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut line)
        .unwrap();
    let (mut here, mut there) = (port(cable, 22).1, port(other, 23).1);
    let client = curl(cable, &format!("http://10.77.0.3/{LENGTH}"), &TOLD);
    let reader = std::thread::spawn(|| client.wait_with_output().unwrap());
    let mut state = seed | 1;
    let mut pass = |from: &mut QueuePair, to: &mut QueuePair| {
        from.receive(|frame| {
            if !chance(&mut state, lost) {
                to.transmit(frame.bytes.len(), |out| out.copy_from_slice(frame.bytes));
            }
        });
        to.flush();
    };
    while !reader.is_finished() {
        pass(&mut here, &mut there);
        pass(&mut there, &mut here);
    }
    let output = reader.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    server.wait().unwrap();
    speed(&output.stdout)
}

/// Prints what 20 MB by curl reach at losses, on our stack and with Linux at both ends.
#[test]
#[ignore = "measures: cargo test --release --features dpdk --test losses -- --ignored --nocapture"]
fn speed_at_losses_beside_linux() {
    let test = "speed_at_losses_beside_linux";
    let (Some(cable), Some(other)) = (Cable::new(test, 21), Cable::new(test, 22)) else {
        return;
    };
    for args in [
        ["addr", "flush", "dev", &other.theirs],
        ["addr", "add", "10.77.0.3/24", "dev"],
    ] {
        let more: &[&str] = if args[1] == "add" {
            &[&other.theirs]
        } else {
            &[]
        };
        other.run("ip", &[&args[..], more].concat());
    }
    println!(
        "{} cores; 20 MB by curl over veth and net_af_packet, MB/s",
        available()
    );
    for lost in [0, 100, 300] {
        for round in 1..=3 {
            let begun = Clock::now();
            let (ours, linux) = (
                ours(&cable, lost, round),
                linux(&cable, &other, lost, round),
            );
            let percent = lost as f64 / 100.0;
            println!(
                "{percent:.0} % lost: ours {ours:.1}, Linux at both ends {linux:.1}, ratio {:.2} ({:.1} s)",
                ours / linux,
                begun.elapsed().as_secs_f64()
            );
        }
    }
}

fn available() -> String {
    let output = Command::new("nproc").output().unwrap().stdout;
    String::from_utf8_lossy(&output).trim().to_owned()
}
