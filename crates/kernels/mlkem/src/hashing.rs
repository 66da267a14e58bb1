//! What ML-KEM hashes (FIPS 203, 4.1), for all lanes of a batch.
//!
//! A sponge takes as long for one lane as for eight. So the work of a step is dealt to lanes of
//! the sponge as it comes, whoever's it is: 9 polynomials of the matrix of each of 3 operations make 27
//! jobs, hence four passes and not nine.

use std::arch::x86_64::*;

use crate::keccak::permute;
use crate::sample::accept;
use crate::simd::{Line, ZERO, bytes, bytes_mut, load, store};
use crate::sponge::{
    self, LANES, SHA3_512, SHA3_END, SHAKE_END, SHAKE128, SHAKE256, absorb_blocks, rows, seed_row,
    start, start_full,
};
use crate::work::Work;

/// A word's bytes after a seed: `data`, then the end of the message.
fn tail<const N: usize>(data: [u8; N], end: u8) -> u64 {
    let mut word = [0; 8];
    word[..N].copy_from_slice(&data);
    word[N] = end;
    u64::from_le_bytes(word)
}

/// Lanes of the sponge beyond the last job repeat it.
fn job_of(slot: usize, first: usize, jobs: usize) -> usize {
    (first + slot).min(jobs - 1)
}

impl<const K: usize> Work<K> {
    /// Bytes of an encoded vector of polynomials, after which the key's public seed lies.
    pub(crate) const VECTOR: usize = 384 * K;
    /// Blocks of the long messages: an encapsulation key, or z and a ciphertext.
    const BLOCKS: usize = 3 * K;

    /// Samples the matrix of the first `lanes` lanes from their keys' seeds.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,popcnt")]
    pub(crate) fn sample_matrices(&mut self, lanes: usize) {
        let jobs = lanes * K * K;
        for first in (0..jobs).step_by(LANES) {
            let place = |slot| {
                let job = job_of(slot, first, jobs);
                (job / (K * K), job / K % K, job % K)
            };
            let mut seeds = [ZERO; LANES];
            for (slot, seed) in seeds.iter_mut().enumerate() {
                let (lane, row, column) = place(slot);
                let public = load(bytes(&self.lanes[lane].key), Self::VECTOR);
                *seed = seed_row(public, tail([column as u8, row as u8], SHAKE_END));
            }
            start(&mut self.state, seeds, SHAKE128);
            self.squeeze(0);
            permute(&mut self.state);
            self.squeeze(1);
            permute(&mut self.state);
            self.squeeze(2);
            let mut counts = [0; LANES];
            let mut blocks = 3;
            loop {
                for (slot, count) in counts.iter_mut().enumerate() {
                    let (lane, row, column) = place(slot);
                    let squeezed = &bytes(&self.squeezed[slot])[..blocks * 8 * SHAKE128 + 40];
                    let to = &mut self.lanes[lane].matrix[row][column];
                    if *count < 256 {
                        *count = accept(to, *count, squeezed);
                    }
                }
                // In one batch of twenty, some lane needs a fourth block.
                if counts.iter().all(|count| *count == 256) {
                    break;
                }
                permute(&mut self.state);
                self.squeeze(0);
                blocks = 1;
            }
        }
    }

    /// Writes a block of SHAKE128 of every lane to place `block` of what has been squeezed.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn squeeze(&mut self, block: usize) {
        for part in 0..3 {
            let rows = rows(&self.state, 8 * part);
            for (squeezed, row) in self.squeezed.iter_mut().zip(rows) {
                store(bytes_mut(squeezed), block * 8 * SHAKE128 + 64 * part, row);
            }
        }
    }

    /// Expands the first `lanes` lanes' seeds into noise for `count` polynomials each.
    #[target_feature(enable = "avx512f")]
    pub(crate) fn expand_noise(&mut self, lanes: usize, count: usize) {
        let jobs = lanes * count;
        for first in (0..jobs).step_by(LANES) {
            let place = |slot| {
                let job = job_of(slot, first, jobs);
                (job / count, job % count)
            };
            let mut seeds = [ZERO; LANES];
            for (slot, seed) in seeds.iter_mut().enumerate() {
                let (lane, nonce) = place(slot);
                *seed = seed_row(self.lanes[lane].seed, tail([nonce as u8], SHAKE_END));
            }
            start(&mut self.state, seeds, SHAKE256);
            self.keep_noise(0, 0, place);
            self.keep_noise(8, 1, place);
            if K == 2 {
                // 192 bytes are 17 words of the first block and 7 of the next.
                let last = self.state[16];
                permute(&mut self.state);
                self.state.copy_within(0..7, 1);
                self.state[0] = last;
                self.keep_noise(0, 2, place);
            }
        }
    }

    /// Output words from `first` on become line `line` of the noise.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn keep_noise(&mut self, first: usize, line: usize, place: impl Fn(usize) -> (usize, usize)) {
        let rows = rows(&self.state, first);
        for (slot, row) in rows.into_iter().enumerate() {
            let (lane, nonce) = place(slot);
            self.lanes[lane].noise[nonce][line] = row;
        }
    }

    /// SHA3-256 of each lane's padded key.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn hash_keys(&mut self, lanes: usize) -> [Line; LANES] {
        let messages: [&[u8]; LANES] =
            std::array::from_fn(|slot| bytes(&self.lanes[job_of(slot, 0, lanes)].key));
        absorb_blocks(&mut self.state, &messages, Self::BLOCKS);
        rows(&self.state, 0)
    }

    /// SHA3-256 of each lane's padded key, and SHAKE256 of its z and ciphertext.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn hash_keys_and_rejections(&mut self, lanes: usize) -> [[Line; LANES]; 2] {
        let mut hashes = [[ZERO; LANES]; 2];
        let jobs = 2 * lanes;
        for first in (0..jobs).step_by(LANES) {
            let messages: [&[u8]; LANES] = std::array::from_fn(|slot| {
                let job = job_of(slot, first, jobs);
                let lane = &self.lanes[job % lanes];
                bytes(if job < lanes {
                    &lane.key
                } else {
                    &lane.rejection
                })
            });
            absorb_blocks(&mut self.state, &messages, Self::BLOCKS);
            for (slot, row) in rows(&self.state, 0).into_iter().enumerate() {
                let job = job_of(slot, first, jobs);
                hashes[job / lanes][job % lanes] = row;
            }
        }
        hashes
    }

    /// SHA3-512 of 32 bytes and K: a key pair's public seed and its noise's.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn hash_seeds(&mut self, seeds: [Line; LANES]) -> [Line; LANES] {
        let mut messages = seeds;
        for message in &mut messages {
            *message = seed_row(*message, tail([K as u8], SHA3_END));
        }
        start(&mut self.state, messages, SHA3_512);
        rows(&self.state, 0)
    }

    /// SHA3-512 of a lane's message and the hash of its key: the shared secret and the noise's seed.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn hash_messages(&mut self, hashes: &[Line; LANES], lanes: usize) {
        let mut messages = [ZERO; LANES];
        for (slot, message) in messages.iter_mut().enumerate() {
            *message = halves(self.lanes[slot].message, hashes[slot]);
        }
        start_full(&mut self.state, messages);
        for (lane, row) in self.lanes[..lanes].iter_mut().zip(rows(&self.state, 0)) {
            lane.shared = row;
            lane.seed = upper_half(row);
        }
    }

    /// Puts the key's end of message behind it.
    pub(crate) fn pad_key(&mut self, lane: usize) {
        let key = bytes_mut(&mut self.lanes[lane].key);
        sponge::pad(key, Self::VECTOR + 32, SHA3_END);
    }
}

/// The lower halves of two lines.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(low: Line, high: Line) -> Line {
    _mm512_shuffle_i64x2::<0x44>(low, high)
}

/// A line's upper half, as its lower.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn upper_half(line: Line) -> Line {
    _mm512_shuffle_i64x2::<0xee>(line, line)
}
