//! Overwriting what a fiber left on its stack.
//!
//! How deep a body went is not known: between two switches it may have called anything. But a stack
//! comes from the kernel as zeros, and each wipe makes it so again, so that whatever is not zero
//! was written since. Reading all of it each time would take longer than the wipe itself (and map
//! pages that nobody touched), so the pool remembers how deep its bodies went lately:
//!
//! ```text
//!   +---------+  top
//!   | used    |  every page looked at, and wiped unless it is zero
//!   +---------+  depth of the pool
//!   | unused  |  one page looked at; if it is not zero, all of them
//!   +---------+  bottom
//! ```
//! A body may leave a gap of whole pages (a buffer that it never fills) right below that depth and
//! write beyond it. So one wipe in [`PERIOD`], the first one included, looks at every page in
//! memory, and from then on the pool's depth is what the last period found.

use std::cell::Cell;

use crate::asan;
use crate::stack::page_size;
use crate::valgrind;

/// One wipe in so many looks at the whole stack.
const PERIOD: u32 = 256;
/// Pages that mincore(2) is asked about at once.
const ASKED: usize = 64;

/// How deep the bodies of a pool go, in bytes from the top.
#[derive(Debug, Default)]
pub(crate) struct Depth {
    wipes: Cell<u32>,
    /// Depth of the deepest body of the last period and of this one.
    known: Cell<usize>,
    /// Depth of the deepest body of this period.
    recent: Cell<usize>,
}

impl Depth {
    /// Wipes the `size` bytes at `bottom`.
    ///
    /// # Safety
    /// The bytes are a stack in whole pages, with no frame that is needed.
    pub(crate) unsafe fn wipe(&self, bottom: *mut u8, size: usize) {
        asan::unpoison(bottom, size);
        valgrind::allow(bottom, size);
        let wipes = self.wipes.get();
        self.wipes.set(wipes.wrapping_add(1));
        // SAFETY: the caller's promise covers all three.
        unsafe {
            if wipes.is_multiple_of(PERIOD) {
                self.known.set(self.recent.replace(0));
                return self.note(wipe_resident(bottom, size));
            }
            let depth = self.known.get();
            let found = wipe_down_to(bottom, size, depth + page_size());
            self.note(match found > depth {
                true => found.max(wipe_resident(bottom, size)),
                false => found,
            });
        }
    }

    fn note(&self, found: usize) {
        self.known.set(self.known.get().max(found));
        self.recent.set(self.recent.get().max(found));
    }
}

/// Wipes the upper `depth` bytes, or all if there are fewer. Returns the depth of the lowest page
/// that was not zero.
///
/// # Safety
/// As for [`Depth::wipe`].
unsafe fn wipe_down_to(bottom: *mut u8, size: usize, depth: usize) -> usize {
    let mut found = 0;
    for below in (0..depth.min(size)).step_by(page_size()) {
        let depth = below + page_size();
        // SAFETY: a page of the stack, by the caller's promise.
        if unsafe { wipe_page(bottom.wrapping_add(size - depth)) } {
            found = depth;
        }
    }
    found
}

/// Does what [`wipe_down_to`] the bottom does, without pages that were never touched.
///
/// # Safety
/// As for [`Depth::wipe`].
unsafe fn wipe_resident(bottom: *mut u8, size: usize) -> usize {
    let page = page_size();
    let mut found = 0;
    for first in (0..size).step_by(ASKED * page) {
        let start = bottom.wrapping_add(first);
        let len = (size - first).min(ASKED * page);
        // Where it does not answer (an application's own stack, which lies across pages): in
        // memory.
        let mut resident = [1u8; ASKED];
        // SAFETY: there is a byte for each page; it touches nothing else.
        unsafe { libc::mincore(start.cast(), len, resident.as_mut_ptr()) };
        for (index, state) in resident[..len.div_ceil(page)].iter().enumerate() {
            let offset = first + index * page;
            // SAFETY: a page of the stack, by the caller's promise.
            if state & 1 != 0 && unsafe { wipe_page(bottom.wrapping_add(offset)) } {
                found = found.max(size - offset);
            }
        }
    }
    found
}

/// Makes a page zero. Returns `false` if the page was zero already. The C library looks and writes
/// in the widest vectors that the CPU has.
///
/// # Safety
/// `page` is a page of a stack with no frame that is needed.
unsafe fn wipe_page(page: *mut u8) -> bool {
    let size = page_size();
    // SAFETY: mapped, initialised by the kernel, an allocator or frames that are gone, and nobody
    // else's now. All bytes are zero if the first is and each equals the next. Unlike memset
    // explicit_bzero is not left out because nobody reads what it wrote.
    unsafe {
        let is_zero =
            page.read() == 0 && libc::memcmp(page.cast(), page.add(1).cast(), size - 1) == 0;
        if !is_zero {
            libc::explicit_bzero(page.cast(), size);
        }
        !is_zero
    }
}
