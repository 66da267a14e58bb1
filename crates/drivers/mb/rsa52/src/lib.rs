//! RSA private operations, eight at a time, in the lanes of AVX-512 IFMA.
//!
//! [`RsaLanes::private`] raises eight blocks to eight private exponents, each lane with a key of its
//! own, by the Chinese remainder theorem, and checks every result by the public exponent before it
//! leaves. It serves 2048, 3072 and 4096 bits and the exponent 65537, and costs the same for one
//! lane as for eight.
//!
//! # How it computes
//! A number is an array of 52-bit limbs; a limb of all eight lanes is one 512-bit register.
//! `vpmadd52luq` and `vpmadd52huq` multiply 52-bit limbs and add the low or the high half of the
//! product to a column of 64 bits, eight lanes at once (Gueron and Krasnov, "Software Implementation
//! of Modular Exponentiation, Using Advanced Vector Instructions Architectures", 2012, and
//! "Accelerating Big Integer Arithmetic Using Intel IFMA Extensions", 2016).
//!
//! ```text
//!  block mod p, mod q ─▶ 16 powers ─▶ 256 windows: 4 squarings, 1 multiplication ─▶ m_p, m_q
//!  m_q + q ((m_p - m_q) / q mod p) ─▶ result ─▶ result^65537 mod n = block?      (2048 bits)
//! ```
//!
//! The modular multiplication is Montgomery's ("Modular Multiplication Without Trial Division",
//! 1985). Its results stay below twice the modulus, which the limbs have room for, and are reduced
//! once at the end. The build script writes it, and the squaring, for 20 to 80 limbs as assembly,
//! from `generator/`, which explains it from the bottom up: `blocks.rs` multiplies ten limbs by
//! ten without a spilled register, `kernel.rs` sets numbers together from such blocks. What made
//! it fast:
//!
//! - Karatsuba's method on halves of a block takes 150 multiplications instead of 200. The additions
//!   it needs take back a part of that: 93 cycles instead of 100, or 85 where the sum of a factor's
//!   halves is known beforehand, as the modulus's is. (On Zen 5, which multiplies on two of four
//!   ports; a core that adds on the same ports as it multiplies gains less or nothing.)
//! - A column to be cleared starts at 2^52 - 1, so that its carry needs no multiplication.
//! - The limbs of a squaring's different blocks are multiplied once, and the columns doubled.
//! - A window's table entry is read, every limb of every entry of it, in the shade of the
//!   squarings' waits.
//! - Stores are dear: a 512-bit store costs as much as two multiplications. Nothing is stored
//!   that registers can keep.
//!
//! A squaring and a multiplication of 20 limbs take 1070 and 1300 multiplications in each lane,
//! where the usual way takes 1220 and 1600. Two of these are possible per cycle.
//!
//! # Against crypto_mb
//! CPU time, check included, against crypto_mb without one, on a Zen 5 core (`cargo bench -p
//! spinlane-driver-mb`), for 2048, 3072 and 4096 bits: 1.15, 2.5 and 1.55 times as fast where
//! crypto_mb finds its stack aligned as it likes best, 1.16, 3.3 and 1.67 where it is aligned at random. At 2048 bits crypto_mb comes within a fifth of
//! what the usual number of multiplications allows. Tried without gain at that size: Karatsuba's
//! method on blocks (its stores cost what it saves) and windows of five bits (a table beyond the
//! first-level cache).
//!
//! # Invariants
//! - Knows no device and no TLS.
//! - Results that fail the check do not leave; one lane never alters another.
//! - Allocates when keys and [`RsaLanes`] are made, never in an operation.
//! - Keys are wiped when dropped, and work memory after every batch. Nothing secret is printed.
//! - Unsafe code lives in `kernel`, in calls of generated code, and nowhere else.
//!
//! # Constant time
//! The generator has no instruction that moves data into an address, a flag or a general-purpose
//! register, and no jump: whatever the operands, a kernel runs the same instructions on the
//! same addresses. The steps around the kernels (carries, one subtraction, conversion) are Rust
//! without branches or indices that depend on a limb. Key set-up is the same arithmetic in one
//! lane. How many keys and blocks there are and how long, and whether a result was right, is public.
//!
//! `src/timing.rs` looks for leaks statistically; its head has the command. Fixed inputs against
//! random ones, 10^6 measurements each on a Zen 5 core, where |t| above 4.5 is a leak: a window of the
//! exponentiation gave at most 2.1 for key bits (0, 5, 15) and for a message, as two equal
//! classes did; whole RSA-2048 operations gave 1.9 for one key in all lanes and 1.5 for one message. A
//! seeded leak gave 350 with 20,000. Keys lie in the same eight places for that: with the two
//! classes' keys at places of their own |t| was 6, which tells where a key lies, not what it is.
//!
//! One thing does show: a base of 0 in all lanes (t = 30 to 47), by the processor and not by the
//! instructions, which are the same. No message is 0, and none is 0 modulo a prime but by
//! whoever knows the prime.
//!
//! # Blinding
//! There is none, and this is why. Blinding hides the base of the power from an attacker who
//! times or observes it (Kocher, "Timing Attacks on Implementations of Diffie-Hellman, RSA, DSS, and
//! Other Systems", 1996; Brumley and Boneh, "Remote Timing Attacks are Practical", 2003). Both
//! attacks need a running time that depends on the operands: Kocher's on multiplications that are
//! skipped, Brumley's and Boneh's on the extra reduction of Montgomery's method and on two ways of
//! multiplying. Here no multiplication is skipped, no reduction is extra (Walter, "Montgomery
//! Exponentiation Needs No Final Subtractions", 1999), and there is one way. Attacks by shared
//! caches ("CacheBleed", Yarom, Genkin and Heninger, 2016) need addresses that depend on the
//! exponent. Faults (Boneh, DeMillo and Lipton, "On the Importance of Checking Cryptographic
//! Protocols for Faults", 1997) are caught by the check, which uses public numbers alone and
//! which blinding could not replace. crypto_mb does not blind either, nor does Go's crypto/rsa since
//! its arithmetic is constant-time (Go 1.20).
//!
//! # Chosen ciphertexts
//! Of a signature nobody chooses the block, of a decryption the peer does, and may ask a million
//! times. Three things can tell him something:
//! - *The padding* (Bleichenbacher, "Chosen Ciphertext Attacks Against Protocols Based on the RSA
//!   Encryption Standard PKCS #1", 1998). Not of this crate: it returns the block, whatever it is,
//!   and who takes the padding off must not tell.
//! - *The result's length*: Kario ("Everlasting ROBOT: the Marvin Attack", 2023) found libraries,
//!   blinding ones among them, that convert a result with zeros in front in less time. Here results
//!   have all their limbs and bytes at every step, and the check compares all of them. It fails
//!   for no ciphertext below n.
//! - *The operands*. Brumley and Boneh choose ciphertexts near a prime; see above. Nobody can
//!   choose a base of 0 modulo a prime who does not know it. But R is public, and the inverse
//!   of its j-th root, where it has one, is a base whose j-th table entry can come out as 1,
//!   with zeros in all limbs but one. Multiplying by it takes the same instructions, and maybe less power: then the
//!   sum over an operation tells how often that window occurs in dp and dq together, but not where.
//!   No attack is known to us that makes a key of this; chosen ciphertexts did give keys to those
//!   who could listen to the machine (Genkin, Shamir and Tromer, "RSA Key Extraction via
//!   Low-Bandwidth Acoustic Cryptanalysis", 2014).
//!
//! What is left is what no instruction sequence governs: power and radiation, and a clock that
//! follows the power (Wang et al., "Hertzbleed", 2022). Who has to reckon with these wants the
//! blinded path, AWS-LC's, which blinds every operation: by the device `soft`, or by `mb` with its
//! option `blinding`, which keeps RSA out of the lanes and all else in them. That is the switch.
//!
//! # How unsafe code is checked
//! Neither Miri nor valgrind knows these instructions. Instead:
//! - `tests/generated.rs` runs every kernel in an emulator, on any machine: each access is within
//!   an operand of the length that `kernel` asserts, none is to memory or a register without a value,
//!   no column overflows. Since addresses do not depend on data, one run shows what all do.
//! - `src/tests.rs` compares every step on the CPU, limb by limb, with a scalar model of the same
//!   algorithm, on random and edge values, and the model with OpenSSL.
//! - `tests/openssl.rs` compares whole operations with OpenSSL, breaks lanes and flips bits. Its
//!   ignored tests do so for 100,000 pairs over 100 keys of each size. RSA-4096's was last run
//!   against OpenSSL 3.0: all equal, in eight minutes of a core.

#![deny(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod kernel;
mod key;
mod line;
#[cfg(target_arch = "x86_64")]
mod rsa;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(all(test, target_arch = "x86_64"))]
mod timing;

#[cfg(target_arch = "x86_64")]
pub use kernel::Cpu;
pub use key::{KeyError, KeyParts, PrivateKey};
pub use line::LANES;
#[cfg(target_arch = "x86_64")]
pub use rsa::RsaLanes;
