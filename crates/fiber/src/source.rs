//! Where stacks come from: mapped with a guard, or by an application's own functions.

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// An application's own functions for stacks, as ASYNC_set_mem_functions(3) takes them.
#[derive(Clone, Copy, Debug)]
pub struct StackFunctions {
    /// Allocates at least as many bytes as its argument says, aligned to 16, and writes there how
    /// many. Returns NULL if there is no memory.
    pub alloc: unsafe extern "C" fn(*mut usize) -> *mut c_void,
    /// Frees what `alloc` gave.
    pub free: unsafe extern "C" fn(*mut c_void),
}

/// The process has stacks already, which would be freed by other functions than made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stacks exist already; set the stack functions before the first fiber is made")]
pub struct StacksExist;

static FUNCTIONS: RwLock<Option<StackFunctions>> = RwLock::new(None);
/// The process has made a stack.
static USED: AtomicBool = AtomicBool::new(false);

/// Makes all stacks of this process come from `functions`. A stack has a guard only if `alloc`
/// gives it one.
///
/// # Errors
/// [`StacksExist`] after the first stack was made.
///
/// # Safety
/// The functions do what [`StackFunctions`] says, on any thread.
pub unsafe fn set_stack_functions(functions: StackFunctions) -> Result<(), StacksExist> {
    let mut current = FUNCTIONS
        .write()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if USED.load(Ordering::Relaxed) {
        return Err(StacksExist);
    }
    *current = Some(functions);
    Ok(())
}

/// Returns the functions that were set; otherwise plain allocation without a guard, to build one's
/// own upon. (Where no functions are set, stacks are mapped with a guard.)
pub fn stack_functions() -> StackFunctions {
    own().unwrap_or(StackFunctions {
        alloc: plain_alloc,
        free: plain_free,
    })
}

fn own() -> Option<StackFunctions> {
    *FUNCTIONS
        .read()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Makes a stack of `usable` bytes by the application's functions. Returns `None` if no functions
/// are set.
pub(crate) fn alloc(usable: usize) -> Option<io::Result<NonNull<u8>>> {
    // Set under the lock that `own` takes next, so that whoever sets functions sees it or is seen.
    let guard = FUNCTIONS
        .read()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    USED.store(true, Ordering::Relaxed);
    let functions = (*guard)?;
    drop(guard);
    let mut size = usable;
    // SAFETY: a place for the size; the functions are as `set_stack_functions` demands.
    let bottom = NonNull::new(unsafe { (functions.alloc)(&raw mut size) }.cast::<u8>());
    let Some(bottom) = bottom else {
        return Some(Err(io::ErrorKind::OutOfMemory.into()));
    };
    if size < usable || bottom.addr().get() % 16 != 0 {
        // SAFETY: `alloc` gave it just now.
        unsafe { (functions.free)(bottom.as_ptr().cast()) };
        return Some(Err(io::Error::other(
            "the application's stack function gave too few bytes or no alignment to 16",
        )));
    }
    // As stacks from the kernel are; `wipe` relies on it.
    // SAFETY: `alloc` gave at least so many bytes.
    unsafe { bottom.write_bytes(0, usable) };
    Some(Ok(bottom))
}

/// Frees a stack by the application's functions. Returns `false`, and frees nothing, if no
/// functions are set.
///
/// # Safety
/// `bottom` came from [`alloc`] if functions are set, and nothing uses it any more.
pub(crate) unsafe fn free(bottom: NonNull<u8>) -> bool {
    let Some(functions) = own() else { return false };
    // SAFETY: functions never change once a stack exists, so the same ones made it.
    unsafe { (functions.free)(bottom.as_ptr().cast()) };
    true
}

unsafe extern "C" fn plain_alloc(size: *mut usize) -> *mut c_void {
    // SAFETY: the caller passes a size.
    let Some(size) = (unsafe { size.as_ref() }) else {
        return ptr::null_mut();
    };
    // SAFETY: malloc aligns to 16 and is freed by `plain_free`.
    unsafe { libc::malloc(*size) }
}

unsafe extern "C" fn plain_free(stack: *mut c_void) {
    // SAFETY: from `plain_alloc`.
    unsafe { libc::free(stack) };
}
