//! What was sent and is to be sent: the send queue, the scoreboard, loss recovery, the window.
//!
//! ```text
//!        una                    nxt                       una + window
//!   ──────┼──────────────────────┼─────────────────────────────┼──────▶ sequence numbers
//!         │ sent: in flight,     │ queued                      │
//!         │ sacked or lost       │                             │
//!         ╰── data[0] ───────────┴── data[nxt - first] ────╯
//! ```
//! `first` is the number of the first byte in the queue: `una`, or one more while our SYN is not
//! acknowledged.

mod acknowledged;
mod output;
mod resting;
mod timer;

use std::collections::VecDeque;

use crate::buffer::Buffer;
use crate::cubic::Cubic;
use crate::rack::Rack;
use crate::rtt::Rtt;
use crate::segment::Segment;
use crate::seq::Seq;
use crate::time::Instant;

pub(crate) use resting::Quiet;

/// A segment in the network, as far as we know.
#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: Seq,
    end: Seq,
    at: Instant,
    fate: Fate,
    retransmitted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    InFlight,
    Sacked,
    /// To be sent again.
    Lost,
}

/// What the timer of the send side does when it fires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timer {
    Off,
    /// RFC 6298.
    Retransmission,
    /// Tail loss probe (RFC 8985, section 7).
    Probe,
    /// RACK's wait for what may be reordered (RFC 8985, section 6.2, step 5).
    Reordering,
    /// The peer's window is closed (RFC 9293, section 3.8.6.1).
    Window,
}

/// Repair of losses up to `until`.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    until: Seq,
    /// After a time-out the window grows as in slow start.
    by_timeout: bool,
}

/// How a connection has repaired its losses, since [`Tcb::take_repairs`](crate::Tcb::take_repairs) was called last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Repairs {
    /// Segments sent again.
    pub retransmissions: u64,
    /// Time-outs of what was sent (RFC 6298).
    pub timeouts: u64,
    /// Tail loss probes (RFC 8985, section 7).
    pub probes: u64,
    /// Losses, or several within a round trip, that acknowledgements have shown.
    pub recoveries: u64,
}

/// One thing to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Next {
    pub(crate) seq: Seq,
    /// Bytes of the queue.
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) fin: bool,
    pub(crate) syn: bool,
    /// Whether the segment empties the queue.
    pub(crate) last: bool,
}

/// The send side of a connection.
#[derive(Debug)]
pub(crate) struct Sender {
    /// SND.UNA, SND.NXT.
    pub(crate) una: Seq,
    pub(crate) nxt: Seq,
    /// Number of the first byte in `data`.
    first: Seq,
    /// SND.WND, shifted; SND.WL1; SND.WL2; and the largest window that was ever offered.
    pub(crate) window: u32,
    wl1: Seq,
    wl2: Seq,
    largest_window: u32,
    data: Buffer,
    sent: VecDeque<Sent>,
    /// Sequence numbers in flight.
    in_flight: u32,
    /// The congestion window was what stopped the last output.
    limited: bool,
    sacked: u32,
    lost: u32,
    fin: Fin,
    /// Data of a segment at most.
    pub(crate) mss: u16,
    pub(crate) sack: bool,
    pub(crate) rtt: Rtt,
    rack: Rack,
    cubic: Cubic,
    recovery: Option<Recovery>,
    /// A tail loss probe that was a retransmission is under way; all up to here had been sent (RFC 8985, section 7.4).
    probing: Option<Seq>,
    /// Probes since anything new was acknowledged.
    unanswered: u8,
    /// Acknowledgements in a row that acknowledged nothing, of a peer without SACK.
    duplicates: u8,
    /// Time-outs in a row.
    backoff: u8,
    /// A recovery has begun: one segment is sent again whatever is in flight (RFC 6675, section 5, step 4.3).
    fast: bool,
    /// A window probe or a tail loss probe is to go out.
    probe_due: bool,
    timer: Timer,
    due: Instant,
    /// When the peer was heard of last while it owed an answer.
    pub(crate) owed_since: Instant,
    last_sent: Instant,
    pub(crate) repairs: Repairs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fin {
    No,
    /// Behind the last byte.
    Wanted,
    Sent,
}

impl Sender {
    pub(crate) fn new(isn: Seq, mss: u16) -> Self {
        Self {
            una: isn,
            nxt: isn,
            first: isn + 1,
            window: 0,
            wl1: Seq(0),
            wl2: isn,
            largest_window: 0,
            data: Buffer::default(),
            sent: VecDeque::new(),
            in_flight: 0,
            limited: false,
            sacked: 0,
            lost: 0,
            fin: Fin::No,
            mss,
            sack: false,
            rtt: Rtt::default(),
            rack: Rack::new(isn),
            cubic: Cubic::new(mss.into()),
            recovery: None,
            probing: None,
            unanswered: 0,
            duplicates: 0,
            backoff: 0,
            fast: false,
            probe_due: false,
            timer: Timer::Off,
            due: Instant::NEVER,
            owed_since: Instant::NEVER,
            last_sent: Instant::default(),
            repairs: Repairs::default(),
        }
    }

    /// Takes over what the handshake agreed on. The congestion window begins anew with the right
    /// size.
    pub(crate) fn agree(&mut self, mss: u16, sack: bool) {
        self.mss = mss;
        self.sack = sack;
        self.cubic = Cubic::new(mss.into());
    }

    /// Returns how many bytes are queued, sent ones included.
    pub(crate) fn queued(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.data.push(bytes);
    }

    /// Queues a FIN after the last byte.
    pub(crate) fn finish(&mut self) {
        if self.fin == Fin::No {
            self.fin = Fin::Wanted;
        }
    }

    /// Returns `true` if no more data may be queued.
    pub(crate) fn closing(&self) -> bool {
        self.fin != Fin::No
    }

    /// Returns `true` if our SYN has never been sent.
    pub(crate) fn wants_syn(&self) -> bool {
        self.nxt < self.first
    }

    /// Has our SYN go out again.
    pub(crate) fn resend_syn(&mut self) {
        if !self.sent.is_empty() {
            self.set_lost(0);
        }
    }

    /// Takes no round-trip time of our SYN.
    pub(crate) fn was_resent(&mut self) {
        for sent in &mut self.sent {
            sent.retransmitted = true;
        }
    }

    /// Returns `true` if the peer owes an acknowledgement, or an open window.
    pub(crate) fn owes(&self) -> bool {
        self.una != self.nxt || self.timer == Timer::Window
    }

    /// Returns `true` if `ack` is within the largest window before `una` (RFC 5961, section 5.2).
    pub(crate) fn could_be_acked(&self, ack: Seq) -> bool {
        self.una.since(ack) <= self.largest_window
    }

    /// Returns `true` if the FIN, and so all before it, has been acknowledged.
    pub(crate) fn fin_acked(&self) -> bool {
        self.fin == Fin::Sent && self.una == self.nxt
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    pub(crate) fn payload(&self, next: &Next) -> [&[u8]; 2] {
        self.data.parts(next.start, next.len)
    }

    /// Returns `true` if a window is the one that is known already.
    pub(crate) fn is_window(&self, segment: &Segment, scale: u8) -> bool {
        self.window == u32::from(segment.window) << scale
    }

    /// Takes the peer's window from a segment that is not older than the last. RFC 9293, section
    /// 3.10.7.4, compares sequence numbers before acknowledgements; but a retransmission has an old
    /// number and the newest acknowledgement, whose window is counted from where that stands.
    pub(crate) fn update_window(&mut self, segment: &Segment, scale: u8) {
        if self.wl2 < segment.ack || (self.wl2 == segment.ack && self.wl1 <= segment.seq) {
            self.window = u32::from(segment.window) << scale;
            self.largest_window = self.largest_window.max(self.window);
            (self.wl1, self.wl2) = (segment.seq, segment.ack);
        }
    }

    /// Sets the first window of a connection.
    pub(crate) fn first_window(&mut self, segment: &Segment) {
        (self.wl1, self.wl2) = (segment.seq, self.una);
        self.window = segment.window.into();
        self.largest_window = self.window;
    }
}
