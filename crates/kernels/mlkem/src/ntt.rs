//! The number-theoretic transform (FIPS 203, 4.3), of one polynomial in eight registers.
//!
//! ```text
//!  register      0        1        2      ...     7
//!  coefficient   0..31    32..63   64..95         224..255
//!
//!  distance 128   0 -- 4   1 -- 5   2 -- 6   3 -- 7     registers meet registers
//!            64   0 -- 2   1 -- 3   4 -- 6   5 -- 7
//!            32   0 -- 1   2 -- 3   4 -- 5   6 -- 7
//!     16 8 4 2    within the pairs 0 1, 2 3, 4 5, 6 7: before each of these layers a pair's
//!                 64 coefficients are dealt anew, so that all that have this bit of their
//!                 number clear lie in the first, and their partners in the second
//! ```
//!
//! Dealing is two permutations of 32-bit words (vpermt2d) per pair and layer; [`deal`] computes
//! their tables, and that of the powers of zeta follow the same numbers. All 32 words of all
//! registers work in every layer. The transform of one polynomial in interleaved lanes of eight
//! operations would save the permutations, a fifth of the time, and cost transpositions before and
//! after: rows are what hashing, encoding and users have.

use std::arch::x86_64::*;

use crate::field::{Factors, Q_INVERSE_LINE, Q_LINE, power, reduce};
use crate::simd::{Line, ZERO, words32};

/// A polynomial of 256 coefficients, 16 bits each.
pub(crate) type Poly = [Line; 8];

/// A primitive 256th root of unity mod q.
const ZETA: i64 = 17;

/// Reverses seven bits.
const fn reversed(k: usize) -> u32 {
    ((k as u8).reverse_bits() >> 1) as u32
}

/// Returns the place of 32-bit word `n` of a pair that has been dealt by `distance`: words of the
/// first register are 0 to 15, of the second 16 to 31.
const fn place(distance: usize, n: usize) -> usize {
    let bit = distance / 2;
    let within = (n & (bit - 1)) | ((n / 2) & !(bit - 1));
    if n & bit == 0 { within } else { 16 + within }
}

/// Returns the 32-bit word in this place.
const fn word_at(distance: usize, wanted: usize) -> usize {
    let mut n = 0;
    while place(distance, n) != wanted {
        n += 1;
    }
    n
}

/// Tells where each register's words come from when a pair dealt by one distance is dealt by
/// another.
const fn deal(from: usize, to: usize) -> [Line; 2] {
    let mut tables = [[0; 16]; 2];
    let mut i = 0;
    while i < 32 {
        tables[i / 16][i % 16] = place(from, word_at(to, i)) as u32;
        i += 1;
    }
    [words32(tables[0]), words32(tables[1])]
}

/// A pair of registers.
type Pair = [Line; 2];

#[inline]
#[target_feature(enable = "avx512f")]
fn dealt(pair: Pair, table: &[Line; 2]) -> Pair {
    let [x, y] = pair;
    [
        _mm512_permutex2var_epi32(x, table[0], y),
        _mm512_permutex2var_epi32(x, table[1], y),
    ]
}

/// Powers of zeta for a layer within pairs: `backwards`, those of the inverse transform.
const fn layer(distance: usize, backwards: bool) -> [Factors; 4] {
    let mut pairs = [Factors::new([0; 32]); 4];
    let mut pair = 0;
    while pair < 4 {
        let mut numbers = [0; 32];
        let mut i = 0;
        while i < 32 {
            let coefficient = 64 * pair + 2 * word_at(distance, i / 2) + i % 2;
            let block = coefficient / (2 * distance);
            let k = match backwards {
                false => 128 / distance + block,
                true => 256 / distance - 1 - block,
            };
            numbers[i] = power(ZETA, reversed(k));
            i += 1;
        }
        pairs[pair] = Factors::new(numbers);
        pair += 1;
    }
    pairs
}

/// One power of zeta for a whole register, by its number in FIPS 203, appendix A.
const fn whole(k: usize) -> Factors {
    Factors::new([power(ZETA, reversed(k)); 32])
}

static WHOLE: [Factors; 8] = [
    whole(0),
    whole(1),
    whole(2),
    whole(3),
    whole(4),
    whole(5),
    whole(6),
    whole(7),
];

/// A layer within pairs: how they are dealt for it, and its factors.
struct Inner {
    deal: [Line; 2],
    factors: [Factors; 4],
}

static FORWARD: [Inner; 4] = [
    Inner {
        deal: deal(32, 16),
        factors: layer(16, false),
    },
    Inner {
        deal: deal(16, 8),
        factors: layer(8, false),
    },
    Inner {
        deal: deal(8, 4),
        factors: layer(4, false),
    },
    Inner {
        deal: deal(4, 2),
        factors: layer(2, false),
    },
];
static FORWARD_END: [Line; 2] = deal(2, 32);

static BACKWARD: [Inner; 4] = [
    Inner {
        deal: deal(32, 2),
        factors: layer(2, true),
    },
    Inner {
        deal: deal(2, 4),
        factors: layer(4, true),
    },
    Inner {
        deal: deal(4, 8),
        factors: layer(8, true),
    },
    Inner {
        deal: deal(8, 16),
        factors: layer(16, true),
    },
];
static BACKWARD_END: [Line; 2] = deal(16, 32);

/// R / 128: what the inverse transform owes, and what [`dot`] left out.
static BACKWARD_SCALE: Factors = Factors::new([power(2, 16) * power(128, 3327); 32]);

/// (x, y) becomes (x + z y, x - z y).
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn forward_step(pair: Pair, z: &Factors) -> Pair {
    let [x, y] = pair;
    let product = z.times(y);
    [_mm512_add_epi16(x, product), _mm512_sub_epi16(x, product)]
}

/// (x, y) becomes (x + y, z (y - x)).
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn backward_step(pair: Pair, z: &Factors) -> Pair {
    let [x, y] = pair;
    [_mm512_add_epi16(x, y), z.times(_mm512_sub_epi16(y, x))]
}

/// Computes a layer of all pairs, side by side: each by itself waits for its multiplications.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn forward_within_pairs(mut p: Poly, layer: &Inner) -> Poly {
    for i in 0..4 {
        let pair = dealt([p[2 * i], p[2 * i + 1]], &layer.deal);
        [p[2 * i], p[2 * i + 1]] = forward_step(pair, &layer.factors[i]);
    }
    p
}

/// Computes the layers within pairs backwards.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn backward_within_pairs(mut p: Poly, layer: &Inner) -> Poly {
    for i in 0..4 {
        let pair = dealt([p[2 * i], p[2 * i + 1]], &layer.deal);
        [p[2 * i], p[2 * i + 1]] = backward_step(pair, &layer.factors[i]);
    }
    p
}

/// Computes the transform. Coefficients of at most q give results within 8 q.
///
/// Each of seven layers adds a product, which is within q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn forward(mut p: Poly) -> Poly {
    for i in 0..4 {
        [p[i], p[i + 4]] = forward_step([p[i], p[i + 4]], &WHOLE[1]);
    }
    for i in [0, 1, 4, 5] {
        [p[i], p[i + 2]] = forward_step([p[i], p[i + 2]], &WHOLE[2 + i / 4]);
    }
    for i in 0..4 {
        [p[2 * i], p[2 * i + 1]] = forward_step([p[2 * i], p[2 * i + 1]], &WHOLE[4 + i]);
    }
    p = forward_within_pairs(p, &FORWARD[0]);
    p = forward_within_pairs(p, &FORWARD[1]);
    p = forward_within_pairs(p, &FORWARD[2]);
    p = forward_within_pairs(p, &FORWARD[3]);
    for i in 0..4 {
        [p[2 * i], p[2 * i + 1]] = dealt([p[2 * i], p[2 * i + 1]], &FORWARD_END);
    }
    p
}

/// Computes the inverse transform, times R, of any words; results within 2 q.
///
/// Scaling comes first, and brings words within q. Three layers may then double sums, to 8 q,
/// before these, one of each pair, are reduced.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn backward(mut p: Poly) -> Poly {
    for words in &mut p {
        *words = BACKWARD_SCALE.times(*words);
    }
    p = backward_within_pairs(p, &BACKWARD[0]);
    p = backward_within_pairs(p, &BACKWARD[1]);
    p = backward_within_pairs(p, &BACKWARD[2]);
    for i in 0..4 {
        p[2 * i] = reduce(p[2 * i]);
    }
    p = backward_within_pairs(p, &BACKWARD[3]);
    for i in 0..4 {
        let pair = dealt([p[2 * i], p[2 * i + 1]], &BACKWARD_END);
        [p[2 * i], p[2 * i + 1]] = backward_step(pair, &WHOLE[7 - i]);
    }
    for i in [0, 1, 4, 5] {
        [p[i], p[i + 2]] = backward_step([p[i], p[i + 2]], &WHOLE[3 - i / 4]);
        p[i] = reduce(p[i]);
    }
    for i in 0..4 {
        [p[i], p[i + 4]] = backward_step([p[i], p[i + 4]], &WHOLE[1]);
    }
    p
}

/// A transformed polynomial, ready to be multiplied by many.
///
/// ```text
///  transformed:  b0 b1 | ...       a0 + a1 X times b0 + b1 X mod X^2 - g is
///  even:         b0 g b1 | ...     a0 b0 + a1 g b1
///  odd:          b1 b0 | ...       a0 b1 + a1 b0, each one vpdpwssd, which also sums up
/// ```
#[derive(Clone, Copy)]
pub(crate) struct Multiplier {
    even: Poly,
    odd: Poly,
}

/// 1 and g by turns, g = zeta^(2 reversed(i) + 1) for the pair i (FIPS 203, algorithm 11).
static PAIRS: [Factors; 8] = {
    let mut all = [Factors::new([1; 32]); 8];
    let mut line = 0;
    while line < 8 {
        let mut numbers = [1; 32];
        let mut i = 0;
        while i < 16 {
            numbers[2 * i + 1] = power(ZETA, 2 * reversed(16 * line + i) + 1);
            i += 1;
        }
        all[line] = Factors::new(numbers);
        line += 1;
    }
    all
};

impl Multiplier {
    pub(crate) const ZERO: Self = Self {
        even: [ZERO; 8],
        odd: [ZERO; 8],
    };

    /// Makes factors of any words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn new(transformed: &Poly) -> Self {
        let mut new = Self::ZERO;
        for i in 0..8 {
            new.even[i] = PAIRS[i].times(transformed[i]);
            new.odd[i] = _mm512_rol_epi32::<16>(transformed[i]);
        }
        new
    }

    /// Returns the table's lines.
    #[cfg(feature = "inspection")]
    pub(crate) fn lines(&self) -> impl Iterator<Item = &[Line]> {
        [&self.even[..], &self.odd[..]].into_iter()
    }

    /// Overwrites it with zeros.
    pub(crate) fn wipe(&mut self) {
        crate::simd::wipe(&mut self.even);
        crate::simd::wipe(&mut self.odd);
    }
}

/// Computes the sum of products a\[j\] b\[j\], divided by R, of transformed polynomials; words of a
/// between 0 and 4095. Within 16384, and within q if b was made from words within q.
///
/// A sum of 32 bits has 2 K products: at most 8 * 4095 * 32768 < 2^31.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) fn dot<const K: usize>(a: [&[Line]; K], b: &[Multiplier; K]) -> Poly {
    let mut sum = [ZERO; 8];
    for i in 0..8 {
        let (mut even, mut odd) = (ZERO, ZERO);
        for j in 0..K {
            even = _mm512_dpwssd_epi32(even, a[j][i], b[j].even[i]);
            odd = _mm512_dpwssd_epi32(odd, a[j][i], b[j].odd[i]);
        }
        const ODD: u32 = 0xaaaa_aaaa;
        let low = _mm512_mask_blend_epi16(ODD, even, _mm512_slli_epi32::<16>(odd));
        let high = _mm512_mask_blend_epi16(ODD, _mm512_srli_epi32::<16>(even), odd);
        let quotient = _mm512_mullo_epi16(low, Q_INVERSE_LINE);
        sum[i] = _mm512_sub_epi16(high, _mm512_mulhi_epi16(quotient, Q_LINE));
    }
    sum
}
