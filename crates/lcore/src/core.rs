//! The poll core: one bounded iteration per call of [`Lcore::poll`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use spinlane_crypto::fork_generation;
use spinlane_cryptodev::{HealthConfig, Op, QueuePair, Token, aead};
use spinlane_job::{self as job, Conn, Job, Notify, Status, set_restart_poll};

use crate::channel::{Channel, Ended, Told, slot_index};
use crate::clock::{Clock, TscClock};
use crate::defect::{Defect, has};
use crate::ready::ReadyQueue;
use crate::record_queue::Waiting;
use crate::retry::Refused;
use crate::route::Channels;
use crate::stats::Stats;
use crate::submit::Place;

/// Idle stacks of jobs are wiped, and some given back, that often.
const TEND_STACKS_EVERY_NS: u64 = 10_000_000;

thread_local! {
    /// Emptied by [`Entered`] and never dropped, so that destructors of other data, which run when the
    /// thread or the process ends, may still ask for it.
    static CURRENT: ManuallyDrop<RefCell<Option<Lcore>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Settings of an lcore.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Callbacks of one poll that take longer in all are counted as slow. Nanoseconds; default
    /// 10 µs, a hundred times what they should.
    pub slow_callback_ns: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slow_callback_ns: 10_000,
        }
    }
}

/// What one poll did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Ops that came back from devices, wanted or not.
    pub completed: usize,
    /// Connections taken from the retry queue.
    pub retried: usize,
    /// Whether partial batches were started because there was nothing else to do.
    pub flushed: bool,
}

/// A poll from within a callback, which must queue what it wants done and return; or from
/// within a job, whose stack is too small for a device's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPoll;

impl fmt::Display for NoPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "poll called from within a callback or a job; let a callback queue its work and \
             return, let a job pause",
        )
    }
}

impl std::error::Error for NoPoll {}

/// A poll core. A handle: clones share one core. Stays on the thread that made it.
#[derive(Clone)]
pub struct Lcore {
    pub(crate) inner: Rc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    /// [`fork_generation`] of the process that made it.
    pub(crate) generation: u64,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) channels: RefCell<Channels<Op>>,
    pub(crate) records: RefCell<Channels<aead::Op>>,
    /// Records that have ended, until they are dequeued.
    pub(crate) records_done: RefCell<Ended>,
    /// Records of queues, until the next poll.
    pub(crate) records_waiting: RefCell<Waiting>,
    ready: RefCell<ReadyQueue>,
    told: Cell<Told>,
    polling: Cell<bool>,
    pub(crate) worked: Cell<bool>,
    /// When idle stacks are tended next.
    tend_stacks_ns: Cell<u64>,
    /// Whether stacks with secrets wait until then, or until a poll finds nothing to do.
    stacks_wait: Cell<bool>,
    pub(crate) stats: RefCell<Stats>,
}

impl Default for Lcore {
    /// An lcore with the default settings.
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Lcore {
    /// An lcore on the TSC, without queue pairs.
    pub fn new(config: Config) -> Self {
        Self::with_clock(config, Box::new(TscClock::new()))
    }

    /// An lcore on another clock, for simulations.
    pub fn with_clock(config: Config, clock: Box<dyn Clock>) -> Self {
        set_restart_poll(Some(restart_poll));
        let inner = Inner {
            config,
            generation: fork_generation(),
            clock,
            channels: RefCell::default(),
            records: RefCell::default(),
            records_done: RefCell::default(),
            records_waiting: RefCell::default(),
            ready: RefCell::default(),
            told: Cell::default(),
            polling: Cell::new(false),
            worked: Cell::new(false),
            tend_stacks_ns: Cell::new(0),
            stacks_wait: Cell::new(false),
            stats: RefCell::default(),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// Adds a queue pair. Queue pairs that serve one kind share its ops, by how many each has in flight; those of
    /// a device that is unhealthy go to the others. When it is, the driver says ([`QueuePair::health`]).
    pub fn add_queue_pair(&self, queue_pair: Box<dyn QueuePair>) {
        let health = queue_pair.health();
        self.add_queue_pair_with(queue_pair, health);
    }

    /// The same with `health` in place of what the driver says.
    pub fn add_queue_pair_with(&self, queue_pair: Box<dyn QueuePair>, health: HealthConfig) {
        let channel = Channel::new(queue_pair, health);
        self.inner.channels.borrow_mut().push(channel);
    }

    /// Runs `call` with this as the thread's current lcore: jobs that are started or resumed in it submit to
    /// it, and a resume that comes too early polls it. What a connection that is attached to an lcore does
    /// runs so by itself.
    #[inline]
    pub fn run<T>(&self, call: impl FnOnce() -> T) -> T {
        let is_this = |current: &Self| Rc::ptr_eq(&current.inner, &self.inner);
        if Self::with_current(is_this) == Some(true) {
            return call();
        }
        let _entered = self.enter();
        call()
    }

    /// Makes this the current lcore of the thread until the guard is dropped. For whoever runs jobs of its own,
    /// and for layers whose API has one lcore per thread, as C's has.
    #[must_use = "the lcore is current only as long as the guard lives"]
    pub fn enter(&self) -> Entered {
        Entered {
            previous: CURRENT.with(|current| current.replace(Some(self.clone()))),
        }
    }

    /// One iteration: collects what the devices have finished, sets statuses and makes
    /// callbacks, resumes retries by free slots; starts partial batches if all that, and the
    /// application since the last poll, found nothing to do.
    ///
    /// What a job left of secrets on its stack is wiped at the job's end. Only while a program keeps polling under load,
    /// the stack waits: for the first poll that finds nothing to do, for 10 ms at most, or until
    /// the lcore goes. So a program that is about to rest polls once more.
    ///
    /// # Errors
    /// [`NoPoll`] when called from within a callback or a job; counted.
    pub fn poll(&self) -> Result<Polled, NoPoll> {
        self.iterate(true)
    }

    /// `again`: whoever polls goes on to.
    fn iterate(&self, again: bool) -> Result<Polled, NoPoll> {
        let inner = &*self.inner;
        if let Err(error) = self.can_poll() {
            inner.stats.borrow_mut().reentrant_polls += 1;
            return Err(error);
        }
        inner.polling.set(true);
        let _leave = Leave(&inner.polling);
        inner.send_records();
        let start_ns = inner.clock.now_ns();
        let mut now_ns = start_ns;
        let mut polled = Polled {
            completed: inner.collect(&mut now_ns) + inner.collect_records(&mut now_ns),
            ..Polled::default()
        };
        polled.retried = inner.grant();
        let worked = inner.worked.replace(false) || polled.completed + polled.retried != 0;
        if !worked && inner.ready.borrow().len() == 0 && inner.flush() {
            polled.flushed = true;
            now_ns = inner.clock.now_ns();
            polled.completed = inner.collect(&mut now_ns) + inner.collect_records(&mut now_ns);
            polled.retried = inner.grant();
        }
        inner.ready.borrow_mut().begin_turn();
        inner.account(polled, now_ns - start_ns);
        let is_idle = !worked && polled == Polled::default() && inner.ready.borrow().len() == 0;
        inner.tend_stacks(start_ns, is_idle, again);
        Ok(polled)
    }

    /// Whether a poll would not be refused now: nobody polls it further out on this stack, and this is no
    /// job's. What a poll uses, its queue pairs above all, may then be given back.
    ///
    /// # Errors
    /// [`NoPoll`] within a callback or a job.
    pub fn can_poll(&self) -> Result<(), NoPoll> {
        match job::on_job() || self.inner.polling.get() {
            true => Err(NoPoll),
            false => Ok(()),
        }
    }

    /// The next connection that can go on; call until `None` after each poll. What becomes
    /// ready meanwhile waits for the next poll, so that this ends.
    #[inline]
    pub fn next_ready(&self) -> Option<Conn> {
        self.inner.ready.borrow_mut().next()
    }

    /// Takes `conn` out of the ready queue and the retry queues: it is being closed. As long as those.
    pub fn forget(&self, conn: Conn) {
        self.inner.ready.borrow_mut().forget(conn);
        for channel in self.inner.channels.borrow_mut().all.iter_mut() {
            channel.forget(conn);
        }
    }

    /// Puts a connection into the ready queue. This is what a callback does.
    #[inline]
    pub fn make_ready(&self, conn: Conn) {
        self.inner.ready.borrow_mut().push(conn);
    }

    /// Puts whoever is to hear of `job` into the retry queue of the queue pair that refused its last
    /// submission (status EAGAIN), at the place that the time of the refusal gives it: a name comes out of
    /// [`Lcore::next_ready`] in its turn. Does nothing if the job is there already. A job that was
    /// not refused may go on at once.
    pub fn retry(&self, notify: impl Into<Notify>, job: &Rc<Job>) {
        let (number, notify) = (job.refusal(), notify.into());
        let mut channels = self.inner.channels.borrow_mut();
        let channel = channels.all.get_mut(slot_index(Token(number)));
        if let Some(channel) = channel.filter(|_| number != 0) {
            let (ops, job) = (job.refused_ops(), Some(Rc::clone(job)));
            channel.retry(Refused {
                number,
                ops,
                job,
                notify,
            });
        } else {
            // Whoever is told may call back.
            drop(channels);
            self.inner.tell(notify);
        }
    }

    /// Notifies of a completion. For front-ends that are told of it in a way of their own, as libssl's.
    pub fn notify(&self, notify: Notify) {
        self.inner.tell(notify);
    }

    /// Notifies of a refusal of `job`'s, which runs. What is called is called at once; whoever has a name, or
    /// is to be woken, hears of it in its turn.
    pub fn notify_of_refusal(&self, notify: Notify, job: &Rc<Job>) {
        match notify {
            Notify::Foreign(foreign) => foreign.call(),
            notify => self.retry(notify, job),
        }
    }

    /// Says that the application did something since the last poll that may yet lead to ops:
    /// partial batches wait for the next turn. Submissions say so by themselves.
    pub fn note_work(&self) {
        self.inner.worked.set(true);
    }

    /// Whether a device serves it, in this process.
    pub fn is_served(&self) -> bool {
        !self.is_of_parent() && !self.inner.channels.borrow().all.is_empty()
    }

    /// Whether it was made before this process was forked: its queue pairs are the parent's, so
    /// nothing may be submitted and nothing comes back.
    pub fn is_of_parent(&self) -> bool {
        self.inner.generation != fork_generation()
    }

    /// Connections that can go on, those that became so since the last poll included.
    pub fn ready(&self) -> usize {
        self.inner.ready.borrow().len()
    }

    /// Ops with the devices now, or waiting for software in a device's place; records of queues also before.
    pub fn in_flight(&self) -> usize {
        let channels = self.inner.channels.borrow();
        let records = self.inner.records.borrow();
        channels.all.iter().map(Channel::in_flight).sum::<usize>()
            + records.all.iter().map(Channel::in_flight).sum::<usize>()
            + self.inner.records_waiting.borrow().len()
    }

    /// Nanoseconds on this lcore's clock.
    pub fn now_ns(&self) -> u64 {
        self.inner.clock.now_ns()
    }

    /// The counters so far.
    pub fn stats(&self) -> Stats {
        let mut stats = self.inner.stats.borrow().clone();
        let channels = self.inner.channels.borrow();
        stats.channels = channels.all.iter().map(Channel::stats).collect();
        let records = self.inner.records.borrow();
        stats.records = records.all.iter().map(Channel::stats).collect();
        stats
    }

    /// Runs `visit` with the thread's current lcore.
    pub(crate) fn with_current<T>(visit: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.with(|current| current.borrow().as_ref().map(visit))
    }

    /// The thread's current lcore. See [`Lcore::enter`].
    pub fn current() -> Option<Self> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Gives a finished op's memory to `read` and its slot back; `None` if it is not there.
    pub(crate) fn finish<T>(&self, place: Place, read: impl FnOnce(&Op) -> T) -> Option<T> {
        self.inner.channels.borrow_mut().finish(place, read)
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Stats)) {
        count(&mut self.inner.stats.borrow_mut());
    }
}

impl Inner {
    /// Takes finished ops from every queue pair and tells whoever waits for them. No channel
    /// is borrowed during a callback, which may well close a connection. `now_ns` goes along with
    /// the clock, which costs as much to read as a callback.
    fn collect(&self, now_ns: &mut u64) -> usize {
        let mut told = self.told.take();
        let (mut count, mut callbacks) = (0, 0);
        let channels = self.channels.borrow().all.len();
        for index in 0..channels {
            count += self
                .channels
                .borrow_mut()
                .collect(index, &*self.clock, now_ns, &mut told);
            for job in told.jobs.drain(..) {
                callbacks += u64::from(self.call_back(&job));
            }
            for notify in told.tickets.drain(..) {
                callbacks += 1;
                self.tell(notify);
            }
        }
        if callbacks != 0 {
            let after_ns = self.clock.now_ns();
            let slow = after_ns.saturating_sub(*now_ns) > self.config.slow_callback_ns;
            *now_ns = after_ns;
            let mut stats = self.stats.borrow_mut();
            stats.callbacks += callbacks;
            stats.slow_callbacks += u64::from(slow);
        }
        self.told.set(told);
        count
    }

    /// Tells whoever was refused and whose turn has come; returns how many.
    fn grant(&self) -> usize {
        let mut told = self.told.take();
        let others = &mut told.tickets;
        let mut ready = self.ready.borrow_mut();
        let mut channels = self.channels.borrow_mut();
        let tell = |notify| match notify {
            Notify::Conn(conn) => ready.push(conn),
            other => others.push(other),
        };
        let count = grant_all(&mut channels.all, tell);
        drop((ready, channels));
        others.drain(..).for_each(|notify| self.tell(notify));
        self.told.set(told);
        count
    }

    fn tell(&self, notify: Notify) {
        notify.tell(|conn| self.ready.borrow_mut().push(conn));
    }

    /// Notifies of a job whose ops are done, unless the job went away in the meantime: an earlier
    /// callback of the same poll may have closed its connection.
    fn call_back(&self, job: &Job) -> bool {
        let waits = job.awaited() != 0 && job.is_complete();
        let Some(notify) = job.notify().filter(|_| waits || has(Defect::Orphan)) else {
            return false;
        };
        if has(Defect::CallbackTwice) {
            self.tell(notify.clone());
        }
        self.tell(notify);
        if has(Defect::StatusAfterCallback) {
            job.set_status(Status::OK);
        }
        true
    }

    /// Returns whether there was anything to flush.
    fn flush(&self) -> bool {
        let mut flushed = false;
        for channel in &mut self.channels.borrow_mut().all {
            if channel.may_flush() {
                channel.flush();
                flushed = true;
            }
        }
        for channel in &mut self.records.borrow_mut().all {
            if channel.may_flush() {
                channel.flush();
                flushed = true;
            }
        }
        flushed
    }

    fn collect_records(&self, now_ns: &mut u64) -> usize {
        let mut done = self.records_done.borrow_mut();
        let mut records = self.records.borrow_mut();
        let all = records.all.iter_mut();
        let count = all
            .map(|channel| channel.collect(&*self.clock, now_ns, &mut done))
            .sum();
        if !done.queues.is_empty() {
            let mut queues = std::mem::take(&mut done.queues);
            drop((done, records));
            self.stats.borrow_mut().callbacks += queues.len() as u64;
            let told = queues.drain(..).filter_map(|queue| queue.told());
            told.for_each(|notify| self.tell(notify));
            self.records_done.borrow_mut().queues = queues;
        }
        count
    }

    /// Has stacks with secrets wiped, and says whether those of jobs that end from here on are to wait:
    /// only if whoever polls has done so for a while and has work, for the poll that wipes them must come.
    fn tend_stacks(&self, now_ns: u64, is_idle: bool, again: bool) {
        let due_ns = self.tend_stacks_ns.get();
        if now_ns >= due_ns {
            self.tend_stacks_ns
                .set(now_ns.saturating_add(TEND_STACKS_EVERY_NS));
            job::give_back(now_ns);
            let in_time = now_ns - due_ns < TEND_STACKS_EVERY_NS;
            self.stacks_wait.set(again && in_time && !is_idle);
            if self.stacks_wait.get() {
                job::defer_wipes();
            }
        } else if is_idle && self.stacks_wait.replace(false) {
            job::wipe_stacks();
        }
    }

    fn account(&self, polled: Polled, took_ns: u64) {
        let mut stats = self.stats.borrow_mut();
        stats.iterations += 1;
        if polled == Polled::default() {
            stats.empty_polls += 1;
        } else {
            stats.busy_ns += took_ns;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.stacks_wait.get() {
            job::wipe_stacks();
        }
    }
}

fn grant_all(channels: &mut [Channel<Op>], mut tell: impl FnMut(Notify)) -> usize {
    let granted = channels.iter_mut();
    granted.map(|channel| channel.grant(&mut tell)).sum()
}

/// A job was resumed before its op was done: polls on the caller's stack.
fn restart_poll() {
    if let Some(lcore) = Lcore::current() {
        lcore.count(|stats| stats.restart_polls += 1);
        // Refused from within a callback, where the poll goes on anyway.
        let _ = lcore.iterate(false);
    }
}

/// Ends a poll, even if a callback panics.
struct Leave<'a>(&'a Cell<bool>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The time during which an lcore is the current one of its thread.
pub struct Entered {
    previous: Option<Lcore>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let previous = self.previous.take();
        CURRENT.with(|current| current.replace(previous));
    }
}
