//! X25519MLKEM768 and SecP256r1MLKEM768 (draft-ietf-tls-ecdhe-mlkem), both of whose halves are offloaded, in one pause.
//!
//! ```text
//!   X25519MLKEM768     client's share   ML-KEM encapsulation key (1184) ‖ X25519 public key (32)
//!                      server's share   ML-KEM ciphertext        (1088) ‖ X25519 public key (32)
//!                      secret           ML-KEM secret              (32) ‖ X25519 secret     (32)
//!   SecP256r1MLKEM768  the same with a point of P-256 (65), which comes first, and so does its secret
//! ```

use std::marker::PhantomData;

use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};
use spinlane_crypto::curve::{P256, random_scalar};
use spinlane_crypto::mlkem::{CIPHERTEXT, DECAPSULATION_KEY, ENCAPSULATION_KEY, SHARED_SECRET};
use spinlane_crypto::{Wiped, random};
use spinlane_cryptodev::Request;
use spinlane_lcore::{offload, offload_all};

use super::ecdh::{general, uncompressed};
use super::{INVALID_KEY_SHARE, derive_error};
use crate::error::offload_error;

/// X25519MLKEM768, whose ops (fresh key pairs, encapsulation, shared secrets) are all offloaded.
#[derive(Debug)]
pub struct OffloadedX25519Mlkem768;

/// SecP256r1MLKEM768, whose ops are all offloaded.
#[derive(Debug)]
pub struct OffloadedSecp256r1Mlkem768;

/// Bytes of a classical half's private key, and of its secret.
const SCALAR: usize = 32;
/// Bytes of the longest classical public key.
const MAX_POINT: usize = 65;
/// Bytes of both ML-KEM keys.
const KEYS: usize = ENCAPSULATION_KEY + DECAPSULATION_KEY;

/// A group, by what differs in the classical half.
trait Hybrid: Send + Sync + 'static {
    const NAME: NamedGroup;
    /// The group of the classical half alone.
    const CLASSICAL: NamedGroup;
    /// Bytes of its public key.
    const POINT: usize;
    /// Whether it comes before ML-KEM's.
    const IS_FIRST: bool;

    fn draw(private: &mut [u8; SCALAR]);
    fn keygen(private: &[u8; SCALAR]) -> Result<Request<'_>, Error>;
    fn derive<'a>(private: &'a [u8; SCALAR], peer: &'a [u8]) -> Result<Request<'a>, Error>;
    fn exchange<'a>(private: &'a [u8; SCALAR], peer: &'a [u8]) -> Result<Request<'a>, Error>;

    /// The ML-KEM part of a peer's share, and the classical one.
    fn split<const N: usize>(share: &[u8]) -> Result<(&[u8; N], &[u8]), Error> {
        if share.len() != N + Self::POINT {
            return Err(INVALID_KEY_SHARE);
        }
        let parts = match Self::IS_FIRST {
            true => share
                .split_last_chunk()
                .map(|(point, mlkem)| (mlkem, point)),
            false => share.split_first_chunk(),
        };
        parts.ok_or(INVALID_KEY_SHARE)
    }

    /// Both parts of a share or of a secret.
    fn join(mlkem: &[u8], classical: &[u8]) -> Vec<u8> {
        match Self::IS_FIRST {
            true => [classical, mlkem].concat(),
            false => [mlkem, classical].concat(),
        }
    }
}

impl Hybrid for OffloadedX25519Mlkem768 {
    const NAME: NamedGroup = NamedGroup::X25519MLKEM768;
    const CLASSICAL: NamedGroup = NamedGroup::X25519;
    const POINT: usize = 32;
    const IS_FIRST: bool = false;

    fn draw(private: &mut [u8; SCALAR]) {
        random::fill(private);
    }

    fn keygen(private: &[u8; SCALAR]) -> Result<Request<'_>, Error> {
        Ok(Request::x25519_keygen(private))
    }

    fn derive<'a>(private: &'a [u8; SCALAR], peer: &'a [u8]) -> Result<Request<'a>, Error> {
        let peer = peer.try_into().map_err(|_| INVALID_KEY_SHARE)?;
        Ok(Request::x25519_derive(private, peer))
    }

    fn exchange<'a>(private: &'a [u8; SCALAR], peer: &'a [u8]) -> Result<Request<'a>, Error> {
        let peer = peer.try_into().map_err(|_| INVALID_KEY_SHARE)?;
        Ok(Request::x25519_exchange(private, peer))
    }
}

impl Hybrid for OffloadedSecp256r1Mlkem768 {
    const NAME: NamedGroup = NamedGroup::secp256r1MLKEM768;
    const CLASSICAL: NamedGroup = NamedGroup::secp256r1;
    const POINT: usize = 65;
    const IS_FIRST: bool = true;

    fn draw(private: &mut [u8; SCALAR]) {
        random_scalar::<P256>(private);
    }

    fn keygen(private: &[u8; SCALAR]) -> Result<Request<'_>, Error> {
        Request::ecdh_p256_keygen(private).map_err(general)
    }

    fn derive<'a>(private: &'a [u8; SCALAR], peer: &'a [u8]) -> Result<Request<'a>, Error> {
        Request::ecdh_p256_derive(private, point(peer)?).map_err(general)
    }

    fn exchange<'a>(private: &'a [u8; SCALAR], peer: &'a [u8]) -> Result<Request<'a>, Error> {
        Request::ecdh_p256_exchange(private, point(peer)?).map_err(general)
    }
}

/// A point of P-256.
fn point(share: &[u8]) -> Result<&[u8; 65], Error> {
    uncompressed(share)?
        .try_into()
        .map_err(|_| INVALID_KEY_SHARE)
}

/// A server's part: encapsulation, key pair and secret at once.
fn exchange<H: Hybrid>(client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
    let (encapsulation_key, peer) = H::split(client_share)?;
    let (mut private, mut message) = (Wiped::ZEROS, Wiped::ZEROS);
    H::draw(&mut private);
    random::fill(&mut *message);
    let mut sealed = Wiped::<{ CIPHERTEXT + SHARED_SECRET }>::ZEROS;
    let mut both = Wiped::<{ MAX_POINT + SCALAR }>::ZEROS;
    let both = &mut both[..H::POINT + SCALAR];
    offload_all(&mut [
        (&H::exchange(&private, peer)?, &mut *both),
        (
            &Request::ml_kem_768_encap(encapsulation_key, &message),
            &mut *sealed,
        ),
    ])
    .map_err(derive_error)?;
    let (ciphertext, mlkem_secret) = sealed.split_at(CIPHERTEXT);
    let (point, secret) = both.split_at(H::POINT);
    Ok(CompletedKeyExchange {
        group: H::NAME,
        pub_key: H::join(ciphertext, point),
        secret: SharedSecret::from(H::join(mlkem_secret, secret)),
    })
}

/// A client's key pairs, waiting for the server's share.
struct Started<H> {
    private: Wiped<SCALAR>,
    /// Encapsulation key and decapsulation key.
    keys: Box<Wiped<KEYS>>,
    share: Vec<u8>,
    group: PhantomData<H>,
}

impl<H: Hybrid> Started<H> {
    /// Both key pairs at once.
    fn generate() -> Result<Box<Self>, Error> {
        let mut started = Box::new(Self {
            private: Wiped::ZEROS,
            keys: Box::new(Wiped::ZEROS),
            share: Vec::new(),
            group: PhantomData,
        });
        H::draw(&mut started.private);
        let mut seed = Wiped::ZEROS;
        random::fill(&mut *seed);
        let mut point = [0; MAX_POINT];
        let point = &mut point[..H::POINT];
        let Self { private, keys, .. } = &mut *started;
        offload_all(&mut [
            (&H::keygen(private)?, &mut *point),
            (&Request::ml_kem_768_keygen(&seed), &mut ***keys),
        ])
        .map_err(offload_error)?;
        started.share = H::join(&started.keys[..ENCAPSULATION_KEY], point);
        Ok(started)
    }

    /// The classical public key.
    fn point(&self) -> &[u8] {
        match H::IS_FIRST {
            true => &self.share[..H::POINT],
            false => &self.share[ENCAPSULATION_KEY..],
        }
    }
}

impl<H: Hybrid> ActiveKeyExchange for Started<H> {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, peer) = H::split(server_share)?;
        let (_, decapsulation_key) = self.keys.split_last_chunk().ok_or(INVALID_KEY_SHARE)?;
        let mut secrets = Wiped::<{ SHARED_SECRET + SCALAR }>::ZEROS;
        let (mlkem, classical) = secrets.split_at_mut(SHARED_SECRET);
        offload_all(&mut [
            (&H::derive(&self.private, peer)?, &mut *classical),
            (
                &Request::ml_kem_768_decap(decapsulation_key, ciphertext),
                &mut *mlkem,
            ),
        ])
        .map_err(derive_error)?;
        Ok(SharedSecret::from(H::join(mlkem, classical)))
    }

    /// A server that knows the classical half alone may choose that without another round trip.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((H::CLASSICAL, self.point()))
    }

    fn complete_hybrid_component(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let mut secret = Wiped::<SCALAR>::ZEROS;
        offload(&H::derive(&self.private, peer)?, &mut *secret).map_err(derive_error)?;
        Ok(SharedSecret::from(&secret[..]))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        H::NAME
    }
}

macro_rules! group {
    ($hybrid:ident) => {
        impl SupportedKxGroup for $hybrid {
            fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
                Ok(Started::<Self>::generate()?)
            }

            fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
                exchange::<Self>(peer)
            }

            fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
                None
            }

            fn name(&self) -> NamedGroup {
                Self::NAME
            }

            fn usable_for_version(&self, version: ProtocolVersion) -> bool {
                version == ProtocolVersion::TLSv1_3
            }
        }
    };
}

group!(OffloadedX25519Mlkem768);
group!(OffloadedSecp256r1Mlkem768);
