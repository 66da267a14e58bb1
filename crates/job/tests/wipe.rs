//! What a job leaves on its stack: nothing if it handled secrets.

use std::hint::black_box;

use spinlane_job::{self as job, Progress};

const PAGE: usize = 4096;
/// The default.
const STACK: usize = 64 * 1024;
const SECRET: [u8; 16] = *b"\x5espinlane secret";

/// Keeps the secret in a frame of its own; returns where.
#[inline(never)]
fn hold(secret: [u8; 16], then: fn()) -> usize {
    let mut held = [secret; 300];
    black_box(&mut held);
    then();
    black_box(&mut held).as_ptr().addr()
}

/// How often the secret lies on the stack that has `address` in its topmost page.
fn copies(address: usize) -> usize {
    let top = address.next_multiple_of(PAGE);
    let word = |at: usize| {
        let at = std::ptr::with_exposed_provenance::<[u8; 16]>(at);
        // SAFETY: mapped and readable, and no job is on it.
        unsafe { at.read_volatile() }
    };
    (top - STACK..top)
        .step_by(16)
        .filter(|at| word(*at) == SECRET)
        .count()
}

fn address(progress: Progress) -> usize {
    match progress {
        Progress::Finished(_) => ADDRESS.get(),
        other => panic!("{other:?}"),
    }
}

thread_local! {
    static ADDRESS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn body(says_so: bool, then: fn()) -> impl FnOnce() -> i32 {
    move || {
        if says_so {
            job::wipe_stack_at_end();
        }
        ADDRESS.set((&raw const then).addr());
        hold(black_box(SECRET), then);
        0
    }
}

/// As well a check of the search.
#[test]
#[cfg_attr(
    spinlane_asan,
    ignore = "AddressSanitizer keeps frames elsewhere, and forbids to look at them"
)]
fn a_job_without_secrets_is_not_wiped() {
    let (progress, _) = job::start(None, body(false, || {})).unwrap();
    assert!(copies(address(progress)) > 200);
}

#[test]
fn a_job_that_handled_secrets_leaves_nothing() {
    for _ in 0..3 {
        let (progress, _) = job::start(None, body(true, || {})).unwrap();
        assert_eq!(copies(address(progress)), 0);
    }
}

#[test]
#[cfg_attr(
    spinlane_asan,
    ignore = "AddressSanitizer keeps frames elsewhere, and forbids to look at them"
)]
fn nor_does_one_that_paused() {
    let pause = || {
        job::pause();
    };
    let (_, paused) = job::start(None, body(true, pause)).unwrap();
    assert!(copies(ADDRESS.get()) > 200);
    let progress = paused.unwrap().resume().unwrap();
    assert_eq!(copies(address(progress)), 0);
}

#[test]
fn nor_one_that_is_abandoned() {
    let pause = || {
        job::pause();
    };
    let (_, paused) = job::start(None, body(true, pause)).unwrap();
    // SAFETY: its frames hold plain bytes, which nothing points to.
    unsafe { paused.unwrap().abandon() };
    assert_eq!(copies(ADDRESS.get()), 0);
}

#[test]
fn nor_one_that_panics() {
    let panics = || panic!("on purpose");
    let outcome = std::panic::catch_unwind(move || {
        let _ = job::start(None, body(true, panics));
    });
    assert!(outcome.is_err());
    assert_eq!(copies(ADDRESS.get()), 0);
}

#[test]
#[cfg_attr(
    spinlane_asan,
    ignore = "AddressSanitizer keeps frames elsewhere, and forbids to look at them"
)]
fn what_one_job_said_does_not_count_for_the_next() {
    let (_, _) = job::start(None, body(true, || {})).unwrap();
    let (progress, _) = job::start(None, body(false, || {})).unwrap();
    assert!(copies(address(progress)) > 200);
}

#[test]
#[cfg_attr(
    spinlane_asan,
    ignore = "AddressSanitizer keeps frames elsewhere, and forbids to look at them"
)]
fn a_wipe_that_was_deferred_is_made_up_for() {
    let run = |says_so| {
        let (progress, _) = job::start(None, body(says_so, || {})).unwrap();
        address(progress)
    };
    job::defer_wipes();
    let deferred = run(true);
    assert!(copies(deferred) > 200);
    // Another job has the stack meanwhile.
    run(false);
    job::wipe_stacks();
    assert_eq!(copies(deferred), 0);
    assert_eq!(copies(run(true)), 0, "the promise was for one time");
}

#[test]
fn a_job_that_had_the_stack_for_longer_leaves_nothing_of_the_one_before() {
    job::defer_wipes();
    let (_, _) = job::start(None, body(true, || {})).unwrap();
    let (_, paused) = job::start(None, || {
        let here = 0;
        ADDRESS.set((&raw const here).addr());
        job::pause();
        0
    })
    .unwrap();
    job::wipe_stacks();
    let _ = paused.unwrap().resume().unwrap();
    job::wipe_stacks();
    assert_eq!(copies(ADDRESS.get()), 0);
}

#[test]
fn a_promise_that_is_not_kept_is_not_believed_for_long() {
    job::defer_wipes();
    let mut left = 0;
    for _ in 0..5000 {
        let (progress, _) = job::start(None, body(true, || {})).unwrap();
        left = copies(address(progress));
    }
    assert_eq!(left, 0);
}
