//! The promises of ASYNC_start_job(3) and ASYNC_WAIT_CTX_new(3), through the C ABI. Each test
//! is named after what the man page says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr;

use spinlane_job::{Job, WaitCtx};
use spinlane_openssl::abi::*;

/// Overwrites what is freed: whoever looks at it afterwards sees nonsense.
struct Overwriting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Overwriting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller gives it up, as long as it says.
        unsafe { black_box(memory).write_bytes(0xdd, layout.size()) };
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(black_box(memory), layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Overwriting = Overwriting;

/// Error reason of the oldest entry of the thread's queue, which is emptied; 0 = none.
fn reason() -> i32 {
    // SAFETY: reads and empties this thread's queue.
    let code = unsafe { openssl_sys::ERR_get_error() };
    // SAFETY: as above.
    unsafe { openssl_sys::ERR_clear_error() };
    openssl_sys::ERR_GET_REASON(code)
}

struct Run {
    job: *mut Job,
    ctx: *mut WaitCtx,
    ret: c_int,
}

impl Run {
    fn new() -> Self {
        Self {
            job: ptr::null_mut(),
            ctx: ASYNC_WAIT_CTX_new(),
            ret: -1,
        }
    }

    fn step(&mut self, func: unsafe extern "C" fn(*mut c_void) -> c_int) -> c_int {
        self.step_with(func, &[])
    }

    fn step_with(
        &mut self,
        func: unsafe extern "C" fn(*mut c_void) -> c_int,
        args: &[u8],
    ) -> c_int {
        let pointer = if args.is_empty() {
            ptr::null_mut()
        } else {
            args.as_ptr().cast_mut().cast()
        };
        // SAFETY: all pointers are live; the functions below take what they are given.
        unsafe {
            ASYNC_start_job(
                &mut self.job,
                self.ctx,
                &mut self.ret,
                Some(func),
                pointer,
                args.len(),
            )
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once.
        unsafe { ASYNC_WAIT_CTX_free(self.ctx) };
    }
}

unsafe extern "C" fn returns_7(_: *mut c_void) -> c_int {
    7
}

unsafe extern "C" fn pauses_twice(_: *mut c_void) -> c_int {
    assert_eq!(ASYNC_pause_job(), 1);
    assert_eq!(ASYNC_pause_job(), 1);
    9
}

unsafe extern "C" fn pauses_forever(_: *mut c_void) -> c_int {
    loop {
        ASYNC_pause_job();
    }
}

#[test]
fn the_process_binds_to_our_functions() {
    assert_eq!(verify_binding(), Ok(()));
    assert_eq!(ASYNC_is_capable(), 1);
}

#[test]
fn a_job_that_returns_is_finished_and_its_result_is_in_ret() {
    let mut run = Run::new();
    assert_eq!(run.step(returns_7), ASYNC_FINISH);
    assert_eq!((run.ret, run.job), (7, ptr::null_mut()));
}

#[test]
fn a_paused_job_is_stored_and_goes_on_where_it_paused() {
    let mut run = Run::new();
    assert_eq!(run.step(pauses_twice), ASYNC_PAUSE);
    assert!(!run.job.is_null());
    assert_eq!(run.ret, -1, "ret is written at the end only");
    let first = run.job;
    assert_eq!(run.step(pauses_twice), ASYNC_PAUSE);
    assert_eq!(run.job, first);
    assert_eq!(run.step(pauses_twice), ASYNC_FINISH);
    assert_eq!((run.ret, run.job), (9, ptr::null_mut()));
}

#[test]
fn args_are_copied_and_aligned() {
    unsafe extern "C" fn sums(args: *mut c_void) -> c_int {
        assert_eq!(args.addr() % 16, 0);
        ASYNC_pause_job();
        // SAFETY: the tests below pass a length in the first two bytes, and as many bytes.
        let len = usize::from(unsafe { args.cast::<u16>().read() });
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(args.cast::<u8>(), len) };
        bytes[2..].iter().map(|&byte| c_int::from(byte)).sum()
    }
    for len in [3_u16, 40, 64, 65, 1000] {
        let mut args = vec![1; usize::from(len)];
        args[..2].copy_from_slice(&len.to_ne_bytes());
        let mut run = Run::new();
        assert_eq!(run.step_with(sums, &args), ASYNC_PAUSE);
        args.fill(0);
        assert_eq!(run.step_with(sums, &args), ASYNC_FINISH);
        assert_eq!(run.ret, c_int::from(len) - 2);
    }
}

#[test]
fn null_args_stay_null() {
    unsafe extern "C" fn is_null(args: *mut c_void) -> c_int {
        c_int::from(args.is_null())
    }
    let mut run = Run::new();
    assert_eq!(run.step(is_null), ASYNC_FINISH);
    assert_eq!(run.ret, 1);
}

#[test]
fn no_jobs_at_the_maximum_and_again_after_one_has_finished() {
    assert_eq!(ASYNC_init_thread(1, 1), 1);
    let (mut first, mut second) = (Run::new(), Run::new());
    assert_eq!(first.step(pauses_twice), ASYNC_PAUSE);
    assert_eq!(second.step(returns_7), ASYNC_NO_JOBS);
    assert!(second.job.is_null());
    assert_eq!(first.step(pauses_twice), ASYNC_PAUSE);
    assert_eq!(first.step(pauses_twice), ASYNC_FINISH);
    assert_eq!(second.step(returns_7), ASYNC_FINISH);
    ASYNC_cleanup_thread();
}

/// With the maximum lowered meanwhile, the pool frees a job at its end rather than keep it.
#[test]
fn a_job_that_is_one_too_many_at_its_end_still_gives_its_result() {
    assert_eq!(ASYNC_init_thread(2, 0), 1);
    let (mut kept, mut freed) = (Run::new(), Run::new());
    for run in [&mut kept, &mut freed] {
        assert_eq!(run.step(pauses_twice), ASYNC_PAUSE);
    }
    assert_eq!(ASYNC_init_thread(1, 0), 1);
    for run in [&mut freed, &mut kept] {
        assert_eq!(run.step(pauses_twice), ASYNC_PAUSE);
        assert_eq!(run.step(pauses_twice), ASYNC_FINISH);
        assert_eq!((run.ret, run.job), (9, ptr::null_mut()));
    }
    ASYNC_cleanup_thread();
}

#[test]
fn init_size_above_max_size_is_an_error() {
    assert_eq!(ASYNC_init_thread(2, 3), 0);
    assert_eq!(reason(), 103, "ASYNC_R_INVALID_POOL_SIZE");
    assert_eq!(
        ASYNC_init_thread(0, 1),
        0,
        "even without a maximum, as in OpenSSL"
    );
    assert_eq!(ASYNC_init_thread(3, 3), 1);
}

#[test]
fn the_current_job_is_null_outside_a_job_and_knows_its_wait_ctx_inside() {
    unsafe extern "C" fn looks(_: *mut c_void) -> c_int {
        let job = ASYNC_get_current_job();
        // SAFETY: the current job.
        c_int::from(!job.is_null() && !unsafe { ASYNC_get_wait_ctx(job) }.is_null())
    }
    assert!(ASYNC_get_current_job().is_null());
    let mut run = Run::new();
    assert_eq!(run.step(looks), ASYNC_FINISH);
    assert_eq!(run.ret, 1);
    assert!(ASYNC_get_current_job().is_null());
}

#[test]
fn pausing_outside_a_job_or_while_blocked_does_nothing() {
    unsafe extern "C" fn blocks(_: *mut c_void) -> c_int {
        ASYNC_block_pause();
        ASYNC_block_pause();
        ASYNC_pause_job();
        ASYNC_unblock_pause();
        ASYNC_pause_job();
        ASYNC_unblock_pause();
        ASYNC_pause_job();
        1
    }
    assert_eq!(ASYNC_pause_job(), 1);
    ASYNC_block_pause();
    let mut run = Run::new();
    assert_eq!(
        run.step(blocks),
        ASYNC_PAUSE,
        "the one pause that was not blocked"
    );
    assert_eq!(run.step(blocks), ASYNC_FINISH);
}

#[test]
fn bad_pointers_are_errors_and_no_crash() {
    let null = ptr::null_mut;
    let mut run = Run::new();
    // SAFETY: NULLs are what is tested.
    unsafe {
        assert_eq!(
            ASYNC_start_job(
                ptr::null_mut(),
                run.ctx,
                &mut run.ret,
                Some(returns_7),
                null(),
                0
            ),
            ASYNC_ERR
        );
        assert_ne!(reason(), 0);
        assert_eq!(
            ASYNC_start_job(
                &mut run.job,
                run.ctx,
                ptr::null_mut(),
                Some(returns_7),
                null(),
                0
            ),
            ASYNC_ERR
        );
        assert_ne!(reason(), 0);
        assert_eq!(
            ASYNC_start_job(&mut run.job, run.ctx, &mut run.ret, None, null(), 0),
            ASYNC_ERR
        );
        assert_ne!(reason(), 0);
        assert!(ASYNC_get_wait_ctx(ptr::null_mut()).is_null());
        ASYNC_WAIT_CTX_free(ptr::null_mut());
        let no_ctx = ptr::null_mut();
        assert_eq!(
            ASYNC_WAIT_CTX_set_wait_fd(no_ctx, null(), 1, null(), None),
            0
        );
        assert_eq!(
            ASYNC_WAIT_CTX_get_fd(no_ctx, null(), ptr::null_mut(), ptr::null_mut()),
            0
        );
        assert_eq!(
            ASYNC_WAIT_CTX_get_all_fds(no_ctx, ptr::null_mut(), ptr::null_mut()),
            0
        );
        assert_eq!(ASYNC_WAIT_CTX_clear_fd(no_ctx, null()), 0);
        assert_eq!(ASYNC_WAIT_CTX_set_callback(no_ctx, None, null()), 0);
        assert_eq!(
            ASYNC_WAIT_CTX_get_callback(no_ctx, ptr::null_mut(), ptr::null_mut()),
            0
        );
        assert_eq!(ASYNC_WAIT_CTX_set_status(no_ctx, 2), 0);
        assert_eq!(ASYNC_WAIT_CTX_get_status(no_ctx), 0);
        assert_eq!(
            ASYNC_WAIT_CTX_get_changed_fds(
                no_ctx,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut()
            ),
            0
        );
    }
    assert_ne!(reason(), 0);
}

#[test]
fn a_job_of_another_thread_is_refused() {
    let mut run = Run::new();
    assert_eq!(run.step(pauses_twice), ASYNC_PAUSE);
    let job = run.job.expose_provenance();
    let refused = std::thread::spawn(move || {
        let mut job: *mut Job = ptr::with_exposed_provenance_mut(job);
        let mut ret = 0;
        // SAFETY: the job lives in the other thread's pool; only its thread's name is read.
        let result = unsafe {
            ASYNC_start_job(
                &mut job,
                ptr::null_mut(),
                &mut ret,
                Some(pauses_twice),
                ptr::null_mut(),
                0,
            )
        };
        (result, reason() != 0)
    });
    assert_eq!(refused.join().ok(), Some((ASYNC_ERR, true)));
    assert_eq!(run.step(pauses_twice), ASYNC_PAUSE, "and is unharmed");
}

#[test]
fn jobs_do_not_nest() {
    unsafe extern "C" fn nests(_: *mut c_void) -> c_int {
        let mut inner = Run::new();
        let result = inner.step(returns_7);
        reason();
        result
    }
    let mut run = Run::new();
    assert_eq!(run.step(nests), ASYNC_FINISH);
    assert_eq!(run.ret, ASYNC_ERR);
}

#[test]
fn a_wait_ctx_freed_under_a_paused_job_gives_the_stack_back() {
    ASYNC_cleanup_thread();
    let before = spinlane_job::pool_stats().stacks_in_use;
    for _ in 0..100 {
        let mut run = Run::new();
        assert_eq!(run.step(pauses_forever), ASYNC_PAUSE);
    }
    let stats = spinlane_job::pool_stats();
    assert_eq!(
        (stats.stacks_in_use - before, stats.jobs),
        (0, 1),
        "one job, used a hundred times"
    );
}

mod wait_ctx {
    use super::*;

    const KEY: *const c_void = ptr::without_provenance(1);
    const OTHER: *const c_void = ptr::without_provenance(2);

    fn all(ctx: *mut WaitCtx) -> Vec<c_int> {
        let (mut fds, mut count) = ([0; 16], 0);
        // SAFETY: a live context; sixteen are more than any test sets.
        unsafe {
            assert_eq!(
                ASYNC_WAIT_CTX_get_all_fds(ctx, ptr::null_mut(), &mut count),
                1
            );
            let told = count;
            assert_eq!(
                ASYNC_WAIT_CTX_get_all_fds(ctx, fds.as_mut_ptr(), &mut count),
                1
            );
            assert_eq!(told, count, "a NULL list still gives the number");
        }
        fds[..count].to_vec()
    }

    fn changed(ctx: *mut WaitCtx) -> (Vec<c_int>, Vec<c_int>) {
        let (mut added, mut deleted, mut adds, mut dels) = ([0; 16], [0; 16], 0, 0);
        // SAFETY: as above.
        unsafe {
            assert_eq!(
                ASYNC_WAIT_CTX_get_changed_fds(
                    ctx,
                    added.as_mut_ptr(),
                    &mut adds,
                    deleted.as_mut_ptr(),
                    &mut dels
                ),
                1
            );
        }
        (added[..adds].to_vec(), deleted[..dels].to_vec())
    }

    fn set(ctx: *mut WaitCtx, key: *const c_void, fd: c_int) {
        // SAFETY: a live context.
        let set = unsafe { ASYNC_WAIT_CTX_set_wait_fd(ctx, key, fd, ptr::null_mut(), None) };
        assert_eq!(set, 1);
    }

    fn clear(ctx: *mut WaitCtx, key: *const c_void) -> c_int {
        // SAFETY: a live context.
        unsafe { ASYNC_WAIT_CTX_clear_fd(ctx, key) }
    }

    #[test]
    fn a_new_one_is_unsupported_without_callback_or_fds() {
        let run = Run::new();
        let (mut callback, mut arg) = (None, ptr::null_mut());
        // SAFETY: a live context.
        unsafe {
            assert_eq!(ASYNC_WAIT_CTX_get_status(run.ctx), ASYNC_STATUS_UNSUPPORTED);
            assert_eq!(
                ASYNC_WAIT_CTX_get_callback(run.ctx, &mut callback, &mut arg),
                0
            );
        }
        assert_eq!(all(run.ctx), []);
    }

    #[test]
    fn callback_and_status_are_given_back_as_set() {
        extern "C" fn called(_: *mut c_void) -> c_int {
            0
        }
        let run = Run::new();
        let (mut callback, mut arg) = (None, ptr::null_mut());
        // SAFETY: a live context.
        unsafe {
            assert_eq!(
                ASYNC_WAIT_CTX_set_callback(run.ctx, Some(called), KEY.cast_mut()),
                1
            );
            assert_eq!(
                ASYNC_WAIT_CTX_get_callback(run.ctx, &mut callback, &mut arg),
                1
            );
            for status in [ASYNC_STATUS_ERR, ASYNC_STATUS_OK, ASYNC_STATUS_EAGAIN, 77] {
                assert_eq!(ASYNC_WAIT_CTX_set_status(run.ctx, status), 1);
                assert_eq!(ASYNC_WAIT_CTX_get_status(run.ctx), status);
            }
        }
        assert!(callback.is_some());
        assert_eq!(arg, KEY.cast_mut());
    }

    #[test]
    fn fds_are_found_by_their_key_with_their_data() {
        let run = Run::new();
        let (mut fd, mut data) = (0, ptr::null_mut());
        // SAFETY: a live context.
        unsafe {
            assert_eq!(
                ASYNC_WAIT_CTX_set_wait_fd(run.ctx, KEY, 5, OTHER.cast_mut(), None),
                1
            );
            assert_eq!(ASYNC_WAIT_CTX_get_fd(run.ctx, KEY, &mut fd, &mut data), 1);
            assert_eq!(ASYNC_WAIT_CTX_get_fd(run.ctx, OTHER, &mut fd, &mut data), 0);
        }
        assert_eq!((fd, data), (5, OTHER.cast_mut()));
    }

    #[test]
    fn changes_are_reported_until_the_pause_after_them_has_returned() {
        unsafe extern "C" fn sets_and_clears(_: *mut c_void) -> c_int {
            // SAFETY: the current job.
            let ctx = unsafe { ASYNC_get_wait_ctx(ASYNC_get_current_job()) };
            set(ctx, KEY, 5);
            set(ctx, OTHER, 6);
            ASYNC_pause_job();
            assert_eq!(
                changed(ctx),
                (vec![], vec![]),
                "forgotten when the pause returns"
            );
            assert_eq!(clear(ctx, KEY), 1);
            ASYNC_pause_job();
            set(ctx, KEY, 7);
            assert_eq!(clear(ctx, KEY), 1);
            1
        }
        let mut run = Run::new();
        assert_eq!(run.step(sets_and_clears), ASYNC_PAUSE);
        assert_eq!(
            (all(run.ctx), changed(run.ctx)),
            (vec![6, 5], (vec![6, 5], vec![]))
        );
        assert_eq!(run.step(sets_and_clears), ASYNC_PAUSE);
        assert_eq!(
            (all(run.ctx), changed(run.ctx)),
            (vec![6], (vec![], vec![5]))
        );
        assert_eq!(run.step(sets_and_clears), ASYNC_FINISH);
        assert_eq!(
            (all(run.ctx), changed(run.ctx)),
            (vec![6], (vec![], vec![])),
            "added and cleared at once: unheard of"
        );
    }

    #[test]
    fn cleanup_runs_on_free_and_not_on_clear() {
        extern "C" fn cleanup(_: *const WaitCtx, _: *const c_void, fd: c_int, log: *mut c_void) {
            // SAFETY: the log below outlives the context.
            unsafe { (*log.cast::<Vec<c_int>>()).push(fd) };
        }
        let mut log: Vec<c_int> = Vec::new();
        let run = Run::new();
        let data = ptr::from_mut(&mut log).cast();
        // SAFETY: a live context; the log outlives it.
        unsafe {
            assert_eq!(
                ASYNC_WAIT_CTX_set_wait_fd(run.ctx, KEY, 5, data, Some(cleanup)),
                1
            );
            assert_eq!(
                ASYNC_WAIT_CTX_set_wait_fd(run.ctx, OTHER, 6, data, Some(cleanup)),
                1
            );
        }
        assert_eq!(clear(run.ctx, KEY), 1);
        assert_eq!(clear(run.ctx, KEY), 0);
        drop(run);
        assert_eq!(log, [6]);
    }
}

mod library_context {
    use super::*;

    unsafe extern "C" {
        fn OSSL_LIB_CTX_set0_default(
            ctx: *mut openssl_sys::OSSL_LIB_CTX,
        ) -> *mut openssl_sys::OSSL_LIB_CTX;
    }

    fn default() -> usize {
        // SAFETY: NULL only asks.
        unsafe { OSSL_LIB_CTX_set0_default(ptr::null_mut()) }.addr()
    }

    #[test]
    fn is_the_jobs_own_inside_and_the_callers_outside() {
        unsafe extern "C" fn switches(args: *mut c_void) -> c_int {
            // SAFETY: the test passes a pointer to a context.
            let mine = unsafe { args.cast::<*mut openssl_sys::OSSL_LIB_CTX>().read() };
            let inherited = default();
            // SAFETY: a live context.
            unsafe { OSSL_LIB_CTX_set0_default(mine) };
            ASYNC_pause_job();
            assert_eq!(default(), mine.addr(), "restored when the job goes on");
            ASYNC_pause_job();
            // SAFETY: the context that was the default before.
            unsafe { OSSL_LIB_CTX_set0_default(ptr::with_exposed_provenance_mut(inherited)) };
            1
        }
        // SAFETY: makes a context.
        let mine = unsafe { openssl_sys::OSSL_LIB_CTX_new() };
        let outside = default();
        let mut run = Run::new();
        let args = mine.expose_provenance().to_ne_bytes();
        assert_eq!(run.step_with(switches, &args), ASYNC_PAUSE);
        assert_eq!(default(), outside);
        assert_eq!(run.step_with(switches, &args), ASYNC_PAUSE);
        assert_eq!(default(), outside);
        assert_eq!(run.step_with(switches, &args), ASYNC_FINISH);
        assert_eq!(default(), outside);
        drop(run);
        // SAFETY: nobody's default any more.
        unsafe { openssl_sys::OSSL_LIB_CTX_free(mine) };
    }
}

#[test]
fn a_second_free_of_a_wait_context_is_an_error_entry() {
    let ctx = ASYNC_WAIT_CTX_new();
    // SAFETY: a live context; the second call is the misuse under test.
    unsafe { ASYNC_WAIT_CTX_free(ctx) };
    assert_eq!(reason(), 0);
    // SAFETY: the implementation keeps the last contexts freed.
    unsafe { ASYNC_WAIT_CTX_free(ctx) };
    assert_eq!(reason(), 257 | (0x3 << 18));
}
