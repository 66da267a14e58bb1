//! Where things lie, in bytes, for an entry point in assembly that switches by itself.
//!
//! A C function that pauses or resumes would save its caller's registers, call into Rust, and save
//! them again at the switch; both its `ret`s would be mispredicted, since the processor's
//! return predictor does not know of the switch. An entry point in assembly saves them once, right
//! where the switch wants them, and leaves by a jump.
//!
//! What such a function must do, beyond what the offsets say:
//! - **Resume** a fiber whose [`BODY`] is [`SUSPENDED`] while the thread's [`THREAD_FIBER`] is
//!   null: set it to the fiber's record, set the body to [`RUNNING`]; store the registers as its
//!   caller finds them after the return (rsp above the return address, which is rip) in
//!   [`RESUMER`]; load those in [`FIBER`] and go on at rip, with 1 in eax.
//! - **Suspend** the fiber that is the thread's: set the thread's to null, the body to
//!   [`SUSPENDED`]; store the registers in [`FIBER`] likewise; load those in [`RESUMER`] and go on
//!   at rip, with 2 in eax.
//! - **Back**: a switch in Rust loads rbp, rsp and rbx alone and goes on at `back`, which is to do
//!   the rest: rdi is the record, nothing is on the stack, eax is 1 in a fiber that is resumed; 2
//!   in a resumer whose fiber is suspended, and 3 where it has ended.
//!
//! Not for a fiber made by [`Fiber::with_fp_control`](crate::Fiber::with_fp_control), and not under
//! AddressSanitizer, which must be told of each switch.

use core::mem::offset_of;

use crate::arch::Pair;
use crate::fiber::{Body, Control};
use crate::thread::Thread;

/// In a [`Thread`], whose symbol is `spinlane_thread`: the innermost running fiber's record.
pub const THREAD_FIBER: usize = offset_of!(Thread, fiber);
/// In a [`Thread`]: the words of the layer above.
pub const THREAD_WORDS: usize = offset_of!(Thread, words);
/// In a [`Thread`]: its [name](crate::thread::name), or 0 as long as nobody has asked for that.
pub const THREAD_NAME: usize = offset_of!(Thread, name);
/// In a fiber's record: the resumer's rbp, rip, rsp, rbx, r12, r13, r14, r15, back, eight bytes
/// each.
pub const RESUMER: usize = offset_of!(Control, pair) + Pair::RESUMER;
/// In a fiber's record: the fiber's registers, in the same order.
pub const FIBER: usize = offset_of!(Control, pair) + Pair::FIBER;
/// In a fiber's record: two words that whoever resumes may leave for its `back`.
pub const LEFT: usize = offset_of!(Control, pair) + offset_of!(Pair, left);
/// In a fiber's record: a byte, the state of its body.
pub const BODY: usize = offset_of!(Control, body);
/// The body runs.
pub const RUNNING: u8 = Body::Running as u8;
/// The body is suspended.
pub const SUSPENDED: u8 = Body::Suspended as u8;
