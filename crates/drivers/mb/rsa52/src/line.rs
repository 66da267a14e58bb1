//! A limb in each of the eight lanes, and the steps that are not worth a kernel.
//!
//! Each of these takes a few hundred nanoseconds of an operation's hundreds of microseconds. They
//! have no branch and no index that depends on a limb's value.

use std::hint::black_box;

use zeroize::Zeroize;

/// Operations at a time.
pub const LANES: usize = 8;
/// Bits of a limb.
pub(crate) const LIMB_BITS: usize = 52;
/// The largest limb.
pub(crate) const LOW_52: u64 = (1 << LIMB_BITS) - 1;

/// One limb per lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroize)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u64; LANES]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; LANES]);

    pub(crate) const fn all(word: u64) -> Self {
        Self([word; LANES])
    }

    pub(crate) fn map(self, f: impl Fn(u64) -> u64) -> Self {
        Self(self.0.map(f))
    }
}

/// Lane by lane, the number whose limb i is `limb(lane, i)`, a signed sum of limbs, as limbs of 52
/// bits. Returns what is beyond the last: 0, or negative for a negative number.
pub(crate) fn carry(r: &mut [Line], mut limb: impl FnMut(usize, usize) -> i64) -> [i64; LANES] {
    let mut carries = [0; LANES];
    for (i, line) in r.iter_mut().enumerate() {
        for (lane, carry) in carries.iter_mut().enumerate() {
            let sum = limb(lane, i) + *carry;
            line.0[lane] = sum as u64 & LOW_52;
            *carry = sum >> LIMB_BITS;
        }
    }
    carries
}

/// x mod n for x < 2n, by way of `difference`.
pub(crate) fn reduce_once(x: &mut [Line], n: &[Line], difference: &mut [Line]) {
    let borrow = carry(difference, |lane, i| {
        x[i].0[lane] as i64 - n[i].0[lane] as i64
    });
    let keep = black_box(borrow.map(|borrow| borrow as u64)); // all ones if x < n
    for (x, difference) in x.iter_mut().zip(difference) {
        for ((x, difference), keep) in x.0.iter_mut().zip(difference.0).zip(keep) {
            *x = *x & keep | difference & !keep;
        }
    }
}

/// Limbs of a big-endian number into one lane; those beyond it become 0.
pub(crate) fn read_lane(to: &mut [Line], lane: usize, bytes: &[u8]) {
    let mut words = bytes.rchunks(8).map(be_word);
    let (mut held, mut bits) = (0u128, 0);
    for line in to {
        if bits < LIMB_BITS {
            held |= u128::from(words.next().unwrap_or(0)) << bits;
            bits += 64;
        }
        line.0[lane] = held as u64 & LOW_52;
        held >>= LIMB_BITS;
        bits -= LIMB_BITS;
    }
}

/// Writes a lane's limbs as bytes. Limbs have 52 bits; what does not fit into `bytes` is dropped.
pub(crate) fn write_lane(from: &[Line], lane: usize, bytes: &mut [u8]) {
    let mut limbs = from.iter().map(|line| line.0[lane]);
    let (mut held, mut bits) = (0u128, 0);
    for chunk in bytes.rchunks_mut(8) {
        while bits < 64 {
            held |= u128::from(limbs.next().unwrap_or(0)) << bits;
            bits += LIMB_BITS;
        }
        let word = (held as u64).to_be_bytes();
        chunk.copy_from_slice(&word[8 - chunk.len()..]);
        held >>= 64;
        bits -= 64;
    }
}

fn be_word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}
