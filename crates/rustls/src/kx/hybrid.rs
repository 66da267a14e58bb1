//! X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem): ML-KEM-768 by aws-lc-rs, X25519 on devices.
//!
//! ```text
//!   client's share   ML-KEM encapsulation key (1184) ‖ X25519 public key (32)
//!   server's share   ML-KEM ciphertext        (1088) ‖ X25519 public key (32)
//!   secret           ML-KEM secret              (32) ‖ X25519 secret     (32)
//! ```

use rustls::crypto::aws_lc_rs::kx_group::MLKEM768;
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};

use super::{INVALID_KEY_SHARE, OffloadedX25519};

const ENCAPSULATION_KEY_LEN: usize = 1184;
const CIPHERTEXT_LEN: usize = 1088;
const X25519_LEN: usize = 32;

/// X25519MLKEM768, whose X25519 half is offloaded; ML-KEM runs on the CPU.
#[derive(Debug)]
pub struct X25519Mlkem768WithOffloadedX25519;

/// Both halves, waiting for the server's share.
struct Started {
    mlkem: Box<dyn ActiveKeyExchange>,
    x25519: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl X25519Mlkem768WithOffloadedX25519 {
    pub(crate) const NAME: NamedGroup = NamedGroup::X25519MLKEM768;
}

impl SupportedKxGroup for X25519Mlkem768WithOffloadedX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let x25519 = OffloadedX25519.start()?;
        let mlkem = MLKEM768.start()?;
        let share = [mlkem.pub_key(), x25519.pub_key()].concat();
        Ok(Box::new(Started {
            mlkem,
            x25519,
            share,
        }))
    }

    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (mlkem_share, x25519_share) = split(client_share, ENCAPSULATION_KEY_LEN)?;
        let x25519 = OffloadedX25519.start_and_complete(x25519_share)?;
        let mlkem = MLKEM768.start_and_complete(mlkem_share)?;
        Ok(CompletedKeyExchange {
            group: Self::NAME,
            pub_key: [mlkem.pub_key, x25519.pub_key].concat(),
            secret: concat(&mlkem.secret, &x25519.secret),
        })
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

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, x25519_share) = split(server_share, CIPHERTEXT_LEN)?;
        let x25519 = self.x25519.complete(x25519_share)?;
        let mlkem = self.mlkem.complete(ciphertext)?;
        Ok(concat(&mlkem, &x25519))
    }

    /// A server that knows X25519 alone may choose that without another round trip.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((self.x25519.group(), self.x25519.pub_key()))
    }

    fn complete_hybrid_component(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        self.x25519.complete(peer)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        X25519Mlkem768WithOffloadedX25519::NAME
    }
}

/// The two parts of a share.
fn split(share: &[u8], mlkem_len: usize) -> Result<(&[u8], &[u8]), Error> {
    if share.len() == mlkem_len + X25519_LEN {
        Ok(share.split_at(mlkem_len))
    } else {
        Err(INVALID_KEY_SHARE)
    }
}

/// The secret; wiped by its drop.
fn concat(mlkem: &SharedSecret, x25519: &SharedSecret) -> SharedSecret {
    SharedSecret::from([mlkem.secret_bytes(), x25519.secret_bytes()].concat())
}
