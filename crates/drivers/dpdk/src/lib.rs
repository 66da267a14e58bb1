//! Crypto devices of DPDK: `rte_cryptodev` queue pairs, software (`crypto_openssl`) and cards alike.
//!
#![cfg_attr(feature = "dpdk", doc = "```no_run")]
#![cfg_attr(not(feature = "dpdk"), doc = "```ignore")]
//! use spinlane_cryptodev::{Device, QueuePairConfig};
//! use spinlane_driver_dpdk::{DpdkDevice, Eal, EalConfig};
//!
//! let eal = Eal::init(&EalConfig::default())?;
//! let device = DpdkDevice::open(&eal, &"crypto_openssl,queue_pairs=2".parse()?)?;
//! let queue_pair = device.queue_pair(QueuePairConfig::default())?; // on the thread that polls it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An op is handed over in the device's bursts, from `dequeue_burst` and `flush`. The queue pair owns it until the
//! device has given it back: a driver that computes on the caller's core works on the op itself. For a card,
//! operands and result are copied through memory of DPDK's, which it can reach. Bulk data (`DpdkDevice` as an
//! `aead::Device`) is not even copied for a card: its buffers come from there.
//!
//! # Invariants
//! - DPDK is called in `dequeue_burst` and `flush` alone, never in `enqueue_burst`: a software driver
//!   computes as it is given ops, and a fiber's stack is no place for that. (But a session for bulk data is
//!   made as its first op is enqueued.)
//! - A driver that computes on the caller's core is given about `BUDGET_US` of work per call, or one op;
//!   a card as many as it takes.
//! - Never more ops in flight than a ring of n descriptors holds, which is n - 1.
//! - An op that the device refuses for good ends with an error, and those behind it go on.
//! - One session per queue pair and key, since drivers change a session as they run ops: a shared
//!   one crashes. A key's sessions end some time after the key: when room is needed or another key comes.
//! - No RSA result leaves unless its public power is the block it was made from. One that
//!   fails is an error of the device (counted in `faults_caught`), and its bytes are wiped.
//! - No ECDSA signature leaves unless s k = e + r d modulo the order, for its nonce k, digest e and key d, and no
//!   product of a point unless it is on the curve; what fails ends likewise. What that leaves open, an r of another
//!   nonce and another point of the curve, is not computed again: it ends the handshake at the peer.
//! - A peer's point that is not on the curve, or a scalar out of range, reaches no device: `OpStatus::Invalid`.
//! - ECDSA nonces are the driver's, hedged ([`spinlane_crypto::nonce`]), whatever a device could draw itself.
//! - Padding is never the device's: cards have no other than none.
//! - EAL is initialised once per process, and outlives every device, which outlive their queue pairs.
//! - What a device has kept for ever stays in memory for ever, as do the sessions and the queue pair it is in.
//! - After the first op of a key a burst allocates nothing, except what C does (`crypto_openssl` allocates numbers
//!   per op, aws-lc points where it checks them), and two short operands where RSA takes two exponentiations.
//! - Unsafe code lives in `ffi`, the one module that speaks C, and nowhere else.
//!
//! # Which ops
//! RSA-2048, RSA-3072 and RSA-4096, where the device signs by keys in quintuple (CRT) format, or
//! raises to powers modulo half their length.
//!
//! ECDSA on P-256 and P-384, by the device's signatures, and ECDH on both, by its products of points: keygen is a
//! product of the generator, derive of the peer's point, and an exchange is both at once. Capabilities of DPDK's do
//! not tell the curves (and those of `crypto_qat` no ECDSA before 25.11, though it has it), so that a device which
//! lists them, and every card, is tried when it is opened, by a random op of each kind and curve whose result is
//! compared: it has those that come out right. Then operands and results of all ops are copied, and an exchange takes
//! two descriptors of its ring.
//!
//! Nothing else, so that lcores compute it themselves.
//!
//! AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305, where the device takes the associated data of TLS and of
//! ESP. A session is for a key, a direction and a length of associated data; a queue pair keeps 1024.
//!
//! # What it costs
//! Above DPDK's own bursts, on `crypto_null`: 16, 6.2 and 5.6 ns per op at bursts of 1, 8 and 32
//! (`benches/overhead.rs`).
//!
//! Bulk data, on `crypto_aesni_gcm` with AES-128-GCM, nanoseconds per record at bursts of 1, 8 and 32, and what
//! `dpdk-test-crypto-perf` took, which looks at no result and has one nonce for all
//! (`tools/compare_dpdk_perf.sh crypto_aesni_gcm aes-128-gcm 1 12`):
//!
//! | bytes | here | there |
//! |---|---|---|
//! | 64 | 63, 46, 43 | 59, 42, 39 |
//! | 1024 | 101, 86, 84 | 95, 80, 80 |
//! | 16384 | 742, 728, 729 | 732, 720, 725 |
//!
//! On curves, at the core that polls (Zen 5): 0.4 to 0.5 µs to check a signature, where computing one takes 12 µs on
//! P-256 and 64 on P-384; 0.3 µs to check a product, where computing an exchange takes 39 and 148.
//!
//! # In an application of DPDK's
//! `Eal::adopt` and `HandedOver` take what is there already: see the facade's `examples/pipeline.rs`,
//! which has a main of its own and polls Spinlane on EAL's lcores.
//!
//! # Not verified
//! There was no card to try. What only Intel QAT can show:
//! - that `crypto_qat` takes the sessions and ops as they are (its sources say so; it returns a bad op
//!   through dequeue, which is handled as any failed op);
//! - that probing by PCI address finds it (`dpdk:0000:3d:01.0`), with vfio-pci and hugepages;
//! - that it takes ops on curves, and how fast: of those no driver here has any. Tests have test code in the place of
//!   a device, which reads ops as drivers do (`tests/curves.rs`). From drivers' sources (22.11, 23.11 and 24.11; qat
//!   and cnxk): numbers are big-endian and as long as the curve's, in both directions; k is the caller's; a scalar's
//!   and a point's addresses are read by the CPU. `crypto_qat` of 23.11 loses ECDSA keys before 23.11.3,
//!   and so is found to have no ECDSA;
//! - whether products take its firmware as long for all scalars;
//! - that a card takes AEAD ops, and reaches their buffers by the addresses that `rte_malloc_virt2iova` gives;
//! - stopping and starting under load, and what ops in its rings do then;
//! - throughput and latency, and whether 32 ops per doorbell is enough;
//! - DPDK 23.11 (see `dpdk-sys`).

#![deny(unsafe_code)]
// Empty without it; so is dpdk-sys.
#![cfg(feature = "dpdk")]

mod aead;
mod crt;
mod device;
mod ec;
mod ffi;
mod modulus;
mod queue_pair;
mod sessions;
mod spec;
mod table;
mod trial;

pub use device::{DpdkDevice, OpenError};
pub use ffi::HandedOver;
#[cfg(feature = "null")]
pub use ffi::RawLoop;
pub use queue_pair::BUDGET_US;
pub use spec::Spec;
pub use spinlane_dpdk::{Eal, EalConfig, EalError, HeapStats};

/// What a device spec starts with.
pub const NAME: &str = "dpdk";
