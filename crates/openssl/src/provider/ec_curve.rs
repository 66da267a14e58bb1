//! The curves that devices do, as libcrypto knows them.

use std::ffi::{CStr, c_int};

use spinlane_crypto::curve::{self, P256, P384};
use spinlane_crypto::{EcP256Key, EcP384Key, Key, KeyError};
use spinlane_cryptodev::{Request, RequestError};
use zeroize::Zeroizing;

use super::error::raise;
use super::offload::offload;

/// Bytes of the longest scalar.
pub(super) const MAX_SCALAR: usize = 48;
/// Bytes of the longest point.
pub(super) const MAX_POINT: usize = 97;

/// P-256 or P-384.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

/// A private scalar, big-endian; its first [`Curve::scalar_len`] bytes.
pub(super) type Scalar = Zeroizing<[u8; MAX_SCALAR]>;
/// An uncompressed point; its first [`Curve::point_len`] bytes.
pub(super) type Point = [u8; MAX_POINT];

impl Curve {
    /// Makes the curve of one of its names in libcrypto.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        const NAMES: [(Curve, &[&[u8]]); 2] = [
            (
                Curve::P256,
                &[
                    b"prime256v1",
                    b"P-256",
                    b"secp256r1",
                    b"1.2.840.10045.3.1.7",
                ],
            ),
            (Curve::P384, &[b"secp384r1", b"P-384", b"1.3.132.0.34"]),
        ];
        let has = |names: &[&[u8]]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        let found = NAMES.into_iter().find(|(_, names)| has(names));
        found.map(|(curve, _)| curve)
    }

    /// Returns libcrypto's name of the curve.
    pub fn name(self) -> &'static CStr {
        match self {
            Self::P256 => c"prime256v1",
            Self::P384 => c"secp384r1",
        }
    }

    /// Returns the length in bytes of a scalar and of a shared secret.
    pub fn scalar_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// Returns the length of a point in bytes.
    pub fn point_len(self) -> usize {
        2 * self.scalar_len() + 1
    }

    /// Returns the bits of the field.
    pub fn bits(self) -> c_int {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
        }
    }

    /// Returns the strength in bits (SP 800-57, part 1, table 2).
    pub fn security_bits(self) -> c_int {
        self.bits() / 2
    }

    /// Returns the length in bytes of the longest ECDSA signature in DER.
    pub fn signature_len(self) -> usize {
        2 * (self.scalar_len() + 3) + 2
    }

    /// Reads `bytes` as an uncompressed point. Returns `None` if they are no point of the curve.
    pub fn point(self, bytes: &[u8]) -> Option<Point> {
        let on_curve = match self {
            Self::P256 => curve::is_point::<P256>(bytes),
            Self::P384 => curve::is_point::<P384>(bytes),
        };
        let mut point = [0; MAX_POINT];
        point.get_mut(..bytes.len())?.copy_from_slice(bytes);
        on_curve.then_some(point)
    }

    /// Returns the key for ECDSA of this scalar.
    ///
    /// # Errors
    /// The scalar is out of range.
    pub fn device_key(self, scalar: &[u8]) -> Result<Key, KeyError> {
        Ok(match self {
            Self::P256 => Key::EcP256(EcP256Key::from_scalar(scalar)?),
            Self::P384 => Key::EcP384(EcP384Key::from_scalar(scalar)?),
        })
    }

    /// Returns a fresh private scalar.
    pub fn random_scalar(self) -> Scalar {
        let mut scalar = Zeroizing::new([0; MAX_SCALAR]);
        match self {
            Self::P256 => {
                if let Some(scalar) = scalar.first_chunk_mut() {
                    curve::random_scalar::<P256>(scalar);
                }
            }
            Self::P384 => curve::random_scalar::<P384>(&mut scalar),
        }
        scalar
    }

    /// Returns the public key of `scalar`. May pause. `None` with an error queued if that failed.
    pub fn public_of(self, scalar: &Scalar) -> Option<Point> {
        let mut point = [0; MAX_POINT];
        let request = match self {
            Self::P256 => Request::ecdh_p256_keygen(scalar.first_chunk()?),
            Self::P384 => Request::ecdh_p384_keygen(scalar),
        };
        self.run(request, &mut point[..self.point_len()])
            .then_some(point)
    }

    /// Writes the shared secret to `secret`, which is as long as a scalar. May pause. False with an
    /// error queued if that failed.
    pub fn derive(self, scalar: &Scalar, peer: &Point, secret: &mut [u8]) -> bool {
        let request = match (self, scalar.first_chunk(), peer.first_chunk()) {
            (Self::P256, Some(scalar), Some(peer)) => Request::ecdh_p256_derive(scalar, peer),
            (Self::P256, ..) => return false,
            (Self::P384, ..) => Request::ecdh_p384_derive(scalar, peer),
        };
        self.run(request, secret)
    }

    fn run(self, request: Result<Request<'_>, RequestError>, output: &mut [u8]) -> bool {
        match request {
            Ok(request) => offload(&request, output),
            Err(error) => {
                raise(format_args!("{self:?}: {error}"));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_have_all_their_names() {
        for curve in [Curve::P256, Curve::P384] {
            assert_eq!(Curve::from_name(curve.name().to_bytes()), Some(curve));
        }
        assert_eq!(Curve::from_name(b"p-256"), Some(Curve::P256));
        assert_eq!(Curve::from_name(b"P-384"), Some(Curve::P384));
        for name in ["", "P-521", "secp256k1", "P-25", "prime256v1 "] {
            assert_eq!(Curve::from_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn only_points_are_points() {
        let generator = Curve::P256.device_key(&[1]).expect("in range");
        let Key::EcP256(key) = generator else {
            panic!("a P-256 key")
        };
        let mut bytes = key.public_key();
        assert!(Curve::P256.point(&bytes).is_some());
        assert!(Curve::P384.point(&bytes).is_none());
        assert!(Curve::P256.point(&bytes[..64]).is_none());
        bytes[64] ^= 1;
        assert!(Curve::P256.point(&bytes).is_none());
    }
}
