//! RSA private operations, without padding.

use std::sync::Arc;

use spinlane_crypto::Key;

use super::by;
use crate::key::KeyHandle;
use crate::kind::{OpKind, OpSpec};
use crate::op::OpStatus;
use crate::request::{Request, RequestError};

pub(crate) static RSA_2048: OpSpec = spec("rsa2048", 256);
pub(crate) static RSA_3072: OpSpec = spec("rsa3072", 384);
pub(crate) static RSA_4096: OpSpec = spec("rsa4096", 512);

const fn spec(name: &'static str, modulus_len: usize) -> OpSpec {
    OpSpec {
        name,
        key: Some("RSA"),
        input_len: modulus_len,
        input_varies: false,
        output_len: modulus_len,
        compute,
        check: Some(check),
        is_secret: true, // of a decryption
        leaks_when_wrong: true,
    }
}

/// AWS-LC allocates a few work numbers, takes the key's lock for its blinding, and checks the result by the
/// public exponent.
fn compute(key: Option<&Key>, block: &[u8], output: &mut [u8]) -> OpStatus {
    match key {
        Some(Key::Rsa(key)) => by(key.private_raw(block, output), OpStatus::Error),
        _ => OpStatus::Invalid,
    }
}

fn check(key: &Key, block: &[u8], output: &[u8]) -> bool {
    matches!(key, Key::Rsa(key) if key.verify_raw(output, block))
}

impl<'a> Request<'a> {
    /// RSA private operation on `block`, which is already padded, big-endian and as long as
    /// the modulus.
    ///
    /// # Errors
    /// The key is no RSA key, or `block` is of another length, not below the modulus, or one of
    /// 0, 1 and n-1. Padding never makes those three; a peer's ciphertext may be one.
    pub fn rsa_private(key: &'a Arc<KeyHandle>, block: &'a [u8]) -> Result<Self, RequestError> {
        let Some(modulus) = key.modulus() else {
            return Err(RequestError::WrongKey {
                wanted: "RSA",
                got: key.name(),
            });
        };
        if block.len() != modulus.len() {
            return Err(RequestError::Length {
                what: "padded RSA block",
                wanted: modulus.len(),
                got: block.len(),
            });
        }
        if block >= modulus {
            return Err(RequestError::NotBelowModulus);
        }
        if is_own_root(block, modulus) {
            return Err(RequestError::OwnRoot);
        }
        Ok(Self {
            kind: OpKind::of_modulus(modulus),
            key: Some(key),
            input: block,
            more: &[],
        })
    }
}

/// Whether `block` is 0, 1 or n-1, which aws-lc refuses: every odd power of them is themselves.
fn is_own_root(block: &[u8], modulus: &[u8]) -> bool {
    let (Some((last, head)), Some((last_of_n, head_of_n))) =
        (block.split_last(), modulus.split_last())
    else {
        return true;
    };
    // n is odd, so that n-1 differs from it in the last bit alone.
    *last <= 1 && head.iter().all(|byte| *byte == 0) || *last == *last_of_n ^ 1 && head == head_of_n
}
