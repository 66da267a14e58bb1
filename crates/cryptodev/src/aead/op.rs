//! One operation: which way, with which key, on which bytes, and how it ended.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use spinlane_crypto::aead::{Algorithm, NONCE_LEN, TAG_LEN};
use spinlane_crypto::cleanse;

use super::{Error, Key};
use crate::buffer::Buffer;
use crate::op::{Head, OpStatus, Token};

/// Most associated data of an op in bytes; TLS has 5 or 13, ESP 8 or 12.
pub const MAX_AAD: usize = 64;

/// Which way an op goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Plaintext becomes ciphertext, and the tag is written behind it.
    Seal,
    /// Ciphertext becomes plaintext, if the tag behind it is right.
    Open,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Which way.
    pub direction: Direction,
    /// With which key.
    pub key: &'a Arc<Key>,
    /// Never the same for two seals with one key: who can repeat one learns the data's difference and
    /// can forge.
    pub nonce: &'a [u8; NONCE_LEN],
    /// What is authenticated besides; at most [`MAX_AAD`] bytes.
    pub aad: &'a [u8],
    /// Where in the buffer the data is, which may be empty. The [`TAG_LEN`] bytes after it are the tag's.
    pub data: Range<usize>,
}

/// All that computes an op, borrowed at once.
pub struct Parts<'a> {
    /// With which key.
    pub key: &'a Key,
    /// The nonce.
    pub nonce: &'a [u8; NONCE_LEN],
    /// What is authenticated besides.
    pub aad: &'a [u8],
    /// What is sealed or opened in place.
    pub data: &'a mut [u8],
    /// Its tag: written by a seal, read by an open.
    pub tag: &'a mut [u8; TAG_LEN],
}

/// One operation on its way through a device, and the buffer that it works on. Made once, then reused.
///
/// Laid out so that an op of TLS or ESP is on two cache lines.
#[repr(C, align(64))]
pub struct Op {
    head: Head,
    key: Option<Arc<Key>>,
    buffer: Buffer,
    /// As in [`MAX_BUFFER`](crate::MAX_BUFFER).
    start: u16,
    end: u16,
    direction: Direction,
    aad_len: u8,
    extra: Extra,
}

/// What goes in besides key and data: the second cache line, and the rest of the third.
#[repr(C, align(64))]
struct Extra {
    nonce: [u8; NONCE_LEN],
    aad: [u8; MAX_AAD],
}

impl Op {
    /// An op that works on `buffer`, not prepared.
    pub fn new(buffer: Buffer) -> Box<Self> {
        Box::new(Self {
            head: Head {
                status: OpStatus::Error,
                ..Head::default()
            },
            key: None,
            buffer,
            start: 0,
            end: 0,
            direction: Direction::Seal,
            aad_len: 0,
            extra: Extra {
                nonce: [0; NONCE_LEN],
                aad: [0; MAX_AAD],
            },
        })
    }

    /// Takes in `request`; the data is in the buffer already. To be called before every submission.
    /// An op that keeps its key does not touch the key's reference count.
    ///
    /// # Errors
    /// A length is out of range. The op must then be prepared anew: a device would give it back
    /// with [`OpStatus::Error`].
    #[inline]
    pub fn prepare(&mut self, token: Token, request: &Request<'_>) -> Result<(), Error> {
        self.status = OpStatus::Error;
        let Range { start, end } = request.data;
        let most = self.buffer.len().checked_sub(TAG_LEN);
        let fits = start <= end && most.is_some_and(|most| end <= most);
        if !fits {
            return Err(Error::OutsideBuffer {
                start,
                end,
                buffer: self.buffer.len(),
            });
        }
        let aad_len = request.aad.len();
        let Some(aad) = self.extra.aad.get_mut(..aad_len) else {
            return Err(Error::AadTooLong { got: aad_len });
        };
        aad.copy_from_slice(request.aad);
        self.aad_len = aad_len as u8;
        self.set_key(request.key);
        self.direction = request.direction;
        self.extra.nonce = *request.nonce;
        // No buffer is longer than these can say.
        (self.start, self.end) = (start as u16, end as u16);
        self.token = token;
        self.status = OpStatus::NotProcessed;
        Ok(())
    }

    #[inline]
    fn set_key(&mut self, key: &Arc<Key>) {
        // Counting references costs more than all else here.
        if !self.key.as_ref().is_some_and(|own| Arc::ptr_eq(own, key)) {
            self.key = Some(Arc::clone(key));
        }
    }

    /// Takes in all that `other` is up to the end of its tag, head included; what its buffer has behind
    /// that is not copied. Allocates if its own buffer is shorter than the other's.
    pub fn copy_from(&mut self, other: &Self) {
        if self.buffer.len() < other.buffer.len() {
            self.buffer = Buffer::zeros(other.buffer.len());
        }
        match &other.key {
            Some(key) => self.set_key(key),
            None => self.key = None,
        }
        self.direction = other.direction;
        self.extra.nonce = other.extra.nonce;
        self.aad_len = other.aad_len;
        self.extra.aad = other.extra.aad;
        (self.start, self.end) = (other.start, other.end);
        let used = ..usize::from(other.end) + TAG_LEN.min(other.buffer.len());
        self.buffer[used].copy_from_slice(&other.buffer[used]);
        self.head = other.head;
    }

    /// Ends it without success: the data becomes zero.
    pub fn fail(&mut self, status: OpStatus) {
        let range = self.data_range();
        cleanse(&mut self.buffer[range]);
        self.status = status;
    }

    /// Lets go of the key and of the right to run.
    pub fn recycle(&mut self) {
        self.key = None;
        self.head = Head {
            status: OpStatus::Error,
            ..Head::default()
        };
    }

    /// Which way it goes.
    #[inline]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Its key; `None` before it is prepared for the first time.
    #[inline]
    pub fn key(&self) -> Option<&Arc<Key>> {
        self.key.as_ref()
    }

    /// Its key's algorithm.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.key.as_ref().map(|key| key.algorithm())
    }

    /// Its nonce.
    #[inline]
    pub fn nonce(&self) -> &[u8; NONCE_LEN] {
        &self.extra.nonce
    }

    /// What is authenticated besides the data.
    #[inline]
    pub fn aad(&self) -> &[u8] {
        &self.extra.aad[..usize::from(self.aad_len)]
    }

    /// Where the associated data lies, and whatever is behind it: at the same address as long as the op.
    #[inline]
    pub fn aad_place(&self) -> &[u8; MAX_AAD] {
        &self.extra.aad
    }

    /// Direction and length of the associated data as one number: what a device's session depends on besides the key.
    #[inline]
    pub fn variant(&self) -> u16 {
        u16::from_ne_bytes([self.direction as u8, self.aad_len]) // side by side: one load
    }

    /// Where in the buffer the data is.
    #[inline]
    pub fn data_range(&self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }

    /// The data: of a seal the ciphertext, of an open the plaintext, once it succeeded.
    pub fn data(&self) -> &[u8] {
        &self.buffer[self.data_range()]
    }

    /// The bytes behind the data; its tag, once a seal succeeded.
    pub fn tag(&self) -> &[u8] {
        let behind = &self.buffer[usize::from(self.end)..];
        &behind[..TAG_LEN.min(behind.len())]
    }

    /// The whole buffer.
    #[inline]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The whole buffer, to be filled.
    #[inline]
    pub fn buffer_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }

    /// Gives the op another buffer and returns its own. It must be prepared anew.
    pub fn replace_buffer(&mut self, buffer: Buffer) -> Buffer {
        self.status = OpStatus::Error;
        (self.start, self.end) = (0, 0);
        std::mem::replace(&mut self.buffer, buffer)
    }

    /// Everything that computes it, for a device; `None` unless it is prepared and has not run.
    pub fn parts(&mut self) -> Option<Parts<'_>> {
        if self.status != OpStatus::NotProcessed {
            return None;
        }
        let Range { start, end } = self.data_range();
        let (data, behind) = self.buffer[start..].split_at_mut(end - start);
        Some(Parts {
            key: self.key.as_deref()?,
            nonce: &self.extra.nonce,
            aad: &self.extra.aad[..usize::from(self.aad_len)],
            data,
            tag: behind.first_chunk_mut()?,
        })
    }
}

impl Deref for Op {
    type Target = Head;

    #[inline]
    fn deref(&self) -> &Head {
        &self.head
    }
}

impl DerefMut for Op {
    #[inline]
    fn deref_mut(&mut self) -> &mut Head {
        &mut self.head
    }
}

impl fmt::Debug for Op {
    /// Data and nonce stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op")
            .field("token", &self.token)
            .field("direction", &self.direction)
            .field("key", &self.key)
            .field("data", &self.data_range())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
