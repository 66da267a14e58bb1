//! Authenticated encryption with associated data (RFC 5116), in place: TLS records and the like.
//!
//! Records are a thousand times cheaper per op than private-key ops, so that nothing is copied that need not
//! be. An [`Op`] owns a [`Buffer`](crate::Buffer) that its submitter fills; whoever submits it gives
//! both away and gets both back, and reuses them: after warm-up nothing is allocated. The buffer comes
//! from the queue pair that will work on it ([`QueuePair::buffer`](crate::QueuePair::buffer)), so that a device which reads memory by
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
//! use spinlane_crypto::aead::{Algorithm, TAG_LEN};
//! use spinlane_cryptodev::aead::{Direction, Key, Op, Request};
//! use spinlane_cryptodev::{Buffer, OpStatus, Token, cpu};
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
//! assert_eq!(op.status, OpStatus::Success);
//!
//! op.prepare(Token(2), &Request { direction: Direction::Open, ..seal })?;
//! cpu::run_aead(&mut op);
//! assert_eq!(op.data(), b"hello world");
//! # Ok::<(), spinlane_cryptodev::aead::Error>(())
//! ```
//!
//! Who wants no device, but the CPU's result at once, takes a [`Cipher`](spinlane_crypto::aead::Cipher).
//!
//! # Invariants
//! - A buffer never shows plaintext that was not authenticated: unless an open succeeds, its data ends
//!   as zeros.
//! - An op runs once per [`Op::prepare`]: another run of what is already sealed would use the nonce
//!   twice. So what fails is computed again only from a copy, or if it was never begun
//!   ([`OpStatus::NotProcessed`](crate::OpStatus::NotProcessed)).
//! - Lengths are checked when an op is prepared; a device need not.

mod key;
mod op;

pub use key::Key;
pub use op::{Direction, MAX_AAD, Op, Parts, Request};

use spinlane_crypto::aead::{Algorithm, KeyLengthError, TAG_LEN};
use thiserror::Error;

use crate::buffer::MAX_BUFFER;
use crate::kind::Kind;

/// A key, buffer or request that no device could serve. The text names the culprit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The key has the wrong length.
    #[error(transparent)]
    KeyLength(#[from] KeyLengthError),
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

impl Kind for Algorithm {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        self.name()
    }
}
