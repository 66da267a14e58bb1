//! Bytes that look random and are the same each time, and a hash to compare them by.

use std::hash::Hasher;
use std::io::{self, Read};

/// A stream of `len` bytes that `seed` determines.
#[derive(Clone, Debug)]
pub struct Noise {
    state: u64,
    len: u64,
}

impl Noise {
    /// A stream of `len` bytes.
    pub fn new(seed: u64, len: u64) -> Self {
        Self {
            state: seed | 1,
            len,
        }
    }

    /// The hash of the whole stream.
    ///
    /// # Panics
    /// Never.
    pub fn hash(&self) -> u64 {
        hash_of(&mut self.clone()).expect("noise does not fail").1
    }
}

impl Read for Noise {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = to
            .len()
            .min(usize::try_from(self.len).unwrap_or(usize::MAX));
        for chunk in to[..count].chunks_mut(8) {
            // xorshift64 (Marsaglia 2003). A read that ends within a word skips the rest of it, so
            // streams are the same only if read in multiples of 8 bytes.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            chunk.copy_from_slice(&self.state.to_le_bytes()[..chunk.len()]);
        }
        self.len -= count as u64;
        Ok(count)
    }
}

/// Reads `from` to its end; returns length and hash.
///
/// # Errors
/// What reading fails with.
pub fn hash_of(from: &mut impl Read) -> io::Result<(u64, u64)> {
    let (mut len, mut hash, mut block) = (0, Fnv::default(), vec![0; 64 * 1024]);
    loop {
        let count = from.read(&mut block)?;
        if count == 0 {
            return Ok((len, hash.finish()));
        }
        hash.write(&block[..count]);
        len += count as u64;
    }
}

/// FNV-1a: unlike the standard library's hasher, it does not depend on how the bytes are cut.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
