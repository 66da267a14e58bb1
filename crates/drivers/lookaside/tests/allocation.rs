//! After warm-up nothing is allocated, by no thread. Without the test harness, whose main thread
//! allocates when it likes.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use spinlane_cryptodev::{OpBurst, OpStatus};
use spinlane_driver_soft::SoftDevice;
use support::{NOW_NS, on_strings, open, ops, settings, wait_until};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    // X25519 by aws-lc, the one inner device that allocates nothing anywhere.
    let (device, _) = on_strings(SoftDevice::new(), settings());
    let mut queue_pair = open(&device, 64);
    let (mut burst, mut done) = (ops(0..48), OpBurst::with_capacity(64));
    let mut rounds = |count| {
        for _ in 0..count {
            while let Some(op) = burst.pop_front() {
                let mut one = std::mem::take(&mut done);
                one.push_back(op);
                assert_eq!(queue_pair.enqueue_burst(&mut one), 1);
                done = one;
            }
            wait_until("ops", || {
                queue_pair.dequeue_burst(&mut done, 64, NOW_NS);
                done.len() == 48
            });
            assert!(done.iter().all(|op| op.status == OpStatus::Success));
            std::mem::swap(&mut burst, &mut done);
        }
    };
    rounds(20);
    let before = ALLOCATIONS.load(Relaxed);
    rounds(200);
    assert_eq!(ALLOCATIONS.load(Relaxed), before);
}
