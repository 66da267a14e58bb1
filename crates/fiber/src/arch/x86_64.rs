//! x86_64, System V.
//!
//! A side that is not running keeps three words on its own stack:
//!
//! ```text
//!   +-----+  stored sp + 24: its rsp when it runs on
//!   | rbx |
//!   +-----+
//!   | rip |  \ a frame record, so that walkers of the rbp chain (perf)
//!   +-----+  | cross from a fiber to its resumer: a running fiber's
//!   | rbp |  / outermost rbp is its Control, whose first word points here
//!   +-----+  stored sp
//! ```
//!
//! The other callee-saved registers (r12 to r15) are clobbers of the `asm!`
//! block, so the compiler saves those that are live and no others.
//!
//! The switch is entered by `jmp` and left by `jmp`. A `call` would push an
//! address on the processor's return predictor that no `ret` takes off, and
//! a `ret` would be predicted to go back to the side just left: each is a
//! misprediction per switch, ten times the cost of the rest.

use core::arch::{asm, global_asm};

global_asm!(include_str!("x86_64.s"));

unsafe extern "C" {
    fn spinlane_fiber_switch();
    fn spinlane_fiber_finish();
    fn spinlane_fiber_entry();
}

/// Writes what the first switch to a fiber takes off its stack and returns
/// the stack pointer to switch to.
///
/// # Safety
/// `top` is 16-byte aligned, with room for the words below it.
pub(crate) unsafe fn prepare(top: *mut u8, control: *mut u8, run: super::Run) -> *mut u8 {
    let sp = top.cast::<usize>().wrapping_sub(3);
    // SAFETY: the three words lie below `top`, where the caller has room.
    unsafe {
        sp.write(control as usize);
        sp.add(1).write(spinlane_fiber_entry as *const () as usize);
        sp.add(2).write(run as *const () as usize);
    }
    sp.cast()
}

/// Stores this side's stack pointer in `save` and runs the side stored as
/// `to`. Returns when something switches back to what `save` holds.
///
/// # Safety
/// `save` is writable; `to` was stored by a switch or made by [`prepare`],
/// on this thread, and has not been switched to since.
#[inline(always)]
pub(crate) unsafe fn switch(save: *mut *mut u8, to: *mut u8) {
    // SAFETY: the caller vouches for both ends. rbx, rbp and rsp are put back
    // by the switch, every other register is declared clobbered.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "jmp {switch}",
            "2:",
            // The frame above a signal frame is looked up by this very
            // address, so it must not be the first one past the block.
            "nop",
            switch = sym spinlane_fiber_switch,
            in("rdi") save,
            in("rsi") to,
            lateout("rdi") _, lateout("rsi") _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("C"),
        );
    }
}

/// Runs the side stored as `to`; the side this is called on is never run
/// again.
///
/// # Safety
/// As for [`switch`].
#[inline(always)]
pub(crate) unsafe fn finish(to: *mut u8) -> ! {
    // SAFETY: the caller vouches for `to`; this side's registers are dead.
    unsafe {
        asm!("jmp {finish}", finish = sym spinlane_fiber_finish, in("rdi") to, options(noreturn));
    }
}
