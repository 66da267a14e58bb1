//! Memory that a card reads and writes by itself.

use std::ptr::NonNull;

use dpdk_sys as sys;
use spinlane_cryptodev::Memory;

use crate::ffi::Running;

/// Bytes of DPDK's heap.
pub(crate) struct DmaMemory {
    start: NonNull<u8>,
    len: usize,
    iova: u64,
    _running: Running,
}

// SAFETY: plain memory that this owns; DPDK's heap is for all threads, and takes it back from any.
unsafe impl Send for DmaMemory {}

impl DmaMemory {
    /// `len` zeros; `None` if the heap is used up.
    pub(crate) fn new(running: &Running, len: usize) -> Option<Self> {
        let start = NonNull::new(running.allocate(len.max(1)))?;
        Some(Self {
            start,
            len,
            // SAFETY: what `rte_zmalloc` gave, of which alone DPDK can tell the address.
            iova: unsafe { sys::rte_malloc_virt2iova(start.as_ptr().cast()) },
            _running: running.clone(),
        })
    }
}

impl Memory for DmaMemory {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes of ours; whoever lends them to a device holds this
        // out of everybody's reach meanwhile.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    fn io_address(&self) -> Option<u64> {
        Some(self.iova)
    }
}

impl Drop for DmaMemory {
    fn drop(&mut self) {
        // SAFETY: it came from DPDK's heap and is used no more.
        unsafe { sys::rte_free(self.start.as_ptr().cast()) }
    }
}
