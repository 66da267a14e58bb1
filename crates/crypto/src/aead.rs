//! Authenticated encryption with associated data (RFC 5116): the algorithms, and a key of one for
//! the CPU.

use std::fmt;

use thiserror::Error;

pub use crate::aws_lc::Cipher;

/// Bytes of a nonce, of every algorithm.
pub const NONCE_LEN: usize = 12;
/// Bytes of a tag, of every algorithm.
pub const TAG_LEN: usize = 16;

/// What an op seals and opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// AES-GCM with a 16-byte key (SP 800-38D; AEAD_AES_128_GCM of RFC 5116).
    Aes128Gcm,
    /// AES-GCM with a 32-byte key (AEAD_AES_256_GCM of RFC 5116).
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439) with a 32-byte key.
    ChaCha20Poly1305,
}

impl Algorithm {
    /// Every algorithm, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the position in [`Algorithm::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the name that the command line and counters use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// Finds the algorithm called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Returns the length of a key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key of the wrong length.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{algorithm} key of {got} bytes; it must have {}", .algorithm.key_len())]
pub struct KeyLengthError {
    /// What the key is for.
    pub algorithm: Algorithm,
    /// Bytes of the key that was given.
    pub got: usize,
}
