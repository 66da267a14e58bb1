//! x86_64, System V.
//!
//! r12 to r15 are clobbers of the `asm!` blocks, so the compiler saves those
//! that are live and no others; rbx and rbp it keeps to itself, so they are
//! saved here. Nothing is pushed: the processor forwards a store to a load in
//! no time when both are addressed by one general register, and takes some 7
//! cycles for a push and a pop with a change of rsp between them.
//!
//! Both ways a switch is left by `jmp`, and entered by none: a `call` would
//! push an address on the return predictor that no `ret` takes off, and a
//! `ret` would be predicted to go back to the side just left.

use core::arch::asm;

use super::{Pair, Run};

unsafe extern "C" {
    fn spinlane_fiber_entry();
}

/// What a side keeps while the other one runs. The first two words are a
/// frame record: walkers of the rbp chain (perf) cross to the resumer by it.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Regs {
    rbp: usize,
    rip: usize,
    rsp: usize,
    rbx: usize,
}

/// Registers for the first switch to a fiber: it will call `run(pair)` with
/// the stack below `top`, which is 16-byte aligned.
#[inline]
pub(crate) fn prepare(top: *mut u8, pair: *mut Pair, run: Run) -> Regs {
    Regs {
        rbp: pair as usize,
        rip: spinlane_fiber_entry as *const () as usize,
        rsp: top as usize,
        rbx: run as *const () as usize,
    }
}

/// Stores the registers in the Regs at `$mine` bytes from the pair, loads
/// those at `$theirs` and goes on there.
macro_rules! switch {
    ($pair:expr, $mine:expr, $theirs:expr) => {
        asm!(
            "lea rax, [rip + 2f]",
            "mov [rdi + {mine}], rbp",
            "mov [rdi + {mine} + 8], rax",
            "mov [rdi + {mine} + 16], rsp",
            "mov [rdi + {mine} + 24], rbx",
            "mov rbx, [rdi + {theirs} + 24]",
            "mov rsp, [rdi + {theirs} + 16]",
            "mov rbp, [rdi + {theirs}]",
            "jmp [rdi + {theirs} + 8]",
            "2:",
            // The caller of a signal frame is looked up by this very address,
            // so it must not be the first one past the block.
            "nop",
            mine = const $mine,
            theirs = const $theirs,
            inout("rdi") $pair => _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("C"),
        )
    };
}

/// Runs the fiber; returns when it suspends or ends.
///
/// # Safety
/// `pair.fiber` holds the registers of a suspended or prepared fiber, which
/// nobody else switches to, and was stored on this thread.
#[inline(always)]
pub(crate) unsafe fn resume(pair: *mut Pair) {
    // SAFETY: by the caller's promise the other side is ready to run. rbx,
    // rbp and rsp come back through Regs; all else is declared clobbered.
    unsafe { switch!(pair, Pair::RESUMER, Pair::FIBER) }
}

/// Runs the resumer; returns when the fiber is resumed.
///
/// # Safety
/// The caller runs on the fiber of `pair`.
#[inline(always)]
pub(crate) unsafe fn suspend(pair: *mut Pair) {
    // SAFETY: as for resume: the resumer waits in it.
    unsafe { switch!(pair, Pair::FIBER, Pair::RESUMER) }
}

/// Returns the caller's stack pointer. (The address of a local would do, but for AddressSanitizer, which moves
/// locals elsewhere.)
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Returns the highest address on the resumer's stack that it does not use while it waits, 16-byte
/// aligned.
///
/// # Safety
/// `pair` is that of a running fiber.
pub(crate) unsafe fn below_resumer(pair: *const Pair) -> *mut u8 {
    /// The ABI's red zone. A function that waits in a switch has none, but it costs nothing to be
    /// sure.
    const RED_ZONE: usize = 128;
    // SAFETY: while the fiber runs the resumer's registers are in the pair.
    let rsp = unsafe { (*pair).resumer.rsp };
    std::ptr::with_exposed_provenance_mut((rsp - RED_ZONE) & !15)
}

/// Runs the resumer; the fiber is never run again.
///
/// # Safety
/// The caller runs on the fiber of `pair`.
#[inline(always)]
pub(crate) unsafe fn finish(pair: *mut Pair) -> ! {
    // SAFETY: the resumer waits as for suspend; this side's registers are dead.
    unsafe {
        asm!(
            "mov rbx, [rdi + {theirs} + 24]",
            "mov rsp, [rdi + {theirs} + 16]",
            "mov rbp, [rdi + {theirs}]",
            "jmp [rdi + {theirs} + 8]",
            theirs = const Pair::RESUMER,
            in("rdi") pair,
            options(noreturn),
        )
    }
}
