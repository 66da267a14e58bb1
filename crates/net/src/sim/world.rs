//! Two stations, and the wire between them.

use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{Hash, Hasher};

use spinlane_tcp::segment::Parsed;
use spinlane_tcp::{End, Flags, Segment, Seq};

use super::path::{Arrival, Path};
use super::plan::{MACS, Plan, STRANGER, Setup};
use super::rng::Rng;
use super::station::Station;
use super::talk::Talk;
use super::watch::{Watch, reversed};
use super::{Breach, Defect, Tally, Violation, frames};
use crate::address::{Address, Mac, Tuple};
use crate::ethernet;

/// Steps of a world at most: more go round in circles.
const MOST_STEPS: u64 = 1_000_000;
/// Virtual time of a world at most.
const LONGEST: u64 = 6 * 3600 * 1_000_000;
/// A stranger's answers about neighbours come while the true ones are fresh: against one that comes with a question,
/// ARP has no defence.
const CLAIMS_UNTIL: u64 = 40_000_000;

/// When it arrives, a number that makes the order definite, for whom, and what.
type Packet = (u64, u64, usize, Vec<u8>);

pub(super) struct World {
    now: u64,
    rng: Rng,
    v6: bool,
    mtu: usize,
    paths: [Path; 2],
    stations: [Box<dyn Station>; 2],
    addresses: [Address; 2],
    plans: Vec<Plan>,
    /// Conversations that have begun, by the client's port.
    ports: HashMap<u16, usize>,
    /// Both ends of each conversation.
    talks: [Vec<Option<Talk>>; 2],
    packets: BinaryHeap<Reverse<Packet>>,
    number: u64,
    forging: u64,
    watch: Watch,
    /// "Too big" messages that routers have sent.
    told: u64,
    /// The client has been taught a wrong address, if it learns from anybody.
    misled: bool,
    defect: Option<Defect>,
    trace: bool,
    tally: Tally,
    hasher: DefaultHasher,
}

impl World {
    pub(super) fn new(
        mut rng: Rng,
        setup: &Setup,
        stations: [Box<dyn Station>; 2],
        defect: Option<Defect>,
        trace: bool,
    ) -> Self {
        let mut plans: Vec<Plan> = (0..setup.talks)
            .map(|_| Plan::random(&mut rng, setup.aborts))
            .collect();
        plans.sort_by_key(|plan| plan.start);
        let mut world = Self {
            now: 1_000_000,
            v6: setup.v6,
            mtu: setup.mtu.into(),
            paths: setup.paths.clone(),
            stations,
            addresses: [0, 1].map(|side| setup.address(side).into()),
            ports: HashMap::new(),
            talks: [0, 1].map(|_| plans.iter().map(|_| None).collect()),
            plans,
            packets: BinaryHeap::new(),
            number: 0,
            forging: setup.forging,
            watch: Watch::default(),
            told: 0,
            misled: false,
            defect,
            trace,
            tally: Tally::default(),
            hasher: DefaultHasher::new(),
            rng,
        };
        for _ in 0..setup.flood {
            world.flood();
        }
        world
    }

    pub(super) fn run(mut self) -> Result<Tally, Violation> {
        for _ in 0..MOST_STEPS {
            let mut next = None;
            for side in 0..2 {
                next = sooner(next, self.turn(side)?);
            }
            self.check()?;
            if self.is_over() {
                return self.finish();
            }
            next = sooner(next, self.packets.peek().map(|Reverse(packet)| packet.0));
            let begun = self.ports.len().min(self.talks[0].iter().flatten().count());
            next = sooner(next, self.plans.get(begun).map(|plan| plan.start));
            let Some(next) = next else {
                return Err(self.violation(Breach::Stuck, "nothing is left to wait for".into()));
            };
            self.now = self.now.max(next);
            if self.now > LONGEST {
                break;
            }
        }
        Err(self.violation(Breach::Stuck, "it does not end".into()))
    }

    /// One station's turn. Returns when it wants the next one.
    fn turn(&mut self, side: usize) -> Result<Option<u64>, Violation> {
        let now = self.now;
        let arrived = self.arrivals(side);
        self.stations[side].receive(now, arrived);
        if side == 0 {
            self.begin()?;
        } else {
            self.accept()?;
        }
        let mut next = None;
        for talk in self.talks[side].iter_mut().flatten() {
            next = sooner(next, talk.turn(now, &mut *self.stations[side]));
        }
        for frame in self.stations[side].transmit(now) {
            self.send(side, frame)?;
        }
        // What was sent may have ended connections.
        for talk in self.talks[side].iter_mut().flatten() {
            next = sooner(next, talk.turn(now, &mut *self.stations[side]));
        }
        Ok(sooner(next, self.stations[side].due(now)))
    }

    /// Begins the conversations whose time has come.
    fn begin(&mut self) -> Result<(), Violation> {
        loop {
            let index = self.talks[0].iter().flatten().count();
            let now = self.now;
            let Some(plan) = self.plans.get(index).filter(|plan| plan.start <= now) else {
                return Ok(());
            };
            let habits = plan.habits[0];
            let Some((name, port)) = self.stations[0].connect(now) else {
                return Err(self.violation(Breach::Stuck, "it cannot connect".into()));
            };
            self.ports.insert(port, index);
            self.talks[0][index] = Some(self.talk(name, index, 0, habits));
        }
    }

    fn talk(&self, name: usize, index: usize, side: u64, habits: super::talk::Habits) -> Talk {
        let mut talk = Talk::new(name, index as u64 * 1_000_000 + side, habits);
        talk.keeps = self.defect == Some(Defect::NotReleased);
        talk
    }

    fn accept(&mut self) -> Result<(), Violation> {
        while let Some((name, port)) = self.stations[1].accept() {
            let Some(index) = self.ports.get(&port).copied() else {
                let text = format!("a connection from port {port} that nobody has opened");
                return Err(self.violation(Breach::Believed, text));
            };
            if self.talks[1][index].is_some() {
                // A cookie's acknowledgement that the wire has doubled makes a connection again, once the first has gone.
                *self.tally.ends.entry("of a second cookie").or_default() += 1;
                self.stations[1].abort(name);
                continue;
            }
            let habits = self.plans[index].habits[1];
            self.talks[1][index] = Some(self.talk(name, index, 1, habits));
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Violation> {
        for side in 0..2 {
            let wrong = self.talks[side]
                .iter()
                .flatten()
                .find_map(|talk| talk.wrong);
            if let Some(position) = wrong {
                return Err(self.violation(Breach::Stream, format!("byte {position} is wrong")));
            }
            if let Some(excess) = self.stations[side].excess() {
                return Err(self.violation(Breach::Bound, excess));
            }
        }
        let believed: u64 = self
            .stations
            .iter()
            .map(|station| station.counts().too_big)
            .sum();
        if believed > self.told {
            return Err(self.violation(Breach::Believed, "a stranger's \"too big\"".into()));
        }
        let waiting: usize = self
            .stations
            .iter()
            .map(|station| station.counts().time_wait)
            .sum();
        self.tally.time_wait = self.tally.time_wait.max(waiting as u64);
        Ok(())
    }

    fn is_over(&self) -> bool {
        let [clients, servers] = &self.talks;
        clients
            .iter()
            .all(|talk| talk.as_ref().is_some_and(Talk::is_over))
            && servers.iter().flatten().all(Talk::is_over)
            && self.packets.is_empty()
            && (self.defect == Some(Defect::NotReleased)
                || self.stations.iter().all(|station| station.left().is_none()))
    }

    fn violation(&self, breach: Breach, what: String) -> Violation {
        let left: Vec<_> = self.stations.iter().map(|station| station.left()).collect();
        let text = format!(
            "at {} us: {what}; {:?}, {:?}, {left:?}",
            self.now, self.paths, self.talks
        );
        Violation { breach, text }
    }

    fn finish(mut self) -> Result<Tally, Violation> {
        for index in 0..self.plans.len() {
            let [client, server] = [0, 1].map(|side| self.talks[side][index].as_ref());
            let ends = [client, server].map(|talk| talk.and_then(|talk| talk.end));
            let aborted = ends.contains(&Some(End::Aborted));
            let whole = [client, server]
                .iter()
                .flatten()
                .all(|talk| talk.is_whole());
            let unreached = matches!(ends, [Some(End::TimedOut | End::Reset), None]);
            if !aborted && !unreached && ends != [Some(End::Closed); 2] {
                return Err(self.violation(Breach::End, format!("{index}: {ends:?}")));
            }
            if !aborted && !unreached && !whole {
                return Err(self.violation(Breach::Stream, format!("{index}: a part is missing")));
            }
            for end in ends {
                let name = match end {
                    Some(End::Closed) => "closed",
                    Some(End::Reset | End::Refused) => "reset",
                    Some(End::Aborted) => "aborted",
                    Some(End::TimedOut) => "timed out",
                    None if aborted => "not reached by then",
                    None => "never reached",
                };
                *self.tally.ends.entry(name).or_default() += 1;
            }
        }
        if let Some(left) = self.stations.iter().find_map(|station| station.left()) {
            return Err(self.violation(Breach::Leaked, left));
        }
        self.tally.seeds = 1;
        self.tally.bytes = self
            .talks
            .iter()
            .flatten()
            .flatten()
            .map(|talk| talk.got)
            .sum();
        for station in &self.stations {
            let counts = station.counts();
            self.tally.retransmissions += counts.retransmissions;
            self.tally.cookies += counts.cookies;
            self.tally.rested += counts.rested;
        }
        self.tally.virtual_us = self.now - 1_000_000;
        self.tally.hash = self.hasher.finish();
        Ok(self.tally)
    }

    // From a station to the wire.

    fn send(&mut self, from: usize, mut frame: Vec<u8>) -> Result<(), Violation> {
        self.tally.frames += 1;
        (&frame, self.now).hash(&mut self.hasher);
        if self.trace {
            self.print(from, &frame);
        }
        if frame.len() > self.mtu + ethernet::HEADER {
            let text = format!("a frame of {} bytes", frame.len());
            return Err(self.violation(Breach::Window, text));
        }
        if self.spoil(from, &mut frame) {
            return Ok(());
        }
        let strict = self.stations[from].is_ours();
        if let Some((tuple, parsed)) = frames::parse(&frame)
            && let Some(rule) = self.watch.sends(&tuple, &parsed, strict)
        {
            let text = format!("{rule}: {tuple:?} {:?}", parsed.segment);
            return Err(self.violation(Breach::Window, text));
        }
        self.transmit(from, &frame);
        Ok(())
    }

    fn print(&self, from: usize, frame: &[u8]) {
        let who = ["client", "server"][from];
        match frames::parse(frame) {
            Some((
                tuple,
                Parsed {
                    segment, payload, ..
                },
            )) => {
                println!(
                    "{:>12} {who} {tuple:?} {segment:?}, {} bytes",
                    self.now,
                    payload.len()
                );
            }
            None => println!("{:>12} {who} {frame:02x?}", self.now),
        }
    }

    /// The seeded defect. Returns `true` if the frame vanishes.
    fn spoil(&mut self, from: usize, frame: &mut [u8]) -> bool {
        let Some((tuple, parsed)) = frames::parse(frame) else {
            return false;
        };
        let (seq, flags) = (parsed.segment.seq, parsed.segment.flags);
        let (is_syn, is_bare) = (flags.has(Flags::SYN), parsed.payload.is_empty());
        match self.defect {
            Some(Defect::WrongRepair) if self.watch.is_repeated(&tuple, seq) => {
                frames::patch(frame, |_, payload| {
                    payload.rotate_left(1.min(payload.len()))
                });
            }
            Some(Defect::AckAhead) if !is_syn && is_bare => {
                frames::patch(frame, |segment, _| segment.ack += 1);
            }
            Some(Defect::WindowTooLarge) if !is_syn => frames::patch(frame, |segment, _| {
                segment.window = segment.window.saturating_mul(2);
            }),
            Some(Defect::NoProbe) => {
                let is_shut = self.watch.is_shut(&reversed(&tuple));
                return is_bare && is_shut && !flags.has(Flags::FIN);
            }
            Some(Defect::AnyNeighbour) if from == 0 && self.misled => return true,
            _ => {}
        }
        false
    }

    fn transmit(&mut self, from: usize, frame: &[u8]) {
        let mut note = |what| *self.tally.faults.entry(what).or_default() += 1;
        let to = 1 - from;
        let Ok(header) = ethernet::parse(frame) else {
            return;
        };
        if header.to == STRANGER {
            return self.overheard(from, frame);
        }
        if header.to != MACS[to] && !header.to.is_multicast() {
            return note("to nobody");
        }
        if let Some((tuple, parsed)) = frames::parse(frame) {
            let is_reset = parsed.segment.flags.has(Flags::RST);
            let opens = self.watch.is_shut(&tuple) && parsed.segment.window > 0;
            if parsed.segment.window == 0 && !is_reset {
                note("zero windows");
            }
            if opens && parsed.payload.is_empty() && !is_reset && self.rng.chance(5_000) {
                // What nothing but a probe repairs.
                return note("openings lost");
            }
        }
        if self.paths[from].is_too_narrow(frame) {
            return self.too_big(from, frame);
        }
        let path = &mut self.paths[from];
        let faults = &mut self.tally.faults;
        for Arrival { at, mut frame } in path.carry(self.now, frame, &mut self.rng, faults) {
            if self.defect == Some(Defect::Unchecked) {
                frames::repair(&mut frame);
            }
            self.deliver(at, to, frame);
        }
        if self.rng.chance(self.forging) {
            self.forge(from, frame);
        }
    }

    fn deliver(&mut self, at: u64, to: usize, frame: Vec<u8>) {
        self.number += 1;
        self.packets.push(Reverse((at, self.number, to, frame)));
    }

    /// A frame is too long for a link: its sender hears of it, or not.
    fn too_big(&mut self, from: usize, frame: &[u8]) {
        let path = &self.paths[from];
        let tells = path.tells;
        let mtu = u16::try_from(path.narrow - ethernet::HEADER).unwrap_or(u16::MAX);
        let what = if tells { "too big" } else { "in a black hole" };
        *self.tally.faults.entry(what).or_default() += 1;
        if tells && let Some(message) = frames::too_big(STRANGER, frame, mtu) {
            self.told += 1;
            self.deliver(self.now + 100, from, message);
        }
    }

    // Strangers.

    /// The SYN of somebody who will not answer.
    fn flood(&mut self) {
        *self.tally.faults.entry("flooded").or_default() += 1;
        let at = 1_000_000 + self.rng.below(5_000_000);
        let (random, server) = (self.rng.word().to_be_bytes(), self.addresses[1]);
        let local = if self.v6 {
            let mut address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            address[12..].copy_from_slice(&random);
            Address(address)
        } else {
            Address::v4([10, 9, random[0], random[1]])
        };
        let tuple = Tuple {
            local,
            remote: server,
            local_port: 1024 + self.rng.word().to_be_bytes()[0] as u16,
            remote_port: 443,
        };
        let syn = Segment {
            seq: Seq(self.rng.word()),
            flags: Flags::SYN,
            window: 60_000,
            mss: Some(1460),
            timestamps: self.rng.chance(5_000).then_some((7, 0)),
            ..Segment::default()
        };
        let frame = frames::segment((STRANGER, MACS[1]), &tuple, &syn, &[]);
        self.deliver(at, 1, frame);
    }

    /// A stranger hears what is sent to it, and guesses at what it does not hear.
    fn overheard(&mut self, from: usize, frame: &[u8]) {
        let Some((tuple, parsed)) = frames::parse(frame) else {
            return;
        };
        if !parsed.segment.flags.has(Flags::SYN) || !self.rng.chance(3_000) {
            return;
        }
        // With the defect any guess is as good as the right number.
        let guess = match self.defect {
            Some(Defect::AnyCookie) => parsed.segment.seq + 1,
            _ => Seq(self.rng.word()),
        };
        let ack = Segment {
            seq: parsed.segment.ack,
            ack: guess,
            flags: Flags::ACK,
            window: 60_000,
            timestamps: parsed.segment.timestamps.map(|(value, _)| (8, value)),
            ..Segment::default()
        };
        let macs = (STRANGER, MACS[from]);
        let frame = frames::segment(macs, &reversed(&tuple), &ack, &[]);
        self.deliver(self.now + 50, from, frame);
    }

    /// A stranger who has seen a frame of `from`'s, and makes use of it.
    fn forge(&mut self, from: usize, frame: &[u8]) {
        let Some((tuple, parsed)) = frames::parse(frame) else {
            return;
        };
        let like = parsed.segment;
        // Before the handshake there is no window to miss: a SYN counts, and a RST that knows the peer's SYN's number.
        let peer_is_up = self.watch.expects(&reversed(&tuple)).is_some();
        if like.flags.has(Flags::SYN) || like.flags.has(Flags::RST) || !peer_is_up {
            return;
        }
        *self.tally.faults.entry("forged").or_default() += 1;
        match self.rng.below(3) {
            0 => self.forge_segment(from, &tuple, &like),
            1 => self.forge_too_big(from, &tuple, &like),
            _ => self.forge_claim(from, &tuple),
        }
    }

    /// Knows the window, and not the number that is next in it (RFC 5961).
    fn forge_segment(&mut self, from: usize, tuple: &Tuple, like: &Segment) {
        let kinds = [Flags::RST, Flags::SYN, Flags::RST | Flags::ACK];
        let forged = Segment {
            seq: like.seq + 100_000 + self.rng.word() % 100_000,
            ack: like.ack,
            flags: self.rng.pick(&kinds),
            timestamps: like.timestamps,
            ..Segment::default()
        };
        let frame = frames::segment((STRANGER, MACS[1 - from]), tuple, &forged, &[]);
        self.deliver(self.now + 10, 1 - from, frame);
    }

    /// Knows the connection, and not which numbers are in flight (RFC 5927).
    fn forge_too_big(&mut self, from: usize, tuple: &Tuple, like: &Segment) {
        let right = self.defect == Some(Defect::AnyRouter);
        let quoted = Segment {
            seq: like.seq + if right { 0 } else { 0x4000_0000 },
            ..*like
        };
        let frame = frames::segment((MACS[from], STRANGER), tuple, &quoted, &[0; 600]);
        let mtu = if self.v6 { 1280 } else { 560 };
        if let Some(message) = frames::too_big(STRANGER, &frame, mtu) {
            self.deliver(self.now + 10, from, message);
        }
    }

    /// Says that it has the peer's address.
    fn forge_claim(&mut self, from: usize, tuple: &Tuple) {
        if self.now > CLAIMS_UNTIL {
            return;
        }
        self.misled = true;
        let asker: (Mac, Address) = (MACS[from], tuple.local);
        let frame = frames::claim(STRANGER, tuple.remote, asker);
        self.deliver(self.now + 10, from, frame);
    }

    // From the wire to a station.

    fn arrivals(&mut self, side: usize) -> Vec<Vec<u8>> {
        let mut arrived = Vec::new();
        let mut others = Vec::new();
        while let Some(Reverse(packet)) = self.packets.pop() {
            if packet.0 > self.now {
                self.packets.push(Reverse(packet));
                break;
            }
            match packet.2 == side {
                true => arrived.push(packet.3),
                false => others.push(packet),
            }
        }
        self.packets.extend(others.into_iter().map(Reverse));
        for frame in &mut arrived {
            self.hear(frame);
        }
        arrived
    }

    /// What the receiver's defect makes of a frame.
    fn hear(&mut self, frame: &mut [u8]) {
        let Some((tuple, parsed)) = frames::parse(frame) else {
            return;
        };
        let flags = parsed.segment.flags;
        self.watch.heard(&tuple, &parsed);
        match self.defect {
            Some(Defect::FinForgotten) if flags.has(Flags::FIN) => {
                frames::patch(frame, |segment, _| segment.flags = Flags::ACK);
            }
            Some(Defect::BlindReset) if flags.has(Flags::RST) => {
                if let Some(expects) = self.watch.expects(&reversed(&tuple)) {
                    frames::patch(frame, |segment, _| segment.seq = expects);
                }
            }
            _ => {}
        }
    }
}

fn sooner(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}
