//! The arithmetic of one lane in plain Rust: sets keys up, and is the model that the kernels are
//! tested against.
//!
//! Constant-time: no branch and no index depends on a limb's value, only on lengths.

use std::hint::black_box;

use zeroize::Zeroizing;

use crate::line::{LIMB_BITS, LOW_52};

/// Limbs of 52 bits, least significant first.
pub(crate) type Limbs = Zeroizing<Box<[u64]>>;

/// Returns a number of 64-bit words in `limbs` limbs.
///
/// # Panics
/// In debug builds, if it does not fit.
pub(crate) fn limbs_of(words: &[u64], limbs: usize) -> Limbs {
    debug_assert!(words.len() * 64 < limbs * LIMB_BITS + 64);
    let word = |i: usize| u128::from(words.get(i).copied().unwrap_or(0));
    let limb = |i: usize| {
        let (word_index, shift) = (i * LIMB_BITS / 64, i * LIMB_BITS % 64);
        ((word(word_index) | word(word_index + 1) << 64) >> shift) as u64 & LOW_52
    };
    Zeroizing::new((0..limbs).map(limb).collect())
}

/// -1/n mod 2^52 for an odd n, whose lowest limb is given.
pub(crate) fn k0(n: u64) -> u64 {
    // Newton: each step doubles the bits that are right, of which there are three to begin with.
    let inverse = (0..5).fold(n, |x, _| {
        x.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(x)))
    });
    inverse.wrapping_neg() & LOW_52
}

/// A modulus with what Montgomery's multiplication needs.
pub(crate) struct Modulus<'a> {
    pub n: &'a [u64],
    pub k0: u64,
}

impl<'a> Modulus<'a> {
    /// Makes the arithmetic modulo an odd `n`.
    pub(crate) fn new(n: &'a [u64]) -> Self {
        Self { n, k0: k0(n[0]) }
    }

    /// (a b + m n) / R, R = 2^(52 limbs), for the one m below R that makes it whole (Montgomery,
    /// "Modular Multiplication Without Trial Division", 1985). It is below n + a b / R: not
    /// reduced.
    pub(crate) fn mul(&self, a: &[u64], b: &[u64]) -> Limbs {
        let limbs = self.n.len();
        let mut sum = Zeroizing::new(vec![0; limbs + 1]);
        for &a in a {
            add_multiple(&mut sum, b, a);
            let m = sum[0].wrapping_mul(self.k0) & LOW_52;
            add_multiple(&mut sum, self.n, m);
            debug_assert_eq!(sum[0], 0);
            sum.copy_within(1.., 0);
            sum[limbs] = 0;
        }
        Zeroizing::new(sum[..limbs].into())
    }

    /// R mod n times 2^`doublings`, for an n of exactly `bits` bits.
    fn r_doubled(&self, bits: usize, doublings: usize) -> Limbs {
        let limbs = self.n.len();
        // 2^bits - n is 2^bits mod n; then up to R and on.
        let power = |i: usize| u64::from(i == bits / LIMB_BITS) << (bits % LIMB_BITS);
        let mut x = subtract(power, self.n).0;
        for _ in 0..limbs * LIMB_BITS - bits + doublings {
            x = self.reduce_once(&doubled(&x));
        }
        x
    }

    /// R^2 mod n, for an n of exactly `bits` bits.
    pub(crate) fn r2(&self, bits: usize) -> Limbs {
        // R 2^i times itself is R 2^2i: from the odd part of log2 R on, squarings will do.
        let log_r = self.n.len() * LIMB_BITS;
        let squarings = log_r.trailing_zeros();
        let start = self.r_doubled(bits, log_r >> squarings);
        let r2 = (0..squarings).fold(start, |x, _| self.mul(&x, &x));
        self.reduce_once(&r2)
    }

    /// x mod n for x < 2n.
    pub(crate) fn reduce_once(&self, x: &[u64]) -> Limbs {
        let (mut difference, below) = subtract(|i| x[i], self.n);
        for (limb, &x) in difference.iter_mut().zip(x) {
            *limb = x & below | *limb & !below;
        }
        difference
    }
}

/// a - b mod R, and all ones if a < b.
fn subtract(a: impl Fn(usize) -> u64, b: &[u64]) -> (Limbs, u64) {
    let mut borrow = 0;
    let difference = b.iter().enumerate().map(|(i, &b)| {
        let limb = a(i) as i64 - b as i64 + borrow;
        borrow = limb >> LIMB_BITS;
        limb as u64 & LOW_52
    });
    let difference = Zeroizing::new(difference.collect::<Box<[u64]>>());
    (difference, black_box(borrow as u64))
}

/// 2x; the last limb keeps what is beyond 52 bits.
fn doubled(x: &[u64]) -> Limbs {
    let bit_below = |i: usize| {
        if i == 0 {
            0
        } else {
            x[i - 1] >> (LIMB_BITS - 1)
        }
    };
    Zeroizing::new(
        (0..x.len())
            .map(|i| x[i] << 1 & LOW_52 | bit_below(i))
            .collect(),
    )
}

/// sum += a factor; `sum` has a limb more than `a`.
fn add_multiple(sum: &mut [u64], a: &[u64], factor: u64) {
    let mut carry = 0u128;
    for (sum, &a) in sum.iter_mut().zip(a) {
        let t = u128::from(*sum) + u128::from(a) * u128::from(factor) + carry;
        *sum = t as u64 & LOW_52;
        carry = t >> LIMB_BITS;
    }
    sum[a.len()] += carry as u64;
}
