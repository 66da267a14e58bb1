//! EAL and the process: initialisation, threads, hotplug, memory.

use std::cell::OnceCell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dpdk_sys as sys;

use super::errno;

/// EAL has been initialised and not been cleaned up; held by everything that calls DPDK, so that its
/// count says when nobody does.
#[derive(Clone, Debug)]
pub struct Running(Arc<()>);

impl Running {
    /// Initialises EAL with `args`, the program's name first. The caller becomes its main lcore.
    ///
    /// # Errors
    /// `rte_errno`.
    pub(crate) fn init(args: Vec<CString>) -> Result<Self, c_int> {
        // EAL keeps pointers into its arguments, and it is initialised once per process.
        let args: Vec<*mut c_char> = args.into_iter().map(CString::into_raw).collect();
        let argv = Box::leak(args.into_boxed_slice());
        let argc = argv.len() as c_int;
        // SAFETY: `argv` holds `argc` strings that live for ever and nobody else looks at; EAL may
        // reorder and write to them.
        match unsafe { sys::rte_eal_init(argc, argv.as_mut_ptr()) } {
            0.. => Ok(Self(Arc::new(()))),
            _ => Err(errno()),
        }
    }

    /// EAL as the application initialised it; `None` if it did not.
    pub(crate) fn find() -> Option<Self> {
        // SAFETY: reads a number that is 0 until EAL has found its cores.
        let lcores = unsafe { sys::rte_lcore_count() };
        (lcores > 0).then(|| Self(Arc::new(())))
    }

    /// Gives all of EAL's memory back, as the last act; gives itself back if others hold it.
    ///
    /// # Errors
    /// A negative errno, or 0 if it was given back.
    pub(crate) fn clean_up(self) -> Result<(), (c_int, Option<Self>)> {
        if Arc::strong_count(&self.0) > 1 {
            return Err((0, Some(self)));
        }
        // SAFETY: nobody else holds the proof that EAL runs, so nobody uses DPDK any more.
        match unsafe { sys::rte_eal_cleanup() } {
            0 => Ok(()),
            error => Err((error, None)),
        }
    }

    /// Makes the calling thread an lcore, so that DPDK's per-lcore caches serve it; it stops being
    /// one when it ends.
    ///
    /// # Errors
    /// `rte_errno`: there are RTE_MAX_LCORE of them already, say.
    pub fn register_thread(&self) -> Result<(), c_int> {
        let register = |registration: &OnceCell<_>| {
            if registration.get().is_some() {
                return Ok(());
            }
            let made = Registration::new()?;
            let _ = registration.set(made);
            Ok(())
        };
        // A thread that ends does without the caches.
        REGISTRATION.try_with(register).unwrap_or(Ok(()))
    }

    /// Plugs in the virtual device `name`, whose front is the name of its driver.
    ///
    /// # Errors
    /// A negative errno.
    pub fn plug(&self, bus: &CStr, name: &CStr, args: &CStr) -> Result<(), c_int> {
        let _turn = plugging();
        // SAFETY: three strings that end with a zero and are copied.
        match unsafe { sys::rte_eal_hotplug_add(bus.as_ptr(), name.as_ptr(), args.as_ptr()) } {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// Takes a device away that [`Running::plug`] brought and that is closed.
    ///
    /// # Errors
    /// A negative errno.
    pub fn unplug(&self, bus: &CStr, name: &CStr) -> Result<(), c_int> {
        let _turn = plugging();
        // SAFETY: two strings that end with a zero and are not kept.
        match unsafe { sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr()) } {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// DPDK's heap on `socket`; `None` if there is none.
    pub fn heap(&self, socket: c_int) -> Option<HeapStats> {
        let mut stats = sys::rte_malloc_socket_stats::default();
        // SAFETY: `stats` is ours to write.
        let found = unsafe { sys::rte_malloc_get_socket_stats(socket, &mut stats) };
        (found == 0).then_some(HeapStats {
            allocations: stats.alloc_count,
            allocated: stats.heap_allocsz_bytes,
            total: stats.heap_totalsz_bytes,
        })
    }

    /// NUMA node of the calling thread, the first where there is no telling.
    pub fn socket(&self) -> c_int {
        // SAFETY: reads a thread-local number.
        let socket = unsafe { sys::rte_socket_id() };
        c_int::try_from(socket).unwrap_or(0)
    }

    /// Zeroed memory of DPDK's heap; null if there is none left.
    pub fn allocate(&self, len: usize) -> *mut u8 {
        // SAFETY: no name, any length, the alignment of a cache line.
        unsafe { sys::rte_zmalloc(ptr::null(), len, 64) }.cast()
    }
}

/// One thread at a time plugs devices in or out: DPDK's lists of them have no lock.
fn plugging() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is taken of DPDK's heap on one NUMA node (rte_malloc_get_socket_stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapStats {
    /// Pieces handed out.
    pub allocations: c_uint,
    /// Bytes of them, with what the heap adds to each.
    pub allocated: usize,
    /// Bytes of the heap.
    pub total: usize,
}

thread_local! {
    static REGISTRATION: OnceCell<Registration> = const { OnceCell::new() };
}

/// That this thread is an lcore because of us.
struct Registration {
    /// Whether it was not one already.
    ours: bool,
}

impl Registration {
    fn new() -> Result<Self, c_int> {
        // SAFETY: reads a thread-local number.
        if unsafe { sys::shim_lcore_id() } != sys::LCORE_ID_ANY {
            return Ok(Self { ours: false });
        }
        // SAFETY: EAL runs (only `Running` calls this), and the thread is no lcore yet.
        match unsafe { sys::rte_thread_register() } {
            0 => Ok(Self { ours: true }),
            _ => Err(errno()),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: this thread registered itself, and ends. EAL's table of lcores is static: it is
            // there after a clean-up too.
            unsafe { sys::rte_thread_unregister() }
        }
    }
}

/// The cores that the calling thread may run on.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: a set of bits, of which all zeros is one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is ours to write, and as long as said; 0 is the calling thread.
    let got = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    // SAFETY: below the number of bits.
    let has = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
    let mut cores: Vec<usize> = (0..libc::CPU_SETSIZE as usize).filter(has).collect();
    if got != 0 || cores.is_empty() {
        cores = vec![0];
    }
    cores
}
