//! Crypto device that runs eight ops at a time in AVX-512 IFMA lanes: RSA by the kernels of
//! `spinlane-rsa52`, ML-KEM by those of `spinlane-mlkem`, X25519 public keys by those of `base25519`, all else by
//! Intel's crypto_mb.
//!
//! A batch costs the same for one op as for eight. So it runs when it is full, when its oldest
//! op has waited long enough, or when the poll core has nothing better to do; and where too few
//! ops have come for lanes to pay, they run one at a time by aws-lc. How many that are depends on the CPU: it is
//! measured when the first device of a process is opened, which takes some milliseconds. A kind whose lanes never pay
//! runs one at a time always.
//!
//! # Invariants
//! - Computes in `dequeue_burst` and `flush` alone, never in `enqueue_burst`: neither crypto_mb's
//!   stack nor a batch's time is asked of a fiber.
//! - A call runs one batch at most, or less: its length is bounded by the slowest kind's.
//! - No RSA result leaves unless its 65537th power is the block it was made from. One that
//!   fails is computed again by aws-lc, which has a check of its own, and counted.
//! - Lanes do not blind RSA, for the reasons that `spinlane-rsa52` gives; with [`Options::blinding`]
//!   no RSA op runs in them, but each by aws-lc, which does.
//! - ECDSA nonces never come from randomness alone, nor from key and digest alone.
//! - A peer's point that is not on its curve makes its own op invalid and no other.
//! - Reads keys where they are: none is copied per op, except an ECDSA scalar into the nonce's hash
//!   and an ECDH scalar into limbs. Intermediate secrets are wiped after every batch.
//! - Keys are imported before there is a device: so an RSA key's first batch computes its
//!   Montgomery constants, some 100 microseconds per key; they live and are wiped with the key.
//! - Allocates nothing else after a queue pair is opened, except what aws-lc does for single ops. The
//!   first of a process computes the table of `base25519`, 60 KB.
//! - Unsafe code lives in `ffi`, the one module that speaks C and calls assembly, and nowhere else.

#![deny(unsafe_code)]

#[cfg(any(test, not(target_arch = "x86_64")))]
mod absent;
#[cfg(target_arch = "x86_64")]
mod base25519;
#[cfg(target_arch = "x86_64")]
mod device;
#[cfg(target_arch = "x86_64")]
mod ffi;
#[cfg(target_arch = "x86_64")]
mod fill;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod options;
#[cfg(target_arch = "x86_64")]
mod queue_pair;

#[cfg(not(target_arch = "x86_64"))]
pub use absent::MbDevice;
#[cfg(target_arch = "x86_64")]
pub use device::MbDevice;
pub use options::Options;

/// Its name in a device spec.
pub const NAME: &str = "mb";

/// What to do where it cannot be had.
const REMEDY: &str = "use the device `soft`, or a CPU from Ice Lake or Zen 4 on";
