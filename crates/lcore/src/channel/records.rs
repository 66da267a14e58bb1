//! Records: each op is the caller's own, travels by value, and comes back exactly once.
//!
//! ```text
//!            ┌──────────── refused: stays with the caller (EAGAIN)
//!  enqueue ──┼──▶ device ──▶ done queue ──▶ dequeue
//!            │       │ failed, late      ▲
//!            └──▶ software ──────────────┘
//! ```
//! Those of a [`RecordQueue`](crate::RecordQueue) go back to their places in it instead of the done queue.
//!
//! A device that may keep an op has a copy of op and data kept for it meanwhile: sealing again what a device has
//! half sealed would use a nonce twice.

use std::collections::VecDeque;
use std::rc::Rc;

use spinlane_cryptodev::aead::Op;
use spinlane_cryptodev::{Burst, Kind, Operation, Token};

use super::{Channel, Class, NO_OP};
use crate::record_queue::Places;

/// What has ended.
#[derive(Default)]
pub(crate) struct Ended {
    /// Ops of callers, the first one at the front.
    pub(crate) done: VecDeque<Box<Op>>,
    /// Queues whose first record has ended.
    pub(crate) queues: Vec<Rc<Places>>,
}

/// Who waits for a record.
pub(crate) struct Waiter {
    /// What the caller called the op.
    callers: Token,
    /// Where it goes; `None`: to the done queue.
    queue: Option<Rc<Places>>,
}

impl Class for Op {
    type Waiter = Waiter;
    type Told = Ended;
    const NOBODY: Waiter = Waiter {
        callers: NO_OP,
        queue: None,
    };

    fn is_wanted(waiter: &Waiter) -> bool {
        waiter.queue.as_ref().is_none_or(|queue| queue.is_open())
    }

    fn end(waiter: &mut Waiter, mut op: Box<Self>, told: &mut Ended) -> Option<Box<Self>> {
        op.token = waiter.callers;
        told.take(op, waiter.queue.take());
        None
    }
}

impl Ended {
    /// Puts `op` where it goes.
    pub(crate) fn take(&mut self, op: Box<Op>, queue: Option<Rc<Places>>) {
        match queue {
            None => self.done.push_back(op),
            Some(queue) => {
                if queue.fill(op) {
                    self.queues.push(queue);
                }
            }
        }
    }
}

impl Channel<Op> {
    /// Takes the first `count` ops of `ops`, all of which are prepared and within the limits of the device, as
    /// far as there is room; returns how many. `queue_of` says where each goes when it has ended.
    pub(crate) fn enqueue_burst(
        &mut self,
        ops: &mut Burst<Op>,
        count: usize,
        queue_of: impl Fn(usize) -> Option<Rc<Places>>,
        now_ns: u64,
    ) -> usize {
        let room = count.min(self.free.len());
        for (index, op) in ops.drain(..room).enumerate() {
            let waiter = Waiter {
                callers: op.token,
                queue: queue_of(index),
            };
            self.admit(op, |_| waiter, now_ns);
        }
        self.send(now_ns);
        let mut refused = std::mem::take(&mut self.outgoing);
        let taken = room - refused.len();
        for op in &mut refused {
            op.token = self.withdraw(op).callers;
        }
        ops.splice(..0, refused.drain(..));
        self.outgoing = refused;
        if let Some(first) = ops.first().filter(|_| taken < count) {
            self.counts[Kind::index(Operation::kind(&**first))].refused += 1;
        }
        taken
    }
}
