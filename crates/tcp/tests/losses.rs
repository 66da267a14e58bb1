//! Losses, and what finds them: acknowledgements or a probe before a time-out.

use std::time::Duration;

use spinlane_tcp::{Config, Flags, Instant, Repairs, Segment, Seq, Tcb};

const OURS: Seq = Seq(1000);
const PEERS: Seq = Seq(500_000);
const MSS: u32 = 1000;
/// Of every segment, beside timestamps.
const DATA: u32 = MSS - 12;
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// A connection with selective acknowledgements and timestamps, and a peer that a test speaks for.
struct Talk {
    tcb: Tcb,
    now: Instant,
    /// What the peer has received in a row, and the timestamp of what came last of it.
    ack: u32,
    recent: u32,
    repairs: Repairs,
}

impl Talk {
    /// An established connection with `segments` segments to send.
    fn of(segments: u32) -> Self {
        let config = Config {
            mss: 1000,
            ..Config::default()
        };
        let now = Instant::from_micros(5_000_000);
        let syn = Segment {
            seq: PEERS,
            flags: Flags::SYN,
            window: 60_000,
            mss: Some(1000),
            sack_permitted: true,
            timestamps: Some((1, 0)),
            ..Segment::default()
        };
        let tcb = Tcb::accept(&config, now, OURS, &syn);
        let mut talk = Self {
            tcb,
            now,
            ack: 0,
            recent: 0,
            repairs: Repairs::default(),
        };
        talk.output();
        talk.wait(ROUND_TRIP);
        talk.hears(&[]);
        let bytes = vec![7; (segments * DATA) as usize];
        assert_eq!(talk.tcb.send(&bytes, usize::MAX), bytes.len());
        talk
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Segments that go out, by their number: 0 is the first.
    fn output(&mut self) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut emit = |segment: &Segment, payload: [&[u8]; 2]| {
            if payload.concat().len() == DATA as usize {
                numbers.push((segment.seq - (OURS + 1)) / DATA);
            }
        };
        self.tcb.output(self.now, &mut emit);
        let Repairs {
            retransmissions,
            timeouts,
            probes,
            recoveries,
        } = self.tcb.take_repairs();
        self.repairs.retransmissions += retransmissions;
        self.repairs.timeouts += timeouts;
        self.repairs.probes += probes;
        self.repairs.recoveries += recoveries;
        numbers
    }

    /// A round trip after the last output the peer says what it has: `self.ack` segments in a row, and these.
    fn hears(&mut self, pieces: &[(u32, u32)]) {
        let mut segment = Segment {
            seq: PEERS + 1,
            ack: OURS + 1 + self.ack * DATA,
            flags: Flags::ACK,
            window: 60_000,
            timestamps: Some((self.now.timestamp(), self.recent)),
            ..Segment::default()
        };
        for &(from, to) in pieces {
            let at = |number| OURS + 1 + number * DATA;
            segment.sacks.push((at(from), at(to)));
        }
        self.tcb.segment(self.now, &segment, &[], |_| 0);
    }

    fn answers(&mut self, pieces: &[(u32, u32)]) -> Vec<u32> {
        self.wait(ROUND_TRIP);
        self.hears(pieces);
        self.output()
    }

    /// What goes out when the timer fires, and how long that takes.
    fn expires(&mut self) -> (Duration, Vec<u32>) {
        let due = self.tcb.due().unwrap_or(self.now);
        let waited = due.since(self.now);
        self.now = self.now.max(due);
        (waited, self.output())
    }
}

/// RFC 8985, section 3.1: by the time of its own last sending, and by what was sent after it.
#[test]
fn a_retransmission_that_is_lost_is_found_without_a_time_out() {
    let mut talk = Talk::of(40);
    assert_eq!(talk.output(), (0..10).collect::<Vec<_>>());
    let again = talk.answers(&[(1, 10)]);
    assert_eq!((again[0], again[1]), (0, 10), "the loss, then new data");
    // What went out behind it in the same microsecond has come.
    let again = talk.answers(&[(1, again.len() as u32 + 9)]);
    assert_eq!(again[0], 0);
    assert_eq!((talk.repairs.timeouts, talk.repairs.probes), (0, 0));
}

/// The acknowledgement of a segment out of order echoes the timestamp of one in order: it says nothing of which transmission
/// has come.
#[test]
fn a_retransmission_that_came_shows_that_those_before_it_are_lost() {
    let mut talk = Talk::of(10);
    talk.recent = talk.now.timestamp();
    assert_eq!(talk.output().len(), 10);
    talk.wait(ROUND_TRIP);
    assert_eq!(talk.answers(&[(3, 10)]), [0, 1, 2]);
    talk.wait(ROUND_TRIP);
    // The first of the three is lost once more; nothing new is there that could show it.
    assert_eq!(talk.answers(&[(1, 10)]), [0]);
    assert_eq!((talk.repairs.timeouts, talk.repairs.probes), (0, 0));
}

/// Blocks come with the latest first, and acknowledgements get lost: what one reports at once shows no reordering, for which
/// losses would have to wait.
#[test]
fn what_one_acknowledgement_reports_is_no_reordering() {
    let mut talk = Talk::of(10);
    assert_eq!(talk.output().len(), 10);
    assert_eq!(talk.answers(&[(8, 9), (5, 6), (2, 3)]), [0, 1, 3, 4, 6, 7]);
    assert_eq!(talk.repairs.recoveries, 1);
}

/// RFC 8985, section 7: the acknowledgement of a whole window is lost, or its end. The probe is what the peer acknowledges at
/// once.
#[test]
fn the_end_of_a_burst_is_probed_for() {
    let mut talk = Talk::of(40);
    assert_eq!(talk.output().len(), 10);
    let (waited, probe) = talk.expires();
    assert_eq!(probe, [9]);
    assert!(waited < Duration::from_millis(10), "{waited:?}");
    // As many as the smaller window takes.
    assert_eq!(talk.answers(&[(9, 10)]), (0..7).collect::<Vec<_>>());
    assert_eq!(talk.repairs.timeouts, 0);
}

/// The one acknowledgement of a repair is lost: it is probed for as well, twice at most.
#[test]
fn the_end_of_a_recovery_is_probed_for_before_it_times_out() {
    let mut talk = Talk::of(10);
    assert_eq!(talk.output().len(), 10);
    assert_eq!(talk.answers(&[(1, 10)]), [0]);
    let (first, probe) = talk.expires();
    assert_eq!(probe, [0]);
    assert!(first < Duration::from_millis(300), "{first:?}");
    talk.ack = 10;
    talk.recent = talk.now.timestamp();
    assert!(talk.answers(&[]).is_empty());
    assert_eq!((talk.repairs.timeouts, talk.repairs.probes), (0, 1));
    assert_eq!(talk.tcb.due(), None);
}

#[test]
fn probes_that_nobody_answers_end_with_a_time_out() {
    let mut talk = Talk::of(10);
    assert_eq!(talk.output().len(), 10);
    let (first, second) = (talk.expires().0, talk.expires().0);
    assert!(first < second, "{first:?}, {second:?}");
    let (third, _) = talk.expires();
    assert!(third >= Duration::from_millis(200), "{third:?}");
    let Repairs {
        probes, timeouts, ..
    } = talk.repairs;
    assert_eq!((probes, timeouts), (2, 1));
}

/// RFC 8985, section 7.2: a probe is no later than a time-out, whoever keeps sending.
#[test]
fn who_keeps_sending_puts_no_probe_off() {
    let mut talk = Talk::of(1);
    talk.output();
    let begun = talk.now;
    while talk.repairs.timeouts == 0 {
        talk.wait(Duration::from_millis(1));
        assert_eq!(talk.tcb.send(&[7], usize::MAX), 1);
        talk.output();
        assert!(
            talk.now.since(begun) < Duration::from_secs(2),
            "{:?}",
            talk.repairs
        );
    }
    assert_eq!(talk.repairs.probes, 2);
}

/// RFC 2883, section 4.2: a duplicate, and then the piece that it is part of.
#[test]
fn a_piece_that_begins_with_a_duplicate_is_taken_whole() {
    let mut talk = Talk::of(40);
    assert_eq!(talk.output().len(), 10);
    // Six have arrived, so that there is room in a window of seven for what is lost and three more.
    assert_eq!(talk.answers(&[(3, 4), (3, 9)]), [0, 1, 2, 10, 11, 12]);
}

/// RFC 6675, section 5, step 4.3: the first loss is sent again although the window has become smaller than what is in flight.
#[test]
fn a_recovery_begins_with_a_retransmission_at_once() {
    let mut talk = Talk::of(40);
    assert_eq!(talk.output().len(), 10);
    talk.ack = 10;
    assert_eq!(talk.answers(&[]).len(), 20);
    // 16 are in flight, and the window is 14 by now.
    assert_eq!(talk.answers(&[(11, 14)]), [10]);
}
