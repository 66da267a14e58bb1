//! What goes beyond the man pages: awaiting an op, restart polls, cancelling.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use spinlane_job::{self as job, Job, Progress, ResumeError, pool_stats, set_restart_poll};

thread_local! {
    static POLLS: Cell<u32> = const { Cell::new(0) };
    /// What the next restart poll does.
    static ON_POLL: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

fn restart_poll() {
    POLLS.set(POLLS.get() + 1);
    assert!(!job::on_job(), "polls run on the caller's stack");
    let action = ON_POLL.with_borrow_mut(Option::take);
    if let Some(action) = action {
        action();
    }
}

/// A job that awaits `token`, then returns 1, or 2 if it was cancelled.
fn awaiting(token: u64) -> Rc<Job> {
    set_restart_poll(Some(restart_poll));
    let (_, job) = job::start(None, move || {
        let job = job::current().unwrap();
        job.await_token(token, 1);
        drop(job);
        job::pause();
        let job = job::current().unwrap();
        job.stop_awaiting();
        1 + i32::from(job.is_cancelled())
    })
    .unwrap();
    job.unwrap()
}

#[test]
fn a_resume_before_completion_polls_and_does_not_switch() {
    let job = awaiting(7);
    for polls in 1..=3 {
        assert!(matches!(job.resume(), Ok(Progress::Paused)));
        assert_eq!(POLLS.get(), polls);
        assert_eq!(job.awaited(), 7);
    }
    job.complete(true);
    assert!(job.is_complete());
    assert!(matches!(job.resume(), Ok(Progress::Finished(1))));
    assert_eq!(POLLS.get(), 3, "no poll once it is done");
}

#[test]
fn a_restart_poll_that_completes_the_op_lets_the_resume_run() {
    let job = awaiting(7);
    let completed = Rc::clone(&job);
    ON_POLL.set(Some(Box::new(move || {
        completed.complete(true);
    })));
    assert!(matches!(job.resume(), Ok(Progress::Finished(1))));
}

#[test]
fn without_a_restart_poll_the_job_just_stays_paused() {
    let job = awaiting(7);
    set_restart_poll(None);
    assert!(matches!(job.resume(), Ok(Progress::Paused)));
    assert!(!job.can_run().unwrap());
    job.complete(true);
    assert!(job.can_run().unwrap());
    assert!(matches!(job.resume(), Ok(Progress::Finished(1))));
}

#[test]
fn a_job_abandoned_by_a_callback_of_its_own_restart_poll_is_not_run() {
    let job = awaiting(7);
    let victim = Rc::clone(&job);
    ON_POLL.set(Some(Box::new(move || {
        // SAFETY: nothing points into its stack, and its frames own nothing.
        unsafe { victim.abandon() }
    })));
    assert_eq!(job.resume().unwrap_err(), ResumeError::NotPaused);
    let stats = pool_stats();
    assert_eq!((stats.stacks_in_use, stats.idle_jobs), (0, 1));
}

#[test]
fn a_job_that_its_own_restart_poll_ended_cannot_run() {
    let job = awaiting(7);
    let victim = Rc::clone(&job);
    ON_POLL.set(Some(Box::new(move || {
        // SAFETY: nothing points into its stack, and its frames own nothing.
        unsafe { victim.abandon() }
    })));
    assert_eq!(job.can_run(), Err(ResumeError::NotPaused));
}

#[test]
fn a_job_finished_by_a_callback_of_its_own_restart_poll_is_not_run_twice() {
    let job = awaiting(7);
    let other = Rc::clone(&job);
    ON_POLL.set(Some(Box::new(move || {
        other.complete(true);
        assert!(matches!(other.resume(), Ok(Progress::Finished(1))));
    })));
    assert_eq!(job.resume().unwrap_err(), ResumeError::NotPaused);
    assert_eq!(pool_stats().idle_jobs, 1);
}

#[test]
fn a_cancelled_job_runs_at_the_next_resume_and_knows_it() {
    let job = awaiting(7);
    job.cancel();
    assert!(job.is_cancelled());
    assert_eq!(job.awaited(), 0, "the op is nobody's from now on");
    assert!(matches!(job.resume(), Ok(Progress::Finished(2))));
    assert_eq!(POLLS.get(), 0);
}

#[test]
fn a_new_job_is_not_cancelled_and_awaits_nothing() {
    let first = awaiting(7);
    first.cancel();
    let _ = first.resume().unwrap();
    let second = awaiting(8);
    assert!(Rc::ptr_eq(&first, &second), "the job was reused");
    assert!(!second.is_cancelled());
    assert_eq!(second.awaited(), 8);
    second.complete(true);
    assert!(matches!(second.resume(), Ok(Progress::Finished(1))));
}

#[test]
fn a_completion_that_comes_after_the_job_was_abandoned_changes_nothing() {
    let job = awaiting(7);
    // SAFETY: nothing points into its stack, and its frames own nothing.
    unsafe { job.abandon() };
    assert_eq!(job.awaited(), 0);
    job.complete(true);
    let next = awaiting(8);
    assert!(Rc::ptr_eq(&next, &job), "the job was reused");
    assert!(!next.is_complete());
    assert!(matches!(next.resume(), Ok(Progress::Paused)));
    next.complete(true);
    let _ = next.resume().unwrap();
}
