//! The context switch: one file of assembly text per target, each exporting
//! `spinlane_fiber_switch`, `spinlane_fiber_finish`, `spinlane_fiber_entry`.
//!
//! A fiber's stack, from the top:
//!
//! ```text
//!   +------------------+  page boundary
//!   | Control          |  first word: the resumer's stored stack pointer;
//!   |                  |  also the body's state, the panic payload, the Stack
//!   +------------------+
//!   | body (closure)   |  moved out when the fiber starts
//!   +------------------+  16-byte aligned
//!   | first switch     |  words for spinlane_fiber_entry, see each target
//!   +------------------+  stored sp of a fiber that has not started
//!   | frames           |  entry, run::<F>, the body and what it calls
//!   +------------------+
//!   | stored registers |  while suspended, see each target
//!   +------------------+  stored sp
//!   ~ unused           ~
//!   +------------------+
//!   | guard            |  no access: touching it is an overflow
//!   +------------------+  lowest address of the mapping
//! ```
//!
//! While a fiber runs, the same registers of its resumer lie on the
//! resumer's stack at the address in Control's first word. The unwind
//! information of `spinlane_fiber_entry` says so, and that is what carries a
//! backtrace from the body into the function that called `resume`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{finish, prepare, switch};

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{finish, prepare, switch};

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("spinlane-fiber has a context switch for x86_64 and aarch64 Linux only");

/// The first Rust function on a fiber; it leaves by [`finish`].
pub(crate) type Run = unsafe extern "C" fn(control: *mut u8) -> !;
