//! Segments of any kind, to one connection: no panic, memory within its bounds, and nothing is delivered that did not come in
//! the window.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use spinlane_tcp::{Config, Flags, Instant, Segment, Seq, State, Tcb, segment};

const LIMIT: u32 = 5_000;
const QUEUE: usize = 3_000;

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from(bytes.get(at).copied().unwrap_or(0)) << 8 | u32::from(bytes.get(at + 1).copied().unwrap_or(0))
}

fuzz_target!(|data: &[u8]| {
    let config = Config {
        mss: 536,
        receive_limit: LIMIT,
        timestamps: data.first().is_some_and(|byte| byte & 1 == 1),
        ..Config::default()
    };
    let mut now = Instant::from_micros(1_000_000);
    let syn = Segment {
        seq: Seq(u32::MAX - 100),
        flags: Flags::SYN,
        window: 2000,
        sack_permitted: true,
        timestamps: config.timestamps.then_some((1, 0)),
        ..Segment::default()
    };
    let active = data.first().is_some_and(|byte| byte & 2 == 2);
    let mut tcb = if active {
        Tcb::connect(&config, Seq(u32::MAX - 50))
    } else {
        Tcb::accept(&config, now, Seq(u32::MAX - 50), &syn)
    };
    let mut rest = data.get(1..).unwrap_or_default();
    while let [what, len, behind @ ..] = rest {
        let (bytes, next) = behind.split_at(behind.len().min(usize::from(*len)));
        rest = next;
        match what % 8 {
            // Any header.
            0 => {
                if let Ok(parsed) = segment::parse(bytes) {
                    tcb.segment(now, &parsed.segment, parsed.payload, |bytes| bytes.len() / 2);
                }
            }
            // One whose numbers lie near those expected.
            1..=4 => {
                let mut header = [0; 60];
                let options = bytes.get(8..).unwrap_or_default();
                let options = &options[..options.len().min(40)];
                header[20..20 + options.len()].copy_from_slice(options);
                header[12] = 0xf0;
                header[13] = bytes.get(4).copied().unwrap_or(16);
                let near = segment::parse(&header).map(|parsed| parsed.segment).unwrap_or_default();
                let segment = Segment {
                    seq: tcb.expects() + number(bytes, 0) % 8192 - 2048,
                    ack: tcb.next() + 64 - number(bytes, 2) % 4096,
                    window: u16::try_from(number(bytes, 5)).unwrap_or(0),
                    timestamps: config.timestamps.then(|| (2 + number(bytes, 6), number(bytes, 7))),
                    ..near
                };
                let payload = vec![*what; number(bytes, 6) as usize % 1200];
                tcb.segment(now, &segment, &payload, |bytes| bytes.len() / 2);
            }
            5 => now = now + Duration::from_millis(u64::from(*len) * 20),
            6 => match len % 8 {
                0 => tcb.close(),
                1 => tcb.abort(),
                2 => tcb.set_mss(number(bytes, 0) as u16),
                3 => {
                    if let Some(resting) = tcb.rest(now) {
                        tcb = Tcb::wake(&config, &resting);
                    }
                }
                _ => drop(tcb.read(|parts| parts.concat().len() / 2)),
            },
            _ => drop(tcb.send(bytes, QUEUE)),
        }
        let (mut sent, before) = (0, tcb.state());
        tcb.output(now, &mut |_: &Segment, payload: [&[u8]; 2]| {
            sent += payload.concat().len();
        });
        // No more than the queue, once, and once again what is lost.
        assert!(sent <= 3 * QUEUE, "{sent} bytes at once in {before:?}");
        assert!(tcb.unacknowledged() <= QUEUE);
        assert!(tcb.readable() <= LIMIT as usize && tcb.ahead().1 <= LIMIT as usize && tcb.ahead().0 <= 64);
        if tcb.state() == State::Closed {
            assert!(tcb.end().is_some() && tcb.due().is_none());
        }
    }
});
