//! What ML-KEM hashes (FIPS 203, 4.1), for all lanes of a batch.
//!
//! A sponge takes as long for one lane as for eight. So the work of a step is dealt to lanes of the
//! sponge as it comes, whoever's it is: 9 polynomials of the matrix of each of 3 operations are 27
//! jobs, hence four passes and not nine. And long messages, one per operation, leave lanes free if
//! there are few operations: these sample the matrix meanwhile.
//!
//! ```text
//!  lane      two encapsulations: 9 blocks of two keys, and 18 polynomials of 3 blocks each
//!  0         [ key 0 ........................................ ]
//!  1         [ key 1 ........................................ ]
//!  2         [ polynomial 0 ][ polynomial 6  ][ polynomial 12 ]
//!  ...
//!  7         [ polynomial 5 ][ polynomial 11 ][ polynomial 17 ]
//! ```

use std::arch::x86_64::*;

use crate::keccak::permute;
use crate::sample::accept;
use crate::simd::{Line, ZERO, bytes, bytes_mut, load, store};
use crate::sponge::{
    self, BLOCK, LANES, SHA3_512, SHA3_END, SHAKE_END, SHAKE128, SHAKE256, absorb_block, restart,
    rows, seed_row, start, start_full,
};
use crate::work::Work;

/// Returns a word's bytes after a seed: `data`, then the end of the message.
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

    /// Returns the matrices of the first `lanes` lanes, to be sampled.
    pub(crate) fn queue(lanes: usize) -> Queue {
        Queue::new(lanes * K * K)
    }

    /// Returns which polynomial a job is for: lane, row and column.
    fn place(job: u8) -> (usize, usize, usize) {
        let job = usize::from(job);
        (job / (K * K), job / K % K, job % K)
    }

    /// Returns what a job's polynomial is made from.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn matrix_seed(&self, job: u8) -> Line {
        let (lane, row, column) = Self::place(job);
        let public = load(bytes(&self.lanes[lane].key), Self::VECTOR);
        seed_row(public, tail([column as u8, row as u8], SHAKE_END))
    }

    /// Samples from the first `blocks` blocks that have been squeezed, in the lanes from `first`
    /// on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,popcnt")]
    fn accept(&mut self, jobs: &[u8], first: usize, blocks: usize, counts: &mut [usize; LANES]) {
        let squeezed = self.squeezed[first..].iter();
        for ((job, squeezed), count) in jobs.iter().zip(squeezed).zip(counts) {
            if *count < 256 {
                let (lane, row, column) = Self::place(*job);
                let squeezed = &bytes(squeezed)[..blocks * 8 * SHAKE128 + 40];
                let to = &mut self.lanes[lane].matrix[row][column];
                *count = accept(to, *count, squeezed);
            }
        }
    }

    /// Samples what is in the queue.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,popcnt")]
    pub(crate) fn sample_matrices(&mut self, mut queue: Queue) {
        loop {
            let (jobs, count) = queue.take(LANES);
            let jobs = &jobs[..count];
            if jobs.is_empty() {
                break;
            }
            let mut seeds = [ZERO; LANES];
            for (seed, job) in seeds.iter_mut().zip(jobs) {
                *seed = self.matrix_seed(*job);
            }
            start(&mut self.state, seeds, SHAKE128);
            self.squeeze(0, 0);
            permute(&mut self.state);
            self.squeeze(0, 1);
            permute(&mut self.state);
            self.squeeze(0, 2);
            let mut counts = [0; LANES];
            self.accept(jobs, 0, 3, &mut counts);
            // In one batch of twenty, some lane needs a fourth block.
            while counts[..jobs.len()].iter().any(|count| *count < 256) {
                permute(&mut self.state);
                self.squeeze(0, 0);
                self.accept(jobs, 0, 1, &mut counts);
            }
        }
    }

    /// Writes a block of SHAKE128 of the sponge's lanes from `first` on to place `block` of what
    /// has been squeezed. What the lanes before hold may be secret, and this memory is not wiped.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn squeeze(&mut self, first: usize, block: usize) {
        for part in 0..3 {
            let rows = rows(&self.state, 8 * part);
            for (squeezed, row) in self.squeezed.iter_mut().zip(rows).skip(first) {
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

    /// Keeps output words from `first` on as line `line` of the noise.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn keep_noise(&mut self, first: usize, line: usize, place: impl Fn(usize) -> (usize, usize)) {
        let rows = rows(&self.state, first);
        for (slot, row) in rows.into_iter().enumerate() {
            let (lane, nonce) = place(slot);
            self.lanes[lane].noise[nonce][line] = row;
        }
    }

    /// Computes SHA3-256 of each lane's padded key and, if `rejections`, SHAKE256 of its padded z
    /// and ciphertext. Lanes of the sponge that are free meanwhile sample from the queue.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,popcnt")]
    pub(crate) fn hash_long(
        &mut self,
        lanes: usize,
        rejections: bool,
        queue: &mut Queue,
    ) -> [[Line; LANES]; 2] {
        let mut hashes = [[ZERO; LANES]; 2];
        let messages = if rejections { 2 * lanes } else { lanes };
        for first in (0..messages).step_by(LANES) {
            let hashing = (messages - first).min(LANES);
            self.state = [ZERO; 25];
            for step in 0..K {
                let (jobs, count) = queue.take(LANES - hashing);
                let jobs = &jobs[..count];
                let mut seeds = [ZERO; LANES];
                for (seed, job) in seeds[hashing..].iter_mut().zip(jobs) {
                    *seed = self.matrix_seed(*job);
                }
                restart(&mut self.state, seeds, hashing);
                for block in 0..3 {
                    let at = (3 * step + block) * BLOCK;
                    let messages: [&[u8]; LANES] = std::array::from_fn(|slot| {
                        let message = (first + slot).min(messages - 1);
                        let lane = &self.lanes[message % lanes];
                        bytes(if message < lanes {
                            &lane.key
                        } else {
                            &lane.rejection
                        })
                    });
                    absorb_block(&mut self.state, &messages[..hashing], at);
                    permute(&mut self.state);
                    if !jobs.is_empty() {
                        self.squeeze(hashing, block);
                    }
                }
                let mut counts = [0; LANES];
                self.accept(jobs, hashing, 3, &mut counts);
                // One in 150 needs a fourth block, and begins anew.
                for (job, count) in jobs.iter().zip(counts) {
                    if count < 256 {
                        queue.put_back(*job);
                    }
                }
            }
            let rows = rows(&self.state, 0);
            for (message, row) in (first..messages).zip(rows) {
                hashes[message / lanes][message % lanes] = row;
            }
        }
        hashes
    }

    /// Computes SHA3-512 of 32 bytes and K: a key pair's public seed, and the seed of its noise.
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

    /// Computes SHA3-512 of a lane's message and the hash of its key: the shared secret and the
    /// noise's seed.
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

/// Polynomials of matrices that are to be sampled, each by a number.
pub(crate) struct Queue {
    jobs: [u8; LANES * 16],
    /// The next job. The jobs before have been taken.
    next: usize,
    /// How many there were.
    end: usize,
}

impl Queue {
    /// Makes a queue of the jobs 0 to `jobs` - 1.
    pub(crate) fn new(jobs: usize) -> Self {
        Self {
            jobs: std::array::from_fn(|job| job as u8),
            next: 0,
            end: jobs,
        }
    }

    /// Takes at most so many jobs: them, and how many they are.
    fn take(&mut self, most: usize) -> ([u8; LANES], usize) {
        let count = most.min(self.end - self.next);
        let mut taken = [0; LANES];
        taken[..count].copy_from_slice(&self.jobs[self.next..][..count]);
        self.next += count;
        (taken, count)
    }

    /// Gives back a job that had been taken.
    fn put_back(&mut self, job: u8) {
        self.next -= 1;
        self.jobs[self.next] = job;
    }
}

/// Returns the lower halves of two lines.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(low: Line, high: Line) -> Line {
    _mm512_shuffle_i64x2::<0x44>(low, high)
}

/// Returns a line's upper half, as its lower.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn upper_half(line: Line) -> Line {
    _mm512_shuffle_i64x2::<0xee>(line, line)
}
