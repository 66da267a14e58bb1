//! The three operations, with the checks of their inputs (FIPS 203, 7).

use std::arch::x86_64::*;

use thiserror::Error;

use crate::hashing::{Queue, upper_half};
use crate::pke::{compressed_lens, decode_key, decrypt, encrypt, generate};
use crate::simd::{Cpu, Line, ZERO, bytes, bytes_mut, load, scrub_stack};
use crate::sponge::{LANES, SHAKE_END, pad};
use crate::work::Work;

/// Memory for operations of one parameter set, made once: nothing is allocated after that.
/// What is secret in it is wiped after each batch.
pub struct Lanes<const K: usize> {
    _cpu: Cpu,
    work: Box<Work<K>>,
}

/// ML-KEM-512.
pub type MlKem512 = Lanes<2>;
/// ML-KEM-768.
pub type MlKem768 = Lanes<3>;
/// ML-KEM-1024.
pub type MlKem1024 = Lanes<4>;

/// A key pair to be made (ML-KEM.KeyGen_internal).
pub struct KeyGeneration<'a> {
    /// Random, secret: the seed of the keys.
    pub d: &'a [u8; 32],
    /// Random, secret: the seed of what a false ciphertext gives.
    pub z: &'a [u8; 32],
    /// Written: [`Lanes::ENCAPSULATION_KEY`] bytes.
    pub encapsulation_key: &'a mut [u8],
    /// Written: [`Lanes::DECAPSULATION_KEY`] bytes.
    pub decapsulation_key: &'a mut [u8],
}

/// A secret to be made and encapsulated (ML-KEM.Encaps_internal).
pub struct Encapsulation<'a> {
    /// The peer's: [`Lanes::ENCAPSULATION_KEY`] bytes.
    pub encapsulation_key: &'a [u8],
    /// Random, secret.
    pub m: &'a [u8; 32],
    /// Written: [`Lanes::CIPHERTEXT`] bytes.
    pub ciphertext: &'a mut [u8],
    /// Written.
    pub shared_secret: &'a mut [u8; 32],
}

/// A secret to be taken from a ciphertext (ML-KEM.Decaps_internal).
pub struct Decapsulation<'a> {
    /// Ours: [`Lanes::DECAPSULATION_KEY`] bytes.
    pub decapsulation_key: &'a [u8],
    /// The peer's: [`Lanes::CIPHERTEXT`] bytes.
    pub ciphertext: &'a [u8],
    /// Written. A ciphertext that was not made by an encapsulation gives a secret that nobody
    /// knows.
    pub shared_secret: &'a mut [u8; 32],
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// An encapsulation key of another length.
    #[error("ML-KEM encapsulation key of {len} bytes, not {wanted}; the peer uses another set")]
    EncapsulationKeyLength {
        /// Bytes that were given.
        len: usize,
        /// Bytes that the parameter set wants.
        wanted: usize,
    },
    /// The modulus check: an encapsulation key with a coefficient that is not below 3329.
    #[error("ML-KEM encapsulation key with a coefficient above 3328; the peer is at fault")]
    Coefficient,
    /// A decapsulation key of another length.
    #[error("ML-KEM decapsulation key of {len} bytes, not {wanted}; give the expanded key")]
    DecapsulationKeyLength {
        /// Bytes that were given.
        len: usize,
        /// Bytes that the parameter set wants.
        wanted: usize,
    },
    /// The hash check: a decapsulation key whose halves do not belong together.
    #[error("ML-KEM decapsulation key that does not contain its own hash; it has been damaged")]
    Hash,
    /// A ciphertext of another length.
    #[error("ML-KEM ciphertext of {len} bytes, not {wanted}; the peer uses another set")]
    CiphertextLength {
        /// Bytes that were given.
        len: usize,
        /// Bytes that the parameter set wants.
        wanted: usize,
    },
}

/// What became of each operation of a batch; `Ok` beyond the last.
pub type Outcome = [Result<(), Refused>; LANES];

fn fills(ops: usize) {
    assert!(
        (1..=LANES).contains(&ops),
        "{ops} operations in a batch of 1 to {LANES}"
    );
}

impl<const K: usize> Lanes<K> {
    /// Bytes of an encapsulation key.
    pub const ENCAPSULATION_KEY: usize = 384 * K + 32;
    /// Bytes of a decapsulation key, in its expanded form: the secret vector, the encapsulation
    /// key, its hash, z.
    pub const DECAPSULATION_KEY: usize = 768 * K + 96;
    /// Bytes of a ciphertext.
    pub const CIPHERTEXT: usize = {
        let (vector, last) = compressed_lens(K);
        vector * K + last
    };

    /// Makes lanes, with 60 KB to 140 KB of memory.
    pub fn new(cpu: Cpu) -> Self {
        const { assert!(K == 2 || K == 3 || K == 4, "FIPS 203 has K = 2, 3 and 4") };
        Self {
            _cpu: cpu,
            work: Box::new(Work::ZERO),
        }
    }

    /// Makes one to eight key pairs.
    ///
    /// # Panics
    /// If there are no operations or more than eight, or if an output has another length.
    #[allow(unsafe_code)] // code for this CPU
    pub fn generate(&mut self, ops: &mut [KeyGeneration<'_>]) {
        fills(ops.len());
        for op in &*ops {
            assert_eq!(
                op.encapsulation_key.len(),
                Self::ENCAPSULATION_KEY,
                "output"
            );
            assert_eq!(
                op.decapsulation_key.len(),
                Self::DECAPSULATION_KEY,
                "output"
            );
        }
        // SAFETY: `Cpu` proves that the CPU has the features.
        unsafe { generate_all(&mut self.work, ops) };
        self.work.wipe(ops.len(), false);
        scrub_stack();
    }

    /// Encapsulates for one to eight keys. Outputs of an operation that is refused are zero.
    ///
    /// # Panics
    /// If there are no operations or more than eight, or if an output has another length.
    #[allow(unsafe_code)] // code for this CPU
    pub fn encapsulate(&mut self, ops: &mut [Encapsulation<'_>]) -> Outcome {
        fills(ops.len());
        for op in &*ops {
            assert_eq!(op.ciphertext.len(), Self::CIPHERTEXT, "output");
        }
        // SAFETY: `Cpu` proves that the CPU has the features.
        let outcome = unsafe { encapsulate_all(&mut self.work, ops) };
        for (op, outcome) in ops.iter_mut().zip(outcome) {
            if outcome.is_err() {
                op.ciphertext.fill(0);
                op.shared_secret.fill(0);
            }
        }
        self.work.wipe(ops.len(), false);
        scrub_stack();
        outcome
    }

    /// Decapsulates one to eight ciphertexts. The output of an operation that is refused is zero.
    ///
    /// # Panics
    /// If there are no operations or more than eight.
    #[allow(unsafe_code)] // code for this CPU
    pub fn decapsulate(&mut self, ops: &mut [Decapsulation<'_>]) -> Outcome {
        fills(ops.len());
        // SAFETY: `Cpu` proves that the CPU has the features.
        let outcome = unsafe { decapsulate_all(&mut self.work, ops) };
        for (op, outcome) in ops.iter_mut().zip(outcome) {
            if outcome.is_err() {
                op.shared_secret.fill(0);
            }
        }
        self.work.wipe(ops.len(), true);
        scrub_stack();
        outcome
    }

    /// Returns `true` if all memory that held secrets is zero, as it is between batches.
    #[cfg(feature = "inspection")]
    pub fn is_wiped(&self) -> bool {
        self.work.is_wiped()
    }
}

/// Loads 32 bytes into a line's lower half.
#[inline]
#[target_feature(enable = "avx512f")]
fn half_line(half: &[u8; 32]) -> Line {
    let mut line = ZERO;
    bytes_mut(std::slice::from_mut(&mut line))[..32].copy_from_slice(half);
    line
}

fn low_half(line: &Line) -> &[u8] {
    &bytes(std::slice::from_ref(line))[..32]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
fn generate_all<const K: usize>(work: &mut Work<K>, ops: &mut [KeyGeneration<'_>]) {
    let mut seeds = [ZERO; LANES];
    for (seed, op) in seeds.iter_mut().zip(&*ops) {
        *seed = half_line(op.d);
    }
    let vector = Work::<K>::VECTOR;
    let seeds = work.hash_seeds(seeds);
    for (lane, seed) in work.lanes[..ops.len()].iter_mut().zip(&seeds) {
        lane.seed = upper_half(*seed);
        bytes_mut(&mut lane.key)[vector..vector + 32].copy_from_slice(low_half(seed));
    }
    work.sample_matrices(Work::<K>::queue(ops.len()));
    work.expand_noise(ops.len(), 2 * K);
    for (i, op) in ops.iter_mut().enumerate() {
        let lane = &mut work.lanes[i];
        // The vector's end overwrites the public seed.
        generate(lane, &mut work.scratch, op.decapsulation_key);
        bytes_mut(&mut lane.key)[vector..vector + 32].copy_from_slice(low_half(&seeds[i]));
        work.pad_key(i);
    }
    let [hashes, _] = work.hash_long(ops.len(), false, &mut Queue::new(0));
    for ((op, lane), hash) in ops.iter_mut().zip(&work.lanes).zip(&hashes) {
        let key = &bytes(&lane.key)[..vector + 32];
        op.encapsulation_key.copy_from_slice(key);
        let (_, rest) = op.decapsulation_key.split_at_mut(vector);
        let (public, rest) = rest.split_at_mut(vector + 32);
        public.copy_from_slice(key);
        rest[..32].copy_from_slice(low_half(hash));
        rest[32..].copy_from_slice(op.z);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
fn encapsulate_all<const K: usize>(work: &mut Work<K>, ops: &mut [Encapsulation<'_>]) -> Outcome {
    let wanted = Lanes::<K>::ENCAPSULATION_KEY;
    let mut outcome = [Ok(()); LANES];
    for (i, op) in ops.iter().enumerate() {
        let len = op.encapsulation_key.len();
        if len == wanted {
            bytes_mut(&mut work.lanes[i].key)[..len].copy_from_slice(op.encapsulation_key);
        } else {
            outcome[i] = Err(Refused::EncapsulationKeyLength { len, wanted });
        }
        work.pad_key(i);
        work.lanes[i].message = half_line(op.m);
    }
    let mut queue = Work::<K>::queue(ops.len());
    let [hashes, _] = work.hash_long(ops.len(), false, &mut queue);
    work.hash_messages(&hashes, ops.len());
    work.sample_matrices(queue);
    work.expand_noise(ops.len(), 2 * K + 1);
    for (i, op) in ops.iter_mut().enumerate() {
        let (lane, scratch) = (&mut work.lanes[i], &mut work.scratch);
        if !decode_key(bytes(&lane.key), &mut scratch.polynomials) {
            outcome[i] = outcome[i].and(Err(Refused::Coefficient));
        }
        encrypt(lane, scratch);
        op.shared_secret.copy_from_slice(low_half(&lane.shared));
        let len = op.ciphertext.len();
        op.ciphertext
            .copy_from_slice(&bytes(&lane.ciphertext)[..len]);
    }
    outcome
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
fn decapsulate_all<const K: usize>(work: &mut Work<K>, ops: &mut [Decapsulation<'_>]) -> Outcome {
    let mut outcome = [Ok(()); LANES];
    for (i, op) in ops.iter().enumerate() {
        outcome[i] = work.load_decapsulation(i, op);
    }
    let mut queue = Work::<K>::queue(ops.len());
    let [hashes, rejected] = work.hash_long(ops.len(), true, &mut queue);
    let vector = Work::<K>::VECTOR;
    for (i, op) in ops.iter().enumerate() {
        if outcome[i].is_err() {
            continue;
        }
        if op.decapsulation_key[2 * vector + 32..][..32] != *low_half(&hashes[i]) {
            outcome[i] = Err(Refused::Hash);
        }
        let lane = &mut work.lanes[i];
        let ciphertext = &bytes(&lane.rejection)[32..];
        decrypt(
            op.decapsulation_key,
            ciphertext,
            &mut work.scratch,
            &mut lane.message,
        );
    }
    work.hash_messages(&hashes, ops.len());
    work.sample_matrices(queue);
    work.expand_noise(ops.len(), 2 * K + 1);
    for (i, op) in ops.iter_mut().enumerate() {
        let (lane, scratch) = (&mut work.lanes[i], &mut work.scratch);
        // A vector that is not canonical is taken mod q, as FIPS 203 has it.
        decode_key(bytes(&lane.key), &mut scratch.polynomials);
        encrypt(lane, scratch);
        let same = equal(
            &bytes(&lane.ciphertext)[..Lanes::<K>::CIPHERTEXT],
            &bytes(&lane.rejection)[32..],
        );
        lane.shared = _mm512_mask_blend_epi64(same, rejected[i], lane.shared);
        op.shared_secret.copy_from_slice(low_half(&lane.shared));
    }
    outcome
}

/// Returns all ones if the first is how the second begins, else 0, in the same time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn equal(a: &[u8], b: &[u8]) -> u8 {
    let mut differ = ZERO;
    let whole = a.len() / 64 * 64;
    for at in (0..whole).step_by(64) {
        let x = _mm512_xor_si512(load(a, at), load(b, at));
        differ = _mm512_or_si512(differ, x);
    }
    if whole < a.len() {
        // The last 64 bytes, some of them once more.
        let at = a.len() - 64;
        differ = _mm512_or_si512(differ, _mm512_xor_si512(load(a, at), load(b, at)));
    }
    let differ = _mm512_reduce_or_epi64(differ);
    // The sign of x | -x is set but for 0. The compiler is not to know that this is a condition.
    let sign = std::hint::black_box((differ | differ.wrapping_neg()) >> 63);
    !(sign as u8)
}

impl<const K: usize> Work<K> {
    /// Copies a decapsulation's operands, if they have the right lengths.
    fn load_decapsulation(&mut self, i: usize, op: &Decapsulation<'_>) -> Result<(), Refused> {
        let vector = Self::VECTOR;
        let (wanted, len) = (Lanes::<K>::DECAPSULATION_KEY, op.decapsulation_key.len());
        if len != wanted {
            return Err(Refused::DecapsulationKeyLength { len, wanted });
        }
        let (wanted, len) = (Lanes::<K>::CIPHERTEXT, op.ciphertext.len());
        if len != wanted {
            return Err(Refused::CiphertextLength { len, wanted });
        }
        let lane = &mut self.lanes[i];
        let key = &op.decapsulation_key[vector..][..vector + 32];
        bytes_mut(&mut lane.key)[..vector + 32].copy_from_slice(key);
        let rejection = bytes_mut(&mut lane.rejection);
        rejection[..32].copy_from_slice(&op.decapsulation_key[2 * vector + 64..]);
        rejection[32..32 + len].copy_from_slice(op.ciphertext);
        pad(rejection, 32 + len, SHAKE_END);
        self.pad_key(i);
        Ok(())
    }
}
