//! The memory that an op works on, and the sizes it comes in.

use std::fmt;
use std::ops::{Deref, DerefMut};

use aligned_vec::{ABox, AVec, ConstAlign, avec};

use crate::aead::Error;

/// Longest buffer in bytes: what the length fields of one segment of a packet buffer (DPDK's
/// `rte_mbuf`) can say. A TLS record of 16 KiB fits three times.
pub const MAX_BUFFER: usize = 65_535;

/// Memory that a driver hands out, and takes back when it is dropped.
pub trait Memory: Send {
    /// All of it.
    fn bytes(&self) -> &[u8];
    /// All of it, to be changed. The same memory as [`Memory::bytes`], at the same address until it is
    /// dropped.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Address at which a device finds its first byte; `None` if no device but the CPU can reach it.
    fn io_address(&self) -> Option<u64> {
        None
    }
}

/// Owned memory of a fixed length, of the heap or of a device, that starts at a cache line. Dereferences to its
/// bytes.
///
/// What is in it is the owner's to wipe: an op leaves its result there.
pub struct Buffer(Kind);

enum Kind {
    Empty,
    /// Told apart so that the usual case needs no call.
    Heap(ABox<[u8], ConstAlign<LINE>>),
    Device(Box<dyn Memory>),
}

/// Bytes of a cache line: a kernel that works on as many at a time is half as fast across two.
const LINE: usize = 64;

/// Sizes that pools of ops have, in bytes: what an exchange on X25519, one on P-384 and RSA-4096 take, what
/// ML-KEM-1024 will, a TLS record of 16 KiB, and the longest.
pub const SIZE_CLASSES: [usize; 6] = [128, 320, 1024, 6144, 16 * 1024 + 256, MAX_BUFFER];

/// Position in [`SIZE_CLASSES`] of the smallest that holds `len` bytes; of the longest if none does.
#[inline]
pub fn size_class(len: usize) -> usize {
    let smaller = SIZE_CLASSES.iter().filter(|size| **size < len);
    smaller.count().min(SIZE_CLASSES.len() - 1)
}

impl Buffer {
    /// No bytes.
    pub const EMPTY: Self = Self(Kind::Empty);

    /// Zeros on the heap, at least `len`, as many as its size class has.
    ///
    /// # Panics
    /// If `len` is above [`MAX_BUFFER`].
    pub(crate) fn of_class(len: usize) -> Self {
        assert!(len <= MAX_BUFFER, "a request's operands are short");
        Self::zeros(SIZE_CLASSES[size_class(len)])
    }

    pub(crate) fn zeros(len: usize) -> Self {
        let bytes: AVec<u8, ConstAlign<LINE>> = avec![[LINE]| 0; len];
        Self(Kind::Heap(bytes.into_boxed_slice()))
    }

    /// `len` zeros on the heap.
    ///
    /// # Errors
    /// [`Error::BufferTooLong`] if `len` is above [`MAX_BUFFER`].
    pub fn heap(len: usize) -> Result<Self, Error> {
        check(len)?;
        Ok(Self::zeros(len))
    }

    /// A device's memory.
    ///
    /// # Errors
    /// [`Error::BufferTooLong`] if it is longer than [`MAX_BUFFER`].
    pub fn of_device(memory: Box<dyn Memory>) -> Result<Self, Error> {
        check(memory.bytes().len())?;
        Ok(Self(Kind::Device(memory)))
    }

    /// Address at which a device finds its first byte; `None` if no device but the CPU can reach it.
    pub fn io_address(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty | Kind::Heap(_) => None,
            Kind::Device(memory) => memory.io_address(),
        }
    }
}

fn check(len: usize) -> Result<(), Error> {
    if len > MAX_BUFFER {
        return Err(Error::BufferTooLong { got: len });
    }
    Ok(())
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Heap(bytes) => bytes,
            Kind::Device(memory) => memory.bytes(),
            Kind::Empty => &[],
        }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Kind::Heap(bytes) => bytes,
            Kind::Device(memory) => memory.bytes_mut(),
            Kind::Empty => &mut [],
        }
    }
}

impl fmt::Debug for Buffer {
    /// Its length alone: what is in it may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len())
            .field("io_address", &self.io_address())
            .finish_non_exhaustive()
    }
}
