//! The steps by themselves, each beside what FIPS 202 or 203 says, word by word.

#![allow(unsafe_code)]

mod arithmetic;
mod coding;
mod hashes;
mod timing;

use crate::simd::{Cpu, Line, bytes, words16};

/// Returns `true` if the code can run; says so where it cannot.
fn runs() -> bool {
    Cpu::detect()
        .inspect_err(|missing| eprintln!("skipped: this CPU lacks {missing}"))
        .is_ok()
}

/// Runs code that needs the features that `runs` has asked for.
macro_rules! run {
    ($code:expr) => {
        // SAFETY: every test begins with `runs`.
        unsafe { $code }
    };
}
pub(crate) use run;

fn words(lines: &[Line]) -> Vec<i16> {
    let words = bytes(lines).chunks_exact(2);
    words
        .map(|word| i16::from_le_bytes([word[0], word[1]]))
        .collect()
}

fn lines<const N: usize>(words: &[i16]) -> [Line; N] {
    assert_eq!(words.len(), 32 * N);
    std::array::from_fn(|i| words16(words[32 * i..][..32].try_into().unwrap()))
}

/// Bytes that look random (SplitMix64).
struct Bytes(u64);

impl Bytes {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, limit: i64) -> i16 {
        (self.word() % limit as u64) as i16
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.word() as u8)
    }
}

/// Bit `i` of these bytes, the least significant first.
fn bit(bytes: &[u8], i: usize) -> i16 {
    i16::from(bytes[i / 8] >> (i % 8) & 1)
}
