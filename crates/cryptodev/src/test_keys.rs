//! Keys for tests and speed measurements (feature `test-keys`), as ops carry them: those of
//! [`spinlane_crypto::test_keys`].

use std::sync::Arc;

use spinlane_crypto::test_keys as keys;

use crate::key::KeyHandle;

/// The key encoded in `der`, one of [`keys::der`].
///
/// # Panics
/// If it is not.
pub fn rsa(der: &[u8]) -> Arc<KeyHandle> {
    KeyHandle::local(keys::rsa(der))
}

/// A P-256 key, another for each `seed`.
pub fn p256(seed: u8) -> Arc<KeyHandle> {
    KeyHandle::local(keys::p256(seed))
}

/// A P-384 key, another for each `seed`.
pub fn p384(seed: u8) -> Arc<KeyHandle> {
    KeyHandle::local(keys::p384(seed))
}

/// An Ed25519 key, another for each `seed`.
pub fn ed25519(seed: u8) -> Arc<KeyHandle> {
    KeyHandle::local(keys::ed25519(seed))
}
