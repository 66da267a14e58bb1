//! Authenticated encryption with associated data (RFC 5116), in place: TLS records and the like.
//!
//! Bulk data has a contract of its own beside that of private-key ops: it is a thousand times cheaper
//! per op, so that nothing is copied that need not be, and many times longer, so that an op owns its
//! data rather than holding it inline. An [`Op`] owns a [`Buffer`]; whoever submits it gives
//! both away and gets both back, and reuses them: after warm-up nothing is allocated. The buffer comes
//! from the queue pair that will work on it ([`QueuePair::buffer`]), so that a device which reads memory by
//! itself finds it in memory that it can reach; a device that computes on the CPU takes any.
//!
//! ```text
//!  buffer  │ head, untouched │ data, sealed or opened in place │ tag, 16 bytes │ room │
//!                            ╰───── Request::data ─────╯
//! ```
//! So a TLS record is sealed where its header already stands, and leaves as one piece.
//!
//! ```
//! use std::sync::Arc;
//! use spinlane_cryptodev::aead::{Algorithm, Buffer, Direction, Key, Op, Request, Status, TAG_LEN};
//! use spinlane_cryptodev::{Token, cpu};
//!
//! let key = Arc::new(Key::new(Algorithm::Aes128Gcm, &[7; 16])?);
//! let mut op = Op::new(Buffer::heap(5 + 11 + TAG_LEN)?);
//! op.buffer_mut()[5..16].copy_from_slice(b"hello world");
//! let seal = Request {
//!     direction: Direction::Seal,
//!     key: &key,
//!     nonce: &[1; 12],
//!     aad: b"\x17\x03\x03\x00\x1b",
//!     data: 5..16,
//! };
//! op.prepare(Token(1), &seal)?;
//! cpu::run_aead(&mut op); // or a queue pair's enqueue_burst and dequeue_burst
//! assert_eq!(op.status, Status::Success);
//!
//! op.prepare(Token(2), &Request { direction: Direction::Open, ..seal })?;
//! cpu::run_aead(&mut op);
//! assert_eq!(op.data(), b"hello world");
//! # Ok::<(), spinlane_cryptodev::aead::Error>(())
//! ```
//!
//! Who wants no device, but the CPU's result at once, takes a [`Cipher`].
//!
//! # Invariants
//! - A buffer never shows plaintext that was not authenticated: unless an open succeeds, its data ends
//!   as zeros.
//! - An op runs once per [`Op::prepare`]: another run of what is already sealed would use the nonce
//!   twice. So what fails is computed again only from a copy, or if it was never begun
//!   ([`Status::NotProcessed`]).
//! - Lengths are checked when an op is prepared; a device need not.

mod buffer;
mod cipher;
mod device;
mod key;
mod op;

pub use buffer::{Buffer, MAX_BUFFER, Memory};
pub use cipher::Cipher;
pub use device::{Burst, Capabilities, Device, QueuePair};
pub use key::Key;
pub use op::{Direction, MAX_AAD, Op, Parts, Request, Status};

use std::fmt;

use thiserror::Error;

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

    /// Position in [`Algorithm::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name as used on the command line and in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The algorithm called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Bytes of a key.
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

/// A key, buffer or request that no device could serve. The text names the culprit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The key has the wrong length.
    #[error("{algorithm} key of {got} bytes; it must have {}", .algorithm.key_len())]
    KeyLength {
        /// What the key is for.
        algorithm: Algorithm,
        /// Its length in bytes.
        got: usize,
    },
    /// The buffer is longer than a device can be told of.
    #[error("buffer of {got} bytes; a device takes at most {MAX_BUFFER}: split the data")]
    BufferTooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// There is more associated data than an op holds.
    #[error("{got} bytes of associated data; an op takes at most {MAX_AAD}")]
    AadTooLong {
        /// Their number.
        got: usize,
    },
    /// The data, or the tag behind it, lies outside the buffer.
    #[error(
        "data {start}..{end} and {TAG_LEN} bytes of tag in a buffer of {buffer}; take a longer buffer"
    )]
    OutsideBuffer {
        /// Where the data starts.
        start: usize,
        /// Where it ends, and the tag starts.
        end: usize,
        /// Length of the buffer.
        buffer: usize,
    },
}
