//! RSA by two modular exponentiations of a device's, for one that has nothing better.
//!
//! ```text
//!   c mod p ─▶ device: ^dp mod p ─▶ m1 ┐  h = (m1 - m2) · qinv mod p
//!   c mod q ─▶ device: ^dq mod q ─▶ m2 ┴▶ m = m2 + h · q               (RFC 8017, section 5.1.2)
//! ```
//! The steps around the exponentiations are here, without branch or address that depends on a secret. Whether the exponentiations are constant-time
//! is up to the device; `crypto_openssl`'s are not, so that this is nothing for its keys but in tests.

use spinlane_crypto::RsaKey;
use zeroize::Zeroizing;

use crate::ffi::Session;
use crate::modulus::{Limbs, MAX_LIMBS, Modulus, from_bytes, multiply_add, zero};

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
