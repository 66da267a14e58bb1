//! Bursts of AEAD ops through an lcore: the caller's side.

use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::aead::Op;
use spinlane_cryptodev::{Buffer, Burst, OpStatus, QueuePair};
use spinlane_cryptodev::{DeviceError, cpu};

use crate::aead::AeadChannel;
use crate::core::{Inner, Lcore};
use crate::offload::OffloadError;

impl Lcore {
    /// Adds a queue pair for AEAD. An algorithm is served by the first queue pair added that offers it.
    pub fn add_aead_queue_pair(&self, queue_pair: Box<dyn QueuePair<Op>>) {
        let mut channels = self.inner.aead_channels.borrow_mut();
        channels.push(AeadChannel::new(queue_pair, self.inner.config.health));
        let mut routes = [None; Algorithm::COUNT];
        for algorithm in Algorithm::ALL {
            let first = channels
                .iter()
                .position(|channel| channel.serves(algorithm));
            routes[algorithm.index()] = first.and_then(|index| u8::try_from(index).ok());
        }
        self.inner.aead_routes.set(routes);
    }

    /// Memory for an op of `algorithm`, of the queue pair that serves it; of the heap if none does. Allocates:
    /// once per op of a pool, never per use.
    ///
    /// # Errors
    /// See [`QueuePair::buffer`].
    pub fn aead_buffer(&self, algorithm: Algorithm, len: usize) -> Result<Buffer, DeviceError> {
        match self.inner.aead_route(algorithm) {
            Some(index) => self.inner.aead_channels.borrow()[index].buffer(len),
            None => Ok(Buffer::heap(len)?),
        }
    }

    /// Takes prepared ops from the front of `ops`, whichever connections and algorithms they are of; returns
    /// how many. What stays was refused by a full queue pair, is unchanged, and may be enqueued again
    /// after a poll. Every op taken is given back exactly once by [`Lcore::dequeue_aead_burst`] after some
    /// poll, under its token; if a device loses one, another takes its place whose buffer is as long and
    /// holds the same, but for what was behind the tag.
    ///
    /// Only queues, except that an op whose algorithm no queue pair offers is computed here and
    /// now, which is counted, and that one which is not prepared ends with an error.
    ///
    /// # Errors
    /// [`OffloadError::Forked`] if the lcore is the parent process's; nothing was taken then.
    pub fn enqueue_aead_burst(&self, ops: &mut Burst<Op>) -> Result<usize, OffloadError> {
        if self.is_of_parent() {
            return Err(OffloadError::Forked);
        }
        let inner = &*self.inner;
        let mut channels = inner.aead_channels.borrow_mut();
        let now_ns = inner.clock.now_ns();
        let mut taken = 0;
        while let Some(first) = ops.first() {
            let Some(index) = inner.aead_route_of(first) else {
                taken += inner.compute_first(ops);
                continue;
            };
            let routes = ops.iter().map(|op| inner.aead_route_of(op));
            let count = routes.take_while(|route| *route == Some(index)).count();
            let accepted = channels[index].enqueue(ops, count, now_ns);
            taken += accepted;
            if accepted < count {
                break;
            }
        }
        if taken != 0 {
            inner.worked.set(true);
        }
        Ok(taken)
    }

    /// Adds at most `max` ops that have ended to the back of `done`, in the order they did; returns how many.
    /// To be called after each poll.
    pub fn dequeue_aead_burst(&self, done: &mut Burst<Op>, max: usize) -> usize {
        let mut ended = self.inner.aead_done.borrow_mut();
        let count = ended.len().min(max);
        done.extend(ended.drain(..count));
        count
    }
}

impl Inner {
    fn aead_route(&self, algorithm: Algorithm) -> Option<usize> {
        self.aead_routes.get()[algorithm.index()].map(usize::from)
    }

    /// The channel that serves `op`; `None` also if it is not prepared.
    fn aead_route_of(&self, op: &Op) -> Option<usize> {
        let algorithm = op
            .algorithm()
            .filter(|_| op.status == OpStatus::NotProcessed)?;
        self.aead_route(algorithm)
    }

    /// Ends the first op of `ops`, of which there is one, and which no queue pair can; returns how many that are.
    fn compute_first(&self, ops: &mut Burst<Op>) -> usize {
        let mut op = ops.remove(0);
        let is_prepared = op.parts().is_some();
        cpu::run_aead(&mut op);
        let mut stats = self.stats.borrow_mut();
        if is_prepared {
            stats.unrouted_ops += 1;
        } else {
            stats.unprepared_ops += 1;
        }
        self.aead_done.borrow_mut().push_back(op);
        1
    }
}
