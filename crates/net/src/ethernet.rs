//! Ethernet II.

use crate::address::Mac;
use crate::counters::Reason;

pub(crate) const HEADER: usize = 14;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;

/// A frame's header, and what it carries.
pub(crate) struct Ethernet<'a> {
    pub(crate) to: Mac,
    pub(crate) from: Mac,
    pub(crate) kind: u16,
    pub(crate) payload: &'a [u8],
}

/// Reads a frame.
pub(crate) fn parse(bytes: &[u8]) -> Result<Ethernet<'_>, Reason> {
    let (header, payload) = bytes.split_first_chunk::<HEADER>().ok_or(Reason::Short)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, kind @ ..] = *header;
    let from = Mac([g, h, i, j, k, l]);
    if from.is_multicast() {
        return Err(Reason::BadSource);
    }
    Ok(Ethernet {
        to: Mac([a, b, c, d, e, f]),
        from,
        kind: u16::from_be_bytes(kind),
        payload,
    })
}

/// Writes a header.
pub(crate) fn write(to: Mac, from: Mac, kind: u16, out: &mut [u8]) {
    out[..6].copy_from_slice(&to.0);
    out[6..12].copy_from_slice(&from.0);
    out[12..HEADER].copy_from_slice(&kind.to_be_bytes());
}
