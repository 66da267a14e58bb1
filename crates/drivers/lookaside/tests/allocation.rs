//! After warm-up nothing is allocated, by no thread. Without the test harness, whose main thread
//! allocates when it likes.

mod support;

use std::alloc::System;

use spinlane_cryptodev::{Burst, OpStatus};
use spinlane_driver_soft::SoftDevice;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{NOW_NS, on_strings, open, ops, settings, wait_until};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    // X25519 by aws-lc, the one inner device that allocates nothing anywhere.
    let (device, _) = on_strings(SoftDevice::new(), settings());
    let mut queue_pair = open(&device, 64);
    let (mut burst, mut done) = (ops(0..48), Burst::with_capacity(64));
    let mut rounds = |count| {
        for _ in 0..count {
            while let Some(op) = burst.pop() {
                let mut one = std::mem::take(&mut done);
                one.push(op);
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
    let region = Region::new(ALLOCATOR);
    rounds(200);
    assert_eq!(region.change().allocations, 0);
}
