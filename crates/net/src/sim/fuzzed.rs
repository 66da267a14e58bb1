//! A stack that a fuzzer speaks to.

use std::net::SocketAddr;

use spinlane_tcp::{Flags, Segment, Seq};

use super::frames;
use super::plan::{MACS, Setup};
use super::port::Port;
use crate::address::Tuple;
use crate::config::Config;
use crate::flow::FlowId;
use crate::stack::{ListenerId, Stack};
use crate::{Instant, Reason};

/// Bounds of the tables, small enough to be met.
const MOST_FLOWS: u32 = 8;
const MOST_HALF_OPEN: u32 = 2;
const MOST_TIME_WAIT: u32 = 2;

/// A stack with a server, and an application that does what it is told.
#[derive(Debug)]
pub struct Fuzzed {
    stack: Stack<Port>,
    listener: ListenerId,
    client: Tuple,
    peer: SocketAddr,
    flows: Vec<FlowId>,
    /// The next number that the client expects, as it saw it last, and its own.
    seen: (Seq, Seq),
    now: u64,
    given: u64,
}

impl Fuzzed {
    /// A stack with the second station's addresses.
    ///
    /// # Panics
    /// If the set-up is no good.
    #[expect(clippy::unwrap_used, reason = "a fuzz target's")]
    pub fn new(setup: &Setup) -> Self {
        let config = Config::new(MACS[1], setup.interface(1), [7; 48]);
        let config = Config {
            max_flows: MOST_FLOWS,
            max_half_open: MOST_HALF_OPEN,
            max_time_wait: MOST_TIME_WAIT,
            answers_per_second: 10,
            send_limit: 20_000,
            ..config
        };
        let mut stack = Stack::new(config, Port::new(setup.mtu)).unwrap();
        let server = SocketAddr::new(setup.address(1), 443);
        let listener = stack.listen(server).unwrap();
        let client = Tuple {
            local: setup.address(0).into(),
            remote: setup.address(1).into(),
            local_port: 5000,
            remote_port: 443,
        };
        Self {
            stack,
            listener,
            client,
            peer: SocketAddr::new(setup.address(0), 80),
            flows: Vec::new(),
            seen: (Seq(0), Seq(0)),
            now: 1_000_000,
            given: 0,
        }
    }

    fn give(&mut self, frame: Vec<u8>) {
        self.given += 1;
        self.stack.io().arrived.push_back(frame);
        let now = Instant::from_micros(self.now);
        self.stack.receive(now, |_, bytes| bytes.len() / 2);
    }

    /// One step.
    pub fn step(&mut self, what: u8, bytes: &[u8]) {
        match what % 8 {
            0 => self.give(bytes.to_vec()),
            1 => {
                let mut frame = bytes.to_vec();
                frames::repair(&mut frame);
                self.give(frame);
            }
            2..=4 => self.segment(bytes),
            5 => self.now += u64::from(what) * 20_000,
            _ => self.application(bytes),
        }
        self.turn();
    }

    /// A segment of the client's, or of another port's of it, near the numbers that it knows.
    fn segment(&mut self, bytes: &[u8]) {
        let mut fields = [0; 8];
        let (fixed, payload) = bytes.split_at(bytes.len().min(8));
        fields[..fixed.len()].copy_from_slice(fixed);
        let [port, seq, ack, flags, window, high, ..] = fields;
        let mut tuple = self.client;
        tuple.local_port += u16::from(port % 4);
        let kinds = [Flags::SYN, Flags::ACK, Flags::FIN, Flags::RST];
        let mut all = Flags::default();
        for (bit, kind) in kinds.into_iter().enumerate() {
            if flags >> bit & 1 == 1 {
                all |= kind;
            }
        }
        let (ours, peers) = self.seen;
        let segment = Segment {
            seq: peers + u32::from(seq) - 8,
            ack: ours + u32::from(ack) - 8,
            flags: all,
            window: u16::from(window) << 8 | u16::from(high),
            timestamps: (flags & 16 != 0).then_some((self.now as u32 / 1000, 0)),
            ..Segment::default()
        };
        let frame = frames::segment((MACS[0], MACS[1]), &tuple, &segment, payload);
        self.give(frame);
    }

    fn application(&mut self, bytes: &[u8]) {
        let [what, which, ..] = *bytes else {
            return;
        };
        if what % 8 == 0 && self.flows.len() < 4 {
            self.flows.extend(self.stack.connect(self.peer).ok());
        }
        let count = self.flows.len().max(1);
        let place = usize::from(which) % count;
        let Some(id) = self.flows.get(place).copied() else {
            return;
        };
        match what % 8 {
            1 => self.stack.close(id),
            2 => drop(self.stack.write(id, &vec![1; bytes.len() * 100])),
            3 => drop(self.stack.read(id, |parts| parts.concat().len() / 2)),
            4 => self.stack.set_receive_limit(id, u32::from(which) * 100),
            5 => self.stack.abort(self.flows.swap_remove(place)),
            6 => self.stack.release(self.flows.swap_remove(place)),
            _ => {}
        }
    }

    fn turn(&mut self) {
        while let Some(id) = self.stack.accept(self.listener) {
            self.flows.push(id);
        }
        while self.stack.next_ready().is_some() {}
        self.stack.transmit(Instant::from_micros(self.now));
        for frame in std::mem::take(&mut self.stack.io().sent) {
            if let Some((_, parsed)) = frames::parse(&frame) {
                let advance = u32::from(parsed.segment.flags.has(Flags::SYN));
                self.seen = (parsed.segment.seq + advance, parsed.segment.ack);
            }
        }
        self.check();
    }

    /// Whether every bound is kept, and each frame was taken or counted.
    ///
    /// # Panics
    /// If not.
    pub fn check(&self) {
        let stack = &self.stack;
        assert!(stack.flows() <= MOST_FLOWS as usize);
        assert!(stack.half_open() <= MOST_HALF_OPEN as usize + 1);
        assert!(stack.time_waiting() <= MOST_TIME_WAIT as usize);
        assert!(stack.timers() <= stack.flows() && stack.neighbours() <= 1);
        let counters = stack.counters();
        let dropped: u64 = Reason::ALL
            .iter()
            .map(|reason| counters.dropped(*reason))
            .sum();
        assert!(counters.received == self.given && dropped <= self.given + counters.sent + 1024);
    }
}
