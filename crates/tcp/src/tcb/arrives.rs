//! What a segment does to a connection (RFC 9293, section 3.10.7).

use std::time::Duration;

use super::{End, State, Tcb};
use crate::segment::{Flags, Segment};
use crate::seq::Seq;
use crate::time::Instant;

/// Between two answers to segments that do not fit (RFC 5961, section 7).
const CHALLENGE_PAUSE: Duration = Duration::from_millis(100);

impl Tcb {
    /// Takes a segment. Data in order goes to `deliver`, which returns how many bytes the
    /// application takes; the rest waits for [`Tcb::read`].
    pub fn segment(
        &mut self,
        now: Instant,
        segment: &Segment,
        payload: &[u8],
        mut deliver: impl FnMut(&[u8]) -> usize,
    ) {
        match self.state {
            State::Closed => {}
            State::SynSent => self.in_syn_sent(now, segment),
            _ => self.synchronised(now, segment, payload, &mut deliver),
        }
    }

    /// Takes a segment in SYN-SENT (RFC 9293, section 3.10.7.3).
    fn in_syn_sent(&mut self, now: Instant, segment: &Segment) {
        let Segment { ack, flags, .. } = *segment;
        let has_ack = flags.has(Flags::ACK);
        if has_ack && (ack <= self.sender.una || self.sender.nxt < ack) {
            if !flags.has(Flags::RST) {
                self.reset = Some(ack);
            }
            return;
        }
        if flags.has(Flags::RST) {
            if has_ack {
                self.over(End::Refused);
            }
            return;
        }
        if !flags.has(Flags::SYN) {
            return;
        }
        self.take_syn(now, segment);
        if has_ack {
            self.acknowledge(now, segment, 0);
            self.state = State::Established;
            self.receiver.ack_now(now);
        } else {
            // Both sides have opened at once: our SYN goes again, as a SYN-ACK.
            self.state = State::SynReceived;
            self.sender.resend_syn();
        }
    }

    /// Takes a segment in the states after SYN-SENT (RFC 9293, section 3.10.7.4).
    fn synchronised(
        &mut self,
        now: Instant,
        segment: &Segment,
        payload: &[u8],
        deliver: &mut dyn FnMut(&[u8]) -> usize,
    ) {
        let Segment {
            seq, ack, flags, ..
        } = *segment;
        let is_reset = flags.has(Flags::RST);
        if self.timestamps && !is_reset {
            match segment.timestamps {
                // RFC 7323, section 3.2: once agreed on, they are in every segment.
                None => return,
                Some((value, _)) if self.receiver.is_old(now, value) => {
                    return self.receiver.ack_now(now);
                }
                Some(_) => {}
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "a segment's length")]
        let len = payload.len() as u32;
        let numbers = len + u32::from(flags.has(Flags::SYN)) + u32::from(flags.has(Flags::FIN));
        let fits = self.receiver.accepts(seq, numbers);
        if !fits {
            if is_reset {
                return;
            }
            if numbers > 0 && !flags.has(Flags::SYN) {
                self.receiver.ack_now(now);
                if self.state == State::TimeWait && flags.has(Flags::FIN) {
                    // The peer has not seen our last acknowledgement.
                    self.wait_out(now);
                }
            } else {
                self.challenge(now);
            }
            // A closed window is no reason to miss an acknowledgement (MUST-66).
            if self.receiver.window() > 0 || seq != self.receiver.nxt {
                return;
            }
        }
        if is_reset {
            return self.take_reset(now, seq);
        }
        if flags.has(Flags::SYN) {
            // RFC 5961, section 4.
            return self.challenge(now);
        }
        if !flags.has(Flags::ACK) {
            return;
        }
        if self.state == State::SynReceived {
            if ack <= self.sender.una || self.sender.nxt < ack {
                self.reset = Some(ack);
                return;
            }
            self.state = State::Established;
        }
        // RFC 5961, section 5: what was never sent, or is older than any window, is no
        // acknowledgement.
        if self.sender.nxt < ack || !self.sender.could_be_acked(ack) {
            return self.challenge(now);
        }
        if let Some((value, _)) = segment.timestamps.filter(|_| self.timestamps) {
            self.receiver.take_timestamp(now, seq, value);
        }
        self.acknowledge(now, segment, numbers);
        self.after_ack(now);
        if !fits || self.state == State::Closed {
            return;
        }
        if matches!(
            self.state,
            State::Established | State::FinWait1 | State::FinWait2
        ) {
            self.receiver
                .take(now, seq, payload, self.offer.mss, deliver);
            if self.state == State::FinWait2 {
                self.state_due = now + self.fin_wait;
            }
        }
        if flags.has(Flags::FIN) {
            self.receiver.fin_at(seq + len);
        }
        if self.receiver.pass_fin(now) {
            self.peer_closed(now);
        }
    }

    /// Takes the acknowledgement and the window of a segment that takes `len` numbers.
    fn acknowledge(&mut self, now: Instant, segment: &Segment, len: u32) {
        let echo = segment.timestamps.filter(|_| self.timestamps);
        // A SYN's window is not shifted (RFC 7323, section 2.2).
        let is_syn = segment.flags.has(Flags::SYN);
        let scale = if is_syn { 0 } else { self.send_scale };
        let is_bare = len == 0 && self.sender.is_window(segment, scale);
        let ack = (segment.ack, is_bare);
        let sacks = segment.sacks.as_slice();
        self.sender
            .acknowledged(now, ack, sacks, echo.map(|(_, echo)| echo));
        self.sender.update_window(segment, scale);
    }

    /// Changes the state if our FIN is acknowledged.
    fn after_ack(&mut self, now: Instant) {
        if !self.sender.fin_acked() {
            return;
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                self.state_due = now + self.fin_wait;
            }
            State::Closing => self.wait_out(now),
            State::LastAck => self.over(End::Closed),
            _ => {}
        }
    }

    fn peer_closed(&mut self, now: Instant) {
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.wait_out(now),
            _ => {}
        }
        self.after_ack(now);
    }

    fn wait_out(&mut self, now: Instant) {
        self.state = State::TimeWait;
        self.state_due = now + self.time_wait;
    }

    /// Takes a reset. Only one that names the very next number counts (RFC 5961, section 3).
    fn take_reset(&mut self, now: Instant, seq: Seq) {
        if seq != self.receiver.nxt {
            return self.challenge(now);
        }
        match self.state {
            State::SynReceived if self.active => self.over(End::Refused),
            State::Closing | State::LastAck | State::TimeWait => self.over(End::Closed),
            _ => self.over(End::Reset),
        }
    }

    /// Sends an acknowledgement that lets an honest peer find out where we are; not too many, for
    /// whoever asks for them may not be the peer.
    fn challenge(&mut self, now: Instant) {
        if self
            .challenged
            .is_none_or(|last| now.since(last) >= CHALLENGE_PAUSE)
        {
            self.challenged = Some(now);
            self.receiver.ack_now(now);
        }
    }
}
