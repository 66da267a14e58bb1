//! The call of a job's function, and how pthread_exit(3) and pthread_cancel(3) leave it.
//!
//! Both unwind a thread by force, frame by frame, up to the stack's end, whence they jump to where
//! the thread began. Rust's frames further out, those of a job and of its resumer, would abort the
//! process. So such an unwinding is led from [`call`]'s frame to [`end_of_stack`], which nobody has
//! called: there it finds the stack's end, as it does on OpenSSL's own jobs by makecontext(3). A
//! backtrace goes on through [`call`] into the resumer.

use std::ffi::{c_int, c_void};

use super::job::JobFn;

/// Calls a job's function.
///
/// # Safety
/// `func` may be called with `args`.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn call(func: JobFn, args: *mut c_void) -> c_int {
    std::arch::naked_asm!(
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}", // 0x1b: four bytes, relative to their own place
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
        personality = sym personality,
    )
}

/// As above.
///
/// # Safety
/// `func` may be called with `args`.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn call(func: JobFn, args: *mut c_void) -> c_int {
    std::arch::naked_asm!(
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_adjust_cfa_offset 16",
        ".cfi_offset x29, -16",
        ".cfi_offset x30, -8",
        "mov x2, x0",
        "mov x0, x1",
        "blr x2",
        "ldp x29, x30, [sp], #16",
        ".cfi_restore x29",
        ".cfi_restore x30",
        ".cfi_adjust_cfa_offset -16",
        "ret",
        ".cfi_endproc",
        personality = sym personality,
    )
}

/// Where an unwinding by force goes on from [`call`]'s frame, on whose stack it runs, with the
/// exception in register 0.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn end_of_stack() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        ".cfi_def_cfa_offset 16", // as after the `call rax`: aligned
        "mov rdi, rax",
        "call {resume}",
        "ud2",
        ".cfi_endproc",
        resume = sym _Unwind_Resume,
    )
}

/// As above.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn end_of_stack() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined x30",
        ".cfi_def_cfa_offset 16",
        "bl {resume}",
        "brk #1",
        ".cfi_endproc",
        resume = sym _Unwind_Resume,
    )
}

/// What an unwinder asks how to go on from a frame of [`call`] (Itanium C++ ABI: Exception
/// Handling, 1.6). An exception has no business beyond it: it finds no handler, which C++ answers
/// with std::terminate.
extern "C" fn personality(
    _version: c_int,
    actions: c_int,
    _class: u64,
    exception: *mut c_void,
    context: *mut c_void,
) -> c_int {
    const FORCE_UNWIND: c_int = 8;
    const FATAL_PHASE1_ERROR: c_int = 3;
    const INSTALL_CONTEXT: c_int = 7;

    if actions & FORCE_UNWIND == 0 {
        return FATAL_PHASE1_ERROR;
    }
    // SAFETY: the unwinder's own context of this frame; both are called as a landing pad wants
    // them.
    unsafe {
        _Unwind_SetGR(context, 0, exception.addr());
        _Unwind_SetIP(context, end_of_stack as *const () as usize);
    }
    INSTALL_CONTEXT
}

// Of libgcc_s, which Rust's standard library links.
unsafe extern "C-unwind" {
    fn _Unwind_Resume(exception: *mut c_void) -> !;
    fn _Unwind_SetGR(context: *mut c_void, register: c_int, value: usize);
    fn _Unwind_SetIP(context: *mut c_void, ip: usize);
}
