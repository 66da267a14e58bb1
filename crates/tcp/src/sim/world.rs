//! A client, a server, and the wire between them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::path::Path;
use super::rng::Rng;
use super::side::{Habits, Side};
use super::{Breach, Defect, Tally, Violation};
use crate::segment::{self, HEADER, LONGEST_HEADER};
use crate::{Config, End, Flags, Instant, Segment, Seq, State, Tcb};

/// Steps of a world at most: more go round in circles.
const MOST_STEPS: u64 = 1_000_000;
/// Virtual time of a world at most.
const LONGEST: u64 = 6 * 3600 * 1_000_000;

/// When it arrives, a number that makes the order definite, for whom, and what.
type Packet = (u64, u64, usize, Vec<u8>);

pub(super) struct World {
    now: u64,
    rng: Rng,
    config: Config,
    paths: [Path; 2],
    sides: [Side; 2],
    packets: BinaryHeap<Reverse<Packet>>,
    /// Out of 10,000 segments, so many are followed by one that a stranger makes up.
    forging: u64,
    defect: Option<Defect>,
    trace: bool,
    tally: Tally,
    hasher: DefaultHasher,
}

impl World {
    pub(super) fn new(seed: u64, defect: Option<Defect>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let config = Config {
            mss: rng.pick(&[536, 1460, 8960]),
            receive_limit: rng.pick(&[2_000, 20_000, 256 * 1024, 1024 * 1024]),
            sack: !rng.chance(1_000),
            timestamps: !rng.chance(2_000),
            user_timeout: Duration::from_secs(2 * 3600),
            fin_wait: Duration::from_secs(3600),
            ..Config::default()
        };
        let paths = [Path::random(&mut rng), Path::random(&mut rng)];
        let sizes = [0, 1, 5_000, 60_000, 300_000];
        let (one, two) = (rng.pick(&sizes), rng.pick(&sizes));
        let mut habits = |to_send, expected| {
            let sleeps = rng.below(1_500_000);
            Habits {
                to_send,
                expected,
                appetite: rng.pick(&[usize::MAX, usize::MAX, 100_000, 3_000]),
                asleep: if rng.chance(2_000) {
                    (sleeps, sleeps + 20_000_000)
                } else {
                    (0, 0)
                },
                abort_at: rng.chance(500).then_some(1_000_000 + sleeps),
            }
        };
        let mut sides = [Side::new(habits(one, two)), Side::new(habits(two, one))];
        sides[0].tcb = Some(Tcb::connect(&config, Seq(rng.word())));
        Self {
            now: 1_000_000,
            forging: rng.pick(&[0, 0, 100]),
            rng,
            config,
            paths,
            sides,
            packets: BinaryHeap::new(),
            defect,
            trace,
            tally: Tally::default(),
            hasher: DefaultHasher::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Tally, Violation> {
        for _ in 0..MOST_STEPS {
            let mut next = None;
            for side in 0..2 {
                self.sides[side].turn(self.now);
                self.output(side)?;
                next = sooner(next, self.sides[side].turn(self.now));
                next = sooner(next, self.due(side));
            }
            if let Some(position) = self.sides.iter().find_map(|side| side.wrong) {
                return Err(self.violation(Breach::Stream, format!("byte {position} is wrong")));
            }
            if self.is_over() {
                return self.finish();
            }
            next = sooner(next, self.packets.peek().map(|Reverse(packet)| packet.0));
            let Some(next) = next else {
                return Err(self.violation(Breach::Stuck, "nothing is left to wait for".into()));
            };
            self.now = self.now.max(next);
            if self.now > LONGEST {
                break;
            }
            self.receive();
        }
        Err(self.violation(Breach::Stuck, "it does not end".into()))
    }

    fn due(&self, side: usize) -> Option<u64> {
        Some(self.sides[side].tcb.as_ref()?.due()?.micros())
    }

    fn is_over(&self) -> bool {
        let is_done = |tcb: &Tcb| tcb.state() == State::Closed && tcb.readable() == 0;
        let [client, server] = [0, 1].map(|side| self.sides[side].tcb.as_ref().map(is_done));
        // A server that was never reached is over with its client.
        client == Some(true) && server.unwrap_or(self.packets.is_empty())
    }

    fn violation(&self, breach: Breach, what: String) -> Violation {
        let text = format!(
            "at {} us: {what}; {:?}, {:?}, {:?}",
            self.now, self.config, self.paths, self.sides
        );
        Violation { breach, text }
    }

    fn finish(mut self) -> Result<Tally, Violation> {
        let ends = [self.sides[0].end(), self.sides[1].end()];
        let aborted = ends.contains(&Some(End::Aborted));
        for side in &self.sides {
            let Some(tcb) = &side.tcb else { continue };
            if tcb.due().is_some() || tcb.ahead() != (0, 0) && !aborted {
                return Err(self.violation(Breach::Leaked, "a timer or a buffer is left".into()));
            }
            let whole = (side.sent, side.got) == (side.to_send, side.expected);
            if !aborted && !whole {
                return Err(self.violation(Breach::Stream, "a part is missing".into()));
            }
        }
        if !aborted && ends != [Some(End::Closed); 2] {
            return Err(self.violation(Breach::End, format!("{ends:?}")));
        }
        for end in ends {
            let name = match end {
                Some(End::Closed) => "closed",
                Some(End::Reset | End::Refused) => "reset",
                Some(End::Aborted) => "aborted",
                Some(End::TimedOut) => "timed out",
                None => "never reached",
            };
            *self.tally.ends.entry(name).or_default() += 1;
        }
        self.tally.seeds = 1;
        self.tally.bytes = self.sides.iter().map(|side| side.got).sum();
        let tcbs = self.sides.iter().filter_map(|side| side.tcb.as_ref());
        self.tally.retransmissions = tcbs.map(Tcb::retransmissions).sum();
        self.tally.virtual_us = self.now - 1_000_000;
        self.tally.hash = self.hasher.finish();
        Ok(self.tally)
    }

    // From an end to the wire.

    fn output(&mut self, from: usize) -> Result<(), Violation> {
        let now = Instant::from_micros(self.now);
        let mut out = Vec::new();
        if let Some(tcb) = &mut self.sides[from].tcb {
            tcb.output(now, &mut |segment: &Segment, payload: [&[u8]; 2]| {
                out.push((*segment, payload.concat()));
            });
        }
        for (mut segment, mut payload) in out {
            self.tally.segments += 1;
            (segment, &payload, self.now).hash(&mut self.hasher);
            if self.trace {
                println!(
                    "{:>12} {} {segment:?}, {} bytes",
                    self.now,
                    ["client", "server"][from],
                    payload.len()
                );
            }
            if !self.spoil(from, &mut segment, &mut payload) {
                self.check(from, &segment, payload.len())?;
                self.transmit(from, &segment, &payload);
            }
        }
        Ok(())
    }

    /// The seeded defect. Returns `true` if the segment vanishes.
    fn spoil(&mut self, from: usize, segment: &mut Segment, payload: &mut [u8]) -> bool {
        let is_syn = segment.flags.has(Flags::SYN);
        match self.defect {
            Some(Defect::WrongRepair) => {
                let again = self.sides[from]
                    .tcb
                    .as_ref()
                    .is_some_and(|tcb| tcb.retransmissions() > 0);
                if again && payload.len() > 1 {
                    payload.rotate_left(1);
                }
            }
            Some(Defect::AckAhead) if !is_syn && payload.is_empty() => segment.ack += 1,
            Some(Defect::WindowTooLarge) if !is_syn => {
                segment.window = segment.window.saturating_mul(2)
            }
            Some(Defect::NoProbe) => {
                let is_shut = self.sides[1 - from].is_shut;
                return payload.is_empty() && is_shut && !segment.flags.has(Flags::FIN);
            }
            _ => {}
        }
        false
    }

    /// A segment stays within the window that the other side has offered, and no window moves back.
    fn check(&mut self, from: usize, segment: &Segment, data: usize) -> Result<(), Violation> {
        if segment.flags.has(Flags::RST) {
            return Ok(());
        }
        let broken = |world: &Self, what: &str| {
            Err(world.violation(Breach::Window, format!("{what}: {segment:?}")))
        };
        let is_syn = segment.flags.has(Flags::SYN);
        if data + segment.header_len() > usize::from(self.config.mss) + HEADER {
            return broken(self, "the segment is too long");
        }
        let side = &mut self.sides[from];
        if is_syn {
            side.scale = segment.scale.unwrap_or(0);
        }
        if segment.flags.has(Flags::ACK) && !is_syn {
            let edge = segment.ack + (u32::from(segment.window) << side.scale);
            let before = side.edge.unwrap_or(edge);
            // What the scale cuts off is no shrinking.
            if edge + (1 << side.scale) <= before {
                return broken(self, "the window shrank");
            }
            side.edge = Some(before.max(edge));
        } else if segment.flags.has(Flags::ACK) {
            let edge = segment.ack + u32::from(segment.window);
            side.edge = Some(side.edge.map_or(edge, |before| before.max(edge)));
        }
        let end = segment.seq + u32::try_from(data).unwrap_or(u32::MAX);
        match self.sides[1 - from].edge {
            Some(edge) if end > edge => broken(self, "beyond the window"),
            _ => Ok(()),
        }
    }

    fn transmit(&mut self, from: usize, segment: &Segment, payload: &[u8]) {
        let mut bytes = vec![0; LONGEST_HEADER];
        let len = segment.write(1, 2, &mut bytes);
        bytes.truncate(len);
        bytes.extend_from_slice(payload);
        let mut note = |what| *self.tally.faults.entry(what).or_default() += 1;
        let is_reset = segment.flags.has(Flags::RST);
        let opens = self.sides[from].is_shut && segment.window > 0;
        if segment.window == 0 && !is_reset {
            note("zero windows");
        }
        if opens && payload.is_empty() && !is_reset && self.rng.chance(5_000) {
            // What nothing but a probe repairs.
            return note("openings lost");
        }
        let faults = &mut self.tally.faults;
        let arrivals = self.paths[from].arrivals(self.now, payload.len(), &mut self.rng, faults);
        for at in arrivals {
            self.packets
                .push(Reverse((at, self.tally.segments, 1 - from, bytes.clone())));
        }
        // Before the handshake there is no window to miss: a SYN counts, and a RST that knows our SYN's number.
        let is_up = |tcb: &Tcb| tcb.state() != State::SynSent;
        let up = self.sides[1 - from].tcb.as_ref().is_some_and(is_up);
        if up && self.rng.chance(self.forging) {
            self.forge(from, segment);
        }
    }

    /// A stranger who knows the window, and not the number that is next in it (RFC 5961).
    fn forge(&mut self, from: usize, like: &Segment) {
        let flags = self
            .rng
            .pick(&[Flags::RST, Flags::SYN, Flags::RST | Flags::ACK]);
        let forged = Segment {
            seq: like.seq + 100_000 + self.rng.word() % 100_000,
            ack: like.ack,
            flags,
            timestamps: like.timestamps,
            ..Segment::default()
        };
        *self.tally.faults.entry("forged").or_default() += 1;
        let mut bytes = vec![0; LONGEST_HEADER];
        let len = forged.write(1, 2, &mut bytes);
        bytes.truncate(len);
        self.packets.push(Reverse((
            self.now + 10,
            self.tally.segments,
            1 - from,
            bytes,
        )));
    }

    // From the wire to an end.

    fn receive(&mut self) {
        while self
            .packets
            .peek()
            .is_some_and(|Reverse(packet)| packet.0 <= self.now)
        {
            if let Some(Reverse((_, _, to, bytes))) = self.packets.pop() {
                self.arrive(to, &bytes);
            }
        }
    }

    fn arrive(&mut self, to: usize, bytes: &[u8]) {
        let Ok(parsed) = segment::parse(bytes) else {
            return;
        };
        let (mut segment, payload) = (parsed.segment, parsed.payload);
        match self.defect {
            Some(Defect::FinForgotten) if segment.flags.has(Flags::FIN) => {
                segment.flags = Flags::ACK;
            }
            Some(Defect::BlindReset) if segment.flags.has(Flags::RST) => {
                if let Some(tcb) = &self.sides[to].tcb {
                    segment.seq = tcb.expects();
                }
            }
            _ => {}
        }
        self.sides[1 - to].is_shut = segment.window == 0 && !segment.flags.has(Flags::RST);
        let now = Instant::from_micros(self.now);
        let is_over = self.sides[to]
            .tcb
            .as_ref()
            .is_none_or(|tcb| tcb.state() == State::Closed);
        if self.sides[to].tcb.is_none() && segment.flags == Flags::SYN {
            let isn = Seq(self.rng.word());
            self.sides[to].tcb = Some(Tcb::accept(&self.config, now, isn, &segment));
        } else if is_over {
            if let Some(refusal) = segment.refusal(payload.len()) {
                self.transmit(to, &refusal, &[]);
            }
        } else {
            self.sides[to].segment(self.now, &segment, payload);
        }
    }
}

fn sooner(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}
