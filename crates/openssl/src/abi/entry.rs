//! `ASYNC_start_job` and `ASYNC_pause_job` as C calls them.
//!
//! A processor predicts where a `ret` goes by a stack of its own, filled by `call`. A switch of
//! fibers puts that out of step: the caller's `ret` after a pause finds the address of the
//! fiber's last `call` on top, and the other way round. Two mispredicted returns cost nine times
//! as much as the switch itself (19 ns against 2 ns where it was measured). So on x86_64 these
//! two functions, once they have switched, return by an indirect jump, which is predicted by its
//! own history. A resume and pause takes 23 ns so, and 29 ns with plain returns.
//!
//! ```text
//!   return address    ◀ pushed by the caller's call
//!   rbp rbx r12 … r15 ◀ pushed by the entry     Frame points here: `leave` restores them and
//!   Frame pointer       (ASYNC_start_job)       jumps to the return address
//! ```
//! Not under AddressSanitizer, which marks the frames of functions in its shadow memory
//! and must see them return.

use std::ffi::{c_int, c_void};

use spinlane_job::{Job, WaitCtx, pause};

use super::job::{JobFn, start_job};

#[cfg(all(target_arch = "x86_64", not(spinlane_asan)))]
mod by_jump {
    use std::arch::asm;

    use super::*;
    use crate::abi::{ASYNC_FINISH, ASYNC_PAUSE};

    /// What an entry saved: six registers, and above them its return address.
    #[repr(C)]
    pub(super) struct Frame([usize; 7]);

    /// Returns `value` from the entry that saved `frame`, without a `ret`.
    ///
    /// # Safety
    /// The entry's call has not returned, and no frame above it has a destructor left to run.
    #[inline(always)]
    unsafe fn leave(frame: *mut Frame, value: c_int) -> ! {
        // SAFETY: the frame holds what the entry pushed, in this order, so that its caller
        // finds its registers and stack as a `ret` would leave them.
        unsafe {
            asm!(
                "mov rsp, rdi", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp",
                "pop rcx", "jmp rcx",
                in("rdi") frame, in("eax") value, options(noreturn)
            )
        }
    }

    pub(super) extern "C" fn pause_job(frame: *mut Frame) -> c_int {
        if pause() {
            // SAFETY: called by the entry below; nothing here has a destructor.
            unsafe { leave(frame, 1) }
        }
        1
    }

    pub(super) unsafe extern "C" fn begin_or_resume(
        job: *mut *mut Job,
        wait_ctx: *mut WaitCtx,
        ret: *mut c_int,
        func: Option<JobFn>,
        args: *mut c_void,
        size: usize,
        frame: *mut Frame,
    ) -> c_int {
        // SAFETY: the entry's contract.
        let outcome = unsafe { start_job(job, wait_ctx, ret, func, args, size) };
        if matches!(outcome, ASYNC_PAUSE | ASYNC_FINISH) {
            // SAFETY: called by the entry below; nothing here has a destructor.
            unsafe { leave(frame, outcome) }
        }
        outcome
    }

    macro_rules! entry {
        ($(#[$attribute:meta])* [$($safety:tt)*] fn $name:ident($($argument:ident: $type:ty),*), $frame:literal, $inner:path) => {
            $(#[$attribute])*
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            pub $($safety)* extern "C" fn $name($($argument: $type),*) -> c_int {
                std::arch::naked_asm!(
                    ".cfi_startproc",
                    "push rbp", ".cfi_def_cfa_offset 16", ".cfi_offset rbp, -16",
                    "push rbx", ".cfi_def_cfa_offset 24", ".cfi_offset rbx, -24",
                    "push r12", ".cfi_def_cfa_offset 32", ".cfi_offset r12, -32",
                    "push r13", ".cfi_def_cfa_offset 40", ".cfi_offset r13, -40",
                    "push r14", ".cfi_def_cfa_offset 48", ".cfi_offset r14, -48",
                    "push r15", ".cfi_def_cfa_offset 56", ".cfi_offset r15, -56",
                    concat!("mov ", $frame, ", rsp"),
                    // The last argument of seven, and the alignment that a call wants.
                    concat!("push ", $frame), ".cfi_def_cfa_offset 64",
                    "call {inner}",
                    "pop rcx", ".cfi_def_cfa_offset 56",
                    "pop r15", ".cfi_def_cfa_offset 48",
                    "pop r14", ".cfi_def_cfa_offset 40",
                    "pop r13", ".cfi_def_cfa_offset 32",
                    "pop r12", ".cfi_def_cfa_offset 24",
                    "pop rbx", ".cfi_def_cfa_offset 16",
                    "pop rbp", ".cfi_def_cfa_offset 8",
                    "ret",
                    ".cfi_endproc",
                    inner = sym $inner,
                )
            }
        };
    }
    pub(super) use entry;
}

#[cfg(not(all(target_arch = "x86_64", not(spinlane_asan))))]
mod by_return {
    use super::*;

    pub(super) extern "C" fn pause_job() -> c_int {
        pause();
        1
    }

    pub(super) use super::start_job as begin_or_resume;

    macro_rules! entry {
        ($(#[$attribute:meta])* [$($safety:tt)*] fn $name:ident($($argument:ident: $type:ty),*), $frame:literal, $inner:path) => {
            $(#[$attribute])*
            #[unsafe(no_mangle)]
            pub $($safety)* extern "C" fn $name($($argument: $type),*) -> c_int {
                // SAFETY: the same contract.
                #[allow(unused_unsafe)]
                unsafe { $inner($($argument),*) }
            }
        };
    }
    pub(super) use entry;
}

#[cfg(all(target_arch = "x86_64", not(spinlane_asan)))]
use by_jump::{begin_or_resume, entry, pause_job};
#[cfg(not(all(target_arch = "x86_64", not(spinlane_asan))))]
use by_return::{begin_or_resume, entry, pause_job};

entry! {
    /// ASYNC_pause_job(3): gives control back to whoever started the current job. Returns 1 when
    /// resumed, and at once outside a job or while pausing is blocked.
    [] fn ASYNC_pause_job(), "rdi", pause_job
}

entry! {
    /// ASYNC_start_job(3): starts `func` with a copy of `size` bytes at `args` as a job under
    /// `wait_ctx`, or, where `*job` is a paused job, resumes that.
    ///
    /// Returns [`ASYNC_FINISH`](super::ASYNC_FINISH) with the function's result in `*ret` and
    /// `*job` NULL, [`ASYNC_PAUSE`](super::ASYNC_PAUSE) with the job in `*job`,
    /// [`ASYNC_NO_JOBS`](super::ASYNC_NO_JOBS), or [`ASYNC_ERR`](super::ASYNC_ERR) with an entry
    /// in the error queue: a NULL, a job of another thread, a job that is not paused, a start
    /// from within a job.
    ///
    /// # Safety
    /// `job` and `ret` are NULL or valid for writing; `*job` is NULL or a job that this function
    /// stored; `wait_ctx` is NULL or an `ASYNC_WAIT_CTX` not freed; `args` is NULL or valid for
    /// `size` bytes; `func` may be called with a copy of them.
    [unsafe] fn ASYNC_start_job(
        job: *mut *mut Job, wait_ctx: *mut WaitCtx, ret: *mut c_int, func: Option<JobFn>, args: *mut c_void, size: usize
    ), "rax", begin_or_resume
}
