//! Random polynomials (FIPS 203, 4.2.2): uniform ones by rejection, small ones by counting bits.

use std::arch::x86_64::*;

use crate::field::Q_LINE;
use crate::ntt::Poly;
use crate::pack::spread;
use crate::simd::{Line, ZERO, bytes, bytes_mut, bytes8, load, load_quarter, store, words16};

/// Lines of a polynomial being sampled: what is accepted is stored a line at a time, at any word
/// up to the last.
pub(crate) type Accepted = [Line; 9];

/// Accepts candidates of 12 bits below q until there are 256; how many there are now, given how
/// many there were. `squeezed` is the stream, a multiple of 24 bytes, and 40 bytes more.
///
/// How many are accepted depends on a public seed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,popcnt")]
pub(crate) fn accept(to: &mut Accepted, count: usize, squeezed: &[u8]) -> usize {
    let to = bytes_mut(to);
    let mut count = count;
    let mut left = (squeezed.len() - 40) / 24 * 16;
    let mut at = 0;
    while left > 0 {
        let candidates = spread::<12>(load(squeezed, at));
        let there = if left >= 32 { !0 } else { 0xffff };
        let good = _mm512_mask_cmplt_epu16_mask(there, candidates, Q_LINE);
        store(to, 2 * count, _mm512_maskz_compress_epi16(good, candidates));
        count = (count + good.count_ones() as usize).min(256);
        at += 48;
        left = left.saturating_sub(32);
    }
    count
}

/// What four bits say if two count up and two down, twice over.
const HALVES_OF_4: Line = {
    let mut table = [0; 32];
    let mut i = 0;
    while i < 32 {
        table[i] = (i & 1) as i16 + (i >> 1 & 1) as i16 - (i >> 2 & 1) as i16 - (i >> 3 & 1) as i16;
        i += 1;
    }
    words16(table)
};

/// What six bits say if three count up and three down: entries 0 to 31, then 32 to 63.
const HALVES_OF_6: [Line; 2] = {
    let mut tables = [[0; 32]; 2];
    let mut i = 0;
    while i < 64 {
        let up = (i & 1) + (i >> 1 & 1) + (i >> 2 & 1);
        let down = (i >> 3 & 1) + (i >> 4 & 1) + (i >> 5 & 1);
        tables[i / 32][i % 32] = up as i16 - down as i16;
        i += 1;
    }
    [words16(tables[0]), words16(tables[1])]
};

/// Three bytes to a 64-bit word, and six bits of these to each 16-bit word.
const THREES: Line = {
    let mut table = [0; 64];
    let mut i = 0;
    while i < 64 {
        table[i] = (i / 8 * 3 + i % 8 % 3) as u8;
        i += 1;
    }
    bytes8(table)
};
const SIXES: Line = {
    let mut table = [0; 64];
    let mut i = 0;
    while i < 64 {
        table[i] = (i % 8 / 2 * 6) as u8;
        i += 1;
    }
    bytes8(table)
};

/// Output of a pseudorandom function: 128 bytes for eta = 2, 192 for eta = 3.
pub(crate) type Noise = [Line; 4];

/// Returns the polynomial of that noise, its coefficients within eta.
///
/// Bits become coefficients by a table in a register: no address depends on them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) fn small<const ETA: usize>(noise: &Noise) -> Poly {
    let noise = bytes(noise);
    let mut p = [ZERO; 8];
    for (i, words) in p.iter_mut().enumerate() {
        *words = match ETA {
            2 => {
                // A byte to each 32-bit word: its lower half stays, its upper goes 12 bits up.
                // The table looks at five bits and minds four.
                let x = _mm512_cvtepu8_epi32(load_quarter(noise, 16 * i));
                let x = _mm512_or_si512(x, _mm512_slli_epi32::<12>(x));
                _mm512_permutexvar_epi16(x, HALVES_OF_4)
            }
            3 => {
                let x = _mm512_permutexvar_epi8(THREES, load(noise, 24 * i));
                let x = _mm512_multishift_epi64_epi8(SIXES, x);
                _mm512_permutex2var_epi16(HALVES_OF_6[0], x, HALVES_OF_6[1])
            }
            _ => unreachable!("eta is 2 or 3"),
        };
    }
    p
}
