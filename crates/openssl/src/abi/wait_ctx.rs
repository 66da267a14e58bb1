//! Wait contexts: ASYNC_WAIT_CTX_new(3) and its relatives.
//!
//! An `ASYNC_WAIT_CTX *` is one reference of an `Rc<WaitCtx>`; an op in flight holds another,
//! so that it finds a freed context rather than freed memory. The thread holds those that it freed
//! last ([`KEPT`]), so that a second free of one is an error rather than a crash.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::mem::{self, ManuallyDrop};
use std::ptr;
use std::rc::Rc;

use spinlane_job::{CleanupFn, Foreign, Job, Status, WaitCtx};

use super::raise;
use crate::ffi;

/// `ASYNC_callback_fn`. Runs on the poll core's stack, so it must be small and must not block.
pub type CallbackFn = extern "C" fn(*mut c_void) -> c_int;

/// Contexts whose second free is noticed: as many as the thread freed last.
const KEPT: usize = 32;

thread_local! {
    static FREED: RefCell<[Option<Rc<WaitCtx>>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
    static NEXT: Cell<usize> = const { Cell::new(0) };
    /// While somebody wants to know: the context whose status was asked for last, or null.
    static ASKED: Cell<Option<*mut WaitCtx>> = const { Cell::new(None) };
}

/// No submission told its status yet, or the engine does not support callbacks.
pub const ASYNC_STATUS_UNSUPPORTED: c_int = Status::UNSUPPORTED.0;
/// The request failed.
pub const ASYNC_STATUS_ERR: c_int = Status::ERR.0;
/// The request was submitted.
pub const ASYNC_STATUS_OK: c_int = Status::OK.0;
/// The queue was full; resume the job to try again.
pub const ASYNC_STATUS_EAGAIN: c_int = Status::EAGAIN.0;

/// ASYNC_WAIT_CTX_new(3): a new context, to be freed with [`ASYNC_WAIT_CTX_free`].
#[unsafe(no_mangle)]
pub extern "C" fn ASYNC_WAIT_CTX_new() -> *mut WaitCtx {
    Rc::into_raw(WaitCtx::new()).cast_mut()
}

/// ASYNC_WAIT_CTX_free(3): runs the cleanup routines and frees the context. A job still paused
/// under it is abandoned: its stack goes back to the pool, its op in flight becomes nobody's. If
/// the job is another thread's, that does so when it starts its next job, or ends; no callback is
/// made from here on. A context that was freed already and is among the last few is an entry in the
/// error queue.
///
/// # Safety
/// `ctx` is NULL or a context not yet freed. If a job is paused under it, nothing points into that
/// job's stack but what is being freed with it; if that is another thread's job, it makes no
/// callback under `ctx` just now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_free(ctx: *mut WaitCtx) {
    if ctx.is_null() {
        return;
    }
    if was_freed(ctx) {
        raise(
            c"ASYNC_WAIT_CTX_free",
            ffi::ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED,
        );
        return;
    }
    // SAFETY: from `Rc::into_raw` in `ASYNC_WAIT_CTX_new`; this takes that reference back.
    let ctx = unsafe { Rc::from_raw(ctx) };
    if ctx.is_elsewhere() {
        tracing::warn!(
            "wait context freed on another thread than that of the job paused under it, which ends the job \
             when it starts its next; free a connection on the thread that uses it"
        );
        // SAFETY: C's reference is the only one but the job's own, which is that thread's. The rest
        // is the contract.
        unsafe { ctx.free_elsewhere() };
        return;
    }
    if let Some(job) = ctx.free() {
        tracing::debug!("wait context freed under a paused job; the job is abandoned");
        // SAFETY: by the contract; Spinlane's own frames in a paused job own nothing.
        unsafe { job.abandon() };
    }
    keep(ctx);
}

/// Returns `true` if `ctx` is among those that this thread freed last. Looks at addresses only.
fn was_freed(ctx: *const WaitCtx) -> bool {
    let is_it = |freed: &RefCell<[Option<Rc<WaitCtx>>; KEPT]>| {
        let freed = freed.borrow();
        freed.iter().flatten().any(|kept| Rc::as_ptr(kept) == ctx)
    };
    FREED.try_with(is_it).unwrap_or(false)
}

/// Holds a freed context in place of the one that was freed [`KEPT`] frees ago.
fn keep(ctx: Rc<WaitCtx>) {
    let next = NEXT.get();
    NEXT.set((next + 1) % KEPT);
    // At thread exit, when the list is gone, it is simply freed.
    let _oldest = FREED.try_with(|freed| freed.borrow_mut()[next].replace(ctx));
}

/// ASYNC_WAIT_CTX_set_wait_fd(3): associates `fd` and `custom_data` with `key`. Returns 1.
///
/// # Safety
/// `ctx` is NULL or a context not freed; `cleanup` may be called with these values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_set_wait_fd(
    ctx: *mut WaitCtx,
    key: *const c_void,
    fd: c_int,
    custom_data: *mut c_void,
    cleanup: Option<CleanupFn>,
) -> c_int {
    // SAFETY: by the contract.
    unsafe { with_own(ctx, |ctx| ctx.set_wait_fd(key, fd, custom_data, cleanup)) }
}

/// ASYNC_WAIT_CTX_get_fd(3): the descriptor and custom data of `key`. Returns 1, or 0 if there
/// is none.
///
/// # Safety
/// `ctx` is NULL or a context not freed; the others are NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_get_fd(
    ctx: *mut WaitCtx,
    key: *const c_void,
    fd: *mut c_int,
    custom_data: *mut *mut c_void,
) -> c_int {
    let mut found = None;
    // SAFETY: by the contract.
    if unsafe { with(ctx, |ctx| found = ctx.fd(key)) } == 0 {
        return 0;
    }
    let Some((its_fd, its_data)) = found else {
        return 0;
    };
    // SAFETY: NULL or valid for writing, by the contract.
    if let Some(fd) = unsafe { fd.as_mut() } {
        *fd = its_fd;
    }
    // SAFETY: NULL or valid for writing, by the contract.
    if let Some(custom_data) = unsafe { custom_data.as_mut() } {
        *custom_data = its_data;
    }
    1
}

/// ASYNC_WAIT_CTX_get_all_fds(3): how many descriptors there are, and, unless `fd` is NULL,
/// which. Returns 1.
///
/// # Safety
/// `ctx` is NULL or a context not freed; `fd` is NULL or has room for all; `numfds` is NULL or
/// valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_get_all_fds(
    ctx: *mut WaitCtx,
    fd: *mut c_int,
    numfds: *mut usize,
) -> c_int {
    let mut list = List::new(fd);
    // SAFETY: `ctx` by the contract.
    let done = unsafe { with(ctx, |ctx| ctx.for_each_fd(|fd| list.push(fd))) };
    // SAFETY: room for all and a place for the count, by the contract.
    done & unsafe { list.end(numfds) }
}

/// ASYNC_WAIT_CTX_get_changed_fds(3): how many descriptors were added and deleted since the job
/// last paused, and, unless `addfd` or `delfd` is NULL, which. Returns 1.
///
/// # Safety
/// `ctx` is NULL or a context not freed; the lists are NULL or have room for all; the counts
/// are NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_get_changed_fds(
    ctx: *mut WaitCtx,
    addfd: *mut c_int,
    numaddfds: *mut usize,
    delfd: *mut c_int,
    numdelfds: *mut usize,
) -> c_int {
    let mut added = List::new(addfd);
    let mut deleted = List::new(delfd);
    let visit = |ctx: &WaitCtx| {
        ctx.for_each_added_fd(|fd| added.push(fd));
        ctx.for_each_deleted_fd(|fd| deleted.push(fd));
    };
    // SAFETY: `ctx` by the contract.
    let done = unsafe { with(ctx, visit) };
    // SAFETY: room for all and places for the counts, by the contract.
    done & unsafe { added.end(numaddfds) & deleted.end(numdelfds) }
}

/// ASYNC_WAIT_CTX_clear_fd(3): ends the association of `key`, without its cleanup routine.
/// Returns 1, or 0 if there is none.
///
/// # Safety
/// `ctx` is NULL or a context not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_clear_fd(ctx: *mut WaitCtx, key: *const c_void) -> c_int {
    let mut cleared = false;
    // SAFETY: by the contract.
    let done = unsafe { with_own(ctx, |ctx| cleared = ctx.clear_fd(key)) };
    done & c_int::from(cleared)
}

/// ASYNC_WAIT_CTX_set_callback(3): what to call when an op under this context is done; a NULL
/// `callback` takes it away. Returns 1.
///
/// # Safety
/// `ctx` is NULL or a context not freed; `callback` may be called with `callback_arg` until then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_set_callback(
    ctx: *mut WaitCtx,
    callback: Option<CallbackFn>,
    callback_arg: *mut c_void,
) -> c_int {
    let foreign =
        |function| Foreign::new(call_back, function as *const (), callback_arg.cast()).into();
    // SAFETY: by the contract.
    unsafe { with_own(ctx, |ctx| ctx.set_notify(callback.map(foreign))) }
}

/// Makes a callback that [`ASYNC_WAIT_CTX_set_callback`] has set, with its argument.
fn call_back(function: *const (), argument: *mut ()) {
    // SAFETY: handed to a `Foreign` alone, together with a `CallbackFn`, which is what that passes.
    let function = unsafe { mem::transmute::<*const (), CallbackFn>(function) };
    // What it returns is for nobody (ASYNC_WAIT_CTX_new(3) gives it no meaning).
    let _ = function(argument.cast());
}

/// ASYNC_WAIT_CTX_get_callback(3): the callback and its argument. Returns 1,
/// or 0 if no callback is set.
///
/// # Safety
/// `ctx` is NULL or a context not freed; the others are NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_get_callback(
    ctx: *mut WaitCtx,
    callback: *mut Option<CallbackFn>,
    callback_arg: *mut *mut c_void,
) -> c_int {
    let mut found = None;
    // SAFETY: by the contract.
    if unsafe { with(ctx, |ctx| found = ctx.foreign()) } == 0 {
        return 0;
    }
    let Some(foreign) = found else {
        return 0;
    };
    // SAFETY: the only language that sets one on a context of C's is C, by
    // `ASYNC_WAIT_CTX_set_callback`.
    let function = unsafe { mem::transmute::<*const (), CallbackFn>(foreign.function()) };
    // SAFETY: NULL or valid for writing, by the contract.
    if let Some(callback) = unsafe { callback.as_mut() } {
        *callback = Some(function);
    }
    // SAFETY: NULL or valid for writing, by the contract.
    if let Some(callback_arg) = unsafe { callback_arg.as_mut() } {
        *callback_arg = foreign.argument().cast();
    }
    1
}

/// ASYNC_WAIT_CTX_set_status(3): stores the status of the last submission. Returns 1.
///
/// # Safety
/// `ctx` is NULL or a context not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_set_status(ctx: *mut WaitCtx, status: c_int) -> c_int {
    // SAFETY: by the contract.
    unsafe { with(ctx, |ctx| ctx.set_status(Status(status))) }
}

/// ASYNC_WAIT_CTX_get_status(3): the status of the last submission.
///
/// # Safety
/// `ctx` is NULL or a context not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASYNC_WAIT_CTX_get_status(ctx: *mut WaitCtx) -> c_int {
    if ASKED.get().is_some() {
        ASKED.set(Some(ctx));
    }
    let mut status = Status::UNSUPPORTED;
    // SAFETY: by the contract.
    unsafe { with(ctx, |ctx| status = ctx.status()) };
    status.0
}

/// Returns the context whose status `ask` asks for by [`ASYNC_WAIT_CTX_get_status`], or null. For
/// whoever keeps a context to itself, as libssl does.
pub(crate) fn context_asked_for(ask: impl FnOnce()) -> *mut WaitCtx {
    ASKED.set(Some(ptr::null_mut()));
    ask();
    ASKED.take().unwrap_or(ptr::null_mut())
}

/// Returns the job of this thread under `ctx`, if there is one.
///
/// # Safety
/// `ctx` is NULL or a context not freed.
pub unsafe fn job_of(ctx: *mut WaitCtx) -> Option<Rc<Job>> {
    if ctx.is_null() {
        return None;
    }
    let mut job = None;
    let find = |ctx: &WaitCtx| {
        if !ctx.is_elsewhere() {
            job = ctx.job();
        }
    };
    // SAFETY: by the contract.
    unsafe { with(ctx, find) };
    job
}

/// Runs `visit` with the context and returns 1; a NULL is an entry in the error queue and 0.
///
/// # Safety
/// `ctx` is NULL or a context not freed.
unsafe fn with(ctx: *mut WaitCtx, visit: impl FnOnce(&WaitCtx)) -> c_int {
    if ctx.is_null() {
        raise(c"ASYNC_WAIT_CTX", ffi::ERR_R_PASSED_NULL_PARAMETER);
        return 0;
    }
    // SAFETY: from `Rc::into_raw` and not freed; ManuallyDrop leaves that reference alone, and
    // keeps it across a `visit` that might free the context.
    let ctx = ManuallyDrop::new(unsafe { Rc::from_raw(ctx) });
    visit(&ctx);
    1
}

/// [`with`], for what a job's thread reads as it polls: on another thread, while the job is paused,
/// an entry in the error queue and 0.
///
/// # Safety
/// As for that.
unsafe fn with_own(ctx: *mut WaitCtx, visit: impl FnOnce(&WaitCtx)) -> c_int {
    let mut elsewhere = false;
    let checked = |ctx: &WaitCtx| {
        elsewhere = ctx.is_elsewhere();
        if !elsewhere {
            visit(ctx);
        }
    };
    // SAFETY: the same contract.
    let done = unsafe { with(ctx, checked) };
    if elsewhere {
        raise(c"ASYNC_WAIT_CTX", ffi::ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED);
        return 0;
    }
    done
}

/// A caller's array of descriptors, filled from the front; NULL = only count.
struct List {
    next: *mut c_int,
    count: usize,
}

impl List {
    fn new(next: *mut c_int) -> Self {
        Self { next, count: 0 }
    }

    fn push(&mut self, fd: c_int) {
        self.count += 1;
        if !self.next.is_null() {
            // SAFETY: the array has room for every descriptor, which is what those who make a
            // `List` of a caller's pointer require.
            unsafe {
                self.next.write(fd);
                self.next = self.next.add(1);
            }
        }
    }

    /// # Safety
    /// `count` is NULL or valid for writing.
    unsafe fn end(self, count: *mut usize) -> c_int {
        // SAFETY: by the contract.
        match unsafe { count.as_mut() } {
            Some(count) => {
                *count = self.count;
                1
            }
            None => {
                raise(c"ASYNC_WAIT_CTX", ffi::ERR_R_PASSED_NULL_PARAMETER);
                0
            }
        }
    }
}
