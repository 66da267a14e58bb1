//! IPv4 (RFC 791) and IPv6 (RFC 8200), read and written.

use crate::address::{Address, Mac, Tuple};
use crate::checksum::Sum;
use crate::counters::Reason;
use crate::ethernet;

pub(crate) const TCP: u8 = 6;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// Extension headers of a packet, at most; and their bytes.
const MOST_EXTENSIONS: usize = 4;
const MOST_EXTENSION_BYTES: usize = 256;
const HOP_LIMIT: u8 = 64;

/// A packet, its addresses checked for what cannot send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    pub(crate) payload: &'a [u8],
}

/// Reads an IPv4 packet. Options are skipped and obeyed by nobody. `checked`: the header's checksum is known to be right.
pub(crate) fn parse_v4(bytes: &[u8], checked: bool) -> Result<Packet<'_>, Reason> {
    let (header, _) = bytes
        .split_first_chunk::<IPV4_HEADER>()
        .ok_or(Reason::Short)?;
    let header_len = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < IPV4_HEADER || total < header_len {
        return Err(Reason::BadIp);
    }
    // A frame's padding may follow.
    let packet = bytes.get(..total).ok_or(Reason::Short)?;
    let (with_options, payload) = packet.split_at(header_len);
    if !checked && !Sum::default().add(with_options).is_right() {
        return Err(Reason::Checksum);
    }
    // More fragments, or an offset.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(Reason::Fragment);
    }
    let address = |at: usize| Address::v4([0, 1, 2, 3].map(|index| header[at + index]));
    Ok(Packet {
        from: address(12),
        to: address(16),
        protocol: header[9],
        hop_limit: header[8],
        payload,
    })
}

/// Reads an IPv6 packet, past its extension headers.
pub(crate) fn parse_v6(bytes: &[u8]) -> Result<Packet<'_>, Reason> {
    let (header, rest) = bytes
        .split_first_chunk::<IPV6_HEADER>()
        .ok_or(Reason::Short)?;
    if header[0] >> 4 != 6 {
        return Err(Reason::BadIp);
    }
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = rest.get(..len).ok_or(Reason::Short)?;
    let address = |at: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&header[at..at + 16]);
        Address(bytes)
    };
    let (from, to) = (address(8), address(24));
    if from.is_v4() || to.is_v4() {
        return Err(Reason::BadSource);
    }
    let (protocol, payload) = skip_extensions(header[6], payload)?;
    Ok(Packet {
        from,
        to,
        protocol,
        hop_limit: header[7],
        payload,
    })
}

/// Passes over hop-by-hop options, destination options, and routing headers that have nowhere left to go. Options in
/// them are skipped, but for those that say that a packet with them is to be dropped if they are unknown (RFC 8200, section 4.2).
fn skip_extensions(mut kind: u8, mut rest: &[u8]) -> Result<(u8, &[u8]), Reason> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let whole = rest.len();
    for index in 0..=MOST_EXTENSIONS {
        match kind {
            FRAGMENT => return Err(Reason::Fragment),
            HOP_BY_HOP if index > 0 => return Err(Reason::ExtensionHeaders),
            HOP_BY_HOP | ROUTING | DESTINATION => {}
            _ => return Ok((kind, rest)),
        }
        let (next, len) = match rest {
            [next, len, ..] => (*next, (usize::from(*len) + 1) * 8),
            _ => return Err(Reason::Short),
        };
        let (header, behind) = rest.split_at_checked(len).ok_or(Reason::Short)?;
        let refused = match kind {
            ROUTING => header[3] != 0,
            _ => !options_may_be_skipped(&header[2..]),
        };
        if refused || whole - behind.len() > MOST_EXTENSION_BYTES {
            return Err(Reason::ExtensionHeaders);
        }
        (kind, rest) = (next, behind);
    }
    Err(Reason::ExtensionHeaders)
}

fn options_may_be_skipped(mut rest: &[u8]) -> bool {
    while let [kind, behind @ ..] = rest {
        let skipped = match (kind, behind) {
            // Pad1.
            (0, _) => Some(behind),
            (kind, [len, value @ ..]) if kind >> 6 == 0 => value.get(usize::from(*len)..),
            _ => None,
        };
        match skipped {
            Some(next) => rest = next,
            None => return false,
        }
    }
    true
}

/// The sum of a pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
pub(crate) fn pseudo_header(from: Address, to: Address, protocol: u8, len: usize) -> Sum {
    #[expect(clippy::cast_possible_truncation, reason = "a packet's length")]
    let len = len as u16;
    let sum = Sum::default().add(from.bytes()).add(to.bytes());
    sum.add_word(u16::from(protocol)).add_word(len)
}

/// Whom a packet is from and for.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) macs: (Mac, Mac),
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
}

impl Envelope {
    /// A TCP segment's of ours.
    pub(crate) fn tcp(tuple: &Tuple, from: Mac, to: Mac) -> Self {
        Self {
            macs: (from, to),
            from: tuple.local,
            to: tuple.remote,
            protocol: TCP,
            hop_limit: HOP_LIMIT,
        }
    }

    /// An ICMP message's.
    pub(crate) fn icmp(macs: (Mac, Mac), from: Address, to: Address, hop_limit: u8) -> Self {
        let protocol = if from.is_v4() { ICMP } else { ICMPV6 };
        Self {
            macs,
            from,
            to,
            protocol,
            hop_limit,
        }
    }

    /// As [`Envelope::icmp`], for what routers may pass on.
    pub(crate) fn icmp_far(macs: (Mac, Mac), from: Address, to: Address) -> Self {
        Self::icmp(macs, from, to, HOP_LIMIT)
    }

    /// Bytes of the Ethernet and the IP header.
    pub(crate) fn len(&self) -> usize {
        ethernet::HEADER + self.from.header_len()
    }

    /// Writes both headers for a payload of `len` bytes. Fragmentation is forbidden, and the identification, which
    /// then means nothing, is 0 (RFC 6864). With `checksum` false an IPv4 header's is left 0.
    pub(crate) fn write(&self, len: usize, checksum: bool, out: &mut [u8]) {
        let (from, to) = self.macs;
        let kind = if self.from.is_v4() {
            ethernet::IPV4
        } else {
            ethernet::IPV6
        };
        ethernet::write(to, from, kind, out);
        let out = &mut out[ethernet::HEADER..];
        #[expect(clippy::cast_possible_truncation, reason = "at most the MTU")]
        let (len, total) = ((len as u16).to_be_bytes(), (len as u16 + 20).to_be_bytes());
        if self.from.is_v4() {
            let head = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0];
            out[..8].copy_from_slice(&head);
            out[8..12].copy_from_slice(&[self.hop_limit, self.protocol, 0, 0]);
            out[12..16].copy_from_slice(self.from.bytes());
            out[16..20].copy_from_slice(self.to.bytes());
            if checksum {
                let sum = Sum::default().add(&out[..IPV4_HEADER]).finish();
                out[10..12].copy_from_slice(&sum);
            }
        } else {
            let head = [0x60, 0, 0, 0, len[0], len[1], self.protocol, self.hop_limit];
            out[..8].copy_from_slice(&head);
            out[8..24].copy_from_slice(&self.from.0);
            out[24..40].copy_from_slice(&self.to.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(v4: bool) -> Envelope {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let address = |last| match v4 {
            true => Address::v4([10, 0, 0, last]),
            false => Address([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]),
        };
        Envelope {
            macs: (mac, mac),
            from: address(1),
            to: address(2),
            protocol: TCP,
            hop_limit: 9,
        }
    }

    fn packet(v4: bool, payload: &[u8]) -> Vec<u8> {
        let envelope = envelope(v4);
        let mut out = vec![0; envelope.len()];
        envelope.write(payload.len(), true, &mut out);
        out.extend_from_slice(payload);
        out.split_off(ethernet::HEADER)
    }

    fn parse(bytes: &[u8]) -> Result<Packet<'_>, Reason> {
        match bytes.first().map(|byte| byte >> 4) {
            Some(6) => parse_v6(bytes),
            _ => parse_v4(bytes, false),
        }
    }

    #[test]
    fn what_is_written_is_read_back_with_padding_and_without_and_cut_nowhere() {
        for v4 in [true, false] {
            let mut bytes = packet(v4, b"payload");
            let whole = bytes.len();
            let Envelope { from, to, .. } = envelope(v4);
            let expected = Packet {
                from,
                to,
                protocol: TCP,
                hop_limit: 9,
                payload: b"payload",
            };
            assert_eq!(parse(&bytes), Ok(expected));
            for len in 1..whole {
                assert_eq!(parse(&bytes[..len]), Err(Reason::Short), "{v4} {len}");
            }
            bytes.extend([0; 20]);
            assert_eq!(parse(&bytes), Ok(expected));
        }
    }

    /// Every bit of an IPv4 header counts.
    #[test]
    fn a_damaged_ipv4_header_is_refused() {
        let bytes = packet(true, b"payload");
        for bit in 0..IPV4_HEADER * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_v4(&damaged, false).is_err(), "bit {bit}");
        }
        assert_eq!(parse_v4(&[], false), Err(Reason::Short));
        assert_eq!(parse_v6(&[]), Err(Reason::Short));
    }

    fn v4_with(change: impl Fn(&mut Vec<u8>)) -> Result<(), Reason> {
        let mut bytes = packet(true, b"payload");
        change(&mut bytes);
        bytes[10..12].fill(0);
        let header_len = (usize::from(bytes[0] & 15) * 4).min(bytes.len());
        let sum = Sum::default().add(&bytes[..header_len]).finish();
        bytes[10..12].copy_from_slice(&sum);
        parse_v4(&bytes, false).map(|_| ())
    }

    #[test]
    fn bad_lengths_and_fragments_are_refused_and_options_skipped() {
        assert_eq!(v4_with(|bytes| bytes[0] = 0x44), Err(Reason::BadIp));
        assert_eq!(v4_with(|bytes| bytes[0] = 0x55), Err(Reason::BadIp));
        assert_eq!(v4_with(|bytes| bytes[3] = 19), Err(Reason::BadIp));
        assert_eq!(v4_with(|bytes| bytes[3] = 28), Err(Reason::Short));
        assert_eq!(v4_with(|bytes| bytes[6] = 0x20), Err(Reason::Fragment));
        assert_eq!(v4_with(|bytes| bytes[7] = 1), Err(Reason::Fragment));
        // The longest header there is, with a loose source route in it.
        let with_options = |bytes: &mut Vec<u8>| {
            bytes[0] = 0x4f;
            bytes[3] += 40;
            let options = [131, 7, 4, 9, 9, 9, 9, 0].into_iter().chain([0; 32]);
            bytes.splice(20..20, options);
        };
        assert_eq!(v4_with(with_options), Ok(()));
    }

    fn v6(next: u8, extensions: &[u8]) -> Result<u8, Reason> {
        let mut bytes = packet(false, &[extensions, b"payload"].concat());
        bytes[6] = next;
        let parsed = parse_v6(&bytes)?;
        assert_eq!(parsed.payload, b"payload");
        Ok(parsed.protocol)
    }

    #[test]
    fn extension_headers_are_skipped_within_bounds() {
        let pad = [1, 4, 0, 0, 0, 0];
        let header = |next: u8, options: &[u8]| [&[next, 0], options].concat();
        assert_eq!(v6(0, &header(TCP, &pad)), Ok(TCP));
        assert_eq!(v6(60, &header(TCP, &[0; 6])), Ok(TCP));
        let chain = [header(60, &pad), header(43, &pad), header(TCP, &[0; 6])].concat();
        assert_eq!(v6(0, &chain), Ok(TCP).and_then(|_: u8| v6(0, &chain)));
        let bad = Err(Reason::ExtensionHeaders);
        // Options that insist on being known, that are too long, and a route that goes on.
        assert_eq!(v6(60, &header(TCP, &[0x40, 4, 0, 0, 0, 0])), bad);
        assert_eq!(v6(60, &header(TCP, &[1, 5, 0, 0, 0, 0])), bad);
        assert_eq!(v6(60, &header(TCP, &[0, 0, 0, 0, 0, 1])), bad);
        assert_eq!(v6(43, &header(TCP, &[0, 1, 0, 0, 0, 0])), bad);
        // Hop by hop in the second place, five headers, and one that is too long.
        assert_eq!(v6(60, &[header(0, &pad), header(TCP, &pad)].concat()), bad);
        let five = [header(60, &pad).repeat(4), header(TCP, &pad)].concat();
        assert_eq!(v6(60, &five), bad);
        let long = [&[TCP, 32][..], &[0; 262]].concat();
        assert_eq!(v6(60, &long), bad);
        assert_eq!(v6(44, &header(TCP, &pad)), Err(Reason::Fragment));
        assert_eq!(v6(60, &[TCP, 200]), Err(Reason::Short));
        assert_eq!(v6(50, &[]), Ok(50));
    }

    #[test]
    fn ipv6_must_not_name_mapped_addresses() {
        for at in [8, 24] {
            let mut bytes = packet(false, b"payload");
            bytes[at..at + 16].copy_from_slice(&Address::v4([10, 0, 0, 1]).0);
            assert_eq!(parse_v6(&bytes), Err(Reason::BadSource));
        }
    }
}
