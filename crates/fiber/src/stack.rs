//! Guarded stacks.

use std::io;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::OnceLock;

use crate::asan;
use crate::pool::Shared;

/// Bytes without access below every stack. More than one page, so that a C
/// function without stack probes must have a frame of this size to miss it.
/// It costs address space only.
pub(crate) const GUARD_SIZE: usize = 64 * 1024;

/// Why there is no stack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The pool's maximum is in use, stacks leaked by dropped fibers included.
    #[error(
        "stack pool '{pool}' is exhausted: all {max} stacks are in use or leaked; \
         raise PoolConfig::max or return stacks sooner"
    )]
    Exhausted {
        /// [`PoolConfig::name`](crate::PoolConfig::name).
        pool: &'static str,
        /// [`PoolConfig::max`](crate::PoolConfig::max).
        max: usize,
    },
    /// The kernel refused memory.
    #[error(
        "stack pool '{pool}' cannot map a stack of {size} bytes: {source}; \
         check vm.max_map_count (two maps a stack) and the memory limits"
    )]
    Map {
        /// [`PoolConfig::name`](crate::PoolConfig::name).
        pool: &'static str,
        /// Usable bytes asked for.
        size: usize,
        /// What mmap(2) or mprotect(2) said.
        source: io::Error,
    },
}

/// Bytes in a page of this system.
pub(crate) fn page_size() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: sysconf only reads.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).unwrap_or(4096)
    })
}

/// Pages for one stack and its guard; unmapped on drop.
///
/// ```text
///   +-------+  bottom + usable
///   | usable|  zero pages until touched
///   +-------+  bottom
///   | guard |  PROT_NONE, GUARD_SIZE
///   +-------+  address given by mmap
/// ```
#[derive(Debug)]
pub(crate) struct Mapping {
    bottom: NonNull<u8>,
    usable: usize,
}

impl Mapping {
    /// Maps `usable` bytes, a multiple of the page size, above a guard.
    pub(crate) fn new(usable: usize) -> io::Result<Self> {
        let len = usable
            .checked_add(GUARD_SIZE)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: a fresh anonymous mapping at an address the kernel picks.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let bottom = start.cast::<u8>().wrapping_add(GUARD_SIZE);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range is the upper part of the mapping just made.
        if unsafe { libc::mprotect(bottom.cast(), usable, access) } != 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the mapping just made, unknown to anyone else.
            unsafe { libc::munmap(start, len) };
            return Err(error);
        }
        let bottom = NonNull::new(bottom).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { bottom, usable })
    }

    pub(crate) fn bottom(&self) -> *mut u8 {
        self.bottom.as_ptr()
    }

    pub(crate) fn usable(&self) -> usize {
        self.usable
    }

    /// Bytes from the top down to the lowest word that is not zero.
    ///
    /// The pages start as zeros, so this word is the deepest one written with
    /// something else. Deeper frames that held nothing but zeros are missed,
    /// and pages that were never touched are not read: mincore(2) names them.
    pub(crate) fn high_water(&self) -> usize {
        let page = page_size();
        let words = page / size_of::<usize>();
        for offset in (0..self.usable).step_by(page) {
            let start = self.bottom().wrapping_add(offset);
            if !is_resident(start, page) {
                continue;
            }
            let start = start.cast::<usize>();
            for word in 0..words {
                // SAFETY: inside the mapping, aligned, initialised by the
                // kernel. Volatile, for a live fiber may write it too, on
                // this thread, so never at the same time.
                if unsafe { start.add(word).read_volatile() } != 0 {
                    return self.usable - offset - word * size_of::<usize>();
                }
            }
        }
        0
    }
}

/// Whether the page at `start` is in memory. When in doubt, yes.
fn is_resident(start: *mut u8, page: usize) -> bool {
    let mut state = 1u8;
    // SAFETY: `start` is page-aligned and one page has one byte of state.
    unsafe { libc::mincore(start.cast(), page, &raw mut state) };
    state & 1 != 0
}

impl Drop for Mapping {
    fn drop(&mut self) {
        asan::unpoison(self.bottom(), self.usable);
        let start = self.bottom().wrapping_sub(GUARD_SIZE);
        // SAFETY: the whole mapping, which this value owns; a fiber on it
        // would own this value.
        unsafe { libc::munmap(start.cast(), self.usable + GUARD_SIZE) };
    }
}

/// A stack taken from a [`StackPool`](crate::StackPool): give it to
/// [`Fiber::new`](crate::Fiber::new), later back to the pool.
///
/// Dropping it unmaps it.
#[derive(Debug)]
pub struct Stack {
    mapping: Mapping,
    shared: Rc<Shared>,
}

impl Stack {
    /// Counts `mapping` as in use.
    #[inline]
    pub(crate) fn new(mapping: Mapping, shared: Rc<Shared>) -> Self {
        shared.stack_taken();
        asan::stack_in_use(mapping.bottom(), mapping.usable());
        Self { mapping, shared }
    }

    /// Bytes a fiber can use; its closure and about 200 bytes of bookkeeping
    /// are taken from the top.
    pub fn usable_size(&self) -> usize {
        self.mapping.usable()
    }

    /// Most bytes ever used, over all fibers that ran on this stack: the
    /// distance from its top to the deepest word ever written with anything
    /// but zero. Takes microseconds; meant for reports, not for a data path.
    pub fn high_water(&self) -> usize {
        self.mapping.high_water()
    }

    pub(crate) fn bottom(&self) -> *mut u8 {
        self.mapping.bottom()
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Stops counting it as in use.
    #[inline]
    pub(crate) fn into_mapping(self) -> Mapping {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: both fields are moved out once and `this` is not dropped.
        let (mapping, shared) = unsafe { (ptr::read(&this.mapping), ptr::read(&this.shared)) };
        asan::stack_idle(mapping.bottom(), mapping.usable());
        shared.stack_returned();
        mapping
    }

    /// Never unmaps it, and counts that.
    pub(crate) fn leak(self) {
        let this = std::mem::ManuallyDrop::new(self);
        this.shared.stack_leaked();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        asan::stack_idle(self.mapping.bottom(), self.mapping.usable());
        self.shared.stack_returned();
    }
}
