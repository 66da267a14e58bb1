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
mod process;
#[cfg(feature = "null")]
mod raw_loop;
mod session;

pub use adopt::HandedOver;
pub(crate) use aead::{
    AeadSession, AeadSessionPool, DmaMemory, Handover, RawAead, SessionHandle, take_all, takes,
};
pub(crate) use device::{DeviceId, QueuePairId, QueuePairs};
#[cfg(test)]
pub(crate) use ops::Spoil;
pub(crate) use ops::{Back, Point, Products, RawQueuePair, Signature, Submitted, Work};
pub(crate) use pair::BURST;
pub use process::HeapStats;
pub(crate) use process::{Running, allowed_cores};
#[cfg(feature = "null")]
pub use raw_loop::RawLoop;
#[cfg(feature = "null")]
pub(crate) use session::NullSession;
pub(crate) use session::{Group, Multiplying, RsaNumbers, Session, SessionPool, Signing};

use std::ffi::{CStr, CString, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys as sys;

/// What DPDK says of an errno of its own or the system's, negative or not.
pub(crate) fn error_text(errno: c_int) -> String {
    // SAFETY: takes any number; returns a string that is static or the thread's own, copied here.
    unsafe { CStr::from_ptr(sys::rte_strerror(errno.saturating_abs())) }
        .to_string_lossy()
        .into_owned()
}

/// The thread's `rte_errno`.
fn errno() -> c_int {
    // SAFETY: reads a thread-local number.
    unsafe { sys::shim_errno() }
}

/// A name that no other memory pool of the process has, short enough for DPDK (25 bytes).
fn unique_name(what: &str) -> CString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    CString::new(format!("sl_{what}_{number}")).unwrap_or_default()
}
