//! Arithmetic modulo q = 3329, 32 words at once.
//!
//! A product of two words is reduced by Montgomery's method with R = 2^16: for a constant z, kept
//! as z R mod q with its own multiple by 1/q, that is three multiplications and a subtraction. Sums
//! are reduced as late as a word allows; the bounds stand where they matter.

use std::arch::x86_64::*;

use crate::simd::{Line, words16};

pub(crate) const Q: i32 = 3329;
/// 1/q mod 2^16.
const Q_INVERSE: i32 = -3327;

pub(crate) const Q_LINE: Line = words16([Q as i16; 32]);
pub(crate) const Q_INVERSE_LINE: Line = words16([Q_INVERSE as i16; 32]);

/// Reduces `value` mod q, to between -q/2 and q/2.
pub(crate) const fn centred(value: i64) -> i16 {
    let q = Q as i64;
    let least = value.rem_euclid(q);
    (if least > q / 2 { least - q } else { least }) as i16
}

/// Raises `base` to the power of `exponent`, mod q.
pub(crate) const fn power(base: i64, exponent: u32) -> i64 {
    let mut result = 1;
    let mut i = 0;
    while i < exponent {
        result = result * base % Q as i64;
        i += 1;
    }
    result
}

/// 32 constants to multiply by.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    /// z R mod q.
    value: Line,
    /// z R / q mod 2^16.
    scaled: Line,
}

impl Factors {
    /// Makes factors of 32 numbers, whatever their size.
    pub(crate) const fn new(numbers: [i64; 32]) -> Self {
        let (mut value, mut scaled) = ([0; 32], [0; 32]);
        let mut i = 0;
        while i < 32 {
            value[i] = centred((numbers[i] % Q as i64) << 16);
            scaled[i] = (value[i] as i32 * Q_INVERSE) as i16;
            i += 1;
        }
        Self {
            value: words16(value),
            scaled: words16(scaled),
        }
    }

    /// a z, between -q and q, for any words a.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn times(&self, a: Line) -> Line {
        let quotient = _mm512_mullo_epi16(a, self.scaled);
        let high = _mm512_mulhi_epi16(a, self.value);
        _mm512_sub_epi16(high, _mm512_mulhi_epi16(quotient, Q_LINE))
    }
}

/// Reduces any words mod q, to between -q and q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn reduce(a: Line) -> Line {
    // 10/2^15 is 1/3276.8: the quotient is at most 0.66 off, all words tried.
    let quotient = _mm512_mulhrs_epi16(a, _mm512_set1_epi16(10));
    _mm512_sub_epi16(a, _mm512_mullo_epi16(quotient, Q_LINE))
}

/// Reduces any words mod q, to between 0 and q - 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn canonical(a: Line) -> Line {
    let a = reduce(a);
    // A negative word is large without its sign, and so is q more than one that is not.
    _mm512_min_epu16(a, _mm512_add_epi16(a, Q_LINE))
}
