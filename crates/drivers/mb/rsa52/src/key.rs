//! Private keys as the lanes want them.

use std::fmt;

use thiserror::Error;

use crate::line::LIMB_BITS;
use crate::scalar::{Limbs, Modulus, limbs_of};

/// A key's numbers, in 64-bit words, least significant first. The public exponent is 65537.
#[derive(Clone, Copy)]
pub struct KeyParts<'a> {
    /// Modulus: 32, 48 or 64 words.
    pub n: &'a [u64],
    /// First prime: half as many.
    pub p: &'a [u64],
    /// Second prime.
    pub q: &'a [u64],
    /// d mod p-1.
    pub dp: &'a [u64],
    /// d mod q-1.
    pub dq: &'a [u64],
    /// Inverse of q mod p.
    pub qinv: &'a [u64],
}

impl fmt::Debug for KeyParts<'_> {
    /// Prints no number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyParts").finish_non_exhaustive()
    }
}

/// Numbers that are no key for the lanes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// No kernel has this size.
    #[error("RSA modulus of {words} 64-bit words; lanes serve 32, 48 and 64")]
    Size {
        /// Length of the modulus, in 64-bit words.
        words: usize,
    },
    /// A part's length is not half the modulus's.
    #[error(
        "{part} has {words} 64-bit words instead of {wanted}; give all of them, zeros included"
    )]
    PartSize {
        /// Name of the part.
        part: &'static str,
        /// Length of the part, in 64-bit words.
        words: usize,
        /// Half the modulus.
        wanted: usize,
    },
    /// A modulus is even, or does not fill its words.
    #[error("{part} is even or too short; lanes need an odd number that fills its words")]
    Modulus {
        /// `n`, `p` or `q`.
        part: &'static str,
    },
}

/// A modulus and its constants, in 52-bit limbs.
pub(crate) struct Half {
    pub modulus: Limbs,
    pub k0: u64,
    /// R^2 mod it.
    pub r2: Limbs,
    /// R^3 mod it.
    pub r3: Limbs,
    /// The exponent, in 64-bit words.
    pub exponent: Limbs,
}

/// A private key with what the lanes compute from it once. Wiped when dropped.
pub struct PrivateKey {
    bits: usize,
    pub(crate) p: Half,
    pub(crate) q: Half,
    /// (1/q) R mod p.
    pub(crate) qinv: Limbs,
    pub(crate) n: Limbs,
    pub(crate) n_k0: u64,
    /// R^2 mod n, R being that of twice as many limbs.
    pub(crate) n_r2: Limbs,
}

impl PrivateKey {
    /// Makes the key of these numbers, taken to be one: that n = p q and the like is not checked
    /// here, and a wrong number shows when a result fails its check. Takes some 100 µs, the same
    /// for all keys of a size.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn new(parts: &KeyParts<'_>) -> Result<Self, KeyError> {
        let words = parts.n.len();
        if ![32, 48, 64].contains(&words) {
            return Err(KeyError::Size { words });
        }
        let wanted = words / 2;
        for (part, number) in [
            ("p", parts.p),
            ("q", parts.q),
            ("dp", parts.dp),
            ("dq", parts.dq),
            ("qinv", parts.qinv),
        ] {
            if number.len() != wanted {
                let words = number.len();
                return Err(KeyError::PartSize {
                    part,
                    words,
                    wanted,
                });
            }
        }
        for (part, number) in [("n", parts.n), ("p", parts.p), ("q", parts.q)] {
            if number[0] & number[number.len() - 1] >> 63 & 1 == 0 {
                return Err(KeyError::Modulus { part });
            }
        }
        let bits = words * 64;
        let limbs = limbs_of_half(bits);
        let p = Half::new(parts.p, parts.dp, limbs);
        let q = Half::new(parts.q, parts.dq, limbs);
        let modulus = Modulus::new(&p.modulus);
        let qinv = modulus.reduce_once(&modulus.mul(&limbs_of(parts.qinv, limbs), &p.r2));
        let n = limbs_of(parts.n, 2 * limbs);
        let modulus = Modulus::new(&n);
        Ok(Self {
            bits,
            n_k0: modulus.k0,
            n_r2: modulus.r2(bits),
            p,
            q,
            qinv,
            n,
        })
    }

    /// Returns the bits of the modulus: 2048, 3072 or 4096.
    pub fn bits(&self) -> usize {
        self.bits
    }
}

impl fmt::Debug for PrivateKey {
    /// Only the size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("bits", &self.bits)
            .finish_non_exhaustive()
    }
}

impl Half {
    fn new(prime: &[u64], exponent: &[u64], limbs: usize) -> Self {
        let modulus = limbs_of(prime, limbs);
        let arithmetic = Modulus::new(&modulus);
        let r2 = arithmetic.r2(prime.len() * 64);
        let r3 = arithmetic.reduce_once(&arithmetic.mul(&r2, &r2));
        Self {
            k0: arithmetic.k0,
            r2,
            r3,
            exponent: Limbs::new(exponent.into()),
            modulus,
        }
    }
}

/// Limbs of a prime of a key of `bits` bits: the next multiple of ten, which leaves at least
/// 16 bits unused, so that sums of a few reduced numbers fit.
pub(crate) const fn limbs_of_half(bits: usize) -> usize {
    (bits / 2).div_ceil(LIMB_BITS).next_multiple_of(10)
}
