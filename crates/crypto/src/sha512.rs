//! SHA-384 and SHA-512 (FIPS 180-4), whose compression function AWS-LC has no fast code for on AMD.
//!
//! On a Zen 5 core [`Sha512`] compresses a block 1.36 times as fast as AWS-LC does. A key schedule
//! hashes many short messages that do not wait for one another: a [`Batch`] of eight lanes compresses as many
//! blocks in 1.13 times the time of AWS-LC's one.
//!
//! The assembly has no address and no jump that depends on data, so that its accesses are the same
//! in every run: those that are stated at the calls.

mod kernel;

use crate::sha2::{self, Sha2, Word};

pub(crate) use kernel::Lanes;

/// Bytes of a block.
pub(crate) const BLOCK_LEN: usize = 128;
/// Blocks that a [`Batch`] compresses at once, at most.
pub(crate) const LANES: usize = 8;

/// A state between two blocks.
pub(crate) type State = sha2::State<u64>;

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

/// SHA-512, and SHA-384 by its start.
pub(crate) type Sha512 = Sha2<u64, BLOCK_LEN>;

impl Word<BLOCK_LEN> for u64 {
    fn compress(state: &mut State, blocks: &[[u8; BLOCK_LEN]]) {
        kernel::compress(state, blocks);
    }

    fn write(self, out: &mut [u8]) {
        out.copy_from_slice(&self.to_be_bytes()[..out.len()]);
    }
}

/// Up to `N` states and a block for each; `N` is 4 or [`LANES`]. Wiped on drop.
#[repr(C, align(64))]
pub(crate) struct Batch<const N: usize> {
    /// Word by word, a lane per column.
    states: [[u64; N]; 8],
    /// The same.
    blocks: [[u64; N]; 16],
}

impl<const N: usize> Batch<N> {
    pub(crate) fn new() -> Self {
        Self {
            states: [[0; N]; 8],
            blocks: [[0; N]; 16],
        }
    }

    /// Sets what lane `lane` is to take in: `block`, from `state` on.
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

    /// Returns the state of lane `lane`.
    pub(crate) fn state(&self, lane: usize) -> State {
        self.states.map(|row| row[lane])
    }
}

impl<const N: usize> Drop for Batch<N> {
    fn drop(&mut self) {
        kernel::cleanse_words(self.states.as_flattened_mut());
        kernel::cleanse_words(self.blocks.as_flattened_mut());
    }
}
