//! The client's side: a queue pair whose ops travel to crypto cores.

use std::sync::Arc;

use spinlane_cryptodev::{Capabilities, DeviceStats, Op, OpBurst, OpStatus, QueuePair};

use crate::handle::Handle;
use crate::link::Link;

/// One link per crypto core. A burst goes to the core that has the fewest of this client's ops;
/// of equals to the first, which is another one for every client.
pub(crate) struct LookasideQueuePair {
    name: Arc<str>,
    capabilities: Capabilities,
    capacity: usize,
    links: Vec<Link>,
    /// The link that `dequeue_burst` looks at first, so that none starves.
    turn: usize,
    /// Ops on their way out; empty between calls.
    outgoing: OpBurst,
    /// Ops that no crypto core has taken: they come back by the next dequeue.
    failed: OpBurst,
    stats: DeviceStats,
}

impl LookasideQueuePair {
    /// Links to all of `cores` that still run; `None` if none does.
    pub(crate) fn attach(
        name: Arc<str>,
        capabilities: Capabilities,
        capacity: usize,
        cores: &[Arc<Handle>],
        number: usize,
        stuck_after_ns: u64,
    ) -> Option<Self> {
        let first = number % cores.len();
        let links: Vec<Link> = cores[first..]
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
            outgoing: OpBurst::with_capacity(capacity),
            failed: OpBurst::with_capacity(capacity),
            stats: DeviceStats::default(),
        })
    }

    /// Ops that may still come back. What a stuck core holds may not, and leaves its place to others.
    fn in_flight(&self) -> usize {
        let links = self.links.iter().filter(|link| !link.is_stuck());
        links.map(Link::in_flight).sum::<usize>() + self.failed.len()
    }
}

impl QueuePair for LookasideQueuePair {
    fn name(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn enqueue_burst(&mut self, ops: &mut OpBurst) -> usize {
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

    fn dequeue_burst(&mut self, done: &mut OpBurst, max: usize, now_ns: u64) -> usize {
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

    /// Nothing: a crypto core runs what waits when it has nothing else to do.
    fn flush(&mut self) {}

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
    fn reset(&mut self) {
        self.failed.clear();
        for link in &mut self.links {
            link.reset(self.capacity);
        }
    }

    fn xstats(&self) -> Vec<(&'static str, u64)> {
        let usable = self.links.iter().filter(|link| link.is_usable()).count();
        let lost = self.links.iter().map(Link::lost).sum();
        vec![("crypto_cores_usable", usable as u64), ("ops_lost", lost)]
    }
}

fn not_processed(mut op: Box<Op>) -> Box<Op> {
    op.status = OpStatus::NotProcessed;
    op
}

pub(crate) fn failed(mut op: Box<Op>) -> Box<Op> {
    op.status = OpStatus::Error;
    op
}
