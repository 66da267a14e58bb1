//! What ASYNC_start_job(3) promises, one test per promise. Each test has a thread of its own,
//! and with it a pool of jobs of its own.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use spinlane_job::{
    self as job, Job, Progress, ResumeError, WaitCtx, cleanup_thread, init_thread, pool_stats,
    set_stack_size,
};

/// Starts a job that pauses `pauses` times and returns `result`.
fn pausing(pauses: u32, result: i32) -> Rc<Job> {
    let (_, job) = job::start(None, move || {
        for _ in 0..pauses {
            job::pause();
        }
        result
    })
    .unwrap();
    job.unwrap()
}

fn resume_all(jobs: &[Rc<Job>]) {
    for job in jobs {
        let _ = job.resume().unwrap();
    }
}

fn finished(progress: Progress) -> Option<i32> {
    match progress {
        Progress::Finished(result) => Some(result),
        Progress::Paused | Progress::NoJobs => None,
    }
}

#[test]
fn a_job_that_does_not_pause_finishes_with_its_return_value_and_no_handle() {
    for result in [0, 1, -5, i32::MAX] {
        let (progress, job) = job::start(None, move || result).unwrap();
        assert_eq!(finished(progress), Some(result));
        assert!(job.is_none());
    }
}

#[test]
fn pause_gives_a_handle_and_resume_goes_on_from_there() {
    let steps = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&steps);
    let (progress, job) = job::start(None, move || {
        log.borrow_mut().push("first");
        job::pause();
        log.borrow_mut().push("second");
        job::pause();
        log.borrow_mut().push("third");
        42
    })
    .unwrap();
    let job = job.unwrap();
    assert!(matches!(progress, Progress::Paused) && job.is_paused());
    assert_eq!(steps.borrow().len(), 1);
    assert!(matches!(job.resume(), Ok(Progress::Paused)));
    assert_eq!(steps.borrow().len(), 2);
    assert_eq!(finished(job.resume().unwrap()), Some(42));
    assert_eq!(*steps.borrow(), ["first", "second", "third"]);
    assert!(!job.is_paused());
}

#[test]
fn many_jobs_may_be_paused_and_each_goes_on_where_it_was() {
    let jobs: Vec<_> = (0..100)
        .map(|index| pausing(1 + index % 3, index as i32))
        .collect();
    assert_eq!(pool_stats().stacks_in_use, 100);
    let mut results = vec![None; 100];
    for _ in 0..3 {
        for (job, result) in jobs.iter().zip(&mut results).rev() {
            if result.is_none() {
                *result = finished(job.resume().unwrap());
            }
        }
    }
    assert!(results.into_iter().eq((0..100).map(Some)));
    assert_eq!(pool_stats().stacks_in_use, 0);
}

#[test]
fn no_jobs_at_the_maximum_and_available_again_after_a_finish() {
    init_thread(2, 0).unwrap();
    let first = pausing(1, 1);
    let _second = pausing(1, 2);
    let (progress, job) = job::start(None, || panic!("must not run")).unwrap();
    assert!(matches!(progress, Progress::NoJobs) && job.is_none());
    assert_eq!(finished(first.resume().unwrap()), Some(1));
    let _third = pausing(1, 3);
    assert_eq!(pool_stats().jobs, 2);
}

#[test]
fn init_size_jobs_are_made_at_once() {
    init_thread(8, 3).unwrap();
    let stats = pool_stats();
    assert_eq!((stats.jobs, stats.idle_jobs, stats.idle_stacks), (3, 3, 3));
}

#[test]
fn init_size_above_max_size_is_an_error_that_names_both() {
    let error = init_thread(2, 3).unwrap_err();
    assert_eq!((error.max_size, error.init_size), (2, 3));
    assert!(
        error
            .to_string()
            .contains("init_size 3 is above max_size 2")
    );
    assert!(
        init_thread(0, 1).is_err(),
        "even without a limit, as OpenSSL has it"
    );
    assert_eq!(pool_stats().jobs, 0);
}

#[test]
fn a_max_size_of_zero_sets_no_limit_and_is_the_default() {
    let jobs: Vec<_> = (0..300).map(|_| pausing(1, 0)).collect();
    assert_eq!(pool_stats().jobs, 300);
    resume_all(&jobs);
}

#[test]
fn a_lowered_maximum_holds_at_once() {
    init_thread(10, 10).unwrap();
    let running: Vec<_> = (0..4).map(|_| pausing(1, 0)).collect();
    init_thread(2, 0).unwrap();
    assert!(matches!(
        job::start(None, || 0).unwrap().0,
        Progress::NoJobs
    ));
    resume_all(&running);
    let _two = [pausing(1, 0), pausing(1, 0)];
    assert!(matches!(
        job::start(None, || 0).unwrap().0,
        Progress::NoJobs
    ));
    assert_eq!(pool_stats().jobs, 2);
}

#[test]
fn jobs_are_reused() {
    let addresses: Vec<_> = (0..50)
        .map(|_| {
            let job = pausing(1, 0);
            let _ = job.resume().unwrap();
            Rc::as_ptr(&job)
        })
        .collect();
    assert!(addresses.iter().all(|address| *address == addresses[0]));
    assert_eq!((pool_stats().jobs, pool_stats().idle_stacks), (1, 1));
}

#[test]
fn cleanup_frees_idle_jobs_and_stacks_and_paused_ones_live_on() {
    init_thread(4, 4).unwrap();
    let job = pausing(1, 7);
    cleanup_thread();
    let stats = pool_stats();
    assert_eq!((stats.jobs, stats.idle_jobs, stats.idle_stacks), (1, 0, 0));
    assert_eq!(finished(job.resume().unwrap()), Some(7));
    // And without a limit again, as before the first init_thread.
    let jobs: Vec<_> = (0..9).map(|_| pausing(1, 0)).collect();
    resume_all(&jobs);
}

#[test]
fn current_job_is_the_one_that_runs_and_none_outside() {
    assert!(job::current().is_none() && !job::on_job());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&seen);
    let (_, job) = job::start(None, move || {
        log.borrow_mut().push(job::current().unwrap());
        job::pause();
        log.borrow_mut().push(job::current().unwrap());
        0
    })
    .unwrap();
    let job = job.unwrap();
    assert!(job::current().is_none() && !job::on_job());
    let _ = job.resume().unwrap();
    assert_eq!(seen.borrow().len(), 2);
    assert!(
        seen.borrow()
            .iter()
            .all(|current| Rc::ptr_eq(current, &job))
    );
    assert!(job::current().is_none());
}

#[test]
fn the_job_knows_its_wait_context() {
    let ctx = WaitCtx::new();
    let expected = Rc::clone(&ctx);
    let (progress, _) = job::start(Some(&ctx), move || {
        let ctx = job::current().unwrap().wait_ctx().unwrap();
        i32::from(Rc::ptr_eq(&ctx, &expected))
    })
    .unwrap();
    assert_eq!(finished(progress), Some(1));
    let (progress, _) = job::start(None, || {
        i32::from(job::current().unwrap().wait_ctx().is_none())
    })
    .unwrap();
    assert_eq!(finished(progress), Some(1));
}

#[test]
fn pause_outside_a_job_does_nothing() {
    job::pause();
}

#[test]
fn a_blocked_pause_does_nothing_and_blocks_nest() {
    let (progress, job) = job::start(None, || {
        job::block_pause();
        job::block_pause();
        job::pause();
        job::unblock_pause();
        assert!(job::pause_blocked());
        job::pause();
        job::unblock_pause();
        assert!(!job::pause_blocked());
        job::pause();
        5
    })
    .unwrap();
    assert!(
        matches!(progress, Progress::Paused),
        "the fourth pause, not an earlier one"
    );
    assert_eq!(finished(job.unwrap().resume().unwrap()), Some(5));
}

#[test]
fn unblock_without_block_does_nothing() {
    let (progress, _) = job::start(None, || {
        job::unblock_pause();
        job::block_pause();
        i32::from(job::pause_blocked())
    })
    .unwrap();
    assert_eq!(finished(progress), Some(1));
}

#[test]
fn block_pause_outside_a_job_has_no_effect() {
    job::block_pause();
    assert!(!job::pause_blocked());
    let _ = pausing(1, 0).resume().unwrap();
}

#[test]
fn a_job_that_ends_blocked_blocks_no_other() {
    let _ = job::start(None, || {
        job::block_pause();
        0
    })
    .unwrap();
    assert!(!job::pause_blocked());
    let _ = pausing(1, 0).resume().unwrap();
}

#[test]
fn jobs_do_not_nest() {
    let other = pausing(1, 0);
    let inner = Rc::clone(&other);
    let (progress, _) = job::start(None, move || {
        assert_eq!(job::start(None, || 0).unwrap_err(), ResumeError::Nested);
        assert_eq!(inner.resume().unwrap_err(), ResumeError::Nested);
        let me = job::current().unwrap();
        // It is not even paused, which is said first.
        assert_eq!(me.resume().unwrap_err(), ResumeError::NotPaused);
        1
    })
    .unwrap();
    assert_eq!(finished(progress), Some(1));
    let _ = other.resume().unwrap();
}

#[test]
fn a_job_of_another_thread_is_refused() {
    struct Foreign(*const Job);
    // SAFETY: the other thread only asks to resume it, as a C program might, and is refused
    // by what never changes in a job.
    unsafe impl Send for Foreign {}
    let job = pausing(1, 3);
    let foreign = Foreign(Rc::as_ptr(&job));
    std::thread::spawn(move || {
        let foreign = foreign;
        // SAFETY: the job outlives this thread, which is joined.
        let job = unsafe { &*foreign.0 };
        assert!(!job.is_of_this_thread());
        assert_eq!(job.resume().unwrap_err(), ResumeError::OtherThread);
    })
    .join()
    .unwrap();
    assert_eq!(finished(job.resume().unwrap()), Some(3));
}

#[test]
fn a_finished_job_is_not_resumed() {
    let job = pausing(1, 0);
    let _ = job.resume().unwrap();
    assert_eq!(job.resume().unwrap_err(), ResumeError::NotPaused);
    assert!(
        ResumeError::NotPaused
            .to_string()
            .contains("start a new one")
    );
}

#[test]
fn a_panic_of_the_function_goes_through_and_the_job_is_reused() {
    let before = pausing(1, 0);
    let address = Rc::as_ptr(&before);
    let _ = before.resume().unwrap();
    drop(before);
    for pauses in [0, 1] {
        let panicking = move || {
            (0..pauses).for_each(|_| assert!(job::pause()));
            job::block_pause();
            std::panic::panic_any(31u8)
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let (_, job) = job::start(Some(&WaitCtx::new()), panicking).unwrap();
            let _ = job.unwrap().resume();
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref::<u8>(), Some(&31));
        assert!(!job::on_job() && !job::pause_blocked());
        let stats = pool_stats();
        assert_eq!((stats.jobs, stats.idle_jobs), (1, 1));
        assert_eq!((stats.stacks_in_use, stats.idle_stacks), (0, 1));
    }
    let after = pausing(1, 9);
    assert_eq!(Rc::as_ptr(&after), address);
    assert_eq!(finished(after.resume().unwrap()), Some(9));
}

#[test]
fn abandoning_gives_job_and_stack_back_without_running_the_function() {
    let ran_on = Rc::new(Cell::new(false));
    let flag = Rc::clone(&ran_on);
    let ctx = WaitCtx::new();
    let (_, job) = job::start(Some(&ctx), move || {
        // Owned by the frame: leaked, and that is all.
        let _owned = [1, 2, 3];
        job::pause();
        flag.set(true);
        0
    })
    .unwrap();
    let job = job.unwrap();
    // SAFETY: nothing points into its stack, and its frames own nothing that matters.
    unsafe { job.abandon() };
    assert!(!ran_on.get() && !job.is_paused());
    assert!(ctx.job().is_none() && job.wait_ctx().is_none());
    let stats = pool_stats();
    assert_eq!(
        (stats.stacks_in_use, stats.idle_stacks, stats.idle_jobs),
        (0, 1, 1)
    );
    assert_eq!(job.resume().unwrap_err(), ResumeError::NotPaused);
    // SAFETY: it does nothing to a job that is not paused.
    unsafe { job.abandon() };
    assert_eq!(pool_stats().idle_stacks, 1);
    let again = pausing(1, 3);
    assert!(Rc::ptr_eq(&again, &job));
    assert_eq!(finished(again.resume().unwrap()), Some(3));
}

#[test]
fn a_running_job_is_not_abandoned() {
    let (progress, _) = job::start(None, || {
        let me = job::current().unwrap();
        // SAFETY: it does nothing to a job that is not paused.
        unsafe { me.abandon() };
        17
    })
    .unwrap();
    assert_eq!(finished(progress), Some(17));
}

#[test]
fn stack_size_changes_only_while_no_job_is_under_way() {
    let job = pausing(1, 0);
    assert!(!set_stack_size(256 * 1024));
    let _ = job.resume().unwrap();
    assert!(set_stack_size(256 * 1024));
    let (progress, _) = job::start(None, || {
        // More than the default stack holds.
        let deep = std::hint::black_box([1u8; 128 * 1024]);
        deep.iter().map(|byte| i32::from(*byte)).sum()
    })
    .unwrap();
    assert_eq!(finished(progress), Some(128 * 1024));
}

#[test]
fn a_function_that_fits_is_started_even_on_the_smallest_stack() {
    assert!(set_stack_size(1));
    let captured = [3u8; 1000];
    let (progress, _) = job::start(None, move || i32::from(captured[999])).unwrap();
    assert_eq!(finished(progress), Some(3));
}

#[test]
fn without_memory_for_a_stack_there_are_no_jobs() {
    assert!(set_stack_size(usize::MAX / 4));
    assert!(matches!(
        job::start(None, || 0).unwrap().0,
        Progress::NoJobs
    ));
    assert!(set_stack_size(64 * 1024));
    assert!(matches!(
        job::start(None, || 0).unwrap().0,
        Progress::Finished(0)
    ));
}

#[test]
fn a_pause_on_another_fiber_than_the_jobs_does_nothing() {
    use spinlane_fiber::{Fiber, PoolConfig, StackPool, State};
    let (progress, _) = job::start(None, || {
        let mut pool = StackPool::new(PoolConfig::default());
        let inner = Fiber::new(pool.take().expect("memory for a stack"), || {
            assert!(job::on_job() && !job::can_pause());
            assert!(!job::pause());
        });
        i32::from(inner.resume() == State::Returned)
    })
    .unwrap();
    assert!(matches!(progress, Progress::Finished(1)), "{progress:?}");
}

#[test]
fn stacks_of_a_burst_are_given_back_when_it_is_long_over() {
    const SECOND: u64 = 1_000_000_000;
    let burst = || {
        let jobs: Vec<_> = (0..200).map(|_| pausing(1, 0)).collect();
        for job in jobs {
            let _ = job.resume().unwrap();
        }
    };
    let wait = |from: u64, until: u64| {
        for now in (from * 100..until * 100).map(|hundredth| hundredth * SECOND / 100) {
            job::give_back(now);
        }
    };
    burst();
    wait(0, 9);
    assert_eq!(pool_stats().idle_stacks, 200, "it may come again");
    burst();
    wait(9, 19);
    burst();
    wait(19, 29);
    assert_eq!(pool_stats().idle_stacks, 200, "it came again, and again");
    wait(29, 60);
    assert_eq!(pool_stats().idle_stacks, 16);
    init_thread(0, 0).unwrap();
    burst();
    assert_eq!(pool_stats().idle_stacks, 200);
}

#[test]
fn stacks_that_were_asked_for_are_kept() {
    init_thread(100, 50).unwrap();
    for now in 0..10_000 {
        job::give_back(now * 10_000_000);
    }
    assert_eq!(pool_stats().idle_stacks, 50);
}

/// A thread that ends leaves its memory to the next, its stack and its thread-local data.
#[test]
fn a_job_that_outlived_its_thread_is_no_other_threads() {
    struct Sent(Rc<Job>);
    // SAFETY: the thread that made it has ended before another looks at it.
    unsafe impl Send for Sent {}
    impl Sent {
        fn resume(&self) -> Result<Progress, ResumeError> {
            self.0.resume()
        }
    }
    thread_local!(static MINE: u8 = const { 0 });
    let here = || MINE.with(|mine| std::ptr::from_ref(mine).addr());
    let mut same_memory = 0;
    for _ in 0..50 {
        let (paused, record) = std::thread::spawn(move || (Sent(pausing(1, 7)), here()))
            .join()
            .unwrap();
        let next = move || {
            // So that it is somebody's.
            drop(pausing(1, 7));
            (paused.resume(), here() == record)
        };
        let (resumed, is_same) = std::thread::spawn(next).join().unwrap();
        assert!(matches!(resumed, Err(ResumeError::OtherThread)));
        same_memory += usize::from(is_same);
    }
    assert_ne!(same_memory, 0, "no thread got the memory of the one before");
}
