//! A poll core's side: ops go to the worker that has least to do, and come back.

use std::collections::VecDeque;
use std::sync::Arc;

use spinlane_ring::{Consumer, Producer, ring};

use super::slot::{Bell, Port};
use super::sync::{AtomicU64, Ordering};
use super::{Backend, Job, Pool};
use crate::counters::count;
use crate::error::Failure;

/// Ops that a client has with one worker at most: the one that it works on and the next, so that it need not
/// wait for a poll. All others wait here, where any worker's next turn finds them.
const DEPTH: usize = 2;

/// One client's ends of its rings to one worker.
struct Link<J> {
    submissions: Producer<J>,
    completions: Consumer<J>,
    in_flight: usize,
}

/// What one thread sends ops by. Neither locks nor allocates per op; the only system call is the wake of a
/// worker that sleeps.
pub(crate) struct Client<B: Backend> {
    links: Vec<Link<B::Job>>,
    /// Ops for which no worker had room, oldest first, and since when.
    waiting: VecDeque<(B::Job, u64)>,
    /// Ops that ended without a worker.
    ended: VecDeque<B::Job>,
    bell: Arc<Bell>,
    /// The bell's count when it was looked at last.
    heard: u64,
    /// Ops with workers.
    in_flight: usize,
    /// The worker after the one that got an op last.
    cursor: usize,
    number: u64,
    wait_at_most_ns: u64,
    // Last, so that the rings are gone before the last client closes the pool.
    pool: Arc<Pool<B>>,
}

impl<B: Backend> Client<B> {
    /// A client for at most `capacity` ops in flight.
    pub(crate) fn new(pool: &Arc<Pool<B>>, capacity: usize, wait_at_most_ns: u64) -> Self {
        let number = pool.next_client();
        let bell = Arc::new(AtomicU64::new(0));
        let link = |slot: usize| {
            // DEPTH is within a ring's range; only memory could be lacking.
            let (submissions, theirs) = ring(DEPTH).ok()?;
            let (their_completions, completions) = ring(DEPTH).ok()?;
            let _ = pool.slots()[slot].attach(Port {
                client: number,
                submissions: theirs,
                completions: their_completions,
                bell: Arc::clone(&bell),
            });
            Some(Link {
                submissions,
                completions,
                in_flight: 0,
            })
        };
        Self {
            links: (0..pool.slots().len()).filter_map(link).collect(),
            waiting: VecDeque::with_capacity(capacity),
            ended: VecDeque::with_capacity(capacity),
            bell,
            heard: 0,
            in_flight: 0,
            cursor: 0,
            number,
            wait_at_most_ns,
            pool: Arc::clone(pool),
        }
    }

    /// Ops that it has taken and not given back.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.ended.len() + self.in_flight
    }

    /// Takes an op that ends without a worker.
    pub(crate) fn refuse(&mut self, mut job: B::Job, failure: Failure) {
        job.finish(Err(failure));
        self.ended.push_back(job);
    }

    /// Takes an op, which is sent at once if a worker has room.
    pub(crate) fn submit(&mut self, job: B::Job, now_ns: u64) {
        self.waiting.push_back((job, now_ns));
        self.dispatch();
    }

    /// Gives at most `max` ops that have ended to `done`; returns how many.
    pub(crate) fn collect(
        &mut self,
        max: usize,
        now_ns: u64,
        mut done: impl FnMut(B::Job),
    ) -> usize {
        if self.in_flight > 0 {
            self.pool.fail_what_came_too_late();
        }
        let heard = self.hear(max, &mut done);
        self.age(now_ns);
        self.dispatch();
        let ended = self.ended.len().min(max - heard);
        self.ended.drain(..ended).for_each(done);
        heard + ended
    }

    /// Gives what workers have finished to `done`; returns how many ops that are.
    fn hear(&mut self, max: usize, done: &mut impl FnMut(B::Job)) -> usize {
        // Acquire: pairs with the worker's Release, after which the op is in the ring.
        if self.bell.load(Ordering::Acquire) == self.heard {
            return 0;
        }
        let mut left = max;
        for link in self.links.iter_mut().filter(|link| link.in_flight > 0) {
            let burst = link.completions.pop_burst(left);
            let taken = burst.len();
            burst.for_each(&mut *done);
            link.in_flight -= taken;
            left -= taken;
        }
        let heard = max - left;
        self.in_flight -= heard;
        self.heard += heard as u64;
        heard
    }

    /// Ends what has waited too long.
    fn age(&mut self, now_ns: u64) {
        while let Some((_, since_ns)) = self.waiting.front()
            && now_ns.saturating_sub(*since_ns) > self.wait_at_most_ns
        {
            self.end_first(Failure::Waited);
        }
    }

    fn end_first(&mut self, failure: Failure) {
        if let Some((job, _)) = self.waiting.pop_front() {
            self.refuse(job, failure);
        }
    }

    /// Sends what waits, as far as there is room.
    fn dispatch(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if let Some(failure) = self.pool.failure() {
            while !self.waiting.is_empty() {
                self.end_first(failure);
            }
            return;
        }
        while let Some(at) = self.freest()
            && let Some((job, since_ns)) = self.waiting.pop_front()
        {
            let slot = &self.pool.slots()[at];
            let link = &mut self.links[at];
            // Before the push: a worker that is fast counts it back before this thread goes on.
            slot.load.fetch_add(1, Ordering::Relaxed);
            if let Err(full) = link.submissions.push(job) {
                slot.load.fetch_sub(1, Ordering::Relaxed);
                self.waiting.push_front((full.0, since_ns));
                debug_assert!(false, "a ring holds what is in flight");
                return;
            }
            link.in_flight += 1;
            self.in_flight += 1;
            self.cursor = at + 1;
            if slot.sleep.wake() {
                count(&self.pool.backend().counters().wakes);
            }
            if self.waiting.is_empty() {
                return;
            }
        }
    }

    /// The worker with the fewest ops among those that may have another of this client's; one without any if
    /// there is one, in turn.
    fn freest(&self) -> Option<usize> {
        let count = self.links.len();
        let mut best: Option<(u32, usize)> = None;
        for offset in 0..count {
            let at = (self.cursor + offset) % count;
            let slot = &self.pool.slots()[at];
            if self.links[at].in_flight == DEPTH || !slot.is_alive() {
                continue;
            }
            let load = slot.load.load(Ordering::Relaxed);
            if load == 0 {
                return Some(at);
            }
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, at));
            }
        }
        best.map(|(_, at)| at)
    }
}

impl<B: Backend> Drop for Client<B> {
    fn drop(&mut self) {
        // In a child process the locks may be held by threads that are not there.
        if !self.pool.backend().is_forked() {
            for slot in self.pool.slots() {
                slot.detach(self.number);
            }
        }
    }
}
