//! What a connection says, and when.

use super::{Emit, End, State, Tcb};
use crate::segment::{Flags, Sacks, Segment};
use crate::send::Next;
use crate::seq::Seq;
use crate::time::Instant;

impl Tcb {
    /// Returns when [`Tcb::output`] is to be called at the latest; `None` if only a segment or the
    /// application can change anything.
    pub fn due(&self) -> Option<Instant> {
        if self.state == State::Closed {
            return self.reset.map(|_| Instant::default());
        }
        let due = self
            .sender
            .due()
            .min(self.receiver.ack_due())
            .min(self.state_due)
            .min(self.gives_up_at());
        (due != Instant::NEVER).then_some(due)
    }

    fn gives_up_at(&self) -> Instant {
        if self.sender.owes() {
            self.sender.owed_since + self.user_timeout
        } else {
            Instant::NEVER
        }
    }

    /// Sends what there is to send: what is due, what was lost, what is new, an acknowledgement.
    pub fn output(&mut self, now: Instant, emit: &mut impl Emit) {
        self.expire(now);
        if let Some(seq) = self.reset.take() {
            self.emit_reset(seq, emit);
        }
        if self.state == State::Closed {
            return;
        }
        if self.sender.wants_syn() {
            self.emit_syn(now, emit);
            self.sender.syn_sent(now);
        }
        while let Some(next) = self.sender.next(now) {
            if next.syn {
                self.emit_syn(now, emit);
            } else {
                self.emit_data(now, &next, emit);
            }
            self.sender.was_sent(now, &next);
            if next.fin {
                self.fin_sent();
            }
        }
        let probe = self.sender.window_probe(now);
        let synchronised = self.state != State::SynSent;
        if probe {
            // An old number makes the peer say what its window is.
            let header = self.header(now, self.sender.una - 1, Flags::ACK);
            self.emit(&header, [&[], &[]], emit);
        }
        let news = synchronised && self.receiver.has_news_of_window(self.offer.mss);
        if synchronised && (self.receiver.ack_due() <= now || news) {
            let header = self.header(now, self.sender.nxt, Flags::ACK);
            self.emit(&header, [&[], &[]], emit);
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.state_due <= now {
            self.over(End::Closed);
        }
        if self.gives_up_at() <= now && self.state != State::Closed {
            self.reset = Some(self.sender.nxt);
            self.over(End::TimedOut);
        }
        if self.state != State::Closed && self.sender.due() <= now {
            self.sender.expired(now);
        }
    }

    fn fin_sent(&mut self) {
        match self.state {
            State::Established | State::SynReceived => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            _ => {}
        }
    }

    fn header(&mut self, now: Instant, seq: Seq, flags: Flags) -> Segment {
        let window = self.receiver.offer(self.offer.mss) >> self.receive_scale;
        Segment {
            seq,
            ack: self.receiver.nxt,
            flags: flags | Flags::ACK,
            window: u16::try_from(window).unwrap_or(u16::MAX),
            timestamps: self
                .timestamps
                .then(|| (now.timestamp(), self.receiver.recent)),
            sacks: if self.offer.sack {
                self.receiver.sacks(self.timestamps)
            } else {
                Sacks::default()
            },
            ..Segment::default()
        }
    }

    fn emit(&mut self, header: &Segment, payload: [&[u8]; 2], emit: &mut impl Emit) {
        emit.emit(header, payload);
        self.receiver.acked();
    }

    fn emit_syn(&mut self, now: Instant, emit: &mut impl Emit) {
        let mut syn = Segment {
            seq: self.sender.una,
            flags: Flags::SYN,
            mss: Some(self.offer.mss),
            scale: self.offer.scale,
            sack_permitted: self.offer.sack,
            timestamps: self
                .timestamps
                .then(|| (now.timestamp(), self.receiver.recent)),
            ..Segment::default()
        };
        if self.state == State::SynReceived {
            syn.flags |= Flags::ACK;
            syn.ack = self.receiver.nxt;
        }
        // Its window is not shifted.
        let window = self.receiver.offer(self.offer.mss).min(u16::MAX.into());
        syn.window = u16::try_from(window).unwrap_or(u16::MAX);
        emit.emit(&syn, [&[], &[]]);
        self.receiver.acked();
    }

    fn emit_data(&mut self, now: Instant, next: &Next, emit: &mut impl Emit) {
        let mut flags = Flags::ACK;
        if next.last {
            flags |= Flags::PSH;
        }
        if next.fin {
            flags |= Flags::FIN;
        }
        let mut header = self.header(now, next.seq, flags);
        // Data of full size leaves no room for ranges.
        if next.len + 8 * header.sacks.as_slice().len() + 4 > usize::from(self.sender.mss) {
            header.sacks = Sacks::default();
        }
        emit.emit(&header, self.sender.payload(next));
        self.receiver.acked();
    }

    fn emit_reset(&mut self, seq: Seq, emit: &mut impl Emit) {
        let reset = Segment {
            seq,
            ack: self.receiver.nxt,
            flags: Flags::RST | Flags::ACK,
            ..Segment::default()
        };
        emit.emit(&reset, [&[], &[]]);
    }
}
