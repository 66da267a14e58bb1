//! SHA-384 and SHA-512 (FIPS 180-4), whose compression function AWS-LC has no fast code for on AMD.
//!
//! On a Zen 5 core [`Sha512`] compresses a block 1.36 times as fast as AWS-LC does. A key schedule
//! hashes many short messages that do not wait for one another: a [`Batch`] compresses eight blocks
//! in 1.13 times the time of AWS-LC's one.
//!
//! The assembly has no address and no jump that depends on data, so that its accesses are the same
//! in every run: those that are stated at the calls.

mod kernel;

use crate::aws_lc::cleanse;

pub(crate) use kernel::Lanes;

/// Bytes of a block.
pub(crate) const BLOCK_LEN: usize = 128;
/// Blocks that a [`Batch`] compresses at once.
pub(crate) const LANES: usize = 8;
/// Bytes in which a message's length is put behind it.
const LENGTH_LEN: usize = 16;

/// A state between two blocks.
pub(crate) type State = [u64; 8];

/// Where SHA-384 starts (section 5.3.4).
pub(crate) const SHA384_START: State = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];

/// Where SHA-512 starts (section 5.3.5).
pub(crate) const SHA512_START: State = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// A running hash. Wiped on drop.
#[derive(Clone)]
pub(crate) struct Sha512 {
    state: State,
    /// The bytes of a block that is not full yet.
    block: [u8; BLOCK_LEN],
    /// Bytes taken in.
    len: u64,
}

impl Sha512 {
    /// One that has taken in the `len` bytes, whole blocks, that led to `state`.
    pub(crate) fn after(state: State, len: u64) -> Self {
        Self {
            state,
            block: [0; BLOCK_LEN],
            len,
        }
    }

    /// Bytes of the block that is not full yet.
    fn filled(&self) -> usize {
        (self.len % BLOCK_LEN as u64) as usize
    }

    /// Takes in `data`.
    pub(crate) fn update(&mut self, mut data: &[u8]) {
        let filled = self.filled();
        self.len += data.len() as u64;
        if filled != 0 {
            let (head, rest) = data.split_at(data.len().min(BLOCK_LEN - filled));
            self.block[filled..][..head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK_LEN {
                return;
            }
            kernel::compress(&mut self.state, &[self.block]);
            data = rest;
        }
        let (blocks, rest) = data.as_chunks();
        kernel::compress(&mut self.state, blocks);
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// The state; nothing may have been taken in but whole blocks.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Writes as much of the hash as `out` takes, at most 64 bytes.
    pub(crate) fn finish(&mut self, out: &mut [u8]) {
        let filled = self.filled();
        if !pad(&mut self.block, filled, self.len) {
            kernel::compress(&mut self.state, &[self.block]);
            self.block = [0; BLOCK_LEN];
            put_length(&mut self.block, self.len);
        }
        kernel::compress(&mut self.state, &[self.block]);
        write_state(&self.state, out);
    }
}

impl Drop for Sha512 {
    fn drop(&mut self) {
        kernel::cleanse_words(&mut self.state);
        cleanse(&mut self.block);
    }
}

/// Writes as much of `state` as `out` takes, at most 64 bytes.
pub(crate) fn write_state(state: &State, out: &mut [u8]) {
    for (bytes, word) in out.chunks_mut(8).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes()[..bytes.len()]);
    }
}

/// Makes `block` the one that ends a message of one block before and `rest` (section 5.1.2).
/// False: they do not fit one.
pub(crate) fn last_block(rest: &[u8], block: &mut [u8; BLOCK_LEN]) -> bool {
    let Some(place) = block.get_mut(..rest.len()) else {
        return false;
    };
    place.copy_from_slice(rest);
    end_message(block, rest.len())
}

/// Ends a message of one block before and the `filled` first bytes of `block`. False: they do not
/// fit one.
pub(crate) fn end_message(block: &mut [u8; BLOCK_LEN], filled: usize) -> bool {
    pad(block, filled, (BLOCK_LEN + filled) as u64)
}

/// Writes as much of the hash as `out` takes, at most 64 bytes: that of `state` after `block`, a
/// message's last.
pub(crate) fn finish_block(state: &State, block: &[u8; BLOCK_LEN], out: &mut [u8]) {
    let mut state = *state;
    kernel::compress(&mut state, std::slice::from_ref(block));
    write_state(&state, out);
    kernel::cleanse_words(&mut state);
}

/// Pads a block of `filled` bytes, the last of a message of `len`. False: the length did not fit,
/// and belongs into another block.
fn pad(block: &mut [u8; BLOCK_LEN], filled: usize, len: u64) -> bool {
    let Some((end, rest)) = block[filled..].split_first_mut() else {
        return false;
    };
    *end = 0x80;
    rest.fill(0);
    let fits = rest.len() >= LENGTH_LEN;
    if fits {
        put_length(block, len);
    }
    fits
}

fn put_length(block: &mut [u8; BLOCK_LEN], len: u64) {
    let bits = u128::from(len) * 8;
    block[BLOCK_LEN - LENGTH_LEN..].copy_from_slice(&bits.to_be_bytes());
}

/// Up to [`LANES`] states and a block for each. Wiped on drop.
#[repr(C, align(64))]
pub(crate) struct Batch {
    /// Word by word, a lane per column.
    states: [[u64; LANES]; 8],
    /// The same.
    blocks: [[u64; LANES]; 16],
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            states: [[0; LANES]; 8],
            blocks: [[0; LANES]; 16],
        }
    }

    /// What lane `lane` is to take in: `block`, from `state` on.
    pub(crate) fn set(&mut self, lane: usize, state: &State, block: &[u8; BLOCK_LEN]) {
        for (row, word) in self.states.iter_mut().zip(state) {
            row[lane] = *word;
        }
        for (row, word) in self.blocks.iter_mut().zip(block.as_chunks().0) {
            row[lane] = u64::from_be_bytes(*word);
        }
    }

    /// Compresses every lane's block into its state.
    pub(crate) fn run(&mut self, lanes: Lanes) {
        kernel::compress_lanes(lanes, self);
    }

    /// The state of lane `lane`.
    pub(crate) fn state(&self, lane: usize) -> State {
        self.states.map(|row| row[lane])
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        kernel::cleanse_words(self.states.as_flattened_mut());
        kernel::cleanse_words(self.blocks.as_flattened_mut());
    }
}
