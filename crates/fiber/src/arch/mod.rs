//! The context switch. Each target has one file of Rust, exporting `Regs`,
//! `prepare`, `resume`, `suspend`, `finish`, `below_resumer` and `stack_pointer`, and one of assembly text.
//!
//! A fiber's stack, from the top:
//!
//! ```text
//!   +------------------+  page boundary
//!   | Control          |  begins with the Pair: the registers of whichever
//!   |                  |  side is not running; then the body's state, the
//!   |                  |  panic payload, the Stack
//!   +------------------+
//!   | body (closure)   |  moved out when the fiber starts
//!   +------------------+  16-byte aligned: rsp at the first switch
//!   | frames           |  spinlane_fiber_entry, run::<F>, the body, ...
//!   +------------------+  rsp as stored while suspended
//!   ~ unused           ~
//!   +------------------+
//!   | guard            |  no access: touching it is an overflow
//!   +------------------+  lowest address of the mapping
//! ```
//!
//! While a fiber runs, `Pair::resumer` holds the registers of the function
//! that called `resume`. The unwind information of `spinlane_fiber_entry`
//! says so, and that is what carries a backtrace from the body into it.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as target;
#[cfg(target_arch = "x86_64")]
use x86_64 as target;

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("spinlane-fiber has a context switch for x86_64 and aarch64 Linux only");

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(include_str!("aarch64.s"));
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(include_str!("x86_64.s"));

/// Keeps a function with unwind tables in the object file of the text above.
/// Without one LLVM moves that text's unwind information to .debug_frame,
/// where debuggers look and unwinders do not.
#[used]
static UNWIND_TABLES: fn() = || ();

pub(crate) use target::{Regs, below_resumer, finish, prepare, resume, stack_pointer, suspend};

unsafe extern "C" {
    fn spinlane_fiber_call(argument: *mut u8, function: Call, top: *mut u8);
}

/// What [`call`] calls.
pub(crate) type Call = unsafe extern "C" fn(argument: *mut u8);

/// Calls `function` with `argument` on the stack below `top`.
///
/// # Safety
/// - `top` is 16-byte aligned, and nothing is on the stack below it.
/// - The function does with the argument what it may, and does not unwind.
pub(crate) unsafe fn call(argument: *mut u8, function: Call, top: *mut u8) {
    // SAFETY: it keeps to the C ABI on both sides; the rest is the caller's promise.
    unsafe { spinlane_fiber_call(argument, function, top) }
}

/// The registers of both sides. `resumer` comes first: a fiber's outermost
/// frame pointer points here.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Pair {
    pub(crate) resumer: Regs,
    pub(crate) fiber: Regs,
}

#[cfg(target_arch = "x86_64")]
impl Pair {
    pub(crate) const RESUMER: usize = core::mem::offset_of!(Pair, resumer);
    pub(crate) const FIBER: usize = core::mem::offset_of!(Pair, fiber);
}

/// The first Rust function on a fiber; it leaves by [`finish`].
pub(crate) type Run = unsafe extern "C" fn(pair: *mut Pair) -> !;
