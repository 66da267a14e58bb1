//! What goes out next: lost segments, new data, probes.

use super::{Fate, Fin, Next, Sender, Sent, Timer};
use crate::time::Instant;

impl Sender {
    /// Returns the next thing to send, if the windows allow; [`Sender::was_sent`] must follow.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Next> {
        if self.sent.is_empty() && now.since(self.last_sent) > self.rtt.timeout(0) {
            self.cubic.idle(self.mss.into());
        }
        let next = self.lost_next().or_else(|| self.new_next());
        if next.is_some() {
            return next;
        }
        // Whether more would have gone out: a burst of acknowledgements comes before the next output, and all of them count.
        self.limited = self.in_flight >= self.cubic.window();
        if self.probe_due && self.window > 0 {
            return self.probe_next();
        }
        None
    }

    /// Returns the first lost segment, cut to size.
    fn lost_next(&mut self) -> Option<Next> {
        if self.lost == 0 || (self.in_flight >= self.cubic.window() && !self.fast) {
            return None;
        }
        self.fast = false;
        let index = self.sent.iter().position(|sent| sent.fate == Fate::Lost)?;
        self.split(index);
        Some(self.describe(&self.sent[index]))
    }

    /// Returns a tail loss probe: the last segment again (RFC 8985, section 7.3). New data, which the RFC prefers, is
    /// acknowledged with a delay if its segment is the first since the last acknowledgement, one that was lost; what came
    /// before is acknowledged at once.
    fn probe_next(&mut self) -> Option<Next> {
        let index = self
            .sent
            .iter()
            .rposition(|sent| sent.fate == Fate::InFlight);
        let Some(index) = index else {
            self.probe_due = false;
            return None;
        };
        self.set_lost(index);
        self.split(index);
        let index = self.sent.len().min(index + 1) - 1;
        Some(self.describe(&self.sent[index]))
    }

    /// Cuts a segment that is larger than segments may be by now; what is cut off shares its fate.
    fn split(&mut self, index: usize) {
        let sent = self.sent[index];
        let mss = u32::from(self.mss);
        if sent.seq < self.first || sent.end - sent.seq <= mss + 1 {
            return;
        }
        let (mut front, mut rest) = (sent, sent);
        front.end = sent.seq + mss;
        rest.seq = front.end;
        self.uncount(&sent);
        self.count(&front);
        self.count(&rest);
        self.sent[index] = front;
        self.sent.insert(index + 1, rest);
    }

    fn describe(&self, sent: &Sent) -> Next {
        let syn = sent.seq < self.first;
        let start = sent.seq.since(self.first) as usize;
        let end = sent.end.since(self.first) as usize;
        let len = end.min(self.data.len()).saturating_sub(start);
        Next {
            seq: sent.seq,
            start,
            len,
            fin: end > self.data.len(),
            syn,
            last: end >= self.data.len(),
        }
    }

    /// Returns new data, as much as a segment takes, or the FIN.
    fn new_next(&self) -> Option<Next> {
        if self.nxt < self.first || self.fin == Fin::Sent {
            return None;
        }
        let start = self.nxt.since(self.first) as usize;
        let rest = self.data.len() - start;
        let open = self.window.saturating_sub(self.nxt - self.una) as usize;
        let len = rest.min(open).min(usize::from(self.mss));
        let whole = len == rest;
        let fin = whole && self.fin == Fin::Wanted;
        if len == 0 && !(fin && open > 0) {
            return None;
        }
        if len > 0 && self.in_flight >= self.cubic.window() {
            return None;
        }
        // No silly windows (RFC 9293, section 3.8.6.2.1): a full segment, all there is, or half of
        // the largest window.
        let worth = len == usize::from(self.mss)
            || whole
            || len as u64 * 2 >= u64::from(self.largest_window);
        if !worth && self.in_flight > 0 {
            return None;
        }
        Some(Next {
            seq: self.nxt,
            start,
            len,
            // It takes a number of the window's, too.
            fin: fin && open > len,
            syn: false,
            last: whole,
        })
    }

    /// Records that `next` went out. Returns whether it was sent before.
    pub(crate) fn was_sent(&mut self, now: Instant, next: &Next) {
        #[expect(clippy::cast_possible_truncation, reason = "a segment's length")]
        let len = next.len as u32 + u32::from(next.fin) + u32::from(next.syn);
        let end = next.seq + len;
        let again = next.seq < self.nxt;
        if again {
            self.repairs.retransmissions += 1;
            let index = self.sent.partition_point(|sent| sent.seq < next.seq);
            if let Some(sent) = self.sent.get(index).copied() {
                self.uncount(&sent);
                self.sent[index] = Sent {
                    at: now,
                    fate: Fate::InFlight,
                    retransmitted: true,
                    ..sent
                };
                self.in_flight += sent.end - sent.seq;
            }
        } else {
            self.sent.push_back(Sent {
                seq: next.seq,
                end,
                at: now,
                fate: Fate::InFlight,
                retransmitted: false,
            });
            self.in_flight += len;
            if self.una == self.nxt {
                self.owed_since = now;
            }
            self.nxt = end;
            if next.fin {
                self.fin = Fin::Sent;
            }
        }
        self.last_sent = now;
        if self.timer == Timer::Window {
            // The peer has answered the probes, and opened its window.
            (self.timer, self.backoff) = (Timer::Off, 0);
        }
        if std::mem::take(&mut self.probe_due) {
            self.repairs.probes += 1;
            self.probing = again.then_some(self.nxt);
        }
        self.sent_something(now);
    }

    /// Records that our SYN went out.
    pub(crate) fn syn_sent(&mut self, now: Instant) {
        let next = Next {
            seq: self.nxt,
            start: 0,
            len: 0,
            fin: false,
            syn: true,
            last: false,
        };
        self.was_sent(now, &next);
    }
}
