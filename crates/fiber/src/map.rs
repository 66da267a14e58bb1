//! Memory for stacks, and how many there may be.
//!
//! ```text
//!   +--------+
//!   | usable |  zero pages until touched
//!   +--------+  bottom
//!   | guard  |  no access
//!   +--------+
//!   | usable |
//!   +--------+  bottom
//!   | guard  |
//!   +--------+  address given by mmap
//! ```
//! Stacks are cut off a larger mapping, one after the other, and given back one by one. Where the
//! kernel has guards that are a property of pages (Linux 6.13), all of it is one mapping of the
//! process; else a guard is a mapping of its own, and so is what lies above it. A process may have
//! vm.max_map_count of them (65530), for all purposes: threads cannot be made either when they are
//! used up. So stacks leave a part to others, whatever a pool's own maximum.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::asan;
use crate::source;
use crate::valgrind;

/// Bytes without access below every stack. More than one page, so that a C
/// function without stack probes must have a frame of this size to miss it.
/// A guard costs address space only.
pub(crate) const GUARD_SIZE: usize = 64 * 1024;
/// Bytes mapped at once, unless a single stack is larger.
const PIECE: usize = 2 << 20;
/// madvise(2): no access to these pages, without a mapping of their own. Not in the libc crate.
const MADV_GUARD_INSTALL: libc::c_int = 102;
/// What Linux has for vm.max_map_count unless told otherwise.
const DEFAULT_MAX_MAP_COUNT: usize = 65530;

/// Stacks that the process has, and mappings that they may take. (Stacks whose neighbours were
/// unmapped take one each.)
static STACKS: AtomicUsize = AtomicUsize::new(0);
static MAPPINGS: AtomicUsize = AtomicUsize::new(0);

/// Why there is no memory for a stack.
pub(crate) enum MapError {
    /// As many stacks as this are there already.
    Mappings(usize),
    /// The kernel refused.
    Kernel(io::Error),
}

/// Returns how many stacks the process can have at once: three quarters of vm.max_map_count, at one
/// mapping each, or two where the kernel is older than 6.13.
pub fn most_stacks() -> usize {
    most_mappings() / mappings_per_stack()
}

/// Returns the vm.max_map_count that so many stacks need.
pub fn max_map_count_for(stacks: usize) -> usize {
    // most_mappings() of it is enough for them.
    (stacks * mappings_per_stack() * 4).div_ceil(3)
}

/// Mappings that stacks may take: a part of vm.max_map_count as it was when the first stack was
/// made.
fn most_mappings() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count");
        let limit = text.ok().and_then(|text| text.trim().parse().ok());
        let limit: usize = limit.unwrap_or(DEFAULT_MAX_MAP_COUNT);
        limit - limit / 4
    })
}

fn mappings_per_stack() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let page = crate::stack::page_size();
        let Ok(start) = reserve(page) else { return 2 };
        let has_guards = install_guard(start.as_ptr(), page);
        // SAFETY: the mapping just made.
        unsafe { libc::munmap(start.as_ptr().cast(), page) };
        if has_guards { 1 } else { 2 }
    })
}

/// What is left of a mapping that stacks are cut off.
#[derive(Debug)]
pub(crate) struct Cutter {
    start: *mut u8,
    left: usize,
    usable: usize,
}

impl Cutter {
    /// Makes a cutter of stacks of `usable` bytes, a multiple of the page size.
    pub(crate) fn new(usable: usize) -> Self {
        Self {
            start: ptr::null_mut(),
            left: 0,
            usable,
        }
    }

    /// Cuts a stack off, and returns its bottom. If the application has set functions of its own,
    /// asks these instead.
    pub(crate) fn cut(&mut self) -> Result<NonNull<u8>, MapError> {
        let stack = self.cut_untold()?;
        valgrind::stack_mapped(stack.as_ptr(), self.usable);
        Ok(stack)
    }

    fn cut_untold(&mut self) -> Result<NonNull<u8>, MapError> {
        if let Some(stack) = source::alloc(self.usable) {
            return stack.map_err(MapError::Kernel);
        }
        let mappings = mappings_per_stack();
        let taken = MAPPINGS.fetch_add(mappings, Ordering::Relaxed);
        if taken + mappings > most_mappings() {
            MAPPINGS.fetch_sub(mappings, Ordering::Relaxed);
            return Err(MapError::Mappings(STACKS.load(Ordering::Relaxed)));
        }
        let stack = self.cut_mapping();
        if stack.is_err() {
            MAPPINGS.fetch_sub(mappings, Ordering::Relaxed);
        } else {
            STACKS.fetch_add(1, Ordering::Relaxed);
        }
        stack.map_err(MapError::Kernel)
    }

    fn cut_mapping(&mut self) -> io::Result<NonNull<u8>> {
        let stride = self.usable.checked_add(GUARD_SIZE);
        let stride = stride.ok_or(io::ErrorKind::OutOfMemory)?;
        if self.left == 0 {
            let count = (PIECE / stride).max(1);
            self.start = reserve(stride * count)?.as_ptr();
            self.left = count;
        }
        let start = self.start;
        let bottom = start.wrapping_add(GUARD_SIZE);
        // Guards are installed while nothing can be accessed: memory that is locked, by
        // mlockall(2), is not brought in for them. Access to them as well makes one mapping of it
        // all.
        let (from, len) = match install_guard(start, GUARD_SIZE) {
            true => (start, stride),
            false => (bottom, self.usable),
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the part of our mapping that is cut off now.
        if unsafe { libc::mprotect(from.cast(), len, access) } != 0 {
            return Err(io::Error::last_os_error());
        }
        self.start = start.wrapping_add(stride);
        self.left -= 1;
        NonNull::new(bottom).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        if self.left != 0 {
            let len = self.left * (self.usable + GUARD_SIZE);
            // SAFETY: the part of our mapping that no stack was cut off.
            unsafe { libc::munmap(self.start.cast(), len) };
        }
    }
}

/// Maps `len` bytes without access, which core dumps leave out.
fn reserve(len: usize) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a fresh anonymous mapping at an address the kernel picks.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping just made. All Linux that Rust runs on knows the advice.
    unsafe { libc::madvise(start, len, libc::MADV_DONTDUMP) };
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Makes a guard of pages that nobody has touched. Returns `false` if the kernel cannot: before
/// Linux 6.13, and before 6.15 in locked memory.
fn install_guard(start: *mut u8, len: usize) -> bool {
    // SAFETY: the pages are ours and unused.
    unsafe { libc::madvise(start.cast(), len, MADV_GUARD_INSTALL) == 0 }
}

/// Unmaps a stack and its guard.
///
/// # Safety
/// `bottom` came from a [`Cutter`] for the same `usable`, and nothing uses the stack any more.
pub(crate) unsafe fn unmap(bottom: NonNull<u8>, usable: usize) {
    asan::unpoison(bottom.as_ptr(), usable);
    valgrind::stack_unmapped(bottom.as_ptr());
    // SAFETY: by the caller's promise.
    if unsafe { source::free(bottom) } {
        return;
    }
    let start = bottom.as_ptr().wrapping_sub(GUARD_SIZE);
    // SAFETY: the stack and its guard, by the caller's promise.
    unsafe { libc::munmap(start.cast(), usable + GUARD_SIZE) };
    MAPPINGS.fetch_sub(mappings_per_stack(), Ordering::Relaxed);
    STACKS.fetch_sub(1, Ordering::Relaxed);
}
