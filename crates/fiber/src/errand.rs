//! Leaving a fiber's stack for the thread's own, for one call.
//!
//! ```text
//!   the thread's stack             the fiber's stack
//!   | ...               |          | ...                 |
//!   | whoever resumed   |◀─ rsp ─  | on_thread_stack     |
//!   +-------------------+  stored  +---------------------+
//!   | the call          |          | (waits)             |
//!   ▼                   ▼          ~                     ~
//! ```
//! Nobody is resumed for it: the frames of whoever resumed the fiber stay as they are, and what
//! lies below them is free, since they wait in a switch.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;

use crate::arch;
use crate::asan;
use crate::fiber::{Control, FIBER, current};
use crate::valgrind;

/// Runs `call` on the stack of the thread itself, below the frames of whoever resumed the
/// (outermost) fiber, and returns what it returns. For work that needs more stack than a fiber has,
/// or that looks where its stack is. Outside a fiber it is an ordinary call.
///
/// To `call` no fiber runs: [`suspend`](crate::suspend) refuses, and fibers that it makes and
/// resumes are resumed by the thread. Floating-point control words are those of the fiber.
///
/// # Panics
/// A panic of `call` goes through.
pub fn on_thread_stack<T, F: FnOnce() -> T>(call: F) -> T {
    let fiber = current();
    if fiber.is_null() {
        return call();
    }
    let mut errand = Errand {
        call: Some(call),
        outcome: None,
        away: asan::Switch::new(),
        outermost: fiber,
        fiber,
    };
    // SAFETY: each of them waits for the next in a resume, so all records are alive, and so is
    // the stack of whoever resumed the outermost: it runs nothing until the call is done, which is
    // before this function returns. `run` fits the errand, which it uses while we wait.
    unsafe {
        while !(*errand.outermost).outer.is_null() {
            errand.outermost = (*errand.outermost).outer;
        }
        let top = arch::below_resumer(&raw const (*errand.outermost).pair);
        FIBER.set(ptr::null_mut());
        // Enough for the first frame; further ones valgrind sees come and go.
        valgrind::allow(top.wrapping_sub(4096), 4096);
        asan::Switch::leave_for(&raw mut errand.away, &raw const (*errand.outermost).asan);
        arch::call((&raw mut errand).cast(), Errand::<T, F>::run, top);
        asan::Switch::entered_fiber(&raw mut errand.away);
    }
    FIBER.set(fiber);
    match errand.outcome {
        Some(Ok(value)) => value,
        Some(Err(payload)) => panic::resume_unwind(payload),
        None => unreachable!("the call was made"),
    }
}

struct Errand<T, F> {
    call: Option<F>,
    outcome: Option<Result<T, Box<dyn Any + Send>>>,
    away: asan::Switch,
    /// Whose resumer's stack is the thread's.
    outermost: *mut Control,
    fiber: *mut Control,
}

impl<T, F: FnOnce() -> T> Errand<T, F> {
    /// On the thread's stack.
    ///
    /// # Safety
    /// `errand` is one whose call was not made, and nobody else uses it.
    unsafe extern "C" fn run(errand: *mut u8) {
        // SAFETY: the caller's promise; both fibers wait.
        unsafe {
            let errand = &mut *errand.cast::<Self>();
            let outermost = &raw mut (*errand.outermost).asan;
            asan::Switch::left_fiber(outermost);
            if let Some(call) = errand.call.take() {
                errand.outcome = Some(panic::catch_unwind(AssertUnwindSafe(call)));
            }
            asan::Switch::enter_fiber(outermost, (*errand.fiber).stack());
        }
    }
}
