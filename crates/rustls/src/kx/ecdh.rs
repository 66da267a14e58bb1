//! ECDH on P-256 and P-384 (SP 800-56A) on devices.

use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup};
use spinlane_crypto::curve::{Array, Curve, P256, P384, random_scalar};
use spinlane_cryptodev::{Request, RequestError};
use spinlane_lcore::offload;
use zeroize::Zeroizing;

use super::{INVALID_KEY_SHARE, derive_error};
use crate::error::offload_error;

/// ECDH on P-256, both of whose ops (a fresh key pair, the shared secret) are offloaded.
#[derive(Debug)]
pub struct OffloadedEcdhP256;

/// ECDH on P-384, both of whose ops are offloaded.
#[derive(Debug)]
pub struct OffloadedEcdhP384;

/// What differs between the curves.
trait Ecdh: Curve {
    const NAMED_GROUP: NamedGroup;

    fn keygen(private: &Self::Scalar) -> Result<Request<'_>, RequestError>;

    fn derive<'a>(
        private: &'a Self::Scalar,
        peer: &'a Self::Point,
    ) -> Result<Request<'a>, RequestError>;

    /// Both.
    fn exchange<'a>(
        private: &'a Self::Scalar,
        peer: &'a Self::Point,
    ) -> Result<Request<'a>, RequestError>;
}

impl Ecdh for P256 {
    const NAMED_GROUP: NamedGroup = NamedGroup::secp256r1;

    fn keygen(private: &[u8; 32]) -> Result<Request<'_>, RequestError> {
        Request::ecdh_p256_keygen(private)
    }

    fn derive<'a>(private: &'a [u8; 32], peer: &'a [u8; 65]) -> Result<Request<'a>, RequestError> {
        Request::ecdh_p256_derive(private, peer)
    }

    fn exchange<'a>(
        private: &'a [u8; 32],
        peer: &'a [u8; 65],
    ) -> Result<Request<'a>, RequestError> {
        Request::ecdh_p256_exchange(private, peer)
    }
}

impl Ecdh for P384 {
    const NAMED_GROUP: NamedGroup = NamedGroup::secp384r1;

    fn keygen(private: &[u8; 48]) -> Result<Request<'_>, RequestError> {
        Request::ecdh_p384_keygen(private)
    }

    fn derive<'a>(private: &'a [u8; 48], peer: &'a [u8; 97]) -> Result<Request<'a>, RequestError> {
        Request::ecdh_p384_derive(private, peer)
    }

    fn exchange<'a>(
        private: &'a [u8; 48],
        peer: &'a [u8; 97],
    ) -> Result<Request<'a>, RequestError> {
        Request::ecdh_p384_exchange(private, peer)
    }
}

/// Point and secret on P-384.
const MAX_EXCHANGE: usize = 97 + 48;

/// A key pair that waits for the peer's share.
struct KeyPair<C: Ecdh> {
    private: Zeroizing<C::Scalar>,
    public: C::Point,
}

impl<C: Ecdh> KeyPair<C> {
    fn generate() -> Result<Self, Error> {
        let mut private = Zeroizing::new(C::Scalar::ZERO);
        random_scalar::<C>(&mut private);
        let mut public = C::Point::ZERO;
        let request = C::keygen(&private).map_err(general)?;
        offload(&request, public.as_mut()).map_err(offload_error)?;
        Ok(Self { private, public })
    }

    fn derive(&self, share: &[u8]) -> Result<SharedSecret, Error> {
        let peer = point::<C>(share)?;
        let request = C::derive(&self.private, &peer).map_err(general)?;
        let mut secret = vec![0; self.private.as_ref().as_ref().len()];
        let done = offload(&request, &mut secret);
        // Wiped by its drop, on failure too.
        let secret = SharedSecret::from(secret);
        done.map_err(derive_error)?;
        Ok(secret)
    }

    /// The server's way in TLS 1.3: one op, and so one pause.
    fn exchange(share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let peer = point::<C>(share)?;
        let mut private = Zeroizing::new(C::Scalar::ZERO);
        random_scalar::<C>(&mut private);
        let request = C::exchange(&private, &peer).map_err(general)?;
        let mut both = Zeroizing::new([0; MAX_EXCHANGE]);
        let both = &mut both[..request.kind().output_len()];
        offload(&request, both).map_err(derive_error)?;
        let (public, secret) = both.split_at(peer.as_ref().len());
        Ok(CompletedKeyExchange {
            group: C::NAMED_GROUP,
            pub_key: public.to_vec(),
            secret: SharedSecret::from(secret),
        })
    }
}

/// `share`, if it is an uncompressed point: TLS takes no other (RFC 8446, section 4.2.8.2).
pub(super) fn uncompressed(share: &[u8]) -> Result<&[u8], Error> {
    match share.first() {
        Some(4) => Ok(share),
        _ => Err(INVALID_KEY_SHARE),
    }
}

/// A peer's share.
fn point<C: Ecdh>(share: &[u8]) -> Result<C::Point, Error> {
    let (share, mut peer) = (uncompressed(share)?, C::Point::ZERO);
    if share.len() != peer.as_ref().len() {
        return Err(INVALID_KEY_SHARE);
    }
    peer.as_mut().copy_from_slice(share);
    Ok(peer)
}

impl<C: Ecdh> ActiveKeyExchange for KeyPair<C>
where
    C::Scalar: Send + Sync,
    C::Point: Send + Sync,
{
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        self.derive(peer)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        C::NAMED_GROUP
    }
}

impl SupportedKxGroup for OffloadedEcdhP256 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(KeyPair::<P256>::generate()?))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        KeyPair::<P256>::exchange(peer)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        P256::NAMED_GROUP
    }
}

impl SupportedKxGroup for OffloadedEcdhP384 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(KeyPair::<P384>::generate()?))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        KeyPair::<P384>::exchange(peer)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        P384::NAMED_GROUP
    }
}

pub(super) fn general(error: RequestError) -> Error {
    Error::General(error.to_string())
}
