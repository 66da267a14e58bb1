//! Cryptography on the CPU: what the devices are measured against, and what stands in for them.
//!
//! Keys ([`RsaKey`], [`EcKey`], [`Ed25519Key`]), key agreement ([`curve`], [`x25519`], [`mlkem`])
//! and authenticated encryption ([`aead`]) are computed by AWS-LC. Hashes, HMAC, paddings, ECDSA
//! nonces and random numbers are what TLS needs besides.
//!
//! # Invariants
//! - Knows no device, no op, no job and no TLS.
//! - Depends on no other crate of this workspace.
//! - Key material is zeroized on drop and never printed. Code that works on secrets takes a time
//!   that does not depend on them.
//! - Unsafe code lives in `aws_lc`, the one module that speaks C, and where [`Erased`] drops its value, and nowhere
//!   else.

#![deny(unsafe_code)]

pub mod aead;
mod aws_lc;
pub mod curve;
pub mod digest;
pub mod ecdsa;
mod key;
pub mod mlkem;
pub mod nonce;
pub mod padding;
mod public;
pub mod random;
mod sha2;
mod sha512;
#[cfg(feature = "test-keys")]
pub mod test_keys;
pub mod unpadding;
mod wiped;
pub mod x25519;

pub use aws_lc::{cleanse, constant_time_eq, fork_generation};
pub use key::{
    EcKey, EcP256Key, EcP384Key, Ed25519Key, Key, KeyError, MAX_MODULUS_LEN, RsaComponents, RsaKey,
};
pub use public::{EcPublicKey, PublicKey, RsaPublicKey};
pub use wiped::{Erased, Wiped, wiping_stack};
