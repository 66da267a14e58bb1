//! What a connection promises, seen from the wire: windows are kept and do not shrink.

use std::collections::HashMap;

use spinlane_tcp::segment::Parsed;
use spinlane_tcp::{Flags, Seq};

use crate::address::Tuple;

/// One direction's sender, as its own segments show it.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    syn: Option<Seq>,
    scale: Option<u8>,
    /// The furthest that it has offered to take.
    edge: Option<Seq>,
    /// Its latest acknowledgement: the number that it expects.
    expects: Option<Seq>,
    /// The furthest that it has sent.
    sent: Option<Seq>,
    /// The peer has heard last that its window is closed.
    shut: bool,
}

/// All connections that the wire has seen, by the sender's tuple.
#[derive(Debug, Default)]
pub(super) struct Watch {
    senders: HashMap<[u8; 36], Sender>,
}

/// A sender's tuple as its peer has it.
pub(super) fn reversed(tuple: &Tuple) -> Tuple {
    Tuple {
        local: tuple.remote,
        remote: tuple.local,
        local_port: tuple.remote_port,
        remote_port: tuple.local_port,
    }
}

impl Watch {
    fn sender(&self, tuple: &Tuple) -> Sender {
        self.senders
            .get(&tuple.bytes())
            .copied()
            .unwrap_or_default()
    }

    /// Whether the segment's data, or a part of it, has been sent before.
    pub(super) fn is_repeated(&self, tuple: &Tuple, seq: Seq) -> bool {
        self.sender(tuple).sent.is_some_and(|sent| seq < sent)
    }

    /// The number that the sender of `tuple` has acknowledged last.
    pub(super) fn expects(&self, tuple: &Tuple) -> Option<Seq> {
        self.sender(tuple).expects
    }

    /// Whether the peer of `tuple` has been told that its window is closed.
    pub(super) fn is_shut(&self, tuple: &Tuple) -> bool {
        self.sender(tuple).shut
    }

    /// The peer has heard of a window.
    pub(super) fn heard(&mut self, tuple: &Tuple, parsed: &Parsed<'_>) {
        let shut = parsed.segment.window == 0 && !parsed.segment.flags.has(Flags::RST);
        self.senders.entry(tuple.bytes()).or_default().shut = shut;
    }

    /// Takes a segment that goes out. Returns the rule that it breaks; with `strict` false none is looked at.
    pub(super) fn sends(
        &mut self,
        tuple: &Tuple,
        parsed: &Parsed<'_>,
        strict: bool,
    ) -> Option<&'static str> {
        let segment = &parsed.segment;
        let flags = segment.flags;
        if flags.has(Flags::RST) {
            return None;
        }
        let is_syn = flags.has(Flags::SYN);
        let peers = self.sender(&reversed(tuple));
        if is_syn && flags.has(Flags::ACK) && peers.syn != Some(segment.ack - 1) {
            // The answer to a SYN that a stranger has made up.
            return None;
        }
        let sender = self.senders.entry(tuple.bytes()).or_default();
        if is_syn && sender.syn != Some(segment.seq) {
            *sender = Sender {
                syn: Some(segment.seq),
                ..Sender::default()
            };
        }
        if is_syn {
            sender.scale = segment.scale;
        }
        let known = sender.syn.zip(sender.sent);
        if known.is_some_and(|(syn, sent)| segment.seq < syn || sent < segment.seq) {
            // Of a connection that a stranger's SYN has made beside the client's cookie.
            return None;
        }
        // Both scale or neither.
        let scale = peers.scale.and(sender.scale).unwrap_or(0);
        if flags.has(Flags::ACK) {
            let shift = if is_syn { 0 } else { scale };
            let edge = segment.ack + (u32::from(segment.window) << shift);
            let before = sender.edge.unwrap_or(edge);
            // What the scale cuts off is no shrinking.
            if strict && !is_syn && edge + (1 << scale) <= before {
                return Some("the window shrank");
            }
            sender.edge = Some(before.max(edge));
            sender.expects = Some(
                sender
                    .expects
                    .map_or(segment.ack, |old| old.max(segment.ack)),
            );
        }
        let numbers =
            parsed.payload.len() + usize::from(is_syn) + usize::from(flags.has(Flags::FIN));
        let end = segment.seq + u32::try_from(numbers).unwrap_or(u32::MAX);
        let data_end = segment.seq + u32::try_from(parsed.payload.len()).unwrap_or(u32::MAX);
        sender.sent = Some(sender.sent.map_or(end, |sent| sent.max(end)));
        match peers.edge {
            Some(edge) if strict && !is_syn && data_end > edge => Some("beyond the window"),
            _ => None,
        }
    }
}
