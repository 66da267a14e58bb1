//! Sequences of calls, as a C program might make them: every function of `<openssl/async.h>` and of
//! spinlane.h, with NULLs, lists that are short, structs that are small, and jobs that call back in.
//! Each byte is a call or an argument.

#![no_main]

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr;

use capi as _;
use libfuzzer_sys::fuzz_target;
use spinlane::job::{Job, WaitCtx};
use spinlane::openssl::abi::*;

const SLOTS: usize = 4;

unsafe extern "C" {
    fn spinlane_device_open(spec: *const std::ffi::c_char) -> *mut c_void;
    fn spinlane_device_close(device: *mut c_void);
    fn spinlane_lcore_create() -> *mut c_void;
    fn spinlane_lcore_free(lcore: *mut c_void) -> c_int;
    fn spinlane_lcore_add_device(lcore: *mut c_void, device: *mut c_void, nb: u32) -> c_int;
    fn spinlane_poll(lcore: *mut c_void) -> c_int;
    fn spinlane_next_ready(lcore: *mut c_void, conn: *mut *mut c_void) -> c_int;
    fn spinlane_make_ready(lcore: *mut c_void, conn: *mut c_void) -> c_int;
    fn spinlane_retry_job(lcore: *mut c_void, ctx: *mut c_void, conn: *mut c_void) -> c_int;
    fn spinlane_forget(lcore: *mut c_void, conn: *mut c_void) -> c_int;
    fn spinlane_in_flight(lcore: *const c_void) -> c_int;
    fn spinlane_ready(lcore: *const c_void) -> c_int;
    fn spinlane_lcore_stats(lcore: *const c_void, stats: *mut usize) -> c_int;
    fn spinlane_last_error() -> *const std::ffi::c_char;
}

struct Program {
    input: Vec<u8>,
    contexts: [*mut WaitCtx; SLOTS],
    jobs: [*mut Job; SLOTS],
    /// Context that each job runs under.
    under: [usize; SLOTS],
    lcore: *mut c_void,
    depth: usize,
}

thread_local! {
    static PROGRAM: RefCell<Program> = const { RefCell::new(Program {
        input: Vec::new(),
        contexts: [ptr::null_mut(); SLOTS],
        jobs: [ptr::null_mut(); SLOTS],
        under: [SLOTS; SLOTS],
        lcore: ptr::null_mut(),
        depth: 0,
    }) };
}

fn with<T>(visit: impl FnOnce(&mut Program) -> T) -> T {
    PROGRAM.with_borrow_mut(visit)
}

fn byte() -> Option<u8> {
    with(|program| program.input.pop())
}

extern "C" fn callback(_: *mut c_void) -> c_int {
    1
}

extern "C" fn cleanup(_: *const WaitCtx, _: *const c_void, _: c_int, _: *mut c_void) {}

unsafe extern "C" fn body(_: *mut c_void) -> c_int {
    with(|program| program.depth += 1);
    let mut left = 8;
    while left > 0
        && let Some(next) = byte()
    {
        left -= 1;
        match next % 4 {
            0 => break,
            1 => {
                with(|program| program.depth -= 1);
                ASYNC_pause_job();
                with(|program| program.depth += 1);
            }
            _ => call(next),
        }
    }
    with(|program| program.depth -= 1);
    3
}

/// One call, chosen by `code`.
fn call(code: u8) {
    let argument = byte().unwrap_or(0);
    let slot = usize::from(argument) % SLOTS;
    let null = argument >= 0xf0;
    let (ctx, lcore) = with(|program| (program.contexts[slot], program.lcore));
    let ctx = if null { ptr::null_mut() } else { ctx };
    let key = ptr::without_provenance::<c_void>(usize::from(argument >> 4) + 1);
    // SAFETY: what is passed is NULL, or live, or as long as it is said to be: this program
    // breaks no rule that the headers state, but those about NULL, sizes and order.
    unsafe {
        match code / 4 % 28 {
            0 => start(slot, null),
            1 => {
                let fresh = ctx.is_null() && !null;
                if fresh {
                    with(|program| program.contexts[slot] = ASYNC_WAIT_CTX_new());
                }
            }
            2 => free(slot),
            3 => drop(ASYNC_WAIT_CTX_set_wait_fd(
                ctx,
                key,
                3,
                ptr::null_mut(),
                Some(cleanup),
            )),
            4 => {
                let (mut fd, mut data) = (0, ptr::null_mut());
                ASYNC_WAIT_CTX_get_fd(ctx, key, &mut fd, &mut data);
            }
            5 => {
                let mut count = 0;
                ASYNC_WAIT_CTX_get_all_fds(ctx, ptr::null_mut(), &mut count);
                let mut list = vec![0; count];
                ASYNC_WAIT_CTX_get_all_fds(ctx, list.as_mut_ptr(), &mut count);
            }
            6 => {
                let (mut added, mut deleted) = (0, 0);
                let none = ptr::null_mut();
                ASYNC_WAIT_CTX_get_changed_fds(ctx, none, &mut added, none, &mut deleted);
                let (mut add, mut del) = (vec![0; added], vec![0; deleted]);
                let (add, del) = (add.as_mut_ptr(), del.as_mut_ptr());
                ASYNC_WAIT_CTX_get_changed_fds(ctx, add, &mut added, del, &mut deleted);
            }
            7 => drop(ASYNC_WAIT_CTX_clear_fd(ctx, key)),
            8 => drop(ASYNC_WAIT_CTX_set_callback(
                ctx,
                Some(callback),
                ptr::null_mut(),
            )),
            9 => drop(ASYNC_WAIT_CTX_get_callback(
                ctx,
                ptr::null_mut(),
                ptr::null_mut(),
            )),
            10 => drop(ASYNC_WAIT_CTX_set_status(ctx, c_int::from(argument))),
            11 => drop(ASYNC_WAIT_CTX_get_status(ctx)),
            12 => drop(ASYNC_init_thread(slot, usize::from(argument) % 3)),
            13 => ASYNC_cleanup_thread(),
            14 => ASYNC_block_pause(),
            15 => ASYNC_unblock_pause(),
            16 => drop(ASYNC_get_wait_ctx(ASYNC_get_current_job())),
            17 => {
                let mut job = ptr::null_mut();
                let bad = (ptr::null_mut(), ptr::null_mut());
                let _ = ASYNC_start_job(bad.0, ctx, bad.1, None, ptr::null_mut(), 0);
                let _ = ASYNC_start_job(&mut job, ctx, &mut 0, None, ptr::null_mut(), 0);
            }
            18 if lcore.is_null() => {
                let lcore = spinlane_lcore_create();
                with(|program| program.lcore = lcore);
            }
            18 if argument > 0x80 && spinlane_lcore_free(lcore) == 1 => {
                with(|program| program.lcore = ptr::null_mut());
            }
            19 => {
                let device = spinlane_device_open(c"soft".as_ptr());
                let lcore = if null { ptr::null_mut() } else { lcore };
                spinlane_lcore_add_device(lcore, device, u32::from(argument));
                spinlane_device_close(device);
            }
            20 => drop(spinlane_poll(lcore)),
            21 => {
                let mut conn = ptr::null_mut();
                spinlane_next_ready(lcore, if null { ptr::null_mut() } else { &mut conn });
            }
            22 => drop(spinlane_make_ready(lcore, key.cast_mut())),
            23 => drop(spinlane_retry_job(lcore, ctx.cast(), key.cast_mut())),
            24 => drop(spinlane_forget(lcore, key.cast_mut())),
            25 => {
                assert!(spinlane_in_flight(lcore) >= -1);
                assert!(spinlane_ready(lcore) >= -1);
            }
            26 => {
                // As long as its size says, to the byte.
                let size = usize::from(argument).max(size_of::<usize>());
                let mut stats = vec![0_usize; size.div_ceil(size_of::<usize>())];
                stats[0] = size;
                spinlane_lcore_stats(lcore, stats.as_mut_ptr());
            }
            _ => assert!(!spinlane_last_error().is_null()),
        }
    }
}

/// Starts a job, or resumes it if it is paused.
unsafe fn start(slot: usize, null: bool) {
    let (mut job, ctx, depth) =
        with(|program| (program.jobs[slot], program.contexts[slot], program.depth));
    let busy = with(|program| program.under.contains(&slot)) && job.is_null();
    if busy {
        return;
    }
    let ctx = if null { ptr::null_mut() } else { ctx };
    let fresh = job.is_null();
    // As long as libssl's. Longer ones live on the heap, and are lost with a job that is abandoned.
    let size = if null { 0 } else { 48 };
    let mut args = [7_u8; 48];
    let mut ret = 0;
    // SAFETY: as in `call`.
    let outcome = unsafe {
        let args = args.as_mut_ptr().cast();
        ASYNC_start_job(&mut job, ctx, &mut ret, Some(body), args, size)
    };
    match outcome {
        ASYNC_FINISH => assert!(ret == 3 && job.is_null()),
        ASYNC_PAUSE => assert!(!job.is_null()),
        ASYNC_NO_JOBS => assert!(job.is_null()),
        _ => assert!(outcome == ASYNC_ERR),
    }
    assert!(depth == 0 || outcome == ASYNC_ERR, "jobs do not nest");
    if outcome != ASYNC_ERR {
        with(|program| {
            program.jobs[slot] = job;
            // A job stays under the context that it was started under.
            if job.is_null() {
                program.under[slot] = SLOTS;
            } else if fresh && !ctx.is_null() {
                program.under[slot] = slot;
            }
        });
    }
}

/// Frees a context: under a paused job too, which is gone then; not under the one that runs.
unsafe fn free(slot: usize) {
    let (ctx, depth) = with(|program| (program.contexts[slot], program.depth));
    if depth != 0 {
        return;
    }
    with(|program| {
        program.contexts[slot] = ptr::null_mut();
        if program.under[slot] == slot {
            program.under[slot] = SLOTS;
            program.jobs[slot] = ptr::null_mut();
        }
    });
    // SAFETY: live, and freed once; or NULL.
    unsafe { ASYNC_WAIT_CTX_free(ctx) };
}

fuzz_target!(|input: &[u8]| {
    with(|program| program.input = input.to_vec());
    while let Some(code) = byte() {
        call(code);
    }
    // Every job ends, with or without its context, before the next run.
    for slot in 0..SLOTS {
        while with(|program| !program.jobs[slot].is_null()) {
            // SAFETY: as in `call`.
            unsafe { start(slot, false) };
        }
        // SAFETY: as in `call`.
        unsafe { free(slot) };
    }
    let lcore = with(|program| std::mem::replace(&mut program.lcore, ptr::null_mut()));
    // SAFETY: live or NULL.
    unsafe {
        assert_eq!(spinlane_lcore_free(lcore), 1);
        openssl_sys::ERR_clear_error();
    }
    ASYNC_init_thread(0, 0);
});
