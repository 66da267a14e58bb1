//! Answers that belong to no connection.

use spinlane_tcp::Segment;

use super::Core;
use crate::address::{Address, Mac, Tuple};
use crate::arp::{self, Arp, Op};
use crate::counters::Reason;
use crate::frame_io::FrameIo;
use crate::icmp;
use crate::ip::{Envelope, pseudo_header};

/// An answer that goes out when the burst is over.
#[derive(Debug)]
pub(super) enum Reply {
    Segment(Tuple, Mac, Segment),
    /// We have the address that was asked for.
    Arp {
        to: Mac,
        asker: Address,
        ours: Address,
    },
    Echo {
        to: Mac,
        from: Address,
        asker: Address,
        body: Box<[u8]>,
    },
    Advertise {
        to: Mac,
        asker: Address,
        ours: Address,
    },
}

impl Core {
    /// Sends what the burst has asked for.
    pub(super) fn reply(&mut self, io: &mut impl FrameIo) {
        let mut replies = std::mem::take(&mut self.replies);
        for reply in replies.drain(..) {
            match reply {
                Reply::Segment(tuple, mac, segment) => {
                    let mut sender = self.sender(io);
                    sender.segment(&tuple, mac, &segment, [&[], &[]]);
                }
                Reply::Arp { to, asker, ours } => self.send_arp(io, Op::Reply, to, (ours, asker)),
                Reply::Echo {
                    to,
                    from,
                    asker,
                    body,
                } => {
                    let envelope = Envelope::icmp_far((self.config.mac, to), from, asker);
                    let len = body.len() + 4;
                    self.sender(io).icmp(&envelope, len, |out| {
                        icmp::write_echo_reply(from, asker, &body, out);
                    });
                }
                Reply::Advertise { to, asker, ours } => {
                    self.advertise(io, 0x60, (to, asker), ours);
                }
            }
        }
        self.replies = replies;
    }

    pub(super) fn sender<'a, F>(&'a mut self, io: &'a mut F) -> Sender<'a, F> {
        Sender {
            io,
            mac: self.config.mac,
            checksums: !self.caps.tx_checksums,
            counters: &mut self.counters,
        }
    }

    /// Sends an ARP packet from one of our addresses about another.
    pub(super) fn send_arp(
        &mut self,
        io: &mut impl FrameIo,
        op: Op,
        to: Mac,
        (ours, target): (Address, Address),
    ) {
        let target_mac = if op == Op::Reply { to } else { Mac([0; 6]) };
        let arp = Arp {
            op,
            sender_mac: self.config.mac,
            sender: ours,
            target_mac,
            target,
        };
        self.sender(io).frame(arp::FRAME, |out| arp.write(to, out));
    }

    pub(super) fn advertise(
        &mut self,
        io: &mut impl FrameIo,
        flags: u8,
        (mac, to): (Mac, Address),
        ours: Address,
    ) {
        let link = self.config.mac;
        let envelope = Envelope::icmp((link, mac), ours, to, icmp::NEARBY);
        self.sender(io).icmp(&envelope, icmp::NEIGHBOUR, |out| {
            icmp::write_neighbour(Some(flags), (ours, to), ours, link, out);
        });
    }

    pub(super) fn solicit(&mut self, io: &mut impl FrameIo, ours: Address, target: Address) {
        let (link, to) = (self.config.mac, solicited(target));
        let macs = (link, Mac::solicited(target));
        let envelope = Envelope::icmp(macs, ours, to, icmp::NEARBY);
        self.sender(io).icmp(&envelope, icmp::NEIGHBOUR, |out| {
            icmp::write_neighbour(None, (ours, to), target, link, out);
        });
    }
}

/// The group that a station with this address is in (RFC 4291, section 2.7.1).
fn solicited(target: Address) -> Address {
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&target.0[13..]);
    Address(group)
}

/// Every station on the link.
pub(super) const ALL_NODES: Address = Address([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Puts frames together.
pub(crate) struct Sender<'a, F> {
    pub(crate) io: &'a mut F,
    pub(crate) mac: Mac,
    /// Whether they are computed here.
    pub(crate) checksums: bool,
    pub(crate) counters: &'a mut crate::counters::Counters,
}

impl<F: FrameIo> Sender<'_, F> {
    fn frame(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        if self.io.transmit(len, fill) {
            self.counters.sent += 1;
        } else {
            self.counters.drop_for(Reason::PortFull);
        }
    }

    pub(crate) fn segment(
        &mut self,
        tuple: &Tuple,
        to: Mac,
        segment: &Segment,
        payload: [&[u8]; 2],
    ) {
        let envelope = Envelope::tcp(tuple, self.mac, to);
        let [first, second] = payload;
        let (at, header) = (envelope.len(), segment.header_len());
        let len = header + first.len() + second.len();
        let checksums = self.checksums;
        self.frame(at + len, |out| {
            envelope.write(len, checksums, out);
            let out = &mut out[at..at + len];
            segment.write(tuple.local_port, tuple.remote_port, out);
            out[header..header + first.len()].copy_from_slice(first);
            out[header + first.len()..].copy_from_slice(second);
            let sum = pseudo_header(envelope.from, envelope.to, envelope.protocol, len);
            let sum = if checksums {
                sum.add(out).finish()
            } else {
                sum.folded()
            };
            out[16..18].copy_from_slice(&sum);
        });
    }

    /// Sends an ICMP message of `len` bytes, whose checksum `fill` computes.
    fn icmp(&mut self, envelope: &Envelope, len: usize, fill: impl FnOnce(&mut [u8])) {
        let at = envelope.len();
        let checksums = self.checksums;
        self.frame(at + len, |out| {
            envelope.write(len, checksums, out);
            fill(&mut out[at..at + len]);
        });
    }
}
