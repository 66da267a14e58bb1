//! The one module that speaks C: EAL and ports behind functions that are safe while EAL runs.
//!
//! [`Running`] is the proof that it does.

#![allow(unsafe_code)]

mod handed_over;
mod link;
mod port;
mod process;

pub use handed_over::HandedOver;
pub(crate) use link::{is_running, mtu};
pub(crate) use port::{Opened, Plug, RawQueuePair, SetUp};
pub(crate) use process::allowed_cores;
pub use process::{HeapStats, Running};

use std::ffi::{CStr, CString, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys as sys;

/// What DPDK says of an errno of its own or the system's, negative or not.
pub fn error_text(errno: c_int) -> String {
    // SAFETY: takes any number; returns a string that is static or the thread's own, copied here.
    unsafe { CStr::from_ptr(sys::rte_strerror(errno.saturating_abs())) }
        .to_string_lossy()
        .into_owned()
}

/// The thread's `rte_errno`.
pub fn errno() -> c_int {
    // SAFETY: reads a thread-local number.
    unsafe { sys::shim_errno() }
}

/// A name that no other memory pool of the process has, short enough for DPDK (25 bytes).
pub fn unique_name(what: &str) -> CString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    CString::new(format!("sl_{what}_{number}")).unwrap_or_default()
}
