//! Guarded stacks.

use std::io;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::OnceLock;

use crate::asan;
use crate::map;
use crate::pool::Shared;

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
    /// The process has as many stacks as vm.max_map_count leaves room for, see
    /// [`most_stacks`](crate::most_stacks).
    #[error(
        "stack pool '{pool}' cannot grow: the process has {stacks} stacks, and more would leave too few \
         memory mappings for anything else; raise vm.max_map_count (sysctl), or return stacks sooner"
    )]
    Mappings {
        /// [`PoolConfig::name`](crate::PoolConfig::name).
        pool: &'static str,
        /// Stacks of the process.
        stacks: usize,
    },
    /// The kernel refused memory.
    #[error(
        "stack pool '{pool}' cannot map a stack of {size} bytes: {source}; check the memory limits"
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

/// Returns the size of a page of this system.
pub(crate) fn page_size() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: sysconf only reads.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).unwrap_or(4096)
    })
}

/// Measures the bytes from the top down to the lowest word that is not zero.
///
/// The pages start as zeros, so this word is the deepest one written with
/// something else. Deeper frames that held nothing but zeros are missed.
/// Pages that were never touched are not read: mincore(2) names them.
///
/// # Safety
/// `bottom` came from [`map::Cutter`] with the same `usable` and is still mapped.
pub(crate) unsafe fn high_water(bottom: NonNull<u8>, usable: usize) -> usize {
    let page = page_size();
    for offset in (0..usable).step_by(page) {
        let start = bottom.as_ptr().wrapping_add(offset);
        if !is_resident(start, page) {
            continue;
        }
        for word in (0..page).step_by(size_of::<usize>()) {
            // SAFETY: inside the mapping, aligned, and initialised by the
            // kernel. A live fiber may have written it, but on this thread
            // and so not at the same time.
            if unsafe { start.add(word).cast::<usize>().read_volatile() } != 0 {
                return usable - offset - word;
            }
        }
    }
    0
}

/// Returns `false` if the page at `start` is known not to be in memory.
fn is_resident(start: *mut u8, page: usize) -> bool {
    let mut state = 1u8;
    // SAFETY: `start` is page-aligned and one page has one byte of state.
    unsafe { libc::mincore(start.cast(), page, &raw mut state) };
    state & 1 != 0
}

/// A stack taken from a [`StackPool`](crate::StackPool): give it to
/// [`Fiber::new`](crate::Fiber::new), later back to the pool.
///
/// Dropping it unmaps it.
#[derive(Debug)]
pub struct Stack {
    bottom: NonNull<u8>,
    shared: Rc<Shared>,
    is_soiled: bool,
}

impl Stack {
    /// Counts the stack at `bottom`, one of the pool of `shared`, as in use.
    #[inline]
    pub(crate) fn new(bottom: NonNull<u8>, shared: Rc<Shared>, is_soiled: bool) -> Self {
        shared.stack_taken();
        asan::stack_in_use(bottom.as_ptr(), shared.stack_size);
        Self {
            bottom,
            shared,
            is_soiled,
        }
    }

    /// Returns how many bytes a fiber can use; its closure and some hundred bytes of bookkeeping
    /// are taken from the top.
    #[inline]
    pub fn usable_size(&self) -> usize {
        self.shared.stack_size
    }

    /// Returns the most bytes ever used, over all fibers that ran on this stack: the
    /// distance from its top to the deepest word ever written with anything
    /// but zero. Takes microseconds; meant for reports, not for a data path.
    pub fn high_water(&self) -> usize {
        // SAFETY: mapped as long as `self`.
        unsafe { high_water(self.bottom, self.usable_size()) }
    }

    /// Overwrites what fibers left on the stack with zeros, at the cost of what they touched. For
    /// bodies that handled secrets. Whoever has the stack knows that the last body has ended or was
    /// abandoned.
    ///
    /// How deep bodies go is learnt from the stacks of the pool that were wiped before. What lies
    /// deeper than in all of those, below at least a page that was skipped, may be left until one
    /// of the next 256 wipes of the pool looks at the whole of this stack.
    pub fn wipe(&mut self) {
        // SAFETY: mapped at this size; no fiber is on it, for that would own it.
        unsafe { self.shared.depth.wipe(self.bottom(), self.usable_size()) }
        self.is_soiled = false;
    }

    /// Says that a body handled secrets on the stack, which are to be wiped later: by
    /// [`Stack::wipe`], or in the pool by
    /// [`StackPool::wipe_soiled`](crate::StackPool::wipe_soiled). Remembered until then, by the
    /// pool too, whoever has the stack meanwhile. To unmap a stack needs no wipe.
    #[inline]
    pub fn soil(&mut self) {
        self.is_soiled = true;
    }

    /// Returns `true` if secrets on the stack are yet to be wiped.
    #[inline]
    pub fn is_soiled(&self) -> bool {
        self.is_soiled
    }

    #[inline]
    pub(crate) fn bottom(&self) -> *mut u8 {
        self.bottom.as_ptr()
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Stops counting the stack as in use. The stack stays mapped.
    #[inline]
    pub(crate) fn into_bottom(self) -> NonNull<u8> {
        let mut this = ManuallyDrop::new(self);
        asan::stack_idle(this.bottom.as_ptr(), this.shared.stack_size);
        this.shared.stack_returned();
        // SAFETY: `this` is not dropped, so `shared` is, once.
        unsafe { ptr::drop_in_place(&raw mut this.shared) };
        this.bottom
    }

    /// Never unmaps the stack, and counts it as leaked.
    pub(crate) fn leak(self) {
        ManuallyDrop::new(self).shared.stack_leaked();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        asan::stack_idle(self.bottom.as_ptr(), self.shared.stack_size);
        self.shared.stack_returned();
        // SAFETY: mapped by the pool at this size; a fiber on it would own it.
        unsafe { map::unmap(self.bottom, self.shared.stack_size) };
    }
}
