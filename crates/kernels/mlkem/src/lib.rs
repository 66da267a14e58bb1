//! ML-KEM (FIPS 203), eight operations at a time, in AVX-512.
//!
//! [`Lanes`] generates key pairs, encapsulates and decapsulates, each for one to eight operations
//! of one parameter set that know nothing of each other: keys of their own, randomness of their
//! own, given by the caller. It does the checks of FIPS 203, 7: lengths, the modulus check of an
//! encapsulation key, the hash check of a decapsulation key; and implicit rejection.
//!
//! ```
//! use spinlane_mlkem::{Cpu, Encapsulation, KeyGeneration, MlKem768};
//!
//! let Ok(cpu) = Cpu::detect() else { return };
//! let mut lanes = MlKem768::new(cpu);
//! let (mut ek, mut dk) = ([0; MlKem768::ENCAPSULATION_KEY], [0; MlKem768::DECAPSULATION_KEY]);
//! lanes.generate(&mut [KeyGeneration {
//!     d: &[1; 32], // random bytes
//!     z: &[2; 32],
//!     encapsulation_key: &mut ek,
//!     decapsulation_key: &mut dk,
//! }]);
//! let (mut ciphertext, mut shared_secret) = ([0; MlKem768::CIPHERTEXT], [0; 32]);
//! let outcome = lanes.encapsulate(&mut [Encapsulation {
//!     encapsulation_key: &ek,
//!     m: &[3; 32],
//!     ciphertext: &mut ciphertext,
//!     shared_secret: &mut shared_secret,
//! }]);
//! assert_eq!(outcome[0], Ok(()));
//! ```
//!
//! # How it computes
//! Two layouts. Keccak works on eight states side by side, one to a 64-bit lane: two thirds of the time
//! go there. Polynomials are computed one by one, each in eight registers, 32 coefficients of 16
//! bits in each: they come out of hashing, and go into keys and ciphertexts, as rows of bytes, and the
//! number-theoretic transform fills all words of such registers in every layer.
//!
//! ```text
//!  keys, messages      one row of bytes per operation
//!      | transpose         8 rows of 8 words <-> 8 lines of a word of each lane
//!      v
//!  Keccak x8           25 lines                                keccak.rs, sponge.rs, hashing.rs
//!      | transpose
//!      v
//!  rows of bytes       per polynomial: 504 bytes and more for one of the matrix, 128 for noise
//!      | sample            reject by vpcompressw, count bits by a table in a register   sample.rs
//!      v
//!  polynomials         8 registers of 32 coefficients          ntt.rs, field.rs, pke.rs
//!      | compress, encode  vpmaddwd, shifts, vpermb                                     pack.rs
//!      v
//!  ciphertexts, keys   one row of bytes per operation
//! ```
//!
//! What is sampled is dealt to the sponge's lanes one by one, whichever operation it is for, and in
//! part while keys are hashed (`hashing.rs`). So two operations take 30 % of the time of eight.
//!
//! # Against others
//! `cargo bench -p spinlane-mlkem` measures ML-KEM-768 beside AWS-LC and libcrux, both by AVX2, by turns
//! on one core, all from bytes. It printed on Zen 4 (operations per second, and ours over theirs):
//!
//! | | lanes | ours | AWS-LC | libcrux |
//! |---|---|---|---|---|
//! | encapsulate | 8 | 290,000 | 78,500 (3.7) | 53,100 (5.5) |
//! | | 4 | 271,000 | (3.5) | (5.1) |
//! | | 2 | 247,000 | (3.2) | (4.7) |
//! | | 1 | 151,000 | (1.9) | (2.8) |
//! | generate | 8 | 314,000 | 81,700 (3.8) | 60,800 (5.2) |
//! | | 1 | 114,000 | (1.4) | (1.9) |
//! | decapsulate | 8 | 229,000 | 62,800 (3.6) | 46,900 (4.9) |
//! | | 1 | 142,000 | (2.3) | (3.0) |
//!
//! Of eight encapsulations 62 % of the time is Keccak, 22 % arithmetic of polynomials, 9 % the
//! sampling of the matrix, 3 % wiping.
//!
//! There is no way for CPUs that have AVX2 alone. AWS-LC's code for these works on four states at once
//! wherever one operation has four; it spends 26 % of an encapsulation there, and 30 % on states
//! one by one, which are mostly the key's hash. Four lanes could save a fifth at most, and only if all else
//! were as fast as AWS-LC's assembly.
//!
//! # Invariants
//! - Knows no device, no TLS and no random numbers: outputs are a function of inputs.
//! - One lane never alters another. Outputs of a refused operation are zero.
//! - Allocates when [`Lanes`] is made, never in an operation.
//! - What is secret in its memory is wiped after every batch, and so is the stack that it used.
//!   The matrix and keys of peers stay until the next batch. Nothing is printed.
//! - Unsafe code: loads, stores, constants and wiping in `simd`, where every address is an index
//!   into a slice whose bounds are checked; and three calls of code for the CPU that
//!   [`Cpu`] has found.
//!
//! # Constant time
//! No branch and no address depends on a secret: tables are in registers (vpermw), choices
//! are masks, the ciphertext that decapsulation makes is compared to its end. Compilers keep to
//! the instructions that they are given here, there being no scalar code over secrets but the last
//! step of that comparison. How many candidates of the matrix are rejected depends on the key's
//! public seed. Lengths, and whether a key was refused, are public.
//!
//! `src/tests/timing.rs` looks for leaks statistically; its head has the command. 10^6 measurements each
//! on Zen 4, fixed against random, |t| above 4.5 being a leak: decapsulation gave
//! 2.4 for the secret vector and 0.9 for ciphertexts that are rejected, encapsulation 2.9 for messages, what
//! generation does with its secrets 1.5. A comparison that ends at
//! the first difference gave 213 with 50,000.
//!
//! # How it is checked
//! - `src/tests` compares every step with what the standards say, word by word: reductions
//!   and compression for all inputs, the modulus check for every place and every value.
//! - `tests/wycheproof.rs`, `tests/published.rs`: known answers. `tests/aws_lc.rs`: random operations beside AWS-LC's;
//!   its ignored test takes a million. `tests/lanes.rs`: fills, refusals, independence.
//!   `tests/wiping.rs` looks for secrets on the stack below its caller.
//! - On a CPU without AVX-512 tests are skipped, and say so.

#![deny(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod field;
#[cfg(target_arch = "x86_64")]
mod hashing;
#[cfg(target_arch = "x86_64")]
mod keccak;
#[cfg(target_arch = "x86_64")]
mod kem;
#[cfg(target_arch = "x86_64")]
mod ntt;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod pke;
#[cfg(target_arch = "x86_64")]
mod sample;
#[cfg(target_arch = "x86_64")]
mod simd;
#[cfg(target_arch = "x86_64")]
mod sponge;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod work;

#[cfg(target_arch = "x86_64")]
pub use kem::{
    Decapsulation, Encapsulation, KeyGeneration, Lanes, MlKem512, MlKem768, MlKem1024, Outcome,
    Refused,
};
#[cfg(target_arch = "x86_64")]
pub use simd::Cpu;
#[cfg(target_arch = "x86_64")]
pub use sponge::LANES;
