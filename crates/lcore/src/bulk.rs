//! Bursts of records through an lcore: the caller's side.

use std::rc::Rc;

use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::aead::Op;
use spinlane_cryptodev::{Buffer, Burst, HealthConfig, OpStatus, QueuePair};
use spinlane_cryptodev::{DeviceError, cpu};

use crate::channel::Channel;
use crate::core::{Inner, Lcore};
use crate::offload::OffloadError;
use crate::record_queue::Places;
use crate::route::Channels;

impl Lcore {
    /// Adds a queue pair for records. Those that serve one algorithm share its ops as those for private-key ops do.
    pub fn add_record_queue_pair(&self, queue_pair: Box<dyn QueuePair<Op>>) {
        let health = queue_pair.health();
        self.add_record_queue_pair_with(queue_pair, health);
    }

    /// The same with `health` in place of what the driver says.
    pub fn add_record_queue_pair_with(
        &self,
        queue_pair: Box<dyn QueuePair<Op>>,
        health: HealthConfig,
    ) {
        let channel = Channel::new(queue_pair, health);
        self.inner.records.borrow_mut().push(channel);
    }

    /// Memory for an op of `algorithm`, of the first queue pair that serves it; of the heap if none does. Allocates:
    /// once per op of a pool, never per use.
    ///
    /// # Errors
    /// See [`QueuePair::buffer`].
    pub(crate) fn record_buffer(
        &self,
        algorithm: Algorithm,
        len: usize,
    ) -> Result<Buffer, DeviceError> {
        let records = self.inner.records.borrow();
        let serves = |channel: &&Channel<Op>| channel.capabilities().has(algorithm);
        match records.all.iter().find(serves) {
            Some(channel) => channel.queue_pair().buffer(len),
            None => Ok(Buffer::heap(len)?),
        }
    }

    /// Takes prepared ops from the front of `ops`, whichever connections and algorithms they are of; returns
    /// how many. What stays was refused by a full queue pair, is unchanged, and may be enqueued again
    /// after a poll. Every op taken is given back exactly once by [`Lcore::dequeue_records`] after some
    /// poll, under its token; if a device loses one, another takes its place whose buffer is as long and
    /// holds the same, but for what was behind the tag.
    ///
    /// Only queues, except that an op which no queue pair takes, by its algorithm or a length, is computed here and
    /// now, which is counted, and that one which is not prepared ends with an error.
    ///
    /// # Errors
    /// [`OffloadError::Forked`] if the lcore is the parent process's; nothing was taken then.
    pub fn enqueue_records(&self, ops: &mut Burst<Op>) -> Result<usize, OffloadError> {
        if self.is_of_parent() {
            return Err(OffloadError::Forked);
        }
        let taken = self.inner.hand_over(ops, |_| None);
        if taken != 0 {
            self.inner.worked.set(true);
        }
        Ok(taken)
    }

    /// Whether a queue pair takes records of `algorithm` with so much associated data and data, as far as is known
    /// without asking its device.
    pub fn takes_records(&self, algorithm: Algorithm, aad_len: usize, data_len: usize) -> bool {
        let takes = |channel: &Channel<Op>| {
            let limits = channel.capabilities().limits(algorithm);
            limits.is_some_and(|limits| limits.takes_aad(aad_len) && data_len <= limits.max_len)
        };
        !self.is_of_parent() && self.inner.records.borrow().all.iter().any(takes)
    }

    /// Adds at most `max` ops that have ended to the back of `done`, in the order they did; returns how many.
    /// To be called after each poll.
    pub fn dequeue_records(&self, done: &mut Burst<Op>, max: usize) -> usize {
        let mut ended = self.inner.records_done.borrow_mut();
        let count = ended.done.len().min(max);
        done.extend(ended.done.drain(..count));
        count
    }
}

/// The queue pair that takes `op`; `None` also if it is not prepared.
fn route(records: &Channels<Op>, op: &Op, now_ns: u64) -> Option<usize> {
    is_prepared(op).then(|| records.route(op, now_ns)).flatten()
}

fn is_prepared(op: &Op) -> bool {
    op.status == OpStatus::NotProcessed
}

impl Inner {
    /// Gives the queue pairs ops from the front of `ops` until one refuses; returns how many that are. `queue_of`
    /// says where each goes when it has ended, counted from the first.
    pub(crate) fn hand_over(
        &self,
        ops: &mut Burst<Op>,
        queue_of: impl Fn(usize) -> Option<Rc<Places>>,
    ) -> usize {
        let mut records = self.records.borrow_mut();
        let now_ns = self.clock.now_ns();
        let mut taken = 0;
        while let Some(first) = ops.first() {
            let Some(index) = route(&records, first, now_ns) else {
                self.compute_first(ops, queue_of(taken));
                taken += 1;
                continue;
            };
            let channel = &records.all[index];
            let others = ops[1..].iter();
            let same =
                others.take_while(|op| is_prepared(op) && channel.capabilities().takes(&***op));
            // An unhealthy one gets no more than what its probe is made from.
            let count = match channel.is_healthy() {
                true => 1 + same.count(),
                false => 1,
            };
            let queue_of = |index| queue_of(taken + index);
            let accepted = records.all[index].enqueue_burst(ops, count, queue_of, now_ns);
            taken += accepted;
            if accepted < count {
                break;
            }
        }
        taken
    }

    /// Ends the first op of `ops`, of which there is one, and which no queue pair can.
    fn compute_first(&self, ops: &mut Burst<Op>, queue: Option<Rc<Places>>) {
        let mut op = ops.remove(0);
        let was_prepared = op.parts().is_some();
        cpu::run_aead(&mut op);
        let mut stats = self.stats.borrow_mut();
        if was_prepared {
            stats.unrouted_ops += 1;
        } else {
            stats.unprepared_ops += 1;
        }
        self.records_done.borrow_mut().take(op, queue);
    }
}
