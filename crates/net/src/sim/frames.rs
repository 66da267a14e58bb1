//! Frames that strangers, routers and defects make.

use spinlane_tcp::segment::{self, Parsed};
use spinlane_tcp::{Flags, Segment};

use super::port::Port;
use crate::address::{Address, Mac, Tuple};
use crate::arp::{Arp, FRAME, Op};
use crate::counters::Counters;
use crate::ethernet;
use crate::icmp;
use crate::ip::{self, Envelope, pseudo_header};
use crate::stack::Sender;

/// A TCP segment, as its sender's `tuple` has it.
pub(crate) fn segment(
    (from, to): (Mac, Mac),
    tuple: &Tuple,
    segment: &Segment,
    payload: &[u8],
) -> Vec<u8> {
    let mut port = Port::new(u16::MAX);
    let mut sender = Sender {
        io: &mut port,
        mac: from,
        checksums: true,
        counters: &mut Counters::default(),
    };
    sender.segment(tuple, to, segment, [payload, &[]]);
    port.sent.pop().unwrap_or_default()
}

/// An ARP answer, or IPv6's advertisement, by `from` about `claims`, for `asker`.
pub(crate) fn claim(from: Mac, claims: Address, (to, asker): (Mac, Address)) -> Vec<u8> {
    if claims.is_v4() {
        let arp = Arp {
            op: Op::Reply,
            sender_mac: from,
            sender: claims,
            target_mac: to,
            target: asker,
        };
        let mut frame = vec![0; FRAME];
        arp.write(to, &mut frame);
        return frame;
    }
    let envelope = Envelope::icmp((from, to), claims, asker, icmp::NEARBY);
    let at = envelope.len();
    let mut frame = vec![0; at + icmp::NEIGHBOUR];
    envelope.write(icmp::NEIGHBOUR, true, &mut frame);
    icmp::write_neighbour(Some(0x60), (claims, asker), claims, from, &mut frame[at..]);
    frame
}

/// Who has `target`?
#[cfg(test)]
pub(crate) fn who_has(from: Mac, asker: Address, target: Address) -> Vec<u8> {
    let arp = Arp {
        op: Op::Request,
        sender_mac: from,
        sender: asker,
        target_mac: Mac([0; 6]),
        target,
    };
    let mut frame = vec![0; FRAME];
    arp.write(Mac::BROADCAST, &mut frame);
    frame
}

/// An echo request over IPv4.
#[cfg(test)]
pub(crate) fn echo(macs: (Mac, Mac), (from, to): (Address, Address), body: &[u8]) -> Vec<u8> {
    let envelope = Envelope::icmp_far(macs, from, to);
    let (at, len) = (envelope.len(), body.len() + 4);
    let mut frame = vec![0; at + len];
    envelope.write(len, true, &mut frame);
    frame[at] = 8;
    frame[at + 4..].copy_from_slice(body);
    icmp::set_checksum(from, to, &mut frame[at..]);
    frame
}

/// A router's word that `frame` was too long for a link of `mtu` bytes.
pub(crate) fn too_big(router: Mac, frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let (tuple, _) = parse(frame)?;
    let ethernet = ethernet::parse(frame).ok()?;
    let quoted = &ethernet.payload[..tuple.local.header_len() + 8];
    // Routers are not neighbours; any station's address does.
    let mut from = tuple.remote;
    from.0[15] ^= 0x40;
    let envelope = Envelope::icmp((router, ethernet.from), from, tuple.local, 60);
    let (at, len) = (envelope.len(), 8 + quoted.len());
    let mut out = vec![0; at + len];
    envelope.write(len, true, &mut out);
    let body = &mut out[at..];
    let [high, low] = mtu.to_be_bytes();
    let kind = if tuple.local.is_v4() { [3, 4] } else { [2, 0] };
    body[..2].copy_from_slice(&kind);
    body[6..8].copy_from_slice(&[high, low]);
    body[8..].copy_from_slice(quoted);
    icmp::set_checksum(envelope.from, envelope.to, body);
    Some(out)
}

/// The segment of a whole TCP frame, and its sender's tuple.
pub(crate) fn parse(frame: &[u8]) -> Option<(Tuple, Parsed<'_>)> {
    let ethernet = ethernet::parse(frame).ok()?;
    let packet = match ethernet.kind {
        ethernet::IPV4 => ip::parse_v4(ethernet.payload, true).ok()?,
        ethernet::IPV6 => ip::parse_v6(ethernet.payload).ok()?,
        _ => return None,
    };
    let parsed = segment::parse(packet.payload).ok()?;
    let tuple = Tuple {
        local: packet.from,
        remote: packet.to,
        local_port: parsed.from,
        remote_port: parsed.to,
    };
    (packet.protocol == ip::TCP).then_some((tuple, parsed))
}

/// Puts changed numbers, flags, window and data into a frame whose length stays.
pub(crate) fn patch(frame: &mut [u8], change: impl FnOnce(&mut Segment, &mut [u8])) {
    let Some((tuple, parsed)) = parse(frame) else {
        return;
    };
    let (mut segment, mut payload) = (parsed.segment, parsed.payload.to_vec());
    change(&mut segment, &mut payload);
    let at = ethernet::HEADER + tuple.local.header_len();
    let out = &mut frame[at..];
    out[4..8].copy_from_slice(&segment.seq.0.to_be_bytes());
    out[8..12].copy_from_slice(&segment.ack.0.to_be_bytes());
    let flags = [
        Flags::FIN,
        Flags::SYN,
        Flags::RST,
        Flags::PSH,
        Flags::ACK,
        Flags::URG,
    ];
    out[13] = (0..6)
        .filter(|bit| segment.flags.has(flags[*bit]))
        .map(|bit| 1 << bit)
        .sum();
    out[14..16].copy_from_slice(&segment.window.to_be_bytes());
    let len = out.len();
    let padding = len - usize::from(out[12] >> 4) * 4 - payload.len();
    out[len - padding - payload.len()..len - padding].copy_from_slice(&payload);
    repair(frame);
}

/// Makes a frame's checksums right, whatever is in it: what a stack that does not look at them would see.
pub(crate) fn repair(frame: &mut [u8]) {
    let Ok(ethernet) = ethernet::parse(frame) else {
        return;
    };
    let (kind, bytes) = (ethernet.kind, ethernet.payload);
    let packet = match kind {
        ethernet::IPV4 => ip::parse_v4(bytes, true),
        ethernet::IPV6 => ip::parse_v6(bytes),
        _ => return,
    };
    let Ok(packet) = packet else { return };
    let (from, to, len) = (packet.from, packet.to, packet.payload.len());
    let at = ethernet::HEADER + packet.payload.as_ptr().addr() - bytes.as_ptr().addr();
    if kind == ethernet::IPV4 {
        let header = &mut frame[ethernet::HEADER..at];
        header[10..12].fill(0);
        let sum = crate::checksum::Sum::default().add(header).finish();
        header[10..12].copy_from_slice(&sum);
    }
    let segment = &mut frame[at..at + len];
    if segment.len() >= segment::HEADER {
        segment[16..18].fill(0);
        let sum = pseudo_header(from, to, ip::TCP, len).add(segment).finish();
        segment[16..18].copy_from_slice(&sum);
    }
}
