//! Jobs: ASYNC_start_job(3) and its relatives.

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr;
use std::rc::Rc;

use spinlane_job::{self as job, Job, Progress, WaitCtx};

use super::call::call;
use super::{libctx, raise};
use crate::ffi;

/// The job could not be started or resumed.
pub const ASYNC_ERR: c_int = 0;
/// The thread's jobs are all in use.
pub const ASYNC_NO_JOBS: c_int = 1;
/// The job paused; resume it later.
pub const ASYNC_PAUSE: c_int = 2;
/// The job's function returned.
pub const ASYNC_FINISH: c_int = 3;

/// A job's function.
pub type JobFn = unsafe extern "C" fn(*mut c_void) -> c_int;

/// `ASYNC_stack_alloc_fn`: allocates a stack; may raise the size it is given to what it really
/// allocated.
pub type StackAllocFn = unsafe extern "C" fn(*mut usize) -> *mut c_void;
/// `ASYNC_stack_free_fn`: frees a stack.
pub type StackFreeFn = unsafe extern "C" fn(*mut c_void);

/// ASYNC_init_thread(3): limits this thread's jobs to `max_size` (0 = no limit) and makes
/// `init_size` of them. Returns 1, or 0 if `init_size` is above `max_size`.
#[unsafe(no_mangle)]
pub extern "C" fn ASYNC_init_thread(max_size: usize, init_size: usize) -> c_int {
    match job::init_thread(max_size, init_size) {
        Ok(()) => 1,
        Err(_) => {
            raise(c"ASYNC_init_thread", ffi::ASYNC_R_INVALID_POOL_SIZE);
            0
        }
    }
}

/// ASYNC_cleanup_thread(3): frees this thread's idle jobs.
#[unsafe(no_mangle)]
pub extern "C" fn ASYNC_cleanup_thread() {
    job::cleanup_thread();
}

/// ASYNC_is_capable(3): 1, always.
#[unsafe(no_mangle)]
pub extern "C" fn ASYNC_is_capable() -> c_int {
    1
}

/// ASYNC_pause_job(3): gives control back to whoever started the current job. Returns 1 when
/// resumed, and at once outside a job or while pausing is blocked.
#[unsafe(no_mangle)]
pub extern "C" fn ASYNC_pause_job() -> c_int {
    job::pause();
    1
}

/// ASYNC_start_job(3): starts `func` with a copy of `size` bytes at `args` as a job under
/// `wait_ctx`, or, where `*job` is a paused job, resumes that.
///
/// Returns [`ASYNC_FINISH`] with the function's result in `*ret` and `*job` NULL, [`ASYNC_PAUSE`]
/// with the job in `*job`, [`ASYNC_NO_JOBS`], or [`ASYNC_ERR`] with an entry in the error queue: a
/// NULL, a job of another thread, a job that is not paused, a start from within a job.
///
/// # Safety
/// `job` and `ret` are NULL or valid for writing; `*job` is NULL or a job that this function
/// stored; `wait_ctx` is NULL or an `ASYNC_WAIT_CTX` not freed; `args` is NULL or valid for
/// `size` bytes; `func` may be called with a copy of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_start_job(
    job: *mut *mut Job,
    wait_ctx: *mut WaitCtx,
    ret: *mut c_int,
    func: Option<JobFn>,
    args: *mut c_void,
    size: usize,
) -> c_int {
    if job.is_null() || ret.is_null() {
        raise(c"ASYNC_start_job", ffi::ERR_R_PASSED_NULL_PARAMETER);
        return ASYNC_ERR;
    }
    // SAFETY: valid, by the contract; `*job` is NULL or a job of ours, and jobs live in their thread's pool.
    let progress = match unsafe { (*job).as_ref() } {
        Some(paused) => paused.resume().map_err(out_of_place),
        // SAFETY: the same contract.
        None => unsafe { begin(job, wait_ctx, func, args, size) },
    };
    match progress {
        Ok(Progress::Paused) => ASYNC_PAUSE,
        Ok(Progress::Finished(result)) => {
            // SAFETY: valid for writing, by the contract.
            unsafe {
                *ret = result;
                *job = ptr::null_mut();
            }
            ASYNC_FINISH
        }
        Ok(Progress::NoJobs) => ASYNC_NO_JOBS,
        Err(reason) => {
            raise(c"ASYNC_start_job", reason);
            ASYNC_ERR
        }
    }
}

fn out_of_place(_: job::ResumeError) -> c_int {
    ffi::ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED
}

/// The first start of a job; an error is a reason for the error queue. A function of its own, so that a restart
/// saves and spills less.
///
/// # Safety
/// As for [`ASYNC_start_job`], and `out` is not NULL.
#[inline(never)]
unsafe fn begin(
    out: *mut *mut Job,
    wait_ctx: *mut WaitCtx,
    func: Option<JobFn>,
    args: *mut c_void,
    size: usize,
) -> Result<Progress, c_int> {
    let func = func.ok_or(ffi::ERR_R_PASSED_NULL_PARAMETER)?;
    // SAFETY: `args` is NULL or valid for `size` bytes, by the contract.
    let args = unsafe { Args::copy(args, size) };
    let mut args = args.ok_or(ffi::ERR_R_MALLOC_FAILURE)?;
    // SAFETY: NULL or from `Rc::into_raw` and not freed; ManuallyDrop leaves that reference alone.
    let wait_ctx =
        (!wait_ctx.is_null()).then(|| ManuallyDrop::new(unsafe { Rc::from_raw(wait_ctx) }));
    libctx::keep_apart();
    // SAFETY: `func` may be called with a copy of its arguments, by the contract.
    let body = move || unsafe { call(func, args.as_mut_ptr()) };
    let (progress, paused) = job::start(wait_ctx.as_deref(), body).map_err(out_of_place)?;
    if let Some(paused) = paused {
        // The job keeps itself alive while it is paused.
        // SAFETY: valid for writing, by the contract.
        unsafe { *out = Rc::as_ptr(&paused).cast_mut() };
    }
    Ok(progress)
}

/// A copy of a job's arguments, which lives on the fiber's stack if it is as small as libssl's.
enum Args {
    Null,
    Small(Small),
    Large(Vec<Small>),
}

#[derive(Clone, Copy)]
#[repr(align(16))]
struct Small([u8; 64]);

impl Args {
    /// Copies the arguments. Returns `None` if there is no memory for them.
    ///
    /// # Safety
    /// `args` is NULL or valid for reading `size` bytes.
    unsafe fn copy(args: *const c_void, size: usize) -> Option<Self> {
        if args.is_null() {
            return Some(Self::Null);
        }
        let units = size.div_ceil(size_of::<Small>());
        let mut copy = match units {
            0 | 1 => Self::Small(Small([0; 64])),
            _ => {
                let mut copy = Vec::new();
                copy.try_reserve_exact(units).ok()?;
                copy.resize(units, Small([0; 64]));
                Self::Large(copy)
            }
        };
        // SAFETY: the source is valid for `size` bytes, the copy has at least as many.
        unsafe { ptr::copy_nonoverlapping(args.cast::<u8>(), copy.as_mut_ptr().cast(), size) };
        Some(copy)
    }

    fn as_mut_ptr(&mut self) -> *mut c_void {
        match self {
            Self::Null => ptr::null_mut(),
            Self::Small(small) => small.0.as_mut_ptr().cast(),
            Self::Large(units) => units.as_mut_ptr().cast(),
        }
    }
}

/// ASYNC_get_current_job(3): the job that runs on this thread, or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn ASYNC_get_current_job() -> *mut Job {
    job::current().map_or(ptr::null_mut(), |job| Rc::as_ptr(&job).cast_mut())
}

/// ASYNC_get_wait_ctx(3): the wait context of `job`, or NULL.
///
/// # Safety
/// `job` is NULL or a job not yet finished.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_get_wait_ctx(job: *mut Job) -> *mut WaitCtx {
    // SAFETY: NULL or a live job, by the contract.
    let wait_ctx = unsafe { job.as_ref() }.map(Job::wait_ctx_address);
    wait_ctx.map_or(ptr::null_mut(), <*const _>::cast_mut)
}

/// ASYNC_block_pause(3): pauses of the current job do nothing until unblocked. Nests.
#[unsafe(no_mangle)]
pub extern "C" fn ASYNC_block_pause() {
    job::block_pause();
}

/// ASYNC_unblock_pause(3): takes one block back.
#[unsafe(no_mangle)]
pub extern "C" fn ASYNC_unblock_pause() {
    job::unblock_pause();
}

/// ASYNC_set_mem_functions(3), of OpenSSL 3.2: makes all stacks of this process come from these
/// functions; a NULL leaves that one as it is. Returns 1, or 0 once a stack exists. Such stacks
/// have no guard page but the one that `alloc_fn` gives them.
///
/// # Safety
/// The functions do what their types say, on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_set_mem_functions(
    alloc_fn: Option<StackAllocFn>,
    free_fn: Option<StackFreeFn>,
) -> c_int {
    let mut functions = job::stack_functions();
    functions.alloc = alloc_fn.unwrap_or(functions.alloc);
    functions.free = free_fn.unwrap_or(functions.free);
    // SAFETY: by the contract.
    match unsafe { job::set_stack_functions(functions) } {
        Ok(()) => 1,
        Err(_) => {
            raise(
                c"ASYNC_set_mem_functions",
                ffi::ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED,
            );
            0
        }
    }
}

/// ASYNC_get_mem_functions(3), of OpenSSL 3.2: the functions that stacks come from.
///
/// # Safety
/// Both are NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_get_mem_functions(
    alloc_fn: *mut Option<StackAllocFn>,
    free_fn: *mut Option<StackFreeFn>,
) {
    let functions = job::stack_functions();
    // SAFETY: NULL or valid for writing, by the contract.
    if let Some(alloc_fn) = unsafe { alloc_fn.as_mut() } {
        *alloc_fn = Some(functions.alloc);
    }
    // SAFETY: as above.
    if let Some(free_fn) = unsafe { free_fn.as_mut() } {
        *free_fn = Some(functions.free);
    }
}
