//! Which segments are lost: RACK (RFC 8985, section 6). A segment is lost if one that was sent
//! sufficiently later has arrived.

use core::time::Duration;

use crate::rtt::Rtt;
use crate::seq::Seq;
use crate::time::Instant;

/// Segments that arrived out of order before reordering is no longer waited for (section 3.3.1).
const ENOUGH: u32 = 3;
/// Recoveries after which the window of reordering shrinks again (section 6.2, step 4).
const PERSIST: u8 = 16;
/// The window of reordering is at most so many quarters of the least round-trip time.
const MOST_QUARTERS: u8 = 64;

/// What was sent last among what has arrived, and how much reordering the path shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rack {
    sent_at: Instant,
    end: Seq,
    rtt: Duration,
    /// The highest number that has arrived.
    forward: Seq,
    reordering_seen: bool,
    quarters: u8,
    persist: u8,
    /// End of the round trip in which a duplicate has widened the window.
    widened_until: Option<Seq>,
}

/// How much reordering a path has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    reordering_seen: bool,
    quarters: u8,
    persist: u8,
}

/// A segment that has arrived.
#[derive(Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) end: Seq,
    pub(crate) sent_at: Instant,
    pub(crate) retransmitted: bool,
}

impl Rack {
    pub(crate) fn new(una: Seq) -> Self {
        Self {
            sent_at: Instant::default(),
            end: una,
            rtt: Duration::ZERO,
            forward: una,
            reordering_seen: false,
            quarters: 1,
            persist: 0,
            widened_until: None,
        }
    }

    /// Returns what is known of the path.
    pub(crate) fn habits(&self) -> Habits {
        Habits {
            reordering_seen: self.reordering_seen,
            quarters: self.quarters,
            persist: self.persist,
        }
    }

    /// Makes a state in which all before `una` is acknowledged.
    pub(crate) fn of(una: Seq, habits: &Habits) -> Self {
        Self {
            reordering_seen: habits.reordering_seen,
            quarters: habits.quarters,
            persist: habits.persist,
            ..Self::new(una)
        }
    }

    /// Returns `true` if a segment sent at `sent_at` with this end was sent after the latest that
    /// has arrived.
    fn is_before(&self, sent_at: Instant, end: Seq) -> bool {
        (sent_at, end) < (self.sent_at, self.end)
    }

    /// Steps 2 and 3. `echo` is the timestamp that the acknowledgement echoes.
    pub(crate) fn arrived(&mut self, now: Instant, segment: Arrived, echo: Option<u32>, rtt: &Rtt) {
        let Arrived {
            end,
            sent_at,
            retransmitted,
        } = segment;
        let taken = now.since(sent_at);
        if retransmitted {
            // It may be the first transmission that has arrived.
            let of_the_first =
                echo.is_some_and(|echo| echo.wrapping_sub(sent_at.timestamp()).cast_signed() < 0);
            if of_the_first || taken < rtt.least() {
                return;
            }
        } else if end < self.forward {
            self.reordering_seen = true;
        }
        self.forward = self.forward.max(end);
        self.rtt = taken;
        if self.is_before(self.sent_at, self.end) || !self.is_before(sent_at, end) {
            (self.sent_at, self.end) = (sent_at, end);
        }
    }

    /// Step 4: a duplicate that the peer reports (RFC 2883) says that a segment was taken for lost
    /// too early. Once per round trip.
    pub(crate) fn duplicate(&mut self, una: Seq, nxt: Seq) {
        if self.widened_until.is_none_or(|until| until <= una) {
            self.widened_until = Some(nxt);
            self.quarters = (self.quarters + 1).min(MOST_QUARTERS);
            self.persist = PERSIST;
        }
    }

    /// Notes that a recovery is over.
    pub(crate) fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.quarters = 1;
        }
    }

    /// Returns how long a segment may be overtaken (step 4).
    fn window(&self, rtt: &Rtt, in_recovery: bool, sacked: u32) -> Duration {
        if !self.reordering_seen && (in_recovery || sacked >= ENOUGH) {
            return Duration::ZERO;
        }
        let quarters = rtt.least() / 4 * u32::from(self.quarters);
        quarters.min(rtt.smoothed().unwrap_or_default())
    }

    /// Returns how long from `now` until a segment is lost (step 5); zero if it is; `None` if
    /// nothing sent later has arrived.
    pub(crate) fn lost_in(
        &self,
        now: Instant,
        (sent_at, end): (Instant, Seq),
        rtt: &Rtt,
        (in_recovery, sacked): (bool, u32),
    ) -> Option<Duration> {
        self.is_before(sent_at, end).then(|| {
            let at = sent_at + self.rtt + self.window(rtt, in_recovery, sacked);
            at.since(now)
        })
    }

    /// Returns `true` if a segment is lost when the time-out fires (section 6.3).
    pub(crate) fn lost_by_timeout(&self, now: Instant, sent_at: Instant, rtt: &Rtt) -> bool {
        sent_at + self.rtt + self.window(rtt, true, 0) <= now
    }
}
