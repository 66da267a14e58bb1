//! Records: each op is the caller's own, travels by value, and comes back exactly once.
//!
//! ```text
//!            ┌──────────── refused: stays with the caller (EAGAIN)
//!  enqueue ──┼──▶ device ──▶ done queue ──▶ dequeue
//!            │       │ failed, late      ▲
//!            └──▶ software ──────────────┘
//! ```
//! A device that may keep an op has a copy of op and data kept for it meanwhile: sealing again what a device has
//! half sealed would use a nonce twice.

use std::collections::VecDeque;

use spinlane_cryptodev::aead::Op;
use spinlane_cryptodev::{Burst, Kind, Operation, Token};

use super::{Channel, Class, NO_OP};

/// Ops that have ended, the first one at the front.
pub(crate) type Ended = VecDeque<Box<Op>>;

impl Class for Op {
    /// What the caller called the op.
    type Waiter = Token;
    type Told = Ended;
    const NOBODY: Token = NO_OP;

    fn is_wanted(_: &Token) -> bool {
        true
    }

    fn end(callers: &mut Token, mut op: Box<Self>, done: &mut Ended) -> Option<Box<Self>> {
        op.token = *callers;
        done.push_back(op);
        None
    }
}

impl Channel<Op> {
    /// Takes the first `count` ops of `ops`, all of which are prepared and within the limits of the device, as
    /// far as there is room; returns how many.
    pub(crate) fn enqueue_burst(
        &mut self,
        ops: &mut Burst<Op>,
        count: usize,
        now_ns: u64,
    ) -> usize {
        let room = count.min(self.free.len());
        for op in ops.drain(..room) {
            let callers = op.token;
            self.admit(op, |_| callers, now_ns);
        }
        self.send(now_ns);
        let mut refused = std::mem::take(&mut self.outgoing);
        let taken = room - refused.len();
        for op in &mut refused {
            op.token = self.withdraw(op);
        }
        ops.splice(..0, refused.drain(..));
        self.outgoing = refused;
        if let Some(first) = ops.first().filter(|_| taken < count) {
            self.counts[Kind::index(Operation::kind(&**first))].refused += 1;
        }
        taken
    }
}
