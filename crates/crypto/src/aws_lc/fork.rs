//! Notices that a process is the copy of another, so that no random byte is used by both.
//!
//! glibc calls pthread_atfork(3)'s handlers in fork(3) alone: not in `_Fork`(3), not where a
//! program makes the clone(2) system call itself. The kernel, which makes all copies, has
//! MADV_WIPEONFORK (madvise(2), Linux 4.14): pages that are zeros in the child, whichever way it
//! came to be.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a [`WipedPage`].
pub(crate) const PAGE_LEN: usize = 4096;

/// Memory of this process alone: zeros at first, and again in every copy of the process. Left
/// out of core dumps.
pub(crate) struct WipedPage(NonNull<u8>);

// SAFETY: the page is memory like any other, and belongs to the value.
unsafe impl Send for WipedPage {}

impl WipedPage {
    /// Makes a page of zeros. Returns `None` if this kernel cannot wipe pages, or has no memory.
    pub(crate) fn new() -> Option<Self> {
        const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, anywhere.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), PAGE_LEN, RW, PRIVATE, -1, 0) };
        if memory == libc::MAP_FAILED {
            return None;
        }
        let page = Self(NonNull::new(memory.cast())?);
        // What takes a nonsensical advice, as old versions of qemu-user do, does not say whether it
        // follows another.
        let wiped = page.advise(-1).is_err() && page.advise(libc::MADV_WIPEONFORK).is_ok();
        // Wherever that fails, core dumps have what they always had.
        let _ = page.advise(libc::MADV_DONTDUMP);
        wiped.then_some(page)
    }

    fn advise(&self, advice: i32) -> Result<(), ()> {
        // SAFETY: the page is ours; none of the advices used takes memory away.
        match unsafe { libc::madvise(self.0.as_ptr().cast(), PAGE_LEN, advice) } {
            0 => Ok(()),
            _ => Err(()),
        }
    }

    /// Returns the first eight bytes of the page. They are read and written as one word, so that
    /// whoever looks twice notices a wipe by the kernel between.
    pub(crate) fn word(&self) -> &AtomicU64 {
        // SAFETY: a live page, aligned, initialised by the kernel, of which `rest` leaves out these
        // bytes.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().cast()) }
    }

    /// Returns all of the page but [`WipedPage::word`].
    pub(crate) fn rest(&mut self) -> &mut [u8; PAGE_LEN - 8] {
        // SAFETY: within a live page, initialised by the kernel, borrowed with the value. A copy of
        // the process has this borrow of zeros, of which each is a valid byte.
        unsafe { self.0.byte_add(8).cast().as_mut() }
    }
}

impl Drop for WipedPage {
    fn drop(&mut self) {
        super::cleanse(self.rest());
        // SAFETY: the mapping is ours, and nobody borrows from it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE_LEN) };
    }
}

/// How many copies lie between this process and the first that counted, plus one.
static COPIES: AtomicU64 = AtomicU64::new(1);

extern "C" fn in_child() {
    // Relaxed: the child has one thread, and it forked.
    COPIES.fetch_add(1, Ordering::Relaxed);
}

/// Returns a number that differs between a process and the copies that are made of it after the
/// first call, whichever way: by fork(3), `_Fork`(3) or clone(2). On kernels before Linux 4.14 by
/// fork(3) alone. A snapshot of the machine that is started twice escapes it.
///
/// # Panics
/// If the first call is on such an old kernel, and the C library has no memory for a handler.
pub fn fork_generation() -> u64 {
    static WORD: OnceLock<&AtomicU64> = OnceLock::new();
    let word = WORD.get_or_init(watched_word);
    // Relaxed: nothing else is published by it, and a copy starts with one thread.
    match word.load(Ordering::Relaxed) {
        0 => {
            let next = COPIES.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread of the copy may have been faster.
            let noted = word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
            noted.map_or_else(|others| others, |_| next)
        }
        generation => generation,
    }
}

/// Returns a word that is zero in a copy; or, where the kernel cannot do that, the number itself.
fn watched_word() -> &'static AtomicU64 {
    if let Some(page) = WipedPage::new() {
        let page = ManuallyDrop::new(page);
        // SAFETY: the page is never unmapped, and is used for nothing else.
        let word = unsafe { &*std::ptr::from_ref(page.word()) };
        word.store(1, Ordering::Relaxed);
        return word;
    }
    // SAFETY: the handler lives as long as the process (this library is linked in, or kept
    // loaded by its thread-local destructors) and only adds to an atomic, which is
    // async-signal-safe.
    let error = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    assert_eq!(error, 0, "pthread_atfork: out of memory");
    &COPIES
}
