//! The one module that speaks C: DPDK behind functions that are safe while EAL runs.
//!
//! [`Running`] is the proof that it does. What DPDK keeps a pointer to (ops, keys) lies in
//! DPDK's own memory and is freed after what uses it.

#![allow(unsafe_code)]

mod adopt;
mod aead;
mod device;
mod ops;
mod pair;
#[cfg(feature = "null")]
mod raw_loop;
mod session;

pub use adopt::HandedOver;
pub(crate) use aead::{
    DmaMemory, Handover, RawAead, SessionHandle, SymmetricSession, take_all, takes,
};
pub(crate) use device::{DeviceId, QueuePairId, QueuePairs};
#[cfg(test)]
pub(crate) use ops::Spoil;
pub(crate) use ops::{Back, Point, Products, RawQueuePair, Signature, Submitted, Work};
pub(crate) use pair::BURST;
#[cfg(feature = "null")]
pub use raw_loop::RawLoop;
pub(crate) use session::{Group, Multiplying, RsaNumbers, Session, SessionPool, Signing};
pub(crate) use spinlane_dpdk::{Running, errno, error_text, unique_name};
