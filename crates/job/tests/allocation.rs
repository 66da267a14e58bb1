//! What is allocated and freed: nothing after warm-up, and nothing is kept after a thread's exit.
//! Without the test harness, since the allocator counts for all threads, and the harness's main thread
//! allocates when it likes.

use std::alloc::System;
use std::rc::Rc;

use spinlane_job::{self as job, Job, WaitCtx, init_thread, pool_stats};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn round(ctx: &Rc<WaitCtx>, paused: &mut Vec<Rc<Job>>, jobs: usize) {
    for _ in 0..jobs {
        let (_, job) = job::start(Some(ctx), || {
            job::pause();
            1
        })
        .unwrap();
        paused.extend(job);
    }
    for (index, job) in paused.drain(..).enumerate() {
        if index % 4 == 0 {
            // SAFETY: nothing points into its stack, and its frames own nothing.
            unsafe { job.abandon() };
        } else {
            let _ = job.resume().unwrap();
        }
    }
}

/// Bytes still allocated after a thread that ran `jobs` jobs has ended.
fn left_by_thread(jobs: usize) -> isize {
    let region = Region::new(ALLOCATOR);
    std::thread::spawn(move || {
        init_thread(jobs, jobs).unwrap();
        round(&WaitCtx::new(), &mut Vec::new(), jobs);
        assert_eq!(pool_stats().idle_jobs, jobs);
    })
    .join()
    .unwrap();
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

fn main() {
    let ctx = WaitCtx::new();
    let mut paused = Vec::with_capacity(64);
    round(&ctx, &mut paused, 64);
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        round(&ctx, &mut paused, 64);
    }
    assert_eq!(region.change().allocations, 0, "allocations after warm-up");

    left_by_thread(2);
    let mapped = mappings();
    assert_eq!(left_by_thread(200), 0, "bytes kept");
    // 200 stacks are up to 400 mappings.
    assert!(
        mappings() < mapped + 100,
        "stacks kept: {mapped} -> {}",
        mappings()
    );
}
