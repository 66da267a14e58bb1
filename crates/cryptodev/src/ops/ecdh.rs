//! ECDH on P-256 and P-384.

use spinlane_crypto::Key;
use spinlane_crypto::curve::{self, Array, Curve, P256, P384};
use zeroize::Zeroizing;

use super::{by, without_key};
use crate::kind::{OpKind, OpSpec};
use crate::op::OpStatus;
use crate::request::{Request, RequestError};

pub(crate) static P256_KEYGEN: OpSpec = without_key("ecdh-p256-keygen", 32, 65, keygen::<P256>);
pub(crate) static P256_DERIVE: OpSpec =
    without_key("ecdh-p256-derive", 32 + 65, 32, derive::<P256>);
pub(crate) static P256_EXCHANGE: OpSpec =
    without_key("ecdh-p256-exchange", 32 + 65, 65 + 32, exchange::<P256>);
pub(crate) static P384_KEYGEN: OpSpec = without_key("ecdh-p384-keygen", 48, 97, keygen::<P384>);
pub(crate) static P384_DERIVE: OpSpec =
    without_key("ecdh-p384-derive", 48 + 97, 48, derive::<P384>);
pub(crate) static P384_EXCHANGE: OpSpec =
    without_key("ecdh-p384-exchange", 48 + 97, 97 + 48, exchange::<P384>);

/// AWS-LC allocates points.
fn keygen<C: Curve>(_: Option<&Key>, private: &[u8], public: &mut [u8]) -> OpStatus {
    by(curve::public::<C>(private, public), OpStatus::Error)
}

/// The scalar and the point follow each other.
fn derive<C: Curve>(_: Option<&Key>, input: &[u8], secret: &mut [u8]) -> OpStatus {
    let Some((private, peer)) = input.split_at_checked(secret.len()) else {
        return OpStatus::Invalid;
    };
    by(curve::shared::<C>(private, peer, secret), OpStatus::Invalid)
}

fn exchange<C: Curve>(_: Option<&Key>, input: &[u8], output: &mut [u8]) -> OpStatus {
    let scalar_len = C::Scalar::ZERO.as_ref().len();
    let point_len = C::Point::ZERO.as_ref().len();
    let split = (
        input.get(..scalar_len),
        output.split_at_mut_checked(point_len),
    );
    let (Some(private), Some((public, secret))) = split else {
        return OpStatus::Invalid;
    };
    match keygen::<C>(None, private, public) {
        OpStatus::Success => derive::<C>(None, input, secret),
        status => status,
    }
}

impl<'a> Request<'a> {
    /// ECDH public key on P-256 of the big-endian scalar `private`.
    ///
    /// # Errors
    /// `private` is not in 1..n; [`spinlane_crypto::curve::random_scalar`] makes one that is.
    pub fn ecdh_p256_keygen(private: &'a [u8; 32]) -> Result<Self, RequestError> {
        Self::ecdh::<P256>(OpKind::EcdhP256Keygen, private, &[])
    }

    /// ECDH shared secret on P-256: the x coordinate of `private` times the uncompressed point
    /// `peer`.
    ///
    /// # Errors
    /// As for [`Request::ecdh_p256_keygen`]. The device looks whether `peer` is on the curve.
    pub fn ecdh_p256_derive(
        private: &'a [u8; 32],
        peer: &'a [u8; 65],
    ) -> Result<Self, RequestError> {
        Self::ecdh::<P256>(OpKind::EcdhP256Derive, private, peer)
    }

    /// [`Request::ecdh_p256_keygen`] on P-384.
    ///
    /// # Errors
    /// As there.
    pub fn ecdh_p384_keygen(private: &'a [u8; 48]) -> Result<Self, RequestError> {
        Self::ecdh::<P384>(OpKind::EcdhP384Keygen, private, &[])
    }

    /// [`Request::ecdh_p256_derive`] on P-384.
    ///
    /// # Errors
    /// As there.
    pub fn ecdh_p384_derive(
        private: &'a [u8; 48],
        peer: &'a [u8; 97],
    ) -> Result<Self, RequestError> {
        Self::ecdh::<P384>(OpKind::EcdhP384Derive, private, peer)
    }

    /// [`Request::ecdh_p256_keygen`] and [`Request::ecdh_p256_derive`] at once: the point, then the
    /// secret.
    ///
    /// # Errors
    /// As there.
    pub fn ecdh_p256_exchange(
        private: &'a [u8; 32],
        peer: &'a [u8; 65],
    ) -> Result<Self, RequestError> {
        Self::ecdh::<P256>(OpKind::EcdhP256Exchange, private, peer)
    }

    /// [`Request::ecdh_p256_exchange`] on P-384.
    ///
    /// # Errors
    /// As there.
    pub fn ecdh_p384_exchange(
        private: &'a [u8; 48],
        peer: &'a [u8; 97],
    ) -> Result<Self, RequestError> {
        Self::ecdh::<P384>(OpKind::EcdhP384Exchange, private, peer)
    }

    fn ecdh<C: Curve>(
        kind: OpKind,
        private: &'a [u8],
        peer: &'a [u8],
    ) -> Result<Self, RequestError> {
        if !curve::in_range::<C>(&Zeroizing::new(curve::to_limbs(private))) {
            return Err(RequestError::ScalarRange { curve: C::NAME });
        }
        Ok(Self {
            kind,
            key: None,
            input: private,
            more: peer,
            pss: None,
        })
    }
}
