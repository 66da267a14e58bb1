//! X25519 (RFC 7748).

use crate::aws_lc;

/// Writes the public key of the scalar `private`.
pub fn public(private: &[u8; 32], public: &mut [u8; 32]) {
    aws_lc::x25519_public(private, public);
}

/// Writes the secret that `private` shares with `peer`. Returns `false` if the secret is all zeros
/// (section 6.1), which is tested in constant time.
#[must_use]
pub fn shared(private: &[u8; 32], peer: &[u8; 32], secret: &mut [u8; 32]) -> bool {
    aws_lc::x25519(private, peer, secret)
}
