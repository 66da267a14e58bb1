//! Private keys, checked once when they are made and immutable from then on.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::aws_lc::{P256, Rsa, RsaFault, constant_time_eq};
use crate::op::{MAX_OUTPUT, OpKind};

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
    /// They stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaComponents").finish_non_exhaustive()
    }
}

/// A key that is none. The text names the culprit and the remedy, and no part of the key.
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
        /// Its length.
        bits: usize,
        /// Half the modulus.
        wanted: usize,
    },
    /// The components contradict each other.
    #[error("RSA key does not fit together: {culprit}; export it again from where it was made")]
    RsaInconsistent {
        /// The relation that does not hold.
        culprit: &'static str,
    },
    /// The scalar has no bytes, or too many.
    #[error("P-256 private scalar of {got} bytes; it must have 1 to 32")]
    EcLength {
        /// The length given.
        got: usize,
    },
    /// The scalar is 0 or not below the order of the group.
    #[error("P-256 private scalar is not in 1..n; make a new key")]
    EcRange,
}

/// A private key of an op. Share it as `Arc<Key>`; every op in flight holds it.
pub enum Key {
    /// RSA.
    Rsa(RsaKey),
    /// ECDSA on P-256.
    EcP256(EcP256Key),
}

impl Key {
    /// Its type as it stands in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
            Self::EcP256(_) => "P-256",
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(key) => key.fmt(f),
            Self::EcP256(key) => key.fmt(f),
        }
    }
}

/// An RSA private key of 2048, 3072 or 4096 bits with two primes of equal length.
pub struct RsaKey {
    kind: OpKind,
    modulus: Box<[u8]>,
    public_exponent_is_65537: bool,
    n: Box<[u64]>,
    p: Zeroizing<Box<[u64]>>,
    q: Zeroizing<Box<[u64]>>,
    dp: Zeroizing<Box<[u64]>>,
    dq: Zeroizing<Box<[u64]>>,
    qinv: Zeroizing<Box<[u64]>>,
    cpu: Rsa,
}

impl RsaKey {
    /// The key of these components: sizes, every relation between them (RSA_check_key of
    /// aws-lc), and one trial operation, which fails if p or q is not prime. Takes as long
    /// as two or three signatures.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_components(components: &RsaComponents<'_>) -> Result<Self, KeyError> {
        let modulus = strip_zeros(components.n);
        let bits = bit_len(modulus);
        let kind = match bits {
            2048 => OpKind::Rsa2048,
            3072 => OpKind::Rsa3072,
            4096 => OpKind::Rsa4096,
            _ => return Err(KeyError::RsaSize { bits }),
        };
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
        let cpu = Rsa::new(components).map_err(|fault| KeyError::RsaInconsistent {
            culprit: match fault {
                RsaFault::PublicExponent => "e is even, 1, or above 33 bits",
                RsaFault::Primes => "n is not p * q",
                RsaFault::PrivateExponent => "d is not the inverse of e",
                RsaFault::Crt => "dp, dq or qinv does not follow from p, q and d",
                RsaFault::Other => "aws-lc rejects it",
            },
        })?;
        let limbs = |bytes| Zeroizing::new(limbs(bytes, wanted / 64));
        let key = Self {
            kind,
            modulus: modulus.into(),
            public_exponent_is_65537: strip_zeros(components.e) == [1, 0, 1],
            n: self::limbs(modulus, bits / 64),
            p: limbs(components.p),
            q: limbs(components.q),
            dp: limbs(components.dp),
            dq: limbs(components.dq),
            qinv: limbs(components.qinv),
            cpu,
        };
        key.trial()?;
        Ok(key)
    }

    /// One private operation. aws-lc checks its result, so composite "primes" show here.
    fn trial(&self) -> Result<(), KeyError> {
        let mut block = [0x5a; MAX_OUTPUT];
        let mut signature = Zeroizing::new([0; MAX_OUTPUT]);
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

    /// Bits of the modulus: 2048, 3072 or 4096.
    pub fn bits(&self) -> usize {
        self.modulus.len() * 8
    }

    /// Bytes of the modulus, of a padded block and of a signature.
    pub fn modulus_len(&self) -> usize {
        self.modulus.len()
    }

    /// The modulus, big-endian.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The kind of op that uses this key.
    pub fn kind(&self) -> OpKind {
        self.kind
    }

    /// Whether the public exponent is 65537, the only one for which crypto_mb offers a check.
    pub fn public_exponent_is_65537(&self) -> bool {
        self.public_exponent_is_65537
    }

    /// Whether `signature` to the power of e is `block`; both have the length of the modulus.
    /// False for any other length.
    pub fn verify_raw(&self, signature: &[u8], block: &[u8]) -> bool {
        let mut opened = [0; MAX_OUTPUT];
        let opened = &mut opened[..self.modulus_len()];
        signature.len() == opened.len()
            && self.cpu.public(signature, opened)
            && constant_time_eq(opened, block)
    }

    /// Private operation on the CPU; see [`Rsa::private`] for what false stands for.
    #[must_use]
    pub(crate) fn private_raw(&self, block: &[u8], out: &mut [u8]) -> bool {
        self.cpu.private(block, out)
    }

    /// n in 64-bit limbs, least significant first, `bits() / 64` of them.
    pub fn n_limbs(&self) -> &[u64] {
        &self.n
    }

    /// p in `bits() / 128` limbs.
    pub fn p_limbs(&self) -> &[u64] {
        &self.p
    }

    /// q in `bits() / 128` limbs.
    pub fn q_limbs(&self) -> &[u64] {
        &self.q
    }

    /// d mod p-1 in `bits() / 128` limbs.
    pub fn dp_limbs(&self) -> &[u64] {
        &self.dp
    }

    /// d mod q-1 in `bits() / 128` limbs.
    pub fn dq_limbs(&self) -> &[u64] {
        &self.dq
    }

    /// Inverse of q mod p in `bits() / 128` limbs.
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

/// A private key on P-256.
pub struct EcP256Key {
    scalar: Zeroizing<[u64; 4]>,
    public: [u8; 65],
    cpu: P256,
}

impl EcP256Key {
    /// The key with this big-endian private scalar of 1 to 32 bytes.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_scalar(scalar: &[u8]) -> Result<Self, KeyError> {
        if scalar.is_empty() || scalar.len() > 32 {
            return Err(KeyError::EcLength { got: scalar.len() });
        }
        let mut bytes = Zeroizing::new([0; 32]);
        bytes[32 - scalar.len()..].copy_from_slice(scalar);
        let cpu = P256::new(&bytes).ok_or(KeyError::EcRange)?;
        let mut words = Zeroizing::new([0; 4]);
        write_limbs(&*bytes, &mut *words);
        Ok(Self {
            scalar: words,
            public: cpu.public(),
            cpu,
        })
    }

    /// The private scalar in 64-bit limbs, least significant first.
    pub fn scalar_limbs(&self) -> &[u64; 4] {
        &self.scalar
    }

    /// The public key, uncompressed: 0x04, x, y.
    pub fn public_key(&self) -> [u8; 65] {
        self.public
    }

    /// Whether `signature` (`r || s`) is this key's over `digest`.
    pub fn verify(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        self.cpu.verify(digest, signature)
    }

    /// Signs on the CPU; false if memory is out.
    #[must_use]
    pub(crate) fn sign(&self, digest: &[u8; 32], signature: &mut [u8; 64]) -> bool {
        self.cpu.sign(digest, signature)
    }
}

impl fmt::Debug for EcP256Key {
    /// Nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcP256Key").finish_non_exhaustive()
    }
}

/// `bytes` without leading zeros. What it tells about a secret is how many it had.
fn strip_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len())..]
}

/// Bits of a big-endian number without leading zeros.
fn bit_len(bytes: &[u8]) -> usize {
    bytes
        .first()
        .map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize)
}

/// A big-endian number of at most `count` limbs as exactly `count`, least significant first.
fn limbs(bytes: &[u8], count: usize) -> Box<[u64]> {
    let mut out = vec![0; count].into_boxed_slice();
    write_limbs(strip_zeros(bytes), &mut out);
    out
}

/// The same into the caller's memory.
fn write_limbs(bytes: &[u8], out: &mut [u64]) {
    for (limb, chunk) in out.iter_mut().zip(bytes.rchunks(8)) {
        *limb = chunk
            .iter()
            .fold(0, |limb, byte| limb << 8 | u64::from(*byte));
    }
}
