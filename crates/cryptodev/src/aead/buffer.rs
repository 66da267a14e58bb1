//! The memory that an op works on.

use std::fmt;
use std::ops::{Deref, DerefMut};

use aligned_vec::{ABox, AVec, ConstAlign, avec};

use super::Error;

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
    /// Told apart so that the usual case needs no call.
    Heap(ABox<[u8], ConstAlign<LINE>>),
    Device(Box<dyn Memory>),
}

/// Bytes of a cache line: a kernel that works on as many at a time is half as fast across two.
const LINE: usize = 64;

impl Buffer {
    /// `len` zeros on the heap.
    ///
    /// # Errors
    /// [`Error::BufferTooLong`] if `len` is above [`MAX_BUFFER`].
    pub fn heap(len: usize) -> Result<Self, Error> {
        check(len)?;
        let bytes: AVec<u8, ConstAlign<LINE>> = avec![[LINE]| 0; len];
        Ok(Self(Kind::Heap(bytes.into_boxed_slice())))
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
            Kind::Heap(_) => None,
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
        }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Kind::Heap(bytes) => bytes,
            Kind::Device(memory) => memory.bytes_mut(),
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
