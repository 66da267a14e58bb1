//! SHA-2 and HMAC without allocation.
//!
//! TLS 1.3 derives some twenty secrets per handshake, each by two or three HMACs under the same
//! few keys. A library's HMAC allocates a context for each; here a key is hashed once
//! ([`HmacKey`]), and what does not wait for one another is computed side by side
//! ([`HmacKey::sign_each`]).

mod hmac;

use std::fmt;

use crate::aws_lc::Sha;

pub use hmac::HmacKey;
pub(crate) use hmac::MidState;

/// Longest digest in bytes.
pub const MAX_DIGEST_LEN: usize = 64;
/// Longest block in bytes.
const MAX_BLOCK_LEN: usize = 128;

/// A digest algorithm of FIPS 180-4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Digest {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Digest {
    /// Every digest.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Bytes of output; never 0.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Bytes that one compression takes in.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 | Self::Sha512 => 128,
        }
    }

    /// Hashes the concatenation of `parts` into the first [`Digest::len`] bytes of `out`.
    ///
    /// # Panics
    /// If `out` is shorter than that.
    pub fn hash(self, parts: &[&[u8]], out: &mut [u8]) {
        let mut hasher = Hasher::new(self);
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finish(out);
    }
}

/// A running digest. Its state is inline, cheap to clone (a transcript hash at two points of a
/// handshake), and wiped on drop.
#[derive(Clone)]
pub struct Hasher {
    digest: Digest,
    sha: Sha,
}

impl Hasher {
    /// A fresh one.
    pub fn new(digest: Digest) -> Self {
        Self {
            digest,
            sha: Sha::new(digest),
        }
    }

    /// One that has taken in the block that led to `state`, a state of `digest`.
    fn after(digest: Digest, state: &MidState) -> Self {
        Self {
            digest,
            sha: Sha::after(digest, state),
        }
    }

    /// Its algorithm.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Takes in `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.sha.update(data);
    }

    /// Writes the digest into the first [`Digest::len`] bytes of `out`.
    ///
    /// # Panics
    /// If `out` is shorter than that.
    pub fn finish(mut self, out: &mut [u8]) {
        self.sha.finish(out);
    }
}

impl fmt::Debug for Hasher {
    /// The state stays out: what it took in may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
