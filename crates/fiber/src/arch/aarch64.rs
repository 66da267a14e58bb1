//! aarch64, AAPCS64.
//!
//! The switch is an ordinary function of the C ABI, so that the same text can
//! be driven from C: see `tests/aarch64`. FPCR belongs to each side here, for
//! reading it is cheap.

use core::arch::asm;

use super::{Pair, Run};

unsafe extern "C" {
    fn spinlane_fiber_switch(mine: *mut Regs, theirs: *const Regs);
    fn spinlane_fiber_finish(theirs: *const Regs) -> !;
    fn spinlane_fiber_entry();
}

/// What a side keeps while the other one runs. The first two words are a
/// frame record: walkers of the x29 chain (perf) cross to the resumer by it.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Regs {
    x29: usize,
    x30: usize,
    sp: usize,
    fpcr: usize,
    x19_to_x28: [usize; 10],
    d8_to_d15: [u64; 8],
}

/// Registers for the first switch to a fiber: it will call `run(pair)` with
/// the stack below `top`, which is 16-byte aligned, and with the FPCR now in
/// force.
#[inline]
pub(crate) fn prepare(top: *mut u8, pair: *mut Pair, run: Run) -> Regs {
    let fpcr;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
    let mut regs = Regs {
        x29: pair as usize,
        x30: spinlane_fiber_entry as *const () as usize,
        sp: top as usize,
        fpcr,
        ..Regs::default()
    };
    regs.x19_to_x28[0] = run as *const () as usize;
    regs
}

/// Runs the fiber; returns when it suspends or ends.
///
/// # Safety
/// `pair.fiber` holds the registers of a suspended or prepared fiber, which
/// nobody else switches to, and was stored on this thread.
#[inline(always)]
pub(crate) unsafe fn resume(pair: *mut Pair) {
    // SAFETY: by the caller's promise the other side is ready to run.
    unsafe { spinlane_fiber_switch(&raw mut (*pair).resumer, &raw const (*pair).fiber) }
}

/// Runs the resumer; returns when the fiber is resumed.
///
/// # Safety
/// The caller runs on the fiber of `pair`.
#[inline(always)]
pub(crate) unsafe fn suspend(pair: *mut Pair) {
    // SAFETY: as for resume: the resumer waits in it.
    unsafe { spinlane_fiber_switch(&raw mut (*pair).fiber, &raw const (*pair).resumer) }
}

/// Returns the caller's stack pointer. (The address of a local would do, but for AddressSanitizer, which moves
/// locals elsewhere.)
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Returns the highest address on the resumer's stack that it does not use while it waits, 16-byte
/// aligned.
///
/// # Safety
/// `pair` is that of a running fiber.
pub(crate) unsafe fn below_resumer(pair: *const Pair) -> *mut u8 {
    // SAFETY: while the fiber runs the resumer's registers are in the pair.
    std::ptr::with_exposed_provenance_mut(unsafe { (*pair).resumer.sp } & !15)
}

/// Runs the resumer; the fiber is never run again.
///
/// # Safety
/// The caller runs on the fiber of `pair`.
#[inline(always)]
pub(crate) unsafe fn finish(pair: *mut Pair) -> ! {
    // SAFETY: the resumer waits in resume.
    unsafe { spinlane_fiber_finish(&raw const (*pair).resumer) }
}
