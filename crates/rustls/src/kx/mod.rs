//! Key exchange groups on devices.

mod ecdh;
mod hybrid;
mod x25519;

pub use ecdh::{OffloadedEcdhP256, OffloadedEcdhP384};
pub use hybrid::{OffloadedSecp256r1Mlkem768, OffloadedX25519Mlkem768};
pub use x25519::OffloadedX25519;

use rustls::{Error, PeerMisbehaved};
use spinlane_lcore::OffloadError;

use crate::error::offload_error;

const INVALID_KEY_SHARE: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// What a failed derivation says of the peer: an invalid input is its key share.
fn derive_error(error: OffloadError) -> Error {
    match error {
        OffloadError::Invalid => INVALID_KEY_SHARE,
        error => offload_error(error),
    }
}
