//! Fibers: create, resume, suspend, end.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};

use crate::arch::{self, Pair, Regs};
use crate::asan;
use crate::fp::FpControl;
use crate::stack::Stack;

thread_local! {
    /// The innermost running fiber, or null.
    pub(crate) static FIBER: Cell<*mut Control> = const { Cell::new(ptr::null_mut()) };
}

/// Bytes that must remain below the closure, or [`Fiber::new`] refuses it.
const LEAST_ROOM: usize = 2048;

/// What [`Fiber::resume`] came back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum State {
    /// The body called [`suspend`]; resume it again.
    Suspended,
    /// The body returned; take the stack by [`Fiber::into_stack`].
    Returned,
}

/// [`suspend`] was called outside any fiber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not on a fiber: suspend() is for code that Fiber::resume runs")]
pub struct NotOnFiber;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// The closure still lies where `Fiber::new` put it.
    Fresh,
    /// Suspended: the body's frames are on the stack, its registers in `Control::pair`.
    Suspended,
    /// Running: the body's frames are on the stack, the resumer's registers in the pair.
    Running,
    /// Returned or panicked: no frame is left.
    Ended,
}

/// A fiber's record, at the very top of its stack. See `arch` for the drawing.
///
/// Only the fiber's own thread touches it, always through raw pointers: the
/// resumer and the body take turns.
#[repr(C, align(16))]
pub(crate) struct Control {
    pub(crate) pair: Pair,
    pub(crate) body: Body,
    owns_fp: bool,
    fp: FpControl,
    /// The fiber that resumed this one; null if the thread did.
    pub(crate) outer: *mut Self,
    closure: *mut u8,
    drop_closure: unsafe fn(*mut u8),
    panic: Option<Box<dyn Any + Send>>,
    pub(crate) asan: asan::Switch,
    stack: ManuallyDrop<Stack>,
}

impl Control {
    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Returns `true` if the caller runs on this fiber's stack.
    #[inline(always)]
    fn is_under_caller(&self) -> bool {
        let bottom = self.stack.bottom().addr();
        (bottom..ptr::from_ref(self).addr()).contains(&arch::stack_pointer())
    }
}

/// Returns the innermost running fiber of this thread, or null.
#[inline(always)]
pub(crate) fn current() -> *mut Control {
    FIBER.get()
}

/// A closure on a stack of its own, which runs when resumed.
///
/// A fiber stays on its thread:
/// ```compile_fail,E0277
/// # use spinlane_fiber::{Fiber, StackPool, PoolConfig};
/// # let mut pool = StackPool::new(PoolConfig::default());
/// let fiber = Fiber::new(pool.take().unwrap(), || ());
/// std::thread::spawn(move || drop(fiber)); // `Fiber` cannot be sent
/// ```
/// and so does a reference to a fiber:
/// ```compile_fail,E0277
/// # use spinlane_fiber::Fiber;
/// fn shared<T: Sync>() {}
/// shared::<Fiber>();
/// ```
///
/// Dropping a fiber that is suspended leaks its stack and all that lives on
/// it, and counts it ([`PoolStats::leaked`](crate::PoolStats::leaked)): the
/// frames may be pointed at from elsewhere, and running their destructors
/// means running the body.
pub struct Fiber {
    control: NonNull<Control>,
}

impl Fiber {
    /// Moves `body` to the top of `stack`, to run at the first
    /// [`resume`](Self::resume). No allocation.
    ///
    /// On x86_64 the floating-point control words are the thread's, as they
    /// are for a called function: if the body changes them and suspends, the
    /// resumer goes on with what it set.
    /// [`with_fp_control`](Self::with_fp_control) keeps them apart.
    ///
    /// # Panics
    /// If the captured values leave less than 2 KiB of the stack.
    #[inline]
    pub fn new<F: FnOnce() + 'static>(stack: Stack, body: F) -> Self {
        Self::build(stack, body, false)
    }

    /// As [`new`](Self::new), with the floating-point control words (mxcsr and the x87 control
    /// word) kept per side. The fiber starts with the caller's words. At every resume it finds its
    /// own again; after the resume, so does the resumer.
    ///
    /// For bodies that change the words and suspend meanwhile. A round trip takes several times as
    /// long, since reading mxcsr stalls: 4 ns on Zen 5, twice. On aarch64 this is the same as
    /// `new`: FPCR is kept for every fiber.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with_fp_control<F: FnOnce() + 'static>(stack: Stack, body: F) -> Self {
        Self::build(stack, body, true)
    }

    #[inline(always)]
    fn build<F: FnOnce() + 'static>(stack: Stack, body: F, owns_fp: bool) -> Self {
        let bottom = stack.bottom();
        let size = stack.usable_size();
        let align = align_of::<F>().max(16);
        let taken = size_of::<Control>() + size_of::<F>() + align + LEAST_ROOM;
        assert!(
            taken <= size,
            "fiber stack of {size} bytes is too small for a closure of {} bytes; \
             raise PoolConfig::stack_size or box what it captures",
            size_of::<F>(),
        );
        let control = bottom
            .wrapping_add(size - size_of::<Control>())
            .cast::<Control>();
        let below = control.cast::<u8>().wrapping_sub(size_of::<F>());
        let closure = below.wrapping_sub(below.addr() % align);
        // SAFETY: both places lie in the stack by the check above, which
        // nothing else uses; the top is a page boundary, so Control is
        // aligned, and `closure` was rounded down to its alignment, at
        // least the 16 bytes that `prepare` needs.
        unsafe {
            closure.cast::<F>().write(body);
            control.write(Control {
                pair: Pair {
                    resumer: Regs::default(),
                    fiber: arch::prepare(closure, control.cast(), run::<F>),
                },
                body: Body::Fresh,
                owns_fp,
                fp: if owns_fp {
                    FpControl::read()
                } else {
                    FpControl::default()
                },
                outer: ptr::null_mut(),
                closure,
                drop_closure: drop_in_place::<F>,
                panic: None,
                asan: asan::Switch::new(),
                stack: ManuallyDrop::new(stack),
            });
            Self {
                control: NonNull::new_unchecked(control),
            }
        }
    }

    /// Runs the body until it suspends or returns.
    ///
    /// # Panics
    /// With the body's own payload if the body panicked; the fiber is done
    /// then. With a message if the fiber is done already or is running now,
    /// that is, if it is resumed from its own body.
    #[inline(always)]
    pub fn resume(&self) -> State {
        let control = self.control.as_ptr();
        // SAFETY: Control lives as long as `self`, and whoever else touches
        // it does so on this thread between the switches. A fiber is switched
        // to in two states only, and is in neither while it runs.
        unsafe {
            match (*control).body {
                Body::Fresh | Body::Suspended => (*control).body = Body::Running,
                Body::Running | Body::Ended => refuse(&*control),
            }
            if current().is_null() && !(*control).owns_fp {
                FIBER.set(control);
                switch_to(control);
                // Not what was loaded before: a value that goes round through memory would make each
                // resume wait for the one before.
                FIBER.set(ptr::null_mut());
            } else {
                resume_nested_or_fp(control);
            }
            if (*control).body == Body::Suspended {
                State::Suspended
            } else {
                ended(control)
            }
        }
    }

    /// Returns the address of the fiber's record, which lies at the very top of its stack and stays
    /// there as long as the fiber lives.
    pub fn record(&self) -> *const () {
        self.control.as_ptr().cast_const().cast()
    }

    /// Returns `true` if the body has returned or panicked.
    pub fn is_done(&self) -> bool {
        self.body() == Body::Ended
    }

    /// Takes the stack, if no frame is on it: before the first resume (the closure is dropped
    /// then), or after the body has returned or panicked.
    ///
    /// # Errors
    /// The fiber itself, if it is suspended.
    #[inline]
    pub fn into_stack(self) -> Result<Stack, Self> {
        if matches!(self.body(), Body::Suspended | Body::Running) {
            return Err(self);
        }
        // SAFETY: `self` ends here, and no frame is on the stack.
        Ok(unsafe { take_stack(ManuallyDrop::new(self).control.as_ptr()) })
    }

    /// Takes the stack from under a suspended fiber. Its frames are forgotten:
    /// they are not unwound and their destructors do not run. A fiber that
    /// has not started or is done is treated as by
    /// [`into_stack`](Self::into_stack).
    ///
    /// # Safety
    /// - The fiber is not running.
    /// - Nothing outside points into its stack, or nothing follows such a
    ///   pointer again.
    /// - No value on it needs its destructor for memory safety (a scope
    ///   guard, a pinned list node, a lock guard).
    pub unsafe fn abandon(self) -> Stack {
        let control = self.control.as_ptr();
        // SAFETY: by the caller's promise nothing on the stack is used again,
        // so the frames may go without returning; Control itself is ours.
        unsafe {
            debug_assert_ne!(
                (*control).body,
                Body::Running,
                "a running fiber is abandoned"
            );
            if (*control).body == Body::Suspended {
                asan::Switch::abandon(&raw mut (*control).asan, (*control).stack());
            }
            take_stack(ManuallyDrop::new(self).control.as_ptr())
        }
    }

    /// Returns `true` if the fiber's body runs, but not here: the caller is on another stack, which
    /// it can only have come to by a jump past the body's frames, as pthread_exit(3) does.
    pub fn was_left(&self) -> bool {
        // SAFETY: Control lives as long as `self`, on this thread.
        let is_here = unsafe { (*self.control.as_ptr()).is_under_caller() };
        self.body() == Body::Running && !is_here
    }

    /// Takes the stack from under a fiber [whose frames were jumped over](Self::was_left), and the
    /// thread back from it. Gives `self` back if they were not.
    ///
    /// # Errors
    /// The fiber itself, if it was not left so.
    ///
    /// # Safety
    /// As for [`abandon`](Self::abandon), but for the first point.
    pub unsafe fn abandon_left(self) -> Result<Stack, Self> {
        if !self.was_left() {
            return Err(self);
        }
        // SAFETY: Control is ours; no frame that is left uses it. The rest is the caller's promise.
        unsafe {
            (*self.control.as_ptr()).body = Body::Suspended;
            FIBER.set(ptr::null_mut());
            Ok(self.abandon())
        }
    }

    fn body(&self) -> Body {
        // SAFETY: Control lives as long as `self`, on this thread.
        unsafe { (*self.control.as_ptr()).body }
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        let has_frames = matches!(self.body(), Body::Suspended | Body::Running);
        // SAFETY: `self` is not used after this. If frames are on the stack
        // it is only leaked.
        let stack = unsafe { take_stack(self.control.as_ptr()) };
        if has_frames {
            stack.leak();
        }
    }
}

impl fmt::Debug for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fiber")
            .field("body", &self.body())
            .finish_non_exhaustive()
    }
}

/// Suspends the innermost running fiber of this thread; returns when that
/// fiber is resumed.
///
/// # Errors
/// [`NotOnFiber`] if no fiber is running.
#[inline(always)]
pub fn suspend() -> Result<(), NotOnFiber> {
    let control = current();
    if control.is_null() {
        return Err(NotOnFiber);
    }
    // SAFETY: it was set by the resume that runs us.
    unsafe { leave(control) };
    Ok(())
}

/// Does what [`suspend`] does for the fiber whose record is there, and looks nothing up where the caller is on
/// that fiber's stack. Returns `false`, and does nothing, if that fiber is not the one that runs.
///
/// # Safety
/// `record` is the [record](Fiber::record) of a fiber of this thread that lives.
#[inline(always)]
pub unsafe fn suspend_this(record: *const ()) -> bool {
    let control = record.cast_mut().cast::<Control>();
    // SAFETY: it lives by the caller's promise. Who runs on its stack was resumed, and the resumer waits.
    unsafe {
        // On a stack of the body's own making only the thread tells.
        if !(*control).is_under_caller() && current() != control {
            return false;
        }
        leave(control);
    }
    true
}

/// Goes back to the resumer.
///
/// # Safety
/// The caller runs on the fiber of `control`.
#[inline(always)]
unsafe fn leave(control: *mut Control) {
    // SAFETY: by the caller's promise; the resumer waits.
    unsafe {
        (*control).body = Body::Suspended;
        asan::Switch::leave_fiber(&raw mut (*control).asan);
        arch::suspend(&raw mut (*control).pair);
        asan::Switch::entered_fiber(&raw mut (*control).asan);
    }
}

/// Returns the record of the innermost running fiber of this thread
/// ([`Fiber::record`]), or null.
#[inline(always)]
pub fn current_record() -> *const () {
    current().cast_const().cast()
}

/// Returns `true` if the caller runs on a fiber, so that [`suspend`] would work.
#[inline]
pub fn on_fiber() -> bool {
    !current().is_null()
}

/// # Safety
/// The fiber of `control` is alive and its registers are stored.
#[inline(always)]
unsafe fn switch_to(control: *mut Control) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let asan = &raw mut (*control).asan;
        asan::Switch::enter_fiber(asan, (*control).stack());
        arch::resume(&raw mut (*control).pair);
        asan::Switch::left_fiber(asan);
    }
}

/// Switches in the rarer cases of [`Fiber::resume`]: from a fiber, or to a fiber with
/// floating-point control words of its own.
///
/// # Safety
/// As for [`switch_to`].
#[inline(never)]
unsafe fn resume_nested_or_fp(control: *mut Control) {
    let outer = FIBER.replace(control);
    // SAFETY: as the caller vouches. The control words in force are the
    // fiber's from `load_over` to the second read, which comes when it has
    // just stopped.
    unsafe {
        (*control).outer = outer;
        if (*control).owns_fp {
            let ours = FpControl::read();
            (*control).fp.load_over(ours);
            switch_to(control);
            let theirs = FpControl::read();
            (*control).fp = theirs;
            ours.load_over(theirs);
        } else {
            switch_to(control);
        }
        (*control).outer = ptr::null_mut();
    }
    FIBER.set(outer);
}

/// Takes the stack of a fiber that is going away. Drops a closure that has not started.
///
/// # Safety
/// `control` is not used again, and the stack not reused while frames are on
/// it that anyone needs.
#[inline]
unsafe fn take_stack(control: *mut Control) -> Stack {
    // SAFETY: Control and, if the body has not started, the closure are used
    // here for the last time. Should the closure's destructor panic, `stack`
    // is unmapped after it by the unwinding.
    unsafe {
        let stack = ManuallyDrop::take(&mut (*control).stack);
        if (*control).body == Body::Fresh {
            ((*control).drop_closure)((*control).closure);
        }
        stack
    }
}

/// Says that the body has ended, or goes on with its panic.
///
/// # Safety
/// `control` belongs to a fiber that has just switched back for good.
#[cold]
#[inline(never)]
unsafe fn ended(control: *mut Control) -> State {
    // SAFETY: the caller's promise; `panic` is taken, so it is raised once.
    match unsafe { (*control).panic.take() } {
        None => State::Returned,
        Some(payload) => panic::resume_unwind(payload),
    }
}

#[cold]
#[inline(never)]
fn refuse(control: &Control) -> ! {
    let pool = control.stack().shared().name;
    if control.body == Body::Ended {
        panic!("fiber of pool '{pool}' resumed after its body ended");
    }
    panic!("fiber of pool '{pool}' resumed while it is running");
}

/// The outermost Rust frame of a fiber.
///
/// # Safety
/// Called by the first switch to the fiber of `pair`, whose closure is `F`.
unsafe extern "C" fn run<F: FnOnce()>(pair: *mut Pair) -> ! {
    let control = pair.cast::<Control>();
    // SAFETY: the closure is moved out once, for the state is no longer
    // Fresh. The switch at the end is the last use of this stack's frames.
    unsafe {
        asan::Switch::entered_fiber(&raw mut (*control).asan);
        let body = (*control).closure.cast::<F>().read();
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(body)) {
            (*control).panic = Some(payload);
        }
        (*control).body = Body::Ended;
        asan::Switch::leave_fiber_for_good(&raw mut (*control).asan);
        arch::finish(pair)
    }
}

/// # Safety
/// `closure` is a valid `F`, not used again.
unsafe fn drop_in_place<F>(closure: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { closure.cast::<F>().drop_in_place() }
}
