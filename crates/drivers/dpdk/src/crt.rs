//! RSA by two modular exponentiations of a device's, for one that has nothing better.
//!
//! ```text
//!   c mod p ─▶ device: ^dp mod p ─▶ m1 ┐  h = (m1 - m2) · qinv mod p
//!   c mod q ─▶ device: ^dq mod q ─▶ m2 ┴▶ m = m2 + h · q               (RFC 8017, section 5.1.2)
//! ```
//! The steps around the exponentiations are here: schoolbook and Montgomery's multiplication in 64-bit
//! limbs, without branch or address that depends on a secret. Whether the exponentiations are constant-time
//! is up to the device; `crypto_openssl`'s are not, so that this is nothing for its keys but in tests.

use spinlane_cryptodev::RsaKey;
use zeroize::Zeroizing;

use crate::ffi::Session;

/// Limbs of the largest prime, RSA-4096's.
const MAX_LIMBS: usize = 32;

type Limbs = Zeroizing<[u64; MAX_LIMBS]>;

fn zero() -> Limbs {
    Zeroizing::new([0; MAX_LIMBS])
}

/// A prime of a key, and the session that raises modulo it.
pub(crate) struct Half {
    pub(crate) session: Session,
    prime: Modulus,
}

/// A key's two halves.
pub(crate) struct Crt {
    pub(crate) p: Half,
    pub(crate) q: Half,
    qinv: Limbs,
}

impl Crt {
    /// The key, with the sessions that `make` makes of (prime, exponent).
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn new<E>(
        key: &RsaKey,
        make: impl Fn(&[u64], &[u64]) -> Result<Session, E>,
    ) -> Result<Self, E> {
        let half = |prime: &[u64], exponent: &[u64]| {
            Ok(Half {
                session: make(prime, exponent)?,
                prime: Modulus::new(prime),
            })
        };
        let mut qinv = zero();
        qinv[..key.qinv_limbs().len()].copy_from_slice(key.qinv_limbs());
        Ok(Self {
            p: half(key.p_limbs(), key.dp_limbs())?,
            q: half(key.q_limbs(), key.dq_limbs())?,
            qinv,
        })
    }

    /// `block` modulo p and modulo q, big-endian.
    pub(crate) fn bases(&self, block: &[u8]) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
        let (high, low) = block.split_at(block.len() / 2);
        let (high, low) = (from_bytes(high), from_bytes(low));
        let reduce = |half: &Half| {
            let reduced = half.prime.reduce(&high, &low);
            crate::sessions::big_endian(&reduced[..half.prime.len])
        };
        (reduce(&self.p), reduce(&self.q))
    }

    /// Writes the power of the block to `out`, from those modulo p and q, big-endian. If a device gave
    /// wrong ones, so is the power.
    pub(crate) fn combine(&self, m1: &[u8], m2: &[u8], out: &mut [u8]) {
        let (p, len) = (&self.p.prime, self.p.prime.len);
        let (m1, m2) = (from_bytes(m1), from_bytes(m2));
        // m2 < q < 2p, the primes being of one length.
        let difference = p.subtract(&m1, &p.reduce_once(&m2));
        let h = p.multiply(&p.multiply(&difference, &p.r_squared), &self.qinv);

        let mut product = Zeroizing::new([0; 2 * MAX_LIMBS]);
        product[..len].copy_from_slice(&m2[..len]);
        for (i, &h) in h[..len].iter().enumerate() {
            let mut carry = 0;
            for (j, &q) in self.q.prime.limbs[..len].iter().enumerate() {
                (product[i + j], carry) = multiply_add(h, q, product[i + j], carry);
            }
            for limb in &mut product[i + len..2 * len] {
                (*limb, carry) = multiply_add(0, 0, *limb, carry);
            }
        }
        out.copy_from_slice(&crate::sessions::big_endian(&product[..2 * len]));
    }
}

/// An odd modulus with its top bit set.
struct Modulus {
    len: usize,
    limbs: Limbs,
    /// -1 / m modulo 2^64.
    inverse: u64,
    /// R^2 modulo m, with R = 2^(64 len).
    r_squared: Limbs,
}

impl Modulus {
    fn new(modulus: &[u64]) -> Self {
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
    fn reduce(&self, high: &Limbs, low: &Limbs) -> Limbs {
        let high = self.multiply(high, &self.r_squared);
        let mut one = zero();
        one[0] = 1;
        let low = self.multiply(&self.multiply(low, &self.r_squared), &one);
        self.add(&high, &low)
    }

    /// `a` modulo m, for `a` below 2m.
    fn reduce_once(&self, a: &Limbs) -> Limbs {
        self.correct(a, 0)
    }

    /// `a` + `b`, both below m.
    fn add(&self, a: &Limbs, b: &Limbs) -> Limbs {
        let mut sum = zero();
        let mut carry = 0;
        for i in 0..self.len {
            (sum[i], carry) = multiply_add(1, a[i], b[i], carry);
        }
        self.correct(&sum, carry)
    }

    /// `a` - `b`, both below m.
    fn subtract(&self, a: &Limbs, b: &Limbs) -> Limbs {
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
    fn multiply(&self, a: &Limbs, b: &Limbs) -> Limbs {
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
fn multiply_add(a: u64, b: u64, c: u64, carry: u64) -> (u64, u64) {
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
fn from_bytes(bytes: &[u8]) -> Limbs {
    let mut limbs = zero();
    for (index, byte) in bytes.iter().rev().enumerate() {
        limbs[index / 8] |= u64::from(*byte) << (8 * (index % 8));
    }
    limbs
}
