//! Jobs through the C ABI beside OpenSSL's own, in the same run; both are called through
//! function pointers.

use std::ffi::{CStr, c_int, c_void};
use std::hint::black_box;
use std::ptr;

use criterion::{Criterion, criterion_group, criterion_main};
use spinlane::openssl::abi;

type JobFn = unsafe extern "C" fn(*mut c_void) -> c_int;
type PauseJob = unsafe extern "C" fn() -> c_int;
type StartJob = unsafe extern "C" fn(
    *mut *mut c_void,
    *mut c_void,
    *mut c_int,
    JobFn,
    *mut c_void,
    usize,
) -> c_int;

const PAUSE: c_int = 2;
const FINISH: c_int = 3;

/// One implementation of the functions that a pause and a resume need.
#[derive(Clone, Copy)]
struct Api {
    name: &'static str,
    start_job: StartJob,
    pause_job: PauseJob,
    wait_ctx_new: extern "C" fn() -> *mut c_void,
    wait_ctx_free: unsafe extern "C" fn(*mut c_void),
}

impl Api {
    fn spinlane() -> Self {
        // SAFETY: the same C prototypes, with opaque types spelled as void.
        unsafe {
            Self {
                name: "spinlane",
                start_job: std::mem::transmute::<*const (), StartJob>(
                    abi::ASYNC_start_job as *const (),
                ),
                pause_job: abi::ASYNC_pause_job,
                wait_ctx_new: std::mem::transmute::<*const (), extern "C" fn() -> *mut c_void>(
                    abi::ASYNC_WAIT_CTX_new as *const (),
                ),
                wait_ctx_free: std::mem::transmute::<*const (), unsafe extern "C" fn(*mut c_void)>(
                    abi::ASYNC_WAIT_CTX_free as *const (),
                ),
            }
        }
    }

    /// OpenSSL's own, from a second libcrypto in a link namespace of its own, where its
    /// references to `ASYNC_*` bind to itself.
    fn openssl() -> Self {
        let library = second_libcrypto();
        // SAFETY: the symbols have the prototypes of <openssl/async.h>.
        unsafe {
            Self {
                name: "openssl",
                start_job: std::mem::transmute::<*mut c_void, StartJob>(symbol(
                    library,
                    c"ASYNC_start_job",
                )),
                pause_job: std::mem::transmute::<*mut c_void, PauseJob>(symbol(
                    library,
                    c"ASYNC_pause_job",
                )),
                wait_ctx_new: std::mem::transmute::<*mut c_void, extern "C" fn() -> *mut c_void>(
                    symbol(library, c"ASYNC_WAIT_CTX_new"),
                ),
                wait_ctx_free: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(
                    symbol(library, c"ASYNC_WAIT_CTX_free"),
                ),
            }
        }
    }
}

fn second_libcrypto() -> *mut c_void {
    // SAFETY: a terminated name; the library stays loaded.
    let library = unsafe {
        libc::dlmopen(
            libc::LM_ID_NEWLM,
            c"libcrypto.so.3".as_ptr(),
            libc::RTLD_NOW,
        )
    };
    assert!(
        !library.is_null(),
        "libcrypto.so.3 cannot be loaded a second time"
    );
    library
}

fn symbol(library: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: an open library and a terminated name.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    assert!(!address.is_null(), "{name:?} is not in libcrypto");
    address
}

/// The job of the resume bench: pauses for ever. Its argument is the `ASYNC_pause_job` to call.
unsafe extern "C" fn pauses(pause_job: *mut c_void) -> c_int {
    // SAFETY: the benches pass a pointer to the function pointer.
    let pause_job = unsafe { pause_job.cast::<PauseJob>().read() };
    loop {
        // SAFETY: takes no arguments.
        unsafe { pause_job() };
    }
}

/// The job of the whole-life bench: pauses once.
unsafe extern "C" fn pauses_once(pause_job: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { pause_job.cast::<PauseJob>().read()() }
}

/// Inlined, so that the caller's own returns are no part of what is measured.
#[inline(always)]
fn step(api: Api, job: &mut *mut c_void, ctx: *mut c_void, func: JobFn) -> c_int {
    let (mut ret, mut pause) = (0, api.pause_job);
    let args = ptr::from_mut(&mut pause).cast();
    // SAFETY: live pointers; the arguments are copied.
    unsafe { (api.start_job)(job, ctx, &mut ret, func, args, size_of_val(&pause)) }
}

fn benches(c: &mut Criterion) {
    spinlane_benches::pin();
    let apis = [Api::spinlane(), Api::openssl()].map(black_box);
    let mut group = c.benchmark_group("job/resume+pause");
    for api in apis {
        let ctx = (api.wait_ctx_new)();
        let mut job = ptr::null_mut();
        assert_eq!(step(api, &mut job, ctx, pauses), PAUSE);
        group.bench_function(api.name, |b| b.iter(|| step(api, &mut job, ctx, pauses)));
        // The job stays paused: neither library can end it from outside.
    }
    group.finish();
    let mut group = c.benchmark_group("job/start+pause+resume+finish");
    for api in apis {
        let ctx = (api.wait_ctx_new)();
        group.bench_function(api.name, |b| {
            b.iter(|| {
                let mut job = ptr::null_mut();
                assert_eq!(step(api, &mut job, ctx, pauses_once), PAUSE);
                assert_eq!(step(api, &mut job, ctx, pauses_once), FINISH);
            });
        });
        // SAFETY: no job runs under it.
        unsafe { (api.wait_ctx_free)(ctx) };
    }
    group.finish();
}

criterion_group!(job, benches);
criterion_main!(job);
