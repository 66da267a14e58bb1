//! RSA private operations, without padding.

use std::sync::Arc;

use spinlane_crypto::digest::{Digest, MAX_DIGEST_LEN};
use spinlane_crypto::{Key, MAX_MODULUS_LEN, RsaPublicKey, padding};

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

/// A hash that is signed by PSS with MGF1 over the same digest, and a salt as long as the hash (RFC 8017, section
/// 8.1; the only salt that TLS 1.3 knows, RFC 8446, section 4.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PssHash {
    digest: Digest,
    bytes: [u8; MAX_DIGEST_LEN],
}

impl PssHash {
    /// The digest that made it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its bytes, as many as the digest has.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.digest.len()]
    }

    /// Whether `signature` is one over it.
    pub fn is_signed(&self, by: &RsaPublicKey, signature: &[u8]) -> bool {
        let mut block = [0; MAX_MODULUS_LEN];
        let block = &mut block[..by.modulus().len()];
        by.open(signature, block)
            && padding::is_pss(self.digest, self.bytes(), self.digest.len(), block)
    }
}

impl<'a> Request<'a> {
    /// Says what the block of [`Request::rsa_private`] is the PSS encoding of, with a salt as long as the hash:
    /// a block does not tell, and a token that has CKM_RSA_PKCS_PSS alone must be given the hash. Its signature
    /// has a salt of its own. Without effect on a key whose secret is in memory, and if `hash` has another length
    /// than the digest's.
    #[must_use]
    pub fn of_pss(mut self, digest: Digest, hash: &[u8]) -> Self {
        let is_remote = self.key.is_some_and(|key| key.as_remote().is_some());
        if is_remote && hash.len() == digest.len() {
            let mut bytes = [0; MAX_DIGEST_LEN];
            bytes[..hash.len()].copy_from_slice(hash);
            self.pss = Some(PssHash { digest, bytes });
        }
        self
    }

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
            pss: None,
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
