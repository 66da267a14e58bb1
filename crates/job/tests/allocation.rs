//! What is allocated and freed: nothing after warm-up, and nothing is kept after a thread's exit.
//! Without the test harness, since the allocator counts for all threads, and the harness's main thread
//! allocates when it likes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::rc::Rc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

use spinlane_job::{self as job, Job, WaitCtx, init_thread, pool_stats};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    let before = LIVE_BYTES.load(Relaxed);
    std::thread::spawn(move || {
        init_thread(jobs, jobs).unwrap();
        round(&WaitCtx::new(), &mut Vec::new(), jobs);
        assert_eq!(pool_stats().idle_jobs, jobs);
    })
    .join()
    .unwrap();
    LIVE_BYTES.load(Relaxed) - before
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
    let before = ALLOCATIONS.load(Relaxed);
    for _ in 0..100 {
        round(&ctx, &mut paused, 64);
    }
    assert_eq!(
        ALLOCATIONS.load(Relaxed) - before,
        0,
        "allocations after warm-up"
    );

    left_by_thread(2);
    let mapped = mappings();
    assert_eq!(left_by_thread(200), 0, "bytes kept");
    // 200 stacks are 400 mappings, being guarded.
    assert!(
        mappings() < mapped + 100,
        "stacks kept: {mapped} -> {}",
        mappings()
    );
}
