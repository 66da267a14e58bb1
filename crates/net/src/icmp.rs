//! ICMP (RFC 792), ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861): echoes, "too big", who has an address.

use spinlane_tcp::Seq;

use crate::address::{Address, Mac, Tuple};
use crate::checksum::Sum;
use crate::counters::Reason;
use crate::ip::{self, Packet};

/// Hop limit of neighbour discovery: what came through a router has less (RFC 4861, section 7.1).
pub(crate) const NEARBY: u8 = 255;
/// Bytes of a solicitation or advertisement with one address of a link.
pub(crate) const NEIGHBOUR: usize = 32;

/// A message that means something here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Message<'a> {
    /// A request to send `0` back: identifier, number and data.
    Echo(&'a [u8]),
    /// A packet of ours was too big for a link of `mtu` bytes.
    TooBig { mtu: u32, tuple: Tuple, seq: Seq },
    /// Somebody asks who has `target`; `None` for `from`'s link address if it probes whether the address is taken.
    Solicit { target: Address, link: Option<Mac> },
    /// A station says that it has `target`.
    Advertise {
        target: Address,
        link: Mac,
        solicited: bool,
    },
}

/// Reads a message, whose addresses are the packet's.
pub(crate) fn parse<'a>(packet: &Packet<'a>) -> Result<Message<'a>, Reason> {
    let v4 = packet.from.is_v4();
    let bytes = packet.payload;
    let sum = if v4 {
        Sum::default()
    } else {
        ip::pseudo_header(packet.from, packet.to, ip::ICMPV6, bytes.len())
    };
    let (header, body) = bytes.split_first_chunk::<4>().ok_or(Reason::Short)?;
    if !sum.add(bytes).is_right() {
        return Err(Reason::Checksum);
    }
    match (v4, header[0], header[1]) {
        (true, 8, 0) | (false, 128, 0) if body.len() >= 4 => Ok(Message::Echo(body)),
        (true, 3, 4) => too_big(v4, body),
        (false, 2, 0) => too_big(v4, body),
        (false, 135 | 136, 0) => neighbour(packet, header[0], body),
        _ => Err(Reason::Icmp),
    }
}

/// RFC 1191, section 4; RFC 4443, section 3.2.
fn too_big<'a>(v4: bool, body: &[u8]) -> Result<Message<'a>, Reason> {
    let (field, quoted) = body.split_first_chunk::<4>().ok_or(Reason::Short)?;
    let mut mtu = u32::from_be_bytes(*field);
    if v4 {
        // The upper half is unused.
        mtu &= 0xffff;
    }
    let (local, remote, segment) = quote(v4, quoted).ok_or(Reason::Icmp)?;
    let [a, b, c, d, seq @ ..] = *segment;
    let tuple = Tuple {
        local,
        remote,
        local_port: u16::from_be_bytes([a, b]),
        remote_port: u16::from_be_bytes([c, d]),
    };
    let seq = Seq(u32::from_be_bytes(seq));
    Ok(Message::TooBig { mtu, tuple, seq })
}

/// Addresses of the packet that a message quotes, and the first 8 bytes of its segment. The quote may be cut short behind them.
fn quote(v4: bool, quoted: &[u8]) -> Option<(Address, Address, &[u8; 8])> {
    let address = |at: usize| match v4 {
        true => {
            let bytes = quoted.get(at..at + 4)?.try_into().ok()?;
            Some(Address::v4(bytes))
        }
        false => Some(Address(quoted.get(at..at + 16)?.try_into().ok()?)),
    };
    let first = *quoted.first()?;
    if v4 {
        let len = usize::from(first & 15) * 4;
        let is_ours = first >> 4 == 4 && len >= 20 && *quoted.get(9)? == ip::TCP;
        let segment = quoted.get(len..)?.first_chunk()?;
        is_ours.then_some((address(12)?, address(16)?, segment))
    } else {
        // Ours have no extension headers.
        let is_ours = first >> 4 == 6 && *quoted.get(6)? == ip::TCP;
        let segment = quoted.get(40..)?.first_chunk()?;
        is_ours.then_some((address(8)?, address(24)?, segment))
    }
}

/// RFC 4861, sections 4.3, 4.4, 7.1.
fn neighbour<'a>(packet: &Packet<'_>, kind: u8, body: &[u8]) -> Result<Message<'a>, Reason> {
    let (flags, rest) = body.split_first_chunk::<4>().ok_or(Reason::Short)?;
    let (target, options) = rest.split_first_chunk::<16>().ok_or(Reason::Short)?;
    let target = Address(*target);
    if packet.hop_limit != NEARBY || !target.is_station() || target.is_v4() {
        return Err(Reason::Icmp);
    }
    let solicits = kind == 135;
    let link = link_address(options, if solicits { 1 } else { 2 })?;
    if solicits {
        return Ok(Message::Solicit { target, link });
    }
    Ok(Message::Advertise {
        target,
        link: link.ok_or(Reason::Icmp)?,
        solicited: flags[0] & 0x40 != 0,
    })
}

/// The link address among the options of the kind `wanted`.
fn link_address(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, Reason> {
    let mut link = None;
    while let [kind, units, ..] = options {
        let (option, rest) = options
            .split_at_checked(usize::from(*units) * 8)
            .filter(|(option, _)| !option.is_empty())
            .ok_or(Reason::Icmp)?;
        if *kind == wanted
            && let [_, _, mac @ ..] = option
        {
            link = mac.first_chunk().copied().map(Mac);
        }
        options = rest;
    }
    match link {
        Some(mac) if mac.is_multicast() => Err(Reason::Icmp),
        link => Ok(link),
    }
}

/// Writes an answer to an echo request with `body`; its length is `body.len() + 4`.
pub(crate) fn write_echo_reply(from: Address, to: Address, body: &[u8], out: &mut [u8]) {
    let kind = if from.is_v4() { 0 } else { 129 };
    out[..4].copy_from_slice(&[kind, 0, 0, 0]);
    out[4..].copy_from_slice(body);
    set_checksum(from, to, out);
}

/// Writes a neighbour message of [`NEIGHBOUR`] bytes: a solicitation, or an advertisement with `flags` (0x60: solicited, to override).
pub(crate) fn write_neighbour(
    flags: Option<u8>,
    (from, to): (Address, Address),
    target: Address,
    link: Mac,
    out: &mut [u8],
) {
    let (kind, option) = flags.map_or((135, 1), |_| (136, 2));
    out[..8].copy_from_slice(&[kind, 0, 0, 0, flags.unwrap_or(0), 0, 0, 0]);
    out[8..24].copy_from_slice(&target.0);
    out[24..26].copy_from_slice(&[option, 1]);
    out[26..NEIGHBOUR].copy_from_slice(&link.0);
    set_checksum(from, to, out);
}

pub(crate) fn set_checksum(from: Address, to: Address, out: &mut [u8]) {
    let sum = if from.is_v4() {
        Sum::default()
    } else {
        ip::pseudo_header(from, to, ip::ICMPV6, out.len())
    };
    let sum = sum.add(out).finish();
    out[2..4].copy_from_slice(&sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn addresses(v4: bool) -> (Address, Address) {
        let address = |last| match v4 {
            true => Address::v4([10, 0, 0, last]),
            false => Address([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]),
        };
        (address(1), address(2))
    }

    fn read(v4: bool, hop_limit: u8, bytes: &[u8]) -> Result<Message<'_>, Reason> {
        let (from, to) = addresses(v4);
        let protocol = if v4 { ip::ICMP } else { ip::ICMPV6 };
        parse(&Packet {
            from,
            to,
            protocol,
            hop_limit,
            payload: bytes,
        })
    }

    fn message(v4: bool, bytes: &[u8]) -> Vec<u8> {
        let (from, to) = addresses(v4);
        let mut bytes = bytes.to_vec();
        bytes[2..4].fill(0);
        set_checksum(from, to, &mut bytes);
        bytes
    }

    #[test]
    fn echoes_are_read_and_answered() {
        for (v4, request, reply) in [(true, 8, 0), (false, 128, 129)] {
            let bytes = message(v4, &[request, 0, 0, 0, 1, 2, 3, 4, 5]);
            assert_eq!(read(v4, 1, &bytes), Ok(Message::Echo(&[1, 2, 3, 4, 5])));
            let (from, to) = addresses(v4);
            let mut out = vec![0; 9];
            write_echo_reply(from, to, &[1, 2, 3, 4, 5], &mut out);
            assert_eq!(out, message(v4, &[reply, 0, 0, 0, 1, 2, 3, 4, 5]));
            // Answers to questions that nobody asked, and other kinds.
            assert_eq!(read(v4, 1, &out), Err(Reason::Icmp));
            for kind in [3, 5, 11, 13, 133, 134, 137] {
                let bytes = message(v4, &[kind, 0, 0, 0, 1, 2, 3, 4, 5]);
                assert!(read(v4, 1, &bytes).is_err(), "{kind}");
            }
        }
    }

    #[test]
    fn neighbour_messages_are_read_back_and_nothing_malformed_or_far_is_read() {
        let (from, to) = addresses(false);
        let mut out = [0; NEIGHBOUR];
        write_neighbour(None, (from, to), to, MAC, &mut out);
        let link = Some(MAC);
        assert_eq!(
            read(false, NEARBY, &out),
            Ok(Message::Solicit { target: to, link })
        );
        write_neighbour(Some(0x60), (from, to), from, MAC, &mut out);
        let advertised = Message::Advertise {
            target: from,
            link: MAC,
            solicited: true,
        };
        assert_eq!(read(false, NEARBY, &out), Ok(advertised));
        assert_eq!(read(false, 254, &out), Err(Reason::Icmp));
        for len in 0..NEIGHBOUR {
            let cut = message(false, &[&out[..len], &[0; 4]].concat());
            let cut = &cut[..len.max(4)];
            assert!(read(false, NEARBY, &message(false, cut)).is_err(), "{len}");
        }
        // An option of no length, one that is too long, a group's address, and a group as the target.
        for (at, value) in [(25, 0), (25, 2), (26, 1), (8, 0xff)] {
            let mut wrong = out.to_vec();
            wrong[at] = value;
            assert_eq!(
                read(false, NEARBY, &message(false, &wrong)),
                Err(Reason::Icmp),
                "{at}"
            );
        }
    }

    #[test]
    fn too_big_names_the_packet_and_nothing_shorter_is_believed() {
        for v4 in [true, false] {
            let (local, remote) = addresses(v4);
            let envelope = ip::Envelope {
                macs: (MAC, MAC),
                from: local,
                to: remote,
                protocol: ip::TCP,
                hop_limit: 1,
            };
            let mut quoted = vec![0; envelope.len()];
            envelope.write(1000, true, &mut quoted);
            let mut quoted = quoted.split_off(crate::ethernet::HEADER);
            quoted.extend([0, 80, 0, 99, 0, 1, 0, 2]);
            let head = if v4 {
                [3, 4, 0, 0, 9, 9, 5, 0]
            } else {
                [2, 0, 0, 0, 0, 0, 5, 0]
            };
            let bytes = message(v4, &[&head[..], &quoted].concat());
            let tuple = Tuple {
                local,
                remote,
                local_port: 80,
                remote_port: 99,
            };
            let seq = Seq(0x1_0002);
            assert_eq!(
                read(v4, 1, &bytes),
                Ok(Message::TooBig {
                    mtu: 1280,
                    tuple,
                    seq
                })
            );
            for len in 4..bytes.len() {
                let cut = message(v4, &bytes[..len]);
                assert!(read(v4, 1, &cut).is_err(), "{v4} {len}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(v4, 1, &damaged), Err(Reason::Checksum), "bit {bit}");
            }
        }
    }
}
