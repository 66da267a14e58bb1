//! SHA-2 and HMAC without allocation.
//!
//! TLS 1.3 derives some twenty secrets per handshake, each by two or three HMACs under the same
//! few keys. A library's HMAC allocates a context for each; here a key is hashed once ([`HmacKey`]).

mod hmac;

use std::fmt;

use crate::sha2::{SHA256_START, Sha256};
use crate::sha512::{SHA384_START, SHA512_START, Sha512};

pub use hmac::HmacKey;

/// Longest digest in bytes.
pub const MAX_DIGEST_LEN: usize = 64;

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

    /// Returns the length of the output in bytes; never 0.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Returns how many bytes one compression takes in.
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
    running: Running,
}

#[derive(Clone)]
enum Running {
    Sha256(Sha256),
    /// SHA-384 is a SHA-512 with other constants and a shorter result.
    Sha512(Sha512),
}

impl Hasher {
    /// Makes a running digest that has taken in nothing.
    pub fn new(digest: Digest) -> Self {
        let running = match digest {
            Digest::Sha256 => Running::Sha256(Sha256::after(SHA256_START, 0)),
            Digest::Sha384 => Running::Sha512(Sha512::after(SHA384_START, 0)),
            Digest::Sha512 => Running::Sha512(Sha512::after(SHA512_START, 0)),
        };
        Self { digest, running }
    }

    /// Returns the algorithm.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Takes in `data`.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.running {
            Running::Sha256(sha) => sha.update(data),
            Running::Sha512(sha) => sha.update(data),
        }
    }

    /// Writes the digest into the first [`Digest::len`] bytes of `out`.
    ///
    /// # Panics
    /// If `out` is shorter than that.
    pub fn finish(mut self, out: &mut [u8]) {
        let out = &mut out[..self.digest.len()];
        match &mut self.running {
            Running::Sha256(sha) => sha.finish(out),
            Running::Sha512(sha) => sha.finish(out),
        }
    }
}

impl fmt::Debug for Hasher {
    /// Prints no state: what the digest took in may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
