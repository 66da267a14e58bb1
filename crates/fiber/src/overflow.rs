//! Stack overflow, reported by name.

use std::cell::OnceCell;
use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libc::{SIGSEGV, sigaction, siginfo_t};

use crate::fiber;
use crate::map::{self, GUARD_SIZE};
use crate::stack::{Stack, page_size};

/// The handler that was there before ours.
static PREVIOUS: OnceLock<sigaction> = OnceLock::new();

/// Makes an overflow of a fiber's stack end the process with a line on
/// standard error that names the pool and its [`remedy`](crate::PoolConfig::remedy),
/// instead of a bare segmentation fault:
///
/// ```text
/// spinlane: stack overflow: fiber stack of pool 'jobs' (65536 bytes) exhausted; raise PoolConfig::stack_size
/// ```
///
/// Other segmentation faults go to the handler that was installed before, or
/// are fatal as ever. Works once per process, later calls do nothing. The
/// handler runs on each thread's alternate signal stack; `std` gives its
/// threads one, and [`StackPool::new`](crate::StackPool::new) the others.
pub fn install_overflow_handler() {
    PREVIOUS.get_or_init(|| {
        // SAFETY: sigaction is plain data for which zeros are valid; both
        // calls get pointers to live values. The handler is async-signal-safe.
        // It may run before `PREVIOUS` is set, and treats that as no handler.
        unsafe {
            let mut previous: sigaction = mem::zeroed();
            sigaction(SIGSEGV, ptr::null(), &raw mut previous);
            let mut ours = previous;
            ours.sa_sigaction = on_fault as *const () as usize;
            ours.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
            ours.sa_flags &= !libc::SA_RESETHAND;
            sigaction(SIGSEGV, &raw const ours, ptr::null_mut());
            previous
        }
    });
}

/// Only what signal-safety(7) allows: no allocation, no lock, no formatting.
unsafe extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo; SIGSEGV's has an address.
    let (by_kernel, address) = unsafe { ((*info).si_code > 0, (*info).si_addr().addr()) };
    // SAFETY: the running fiber's record stays where it is while it runs, and
    // this thread does nothing else now. The thread-local it is found by is
    // const and needs no set-up.
    if let Some(control) = unsafe { fiber::current().as_ref() } {
        let stack = control.stack();
        let bottom = stack.bottom().addr();
        if by_kernel && (bottom - GUARD_SIZE..bottom).contains(&address) {
            report(stack);
            // SAFETY: always.
            unsafe { libc::abort() }
        }
    }
    // SAFETY: our own arguments.
    unsafe { chain(signal, info, context, by_kernel) }
}

/// Does what would have happened without us.
///
/// # Safety
/// With the arguments of a signal handler, from one.
unsafe fn chain(signal: c_int, info: *mut siginfo_t, context: *mut c_void, by_kernel: bool) {
    let previous = PREVIOUS.get();
    let handler = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    let flags = previous.map_or(0, |previous| previous.sa_flags);
    // SAFETY: `handler` is one of the two constants or the address of a
    // function of the kind that its flags say.
    unsafe {
        match handler {
            libc::SIG_IGN if !by_kernel => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // The faulting instruction runs again and kills the process.
                let mut default: sigaction = mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                sigaction(signal, &raw const default, ptr::null_mut());
                if !by_kernel {
                    libc::raise(signal);
                }
            }
            _ if flags & libc::SA_SIGINFO != 0 => {
                type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                mem::transmute::<usize, Handler>(handler)(signal, info, context);
            }
            _ => mem::transmute::<usize, unsafe extern "C" fn(c_int)>(handler)(signal),
        }
    }
}

fn report(stack: &Stack) {
    let mut line = Line {
        bytes: [0; 256],
        len: 0,
    };
    line.push(b"spinlane: stack overflow: fiber stack of pool '");
    line.push(stack.shared().name.as_bytes());
    line.push(b"' (");
    line.push_number(stack.usable_size());
    line.push(b" bytes) exhausted; ");
    line.push(stack.shared().remedy.as_bytes());
    line.push(b"\n");
    // SAFETY: a live buffer. If standard error is closed nobody hears of it.
    unsafe { libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len) };
}

/// A line of text on the signal stack; what does not fit is cut.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        for &byte in text {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
    }

    fn push_number(&mut self, mut number: usize) {
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[first..]);
    }
}

/// An alternate signal stack that goes with its thread.
struct AlternateStack {
    bottom: NonNull<u8>,
    size: usize,
}

impl AlternateStack {
    /// Gives the thread a signal stack. Returns `None` if it has one, or if there is no memory:
    /// then an overflow is fatal without a report.
    fn install() -> Option<Self> {
        // SAFETY: stack_t is plain data; the calls get live values, and the
        // memory stays mapped until drop.
        unsafe {
            let mut current: libc::stack_t = mem::zeroed();
            libc::sigaltstack(ptr::null(), &raw mut current);
            if current.ss_flags & libc::SS_DISABLE == 0 {
                return None;
            }
            // AVX-512 and AMX state make a signal frame of up to 11 KiB.
            let least = libc::getauxval(libc::AT_MINSIGSTKSZ) as usize;
            let size = (least + 4 * libc::SIGSTKSZ).next_multiple_of(page_size());
            let bottom = map::Cutter::new(size).cut().ok()?;
            let ours = libc::stack_t {
                ss_sp: bottom.as_ptr().cast(),
                ss_flags: 0,
                ss_size: size,
            };
            libc::sigaltstack(&raw const ours, ptr::null_mut());
            Some(Self { bottom, size })
        }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: as in install; ours is unmapped once the kernel has let go
        // of it, and another one left alone.
        unsafe {
            let mut current: libc::stack_t = mem::zeroed();
            libc::sigaltstack(ptr::null(), &raw mut current);
            if current.ss_sp == self.bottom.as_ptr().cast() {
                current.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&raw const current, ptr::null_mut());
            }
            map::unmap(self.bottom, self.size);
        }
    }
}

/// Sees to it that this thread's signal handlers have a stack other than the
/// one that may have overflowed.
pub(crate) fn ensure_alternate_stack() {
    thread_local! {
        static STACK: OnceCell<Option<AlternateStack>> = const { OnceCell::new() };
    }
    // While the thread is being torn down there is nothing to see to.
    let _ = STACK.try_with(|stack| stack.get_or_init(AlternateStack::install).is_some());
}
