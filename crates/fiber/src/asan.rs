//! What AddressSanitizer must be told, under `--cfg spinlane_asan`; otherwise
//! nothing, at no size and no cost.
//!
//! It keeps the bounds of the running stack and, per stack, a "fake stack" of
//! heap frames; both change at every switch. Each side's fake stack is handed
//! out when the side is left and back in when it is entered again; leaving for
//! good hands out null, which frees it.

#[cfg(spinlane_asan)]
pub(crate) use on::{Switch, stack_idle, stack_in_use, unpoison};

#[cfg(not(spinlane_asan))]
pub(crate) use off::{Switch, stack_idle, stack_in_use, unpoison};

#[cfg(not(spinlane_asan))]
mod off {
    use crate::stack::Stack;

    #[derive(Debug)]
    pub(crate) struct Switch;

    impl Switch {
        pub(crate) fn new() -> Self {
            Self
        }
        #[inline(always)]
        pub(crate) unsafe fn enter_fiber(_: *mut Self, _: &Stack) {}
        #[inline(always)]
        pub(crate) unsafe fn entered_fiber(_: *mut Self) {}
        #[inline(always)]
        pub(crate) unsafe fn leave_fiber(_: *mut Self) {}
        #[inline(always)]
        pub(crate) unsafe fn leave_fiber_for_good(_: *mut Self) {}
        #[inline(always)]
        pub(crate) unsafe fn left_fiber(_: *mut Self) {}
        #[inline(always)]
        pub(crate) unsafe fn leave_for(_: *mut Self, _: *const Self) {}
        #[inline(always)]
        pub(crate) unsafe fn abandon(_: *mut Self, _: &Stack) {}
    }

    #[inline(always)]
    pub(crate) fn unpoison(_: *mut u8, _: usize) {}
    #[inline(always)]
    pub(crate) fn stack_in_use(_: *mut u8, _: usize) {}
    #[inline(always)]
    pub(crate) fn stack_idle(_: *mut u8, _: usize) {}
}

#[cfg(spinlane_asan)]
mod on {
    use std::ffi::c_void;
    use std::ptr::{self, null_mut};

    use crate::stack::Stack;

    // sanitizer/common_interface_defs.h, asan_interface.h, lsan_interface.h
    unsafe extern "C" {
        fn __sanitizer_start_switch_fiber(
            fake_stack_save: *mut *mut c_void,
            bottom: *const c_void,
            size: usize,
        );
        fn __sanitizer_finish_switch_fiber(
            fake_stack_save: *mut c_void,
            bottom_old: *mut *const c_void,
            size_old: *mut usize,
        );
        fn __asan_unpoison_memory_region(start: *const c_void, size: usize);
        fn __lsan_register_root_region(start: *const c_void, size: usize);
        fn __lsan_unregister_root_region(start: *const c_void, size: usize);
    }

    /// The two sides of one fiber. All functions: `this` is valid, and the
    /// name says on which side and when it is called.
    #[derive(Debug)]
    pub(crate) struct Switch {
        fiber_fake: *mut c_void,
        resumer_fake: *mut c_void,
        resumer_bottom: *const c_void,
        resumer_size: usize,
    }

    impl Switch {
        pub(crate) fn new() -> Self {
            Self {
                fiber_fake: null_mut(),
                resumer_fake: null_mut(),
                resumer_bottom: ptr::null(),
                resumer_size: 0,
            }
        }

        /// On the resumer, just before the switch to the stack given.
        #[inline(always)]
        pub(crate) unsafe fn enter_fiber(this: *mut Self, stack: &Stack) {
            // SAFETY: the save slot lives in Control; the bounds are the stack's.
            unsafe {
                __sanitizer_start_switch_fiber(
                    &raw mut (*this).resumer_fake,
                    stack.bottom().cast(),
                    stack.usable_size(),
                );
            }
        }

        /// On the fiber, just after a switch to it.
        #[inline(always)]
        pub(crate) unsafe fn entered_fiber(this: *mut Self) {
            // SAFETY: null at the start, else what leave_fiber stored.
            unsafe {
                __sanitizer_finish_switch_fiber(
                    (*this).fiber_fake,
                    &raw mut (*this).resumer_bottom,
                    &raw mut (*this).resumer_size,
                );
            }
        }

        /// On the fiber, just before it is suspended.
        #[inline(always)]
        pub(crate) unsafe fn leave_fiber(this: *mut Self) {
            // SAFETY: the bounds are those entered_fiber stored.
            unsafe {
                __sanitizer_start_switch_fiber(
                    &raw mut (*this).fiber_fake,
                    (*this).resumer_bottom,
                    (*this).resumer_size,
                );
            }
        }

        /// On the fiber, just before its last switch.
        #[inline(always)]
        pub(crate) unsafe fn leave_fiber_for_good(this: *mut Self) {
            // SAFETY: as leave_fiber; null frees the fake stack.
            unsafe {
                __sanitizer_start_switch_fiber(
                    null_mut(),
                    (*this).resumer_bottom,
                    (*this).resumer_size,
                );
            }
        }

        /// On the resumer, just after the switch back.
        #[inline(always)]
        pub(crate) unsafe fn left_fiber(this: *mut Self) {
            // SAFETY: what enter_fiber stored.
            unsafe {
                __sanitizer_finish_switch_fiber((*this).resumer_fake, null_mut(), null_mut());
            }
        }

        /// On a fiber, just before the switch to the stack of whoever resumed `outermost`; `this`
        /// is told of the switch back.
        pub(crate) unsafe fn leave_for(this: *mut Self, outermost: *const Self) {
            // SAFETY: the bounds are those entered_fiber stored.
            unsafe {
                __sanitizer_start_switch_fiber(
                    &raw mut (*this).fiber_fake,
                    (*outermost).resumer_bottom,
                    (*outermost).resumer_size,
                );
            }
        }

        /// Frees a suspended fiber's fake stack: tells of a switch to the
        /// fiber and of its last switch back, and makes neither.
        #[inline(never)]
        pub(crate) unsafe fn abandon(this: *mut Self, stack: &Stack) {
            // SAFETY: in the order of a true resume of a fiber that then ends.
            unsafe {
                Self::enter_fiber(this, stack);
                Self::entered_fiber(this);
                Self::leave_fiber_for_good(this);
                Self::left_fiber(this);
            }
        }
    }

    /// Forgets the frames of a stack that are gone without having returned.
    pub(crate) fn unpoison(bottom: *mut u8, size: usize) {
        // SAFETY: the range is one mapping of ours, with no live frame.
        unsafe { __asan_unpoison_memory_region(bottom.cast(), size) };
    }

    /// From here on the stack's words count as pointers for the leak check.
    pub(crate) fn stack_in_use(bottom: *mut u8, size: usize) {
        // SAFETY: the range is mapped until after stack_idle.
        unsafe { __lsan_register_root_region(bottom.cast(), size) };
    }

    /// No fiber is on the stack any more.
    pub(crate) fn stack_idle(bottom: *mut u8, size: usize) {
        unpoison(bottom, size);
        // SAFETY: registered by stack_in_use.
        unsafe { __lsan_unregister_root_region(bottom.cast(), size) };
    }
}
