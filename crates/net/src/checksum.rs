//! The Internet checksum (RFC 1071).

/// A sum under way.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes in network order. Only the last that are added may be odd in number.
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        // In the machine's order, as RFC 1071, section 2(B), allows: 64 bits take 2^32 words of 32 bits.
        let mut sum = self.0;
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a number of the header.
    pub(crate) fn add_word(self, word: u16) -> Self {
        self.add(&word.to_be_bytes())
    }

    /// The folded sum, not inverted.
    #[expect(clippy::cast_possible_truncation, reason = "folded until it fits")]
    pub(crate) fn folded(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u16).to_ne_bytes()
    }

    /// The checksum, as it stands in a header.
    pub(crate) fn finish(self) -> [u8; 2] {
        let [one, two] = self.folded();
        [!one, !two]
    }

    /// Whether the bytes, their checksum among them, are whole.
    pub(crate) fn is_right(self) -> bool {
        self.folded() == [0xff, 0xff]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As RFC 1071, section 4.1, has it.
    fn plainly(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u32::from(*byte));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_the_rfcs(head in prop::collection::vec(any::<u16>(), 0..20), tail: Vec<u8>) {
            let mut sum = Sum::default();
            let mut bytes = Vec::new();
            for word in head {
                sum = sum.add_word(word);
                bytes.extend(word.to_be_bytes());
            }
            bytes.extend_from_slice(&tail);
            let sum = sum.add(&tail).finish();
            prop_assert_eq!(u16::from_be_bytes(sum), plainly(&bytes));
            if bytes.len() % 2 == 0 && plainly(&bytes) != 0xffff {
                bytes.extend(sum);
                prop_assert!(Sum::default().add(&bytes).is_right());
                let index = bytes.len() / 2;
                bytes[index] ^= 0x10;
                prop_assert!(!Sum::default().add(&bytes).is_right());
            }
        }
    }
}
