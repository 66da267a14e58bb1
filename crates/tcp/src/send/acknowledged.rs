//! Acknowledgements: what has arrived, and what is lost by that.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Fate, Recovery, Sender, Sent, Timer};
use crate::rack::Arrived;
use crate::segment::Range;
use crate::seq::Seq;
use crate::time::Instant;

/// Duplicate acknowledgements that say that a segment is lost.
const DUPLICATES: u8 = 3;

impl Sender {
    /// Takes an acknowledgement of at most `nxt`, and ranges that arrived beyond it. `echo` is the echoed timestamp;
    /// `is_bare` says that the segment has nothing else to tell.
    pub(crate) fn acknowledged(
        &mut self,
        now: Instant,
        (ack, is_bare): (Seq, bool),
        sacks: &[Range],
        echo: Option<u32>,
    ) {
        let acked = ack.since(self.una);
        let mut sample = None;
        let mut news = acked > 0;
        if self.timer == Timer::Window {
            // The window may stay closed for as long as the peer answers (RFC 9293, MUST-37).
            self.owed_since = now;
        }
        if acked > 0 {
            self.una = ack;
            self.backoff = 0;
            self.probe_due = false;
            self.owed_since = now;
            self.drop_acked(now, ack, echo, &mut sample);
            let bytes = ack.since(self.first);
            self.data.consume(self.data.len().min(bytes as usize));
            self.first = self.first.max(ack);
        }
        let duplicate = sacks.first().is_some_and(|&(start, end)| {
            end <= ack
                || sacks
                    .get(1)
                    .is_some_and(|&(low, high)| low <= start && end <= high)
        });
        if duplicate {
            self.rack.duplicate(self.una, self.nxt);
        }
        if self.sack {
            news |= self.take_sacks(now, sacks, echo, &mut sample);
        }
        if let Some(sample) = sample {
            self.rtt.sample(sample);
        }
        self.end_probe(ack, duplicate);
        if self.recovery.is_some_and(|recovery| recovery.until <= ack) {
            self.recovery = None;
            self.rack.recovered();
        }
        match self.sack {
            true if news => self.mark_lost(now),
            true => {}
            false => self.count_duplicates(acked, is_bare),
        }
        let may_grow = self.recovery.is_none_or(|recovery| recovery.by_timeout);
        if acked > 0 && self.limited && may_grow {
            let rtt = self.rtt.smoothed().unwrap_or_default().as_secs_f64();
            self.cubic.acked(now, self.mss.into(), acked, rtt);
        }
        if news {
            self.restart_timer(now);
        }
    }

    /// Takes a segment off the counts that its fate put it on.
    pub(super) fn uncount(&mut self, sent: &Sent) {
        let len = sent.end - sent.seq;
        match sent.fate {
            Fate::InFlight => self.in_flight -= len,
            Fate::Sacked => self.sacked -= 1,
            Fate::Lost => self.lost -= 1,
        }
    }

    fn drop_acked(
        &mut self,
        now: Instant,
        ack: Seq,
        echo: Option<u32>,
        sample: &mut Option<Duration>,
    ) {
        let mut repaired = false;
        while let Some(front) = self.sent.front().copied() {
            if ack <= front.seq {
                break;
            }
            if ack < front.end {
                // A part of it: the peer, or a box between, cut it up.
                self.uncount(&front);
                let mut rest = front;
                rest.seq = ack;
                self.count(&rest);
                self.sent[0] = rest;
                break;
            }
            self.sent.pop_front();
            self.uncount(&front);
            repaired |= front.retransmitted;
            if front.fate != Fate::Sacked {
                self.arrived(now, &front, echo, sample);
            }
        }
        if repaired {
            // What lay behind a gap waited for its repair.
            *sample = None;
        }
        if self.sent.is_empty() {
            self.sent = VecDeque::new();
        }
    }

    pub(super) fn count(&mut self, sent: &Sent) {
        match sent.fate {
            Fate::InFlight => self.in_flight += sent.end - sent.seq,
            Fate::Sacked => self.sacked += 1,
            Fate::Lost => self.lost += 1,
        }
    }

    fn arrived(
        &mut self,
        now: Instant,
        sent: &Sent,
        echo: Option<u32>,
        sample: &mut Option<Duration>,
    ) {
        let segment = Arrived {
            end: sent.end,
            sent_at: sent.at,
            retransmitted: sent.retransmitted,
        };
        if !sent.retransmitted {
            // The latest that has arrived waited least for the acknowledgement.
            *sample = Some(now.since(sent.at));
        }
        self.rack.arrived(now, segment, echo, &self.rtt);
    }

    /// Marks what the ranges cover. Returns whether any of it is new.
    fn take_sacks(
        &mut self,
        now: Instant,
        sacks: &[Range],
        echo: Option<u32>,
        sample: &mut Option<Duration>,
    ) -> bool {
        let mut news = false;
        for &(start, end) in sacks {
            // Ranges outside of what is unacknowledged are duplicates, old, or lies.
            if end <= start || start < self.una || self.nxt < end {
                continue;
            }
            let from = self.sent.partition_point(|sent| sent.seq < start);
            for index in from..self.sent.len() {
                let sent = self.sent[index];
                if end < sent.end {
                    break;
                }
                if sent.fate == Fate::Sacked {
                    continue;
                }
                self.uncount(&sent);
                self.sent[index].fate = Fate::Sacked;
                self.sacked += 1;
                self.arrived(now, &sent, echo, sample);
                news = true;
            }
        }
        news
    }

    /// RFC 8985, section 7.4.2: a probe that was a retransmission and was not reported as a duplicate has repaired a loss.
    fn end_probe(&mut self, ack: Seq, duplicate: bool) {
        let Some(probe) = self.probing else {
            return;
        };
        if ack < probe.end {
            return;
        }
        self.probing = None;
        if probe.retransmitted
            && self.sack
            && !duplicate
            && self.recovery.is_none()
            && probe.end < ack
        {
            self.cubic.lost(self.mss.into(), self.out());
        }
    }

    /// Marks what RACK calls lost, and begins a recovery for it.
    pub(super) fn mark_lost(&mut self, now: Instant) {
        // Nothing that was sent before what has arrived can still be out if all arrived in order.
        if self.sacked == 0 && self.recovery.is_none() {
            return;
        }
        let mut wait = Duration::ZERO;
        let mut lost = false;
        let situation = (self.recovery.is_some(), self.sacked);
        for index in 0..self.sent.len() {
            let sent = self.sent[index];
            if sent.fate != Fate::InFlight {
                continue;
            }
            match self
                .rack
                .lost_in(now, (sent.at, sent.end), &self.rtt, situation)
            {
                Some(Duration::ZERO) => {
                    self.set_lost(index);
                    lost = true;
                }
                Some(left) => wait = wait.max(left),
                None => {}
            }
        }
        if lost && self.recovery.is_none() {
            self.recover();
        }
        if wait > Duration::ZERO {
            (self.timer, self.due) = (Timer::Reordering, now + wait);
        } else if self.timer == Timer::Reordering {
            (self.timer, self.due) = (Timer::Off, Instant::NEVER);
        }
    }

    fn recover(&mut self) {
        self.recovery = Some(Recovery {
            until: self.nxt,
            by_timeout: false,
        });
        self.cubic.lost(self.mss.into(), self.out());
    }

    /// What is out and not acknowledged in a row, whatever was reported beyond (FlightSize of RFC 5681, section 2).
    pub(super) fn out(&self) -> u32 {
        self.nxt.since(self.una)
    }

    /// Without SACK: the third duplicate says that the first segment is lost (RFC 5681, section 3.2), and an acknowledgement of
    /// a part that the next is (RFC 6582).
    fn count_duplicates(&mut self, acked: u32, is_bare: bool) {
        if self.sent.is_empty() {
            self.duplicates = 0;
        } else if acked > 0 {
            self.duplicates = 0;
            if self.recovery.is_some() {
                self.set_lost(0);
            }
        } else if is_bare {
            self.duplicates = self.duplicates.saturating_add(1);
            if self.duplicates == DUPLICATES && self.recovery.is_none() {
                self.set_lost(0);
                self.recover();
            }
        }
    }

    pub(super) fn set_lost(&mut self, index: usize) {
        let sent = self.sent[index];
        if sent.fate != Fate::Lost {
            self.uncount(&sent);
            self.sent[index].fate = Fate::Lost;
            self.lost += 1;
        }
    }
}
