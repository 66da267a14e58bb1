//! The client's side: a queue pair whose ops travel to crypto cores.

use std::collections::VecDeque;
use std::sync::Arc;

use spinlane_cryptodev::{Burst, Capabilities, DeviceStats, OpStatus, Operation, QueuePair};

use crate::crypto_core::Served;
use crate::handle::Handle;
use crate::link::Link;

/// One link per crypto core. A burst goes to the core that has the fewest of this client's ops;
/// of equals to the first, which is another one for every client.
pub(crate) struct LookasideQueuePair<O: Operation> {
    name: Arc<str>,
    capabilities: Capabilities<O::Kind>,
    capacity: usize,
    links: Vec<Link<O>>,
    /// The link that `dequeue_burst` looks at first, so that none starves.
    turn: usize,
    /// Ops on their way out; empty between calls.
    outgoing: VecDeque<Box<O>>,
    /// Ops that no crypto core has taken: they come back by the next dequeue.
    failed: Burst<O>,
    stats: DeviceStats,
}

impl<O: Served> LookasideQueuePair<O> {
    /// Links to all of `cores` that still run; `None` if none does.
    pub(crate) fn attach(
        name: Arc<str>,
        capabilities: Capabilities<O::Kind>,
        capacity: usize,
        cores: &[Arc<Handle>],
        number: usize,
        stuck_after_ns: u64,
    ) -> Option<Self> {
        let first = number % cores.len();
        let links: Vec<Link<O>> = cores[first..]
            .iter()
            .chain(&cores[..first])
            .filter_map(|core| Link::new(core, capacity, stuck_after_ns))
            .collect();
        (!links.is_empty()).then(|| Self {
            name,
            capabilities,
            capacity,
            links,
            turn: 0,
            outgoing: VecDeque::with_capacity(capacity),
            failed: Burst::with_capacity(capacity),
            stats: DeviceStats::default(),
        })
    }

    /// Ops that may still come back. What a stuck core holds may not, and leaves its place to others.
    fn in_flight(&self) -> usize {
        let links = self.links.iter().filter(|link| !link.is_stuck());
        links.map(Link::in_flight).sum::<usize>() + self.failed.len()
    }
}

impl<O: Served> QueuePair<O> for LookasideQueuePair<O> {
    fn name(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn capabilities(&self) -> Capabilities<O::Kind> {
        self.capabilities
    }

    fn enqueue_burst(&mut self, ops: &mut Burst<O>) -> usize {
        let room = self.capacity.saturating_sub(self.in_flight());
        let usable = self.links.iter_mut().filter(|link| link.is_usable());
        let link = usable.min_by_key(|link| link.in_flight());
        let taken = match link {
            Some(link) => {
                let taken = ops.len().min(room).min(self.capacity - link.in_flight());
                let burst = ops.drain(..taken).map(not_processed);
                self.outgoing.extend(burst);
                link.submit(&mut self.outgoing);
                taken
            }
            // Nobody is there to serve them: they fail, so that the client falls back at once.
            None => {
                let taken = ops.len().min(room);
                self.failed.extend(ops.drain(..taken).map(failed));
                taken
            }
        };
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst<O>, max: usize, now_ns: u64) -> usize {
        let before = done.len();
        let count = self.links.len();
        for step in 0..count {
            let link = &mut self.links[(self.turn + step) % count];
            link.complete(done, max - (done.len() - before));
            link.mind(now_ns, &mut self.failed);
        }
        self.turn = (self.turn + 1) % count;
        let rest = self.failed.len().min(max - (done.len() - before));
        done.extend(self.failed.drain(..rest));
        let given = done.len() - before;
        let failures = done.iter().skip(before);
        let failures = failures.filter(|op| op.status != OpStatus::Success).count();
        self.stats.failed += failures as u64;
        self.stats.dequeued += given as u64;
        given
    }

    /// A crypto core runs what waits when it has nothing else to do.
    fn batches(&self) -> bool {
        false
    }

    fn stats(&self) -> DeviceStats {
        let mut stats = self.stats;
        for link in &self.links {
            stats += link.tally();
        }
        stats
    }

    /// What is in flight comes back to nobody. A crypto core that ended because the inner device
    /// panicked is started again.
    fn reset(&mut self) -> bool {
        self.failed.clear();
        let links = self.links.iter_mut();
        links.fold(true, |all, link| link.reset(self.capacity) & all)
    }

    fn xstats(&self) -> Vec<(&'static str, u64)> {
        let usable = self.links.iter().filter(|link| link.is_usable()).count();
        let lost = self.links.iter().map(Link::lost).sum();
        vec![("crypto_cores_usable", usable as u64), ("ops_lost", lost)]
    }
}

fn not_processed<O: Operation>(mut op: Box<O>) -> Box<O> {
    op.status = OpStatus::NotProcessed;
    op
}

pub(crate) fn failed<O: Operation>(mut op: Box<O>) -> Box<O> {
    op.status = OpStatus::Error;
    op
}
