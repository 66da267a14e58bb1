//! After the first op of a key the driver allocates nothing. (What crypto_openssl takes per op is C's.)
#![cfg(feature = "dpdk")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use spinlane_cryptodev::{Device, OpBurst, test_keys};
use support::{capacity, open, rsa_op};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
struct Counting;

// SAFETY: passes every call on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn nothing_is_allocated_per_op_after_warm_up() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 1, "allocations are counted");

    let key = test_keys::rsa(test_keys::der::RSA_2048);
    let device = open("crypto_openssl");
    let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
    let mut ops: OpBurst = (0..20).map(|seed| rsa_op(&key, seed)).collect();
    let mut done = OpBurst::with_capacity(32);
    let mut round = || {
        while done.len() < 20 {
            queue_pair.enqueue_burst(&mut ops); // more than it holds
            queue_pair.dequeue_burst(&mut done, 32, 0);
            queue_pair.flush();
        }
        ops.append(&mut done);
    };
    round();
    let before = ALLOCATIONS.get();
    for _ in 0..5 {
        round();
    }
    assert_eq!(ALLOCATIONS.get(), before);
}
