//! The requirements of RFC 9293 (its appendix B) that a connection can meet or break, each by its name.
//!
//! Tested beside the code: MUST-4 to MUST-7, MUST-64, MUST-65, MUST-68, MUST-69 (`segment`), MUST-8 (`isn`), MUST-18 and
//! MUST-19 (`rtt`, `cubic`).
//!
//! The network's, the flow table's or the application's: MUST-2, MUST-3 (checksums), MUST-9, MUST-41 to MUST-57, MUST-63,
//! MUST-67. Left out with what they are about: MUST-24, MUST-26 to MUST-29 (keep-alives), MUST-32, MUST-33 (urgent data is
//! read as data), MUST-62 (none is sent).

use std::time::Duration;

use spinlane_tcp::{Config, End, Flags, Instant, Segment, Seq, State, Tcb};

const OURS: Seq = Seq(1000);
const PEERS: Seq = Seq(500_000);
const MSS: u16 = 1000;
const START: Instant = Instant::from_micros(5_000_000);

/// A connection, and a peer that a test speaks for.
struct Talk {
    tcb: Tcb,
    now: Instant,
    window: u16,
    read: Vec<u8>,
    /// The application takes so much.
    appetite: usize,
}

fn config() -> Config {
    Config {
        mss: MSS,
        receive_limit: 10_000,
        sack: false,
        timestamps: false,
        ..Config::default()
    }
}

fn syn() -> Segment {
    Segment {
        seq: PEERS,
        flags: Flags::SYN,
        window: 5000,
        mss: Some(MSS),
        ..Segment::default()
    }
}

impl Talk {
    fn new(tcb: Tcb) -> Self {
        Self {
            tcb,
            now: START,
            window: 5000,
            read: Vec::new(),
            appetite: usize::MAX,
        }
    }

    /// A client's connection that has been asked for.
    fn connect(config: &Config) -> Self {
        Self::new(Tcb::connect(config, OURS))
    }

    /// A server's connection that `syn` asks for.
    fn accept(config: &Config, syn: &Segment) -> Self {
        Self::new(Tcb::accept(config, START, OURS, syn))
    }

    /// A server's connection whose handshake is done.
    fn established() -> Self {
        Self::of(&config())
    }

    fn of(config: &Config) -> Self {
        let mut talk = Self::accept(config, &syn());
        assert_eq!(talk.output().len(), 1);
        talk.hear(1, &[]);
        assert_eq!(talk.tcb.state(), State::Established);
        assert!(talk.output().is_empty());
        talk
    }

    fn wait(&mut self, time: Duration) -> Vec<(Segment, Vec<u8>)> {
        self.now = self.now + time;
        self.output()
    }

    fn output(&mut self) -> Vec<(Segment, Vec<u8>)> {
        let mut out = Vec::new();
        self.tcb
            .output(self.now, &mut |segment: &Segment, payload: [&[u8]; 2]| {
                out.push((*segment, payload.concat()))
            });
        out
    }

    fn take(&mut self, segment: &Segment, payload: &[u8]) {
        let (read, appetite) = (&mut self.read, self.appetite);
        self.tcb.segment(self.now, segment, payload, |bytes| {
            let some = bytes.len().min(appetite);
            read.extend_from_slice(&bytes[..some]);
            some
        });
    }

    /// The peer's next segment; `acked` of our numbers are acknowledged.
    fn hear(&mut self, acked: u32, payload: &[u8]) {
        let segment = self.peer(acked, 0);
        self.take(&segment, payload);
    }

    /// A segment of the peer that lies `ahead` of what is expected.
    fn peer(&self, acked: u32, ahead: u32) -> Segment {
        let (seq, window) = (self.tcb.expects() + ahead, self.window);
        Segment {
            seq,
            ack: OURS + acked,
            flags: Flags::ACK,
            window,
            ..Segment::default()
        }
    }

    fn send(&mut self, count: usize) -> Vec<(Segment, Vec<u8>)> {
        assert_eq!(self.tcb.send(&vec![7; count], usize::MAX), count);
        self.output()
    }
}

fn lengths(segments: &[(Segment, Vec<u8>)]) -> Vec<usize> {
    segments.iter().map(|(_, payload)| payload.len()).collect()
}

#[test]
fn must_1_windows_are_unsigned() {
    let mut talk = Talk::established();
    talk.window = u16::MAX;
    talk.hear(1, &[]);
    assert_eq!(
        talk.send(15_000)
            .iter()
            .map(|(_, payload)| payload.len())
            .sum::<usize>(),
        10_000,
        "the initial window"
    );
}

#[test]
fn must_10_both_may_open_at_once() {
    let mut talk = Talk::connect(&config());
    assert_eq!(talk.output()[0].0.flags, Flags::SYN);
    talk.take(&syn(), &[]);
    assert_eq!(talk.tcb.state(), State::SynReceived);
    let answer = talk.output()[0].0;
    assert_eq!(
        (answer.flags, answer.seq, answer.ack),
        (Flags::SYN | Flags::ACK, OURS, PEERS + 1)
    );
    talk.hear(1, &[]);
    assert_eq!(talk.tcb.state(), State::Established);
}

#[test]
fn must_11_a_reset_of_an_active_open_is_a_refusal() {
    for active in [true, false] {
        let mut talk = match active {
            true => Talk::connect(&config()),
            false => Talk::accept(&config(), &syn()),
        };
        talk.output();
        if active {
            talk.take(&syn(), &[]);
        }
        let reset = Segment {
            flags: Flags::RST,
            ..talk.peer(0, 0)
        };
        talk.take(&reset, &[]);
        assert_eq!(
            talk.tcb.end(),
            Some(if active { End::Refused } else { End::Reset })
        );
    }
}

#[test]
fn must_12_the_application_learns_of_a_reset() {
    let mut talk = Talk::established();
    let reset = Segment {
        flags: Flags::RST,
        ..talk.peer(1, 0)
    };
    talk.take(&reset, &[]);
    assert_eq!(
        (talk.tcb.state(), talk.tcb.end()),
        (State::Closed, Some(End::Reset))
    );
    assert_eq!(talk.tcb.due(), None);
}

#[test]
fn must_13_who_closes_first_waits() {
    let mut talk = Talk::established();
    talk.tcb.close();
    assert!(talk.output()[0].0.flags.has(Flags::FIN));
    talk.hear(2, &[]);
    assert_eq!(talk.tcb.state(), State::FinWait2);
    let fin = Segment {
        flags: Flags::FIN | Flags::ACK,
        ..talk.peer(2, 0)
    };
    talk.take(&fin, &[]);
    assert_eq!(talk.tcb.state(), State::TimeWait);
    assert_eq!(talk.output()[0].0.ack, fin.seq + 1);
    // The peer did not see that: it is told again, and the wait begins anew.
    talk.wait(Duration::from_secs(50));
    talk.take(&fin, &[]);
    assert_eq!(talk.output()[0].0.ack, fin.seq + 1);
    talk.wait(Duration::from_secs(50));
    assert_eq!(talk.tcb.state(), State::TimeWait);
    talk.wait(Duration::from_secs(11));
    assert_eq!(talk.tcb.end(), Some(End::Closed));
}

#[test]
fn must_14_15_16_segments_are_as_small_as_the_peer_asks() {
    for (asked, expected) in [(Some(700), 700), (Some(5000), 1000), (None, 536)] {
        let syn = Segment {
            mss: asked,
            ..syn()
        };
        let mut talk = Talk::accept(&config(), &syn);
        let (answer, _) = talk.output()[0].clone();
        assert_eq!(answer.mss, Some(MSS));
        talk.hear(1, &[]);
        assert_eq!(lengths(&talk.send(3000))[0], expected);
    }
}

#[test]
fn must_16_options_take_of_a_segments_size() {
    let config = Config {
        timestamps: true,
        ..config()
    };
    let syn = Segment {
        timestamps: Some((1, 0)),
        ..syn()
    };
    let mut talk = Talk::accept(&config, &syn);
    talk.output();
    let ack = Segment {
        timestamps: Some((2, 5000)),
        ..talk.peer(1, 0)
    };
    talk.take(&ack, &[]);
    assert_eq!(lengths(&talk.send(3000))[0], 1000 - 12);
}

#[test]
fn must_17_small_segments_do_not_wait_for_acknowledgements() {
    let mut talk = Talk::established();
    assert_eq!(lengths(&talk.send(10)), [10]);
    assert_eq!(lengths(&talk.send(10)), [10]);
}

#[test]
fn must_20_21_a_silent_peer_is_given_up() {
    let config = Config {
        user_timeout: Duration::from_secs(100),
        ..config()
    };
    let mut talk = Talk::of(&config);
    talk.send(10);
    let start = talk.now;
    let mut sent = 0;
    while talk.tcb.end().is_none() {
        talk.now = talk.tcb.due().unwrap();
        sent += talk.output().len();
    }
    assert_eq!(talk.tcb.end(), Some(End::TimedOut));
    assert_eq!(talk.now.since(start), Duration::from_secs(100));
    assert!((6..12).contains(&sent), "{sent} times");
}

#[test]
fn must_22_23_a_syn_goes_again_for_three_minutes() {
    let mut talk = Talk::connect(&Config::default());
    let start = talk.now;
    let mut sent = talk.output().len();
    while talk.tcb.end().is_none() {
        talk.now = talk.tcb.due().unwrap();
        sent += talk
            .output()
            .iter()
            .filter(|(segment, _)| segment.flags == Flags::SYN)
            .count();
    }
    assert_eq!(talk.tcb.end(), Some(End::TimedOut));
    assert!(talk.now.since(start) >= Duration::from_secs(180));
    assert!(sent >= 6, "{sent} times");
}

#[test]
fn must_25_an_idle_connection_is_silent() {
    let mut talk = Talk::established();
    assert_eq!(talk.tcb.due(), None);
    assert!(talk.wait(Duration::from_secs(100_000)).is_empty());
}

#[test]
fn must_30_31_urgent_data_of_any_length_is_data() {
    let mut talk = Talk::established();
    let urgent = Segment {
        flags: Flags::ACK | Flags::URG,
        ..talk.peer(1, 0)
    };
    talk.take(&urgent, &[1; 900]);
    assert_eq!(talk.read, [1; 900]);
}

#[test]
fn must_34_a_window_that_shrinks_does_no_harm() {
    let mut talk = Talk::established();
    assert_eq!(lengths(&talk.send(6000)), [1000; 5]);
    talk.window = 0;
    talk.hear(1001, &[]);
    assert!(talk.output().is_empty());
    // What is out already is sent again when it is due.
    let due = talk.tcb.due().unwrap();
    talk.now = due;
    assert_eq!(talk.output()[0].0.seq, OURS + 1001);
    talk.window = 5000;
    talk.hear(5001, &[]);
    assert_eq!(lengths(&talk.output()), [1000]);
}

#[test]
fn must_35_36_37_a_closed_window_is_probed_for_as_long_as_the_peer_answers() {
    let config = Config {
        user_timeout: Duration::from_secs(100),
        ..config()
    };
    let mut talk = Talk::of(&config);
    talk.window = 0;
    talk.hear(1, &[]);
    assert!(talk.send(10).is_empty());
    let start = talk.now;
    let mut gaps = Vec::new();
    while talk.now.since(start) < Duration::from_secs(1000) {
        let before = talk.now;
        talk.now = talk.tcb.due().unwrap();
        let probes = talk.output();
        assert_eq!(
            (probes.len(), probes[0].0.seq, lengths(&probes)),
            (1, OURS, vec![0])
        );
        gaps.push(talk.now.since(before));
        talk.hear(1, &[]);
        talk.output();
    }
    assert!(gaps.windows(2).all(|pair| pair[0] <= pair[1]), "{gaps:?}");
    assert!(gaps.last() > gaps.first());
    talk.window = 5000;
    talk.hear(1, &[]);
    assert_eq!(lengths(&talk.output()), [10]);
}

#[test]
fn must_38_no_silly_segments_are_sent() {
    let mut talk = Talk::established();
    assert_eq!(lengths(&talk.send(6000)), [1000; 5]);
    // Room for 100 bytes behind the five segments: not worth one while something is out.
    talk.window = 4100;
    talk.hear(1001, &[]);
    assert!(talk.output().is_empty());
}

#[test]
fn must_39_no_silly_windows_are_offered() {
    let mut talk = Talk::established();
    talk.appetite = 0;
    for _ in 0..10 {
        talk.hear(1, &[1; 1000]);
        talk.output();
    }
    let shut = talk.wait(Duration::from_secs(1));
    assert!(shut.iter().all(|(segment, _)| segment.window == 0));
    // A byte is read at a time: nothing is said until a segment's worth has room.
    for _ in 0..999 {
        talk.tcb.read(|_| 1);
        assert!(talk.output().iter().all(|(segment, _)| segment.window == 0));
    }
    talk.tcb.read(|_| 1001);
    assert_eq!(talk.output()[0].0.window, 2000);
}

#[test]
fn must_40_an_acknowledgement_waits_less_than_half_a_second() {
    let mut talk = Talk::established();
    talk.hear(1, &[1; 10]);
    assert!(talk.output().is_empty());
    let due = talk.tcb.due().unwrap();
    assert!(due.since(talk.now) < Duration::from_millis(500));
    talk.now = due;
    assert_eq!(talk.output()[0].0.ack, PEERS + 11);
}

#[test]
fn must_58_59_a_burst_is_acknowledged_once() {
    let mut talk = Talk::established();
    for _ in 0..4 {
        talk.hear(1, &[1; 1000]);
    }
    let acks = talk.output();
    assert_eq!((acks.len(), acks[0].0.ack), (1, PEERS + 4001));
    // One that fills a gap is acknowledged with all that was behind it.
    let ahead = talk.peer(1, 1000);
    talk.take(&ahead, &[2; 1000]);
    talk.hear(1, &[1; 1000]);
    assert_eq!(talk.output()[0].0.ack, PEERS + 6001);
}

#[test]
fn must_60_61_data_is_pushed_and_the_last_segment_says_so() {
    let mut talk = Talk::established();
    let sent = talk.send(2500);
    assert_eq!(lengths(&sent), [1000, 1000, 500]);
    let pushed: Vec<_> = sent
        .iter()
        .map(|(segment, _)| segment.flags.has(Flags::PSH))
        .collect();
    assert_eq!(pushed, [false, false, true]);
}

#[test]
fn must_66_a_reset_counts_while_our_window_is_closed() {
    let mut talk = Talk::established();
    talk.appetite = 0;
    for _ in 0..10 {
        talk.hear(1, &[1; 1000]);
        talk.output();
    }
    assert_eq!(lengths(&talk.send(10)), [10]);
    // And so does an acknowledgement, of a segment whose data finds no room.
    talk.hear(11, &[1; 100]);
    assert_eq!(talk.tcb.unacknowledged(), 0);
    let reset = Segment {
        flags: Flags::RST,
        ..talk.peer(11, 0)
    };
    talk.take(&reset, &[]);
    assert_eq!(talk.tcb.end(), Some(End::Reset));
}

/// RFC 5961, sections 3 to 5.
#[test]
fn a_stranger_can_neither_reset_nor_acknowledge() {
    let mut talk = Talk::established();
    talk.send(100);
    for forged in [
        Segment {
            flags: Flags::RST,
            ..talk.peer(1, 1)
        },
        Segment {
            flags: Flags::SYN,
            ..talk.peer(1, 0)
        },
        talk.peer(102, 0),
        Segment {
            ack: OURS - 1_000_000,
            ..talk.peer(1, 0)
        },
    ] {
        talk.wait(Duration::from_millis(150));
        talk.take(&forged, &[]);
        let answers = talk.output();
        assert!(
            answers
                .iter()
                .any(|(answer, _)| answer.flags == Flags::ACK && answer.ack == PEERS + 1),
            "{forged:?}"
        );
        assert_eq!(talk.tcb.state(), State::Established, "{forged:?}");
        assert_eq!(talk.tcb.unacknowledged(), 100);
        // Not more than one answer at a time.
        talk.take(&forged, &[]);
        assert!(talk.output().is_empty(), "{forged:?}");
    }
}

/// RFC 7323, section 5.
#[test]
fn segments_of_an_earlier_turn_of_the_numbers_are_dropped() {
    let config = Config {
        timestamps: true,
        ..config()
    };
    let syn = Segment {
        timestamps: Some((1000, 0)),
        ..syn()
    };
    let mut talk = Talk::accept(&config, &syn);
    talk.output();
    let with = |talk: &Talk, value| Segment {
        timestamps: Some((value, 5000)),
        ..talk.peer(1, 0)
    };
    let next = with(&talk, 1001);
    talk.take(&next, b"new");
    let old = with(&talk, 999);
    talk.take(&old, b"old");
    let bare = Segment {
        timestamps: None,
        ..with(&talk, 0)
    };
    talk.take(&bare, b"without");
    assert_eq!(talk.read, b"new");
    assert_eq!(talk.output().last().unwrap().0.timestamps.unwrap().1, 1001);
}
