//! A pause and a resume through the C ABI: what they refuse, and what each side finds again.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr;

use spinlane_fiber::{Fiber, PoolConfig, StackPool, State};
use spinlane_job::Job;
use spinlane_openssl::abi::*;

type JobFn = unsafe extern "C" fn(*mut c_void) -> c_int;

#[inline(never)]
fn step(job: &mut *mut Job, func: JobFn) -> (c_int, c_int) {
    let mut ret = -1;
    // SAFETY: live pointers; the functions below take no arguments.
    let outcome = unsafe {
        ASYNC_start_job(
            job,
            ptr::null_mut(),
            &mut ret,
            Some(func),
            ptr::null_mut(),
            0,
        )
    };
    (outcome, ret)
}

#[test]
fn a_cancelled_resume_is_seen_by_the_job() {
    thread_local!(static SEEN: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) });
    unsafe extern "C" fn notes(_: *mut c_void) -> c_int {
        for _ in 0..2 {
            ASYNC_pause_job();
            let cancelled = spinlane_job::current().is_some_and(|job| job.is_cancelled());
            SEEN.with_borrow_mut(|seen| seen.push(cancelled));
        }
        0
    }
    let mut job = ptr::null_mut();
    step(&mut job, notes);
    step(&mut job, notes);
    assert_eq!(
        spinlane_job::cancelling(|| step(&mut job, notes)),
        (ASYNC_FINISH, 0)
    );
    assert_eq!(SEEN.take(), [false, true]);
}

unsafe extern "C" fn pauses_once(_: *mut c_void) -> c_int {
    ASYNC_pause_job();
    7
}

#[test]
fn a_pause_on_a_fiber_of_the_jobs_own_does_nothing() {
    unsafe extern "C" fn has_a_fiber(_: *mut c_void) -> c_int {
        let mut pool = StackPool::new(PoolConfig::default());
        let fiber = Fiber::new(pool.take().expect("a stack"), || {
            assert_eq!(ASYNC_pause_job(), 1);
        });
        c_int::from(fiber.resume() == State::Returned)
    }
    let mut job = ptr::null_mut();
    assert_eq!(step(&mut job, has_a_fiber), (ASYNC_FINISH, 1));
}

/// Coroutines of an application's own, on stacks that nobody but it knows.
#[test]
fn a_pause_on_a_stack_of_the_applications_own_pauses_the_job() {
    thread_local! {
        // SAFETY: zeros are such structures, which getcontext and swapcontext fill in.
        static CONTEXTS: RefCell<[libc::ucontext_t; 2]> = const { RefCell::new(unsafe { std::mem::zeroed() }) };
    }
    extern "C" fn pauses() {
        assert!(spinlane_job::can_pause());
        ASYNC_pause_job();
    }
    unsafe extern "C" fn leaves_its_stack(_: *mut c_void) -> c_int {
        let mut stack = vec![0_u8; 256 * 1024];
        let [back, there] = CONTEXTS.with(|contexts| {
            let contexts = contexts.as_ptr().cast::<libc::ucontext_t>();
            // SAFETY: both are within the array.
            [contexts, unsafe { contexts.add(1) }]
        });
        // SAFETY: the thread's own contexts; the stack outlives the function on it, which returns by uc_link.
        unsafe {
            libc::getcontext(there);
            (*there).uc_stack.ss_sp = stack.as_mut_ptr().cast();
            (*there).uc_stack.ss_size = stack.len();
            (*there).uc_link = back;
            libc::makecontext(there, pauses, 0);
            libc::swapcontext(back, there)
        }
    }
    let mut job = ptr::null_mut();
    assert_eq!(step(&mut job, leaves_its_stack), (ASYNC_PAUSE, -1));
    assert_eq!(step(&mut job, leaves_its_stack), (ASYNC_FINISH, 0));
}

#[test]
fn a_paused_job_with_nowhere_to_put_its_result_stays_paused() {
    let mut job = ptr::null_mut();
    assert_eq!(step(&mut job, pauses_once), (ASYNC_PAUSE, -1));
    let (no_ctx, no_ret, no_args) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: NULLs are what is tested.
    let outcome =
        unsafe { ASYNC_start_job(&mut job, no_ctx, no_ret, Some(pauses_once), no_args, 0) };
    assert_eq!(outcome, ASYNC_ERR);
    assert_eq!(step(&mut job, pauses_once), (ASYNC_FINISH, 7));
}

#[test]
fn a_job_that_has_finished_is_not_resumed() {
    let mut job = ptr::null_mut();
    assert_eq!(step(&mut job, pauses_once), (ASYNC_PAUSE, -1));
    // It stays in the pool of this thread.
    let mut finished = job;
    assert_eq!(step(&mut job, pauses_once), (ASYNC_FINISH, 7));
    assert_eq!(step(&mut finished, pauses_once), (ASYNC_ERR, -1));
}

#[test]
fn a_paused_job_is_not_resumed_from_within_another() {
    thread_local!(static PAUSED: Cell<*mut Job> = const { Cell::new(ptr::null_mut()) });
    unsafe extern "C" fn resumes_another(_: *mut c_void) -> c_int {
        let mut another = PAUSED.get();
        step(&mut another, pauses_once).0
    }
    let mut paused = ptr::null_mut();
    assert_eq!(step(&mut paused, pauses_once), (ASYNC_PAUSE, -1));
    PAUSED.set(paused);
    let mut job = ptr::null_mut();
    assert_eq!(step(&mut job, resumes_another), (ASYNC_FINISH, ASYNC_ERR));
    assert_eq!(step(&mut paused, pauses_once), (ASYNC_FINISH, 7));
}

#[test]
fn a_backtrace_in_a_resumed_job_goes_on_through_its_resumer() {
    thread_local!(static SEEN: RefCell<String> = const { RefCell::new(String::new()) });
    unsafe extern "C" fn looks_back(_: *mut c_void) -> c_int {
        ASYNC_pause_job();
        SEEN.set(Backtrace::force_capture().to_string());
        0
    }
    #[inline(never)]
    fn the_resumer(job: &mut *mut Job) {
        assert_eq!(step(job, looks_back), (ASYNC_FINISH, 0));
    }
    let mut job = ptr::null_mut();
    step(&mut job, looks_back);
    the_resumer(&mut job);
    let seen = SEEN.take();
    assert!(
        seen.contains("looks_back") && seen.contains("the_resumer"),
        "{seen}"
    );
}

/// Sets the callee-saved registers that may be named, calls `call` with `argument` in rdi, and
/// returns what they are then. rbx and rbp are the compiler's own, which the other tests would crash
/// without.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn registers_across(
    call: extern "C" fn(*mut c_void),
    argument: *mut c_void,
    seed: u64,
) -> [u64; 4] {
    let (mut a, mut b, mut c, mut d) = (seed, seed + 1, seed + 2, seed + 3);
    // SAFETY: an ordinary call; the stack is aligned by the compiler, since `nostack` is not said.
    unsafe {
        std::arch::asm!(
            "call {call}",
            call = in(reg) call,
            in("rdi") argument,
            inout("r12") a, inout("r13") b, inout("r14") c, inout("r15") d,
            clobber_abi("C"),
        );
    }
    [a, b, c, d]
}

#[cfg(target_arch = "x86_64")]
#[test]
fn each_side_keeps_its_registers() {
    extern "C" fn pauses(_: *mut c_void) {
        ASYNC_pause_job();
    }
    unsafe extern "C" fn checks(_: *mut c_void) -> c_int {
        for round in 0..8 {
            let seed = 1000 + 10 * round;
            let seen = registers_across(pauses, ptr::null_mut(), seed);
            assert_eq!(seen, [seed, seed + 1, seed + 2, seed + 3]);
        }
        0
    }
    extern "C" fn resumes(job: *mut c_void) {
        // SAFETY: the place of a job, see below.
        step(unsafe { &mut *job.cast() }, checks);
    }
    let mut job: *mut Job = ptr::null_mut();
    for round in 0..9 {
        let seen = registers_across(resumes, ptr::from_mut(&mut job).cast(), 10 * round);
        assert_eq!(
            seen,
            [10 * round, 10 * round + 1, 10 * round + 2, 10 * round + 3]
        );
    }
    assert!(job.is_null(), "it has finished");
}
