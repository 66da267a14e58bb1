//! Numbers modulo a prime, in 64-bit limbs: Montgomery's multiplication, without branch or address that depends on a
//! number.

use zeroize::Zeroizing;

/// Limbs of the largest prime, RSA-4096's.
pub(crate) const MAX_LIMBS: usize = 32;

pub(crate) type Limbs = Zeroizing<[u64; MAX_LIMBS]>;

pub(crate) fn zero() -> Limbs {
    Zeroizing::new([0; MAX_LIMBS])
}

/// An odd modulus with its top bit set.
pub(crate) struct Modulus {
    pub(crate) len: usize,
    pub(crate) limbs: Limbs,
    /// -1 / m modulo 2^64.
    inverse: u64,
    /// R^2 modulo m, with R = 2^(64 len).
    pub(crate) r_squared: Limbs,
}

impl Modulus {
    pub(crate) fn new(modulus: &[u64]) -> Self {
        let len = modulus.len();
        let mut limbs = zero();
        limbs[..len].copy_from_slice(modulus);
        // Newton: each step doubles the bits that are right, of which an odd number has three.
        let mut inverse = limbs[0];
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(limbs[0].wrapping_mul(inverse)));
        }
        let mut this = Self {
            len,
            limbs,
            inverse: inverse.wrapping_neg(),
            r_squared: zero(),
        };
        // R - m is R modulo m, since m > R / 2; doubled as often as R has bits.
        let mut power = zero();
        let mut borrow = 0;
        for i in 0..len {
            (power[i], borrow) = subtract_with(0, this.limbs[i], borrow);
        }
        for _ in 0..64 * len {
            power = this.add(&power, &power);
        }
        this.r_squared = power;
        this
    }

    /// `high` R + `low`, each below R.
    pub(crate) fn reduce(&self, high: &Limbs, low: &Limbs) -> Limbs {
        let high = self.multiply(high, &self.r_squared);
        let mut one = zero();
        one[0] = 1;
        let low = self.multiply(&self.multiply(low, &self.r_squared), &one);
        self.add(&high, &low)
    }

    /// `a` modulo m, for `a` below 2m.
    pub(crate) fn reduce_once(&self, a: &Limbs) -> Limbs {
        self.correct(a, 0)
    }

    /// `a` + `b`, both below m.
    pub(crate) fn add(&self, a: &Limbs, b: &Limbs) -> Limbs {
        let mut sum = zero();
        let mut carry = 0;
        for i in 0..self.len {
            (sum[i], carry) = multiply_add(1, a[i], b[i], carry);
        }
        self.correct(&sum, carry)
    }

    /// `a` - `b`, both below m.
    pub(crate) fn subtract(&self, a: &Limbs, b: &Limbs) -> Limbs {
        let mut difference = zero();
        let mut borrow = 0;
        for i in 0..self.len {
            (difference[i], borrow) = subtract_with(a[i], b[i], borrow);
        }
        let mask = borrow.wrapping_neg();
        let mut carry = 0;
        for i in 0..self.len {
            (difference[i], carry) = multiply_add(1, difference[i], self.limbs[i] & mask, carry);
        }
        difference
    }

    /// `a` `b` / R, for a product below m R.
    pub(crate) fn multiply(&self, a: &Limbs, b: &Limbs) -> Limbs {
        let mut product = zero();
        let mut top = 0;
        for i in 0..self.len {
            let mut carry = 0;
            for j in 0..self.len {
                (product[j], carry) = multiply_add(a[i], b[j], product[j], carry);
            }
            let (sum, over) = multiply_add(0, 0, top, carry);
            let factor = product[0].wrapping_mul(self.inverse);
            let (_, mut carry) = multiply_add(factor, self.limbs[0], product[0], 0);
            for j in 1..self.len {
                (product[j - 1], carry) = multiply_add(factor, self.limbs[j], product[j], carry);
            }
            (product[self.len - 1], carry) = multiply_add(0, 0, sum, carry);
            top = over + carry;
        }
        self.correct(&product, top)
    }

    /// `top` R + `a` modulo m, for a number below 2m.
    fn correct(&self, a: &Limbs, top: u64) -> Limbs {
        let mut reduced = zero();
        let mut borrow = 0;
        for i in 0..self.len {
            (reduced[i], borrow) = subtract_with(a[i], self.limbs[i], borrow);
        }
        // Below m already: the subtraction borrowed more than there was on top.
        let keep = (borrow & (top ^ 1)).wrapping_neg();
        for i in 0..self.len {
            reduced[i] = (a[i] & keep) | (reduced[i] & !keep);
        }
        reduced
    }
}

/// `a` `b` + `c` + `carry`: low limb and carry.
pub(crate) fn multiply_add(a: u64, b: u64, c: u64, carry: u64) -> (u64, u64) {
    let wide = u128::from(a) * u128::from(b) + u128::from(c) + u128::from(carry);
    (wide as u64, (wide >> 64) as u64)
}

/// `a` - `b` - `borrow`: limb and borrow.
fn subtract_with(a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let wide = u128::from(a)
        .wrapping_sub(u128::from(b))
        .wrapping_sub(u128::from(borrow));
    (wide as u64, (wide >> 64) as u64 & 1)
}

/// A big-endian number of at most 256 bytes.
pub(crate) fn from_bytes(bytes: &[u8]) -> Limbs {
    let mut limbs = zero();
    for (index, byte) in bytes.iter().rev().enumerate() {
        limbs[index / 8] |= u64::from(*byte) << (8 * (index % 8));
    }
    limbs
}
