//! ECDSA signatures.

use std::sync::Arc;

use spinlane_crypto::Key;

use super::by;
use crate::key::KeyHandle;
use crate::kind::{OpKind, OpSpec};
use crate::op::OpStatus;
use crate::request::{Request, RequestError};

pub(crate) static P256: OpSpec = spec("ecdsa-p256", "P-256", 32);
pub(crate) static P384: OpSpec = spec("ecdsa-p384", "P-384", 48);

const fn spec(name: &'static str, key: &'static str, digest_len: usize) -> OpSpec {
    OpSpec {
        name,
        key: Some(key),
        input_len: digest_len,
        input_varies: false,
        output_len: 2 * digest_len,
        compute,
        check: Some(check),
        is_secret: false,
        leaks_when_wrong: false,
    }
}

/// Computed once and not checked, as libcrypto does it. AWS-LC allocates numbers and points.
fn compute(key: Option<&Key>, digest: &[u8], output: &mut [u8]) -> OpStatus {
    match key {
        Some(Key::EcP256(key)) => by(key.sign(digest, output), OpStatus::Error),
        Some(Key::EcP384(key)) => by(key.sign(digest, output), OpStatus::Error),
        _ => OpStatus::Invalid,
    }
}

fn check(key: &Key, digest: &[u8], output: &[u8]) -> bool {
    match key {
        Key::EcP256(key) => key.is_signed(digest, output),
        Key::EcP384(key) => key.is_signed(digest, output),
        _ => false,
    }
}

impl<'a> Request<'a> {
    /// ECDSA signature on P-256 over `digest`, which the caller has truncated or left-padded
    /// to 32 bytes (FIPS 186-5, section 6.4.1).
    ///
    /// # Errors
    /// The key is no P-256 key, or `digest` is not 32 bytes.
    pub fn ecdsa_p256(key: &'a Arc<KeyHandle>, digest: &'a [u8]) -> Result<Self, RequestError> {
        Self::ecdsa(OpKind::EcdsaP256, "P-256", key, digest)
    }

    /// ECDSA signature on P-384 over `digest`, which the caller has truncated or left-padded
    /// to 48 bytes.
    ///
    /// # Errors
    /// The key is no P-384 key, or `digest` is not 48 bytes.
    pub fn ecdsa_p384(key: &'a Arc<KeyHandle>, digest: &'a [u8]) -> Result<Self, RequestError> {
        Self::ecdsa(OpKind::EcdsaP384, "P-384", key, digest)
    }

    fn ecdsa(
        kind: OpKind,
        wanted: &'static str,
        key: &'a Arc<KeyHandle>,
        digest: &'a [u8],
    ) -> Result<Self, RequestError> {
        if key.name() != wanted {
            return Err(RequestError::WrongKey {
                wanted,
                got: key.name(),
            });
        }
        if digest.len() != kind.input_len() {
            return Err(RequestError::Length {
                what: "digest",
                wanted: kind.input_len(),
                got: digest.len(),
            });
        }
        Ok(Self {
            kind,
            key: Some(key),
            input: digest,
            more: &[],
            pss: None,
        })
    }
}
