//! What valgrind must be told: without it a few instructions that do nothing.

/// Says that these bytes are ours to read and write. Memcheck forbids what lies below the stack pointer,
/// which is the whole of a stack that a fiber has left.
#[cfg(target_arch = "x86_64")]
pub(crate) fn allow(bottom: *mut u8, size: usize) {
    /// Memcheck's client request MAKE_MEM_DEFINED (memcheck.h).
    const MAKE_MEM_DEFINED: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16 | 2;
    let request = [MAKE_MEM_DEFINED, bottom.expose_provenance(), size, 0, 0, 0];
    // SAFETY: four rotations by 128 bits in all and an exchange of a register with itself, which
    // valgrind takes as a request whose address is in rax and whose answer goes to rdx (valgrind.h).
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const request,
            inout("rdx") 0usize => _,
            options(nostack),
        );
    }
}

/// Nothing: only x86_64 was tried.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn allow(_: *mut u8, _: usize) {}
