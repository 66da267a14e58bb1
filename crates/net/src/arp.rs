//! ARP for IPv4 over Ethernet (RFC 826).

use crate::address::{Address, Mac};
use crate::counters::Reason;
use crate::ethernet;

/// Bytes of a packet, and of one with its Ethernet header.
const LEN: usize = 28;
pub(crate) const FRAME: usize = ethernet::HEADER + LEN;
/// Hardware type Ethernet, protocol IPv4, lengths 6 and 4.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Whether somebody asks or answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Request,
    Reply,
}

/// A packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arp {
    pub(crate) op: Op,
    pub(crate) sender_mac: Mac,
    pub(crate) sender: Address,
    pub(crate) target_mac: Mac,
    pub(crate) target: Address,
}

/// Reads a packet; a frame's padding may follow it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Arp, Reason> {
    let (packet, _) = bytes.split_first_chunk::<LEN>().ok_or(Reason::Short)?;
    let (kind, rest) = packet.split_at(6);
    let op = match rest[..2] {
        [0, 1] => Op::Request,
        [0, 2] => Op::Reply,
        _ => return Err(Reason::BadArp),
    };
    let mac = |at: usize| Mac([0, 1, 2, 3, 4, 5].map(|index| rest[at + index]));
    let ip = |at: usize| Address::v4([0, 1, 2, 3].map(|index| rest[at + index]));
    let arp = Arp {
        op,
        sender_mac: mac(2),
        sender: ip(8),
        target_mac: mac(12),
        target: ip(18),
    };
    if kind != KIND || arp.sender_mac.is_multicast() {
        return Err(Reason::BadArp);
    }
    Ok(arp)
}

impl Arp {
    /// Writes a frame of [`FRAME`] bytes to `to`.
    pub(crate) fn write(&self, to: Mac, out: &mut [u8]) {
        ethernet::write(to, self.sender_mac, ethernet::ARP, out);
        let out = &mut out[ethernet::HEADER..FRAME];
        out[..6].copy_from_slice(&KIND);
        out[6..8].copy_from_slice(match self.op {
            Op::Request => &[0, 1],
            Op::Reply => &[0, 2],
        });
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(self.sender.bytes());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..28].copy_from_slice(self.target.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_malformed_is_read() {
        let arp = Arp {
            op: Op::Reply,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender: Address::v4([10, 0, 0, 1]),
            target_mac: Mac([2, 0, 0, 0, 0, 2]),
            target: Address::v4([10, 0, 0, 2]),
        };
        let mut frame = [0; FRAME];
        arp.write(arp.target_mac, &mut frame);
        let packet = &frame[ethernet::HEADER..];
        assert_eq!(parse(packet), Ok(arp));
        for len in 0..LEN {
            assert_eq!(parse(&packet[..len]), Err(Reason::Short), "{len}");
        }
        // Hardware, protocol, lengths, operation, and a group as the sender.
        for (at, value) in [(1, 6), (2, 9), (4, 8), (5, 16), (7, 3), (6, 1), (8, 1)] {
            let mut wrong = packet.to_vec();
            wrong[at] = value;
            assert_eq!(parse(&wrong), Err(Reason::BadArp), "byte {at}");
        }
    }
}
