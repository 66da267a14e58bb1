//! Asymmetric fibers on guarded, pooled stacks.
//!
//! A [`Fiber`] is a closure with a stack of its own. [`Fiber::resume`] runs it
//! until it calls [`suspend`] or returns; the next `resume` goes on where it
//! stopped. A panic in the body comes out of `resume`, and a backtrace taken
//! in the body goes on through the function that called `resume`.
//!
//! ```
//! use spinlane_fiber::{Fiber, PoolConfig, StackPool, State, suspend};
//!
//! let mut pool = StackPool::new(PoolConfig { name: "example", ..PoolConfig::default() });
//! let fiber = Fiber::new(pool.take()?, || {
//!     suspend().expect("runs on a fiber");
//! });
//! assert_eq!(fiber.resume(), State::Suspended);
//! assert_eq!(fiber.resume(), State::Returned);
//! if let Ok(stack) = fiber.into_stack() {
//!     pool.put(stack);
//! }
//! # Ok::<(), spinlane_fiber::StackError>(())
//! ```
//!
//! # Invariants
//!
//! - Knows no job, no device and no TLS.
//! - No fiber leaves the thread that made it: nothing here is `Send`.
//! - No heap allocation, system call or lock in making, resuming, suspending
//!   or ending a fiber, in giving a stack back, nor in taking one that is idle.
//! - No frame is unwound that did not panic. A suspended fiber that is dropped
//!   leaks its stack, which is safe and counted; whoever can promise that
//!   nothing on it matters may [`Fiber::abandon`] it and keep the stack.
//! - No stack without a guard below it, unless the application brings its own
//!   ([`set_stack_functions`]); [`install_overflow_handler`] turns a
//!   hit on one into a report with the pool's name.
//! - Stacks stay out of core dumps, for they hold secrets, and are wiped when asked
//!   ([`Stack::wipe`]): so a core dump has no frames of a fiber.
//! - Callee-saved registers belong to each side. On aarch64 so does FPCR. On
//!   x86_64 the floating-point control words (mxcsr and the x87 control word)
//!   do for a fiber made by [`Fiber::with_fp_control`]; other fibers share
//!   their thread's, as a called function does.
//! - A body must not suspend in a destructor that runs because of a panic:
//!   the panic count is the thread's, so the resumer would seem to panic.
//!
//! Shadow stacks (CET SHSTK, GCS) are not supported.

mod arch;
mod asan;
mod errand;
mod fiber;
mod fp;
mod map;
mod overflow;
mod pool;
mod source;
mod stack;
pub mod valgrind;
mod wipe;

pub use errand::on_thread_stack;
pub use fiber::{Fiber, NotOnFiber, State, current_record, on_fiber, suspend, suspend_this};
pub use map::{max_map_count_for, most_stacks};
pub use overflow::install_overflow_handler;
pub use pool::{PoolConfig, PoolStats, StackPool};
pub use source::{StackFunctions, StacksExist, set_stack_functions, stack_functions};
pub use stack::{Stack, StackError};
