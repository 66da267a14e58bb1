//! An application: sends bytes that follow from their position, checks those that come.

use crate::{End, Segment, Seq, State, Tcb};

/// One end of the wire.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) tcb: Option<Tcb>,
    pub(super) to_send: u64,
    pub(super) sent: u64,
    pub(super) expected: u64,
    pub(super) got: u64,
    /// Where the first wrong byte stands.
    pub(super) wrong: Option<u64>,
    /// Takes so many bytes at a time; the rest waits.
    appetite: usize,
    /// Reads nothing between these moments.
    asleep: (u64, u64),
    /// Aborts then.
    abort_at: Option<u64>,
    closed: bool,
    /// The furthest edge of a window that was offered to the peer.
    pub(super) edge: Option<Seq>,
    pub(super) scale: u8,
    /// The peer has heard last that the window is closed.
    pub(super) is_shut: bool,
}

fn byte_at(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]
}

/// What an application is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) to_send: u64,
    pub(super) expected: u64,
    pub(super) appetite: usize,
    pub(super) asleep: (u64, u64),
    pub(super) abort_at: Option<u64>,
}

impl Side {
    pub(super) fn new(habits: Habits) -> Self {
        Self {
            tcb: None,
            to_send: habits.to_send,
            sent: 0,
            expected: habits.expected,
            got: 0,
            wrong: None,
            appetite: habits.appetite,
            asleep: habits.asleep,
            abort_at: habits.abort_at,
            closed: false,
            edge: None,
            scale: 0,
            is_shut: false,
        }
    }

    fn appetite(&self, now: u64) -> usize {
        let (from, to) = self.asleep;
        if (from..to).contains(&now) {
            0
        } else {
            self.appetite
        }
    }

    /// Takes some of the bytes that came.
    fn eat(bytes: &[u8], appetite: usize, got: &mut u64, wrong: &mut Option<u64>) -> usize {
        let some = bytes.len().min(appetite);
        for byte in &bytes[..some] {
            if *byte != byte_at(*got) {
                wrong.get_or_insert(*got);
            }
            *got += 1;
        }
        some
    }

    /// Hands a segment to the connection.
    pub(super) fn segment(&mut self, now: u64, segment: &Segment, payload: &[u8]) {
        let appetite = self.appetite(now);
        let (got, wrong) = (&mut self.got, &mut self.wrong);
        if let Some(tcb) = &mut self.tcb {
            let at = crate::Instant::from_micros(now);
            tcb.segment(at, segment, payload, |bytes| {
                Self::eat(bytes, appetite, got, wrong)
            });
        }
    }

    /// The application's turn. Returns when it wants the next one.
    pub(super) fn turn(&mut self, now: u64) -> Option<u64> {
        let appetite = self.appetite(now);
        let tcb = self.tcb.as_mut()?;
        let (got, wrong) = (&mut self.got, &mut self.wrong);
        tcb.read(|parts| Self::eat(&parts.concat(), appetite, got, wrong));
        while self.sent < self.to_send {
            let end = self.to_send.min(self.sent + 3000);
            let bytes: Vec<u8> = (self.sent..end).map(byte_at).collect();
            let taken = tcb.send(&bytes, 100_000);
            self.sent += taken as u64;
            if taken == 0 {
                break;
            }
        }
        let is_up = !matches!(tcb.state(), State::SynSent | State::SynReceived);
        if self.sent == self.to_send && is_up && !self.closed {
            self.closed = true;
            tcb.close();
        }
        if self.abort_at.is_some_and(|at| at <= now) {
            self.abort_at = None;
            tcb.abort();
        }
        let is_slow = tcb.readable() > 0;
        let next = if appetite == 0 {
            self.asleep.1
        } else {
            now + 10_000
        };
        let reads = is_slow.then_some(next.max(now + 1));
        let aborts = self.abort_at.filter(|_| tcb.state() != State::Closed);
        reads.into_iter().chain(aborts).min()
    }

    pub(super) fn end(&self) -> Option<End> {
        self.tcb.as_ref().and_then(Tcb::end)
    }
}
