//! After warm-up nothing is allocated.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;

use spinlane_cryptodev::OpStatus;
use support::{Bench, Session};

struct Counting;

thread_local! {
    /// Of this thread: the harness's own allocates when it likes.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
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

/// Runs every session's job of two ops to its end; every fifth is closed in flight, every
/// seventh abandoned.
fn round(bench: &Bench, sessions: &[Rc<Session>]) {
    for session in sessions {
        session.start(2);
    }
    bench.poll();
    for session in sessions {
        let job = session.the_job();
        if session.id % 5 == 0 {
            job.cancel();
            let _ = job.resume().unwrap();
        } else if session.id % 7 == 0 {
            // SAFETY: the job's frames are those of `compute`, which own nothing.
            unsafe { job.abandon() };
        }
    }
    // Enough for all of them, and for the device's last ops, which nobody waits for.
    for _ in 0..40 {
        bench.turn(sessions);
    }
    assert!(
        sessions
            .iter()
            .all(|session| !session.the_job().is_paused())
    );
}

#[test]
fn nothing_is_allocated_per_op_after_warm_up() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 1, "allocations are counted");

    let bench = Bench::new(8);
    bench.device.release(1 << 40);
    let sessions = bench.sessions(40);
    for session in &sessions {
        session.records.set(false);
    }
    for turn in 0..10 {
        bench
            .device
            .answer_with([OpStatus::Success, OpStatus::Error][turn % 2]);
        round(&bench, &sessions);
    }
    let before = ALLOCATIONS.get();
    for turn in 0..1000 {
        bench
            .device
            .answer_with([OpStatus::Success, OpStatus::Error][turn % 2]);
        round(&bench, &sessions);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations after warm-up");
    let channel = bench.lcore.stats().channels.remove(0);
    let counts = channel.counts;
    assert!(counts.completed > 0 && counts.refused > 0);
    assert!(counts.orphaned > 0 && counts.failed > 0);
}
