//! Public keys: what is known of a key whose secret is elsewhere, and what its signatures are
//! checked with.

mod spki;

use std::fmt;
use std::marker::PhantomData;

use crate::aws_lc::{Ec, Rsa, constant_time_eq, ed25519_verify};
use crate::curve::{Curve, P256, P384};
use crate::key::{KeyError, MAX_MODULUS_LEN, bit_len, strip_zeros};

/// A public key of one of the types that [`Key`](crate::Key) has.
pub enum PublicKey {
    /// RSA.
    Rsa(RsaPublicKey),
    /// ECDSA on P-256.
    EcP256(EcPublicKey<P256>),
    /// ECDSA on P-384.
    EcP384(EcPublicKey<P384>),
    /// Ed25519 (RFC 8032).
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// Returns the key's type as it stands in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
            Self::EcP256(_) => "P-256",
            Self::EcP384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
        }
    }

    /// Returns whether `signature` is this key's over `message`, which is a padded block for RSA, a
    /// digest for ECDSA (whose signatures are `r || s`) and the message itself for Ed25519. Returns
    /// `false` if a length is wrong.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => key.verify_raw(signature, message),
            Self::EcP256(key) => key.verify(message, signature),
            Self::EcP384(key) => key.verify(message, signature),
            Self::Ed25519(key) => signature
                .try_into()
                .is_ok_and(|signature| ed25519_verify(key, message, signature)),
        }
    }
}

impl PublicKey {
    /// Encodes the key as SubjectPublicKeyInfo in DER, as a certificate has it.
    pub fn to_spki(&self) -> Vec<u8> {
        spki::encode(self)
    }

    /// Makes the key of a SubjectPublicKeyInfo in DER. Returns `None` if the bytes are of another
    /// type, or no SubjectPublicKeyInfo.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        spki::decode(der)
    }
}

impl fmt::Debug for PublicKey {
    /// Prints the type alone: numbers say nothing to a reader.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.name())
    }
}

/// An RSA public key of 2048, 3072 or 4096 bits.
pub struct RsaPublicKey {
    modulus: Box<[u8]>,
    exponent: Box<[u8]>,
    cpu: Rsa,
}

impl RsaPublicKey {
    /// Makes the key of this modulus and public exponent, big-endian, of any length.
    ///
    /// # Errors
    /// [`KeyError::RsaSize`]; [`KeyError::RsaExponent`], which stands for an even modulus as well.
    pub fn from_components(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let modulus = strip_zeros(n);
        let bits = bit_len(modulus);
        if ![2048, 3072, 4096].contains(&bits) {
            return Err(KeyError::RsaSize { bits });
        }
        let exponent = strip_zeros(e);
        Ok(Self {
            cpu: Rsa::from_public(modulus, exponent).ok_or(KeyError::RsaExponent)?,
            modulus: modulus.into(),
            exponent: exponent.into(),
        })
    }

    /// Returns the modulus, big-endian: as many bytes as a block and a signature have.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Returns the public exponent, big-endian, without leading zeros.
    pub fn public_exponent(&self) -> &[u8] {
        &self.exponent
    }

    /// Raises `signature` to the public exponent, into `block`; both have the length of the
    /// modulus. Returns `false` if they have not, or if `signature` is not below the modulus.
    #[must_use]
    pub fn open(&self, signature: &[u8], block: &mut [u8]) -> bool {
        let len = self.modulus.len();
        signature.len() == len && block.len() == len && self.cpu.public(signature, block)
    }

    /// Returns whether `signature` to the power of e is `block`.
    #[must_use]
    pub fn verify_raw(&self, signature: &[u8], block: &[u8]) -> bool {
        let mut opened = [0; MAX_MODULUS_LEN];
        let opened = &mut opened[..self.modulus.len()];
        self.open(signature, opened) && constant_time_eq(opened, block)
    }
}

/// An ECDSA public key on one of the two curves.
pub struct EcPublicKey<C: Curve> {
    cpu: Ec,
    curve: PhantomData<C>,
}

impl<C: Curve> EcPublicKey<C> {
    /// Makes the key with this uncompressed point: 0x04, x, y.
    ///
    /// # Errors
    /// [`KeyError::Point`].
    pub fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        let cpu = Ec::from_public(C::GROUP, point).ok_or(KeyError::Point {
            curve: C::NAME,
            got: point.len(),
        })?;
        Ok(Self {
            cpu,
            curve: PhantomData,
        })
    }

    /// Returns the point, uncompressed.
    pub fn point(&self) -> C::Point {
        let mut point = crate::curve::Array::ZERO;
        let bytes: &mut C::Point = &mut point;
        self.cpu.public(bytes.as_mut());
        point
    }

    /// Returns whether `signature` (`r || s`) is this key's over `digest`.
    #[must_use]
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> bool {
        signature.len() == 2 * digest.len() && self.cpu.verify(digest, signature)
    }
}
