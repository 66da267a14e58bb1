//! What valgrind must be told: without it a few instructions that do nothing.

#[cfg(target_arch = "x86_64")]
pub(crate) use requests::{allow, stack_mapped, stack_unmapped};
#[cfg(target_arch = "x86_64")]
pub use requests::{locked, unlocking};

#[cfg(target_arch = "x86_64")]
mod requests {
    use std::sync::{Mutex, PoisonError};

    // Client requests of valgrind.h, helgrind.h and memcheck.h.
    const RUNNING_ON_VALGRIND: usize = 0x1001;
    const STACK_REGISTER: usize = 0x1501;
    const STACK_DEREGISTER: usize = 0x1502;
    const MAKE_MEM_DEFINED: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16 | 2;

    const USERSO_SEND_PRE: usize = ((b'H' as usize) << 24 | (b'G' as usize) << 16) + 256 + 33;
    const USERSO_RECV_POST: usize = USERSO_SEND_PRE + 1;

    /// Stacks by their bottoms, and valgrind's numbers for them. Empty without valgrind.
    static STACKS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

    /// Says that these bytes are ours to read and write. Memcheck forbids what lies below the stack
    /// pointer, which is the whole of a stack that a fiber has left.
    pub(crate) fn allow(bottom: *mut u8, size: usize) {
        request([MAKE_MEM_DEFINED, bottom.expose_provenance(), size]);
    }

    /// Says that this is a stack: a jump of the stack pointer to it is a switch, and not the
    /// allocation or the end of all between, thread-local data of a thread among them.
    pub(crate) fn stack_mapped(bottom: *mut u8, size: usize) {
        if request([RUNNING_ON_VALGRIND, 0, 0]) != 0 {
            let highest = bottom.wrapping_add(size - 1);
            let number = request([STACK_REGISTER, bottom.addr(), highest.addr()]);
            let mut stacks = STACKS.lock().unwrap_or_else(PoisonError::into_inner);
            locked(&STACKS);
            stacks.push((bottom.addr(), number));
            unlocking(&STACKS);
        }
    }

    /// Says that it is none any more.
    pub(crate) fn stack_unmapped(bottom: *mut u8) {
        if request([RUNNING_ON_VALGRIND, 0, 0]) != 0 {
            let mut stacks = STACKS.lock().unwrap_or_else(PoisonError::into_inner);
            locked(&STACKS);
            if let Some(at) = stacks.iter().position(|stack| stack.0 == bottom.addr()) {
                request([STACK_DEREGISTER, stacks.swap_remove(at).1, 0]);
            }
            unlocking(&STACKS);
        }
    }

    /// Says that the thread has just locked `mutex`: helgrind knows those of pthreads only.
    pub fn locked<T>(mutex: &Mutex<T>) {
        request([USERSO_RECV_POST, std::ptr::from_ref(mutex).addr(), 0]);
    }

    /// Says that the thread is about to unlock `mutex`.
    pub fn unlocking<T>(mutex: &Mutex<T>) {
        request([USERSO_SEND_PRE, std::ptr::from_ref(mutex).addr(), 0]);
    }

    /// Returns the answer; 0 without valgrind.
    fn request([what, first, second]: [usize; 3]) -> usize {
        let request = [what, first, second, 0, 0, 0];
        let mut answer = 0;
        // SAFETY: four rotations by 128 bits in all and an exchange of a register with itself,
        // which valgrind takes as a request whose address is in rax and whose answer goes to rdx
        // (valgrind.h).
        unsafe {
            core::arch::asm!(
                "rol rdi, 3",
                "rol rdi, 13",
                "rol rdi, 61",
                "rol rdi, 51",
                "xchg rbx, rbx",
                in("rax") &raw const request,
                inout("rdx") answer,
                options(nostack),
            );
        }
        answer
    }
}

// Nothing: only x86_64 was tried.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn allow(_: *mut u8, _: usize) {}
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn stack_mapped(_: *mut u8, _: usize) {}
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn stack_unmapped(_: *mut u8) {}
/// Nothing: only x86_64 was tried.
#[cfg(not(target_arch = "x86_64"))]
pub fn locked<T>(_: &std::sync::Mutex<T>) {}
/// Nothing: only x86_64 was tried.
#[cfg(not(target_arch = "x86_64"))]
pub fn unlocking<T>(_: &std::sync::Mutex<T>) {}
