//! Workers: threads that wait for a module in place of poll cores.
//!
//! Knows no PKCS#11: what a worker does is its [`Backend`]'s.
//!
//! # Who owns what
//! 1. A client owns its ends of the rings; the workers' ends belong to the workers' [`Slot`]s.
//! 2. An op is in a client's queue, in a ring, or in a slot as the current one. A worker has a copy of its
//!    operands, so that an op can be taken from a worker that does not come back.
//! 3. The supervisor replaces workers that do not come back; so many at a time, and no more.
//! 4. Dropping the pool, which clients keep alive, closes the slots and waits for the threads that are not
//!    stuck.

mod client;
mod sleep;
mod slot;
mod supervisor;
mod sync;

use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use client::Client;
use slot::{Next, Slot};
use supervisor::Alarm;
use sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};

use crate::counters::{Counters, count};
use crate::error::{Error, Failure};

/// An op as the pool sees it.
pub(crate) trait Job: Send + 'static {
    /// A worker's own copy of the operands.
    type Task: Send + 'static;
    /// What a worker makes of them.
    type Outcome: Send + 'static;

    /// Copies the operands.
    fn task(&mut self) -> Self::Task;
    /// Takes the outcome.
    fn finish(&mut self, outcome: Result<Self::Outcome, Failure>);
}

/// What workers do.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The ops.
    type Job: Job;
    /// What a worker keeps from op to op. It is made, used and dropped on the worker's thread.
    type Session;

    /// A worker's first session, or a fresh one after a panic.
    fn session(&self) -> Self::Session;

    /// Runs an op. May take as long as it likes.
    fn serve(
        &self,
        session: &mut Self::Session,
        task: <Self::Job as Job>::Task,
    ) -> Result<<Self::Job as Job>::Outcome, Failure>;

    /// Whether this process is a copy of the one that opened it.
    fn is_forked(&self) -> bool;

    fn counters(&self) -> &Counters;
}

/// How many threads, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) workers: usize,
    pub(crate) stuck_after: Duration,
    pub(crate) stuck_threads: usize,
    pub(crate) close_within: Duration,
}

/// Worker threads, and their supervisor.
pub(crate) struct Pool<B: Backend> {
    shared: Arc<Shared<B>>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    clients: AtomicU64,
}

/// What the threads see.
struct Shared<B: Backend> {
    backend: B,
    slots: Vec<Slot<B::Job>>,
    limits: Limits,
    closed: AtomicBool,
    /// A worker without an op gives its session up.
    rests: AtomicBool,
    /// Threads that are stuck now.
    stuck: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    alarm: Alarm,
}

impl<B: Backend> Pool<B> {
    /// Starts the workers.
    pub(crate) fn start(backend: B, limits: Limits) -> Result<Arc<Self>, Error> {
        let shared = Arc::new(Shared {
            backend,
            slots: (0..limits.workers).map(|_| Slot::new()).collect(),
            limits,
            closed: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            stuck: AtomicUsize::new(0),
            threads: Mutex::new(Vec::new()),
            alarm: Alarm::default(),
        });
        // From here on a failure closes what has been started.
        let pool = Self {
            shared,
            supervisor: Mutex::new(None),
            clients: AtomicU64::new(0),
        };
        for slot in 0..limits.workers {
            pool.shared.start_worker(slot, 0).map_err(Error::Thread)?;
        }
        let shared = Arc::clone(&pool.shared);
        let supervisor = thread::Builder::new().name("pkcs11".to_owned());
        let supervisor = supervisor.spawn(move || supervisor::run(&shared));
        *lock(&pool.supervisor) = Some(supervisor.map_err(Error::Thread)?);
        Ok(Arc::new(pool))
    }

    pub(crate) fn backend(&self) -> &B {
        &self.shared.backend
    }

    fn slots(&self) -> &[Slot<B::Job>] {
        &self.shared.slots
    }

    fn next_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// Why no worker can be had at all, if that is so.
    fn failure(&self) -> Option<Failure> {
        if self.backend().is_forked() {
            return Some(Failure::Forked);
        }
        if self.shared.closed.load(Ordering::Relaxed) {
            return Some(Failure::Stopped);
        }
        let dead = !self.slots().iter().any(Slot::is_alive);
        dead.then_some(Failure::Stuck)
    }

    /// Ends ops that were sent while the pool was closed: nobody else looks for them. For clients, at every
    /// poll; costs a load as long as the pool is open.
    fn fail_what_came_too_late(&self) {
        if self.shared.closed.load(Ordering::Relaxed) && !self.backend().is_forked() {
            for slot in self.slots() {
                slot.fail_stragglers(Failure::Stopped);
            }
        }
    }

    /// Whether workers give their sessions up as soon as they have no op; returns what it was before.
    pub(crate) fn rest(&self, rests: bool) -> bool {
        let before = self.shared.rests.swap(rests, Ordering::Relaxed);
        if rests && !before && !self.backend().is_forked() {
            for slot in self.slots() {
                slot.sleep.wake();
            }
        }
        before
    }

    /// Ends all ops that wait, lets those finish that are begun, and ends the threads.
    pub(crate) fn close(&self) {
        if self.backend().is_forked() {
            return;
        }
        self.shared.closed.store(true, Ordering::Relaxed);
        for slot in self.slots() {
            slot.close();
        }
        self.shared.alarm.ring();
        if let Some(supervisor) = lock(&self.supervisor).take() {
            // It has caught every panic.
            let _ = supervisor.join();
        }
        let deadline = Instant::now() + self.shared.limits.close_within;
        while self.shared.reap() > self.shared.stuck.load(Ordering::Relaxed) {
            if Instant::now() > deadline {
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
        let left = self.shared.reap();
        if left > 0 {
            tracing::warn!("{left} threads are within the PKCS#11 module and are left there");
        }
    }
}

impl<B: Backend> Drop for Pool<B> {
    fn drop(&mut self) {
        if self.backend().is_forked() {
            // The threads are the parent's, and may hold any lock: all of it is left alone.
            std::mem::forget(Arc::clone(&self.shared));
            return;
        }
        self.close();
    }
}

impl<B: Backend> Shared<B> {
    fn start_worker(self: &Arc<Self>, slot: usize, epoch: u64) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        let builder = thread::Builder::new().name(format!("pkcs11-{slot}"));
        let thread = builder.spawn(move || shared.work(slot, epoch))?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Joins the threads that have ended; returns how many are left.
    fn reap(&self) -> usize {
        let mut threads = lock(&self.threads);
        let mut at = 0;
        while at < threads.len() {
            if threads[at].is_finished() {
                // It has caught every panic.
                let _ = threads.swap_remove(at).join();
            } else {
                at += 1;
            }
        }
        threads.len()
    }

    /// A worker's life.
    fn work(&self, slot: usize, mut epoch: u64) {
        let slot = &self.slots[slot];
        let mut session = self.backend.session();
        loop {
            match slot.take(epoch) {
                Next::Over => return,
                Next::Nothing => {
                    let rests = || self.rests.load(Ordering::Relaxed);
                    let rested = rests();
                    if rested {
                        session = self.backend.session();
                    }
                    // The wake that says so comes after the word.
                    let is_due = || slot.is_due(epoch) || (rests() && !rested);
                    slot.sleep.sleep_unless(is_due);
                }
                Next::Task(task) => {
                    let outcome = self.serve(&mut session, task);
                    if slot.finish(epoch, outcome) {
                        continue;
                    }
                    // Given up while it was in the module.
                    self.stuck.fetch_sub(1, Ordering::Relaxed);
                    count(&self.backend.counters().threads_returned);
                    match slot.revive() {
                        Some(another) => epoch = another,
                        None => return,
                    }
                }
            }
        }
    }

    fn serve(
        &self,
        session: &mut B::Session,
        task: <B::Job as Job>::Task,
    ) -> Result<<B::Job as Job>::Outcome, Failure> {
        let served = std::panic::AssertUnwindSafe(|| self.backend.serve(session, task));
        std::panic::catch_unwind(served).unwrap_or_else(|_| {
            count(&self.backend.counters().panics);
            *session = self.backend.session();
            Err(Failure::Panicked)
        })
    }
}

/// What is under these locks is whole at all times, so poison means nothing.
fn lock<T>(mutex: &Mutex<T>) -> sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom)))]
mod tests;

/// The hand-over in every interleaving: `make loom`.
#[cfg(all(test, loom))]
mod loom_tests;
