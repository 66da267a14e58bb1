//! What came in: reassembly, the window offered, acknowledgements owed.
//!
//! ```text
//!   read │ ready │         ahead: ▒▒▒▒   ▒▒▒          │
//!   ─────┼───────┼──────────────────────────────────┼──────▶ sequence numbers
//!               nxt                                  edge
//! ```

use std::time::Duration;

use crate::buffer::Buffer;
use crate::segment::{MOST_SACKS, Range, Sacks};
use crate::seq::Seq;
use crate::time::Instant;

/// An acknowledgement waits so long for data to ride on (RFC 9293 allows 500 ms).
const DELAY: Duration = Duration::from_millis(40);
/// Pieces that are kept ahead of a gap at most.
const MOST_AHEAD: usize = 64;

/// Bytes that came ahead of a gap.
#[derive(Debug)]
struct Ahead {
    start: Seq,
    bytes: Vec<u8>,
    /// When something came to it last, counted by `Receiver::touches`.
    touched: u64,
}

impl Ahead {
    fn end(&self) -> Seq {
        // A piece is no longer than the window.
        #[expect(clippy::cast_possible_truncation, reason = "at most a window's bytes")]
        let len = self.bytes.len() as u32;
        self.start + len
    }
}

/// The receive side of a connection.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// RCV.NXT.
    pub(crate) nxt: Seq,
    /// The furthest that was ever offered; the window never shrinks.
    edge: Seq,
    /// Bytes that may be held.
    limit: u32,
    ready: Buffer,
    /// In order, without overlaps.
    ahead: Vec<Ahead>,
    /// Segments that came ahead of a gap so far.
    touches: u64,
    /// A duplicate to report (RFC 2883).
    duplicate: Option<Range>,
    /// Where the peer's FIN stands, once it is known.
    fin: Option<Seq>,
    /// An acknowledgement is owed at this moment.
    ack_due: Instant,
    /// Bytes that came since the last acknowledgement.
    unacked: u32,
    /// TS.Recent (RFC 7323, section 4.3), when it was taken, and RCV.NXT of the last
    /// acknowledgement sent.
    pub(crate) recent: u32,
    recent_at: Instant,
    last_ack: Seq,
}

/// What is left of a [`Receiver`] that holds nothing and owes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    nxt: Seq,
    edge: Seq,
    limit: u32,
    recent: u32,
    recent_at: Instant,
}

/// Where a segment's data stands towards the window.
pub(crate) struct Accepted<'a> {
    /// The data that is new, and its number.
    pub(crate) start: Seq,
    pub(crate) bytes: &'a [u8],
}

impl Receiver {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            nxt: Seq(0),
            edge: Seq(0),
            limit,
            ready: Buffer::default(),
            ahead: Vec::new(),
            touches: 0,
            duplicate: None,
            fin: None,
            ack_due: Instant::NEVER,
            unacked: 0,
            recent: 0,
            recent_at: Instant::default(),
            last_ack: Seq(0),
        }
    }

    /// Begins with the number of the peer's SYN.
    pub(crate) fn begin(&mut self, syn: Seq) {
        self.nxt = syn + 1;
        self.edge = self.nxt;
        self.last_ack = self.nxt;
    }

    /// Returns what is to be kept of a receive side that holds nothing; `None` if it holds or owes
    /// anything.
    pub(crate) fn quiet(&self) -> Option<Window> {
        let is_quiet = self.ready.is_empty()
            && self.ahead.is_empty()
            && self.fin.is_none()
            && self.ack_due == Instant::NEVER
            && self.last_ack == self.nxt;
        is_quiet.then_some(Window {
            nxt: self.nxt,
            edge: self.edge,
            limit: self.limit,
            recent: self.recent,
            recent_at: self.recent_at,
        })
    }

    /// Makes the receive side again.
    pub(crate) fn wake(window: &Window) -> Self {
        let mut receiver = Self::new(window.limit);
        (receiver.nxt, receiver.last_ack) = (window.nxt, window.nxt);
        receiver.edge = window.edge;
        (receiver.recent, receiver.recent_at) = (window.recent, window.recent_at);
        receiver
    }

    /// Returns the window that may be offered: room for what the application has not read. Its edge
    /// never moves back, and moves on by steps that are worth a segment (RFC 9293, section
    /// 3.8.6.2.2).
    pub(crate) fn offer(&mut self, mss: u16) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "at most the limit")]
        let held = self.ready.len() as u32;
        let edge = self.nxt + self.limit.saturating_sub(held);
        let step = u32::from(mss).min(self.limit / 2);
        if self.edge + step <= edge {
            self.edge = edge;
        }
        self.edge.since(self.nxt)
    }

    /// Returns `true` if reading has opened the window so far that the peer should hear of it.
    pub(crate) fn has_news_of_window(&self, mss: u16) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "at most the limit")]
        let held = self.ready.len() as u32;
        let edge = self.nxt + self.limit.saturating_sub(held);
        edge.since(self.edge) >= (2 * u32::from(mss)).min(self.limit / 2)
    }

    pub(crate) fn window(&self) -> u32 {
        self.edge.since(self.nxt)
    }

    /// Returns `true` if a segment of `len` numbers from `seq` on touches the window (RFC 9293,
    /// section 3.4, table 6).
    pub(crate) fn accepts(&self, seq: Seq, len: u32) -> bool {
        let window = self.window();
        match (len, window) {
            (0, 0) => seq == self.nxt,
            (_, 0) => false,
            (0, _) => self.nxt <= seq && seq < self.edge,
            _ => {
                let last = seq + (len - 1);
                (self.nxt <= seq && seq < self.edge) || (self.nxt <= last && last < self.edge)
            }
        }
    }

    /// Cuts `payload` to the window.
    pub(crate) fn cut<'a>(&self, seq: Seq, payload: &'a [u8]) -> Accepted<'a> {
        let old = self.nxt.since(seq) as usize;
        let bytes = payload.get(old..).unwrap_or_default();
        let start = seq.max(self.nxt);
        let room = self.edge.since(start) as usize;
        Accepted {
            start,
            bytes: &bytes[..bytes.len().min(room)],
        }
    }

    /// Takes a segment's data. What is in order goes to `deliver`, which returns how much of it the
    /// application takes; the rest is kept. Returns whether anything is ready or was delivered.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        seq: Seq,
        payload: &[u8],
        mss: u16,
        deliver: &mut dyn FnMut(&[u8]) -> usize,
    ) -> bool {
        if payload.is_empty() {
            return false;
        }
        let Accepted { start, bytes } = self.cut(seq, payload);
        #[expect(clippy::cast_possible_truncation, reason = "a segment's length")]
        let end_of_all = seq + payload.len() as u32;
        if bytes.is_empty() {
            // All of it is old, or beyond the window.
            if end_of_all <= self.nxt {
                self.duplicate = Some((seq, end_of_all));
            }
            self.ack_now(now);
            return false;
        }
        if start != self.nxt {
            self.keep_ahead(start, bytes);
            self.ack_now(now);
            return false;
        }
        self.accept(bytes, deliver);
        if self.ahead.is_empty() {
            #[expect(clippy::cast_possible_truncation, reason = "a segment's length")]
            let len = bytes.len() as u32;
            self.unacked += len;
            // Every second full segment (RFC 9293, section 3.8.6.3).
            let enough = self.unacked >= 2 * u32::from(mss);
            let due = if enough { now } else { now + DELAY };
            self.ack_due = self.ack_due.min(due);
        } else {
            self.join_ahead(deliver);
            self.ack_now(now);
        }
        true
    }

    fn accept(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(&[u8]) -> usize) {
        #[expect(clippy::cast_possible_truncation, reason = "at most a window's bytes")]
        let len = bytes.len() as u32;
        self.nxt += len;
        let taken = if self.ready.is_empty() {
            deliver(bytes).min(bytes.len())
        } else {
            0
        };
        self.ready.push(&bytes[taken..]);
    }

    /// Keeps bytes that came ahead of a gap, without what is there already.
    fn keep_ahead(&mut self, start: Seq, bytes: &[u8]) {
        #[expect(clippy::cast_possible_truncation, reason = "a segment's length")]
        let end = start + bytes.len() as u32;
        self.touches += 1;
        let touched = self.touches;
        let index = self.ahead.partition_point(|piece| piece.end() < start);
        let Some(piece) = self.ahead.get_mut(index).filter(|piece| piece.start <= end) else {
            if self.ahead.len() < MOST_AHEAD {
                let bytes = bytes.to_vec();
                let piece = Ahead {
                    start,
                    bytes,
                    touched,
                };
                self.ahead.insert(index, piece);
            }
            return;
        };
        piece.touched = touched;
        if piece.start <= start && end <= piece.end() {
            self.duplicate = Some((start, end));
            return;
        }
        // It touches the piece: before it, behind it, or both.
        let mut joined = Vec::new();
        if start < piece.start {
            joined.extend_from_slice(&bytes[..(piece.start - start) as usize]);
        }
        joined.append(&mut piece.bytes);
        let joined_start = start.min(piece.start);
        let have = joined_start + u32::try_from(joined.len()).unwrap_or(u32::MAX);
        joined.extend_from_slice(&bytes[bytes.len() - end.since(have) as usize..]);
        (piece.start, piece.bytes) = (joined_start, joined);
        // Pieces behind that it now reaches.
        while let Some(next) = self.ahead.get(index + 1) {
            let reach = self.ahead[index].end();
            if reach < next.start {
                break;
            }
            let next = self.ahead.remove(index + 1);
            let new = next.end().since(reach) as usize;
            let from = next.bytes.len() - new.min(next.bytes.len());
            self.ahead[index]
                .bytes
                .extend_from_slice(&next.bytes[from..]);
        }
    }

    /// Hands on what the gap kept back.
    fn join_ahead(&mut self, deliver: &mut dyn FnMut(&[u8]) -> usize) {
        while self
            .ahead
            .first()
            .is_some_and(|piece| piece.start <= self.nxt)
        {
            let piece = self.ahead.remove(0);
            let old = self.nxt.since(piece.start) as usize;
            if let Some(new) = piece.bytes.get(old..) {
                self.accept(new, deliver);
            }
        }
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }

    /// Notes the peer's FIN, which has the number `seq`.
    pub(crate) fn fin_at(&mut self, seq: Seq) {
        if self.fin.is_none() {
            self.fin = Some(seq);
        }
    }

    /// Goes past the FIN if all before it is there. Returns whether it did.
    pub(crate) fn pass_fin(&mut self, now: Instant) -> bool {
        if self.fin != Some(self.nxt) || self.is_finished() {
            return false;
        }
        self.nxt += 1;
        self.edge = self.edge.max(self.nxt);
        self.ack_now(now);
        true
    }

    /// Returns `true` if the peer's FIN has been passed.
    pub(crate) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| fin < self.nxt)
    }

    /// Lets the application read.
    pub(crate) fn read(&mut self, read: impl FnOnce([&[u8]; 2]) -> usize) -> usize {
        let taken = read(self.ready.parts(0, self.ready.len())).min(self.ready.len());
        self.ready.consume(taken);
        taken
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    // Acknowledgements.

    pub(crate) fn ack_now(&mut self, now: Instant) {
        self.ack_due = now;
    }

    pub(crate) fn ack_due(&self) -> Instant {
        self.ack_due
    }

    /// Notes that an acknowledgement went out.
    pub(crate) fn acked(&mut self) {
        self.ack_due = Instant::NEVER;
        self.unacked = 0;
        self.duplicate = None;
        self.last_ack = self.nxt;
    }

    /// Returns what is to be reported as received: a duplicate first (RFC 2883), then the pieces that something came to
    /// last, so that each is reported several times and an acknowledgement that is lost takes nothing away (RFC 2018,
    /// section 4).
    pub(crate) fn sacks(&self, beside_timestamp: bool) -> Sacks {
        let room = if beside_timestamp {
            MOST_SACKS - 1
        } else {
            MOST_SACKS
        };
        let mut sacks = Sacks::default();
        if let Some(duplicate) = self.duplicate {
            sacks.push(duplicate);
        }
        let mut before = u64::MAX;
        while sacks.as_slice().len() < room {
            let older = self.ahead.iter().filter(|piece| piece.touched < before);
            let Some(piece) = older.max_by_key(|piece| piece.touched) else {
                break;
            };
            before = piece.touched;
            sacks.push((piece.start, piece.end()));
        }
        sacks
    }

    // Timestamps (RFC 7323).

    /// Returns `true` if a segment is too old by its timestamp (PAWS, section 5). After 24 days the
    /// comparison means nothing.
    pub(crate) fn is_old(&self, now: Instant, timestamp: u32) -> bool {
        const OUTDATED: Duration = Duration::from_secs(24 * 24 * 3600);
        timestamp.wrapping_sub(self.recent).cast_signed() < 0
            && now.since(self.recent_at) < OUTDATED
    }

    /// Takes the timestamp of a segment that covers the last acknowledgement (section 4.3).
    pub(crate) fn take_timestamp(&mut self, now: Instant, seq: Seq, timestamp: u32) {
        let newer = timestamp.wrapping_sub(self.recent).cast_signed() >= 0;
        if seq <= self.last_ack && newer {
            (self.recent, self.recent_at) = (timestamp, now);
        }
    }

    /// Takes the timestamp of the peer's SYN.
    pub(crate) fn first_timestamp(&mut self, now: Instant, timestamp: u32) {
        (self.recent, self.recent_at) = (timestamp, now);
    }

    /// Pieces held ahead of a gap, and their bytes.
    pub(crate) fn ahead(&self) -> (usize, usize) {
        (
            self.ahead.len(),
            self.ahead.iter().map(|piece| piece.bytes.len()).sum(),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 2018, section 4: the pieces that something came to last are reported, the latest first.
    #[test]
    fn the_latest_pieces_are_reported_first() {
        let mut receiver = Receiver::new(4096);
        receiver.begin(Seq(0));
        receiver.offer(100);
        let mut reported = |at: u32| {
            receiver.take(Instant::default(), Seq(at), &[0; 10], 100, &mut |_| 0);
            let sacks = receiver.sacks(true);
            let starts = sacks.as_slice().iter().map(|range| range.0.0);
            starts.collect::<Vec<_>>()
        };
        assert_eq!(reported(100), [100]);
        assert_eq!(reported(500), [500, 100]);
        assert_eq!(reported(300), [300, 500, 100]);
        assert_eq!(reported(700), [700, 300, 500]);
        // It touches the first piece.
        assert_eq!(reported(110), [100, 700, 300]);
        assert_eq!(reported(900), [900, 100, 700]);
    }

    proptest! {
        /// Pieces in any order, cut and doubled in any way, are the stream again.
        #[test]
        fn any_order_of_pieces_is_the_stream(
            cuts in prop::collection::vec((0..400_u32, 1..80_u32), 1..120),
            start: u32,
        ) {
            let stream: Vec<u8> = (0..480_u32).map(|byte| (byte % 251) as u8).collect();
            let mut receiver = Receiver::new(4096);
            receiver.begin(Seq(start));
            receiver.offer(100);
            let base = receiver.nxt;
            let mut got = Vec::new();
            let mut deliver = |bytes: &[u8]| {
                let some = bytes.len().div_ceil(2);
                got.extend_from_slice(&bytes[..some]);
                some
            };
            let whole = (0..480_u32).step_by(60).map(|at| (at, 60));
            for (at, len) in cuts.into_iter().chain(whole) {
                let bytes = &stream[at as usize..(at + len).min(480) as usize];
                receiver.take(Instant::default(), base + at, bytes, 100, &mut deliver);
                let pieces = &receiver.ahead;
                prop_assert!(pieces.windows(2).all(|pair| pair[0].end() < pair[1].start));
                prop_assert!(pieces.iter().all(|piece| receiver.nxt < piece.start));
            }
            receiver.read(|parts| {
                got.extend(parts.concat());
                parts.concat().len()
            });
            prop_assert_eq!(got, stream);
            prop_assert_eq!(receiver.ahead(), (0, 0));
        }
    }
}
