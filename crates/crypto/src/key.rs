//! Private keys, checked once when they are made and immutable from then on.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::aws_lc::{Ec, Ed25519, Rsa, RsaFault, constant_time_eq};
use crate::curve::{Array, Curve, P256, P384, to_limbs, write_limbs};
use crate::digest::{Digest, HmacKey};
use crate::wiped::wiping_stack;

/// Bytes of the longest modulus that a key may have: 4096 bits.
pub const MAX_MODULUS_LEN: usize = 512;

/// The numbers of an RSA private key (RFC 8017, appendix A.1.2), big-endian, of any length.
#[derive(Clone, Copy)]
pub struct RsaComponents<'a> {
    /// Modulus.
    pub n: &'a [u8],
    /// Public exponent.
    pub e: &'a [u8],
    /// Private exponent.
    pub d: &'a [u8],
    /// First prime.
    pub p: &'a [u8],
    /// Second prime.
    pub q: &'a [u8],
    /// d mod p-1.
    pub dp: &'a [u8],
    /// d mod q-1.
    pub dq: &'a [u8],
    /// Inverse of q mod p.
    pub qinv: &'a [u8],
}

impl fmt::Debug for RsaComponents<'_> {
    /// Prints no number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaComponents").finish_non_exhaustive()
    }
}

/// Why bytes are no key. The text names the culprit and the remedy, and no part of the key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// No device offers this size.
    #[error("RSA modulus of {bits} bits; use a key of 2048, 3072 or 4096 bits")]
    RsaSize {
        /// Length of the modulus.
        bits: usize,
    },
    /// The primes differ in length, which neither lanes nor constant-time CRT support.
    #[error(
        "RSA prime {prime} has {bits} bits instead of {wanted}; use a key of two primes of equal length"
    )]
    RsaPrimeSize {
        /// `p` or `q`.
        prime: char,
        /// Bits of the prime.
        bits: usize,
        /// Half the modulus.
        wanted: usize,
    },
    /// The public exponent is one that aws-lc does not take.
    #[error(
        "the RSA key's public exponent is even, 1, or above 33 bits; use a key with the usual one, 65537"
    )]
    RsaExponent,
    /// The components contradict each other.
    #[error("RSA key does not fit together: {culprit}; export it again from where it was made")]
    RsaInconsistent {
        /// The relation that does not hold.
        culprit: &'static str,
    },
    /// The scalar has no bytes, or too many.
    #[error("{curve} private scalar of {got} bytes; it must have 1 to {most}")]
    EcLength {
        /// Name of the curve.
        curve: &'static str,
        /// The length given.
        got: usize,
        /// Bytes of the order.
        most: usize,
    },
    /// The scalar is 0 or not below the order of the group.
    #[error("{curve} private scalar is not in 1..n; make a new key")]
    EcRange {
        /// Name of the curve.
        curve: &'static str,
    },
    /// The public key is no point of the curve.
    #[error(
        "{curve} public key of {got} bytes is no uncompressed point of the curve; export it again from where it was made"
    )]
    Point {
        /// Name of the curve.
        curve: &'static str,
        /// The length given.
        got: usize,
    },
}

/// A private key.
pub enum Key {
    /// RSA.
    Rsa(RsaKey),
    /// ECDSA on P-256.
    EcP256(EcP256Key),
    /// ECDSA on P-384.
    EcP384(EcP384Key),
    /// Ed25519.
    Ed25519(Ed25519Key),
}

impl Key {
    /// Returns the key's type as it stands in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
            Self::EcP256(_) => "P-256",
            Self::EcP384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(key) => key.fmt(f),
            Self::EcP256(key) => key.fmt(f),
            Self::EcP384(key) => key.fmt(f),
            Self::Ed25519(key) => key.fmt(f),
        }
    }
}

/// An RSA private key of 2048, 3072 or 4096 bits with two primes of equal length.
pub struct RsaKey {
    modulus: Box<[u8]>,
    public_exponent: Box<[u8]>,
    n: Box<[u64]>,
    p: Zeroizing<Box<[u64]>>,
    q: Zeroizing<Box<[u64]>>,
    dp: Zeroizing<Box<[u64]>>,
    dq: Zeroizing<Box<[u64]>>,
    qinv: Zeroizing<Box<[u64]>>,
    rejection: Box<HmacKey>,
    cpu: Rsa,
}

impl RsaKey {
    /// Makes the key of these components. Checks their sizes, every relation between them
    /// (RSA_check_key of aws-lc), and one trial operation, which fails if p or q is not prime.
    /// Takes as long as two or three signatures.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_components(components: &RsaComponents<'_>) -> Result<Self, KeyError> {
        wiping_stack(|| Self::new(components))
    }

    fn new(components: &RsaComponents<'_>) -> Result<Self, KeyError> {
        let modulus = strip_zeros(components.n);
        let bits = bit_len(modulus);
        if !matches!(bits, 2048 | 3072 | 4096) {
            return Err(KeyError::RsaSize { bits });
        }
        let wanted = bits / 2;
        for (prime, bytes) in [('p', components.p), ('q', components.q)] {
            let bits = bit_len(strip_zeros(bytes));
            if bits != wanted {
                return Err(KeyError::RsaPrimeSize {
                    prime,
                    bits,
                    wanted,
                });
            }
        }
        let cpu = Rsa::new(components).map_err(|fault| {
            let culprit = match fault {
                RsaFault::PublicExponent => return KeyError::RsaExponent,
                RsaFault::Primes => "n is not p * q",
                RsaFault::PrivateExponent => "d is not the inverse of e",
                RsaFault::Crt => "dp, dq or qinv does not follow from p, q and d",
                RsaFault::Other => "aws-lc rejects it",
            };
            KeyError::RsaInconsistent { culprit }
        })?;
        let limbs = |bytes| Zeroizing::new(limbs(bytes, wanted / 64));
        let key = Self {
            modulus: modulus.into(),
            public_exponent: strip_zeros(components.e).into(),
            n: self::limbs(modulus, bits / 64),
            p: limbs(components.p),
            q: limbs(components.q),
            dp: limbs(components.dp),
            dq: limbs(components.dq),
            qinv: limbs(components.qinv),
            rejection: Box::new(rejection_key(strip_zeros(components.d), bits / 8)),
            cpu,
        };
        key.trial()?;
        Ok(key)
    }

    /// Tries one private operation. aws-lc checks its result, so composite "primes" show here.
    fn trial(&self) -> Result<(), KeyError> {
        let mut block = [0x5a; MAX_MODULUS_LEN];
        let mut signature = Zeroizing::new([0; MAX_MODULUS_LEN]);
        block[0] = 0; // below the modulus
        if self.private_raw(
            &block[..self.modulus_len()],
            &mut signature[..self.modulus_len()],
        ) {
            Ok(())
        } else {
            Err(KeyError::RsaInconsistent {
                culprit: "p or q is not prime",
            })
        }
    }

    /// Returns the bits of the modulus: 2048, 3072 or 4096.
    pub fn bits(&self) -> usize {
        self.modulus.len() * 8
    }

    /// Returns the length in bytes of the modulus, of a padded block and of a signature.
    pub fn modulus_len(&self) -> usize {
        self.modulus.len()
    }

    /// Returns the modulus, big-endian.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Returns `true` if the public exponent is 65537, the only one for which crypto_mb offers a
    /// check.
    pub fn public_exponent_is_65537(&self) -> bool {
        *self.public_exponent == [1, 0, 1]
    }

    /// Returns the public exponent, big-endian, without leading zeros.
    pub fn public_exponent(&self) -> &[u8] {
        &self.public_exponent
    }

    /// Returns the key that makes the substitutes of [`crate::unpadding::pkcs1_v15`].
    pub(crate) fn rejection_key(&self) -> &HmacKey {
        &self.rejection
    }

    /// Returns `true` if `signature` to the power of e is `block`. Returns `false` if one of them
    /// does not have the length of the modulus.
    pub fn verify_raw(&self, signature: &[u8], block: &[u8]) -> bool {
        let mut opened = [0; MAX_MODULUS_LEN];
        let opened = &mut opened[..self.modulus_len()];
        signature.len() == opened.len()
            && self.cpu.public(signature, opened)
            && constant_time_eq(opened, block)
    }

    /// Computes the private operation on `block`. AWS-LC blinds it and checks the result by the
    /// public exponent; for that it takes the key's lock and allocates. Returns `false` if a length
    /// is not that of the modulus, `block` is not below the modulus, or memory is out.
    #[must_use]
    pub fn private_raw(&self, block: &[u8], out: &mut [u8]) -> bool {
        self.cpu.private(block, out)
    }

    /// Returns n in 64-bit limbs, least significant first, `bits() / 64` of them.
    pub fn n_limbs(&self) -> &[u64] {
        &self.n
    }

    /// Returns p in `bits() / 128` limbs.
    pub fn p_limbs(&self) -> &[u64] {
        &self.p
    }

    /// Returns q in `bits() / 128` limbs.
    pub fn q_limbs(&self) -> &[u64] {
        &self.q
    }

    /// Returns d mod p-1 in `bits() / 128` limbs.
    pub fn dp_limbs(&self) -> &[u64] {
        &self.dp
    }

    /// Returns d mod q-1 in `bits() / 128` limbs.
    pub fn dq_limbs(&self) -> &[u64] {
        &self.dq
    }

    /// Returns the inverse of q mod p in `bits() / 128` limbs.
    pub fn qinv_limbs(&self) -> &[u64] {
        &self.qinv
    }
}

impl fmt::Debug for RsaKey {
    /// Only the size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey")
            .field("bits", &self.bits())
            .finish_non_exhaustive()
    }
}

/// An ECDSA private key on P-256.
pub type EcP256Key = EcKey<P256>;
/// An ECDSA private key on P-384.
pub type EcP384Key = EcKey<P384>;

/// An ECDSA private key on one of the two curves.
pub struct EcKey<C: Curve> {
    /// The scalar, boxed so that a move leaves no copy behind.
    scalar: Box<Zeroizing<C::Limbs>>,
    public: C::Point,
    cpu: Ec,
}

impl<C: Curve> EcKey<C> {
    /// Makes the key of a big-endian private scalar. The scalar has at most as many bytes as the
    /// order.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_scalar(scalar: &[u8]) -> Result<Self, KeyError> {
        wiping_stack(|| Self::new(scalar))
    }

    fn new(scalar: &[u8]) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new(C::Scalar::ZERO);
        let most = bytes.as_ref().len();
        if scalar.is_empty() || scalar.len() > most {
            return Err(KeyError::EcLength {
                curve: C::NAME,
                got: scalar.len(),
                most,
            });
        }
        bytes.as_mut()[most - scalar.len()..].copy_from_slice(scalar);
        let cpu = Ec::new(C::GROUP, bytes.as_ref()).ok_or(KeyError::EcRange { curve: C::NAME })?;
        let mut public = C::Point::ZERO;
        cpu.public(public.as_mut());
        Ok(Self {
            scalar: Box::new(Zeroizing::new(to_limbs(bytes.as_ref()))),
            public,
            cpu,
        })
    }

    /// Returns the private scalar in 64-bit limbs, least significant first.
    pub fn scalar_limbs(&self) -> &C::Limbs {
        &self.scalar
    }

    /// Returns the public key, uncompressed: 0x04, x, y.
    pub fn public_key(&self) -> C::Point {
        self.public
    }

    /// Returns `true` if `signature` (`r || s`) is this key's over `digest`.
    pub fn verify(&self, digest: &C::Scalar, signature: &C::Signature) -> bool {
        self.cpu.verify(digest.as_ref(), signature.as_ref())
    }

    /// Does what [`EcKey::verify`] does, for any lengths. Returns `false` if one is wrong.
    #[must_use]
    pub fn is_signed(&self, digest: &[u8], signature: &[u8]) -> bool {
        self.cpu.verify(digest, signature)
    }

    /// Signs `digest`. The signature is computed once and not checked. Returns `false` if memory is
    /// out or a length is wrong.
    #[must_use]
    pub fn sign(&self, digest: &[u8], signature: &mut [u8]) -> bool {
        self.cpu.sign(digest, signature)
    }
}

impl<C: Curve> fmt::Debug for EcKey<C> {
    /// Nothing but the curve.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcKey")
            .field("curve", &C::NAME)
            .finish_non_exhaustive()
    }
}

/// An Ed25519 private key (RFC 8032).
pub struct Ed25519Key(Ed25519);

impl Ed25519Key {
    /// Makes the key of a seed, which RFC 8032 calls the private key. Every seed is valid.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        wiping_stack(|| Self(Ed25519::new(seed)))
    }

    /// Returns the seed.
    pub fn seed(&self) -> &[u8; 32] {
        self.0.seed()
    }

    /// Returns the public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.0.public()
    }

    /// Returns `true` if `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify(message, signature)
    }

    /// Signs `message`. The signature is computed once and not checked. Returns `false` if memory
    /// is out.
    #[must_use]
    pub fn sign(&self, message: &[u8], signature: &mut [u8; 64]) -> bool {
        self.0.sign(message, signature)
    }
}

impl fmt::Debug for Ed25519Key {
    /// Prints nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519Key").finish_non_exhaustive()
    }
}

/// Makes the HMAC key of the hash of `d`, padded to `len` bytes (draft-irtf-cfrg-rsa-guidance,
/// section 7.2).
fn rejection_key(d: &[u8], len: usize) -> HmacKey {
    let zeros = [0; MAX_MODULUS_LEN];
    let zeros = &zeros[..len.saturating_sub(d.len())];
    let mut hash = Zeroizing::new([0; 32]);
    Digest::Sha256.hash(&[zeros, d], &mut *hash);
    HmacKey::new(Digest::Sha256, &*hash)
}

/// Returns `bytes` without leading zeros. The time tells how many there were, and no more.
pub(crate) fn strip_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len())..]
}

/// Counts the bits of a big-endian number without leading zeros.
pub(crate) fn bit_len(bytes: &[u8]) -> usize {
    bytes
        .first()
        .map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize)
}

/// Reads a big-endian number of at most `count` limbs into exactly `count`, least significant
/// first.
fn limbs(bytes: &[u8], count: usize) -> Box<[u64]> {
    let mut out = vec![0; count].into_boxed_slice();
    write_limbs(strip_zeros(bytes), &mut out);
    out
}
