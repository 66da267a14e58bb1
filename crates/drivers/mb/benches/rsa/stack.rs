//! Where crypto_mb's RSA finds its stack.
//!
//! Its kernels spill zmm registers to the stack without aligning it, so that their speed hangs
//! on the caller's stack pointer at the call, modulo 64: a spill of 64 bytes that straddles a
//! cache line costs two accesses. Measured on a Zen 5 core (microseconds per batch, minimum of
//! many):
//!
//! | stack pointer mod 64 | 0 | 16 | 32 | 48 |
//! |---|---|---|---|---|
//! | RSA-2048 | 579 | 588 | 589 | 591 |
//! | RSA-3072 | 5700 | 5690 | 5740 | **4050** |
//! | RSA-4096 | **5300** | 6050 | 6040 | 6030 |
//!
//! Left to chance, RSA-3072 would lose 40 % in three of four callers. Other builds of the library
//! may like other values; a wrong one costs time, nothing else.

use std::arch::naked_asm;
use std::ffi::c_int;

use crypto_mb_sys as sys;

/// What `mbx_rsa_private_crt_mb8` is.
pub(crate) type PrivateCrt = unsafe extern "C" fn(
    from: *const *const u8,
    to: *const *mut u8,
    p: *const *const u64,
    q: *const *const u64,
    dp: *const *const u64,
    dq: *const *const u64,
    qinv: *const *const u64,
    rsa_bits: c_int,
    method: *const sys::RsaMethod,
    buffer: *mut u8,
) -> sys::Status;

/// It, at the stack pointer that suits this size.
pub(crate) fn private_crt(rsa_bits: c_int) -> PrivateCrt {
    if rsa_bits == 3072 {
        private_crt_at::<48>
    } else {
        private_crt_at::<0>
    }
}

/// It, at each of the four stack pointers by turns.
pub(crate) fn private_crt_by_turns(turn: usize) -> PrivateCrt {
    match turn % 4 {
        0 => private_crt_at::<0>,
        1 => private_crt_at::<16>,
        2 => private_crt_at::<32>,
        _ => private_crt_at::<48>,
    }
}

/// Calls `mbx_rsa_private_crt_mb8` with its own arguments and the stack pointer at a multiple
/// of 64 plus `RSP`, which is 0, 16, 32 or 48.
///
/// ```text
///  rbp+40  buffer            \
///  rbp+32  method             | the caller's stack arguments
///  rbp+24  rsa_bits           |
///  rbp+16  qinv              /
///  rbp+8   return address
///  rbp     caller's rbp
///   …      0 to 48 bytes unused, then a multiple of 64
///  rsp+24  buffer            \
///  rsp+16  method             | their copies for the callee
///  rsp+8   rsa_bits           |
///  rsp     qinv              /   rsp = 64 k + RSP
/// ```
///
/// # Safety
/// As for `mbx_rsa_private_crt_mb8`.
#[unsafe(naked)]
unsafe extern "C" fn private_crt_at<const RSP: usize>(
    from: *const *const u8,
    to: *const *mut u8,
    p: *const *const u64,
    q: *const *const u64,
    dp: *const *const u64,
    dq: *const *const u64,
    qinv: *const *const u64,
    rsa_bits: c_int,
    method: *const sys::RsaMethod,
    buffer: *mut u8,
) -> sys::Status {
    naked_asm!(
        ".cfi_startproc", // backtraces and profiles see through it
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "and rsp, -64",
        "sub rsp, {below}",
        "mov rax, [rbp + 16]",
        "mov [rsp], rax",
        "mov rax, [rbp + 24]",
        "mov [rsp + 8], rax",
        "mov rax, [rbp + 32]",
        "mov [rsp + 16], rax",
        "mov rax, [rbp + 40]",
        "mov [rsp + 24], rax",
        "call {callee}",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        below = const 128 - RSP,
        callee = sym sys::mbx_rsa_private_crt_mb8,
    )
}
