//! What ASYNC_WAIT_CTX_new(3) promises, one test per promise.

use std::cell::Cell;
use std::ffi::c_void;
use std::os::fd::RawFd;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Wake, Waker};

use spinlane_job::{self as job, Conn, Foreign, Status, WaitCtx};

thread_local! {
    /// What the cleanup routine was called with, as a sum: order does not matter here.
    static CLEANED: Cell<(usize, i64)> = const { Cell::new((0, 0)) };
    static CALLED_WITH: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

static KEYS: [u8; 3] = [0; 3];

fn key(index: usize) -> *const c_void {
    (&raw const KEYS[index]).cast()
}

extern "C" fn cleanup(_: *const WaitCtx, _: *const c_void, fd: RawFd, data: *mut c_void) {
    let (calls, sum) = CLEANED.get();
    CLEANED.set((calls + 1, sum + i64::from(fd) + data.addr() as i64));
}

fn callback(function: *const (), argument: *mut ()) {
    assert_eq!(function.addr(), 0x77);
    let (calls, _) = CALLED_WITH.get();
    CALLED_WITH.set((calls + 1, argument.addr()));
}

fn foreign(argument: usize) -> Foreign {
    let argument = ptr::without_provenance_mut(argument);
    Foreign::new(callback, ptr::without_provenance(0x77), argument)
}

/// Whether there was somebody to notify, who was called by no name.
fn notify(ctx: &WaitCtx) -> bool {
    let notify = ctx.notify();
    assert_eq!(notify.is_some(), ctx.notifies());
    notify
        .map(|notify| notify.tell(|_| unreachable!("it has no name")))
        .is_some()
}

fn add(ctx: &WaitCtx, index: usize, fd: RawFd) {
    ctx.set_wait_fd(key(index), fd, ptr::null_mut(), None);
}

/// All, added and deleted descriptors.
fn lists(ctx: &WaitCtx) -> [Vec<RawFd>; 3] {
    let mut lists = [Vec::new(), Vec::new(), Vec::new()];
    ctx.for_each_fd(|fd| lists[0].push(fd));
    ctx.for_each_added_fd(|fd| lists[1].push(fd));
    ctx.for_each_deleted_fd(|fd| lists[2].push(fd));
    lists
}

#[test]
fn status_is_unsupported_by_default_and_no_callback_is_set() {
    let ctx = WaitCtx::new();
    assert_eq!(ctx.status(), Status::UNSUPPORTED);
    assert!(ctx.foreign().is_none());
    assert!(!notify(&ctx));
    assert_eq!(lists(&ctx), [[]; 3]);
    assert!(ctx.job().is_none());
}

#[test]
fn status_values_are_those_of_async_h() {
    let values = [Status::UNSUPPORTED, Status::ERR, Status::OK, Status::EAGAIN];
    assert_eq!(values.map(|status| status.0), [0, 1, 2, 3]);
}

#[test]
fn get_status_returns_what_set_status_stored_whatever_the_number() {
    let ctx = WaitCtx::new();
    for value in [1, 2, 3, 0, -1, 77, i32::MIN, i32::MAX] {
        ctx.set_status(Status(value));
        assert_eq!(ctx.status(), Status(value));
    }
}

#[test]
fn callback_is_called_with_its_argument_and_returned_by_get_callback() {
    let ctx = WaitCtx::new();
    ctx.set_notify(Some(foreign(0x1234).into()));
    assert_eq!(ctx.foreign().unwrap().argument().addr(), 0x1234);
    assert_eq!(ctx.foreign().unwrap().function().addr(), 0x77);
    assert!(notify(&ctx));
    assert_eq!(CALLED_WITH.get(), (1, 0x1234));
    ctx.set_notify(None);
    assert!(!notify(&ctx));
    assert_eq!(CALLED_WITH.get().0, 1);
}

#[test]
fn a_name_is_handed_to_the_queue_and_a_task_is_woken() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let ctx = WaitCtx::new();
    ctx.set_notify(Some(Conn(7).into()));
    let mut named = None;
    ctx.notify().unwrap().tell(|conn| named = Some(conn));
    assert_eq!(named, Some(Conn(7)));
    assert!(ctx.foreign().is_none());

    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    ctx.set_notify(Some(waker.into()));
    assert!(notify(&ctx) && notify(&ctx));
    assert_eq!(count.0.load(Relaxed), 2);
    ctx.free();
    assert!(!notify(&ctx));
    ctx.set_notify(None);
    assert_eq!(Arc::strong_count(&count), 1, "the waker is given back");
}

#[test]
fn no_callback_is_made_or_accepted_after_free() {
    let ctx = WaitCtx::new();
    let set = || ctx.set_notify(Some(foreign(0).into()));
    set();
    ctx.free();
    assert!(!notify(&ctx));
    set();
    assert!(!notify(&ctx));
    assert_eq!(CALLED_WITH.get().0, 0);
}

#[test]
fn get_fd_returns_descriptor_and_custom_data_of_the_key() {
    let ctx = WaitCtx::new();
    let data: *mut c_void = ptr::without_provenance_mut(99);
    ctx.set_wait_fd(key(0), 5, data, None);
    add(&ctx, 1, 6);
    assert_eq!(ctx.fd(key(0)), Some((5, data)));
    assert_eq!(ctx.fd(key(1)), Some((6, ptr::null_mut())));
    assert_eq!(ctx.fd(key(2)), None);
}

#[test]
fn all_and_changed_descriptors_are_listed_newest_first() {
    let ctx = WaitCtx::new();
    for (index, fd) in [(0, 10), (1, 11), (2, 12)] {
        add(&ctx, index, fd);
    }
    assert_eq!(lists(&ctx), [vec![12, 11, 10], vec![12, 11, 10], vec![]]);
}

#[test]
fn a_key_used_twice_names_its_newest_descriptor() {
    let ctx = WaitCtx::new();
    add(&ctx, 0, 10);
    add(&ctx, 0, 11);
    assert_eq!(ctx.fd(key(0)).unwrap().0, 11);
    assert!(ctx.clear_fd(key(0)));
    assert_eq!(ctx.fd(key(0)).unwrap().0, 10);
    assert!(ctx.clear_fd(key(0)));
    assert!(!ctx.clear_fd(key(0)), "none is left");
}

#[test]
fn a_descriptor_added_and_cleared_between_pauses_was_never_there() {
    let ctx = WaitCtx::new();
    add(&ctx, 0, 10);
    add(&ctx, 1, 11);
    assert!(ctx.clear_fd(key(0)));
    assert_eq!(lists(&ctx), [vec![11], vec![11], vec![]]);
}

#[test]
fn changes_are_old_news_once_the_pause_has_returned_and_not_before() {
    let ctx = WaitCtx::new();
    let (_, job) = job::start(Some(&ctx), || {
        let ctx = job::current().unwrap().wait_ctx().unwrap();
        add(&ctx, 0, 10);
        add(&ctx, 1, 11);
        job::pause();
        assert_eq!(lists(&ctx), [vec![11, 10], vec![], vec![]]);
        ctx.clear_fd(key(0));
        add(&ctx, 2, 12);
        drop(ctx);
        job::pause();
        let ctx = job::current().unwrap().wait_ctx().unwrap();
        assert_eq!(lists(&ctx), [vec![12, 11], vec![], vec![]]);
        1
    })
    .unwrap();
    let job = job.unwrap();
    assert_eq!(lists(&ctx), [vec![11, 10], vec![11, 10], vec![]]);
    let _ = job.resume().unwrap();
    // A cleared descriptor that was known before is listed as deleted, and nowhere else.
    assert_eq!(lists(&ctx), [vec![12, 11], vec![12], vec![10]]);
    assert_eq!(ctx.fd(key(0)), None);
    assert!(!ctx.clear_fd(key(0)), "cleared once is cleared");
    let _ = job.resume().unwrap();
}

#[test]
fn cleanup_is_called_on_free_with_descriptor_and_data() {
    let ctx = WaitCtx::new();
    let data = ptr::without_provenance_mut(1000);
    ctx.set_wait_fd(key(0), 7, data, Some(cleanup));
    ctx.set_wait_fd(key(1), 8, ptr::null_mut(), Some(cleanup));
    add(&ctx, 2, 9);
    assert_eq!(CLEANED.get(), (0, 0));
    ctx.free();
    assert_eq!(CLEANED.get(), (2, 1015));
    ctx.free();
    assert_eq!(CLEANED.get(), (2, 1015), "once");
}

#[test]
fn cleanup_is_not_called_on_clear_nor_later_for_what_was_cleared() {
    let ctx = WaitCtx::new();
    ctx.set_wait_fd(key(0), 7, ptr::null_mut(), Some(cleanup));
    let (_, job) = job::start(Some(&ctx), || {
        job::pause();
        1
    })
    .unwrap();
    let _ = job.unwrap().resume().unwrap();
    // Key 0 is old by now and key 1 is new: both ways of clearing.
    ctx.set_wait_fd(key(1), 8, ptr::null_mut(), Some(cleanup));
    assert!(ctx.clear_fd(key(0)));
    assert!(ctx.clear_fd(key(1)));
    ctx.free();
    assert_eq!(CLEANED.get(), (0, 0));
}

#[test]
fn a_context_serves_the_next_job_after_the_first_has_finished() {
    let ctx = WaitCtx::new();
    for _ in 0..3 {
        let (_, job) = job::start(Some(&ctx), || {
            job::pause();
            1
        })
        .unwrap();
        let job = job.unwrap();
        assert!(Rc::ptr_eq(&ctx.job().unwrap(), &job));
        let _ = job.resume().unwrap();
        assert!(ctx.job().is_none());
        assert!(job.wait_ctx().is_none());
    }
}

#[test]
fn free_returns_the_job_that_still_runs_under_it() {
    let ctx = WaitCtx::new();
    let (_, job) = job::start(Some(&ctx), || {
        job::pause();
        1
    })
    .unwrap();
    let job = job.unwrap();
    assert!(Rc::ptr_eq(&ctx.free().unwrap(), &job));
    assert!(ctx.free().is_none());
    let _ = job.resume().unwrap();
}
