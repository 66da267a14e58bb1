//! A segment's header, read and written (RFC 9293, section 3.1).

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use crate::seq::Seq;

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Bytes of a header with as many options as fit.
pub const LONGEST_HEADER: usize = 60;
/// A peer that names no maximum segment size takes this one (RFC 9293, section 3.7.1).
pub const DEFAULT_MSS: u16 = 536;
/// Ranges that fit beside a timestamp.
pub const MOST_SACKS: usize = 4;
/// A window is shifted by so many bits at most (RFC 7323, section 2.3).
pub const LARGEST_SCALE: u8 = 14;

/// The control bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(1);
    /// Sequence numbers are to be synchronised.
    pub const SYN: Self = Self(2);
    /// The connection is reset.
    pub const RST: Self = Self(4);
    /// Data is to be passed on.
    pub const PSH: Self = Self(8);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(16);
    /// The urgent pointer counts. It is read, and ignored: see the crate's documentation.
    pub const URG: Self = Self(32);

    /// Returns `true` if all of `others` are set.
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::SYN, "SYN"),
            (Self::FIN, "FIN"),
            (Self::RST, "RST"),
            (Self::PSH, "PSH"),
            (Self::ACK, "ACK"),
            (Self::URG, "URG"),
        ];
        let set = names.iter().filter(|(flag, _)| self.has(*flag));
        f.write_str(&set.map(|(_, name)| *name).collect::<Vec<_>>().join("+"))
    }
}

/// A range of received data, `start..end`.
pub type Range = (Seq, Seq);

/// Ranges of a selective acknowledgement (RFC 2018), the latest first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Sacks {
    ranges: [Range; MOST_SACKS],
    count: u8,
}

impl Sacks {
    /// Appends `range`. Returns `false` if there is no room.
    pub fn push(&mut self, range: Range) -> bool {
        let Some(place) = self.ranges.get_mut(usize::from(self.count)) else {
            return false;
        };
        *place = range;
        self.count += 1;
        true
    }

    /// Returns the ranges.
    pub fn as_slice(&self) -> &[Range] {
        &self.ranges[..usize::from(self.count)]
    }
}

impl fmt::Debug for Sacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// A header without ports, which are the flow table's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Segment {
    /// Number of the first byte, or of the SYN.
    pub seq: Seq,
    /// Number of the byte expected next; counts with [`Flags::ACK`].
    pub ack: Seq,
    /// The control bits.
    pub flags: Flags,
    /// The window, not yet shifted.
    pub window: u16,
    /// Maximum segment size (RFC 9293, section 3.7.1), of a SYN.
    pub mss: Option<u16>,
    /// Window scale (RFC 7323, section 2), of a SYN.
    pub scale: Option<u8>,
    /// Whether selective acknowledgements are understood (RFC 2018, section 2), of a SYN.
    pub sack_permitted: bool,
    /// Timestamp and its echo (RFC 7323, section 3).
    pub timestamps: Option<(u32, u32)>,
    /// Selective acknowledgements.
    pub sacks: Sacks,
}

/// Why bytes are no segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than a header has.
    #[error("{0} bytes hold no TCP header, which has at least 20")]
    Short(usize),
    /// The data offset points into the header or behind the segment.
    #[error("a data offset of {offset} bytes in a segment of {len}")]
    Offset {
        /// Bytes of the header, as the segment has it.
        offset: usize,
        /// Bytes of the segment.
        len: usize,
    },
}

/// A segment as it came: ports, header, data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed<'a> {
    /// Source port.
    pub from: u16,
    /// Destination port.
    pub to: u16,
    /// The header.
    pub segment: Segment,
    /// The data.
    pub payload: &'a [u8],
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads a segment, whose checksum is the network's to check. Options that are unknown or malformed
/// are passed over (RFC 9293, MUST-6 and MUST-7); what follows a malformed one is not read.
///
/// # Errors
/// The bytes hold no header, or its data offset is wrong.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let short = Malformed::Short(bytes.len());
    let header = bytes.get(..HEADER).ok_or(short)?;
    let word = |at| be16(header, at).ok_or(short);
    let number = |at| be32(header, at).ok_or(short);
    let (from, to, window) = (word(0)?, word(2)?, word(14)?);
    let (seq, ack) = (Seq(number(4)?), Seq(number(8)?));
    let [offset, flags] = word(12)?.to_be_bytes();
    let (offset, len) = (usize::from(offset >> 4) * 4, bytes.len());
    let wrong = Malformed::Offset { offset, len };
    let options = bytes.get(HEADER..offset).ok_or(wrong)?;
    let payload = bytes.get(offset..).ok_or(wrong)?;
    let flags = Flags(flags);
    let mut segment = Segment {
        seq,
        ack,
        flags,
        window,
        ..Segment::default()
    };
    segment.read_options(options);
    Ok(Parsed {
        from,
        to,
        segment,
        payload,
    })
}

/// Kinds of options.
mod kind {
    pub const END: u8 = 0;
    pub const NOP: u8 = 1;
    pub const MSS: u8 = 2;
    pub const SCALE: u8 = 3;
    pub const SACK_PERMITTED: u8 = 4;
    pub const SACK: u8 = 5;
    pub const TIMESTAMPS: u8 = 8;
}

impl Segment {
    fn read_options(&mut self, mut rest: &[u8]) {
        while let Some((&kind, behind)) = rest.split_first() {
            match kind {
                kind::END => return,
                kind::NOP => rest = behind,
                _ => {
                    // A length counts itself and the kind (MUST-68: a length of 0 must not loop).
                    let len = behind.first().map_or(0, |len| usize::from(*len));
                    let Some(value) = rest.get(2..len) else {
                        return;
                    };
                    self.read_option(kind, value);
                    rest = &rest[len..];
                }
            }
        }
    }

    fn read_option(&mut self, kind: u8, value: &[u8]) {
        let syn = self.flags.has(Flags::SYN);
        match (kind, value.len()) {
            (kind::MSS, 2) if syn => self.mss = be16(value, 0),
            (kind::SCALE, 1) if syn => self.scale = Some(value[0].min(LARGEST_SCALE)),
            (kind::SACK_PERMITTED, 0) if syn => self.sack_permitted = true,
            (kind::TIMESTAMPS, 8) => self.timestamps = be32(value, 0).zip(be32(value, 4)),
            (kind::SACK, len) if len.is_multiple_of(8) => {
                for range in value.chunks_exact(8) {
                    if let Some((start, end)) = be32(range, 0).zip(be32(range, 4)) {
                        self.sacks.push((Seq(start), Seq(end)));
                    }
                }
            }
            _ => {}
        }
    }

    /// Makes the RST for a segment with `len` bytes of data that belongs to no connection (RFC
    /// 9293, section 3.10.7.1); `None` if it is a RST itself.
    pub fn refusal(&self, len: usize) -> Option<Self> {
        if self.flags.has(Flags::RST) {
            return None;
        }
        if self.flags.has(Flags::ACK) {
            return Some(Self {
                seq: self.ack,
                flags: Flags::RST,
                ..Self::default()
            });
        }
        let syn_and_fin =
            u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN));
        #[expect(clippy::cast_possible_truncation, reason = "a segment's length")]
        let end = self.seq + len as u32 + syn_and_fin;
        Some(Self {
            ack: end,
            flags: Flags::RST | Flags::ACK,
            ..Self::default()
        })
    }

    /// Returns the length of the header in bytes, options included.
    pub fn header_len(&self) -> usize {
        let mut options = 0;
        options += self.mss.map_or(0, |_| 4);
        options += self.scale.map_or(0, |_| 4);
        options += if self.sack_permitted { 4 } else { 0 };
        options += self.timestamps.map_or(0, |_| 12);
        options += match self.sacks.as_slice().len() {
            0 => 0,
            count => 4 + 8 * count,
        };
        HEADER + options
    }

    /// Writes the header between the ports, its checksum 0, and returns its length. Data follows
    /// behind it.
    ///
    /// # Panics
    /// If `out` is shorter than [`Segment::header_len`].
    pub fn write(&self, from: u16, to: u16, out: &mut [u8]) -> usize {
        let len = self.header_len();
        let out = &mut out[..len];
        let (fixed, mut options) = out.split_at_mut(HEADER);
        fixed[0..2].copy_from_slice(&from.to_be_bytes());
        fixed[2..4].copy_from_slice(&to.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "at most 60")]
        let offset = (len as u8 / 4) << 4;
        fixed[12] = offset;
        fixed[13] = self.flags.0;
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        // Checksum, urgent pointer.
        fixed[16..20].fill(0);
        let mut put = |bytes: &[u8]| {
            let (place, rest) = std::mem::take(&mut options).split_at_mut(bytes.len());
            place.copy_from_slice(bytes);
            options = rest;
        };
        if let Some(mss) = self.mss {
            put(&[kind::MSS, 4]);
            put(&mss.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            put(&[kind::NOP, kind::SCALE, 3, scale]);
        }
        if self.sack_permitted {
            put(&[kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            put(&[kind::NOP, kind::NOP, kind::TIMESTAMPS, 10]);
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        let sacks = self.sacks.as_slice();
        if !sacks.is_empty() {
            #[expect(clippy::cast_possible_truncation, reason = "at most 34")]
            let len = (2 + 8 * sacks.len()) as u8;
            put(&[kind::NOP, kind::NOP, kind::SACK, len]);
            for (start, end) in sacks {
                put(&start.0.to_be_bytes());
                put(&end.0.to_be_bytes());
            }
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments() -> impl Strategy<Value = Segment> {
        let numbers = (any::<u32>(), any::<u32>(), any::<u16>());
        let syn = (
            any::<Option<u16>>(),
            prop::option::of(0..=14u8),
            any::<bool>(),
        );
        let ranges = prop::collection::vec(any::<(u32, u32)>(), 0..=2);
        let stamps = any::<Option<(u32, u32)>>();
        (numbers, any::<bool>(), syn, ranges, stamps).prop_map(
            |((seq, ack, window), is_syn, (mss, scale, permitted), ranges, timestamps)| {
                let mut segment = Segment {
                    seq: Seq(seq),
                    ack: Seq(ack),
                    flags: Flags::ACK,
                    window,
                    timestamps,
                    ..Segment::default()
                };
                if is_syn {
                    segment.flags |= Flags::SYN;
                    segment.mss = mss;
                    segment.scale = scale;
                    segment.sack_permitted = permitted;
                } else {
                    for (start, end) in ranges {
                        segment.sacks.push((Seq(start), Seq(end)));
                    }
                }
                segment
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(segment in segments(), payload: Vec<u8>) {
            let mut bytes = [0; LONGEST_HEADER];
            let len = segment.write(80, 81, &mut bytes);
            let mut bytes = bytes[..len].to_vec();
            bytes.extend_from_slice(&payload);
            let parsed = parse(&bytes).unwrap();
            prop_assert_eq!(parsed, Parsed { from: 80, to: 81, segment, payload: &payload });
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(parsed) = parse(&bytes) {
                prop_assert!(parsed.payload.len() + HEADER <= bytes.len());
            }
        }
    }

    /// RFC 9293, MUST-6, MUST-7, MUST-68: unknown options are ignored, malformed lengths do no
    /// harm.
    #[test]
    fn unknown_and_malformed_options_are_passed_over() {
        let with = |options: &[u8]| {
            let mut bytes = [0; HEADER].to_vec();
            bytes.extend_from_slice(options);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes[12] = u8::try_from(bytes.len() / 4).unwrap() << 4;
            bytes[13] = Flags::SYN.0;
            parse(&bytes).unwrap().segment
        };
        assert_eq!(with(&[77, 4, 1, 1, 2, 4, 2, 0]).mss, Some(512));
        assert_eq!(with(&[77, 0, 2, 4, 2, 0]).mss, None);
        assert_eq!(with(&[77, 1, 2, 4, 2, 0]).mss, None);
        assert_eq!(with(&[2, 4, 2, 0, 77, 90]).mss, Some(512));
        assert_eq!(with(&[2, 3, 2, 3, 3, 9]).scale, Some(9));
        assert_eq!(with(&[3, 3, 255]).scale, Some(LARGEST_SCALE));
        assert_eq!(parse(&[0; 19]), Err(Malformed::Short(19)));
    }
}
