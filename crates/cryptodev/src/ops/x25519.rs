//! X25519 (RFC 7748).

use spinlane_crypto::{Key, x25519};

use super::{by, without_key};
use crate::kind::{OpKind, OpSpec};
use crate::op::OpStatus;
use crate::request::Request;

pub(crate) static KEYGEN: OpSpec = without_key("x25519-keygen", 32, 32, keygen);
pub(crate) static DERIVE: OpSpec = without_key("x25519-derive", 64, 32, derive);
pub(crate) static EXCHANGE: OpSpec = without_key("x25519-exchange", 64, 64, exchange);

fn keygen(_: Option<&Key>, private: &[u8], public: &mut [u8]) -> OpStatus {
    let (Ok(private), Ok(public)) = (private.try_into(), public.try_into()) else {
        return OpStatus::Invalid;
    };
    x25519::public(private, public);
    OpStatus::Success
}

fn derive(_: Option<&Key>, input: &[u8], secret: &mut [u8]) -> OpStatus {
    let (Some((private, peer)), Ok(secret)) = (input.split_first_chunk(), secret.try_into()) else {
        return OpStatus::Invalid;
    };
    match peer.try_into() {
        Ok(peer) => by(x25519::shared(private, peer, secret), OpStatus::Invalid),
        Err(_) => OpStatus::Invalid,
    }
}

fn exchange(_: Option<&Key>, input: &[u8], output: &mut [u8]) -> OpStatus {
    let (Some(private), Some((public, secret))) =
        (input.get(..32), output.split_at_mut_checked(32))
    else {
        return OpStatus::Invalid;
    };
    match keygen(None, private, public) {
        OpStatus::Success => derive(None, input, secret),
        status => status,
    }
}

impl<'a> Request<'a> {
    /// X25519 public key of the private scalar `private`, which may be unclamped.
    pub fn x25519_keygen(private: &'a [u8; 32]) -> Self {
        Self {
            kind: OpKind::X25519Keygen,
            key: None,
            input: private,
            more: &[],
            pss: None,
        }
    }

    /// X25519 shared secret of `private` and the peer's public key.
    ///
    /// For a `private` that serves once, as TLS has it. Lanes are wrong for some peers (see
    /// `spinlane-driver-mb`), not all of which may be known, and whether for a given one depends on the scalar: one that
    /// serves many peers could be found out by them. Compute its secrets in software
    /// (`spinlane_lcore::compute`).
    pub fn x25519_derive(private: &'a [u8; 32], peer: &'a [u8; 32]) -> Self {
        Self {
            kind: OpKind::X25519Derive,
            key: None,
            input: private,
            more: peer,
            pss: None,
        }
    }

    /// [`Request::x25519_keygen`] and [`Request::x25519_derive`] at once: the public key, then the
    /// secret.
    pub fn x25519_exchange(private: &'a [u8; 32], peer: &'a [u8; 32]) -> Self {
        Self {
            kind: OpKind::X25519Exchange,
            ..Self::x25519_derive(private, peer)
        }
    }
}
