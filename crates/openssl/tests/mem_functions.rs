//! ASYNC_set_mem_functions(3). A process of its own: the functions are the process's, and only
//! before its first stack.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use spinlane_openssl::abi::*;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn alloc(size: *mut usize) -> *mut c_void {
    ALLOCATED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the library passes a size; malloc aligns to 16.
    unsafe { libc::malloc(*size) }
}

unsafe extern "C" fn free(stack: *mut c_void) {
    FREED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: from `alloc`.
    unsafe { libc::free(stack) };
}

unsafe extern "C" fn answers(_: *mut c_void) -> c_int {
    42
}

#[test]
fn stacks_come_from_the_functions_set_before_the_first_and_cannot_be_changed_after() {
    let (mut its_alloc, mut its_free) = (None, None);
    // SAFETY: the functions above do what is asked; all pointers are live.
    unsafe {
        ASYNC_get_mem_functions(&mut its_alloc, &mut its_free);
        assert!(
            its_alloc.is_some() && its_free.is_some(),
            "there are default ones"
        );
        assert_eq!(ASYNC_set_mem_functions(Some(alloc), Some(free)), 1);
        ASYNC_get_mem_functions(&mut its_alloc, &mut its_free);
        assert!(its_alloc.is_some_and(|its| std::ptr::fn_addr_eq(its, alloc as StackAllocFn)));
        ASYNC_get_mem_functions(ptr::null_mut(), ptr::null_mut());

        let (mut job, mut ret, ctx) = (ptr::null_mut(), 0, ASYNC_WAIT_CTX_new());
        assert_eq!(
            ASYNC_start_job(&mut job, ctx, &mut ret, Some(answers), ptr::null_mut(), 0),
            ASYNC_FINISH
        );
        assert_eq!((ret, ALLOCATED.load(Ordering::Relaxed)), (42, 1));
        assert_eq!(
            ASYNC_set_mem_functions(Some(alloc), Some(free)),
            0,
            "too late"
        );
        ASYNC_WAIT_CTX_free(ctx);
    }
    ASYNC_cleanup_thread();
    assert_eq!(FREED.load(Ordering::Relaxed), 1);
}
