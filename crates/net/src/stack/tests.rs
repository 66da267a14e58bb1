//! Two stacks that hand each other their frames, and strangers between them.

mod measured;
mod resets;

use std::net::{IpAddr, SocketAddr};

use spinlane_tcp::{Flags, Segment, Seq};

use super::*;
use crate::address::{Address, Mac};
use crate::counters::Reason;
use crate::sim::{Port, frames};
use crate::{End, Interface, State};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn ip(v6: bool, last: u8) -> IpAddr {
    match v6 {
        true => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last.into()]),
        false => IpAddr::from([10, 0, 0, last]),
    }
}

fn config(mac: Mac, v6: bool, last: u8) -> Config {
    let prefix = if v6 { 64 } else { 24 };
    let interface = Interface {
        address: ip(v6, last),
        prefix,
    };
    Config::new(mac, interface, [last; 48])
}

/// A client, a server that listens, and the time.
struct Pair {
    stacks: [Stack<Port>; 2],
    listener: ListenerId,
    server: SocketAddr,
    ms: u64,
}

impl Pair {
    fn with(v6: bool, change: impl Fn(&mut Config)) -> Self {
        let mut stacks = [(CLIENT, 1), (SERVER, 2)].map(|(mac, last)| {
            let mut config = config(mac, v6, last);
            change(&mut config);
            Stack::new(config, Port::new(1500)).unwrap()
        });
        let server = SocketAddr::new(ip(v6, 2), 443);
        let listener = stacks[1].listen(server).unwrap();
        Self {
            stacks,
            listener,
            server,
            ms: 1000,
        }
    }

    fn new(v6: bool) -> Self {
        Self::with(v6, |_| ())
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.ms * 1000)
    }

    /// Frames go to and fro until there are none.
    fn settle(&mut self) {
        let now = self.now();
        loop {
            let mut moved = 0;
            for from in 0..2 {
                self.stacks[from].transmit(now);
                let sent = std::mem::take(&mut self.stacks[from].io().sent);
                moved += sent.len();
                let to = &mut self.stacks[1 - from];
                to.io().arrived.extend(sent);
                while to.receive(now, |_, _| 0) > 0 {}
            }
            if moved == 0 {
                return;
            }
        }
    }

    /// The time passes, and what is due happens when it is.
    fn pass(&mut self, ms: u64) {
        let end = self.ms + ms;
        loop {
            self.settle();
            let due = self.stacks.iter().filter_map(Stack::due).min();
            let due = due
                .map_or(end, |due| due.micros().div_ceil(1000))
                .max(self.ms + 1);
            if due >= end {
                self.ms = end;
                return self.settle();
            }
            self.ms = due;
        }
    }

    fn connected(&mut self) -> [FlowId; 2] {
        let client = self.stacks[0].connect(self.server).unwrap();
        self.settle();
        assert_eq!(self.stacks[0].next_ready(), Some(client));
        assert_eq!(self.stacks[0].state(client), Some(State::Established));
        let server = self.stacks[1].accept(self.listener).unwrap();
        [client, server]
    }

    fn write(&mut self, side: usize, id: FlowId, bytes: &[u8]) {
        assert_eq!(self.stacks[side].write(id, bytes), bytes.len());
        self.settle();
    }

    fn read(&mut self, side: usize, id: FlowId) -> Vec<u8> {
        let mut got = Vec::new();
        self.stacks[side].read(id, |parts| {
            got = parts.concat();
            got.len()
        });
        got
    }

    fn tables(&self, side: usize) -> [usize; 4] {
        let stack = &self.stacks[side];
        [
            stack.flows(),
            stack.half_open(),
            stack.time_waiting(),
            stack.timers(),
        ]
    }

    /// Gives a frame to the server.
    fn give(&mut self, frame: &[u8]) {
        let now = self.now();
        self.stacks[1].io().arrived.push_back(frame.to_vec());
        self.stacks[1].receive(now, |_, _| 0);
    }

    fn dropped(&self, side: usize, reason: Reason) -> u64 {
        self.stacks[side].counters().dropped(reason)
    }

    /// A segment of somebody's to the server.
    fn stranger(&self, last: u8, port: u16, segment: &Segment) -> Vec<u8> {
        let v6 = self.server.is_ipv6();
        let tuple = Tuple {
            local: ip(v6, last).into(),
            remote: self.server.ip().into(),
            local_port: port,
            remote_port: 443,
        };
        frames::segment((CLIENT, SERVER), &tuple, segment, &[])
    }
}

#[test]
fn a_connection_is_opened_used_and_closed_and_leaves_nothing() {
    for v6 in [false, true] {
        let mut pair = Pair::new(v6);
        let [client, server] = pair.connected();
        pair.write(0, client, b"question");
        assert_eq!(pair.stacks[1].next_ready(), Some(server));
        assert_eq!(pair.stacks[1].next_ready(), None);
        assert_eq!(pair.read(1, server), b"question");
        pair.write(1, server, &[7; 50_000]);
        assert_eq!(pair.read(0, client), [7; 50_000]);
        pair.stacks[0].close(client);
        pair.settle();
        assert!(pair.stacks[1].peer_finished(server));
        // Half closed: the other half still carries data.
        pair.write(1, server, b"more");
        assert_eq!(pair.read(0, client), b"more");
        pair.stacks[1].release(server);
        pair.settle();
        assert!(pair.stacks[0].peer_finished(client));
        assert_eq!(pair.tables(1), [0; 4]);
        pair.stacks[0].release(client);
        pair.settle();
        assert_eq!(pair.tables(0), [0, 0, 1, 0]);
        pair.pass(15_000);
        assert_eq!((pair.tables(0), pair.tables(1)), ([0; 4], [0; 4]));
        let addresses = pair.stacks[0].addresses(client);
        assert_eq!((addresses, pair.stacks[0].write(client, b"x")), (None, 0));
    }
}

#[test]
fn data_goes_straight_to_an_application_that_takes_it() {
    let mut pair = Pair::new(false);
    let [client, server] = pair.connected();
    pair.stacks[0].write(client, b"question");
    let now = pair.now();
    pair.stacks[0].transmit(now);
    let sent = std::mem::take(&mut pair.stacks[0].io().sent);
    pair.stacks[1].io().arrived.extend(sent);
    let mut got = Vec::new();
    pair.stacks[1].receive(now, |id, bytes| {
        got.push((id, bytes.to_vec()));
        5
    });
    assert_eq!(got, [(server, b"question".to_vec())]);
    assert_eq!(pair.read(1, server), b"ion");
}

/// An idle connection is a record without buffers, and goes on as if it had not rested.
#[test]
fn an_idle_connection_rests_and_wakes() {
    let mut pair = Pair::new(true);
    let [client, server] = pair.connected();
    pair.write(0, client, b"question");
    assert_eq!(pair.read(1, server), b"question");
    pair.pass(10_000);
    for side in 0..2 {
        assert_eq!(pair.stacks[side].counters().rested, 1);
        assert_eq!(pair.tables(side), [1, 0, 0, 0]);
    }
    assert_eq!(pair.stacks[0].state(client), Some(State::Established));
    pair.write(1, server, b"answer");
    assert_eq!(pair.read(0, client), b"answer");
    pair.pass(10_000);
    assert_eq!(pair.stacks[0].counters().rested, 2);
    pair.stacks[0].abort(client);
    pair.settle();
    assert_eq!(pair.stacks[1].end(server), Some(End::Reset));
    assert!(crate::memory_per_idle_connection() <= 256);
}

#[test]
fn a_full_queue_says_when_there_is_room() {
    let mut pair = Pair::with(false, |config| {
        config.send_limit = 10_000;
        config.tcp.receive_limit = 4_000;
    });
    let [client, server] = pair.connected();
    assert_eq!(pair.stacks[0].write(client, &[1; 20_000]), 10_000);
    pair.settle();
    assert_eq!(pair.stacks[0].next_ready(), None);
    let mut total = 0;
    while pair.stacks[0].unacknowledged(client) > 5_000 {
        total += pair.read(1, server).len();
        pair.settle();
    }
    assert!(total > 0);
    assert_eq!(pair.stacks[0].next_ready(), Some(client));
    assert_eq!(pair.stacks[0].write(client, &[1; 2_000]), 2_000);
}

#[test]
fn a_port_nobody_listens_on_and_a_neighbour_that_is_not_there_are_told() {
    for v6 in [false, true] {
        let mut pair = Pair::new(v6);
        let refused = SocketAddr::new(ip(v6, 2), 80);
        let id = pair.stacks[0].connect(refused).unwrap();
        pair.settle();
        assert_eq!(pair.stacks[0].end(id), Some(End::Refused));
        pair.stacks[0].release(id);
        let nobody = SocketAddr::new(ip(v6, 9), 80);
        let id = pair.stacks[0].connect(nobody).unwrap();
        pair.pass(2_900);
        assert_eq!(pair.stacks[0].state(id), Some(State::SynSent));
        pair.pass(200);
        assert_eq!(pair.stacks[0].end(id), Some(End::TimedOut));
        assert_eq!(pair.dropped(0, Reason::Unresolved), 1);
        // One question for the server, three for nobody.
        assert_eq!(pair.stacks[0].counters().questions, 4);
        pair.stacks[0].release(id);
        assert_eq!(pair.tables(0), [0; 4]);
        let far = SocketAddr::new("9.9.9.9".parse().unwrap(), 80);
        assert_eq!(pair.stacks[0].connect(far), Err(ConnectError::NoRoute(far)));
        let own = SocketAddr::new(ip(v6, 1), 80);
        assert_eq!(pair.stacks[0].connect(own), Err(ConnectError::Address(own)));
    }
}

#[test]
fn listeners_are_refused_with_a_reason() {
    let mut pair = Pair::new(false);
    let any = |port| SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port);
    let stack = &mut pair.stacks[1];
    let other = SocketAddr::new(ip(false, 7), 1);
    assert_eq!(stack.listen(other), Err(ListenError::NotOurs(other)));
    assert_eq!(stack.listen(any(0)), Err(ListenError::NoPort(any(0))));
    assert_eq!(stack.listen(any(443)), Err(ListenError::Taken(any(443))));
    for port in 1..64 {
        assert!(stack.listen(any(port)).is_ok());
    }
    assert_eq!(stack.listen(any(64)), Err(ListenError::TooMany(64)));
    pair.stacks[1].stop_listening(pair.listener);
    let id = pair.stacks[0].connect(pair.server).unwrap();
    pair.settle();
    assert_eq!(pair.stacks[0].end(id), Some(End::Refused));
}

/// Every frame of a connection's life, cut short at every byte and damaged in every bit: counted and dropped, and the
/// connection lives.
#[test]
fn malformed_frames_are_counted_and_harm_nobody() {
    for v6 in [false, true] {
        let mut pair = Pair::new(v6);
        let [client, server] = pair.connected();
        let all = |pair: &Pair| {
            Reason::ALL
                .iter()
                .map(|reason| pair.dropped(1, *reason))
                .sum::<u64>()
        };
        let before = all(&pair);
        pair.stacks[0].write(client, &[7; 64]);
        let now = pair.now();
        pair.stacks[0].transmit(now);
        let frame = pair.stacks[0].io().sent.pop().unwrap();
        for len in 0..frame.len() {
            pair.give(&frame[..len]);
        }
        // The Ethernet header has a check sequence, which cards look at; other stations' addresses are not ours.
        for bit in crate::ethernet::HEADER * 8..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Traffic class, flow label and hop limit are covered by no sum, and mean nothing here.
            let byte = bit / 8 - crate::ethernet::HEADER;
            let free = v6 && (bit / 8 == 14 && bit % 8 < 4 || (1..4).contains(&byte) || byte == 7);
            if !free {
                pair.give(&damaged);
                assert_eq!(pair.stacks[1].readable(server), 0, "{v6} bit {bit}");
            }
        }
        let dropped = all(&pair) - before;
        assert!(dropped > frame.len() as u64 * 8, "{dropped}");
        pair.give(&frame);
        assert_eq!(pair.read(1, server), [7; 64]);
    }
}

#[test]
fn contradictory_segments_and_bad_senders_are_dropped() {
    let mut pair = Pair::new(false);
    let both = |flags| Segment {
        flags,
        ..Segment::default()
    };
    for flags in [Flags::SYN | Flags::FIN, Flags::SYN | Flags::RST] {
        let frame = pair.stranger(9, 5000, &both(flags));
        pair.give(&frame);
    }
    let frame = pair.stranger(9, 0, &both(Flags::SYN));
    pair.give(&frame);
    assert_eq!(pair.dropped(1, Reason::BadFlags), 3);
    for last in [2, 0] {
        // The server's own address, and 0.0.0.0.
        let mut frame = pair.stranger(last, 5000, &both(Flags::SYN));
        if last == 0 {
            frame[26..30].fill(0);
        }
        frames::repair(&mut frame);
        pair.give(&frame);
    }
    assert_eq!(pair.dropped(1, Reason::BadSource), 2);
    assert_eq!(pair.tables(1), [0; 4]);
}

#[test]
fn half_open_connections_are_bounded_and_expire_unheard() {
    let mut pair = Pair::with(false, |config| config.max_half_open = 10);
    let syn = Segment {
        flags: Flags::SYN,
        ..Segment::default()
    };
    for port in 1..=100 {
        let frame = pair.stranger(9, port, &syn);
        pair.give(&frame);
    }
    assert_eq!(pair.tables(1)[..2], [10, 10]);
    assert_eq!(pair.stacks[1].counters().cookies_sent, 90);
    // A client with all options gets through by a cookie, and keeps them.
    let [client, server] = pair.connected();
    assert_eq!(pair.stacks[1].counters().cookies_taken, 1);
    pair.write(0, client, &[5; 100_000]);
    assert_eq!(pair.read(1, server).len(), 100_000);
    assert_eq!(pair.stacks[1].mss(server), Some(1448));
    pair.pass(11_000);
    assert_eq!(pair.tables(1)[..2], [1, 0]);
    assert_eq!(pair.stacks[1].counters().half_open_expired, 10);
}

/// A guess at a cookie, and one by somebody else, make no connection.
#[test]
fn only_cookies_are_taken() {
    let mut pair = Pair::with(true, |config| config.max_half_open = 0);
    let syn = Segment {
        flags: Flags::SYN,
        seq: Seq(5),
        ..Segment::default()
    };
    let frame = pair.stranger(9, 77, &syn);
    pair.give(&frame);
    let answer = pair.stacks[1].io().sent.pop().unwrap();
    let (_, parsed) = frames::parse(&answer).unwrap();
    let ack = |number| Segment {
        flags: Flags::ACK,
        seq: Seq(6),
        ack: number,
        ..Segment::default()
    };
    let cookie = parsed.segment.seq;
    for (last, port, number) in [(9, 77, cookie), (9, 78, cookie + 1), (8, 77, cookie + 1)] {
        let frame = pair.stranger(last, port, &ack(number));
        pair.give(&frame);
    }
    assert_eq!(
        (pair.dropped(1, Reason::BadCookie), pair.stacks[1].flows()),
        (3, 0)
    );
    let frame = pair.stranger(9, 77, &ack(cookie + 1));
    pair.give(&frame);
    assert!(pair.stacks[1].accept(pair.listener).is_some());
}

/// Somebody else's SYN that comes between a client's SYN and its answer to the cookie does not keep the client out.
#[test]
fn a_cookie_is_taken_where_a_stranger_stands() {
    let mut pair = Pair::with(false, |config| config.max_half_open = 1);
    let syn = |number| Segment {
        flags: Flags::SYN,
        seq: Seq(number),
        ..Segment::default()
    };
    for (port, number) in [(76, 1), (77, 5)] {
        let frame = pair.stranger(9, port, &syn(number));
        pair.give(&frame);
    }
    let answer = pair.stacks[1].io().sent.pop().unwrap();
    let cookie = frames::parse(&answer).unwrap().1.segment.seq;
    // The one half-open connection expires, and another's takes its place.
    pair.pass(11_000);
    let frame = pair.stranger(9, 77, &syn(999));
    pair.give(&frame);
    pair.settle();
    assert_eq!(pair.tables(1)[..2], [1, 1]);
    let ack = Segment {
        flags: Flags::ACK,
        seq: Seq(6),
        ack: cookie + 1,
        ..Segment::default()
    };
    let frame = pair.stranger(9, 77, &ack);
    pair.give(&frame);
    assert!(pair.stacks[1].accept(pair.listener).is_some());
    assert_eq!(pair.tables(1)[..2], [1, 0]);
}

/// A listener's queue and the flow table, when they are full, drop SYNs without a word: they come again.
#[test]
fn without_room_a_syn_is_dropped_and_comes_again() {
    for (backlog, max_flows) in [(2, 100), (100, 2)] {
        let mut pair = Pair::with(false, |config| {
            config.backlog = backlog;
            config.max_flows =
                config
                    .max_flows
                    .min(if config.mac == SERVER { max_flows } else { 100 });
        });
        let ids = [(); 3].map(|()| {
            let id = pair.stacks[0].connect(pair.server).unwrap();
            pair.settle();
            id
        });
        assert_eq!(pair.stacks[0].state(ids[2]), Some(State::SynSent));
        assert!(pair.dropped(1, Reason::NoRoom) > 0);
        let first = pair.stacks[1].accept(pair.listener).unwrap();
        pair.stacks[1].abort(first);
        pair.pass(1_500);
        assert_eq!(pair.stacks[0].state(ids[2]), Some(State::Established));
    }
}

#[test]
fn strangers_questions_are_answered_so_many_a_second() {
    let mut pair = Pair::with(false, |config| config.answers_per_second = 10);
    pair.settle();
    let echo = frames::echo(
        (CLIENT, SERVER),
        (ip(false, 9).into(), ip(false, 2).into()),
        &[1; 64],
    );
    let stray = Segment {
        flags: Flags::ACK,
        ..Segment::default()
    };
    let stray = pair.stranger(9, 99, &stray);
    let who_has = frames::who_has(CLIENT, ip(false, 9).into(), ip(false, 2).into());
    for (frame, len) in [
        (echo, 14 + 20 + 8 + 60),
        (stray, 14 + 20 + 20),
        (who_has, 42),
    ] {
        let before = pair.dropped(1, Reason::Limited);
        for _ in 0..30 {
            pair.give(&frame);
        }
        let answers = std::mem::take(&mut pair.stacks[1].io().sent);
        assert_eq!(answers.len(), 10);
        assert!(
            answers.iter().all(|answer| answer.len() == len),
            "{answers:?}"
        );
        assert_eq!(pair.dropped(1, Reason::Limited) - before, 20);
    }
    // Nobody has been learnt from that.
    assert_eq!(pair.stacks[1].neighbours(), 0);
}

/// RFC 5927: a "too big" counts if it quotes a number in flight and a size that links have.
#[test]
fn too_big_is_believed_with_a_number_in_flight() {
    for v6 in [false, true] {
        let mut pair = Pair::new(v6);
        let [client, server] = pair.connected();
        pair.write(0, client, &[1; 3000]);
        pair.read(1, server);
        pair.pass(500);
        pair.stacks[0].write(client, &[2; 1400]);
        let now = pair.now();
        pair.stacks[0].transmit(now);
        let frame = pair.stacks[0].io().sent.pop().unwrap();
        let stranger = Mac([2; 6]);
        let mut old = frame.clone();
        frames::patch(&mut old, |segment, _| segment.seq = segment.seq - 2000);
        let mut ahead = frame.clone();
        frames::patch(&mut ahead, |segment, _| segment.seq += 1400);
        let least = if v6 { 1280 } else { 552 };
        for (quoted, mtu) in [
            (&old, least),
            (&ahead, least),
            (&frame, least - 1),
            (&frame, 1500),
        ] {
            let message = frames::too_big(stranger, quoted, mtu).unwrap();
            pair.stacks[0].io().arrived.push_back(message);
            pair.stacks[0].receive(now, |_, _| 0);
        }
        assert_eq!(pair.dropped(0, Reason::IcmpDisbelieved), 4);
        let headers = if v6 { 60 } else { 40 };
        assert_eq!(pair.stacks[0].mss(client), Some(1500 - headers - 12));
        let message = frames::too_big(stranger, &frame, least).unwrap();
        pair.stacks[0].io().arrived.push_back(message);
        pair.stacks[0].receive(now, |_, _| 0);
        assert_eq!(pair.stacks[0].mss(client), Some(least - headers - 12));
        // What was in flight goes again at once, in smaller segments.
        pair.stacks[0].transmit(now);
        let again = &pair.stacks[0].io().sent;
        let whole: usize = again
            .iter()
            .map(|frame| frames::parse(frame).unwrap().1.payload.len())
            .sum();
        assert!(
            again
                .iter()
                .all(|frame| frame.len() <= usize::from(least) + 14)
                && whole == 1400
        );
    }
}

/// A client in TIME-WAIT comes back with the same port: its SYN is taken if it cannot be old.
#[test]
fn time_wait_gives_way_to_a_new_connection_and_to_nothing_else() {
    let mut pair = Pair::with(false, |config| config.ports.range = 40_000..=40_000);
    let [client, server] = pair.connected();
    pair.stacks[1].release(server);
    pair.settle();
    pair.stacks[0].release(client);
    pair.settle();
    // The server closed first.
    assert_eq!((pair.tables(0), pair.tables(1)), ([0; 4], [0, 0, 1, 0]));
    // The last FIN again is answered, a reset is not (RFC 1337).
    let rst = Segment {
        flags: Flags::RST,
        ..Segment::default()
    };
    let frame = pair.stranger(1, 40_000, &rst);
    pair.give(&frame);
    assert_eq!(pair.dropped(1, Reason::TimeWait), 1);
    let fin = Segment {
        flags: Flags::FIN | Flags::ACK,
        ..Segment::default()
    };
    let frame = pair.stranger(1, 40_000, &fin);
    pair.give(&frame);
    assert_eq!(pair.stacks[1].io().sent.len(), 1);
    assert_eq!(pair.tables(1), [0, 0, 1, 0]);
    pair.stacks[1].io().sent.clear();
    pair.pass(100);
    let [_, server] = pair.connected();
    assert_eq!(pair.tables(1)[..3], [1, 0, 0]);
    assert!(pair.stacks[1].addresses(server).unwrap().0.port() == 40_000);
    // The port is taken as long as the connection lives.
    let taken = pair.stacks[0].connect(pair.server);
    assert_eq!(taken, Err(ConnectError::NoPort(pair.server)));
}

/// RFC 9293, section 3.10.4, and Linux: an application that has closed its side may wait for as long as it likes.
#[test]
fn a_half_closed_connection_lives_while_its_application_waits() {
    let mut pair = Pair::new(false);
    let [client, server] = pair.connected();
    pair.stacks[0].close(client);
    pair.pass(3_600_000);
    assert_eq!(pair.stacks[0].state(client), Some(State::FinWait2));
    pair.write(1, server, b"at last");
    assert_eq!(pair.read(0, client), b"at last");
}

#[test]
fn an_application_that_leaves_data_unread_resets_and_an_orphan_does_not_live_for_ever() {
    let mut pair = Pair::new(false);
    let [client, server] = pair.connected();
    pair.write(0, client, b"unread");
    pair.stacks[1].release(server);
    pair.settle();
    assert_eq!(pair.stacks[0].end(client), Some(End::Reset));
    assert_eq!(pair.tables(1), [0; 4]);
    pair.stacks[0].release(client);
    // The client does not close.
    let [_client, server] = pair.connected();
    pair.stacks[1].release(server);
    pair.settle();
    assert_eq!(pair.tables(1)[0], 1);
    pair.pass(61_000);
    assert_eq!(pair.tables(1), [0; 4]);
    assert_eq!(pair.stacks[1].counters().orphans_expired, 1);
}

/// RFC 9293, section 3.6.1: who sends to an application that has gone is told that nobody reads it.
#[test]
fn data_for_an_application_that_has_gone_is_answered_by_a_reset() {
    for v6 in [false, true] {
        let mut pair = Pair::new(v6);
        let [client, server] = pair.connected();
        pair.stacks[1].release(server);
        pair.settle();
        assert!(pair.stacks[0].peer_finished(client));
        assert_eq!(pair.stacks[0].end(client), None);
        pair.write(0, client, b"nobody reads this");
        assert_eq!(pair.stacks[0].end(client), Some(End::Reset));
        assert_eq!(pair.tables(1), [0; 4]);
    }
}

/// Ports of other cores are never taken, and all of one's own are found.
#[test]
fn local_ports_belong_to_their_core() {
    for core in 0..3 {
        let mut pair = Pair::with(false, |config| {
            config.ports.range = 40_000..=40_029;
            (config.ports.cores, config.ports.core) = (3, core);
        });
        let mut ports = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let id = pair.stacks[0].connect(pair.server).unwrap();
            ports.insert(pair.stacks[0].addresses(id).unwrap().1.port());
        }
        assert!(
            ports.len() == 10 && ports.iter().all(|port| port % 3 == core),
            "{ports:?}"
        );
        let full = pair.stacks[0].connect(pair.server);
        assert_eq!(full, Err(ConnectError::NoPort(pair.server)));
    }
}

/// Connections that live long have most ports, one beside the other; others come and go by the rest.
#[test]
fn a_row_of_taken_ports_is_no_reason_to_refuse() {
    let mut pair = Pair::with(false, |config| {
        config.ports.range = 10_000..=14_095;
        config.max_time_wait = 0;
    });
    pair.settle();
    let held: Vec<_> = (0..3000).map(|_| pair.connected()).collect();
    for _ in 0..5000 {
        let [client, server] = pair.connected();
        pair.stacks[1].abort(server);
        pair.settle();
        pair.stacks[0].release(client);
    }
    assert_eq!(pair.stacks[0].flows(), held.len());
}

/// A port without room loses frames, which are counted and repaired.
#[test]
fn a_full_port_loses_frames_and_nothing_else() {
    let mut pair = Pair::new(false);
    let [client, server] = pair.connected();
    pair.stacks[0].io().room = 3;
    pair.write(0, client, &[9; 20_000]);
    assert!(pair.dropped(0, Reason::PortFull) > 0);
    pair.stacks[0].io().room = usize::MAX;
    pair.pass(5_000);
    assert_eq!(pair.read(1, server), [9; 20_000]);
}

#[test]
fn sums_are_left_to_a_port_that_computes_them() {
    let tuple = Tuple {
        local: Address::v4([10, 0, 0, 1]),
        remote: Address::v4([10, 0, 0, 2]),
        local_port: 1,
        remote_port: 2,
    };
    let mut port = Port::new(1500);
    for checksums in [true, false] {
        let mut sender = replies::Sender {
            io: &mut port,
            mac: CLIENT,
            checksums,
            counters: &mut Counters::default(),
        };
        sender.segment(&tuple, SERVER, &Segment::default(), [b"pay", b"load"]);
    }
    let (bare, whole) = (port.sent.pop().unwrap(), port.sent.pop().unwrap());
    assert_eq!(bare[24..26], [0, 0]);
    let pseudo = crate::ip::pseudo_header(tuple.local, tuple.remote, 6, 27);
    assert_eq!(bare[50..52], pseudo.folded());
    let mut repaired = bare.clone();
    frames::repair(&mut repaired);
    assert_eq!(repaired, whole);
    assert!(pseudo.add(&whole[34..]).is_right());
}

/// The SYN of a stranger, each with an address of its own.
fn strangers_syn(number: u32) -> Vec<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    let tuple = Tuple {
        local: Address::v4([11, a, b, c]),
        remote: Address::v4([10, 0, 0, 2]),
        local_port: 5000,
        remote_port: 443,
    };
    let syn = Segment {
        flags: Flags::SYN,
        seq: Seq(number.wrapping_mul(0x9e37_79b9)),
        mss: Some(1460),
        ..Segment::default()
    };
    frames::segment((Mac([2; 6]), SERVER), &tuple, &syn, &[])
}

/// 200,000 SYNs of which 1.5 % are honest: every honest client is served, and the tables stay as small as they may be.
#[test]
fn every_honest_client_is_served_in_a_flood() {
    const SYNS: u32 = 200_000;
    let mut pair = Pair::with(false, |config| config.answers_per_second = 100_000);
    pair.settle();
    pair.stacks[0].next_ready();
    let mut clients = Vec::new();
    let mut served = 0;
    let mut most = [0; 4];
    for number in 0..SYNS {
        if number % 200 < 3 {
            clients.push(pair.stacks[0].connect(pair.server).unwrap());
        } else {
            let frame = strangers_syn(number);
            pair.stacks[1].io().arrived.push_back(frame);
        }
        if number % 20 != 19 {
            continue;
        }
        // 200,000 in four seconds.
        pair.ms += u64::from(number % 100 == 99) * 2;
        let now = pair.now();
        for from in [0, 1, 0, 1] {
            pair.stacks[from].transmit(now);
            let sent = std::mem::take(&mut pair.stacks[from].io().sent);
            let to = if from == 0 { SERVER } else { CLIENT };
            let for_peer = sent
                .into_iter()
                .filter(|frame| frame[..6] == to.0 || frame[0] & 1 == 1);
            pair.stacks[1 - from].io().arrived.extend(for_peer);
            while pair.stacks[1 - from].receive(now, |_, _| 0) > 0 {}
        }
        while let Some(id) = pair.stacks[1].accept(pair.listener) {
            pair.stacks[1].write(id, b"served");
            pair.stacks[1].release(id);
        }
        clients.retain(|id| {
            let is_served = pair.stacks[0].peer_finished(*id);
            if is_served {
                served += pair.stacks[0].read(*id, |parts| parts.concat().len());
                pair.stacks[0].release(*id);
            }
            !is_served
        });
        for (most, now) in most.iter_mut().zip(pair.tables(1)) {
            *most = now.max(*most);
        }
    }
    pair.pass(2_000);
    clients.retain(|id| {
        served += pair.stacks[0].read(*id, |parts| parts.concat().len());
        !pair.stacks[0].peer_finished(*id)
    });
    assert_eq!((clients.len(), served), (0, 3000 * b"served".len()));
    let [flows, half_open, ..] = most;
    assert!(half_open <= 4096 && flows < 4096 + 100, "{most:?}");
    assert!(pair.stacks[1].counters().cookies_taken > 2500);
    pair.pass(30_000);
    assert_eq!(pair.tables(1), [0; 4]);
}

/// Nothing is asked again within a second, whoever claims to be the neighbour.
#[test]
fn a_neighbour_is_not_learnt_from_claims() {
    for v6 in [false, true] {
        let mut pair = Pair::new(v6);
        let thief = Mac([2, 9, 9, 9, 9, 9]);
        let claim = frames::claim(thief, ip(v6, 2).into(), (CLIENT, ip(v6, 1).into()));
        let now = pair.now();
        for _ in 0..3 {
            pair.stacks[0].io().arrived.push_back(claim.clone());
        }
        pair.stacks[0].receive(now, |_, _| 0);
        assert_eq!(
            (
                pair.dropped(0, Reason::Unasked),
                pair.stacks[0].neighbours()
            ),
            (3, 0)
        );
        let [client, _] = pair.connected();
        pair.stacks[0].io().arrived.push_back(claim);
        pair.stacks[0].receive(now, |_, _| 0);
        pair.stacks[0].write(client, b"to the server");
        pair.stacks[0].transmit(now);
        assert_eq!(pair.stacks[0].io().sent[0][..6], SERVER.0);
    }
}
