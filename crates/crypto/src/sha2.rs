//! Messages, padding and running states of SHA-256, SHA-384 and SHA-512 (FIPS 180-4), which differ
//! in their words. What compresses a block is in `aws_lc` and [`sha512`](crate::sha512).
//!
//! Most of what a key schedule hashes ends within the block it is in: [`finish_block`] takes that
//! without a running hash.

use zeroize::Zeroize;

use crate::aws_lc::{cleanse, sha256_compress};

/// A state between two blocks.
pub(crate) type State<W> = [W; 8];

/// Where SHA-256 starts (section 5.3.3).
pub(crate) const SHA256_START: State<u32> = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256.
pub(crate) type Sha256 = Sha2<u32, 64>;

/// A word of a function whose blocks have `BLOCK` bytes.
pub(crate) trait Word<const BLOCK: usize>: Copy + Zeroize {
    /// Takes `blocks`, one after another, into `state`.
    fn compress(state: &mut State<Self>, blocks: &[[u8; BLOCK]]);

    /// Writes as many of its bytes as `out` takes, the most significant first.
    fn write(self, out: &mut [u8]);
}

impl Word<64> for u32 {
    fn compress(state: &mut State<Self>, blocks: &[[u8; 64]]) {
        sha256_compress(state, blocks);
    }

    fn write(self, out: &mut [u8]) {
        out.copy_from_slice(&self.to_be_bytes()[..out.len()]);
    }
}

/// A running hash. Wiped on drop.
#[derive(Clone)]
pub(crate) struct Sha2<W: Word<BLOCK>, const BLOCK: usize> {
    state: State<W>,
    /// The bytes of a block that is not full yet.
    block: [u8; BLOCK],
    /// Bytes taken in.
    len: u64,
}

impl<W: Word<BLOCK>, const BLOCK: usize> Sha2<W, BLOCK> {
    /// Makes a running hash that has taken in `len` bytes, whole blocks, which led to `state`.
    pub(crate) fn after(state: State<W>, len: u64) -> Self {
        Self {
            state,
            block: [0; BLOCK],
            len,
        }
    }

    /// Returns how many bytes the block that is not full has.
    fn filled(&self) -> usize {
        (self.len % BLOCK as u64) as usize
    }

    /// Takes in `data`.
    pub(crate) fn update(&mut self, mut data: &[u8]) {
        let filled = self.filled();
        self.len += data.len() as u64;
        if filled != 0 {
            let (head, rest) = data.split_at(data.len().min(BLOCK - filled));
            self.block[filled..][..head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK {
                return;
            }
            W::compress(&mut self.state, &[self.block]);
            data = rest;
        }
        let (blocks, rest) = data.as_chunks();
        W::compress(&mut self.state, blocks);
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// Writes as much of the hash as `out` takes, at most all words of the state.
    pub(crate) fn finish(&mut self, out: &mut [u8]) {
        let filled = self.filled();
        if !pad(&mut self.block, filled, self.len) {
            W::compress(&mut self.state, &[self.block]);
            self.block = [0; BLOCK];
            put_length(&mut self.block, self.len);
        }
        W::compress(&mut self.state, &[self.block]);
        write_state(&self.state, out);
    }
}

impl<W: Word<BLOCK>, const BLOCK: usize> Drop for Sha2<W, BLOCK> {
    fn drop(&mut self) {
        self.state.zeroize();
        cleanse(&mut self.block);
    }
}

/// Writes as much of `state` as `out` takes, at most all of it.
pub(crate) fn write_state<W: Word<BLOCK>, const BLOCK: usize>(state: &State<W>, out: &mut [u8]) {
    for (bytes, word) in out.chunks_mut(size_of::<W>()).zip(state) {
        word.write(bytes);
    }
}

/// Pads a message of one block and the first `filled` bytes of `block` (section 5.1). Returns
/// `false` if the padding does not fit `block`.
pub(crate) fn end_message<const BLOCK: usize>(block: &mut [u8; BLOCK], filled: usize) -> bool {
    pad(block, filled, (BLOCK + filled) as u64)
}

/// Writes as much of the hash as `out` takes: that of `state` after `block`, a message's last.
pub(crate) fn finish_block<W: Word<BLOCK>, const BLOCK: usize>(
    state: &State<W>,
    block: &[u8; BLOCK],
    out: &mut [u8],
) {
    let mut state = *state;
    W::compress(&mut state, std::slice::from_ref(block));
    write_state(&state, out);
    state.zeroize();
}

/// Pads a block of `filled` bytes, the last of a message of `len`. Returns `false` if the length
/// did not fit and belongs into another block.
fn pad<const BLOCK: usize>(block: &mut [u8; BLOCK], filled: usize, len: u64) -> bool {
    let Some((end, rest)) = block[filled..].split_first_mut() else {
        return false;
    };
    *end = 0x80;
    rest.fill(0);
    let fits = rest.len() >= BLOCK / 8;
    if fits {
        put_length(block, len);
    }
    fits
}

/// Writes the length in bits, into the last eighth of a block.
fn put_length<const BLOCK: usize>(block: &mut [u8; BLOCK], len: u64) {
    let bits = (u128::from(len) * 8).to_be_bytes();
    block[BLOCK - BLOCK / 8..].copy_from_slice(&bits[bits.len() - BLOCK / 8..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    /// FIPS 180-4's own examples are short; these lengths lie around each block's ends.
    #[test]
    fn a_message_in_pieces_of_any_length_is_one_message() {
        let message: Vec<u8> = (0..600u32).map(|i| (i * 7 % 251) as u8).collect();
        for digest in Digest::ALL {
            for len in (0..300).chain([511, 512, 513, 600]) {
                let (mut whole, mut pieces) = ([0; 64], [0; 64]);
                digest.hash(&[&message[..len]], &mut whole);
                for cut in [0, len.min(1), len / 2, len.saturating_sub(1), len] {
                    digest.hash(&[&message[..cut], &message[cut..len]], &mut pieces);
                    assert_eq!(whole, pieces, "{digest:?}, {cut} of {len}");
                }
            }
        }
    }

    #[test]
    fn the_start_hashes_nothing_to_what_fips_180_says() {
        let mut out = [0; 32];
        Sha256::after(SHA256_START, 0).finish(&mut out);
        assert_eq!(out[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(out[28..], [0x78, 0x52, 0xb8, 0x55]);
    }
}
