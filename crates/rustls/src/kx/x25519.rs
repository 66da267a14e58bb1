//! X25519 (RFC 7748) on devices.

use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup};
use spinlane_crypto::random;
use spinlane_cryptodev::Request;
use spinlane_lcore::offload;
use zeroize::Zeroizing;

use super::{INVALID_KEY_SHARE, derive_error};
use crate::error::offload_error;

/// X25519, both of whose ops (a fresh key pair, the shared secret) are offloaded.
#[derive(Debug)]
pub struct OffloadedX25519;

/// A key pair that waits for the peer's share.
struct KeyPair {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl OffloadedX25519 {
    pub(crate) const NAME: NamedGroup = NamedGroup::X25519;
}

impl KeyPair {
    fn generate() -> Result<Self, Error> {
        let mut private = Zeroizing::new([0; 32]);
        random::fill(&mut *private);
        let mut public = [0; 32];
        offload(&Request::x25519_keygen(&private), &mut public).map_err(offload_error)?;
        Ok(Self { private, public })
    }

    fn derive(&self, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = peer.try_into().map_err(|_| INVALID_KEY_SHARE)?;
        let mut secret = vec![0; 32];
        let done = offload(&Request::x25519_derive(&self.private, peer), &mut secret);
        // Wiped by its drop, on failure too.
        let secret = SharedSecret::from(secret);
        done.map_err(derive_error)?;
        Ok(secret)
    }
}

impl SupportedKxGroup for OffloadedX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(KeyPair::generate()?))
    }

    /// The server's way in TLS 1.3: one op, and so one pause.
    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let peer = peer.try_into().map_err(|_| INVALID_KEY_SHARE)?;
        let mut private = Zeroizing::new([0; 32]);
        random::fill(&mut *private);
        let mut both = Zeroizing::new([0; 64]);
        offload(&Request::x25519_exchange(&private, peer), &mut *both).map_err(derive_error)?;
        let (public, secret) = both.split_at(32);
        Ok(CompletedKeyExchange {
            group: Self::NAME,
            pub_key: public.to_vec(),
            secret: SharedSecret::from(secret),
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        Self::NAME
    }
}

impl ActiveKeyExchange for KeyPair {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        self.derive(peer)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        OffloadedX25519::NAME
    }
}
