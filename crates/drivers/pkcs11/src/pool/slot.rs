//! A worker's place: the rings that lead to it, the op that it works on, and who the worker is.
//!
//! Rings belong to the place and not to a thread. A thread that does not come back from the module holds
//! nothing but its own copy of an op's operands; the op, and all that wait behind it, are taken from it.
//!
//! ```text
//!  poll core A ──submissions──▶ ┐ ports (round robin)   current op
//!              ◀─completions─── │ A ─┐                  ┌ taken by the thread of this epoch,
//!  poll core B ──submissions──▶ │ B ─┴── take ────────▶ │ finished by it,
//!              ◀─completions─── ┘                       └ or by the supervisor if it is stuck
//! ```

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use spinlane_ring::{Consumer, Producer};

use super::Job;
use super::sleep::Sleep;
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::error::Failure;

/// Counts completions for one client, which looks at its rings only when the count has moved.
pub(crate) type Bell = AtomicU64;

/// The worker's ends of a client's rings.
pub(crate) struct Port<J> {
    /// Its client's number.
    pub(crate) client: u64,
    pub(crate) submissions: Consumer<J>,
    pub(crate) completions: Producer<J>,
    pub(crate) bell: Arc<Bell>,
}

pub(crate) struct Slot<J: Job> {
    pub(crate) sleep: Sleep,
    /// Ops sent here and not given back, of all clients: who looks for a free worker takes the least.
    pub(crate) load: AtomicU32,
    /// A thread serves it.
    alive: AtomicBool,
    inner: Mutex<Inner<J>>,
}

struct Inner<J> {
    ports: Vec<Port<J>>,
    /// Where the next op is looked for first.
    next: usize,
    /// Counts the threads that have served here; only the last one does.
    epoch: u64,
    current: Option<Current<J>>,
    /// All is over.
    closed: bool,
}

struct Current<J> {
    job: J,
    client: u64,
    since: Instant,
}

/// What a worker finds.
pub(crate) enum Next<T> {
    /// An op's operands.
    Task(T),
    /// Nothing at the moment.
    Nothing,
    /// Another thread serves here by now, or nobody shall.
    Over,
}

impl<J: Job> Slot<J> {
    pub(crate) fn new() -> Self {
        Self {
            sleep: Sleep::default(),
            load: AtomicU32::new(0),
            alive: AtomicBool::new(true),
            inner: Mutex::new(Inner {
                ports: Vec::new(),
                next: 0,
                epoch: 0,
                current: None,
                closed: false,
            }),
        }
    }

    /// Whether a thread serves it. Relaxed: ops sent to one that has died come back failed.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Takes a client's ends; `false` if all is over.
    pub(crate) fn attach(&self, port: Port<J>) -> bool {
        let mut inner = self.lock();
        if !inner.closed {
            inner.ports.push(port);
        }
        !inner.closed
    }

    /// Lets go of a client's ends, and of the ops in them.
    pub(crate) fn detach(&self, client: u64) {
        let mut inner = self.lock();
        let Some(at) = inner.ports.iter().position(|port| port.client == client) else {
            return;
        };
        let port = inner.ports.swap_remove(at);
        drop(inner);
        self.load
            .fetch_sub(port.submissions.len() as u32, Ordering::Relaxed);
    }

    /// The next op's operands for the thread of `epoch`, clients in turn.
    pub(crate) fn take(&self, epoch: u64) -> Next<J::Task> {
        let mut inner = self.lock();
        if inner.closed || inner.epoch != epoch {
            return Next::Over;
        }
        let count = inner.ports.len();
        for offset in 0..count {
            let at = (inner.next + offset) % count;
            let port = &mut inner.ports[at];
            if let Some(mut job) = port.submissions.pop() {
                let client = port.client;
                let task = job.task();
                inner.next = at + 1;
                inner.current = Some(Current {
                    job,
                    client,
                    since: Instant::now(),
                });
                return Next::Task(task);
            }
        }
        Next::Nothing
    }

    /// Whether the thread of `epoch` has something to do, or has to go.
    pub(crate) fn is_due(&self, epoch: u64) -> bool {
        let inner = self.lock();
        inner.closed
            || inner.epoch != epoch
            || inner.ports.iter().any(|port| !port.submissions.is_empty())
    }

    /// Gives the current op back with `outcome`. Returns `false` if the thread of `epoch` has been given up
    /// meanwhile, and the op with it.
    pub(crate) fn finish(&self, epoch: u64, outcome: Result<J::Outcome, Failure>) -> bool {
        let mut inner = self.lock();
        if inner.epoch != epoch {
            return false;
        }
        self.end_current(&mut inner, outcome);
        true
    }

    fn end_current(&self, inner: &mut Inner<J>, outcome: Result<J::Outcome, Failure>) {
        if let Some(Current {
            mut job, client, ..
        }) = inner.current.take()
        {
            job.finish(outcome);
            let port = inner.ports.iter_mut().find(|port| port.client == client);
            self.give_back(port, job);
        }
    }

    /// Sends an op home, if its client is still there.
    fn give_back(&self, port: Option<&mut Port<J>>, job: J) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        if let Some(port) = port {
            // A client has no more ops here than its rings hold.
            let pushed = port.completions.push(job);
            debug_assert!(pushed.is_ok(), "room for all that is in flight");
            // Release: whoever sees the count finds the op in the ring.
            port.bell.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes the op from a thread that has not come back with it for `stuck_after`. Returns the epoch of the
    /// thread that shall take its place; none shall if `may_replace` says so, and what waits fails.
    pub(crate) fn give_up_stuck(
        &self,
        stuck_after: Duration,
        may_replace: impl FnOnce() -> bool,
    ) -> Option<u64> {
        let mut inner = self.lock();
        let since = inner.current.as_ref()?.since;
        if since.elapsed() < stuck_after {
            return None;
        }
        inner.epoch += 1;
        self.end_current(&mut inner, Err(Failure::Stuck));
        // Under the lock, so that the thread finds all of it done if it comes back now.
        if may_replace() {
            return Some(inner.epoch);
        }
        self.alive.store(false, Ordering::Relaxed);
        self.fail_waiting(&mut inner, Failure::Stuck);
        None
    }

    /// No thread serves here: what waits fails, and nothing more is sent.
    pub(crate) fn die(&self, failure: Failure) {
        self.alive.store(false, Ordering::Relaxed);
        self.fail_waiting(&mut self.lock(), failure);
    }

    /// A client may not have seen yet that nobody serves here.
    pub(crate) fn fail_stragglers(&self, failure: Failure) {
        if !self.is_alive() {
            self.fail_waiting(&mut self.lock(), failure);
        }
    }

    /// Returns the epoch of a thread that shall serve here, if none does.
    pub(crate) fn revive(&self) -> Option<u64> {
        let mut inner = self.lock();
        if inner.closed || self.is_alive() {
            return None;
        }
        inner.epoch += 1;
        self.alive.store(true, Ordering::Relaxed);
        Some(inner.epoch)
    }

    /// Ends it: what waits fails, and its thread goes when it has finished its op.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        self.alive.store(false, Ordering::Relaxed);
        self.fail_waiting(&mut inner, Failure::Stopped);
        drop(inner);
        self.sleep.wake();
    }

    fn fail_waiting(&self, inner: &mut Inner<J>, failure: Failure) {
        for port in &mut inner.ports {
            while let Some(mut job) = port.submissions.pop() {
                job.finish(Err(failure));
                self.give_back(Some(port), job);
            }
        }
    }

    /// No code that can panic runs under the lock but an op's own, so poison means nothing.
    fn lock(&self) -> MutexGuard<'_, Inner<J>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
