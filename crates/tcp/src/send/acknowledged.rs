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
        if duplicate && self.probing.is_none() {
            self.rack.duplicate(self.una, self.nxt);
        }
        if self.sack {
            news |= self.take_sacks(now, sacks, &mut sample);
        }
        if let Some(sample) = sample {
            self.rtt.sample(sample);
        }
        self.end_probe(ack, news, duplicate);
        if news {
            self.unanswered = 0;
        }
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
    fn take_sacks(&mut self, now: Instant, sacks: &[Range], sample: &mut Option<Duration>) -> bool {
        let mut news = false;
        // In the order of the numbers: what one acknowledgement reports shows no reordering (RFC 8985, section 6.2, step 3).
        let mut done = self.una;
        // Ranges outside of what is unacknowledged are duplicates, old, or lies. One may begin in another, as that which a
        // duplicate is part of (RFC 2883, section 4.2).
        let una = self.una;
        let is_next =
            |done: Seq, &&(start, end): &&Range| una <= start && start < end && done < end;
        while let Some(&(start, end)) = sacks
            .iter()
            .filter(|range| is_next(done, range) && range.1 <= self.nxt)
            .min_by_key(|range| range.0.since(self.una))
        {
            done = end;
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
                // The timestamp is that of a segment in order, and says nothing of this one (RFC 7323, section 4.3).
                self.arrived(now, &sent, None, sample);
                news = true;
            }
        }
        news
    }

    /// Ends a probe that is answered (RFC 8985, section 7.4.2). If an acknowledgement goes beyond it, and the peer has not
    /// reported it as a duplicate, it has repaired a loss.
    fn end_probe(&mut self, ack: Seq, news: bool, duplicate: bool) {
        let Some(end) = self.probing else {
            return;
        };
        let repaired = end < ack && !duplicate;
        if repaired && self.recovery.is_none() {
            self.cubic.lost(self.mss.into(), self.out());
        }
        // A recovery has made the window smaller already: any answer will do.
        let answered = repaired || duplicate || (ack == end && !news);
        if answered || (news && self.recovery.is_some()) {
            self.probing = None;
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
        self.repairs.recoveries += 1;
        self.fast = true;
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
