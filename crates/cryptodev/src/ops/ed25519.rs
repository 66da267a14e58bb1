//! Ed25519 signatures (RFC 8032).

use std::sync::Arc;

use spinlane_crypto::Key;

use super::by;
use crate::key::KeyHandle;
use crate::kind::{OpKind, OpSpec};
use crate::op::OpStatus;
use crate::request::{Request, RequestError};

pub(crate) static ED25519: OpSpec = OpSpec {
    name: "ed25519",
    key: Some("Ed25519"),
    input_len: 512,
    input_varies: true,
    output_len: 64,
    compute,
    check: None, // to compute it again is cheaper
    is_secret: false,
    leaks_when_wrong: true,
};

/// Computed once and not checked, as libcrypto does it.
fn compute(key: Option<&Key>, message: &[u8], output: &mut [u8]) -> OpStatus {
    match (key, output.try_into()) {
        (Some(Key::Ed25519(key)), Ok(signature)) => {
            by(key.sign(message, signature), OpStatus::Error)
        }
        _ => OpStatus::Invalid,
    }
}

impl<'a> Request<'a> {
    /// Ed25519 signature over `message`.
    ///
    /// # Errors
    /// The key is no Ed25519 key, or `message` is longer than [`OpKind::input_len`].
    pub fn ed25519(key: &'a Arc<KeyHandle>, message: &'a [u8]) -> Result<Self, RequestError> {
        if key.name() != "Ed25519" {
            return Err(RequestError::WrongKey {
                wanted: "Ed25519",
                got: key.name(),
            });
        }
        if message.len() > OpKind::Ed25519.input_len() {
            return Err(RequestError::TooLong {
                what: "message",
                most: OpKind::Ed25519.input_len(),
                got: message.len(),
            });
        }
        Ok(Self {
            kind: OpKind::Ed25519,
            key: Some(key),
            input: message,
            more: &[],
            pss: None,
        })
    }
}
