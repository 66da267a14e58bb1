//! The send side's timer: time-outs, tail loss probes, probes of a closed window.

use std::time::Duration;

use super::{Fate, Fin, Recovery, Sender, Timer};
use crate::time::Instant;

/// Least time before a tail loss probe, as on Linux: timers are no finer than a millisecond, and hosts pause.
const LEAST_PROBE: Duration = Duration::from_millis(2);
/// Probes in a row, each after twice the time: the first, or what answers it, may be lost as well.
const PROBES: u8 = 2;
/// A receiver's longest delay of an acknowledgement (RFC 8985, section 7.2).
const PEERS_DELAY: Duration = Duration::from_millis(200);
/// A path that loses every large segment and no small one is tried with these (RFC 4821, section
/// 7.7).
const BLACK_HOLE_MSS: u16 = 512;
/// Time-outs in a row after which large segments are suspected.
const BLACK_HOLE_TIMEOUTS: u8 = 3;

impl Sender {
    /// Sets the timer after an acknowledgement of something new.
    pub(super) fn restart_timer(&mut self, now: Instant) {
        if self.timer == Timer::Reordering {
            return;
        }
        if self.una == self.nxt {
            (self.timer, self.due) = (Timer::Off, Instant::NEVER);
            return;
        }
        self.arm(now);
    }

    /// Returns after what time the end of what is in flight is probed for; `None` if it is not. During a recovery as well, as
    /// QUIC has it (RFC 9002, section 6.2), and unlike RFC 8985, section 7.2: the one acknowledgement of a repair may be lost,
    /// and a time-out is thousands of a near peer's round trips.
    fn probes_after(&self) -> Option<Duration> {
        let may_probe = self.sack
            && self.unanswered < PROBES
            && self.in_flight > 0
            && self.backoff == 0
            && self.first <= self.nxt;
        let smoothed = self.rtt.smoothed().filter(|_| may_probe)?;
        let alone = self.sent.len() == 1;
        let delay = if alone { PEERS_DELAY } else { Duration::ZERO };
        let wait = (2 * smoothed + delay).max(LEAST_PROBE) * (1 << self.unanswered);
        (wait < self.rtt.timeout(0)).then_some(wait)
    }

    /// Sets the timer after something was sent. A probe's time counts from the last segment, but for a time-out at most, which
    /// counts from the last acknowledgement (RFC 8985, section 7.2): who keeps sending puts it off no further.
    pub(super) fn sent_something(&mut self, now: Instant) {
        match self.timer {
            Timer::Reordering => {}
            Timer::Off | Timer::Window => self.arm(now),
            Timer::Probe | Timer::Retransmission => {
                if self.unanswered == 0
                    && let Some(wait) = self.probes_after()
                {
                    let timeout = self.owed_since + self.rtt.timeout(0);
                    (self.timer, self.due) = (Timer::Probe, timeout.min(now + wait));
                }
            }
        }
    }

    /// Sets the timer for what is in flight: a probe where one may help, or the time-out.
    pub(super) fn arm(&mut self, now: Instant) {
        (self.timer, self.due) = match self.probes_after() {
            Some(wait) => (Timer::Probe, now + wait),
            None => (Timer::Retransmission, now + self.rtt.timeout(self.backoff)),
        };
    }

    /// Does what was due.
    pub(crate) fn expired(&mut self, now: Instant) {
        let timer = std::mem::replace(&mut self.timer, Timer::Off);
        self.due = Instant::NEVER;
        match timer {
            Timer::Off => {}
            Timer::Reordering => {
                self.mark_lost(now);
                self.restart_timer(now);
            }
            Timer::Probe => {
                self.probe_due = true;
                self.unanswered += 1;
                self.arm(now);
            }
            Timer::Window => {
                self.probe_due = true;
                self.backoff = self.backoff.saturating_add(1);
                (self.timer, self.due) = (Timer::Window, now + self.rtt.timeout(self.backoff));
            }
            Timer::Retransmission => self.timed_out(now),
        }
    }

    fn timed_out(&mut self, now: Instant) {
        self.repairs.timeouts += 1;
        self.probing = None;
        self.unanswered = PROBES;
        // A peer may throw away what it reported (RFC 2018, section 8): the front is missing all
        // the same.
        let reneged = self
            .sent
            .front()
            .is_some_and(|sent| sent.fate == Fate::Sacked);
        for index in 0..self.sent.len() {
            let sent = self.sent[index];
            let out = sent.fate == Fate::InFlight
                && (index == 0 || self.rack.lost_by_timeout(now, sent.at, &self.rtt));
            if out || (reneged && sent.fate == Fate::Sacked) {
                self.set_lost(index);
            }
        }
        if self.backoff == 0 {
            self.cubic.timed_out(self.mss.into(), self.out());
        }
        self.recovery = Some(Recovery {
            until: self.nxt,
            by_timeout: true,
        });
        self.backoff = self.backoff.saturating_add(1);
        if self.backoff == BLACK_HOLE_TIMEOUTS {
            self.shrink_segments(BLACK_HOLE_MSS);
        }
        (self.timer, self.due) = (Timer::Retransmission, now + self.rtt.timeout(self.backoff));
    }

    /// Limits segments to `mss` bytes from now on.
    pub(crate) fn shrink_segments(&mut self, mss: u16) {
        self.mss = self.mss.min(mss);
    }

    /// Segments of at most `mss` bytes get through: those in flight that are larger did not.
    pub(crate) fn too_big(&mut self, mss: u16) {
        if self.mss <= mss {
            return;
        }
        self.mss = mss;
        for index in 0..self.sent.len() {
            let sent = self.sent[index];
            let is_large = sent.end - sent.seq > u32::from(mss) + 1;
            if sent.fate == Fate::InFlight && is_large && self.first <= sent.seq {
                self.set_lost(index);
            }
        }
    }

    /// Returns `true` if the peer's closed window is to be probed now. Sets the timer for the next
    /// probe.
    pub(crate) fn window_probe(&mut self, now: Instant) -> bool {
        let start = self.nxt.since(self.first) as usize;
        let waiting = start < self.data.len() || self.fin == Fin::Wanted;
        if self.window > 0 || !waiting || self.una != self.nxt {
            if self.timer == Timer::Window {
                (self.timer, self.due) = (Timer::Off, Instant::NEVER);
                self.backoff = 0;
            }
            return false;
        }
        if self.timer != Timer::Window {
            (self.timer, self.due) = (Timer::Window, now + self.rtt.timeout(0));
            self.owed_since = now;
        }
        std::mem::take(&mut self.probe_due)
    }
}
