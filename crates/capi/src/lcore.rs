//! Lcores: one per thread, polled by it.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use spinlane::crypto::random;
use spinlane::cryptodev::QueuePairConfig;
use spinlane::job::{Job, thread_name};
use spinlane::lcore::{Conn, Entered, Lcore};
use spinlane::openssl::{abi, raw};

use crate::device::OpenDevice;
use crate::error::{Failure, check, failure, guard, null};
use crate::on_demand;
use crate::settings::LcoreSettings;
use crate::start;
use crate::stats::{Stats, write_sized};

/// How long a free waits for ops in flight.
const DRAIN: Duration = Duration::from_secs(1);

/// Sizes of a job's stack: from what libssl's handshake touches, to what nobody means.
/// A handshake takes up to 33 KiB, which is what aws-lc's ML-KEM needs under rustls; libssl's takes 8. The
/// rest is for a signal's frame (up to 11 KiB with AVX-512 and AMX) and the application's callbacks.
const STACK_SIZES: std::ops::RangeInclusive<usize> = 48 << 10..=1 << 30;

/// `spinlane_lcore`: an lcore and its being the thread's current one.
pub struct ThreadLcore {
    thread: usize,
    pub(crate) lcore: Lcore,
    settings: LcoreSettings,
    _entered: Entered,
}

impl ThreadLcore {
    /// Makes an lcore and enters it.
    pub(crate) fn new(settings: LcoreSettings) -> Self {
        let lcore = Lcore::new(settings.config());
        Self {
            thread: thread_name(),
            _entered: lcore.enter(),
            lcore,
            settings,
        }
    }
}

/// The lcore behind `lcore`, if this thread and process may use it.
///
/// # Safety
/// `lcore` is NULL or from `spinlane_lcore_create` or `spinlane_lcore_current`, and not freed.
pub(crate) unsafe fn of<'a>(lcore: *const ThreadLcore) -> Result<&'a Lcore, Failure> {
    // SAFETY: by the caller's promise. Another thread reads what never changes.
    let Some(entry) = (unsafe { lcore.as_ref() }) else {
        return Err(null("lcore"));
    };
    if entry.thread != thread_name() {
        return Err(failure(
            "the lcore is another thread's; use it on the thread that created it",
        ));
    }
    if entry.lcore.is_of_parent() {
        return Err(failure(
            "the lcore was created before this process was forked; fork first, then create one in each process",
        ));
    }
    Ok(&entry.lcore)
}

/// Makes an lcore for the calling thread, without devices.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_lcore_create() -> *mut ThreadLcore {
    guard(ptr::null_mut(), || create(LcoreSettings::default()))
}

/// The same with settings of its own.
///
/// # Safety
/// `settings` is NULL or valid for reading its `size` and as much as that says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_lcore_create_with(
    settings: *const LcoreSettings,
) -> *mut ThreadLcore {
    guard(ptr::null_mut(), || {
        // SAFETY: by the contract.
        let settings = unsafe { LcoreSettings::read(settings) }?;
        create(settings)
    })
}

fn create(settings: LcoreSettings) -> Result<*mut ThreadLcore, Failure> {
    start();
    // What is left of a parent's is of no use here.
    if Lcore::current().is_some_and(|lcore| !lcore.is_of_parent()) {
        return Err(failure(
            "this thread has an lcore; take that (spinlane_lcore_current), or free it first",
        ));
    }
    // A process that was forked gathers entropy of its own, for milliseconds: now, not in a handshake.
    random::warm_up();
    Ok(Box::into_raw(Box::new(ThreadLcore::new(settings))))
}

/// The lcore that the calling thread got on demand, or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_lcore_current() -> *mut ThreadLcore {
    guard(ptr::null_mut(), || Ok(on_demand::current()))
}

/// Frees an lcore, after polling until nothing is in flight.
///
/// # Safety
/// `lcore` is NULL or from `spinlane_lcore_create`, and used no more if this returns 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_lcore_free(lcore: *mut ThreadLcore) -> c_int {
    check(|| {
        if lcore.is_null() {
            return Ok(());
        }
        if lcore == on_demand::made_for_thread() {
            return Err(failure(
                "the lcore was made on demand; it goes with its thread",
            ));
        }
        // SAFETY: by the contract. A parent's can be freed, as memory.
        let entry = unsafe { &*lcore };
        if !entry.lcore.is_of_parent() {
            // SAFETY: by the contract.
            unsafe { of(lcore) }?;
        }
        entry.lcore.can_poll().map_err(|_| {
            failure(
                "the lcore is freed from within a callback or a job; let that return, and free it then",
            )
        })?;
        if !entry.lcore.is_of_parent() {
            drain(&entry.lcore)?;
        }
        // SAFETY: from `spinlane_lcore_create`, on its thread, freed once.
        drop(unsafe { Box::from_raw(lcore) });
        Ok(())
    })
}

fn drain(lcore: &Lcore) -> Result<(), Failure> {
    let start = Instant::now();
    while lcore.in_flight() != 0 {
        lcore.poll()?;
        if start.elapsed() > DRAIN {
            return Err(failure(format!(
                "{} ops are still in flight after {DRAIN:?}; see which device stalls (spinlane_lcore_stats)",
                lcore.in_flight()
            )));
        }
    }
    Ok(())
}

/// What a queue pair is opened by.
///
/// # Safety
/// Both are NULL, or live for `'a`.
unsafe fn opening<'a>(
    lcore: *mut ThreadLcore,
    device: *mut OpenDevice,
    nb_desc: c_uint,
) -> Result<(&'a Lcore, LcoreSettings, &'a OpenDevice, QueuePairConfig), Failure> {
    // SAFETY: by the caller's promise; what `of` has found to be there is.
    let (lcore, settings) = unsafe { (of(lcore)?, (*lcore).settings) };
    // SAFETY: by the caller's promise.
    let device = unsafe { device.as_ref() }.ok_or_else(|| null("device"))?;
    let mut config = QueuePairConfig::default();
    if nb_desc != 0 {
        config.capacity = nb_desc as usize;
    }
    Ok((lcore, settings, device, config))
}

/// Opens a queue pair of `device` with room for `nb_desc` ops (0 = 256) on `lcore`.
///
/// # Safety
/// Both are NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_lcore_add_device(
    lcore: *mut ThreadLcore,
    device: *mut OpenDevice,
    nb_desc: c_uint,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let (lcore, settings, device, config) = unsafe { opening(lcore, device, nb_desc) }?;
        let queue_pair = spinlane::job::on_thread_stack(|| device.0.queue_pair(config))?;
        let health = settings.health(queue_pair.health());
        lcore.add_queue_pair_with(queue_pair, health);
        Ok(())
    })
}

/// Opens a queue pair for records on `device`.
///
/// # Safety
/// As for [`spinlane_lcore_add_device`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_lcore_add_record_device(
    lcore: *mut ThreadLcore,
    device: *mut OpenDevice,
    nb_desc: c_uint,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let (lcore, settings, device, config) = unsafe { opening(lcore, device, nb_desc) }?;
        let queue_pair = spinlane::job::on_thread_stack(|| device.0.record_queue_pair(config))?;
        let health = settings.health(queue_pair.health());
        lcore.add_record_queue_pair_with(queue_pair, health);
        Ok(())
    })
}

/// One iteration; how many ops completed and connections were granted a retry, or -1.
///
/// # Safety
/// `lcore` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_poll(lcore: *mut ThreadLcore) -> c_int {
    guard(-1, || {
        // SAFETY: by the contract.
        // A handle of its own: the one behind `lcore` may go with a thread or a child process.
        let lcore = unsafe { of(lcore) }?.clone();
        let polled = lcore.poll()?;
        Ok(c_int::try_from(polled.completed + polled.retried).unwrap_or(c_int::MAX))
    })
}

/// Says that the application did something that may yet lead to ops.
///
/// # Safety
/// `lcore` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_note_work(lcore: *mut ThreadLcore) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        unsafe { of(lcore) }?.note_work();
        Ok(())
    })
}

/// The next connection that can go on, into `*conn`: 1, or 0 when there is none until the
/// next poll.
///
/// # Safety
/// `lcore` is NULL or live; `conn` is NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_next_ready(
    lcore: *mut ThreadLcore,
    conn: *mut *mut c_void,
) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let (lcore, conn) = unsafe { (of(lcore)?, conn.as_mut()) };
        let conn = conn.ok_or_else(|| null("conn"))?;
        Ok(match lcore.next_ready() {
            Some(next) => {
                *conn = pointer(next);
                1
            }
            None => 0,
        })
    })
}

/// Puts `conn` into the ready queue.
///
/// # Safety
/// `lcore` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_make_ready(lcore: *mut ThreadLcore, conn: *mut c_void) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        unsafe { of(lcore) }?.make_ready(named(conn));
        Ok(())
    })
}

/// Puts `conn`, whose call on `ssl` was refused, into the retry queue.
///
/// # Safety
/// `lcore` and `ssl` are NULL or live; `ssl` is of this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_retry(
    lcore: *mut ThreadLcore,
    ssl: *mut c_void,
    conn: *mut c_void,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let lcore = unsafe { of(lcore) }?;
        if ssl.is_null() {
            return Err(null("ssl"));
        }
        // SAFETY: live and of this thread, by the contract.
        let job = unsafe { raw::job_of(ssl.cast()) };
        retry(lcore, job, "ssl is in no call", conn)
    })
}

/// The same for a job that was started by `ASYNC_start_job` under `ctx`.
///
/// # Safety
/// `lcore` and `ctx` are NULL or live; `ctx` is of this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_retry_job(
    lcore: *mut ThreadLcore,
    ctx: *mut c_void,
    conn: *mut c_void,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let lcore = unsafe { of(lcore) }?;
        if ctx.is_null() {
            return Err(null("ctx"));
        }
        // SAFETY: live and of this thread, by the contract.
        let job = unsafe { abi::job_of(ctx.cast()) };
        retry(lcore, job, "no job is paused under ctx", conn)
    })
}

fn retry(
    lcore: &Lcore,
    job: Option<Rc<Job>>,
    otherwise: &str,
    conn: *mut c_void,
) -> Result<(), Failure> {
    let job = job.ok_or_else(|| failure(format!("{otherwise}: nothing was refused")))?;
    lcore.retry(named(conn), &job);
    Ok(())
}

/// Takes `conn` out of the ready queue and the retry queues.
///
/// # Safety
/// `lcore` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_forget(lcore: *mut ThreadLcore, conn: *mut c_void) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        unsafe { of(lcore) }?.forget(named(conn));
        Ok(())
    })
}

/// Ops with the devices now, or -1.
///
/// # Safety
/// `lcore` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_in_flight(lcore: *const ThreadLcore) -> c_int {
    // SAFETY: by the contract.
    guard(-1, || Ok(count(unsafe { of(lcore) }?.in_flight())))
}

/// Connections that can go on now, or -1.
///
/// # Safety
/// `lcore` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_ready(lcore: *const ThreadLcore) -> c_int {
    // SAFETY: by the contract.
    guard(-1, || Ok(count(unsafe { of(lcore) }?.ready())))
}

/// Fills `*stats`, whose `size` says how much of it the caller knows.
///
/// # Safety
/// `lcore` is NULL or live; `stats` is NULL or valid for reading its `size` and writing as much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_lcore_stats(
    lcore: *const ThreadLcore,
    stats: *mut Stats,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let lcore = unsafe { of(lcore) }?;
        // SAFETY: by the contract.
        unsafe { write_sized(Stats::of(&lcore.stats()), stats, "spinlane_stats") }
    })
}

fn count(count: usize) -> c_int {
    c_int::try_from(count).unwrap_or(c_int::MAX)
}

/// A C program's connection as an lcore knows it.
pub(crate) fn named(conn: *mut c_void) -> Conn {
    Conn(conn.expose_provenance() as u64)
}

fn pointer(conn: Conn) -> *mut c_void {
    ptr::with_exposed_provenance_mut(conn.0 as usize)
}

/// Sets the stack size, in bytes, of the calling thread's jobs.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_set_stack_size(bytes: usize) -> c_int {
    check(|| {
        if !STACK_SIZES.contains(&bytes) {
            return Err(failure(format!(
                "a stack of {bytes} bytes; give {} to {}: handshakes take up to 33 KiB, signals and your \
                 callbacks come on top",
                STACK_SIZES.start(),
                STACK_SIZES.end(),
            )));
        }
        if !spinlane::job::set_stack_size(bytes) {
            return Err(failure(
                "a job of this thread runs or is paused; set the size before the first one starts",
            ));
        }
        Ok(())
    })
}
