//! A queue pair that does what the test says and writes down what it gets, a clock that
//! stands still, and the smallest front-end there can be.
#![allow(dead_code, reason = "each test crate uses its part of it")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;
use std::rc::Rc;

use spinlane_cryptodev::{
    Burst, Capabilities, DeviceStats, Op, OpKind, OpStatus, QueuePair, Request, Token, cpu,
};
use spinlane_job::{self as job, Foreign, Job, Progress, Status, WaitCtx};
use spinlane_lcore::{
    Clock, Config, Conn, Entered, HealthConfig, Lcore, OffloadError, Polled, offload,
};

/// Time that passes when the test says so. Nanoseconds.
#[derive(Clone, Default)]
pub struct TestClock(pub Rc<Cell<u64>>);

impl TestClock {
    pub fn advance(&self, ns: u64) {
        self.0.set(self.0.get() + ns);
    }
}

impl Clock for TestClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }
}

/// The test's end of a queue pair.
#[derive(Clone)]
pub struct Handle(Rc<Inner>);

struct Inner {
    capacity: usize,
    capabilities: Capabilities,
    /// What it takes at most, where that is less than the capacity it states.
    room: Cell<usize>,
    held: RefCell<VecDeque<Box<Op>>>,
    /// How many held ops may come back.
    released: Cell<usize>,
    /// A flush releases all that is held.
    batching: Cell<bool>,
    enqueue_calls: Cell<usize>,
    peak: Cell<usize>,
    flushes: Cell<usize>,
    next_status: Cell<OpStatus>,
    /// Computes as a device should.
    computes: Cell<bool>,
    inline: Cell<bool>,
    /// Whether a flush is of any use.
    batches: Cell<bool>,
    resets: Cell<usize>,
    /// Its own deadline.
    health: Cell<HealthConfig>,
    /// It lets go of nothing when it is reset.
    clings: Cell<bool>,
    /// The first thousand.
    tokens: RefCell<Vec<Token>>,
    clock: TestClock,
    /// Nanoseconds that a dequeue which gives ops back takes.
    dequeue_ns: Cell<u64>,
}

/// What a device answers to `input`: any function will do.
pub fn answer(input: &[u8]) -> [u8; 32] {
    std::array::from_fn(|index| {
        input
            .iter()
            .skip(index)
            .step_by(32)
            .fold(0x5A, |a, b| a ^ b)
    })
}

impl Handle {
    pub fn new(capacity: usize, capabilities: Capabilities, clock: &TestClock) -> Self {
        Self(Rc::new(Inner {
            capacity,
            capabilities,
            room: Cell::new(usize::MAX),
            held: RefCell::default(),
            released: Cell::new(0),
            batching: Cell::new(false),
            enqueue_calls: Cell::new(0),
            peak: Cell::new(0),
            flushes: Cell::new(0),
            next_status: Cell::new(OpStatus::Success),
            computes: Cell::new(false),
            inline: Cell::new(false),
            batches: Cell::new(true),
            resets: Cell::new(0),
            health: Cell::default(),
            clings: Cell::new(false),
            tokens: RefCell::new(Vec::with_capacity(1000)),
            clock: clock.clone(),
            dequeue_ns: Cell::new(0),
        }))
    }

    pub fn queue_pair(&self) -> Box<dyn QueuePair> {
        Box::new(TestPair(Rc::clone(&self.0)))
    }

    /// Lets `count` more ops come back.
    pub fn release(&self, count: usize) {
        self.0.released.set(self.0.released.get() + count);
    }

    /// Ops that come back from now on do so with `status`.
    pub fn answer_with(&self, status: OpStatus) {
        self.0.next_status.set(status);
    }

    /// Only a flush lets ops come back, all of them.
    pub fn hold_until_flush(&self) {
        self.0.batching.set(true);
    }

    pub fn take_at_most(&self, room: usize) {
        self.0.room.set(room);
    }

    pub fn dequeue_takes_ns(&self, ns: u64) {
        self.0.dequeue_ns.set(ns);
    }

    /// Puts an op of the device's own making among those that come back next.
    pub fn forge(&self, token: Token) {
        let mut op = Op::new();
        op.prepare(token, &Request::x25519_keygen(&[0xEE; 32]), 0);
        self.0.held.borrow_mut().push_front(op);
        self.release(1);
    }

    /// From now on its answers are right.
    pub fn compute(&self) {
        self.0.computes.set(true);
    }

    /// Says of itself that it computes on the poll core's stack. Before it is added.
    pub fn be_inline(&self) {
        self.0.inline.set(true);
    }

    /// Ops never wait in it for a flush. Before it is added.
    pub fn never_batch(&self) {
        self.0.batches.set(false);
    }

    /// Takes what is held out of the device.
    pub fn steal(&self) -> VecDeque<Box<Op>> {
        self.0.held.take()
    }

    /// Puts back what was taken, to come back next.
    pub fn give_back(&self, ops: VecDeque<Box<Op>>) {
        self.release(ops.len());
        *self.0.held.borrow_mut() = ops;
    }

    /// It has a deadline of its own.
    pub fn set_health(&self, health: HealthConfig) {
        self.0.health.set(health);
    }

    /// From now on a reset does not make it let go.
    pub fn cling(&self) {
        self.0.clings.set(true);
    }

    pub fn resets(&self) -> usize {
        self.0.resets.get()
    }

    /// Turns the order of what is held round.
    pub fn reverse(&self) {
        self.0.held.borrow_mut().make_contiguous().reverse();
    }

    pub fn held(&self) -> usize {
        self.0.held.borrow().len()
    }

    pub fn enqueue_calls(&self) -> usize {
        self.0.enqueue_calls.get()
    }

    pub fn peak(&self) -> usize {
        self.0.peak.get()
    }

    pub fn flushes(&self) -> usize {
        self.0.flushes.get()
    }

    /// Tokens in the order in which their ops came in.
    pub fn tokens(&self) -> Vec<Token> {
        self.0.tokens.borrow().clone()
    }
}

struct TestPair(Rc<Inner>);

impl QueuePair for TestPair {
    fn name(&self) -> &str {
        "test"
    }

    fn capacity(&self) -> usize {
        self.0.capacity
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let inner = &*self.0;
        inner.enqueue_calls.set(inner.enqueue_calls.get() + 1);
        let mut held = inner.held.borrow_mut();
        let room = inner
            .capacity
            .min(inner.room.get())
            .saturating_sub(held.len());
        let count = room.min(ops.len());
        for op in ops.drain(..count) {
            let mut tokens = inner.tokens.borrow_mut();
            if tokens.len() < tokens.capacity() {
                tokens.push(op.token);
            }
            held.push_back(op);
        }
        inner.peak.set(inner.peak.get().max(held.len()));
        count
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, _now_ns: u64) -> usize {
        assert!(!job::on_job(), "device work runs on the poller's stack");
        let inner = &*self.0;
        let mut held = inner.held.borrow_mut();
        let count = inner.released.get().min(held.len()).min(max);
        inner.released.set(inner.released.get() - count);
        for mut op in held.drain(..count) {
            if inner.computes.get() {
                cpu::run(&mut op);
            } else {
                let (input, output) = op.buffers();
                let result = answer(input);
                output.copy_from_slice(&result[..output.len()]);
                op.status = OpStatus::Success;
            }
            if inner.next_status.get() != OpStatus::Success {
                op.status = inner.next_status.get();
            }
            done.push(op);
        }
        if count != 0 {
            inner.clock.advance(inner.dequeue_ns.get());
        }
        count
    }

    fn flush(&mut self) {
        let inner = &*self.0;
        inner.flushes.set(inner.flushes.get() + 1);
        if inner.batching.get() {
            inner.released.set(inner.held.borrow().len());
        }
    }

    fn stats(&self) -> DeviceStats {
        DeviceStats::default()
    }

    fn is_inline(&self) -> bool {
        self.0.inline.get()
    }

    fn batches(&self) -> bool {
        self.0.batches.get()
    }

    fn health(&self) -> HealthConfig {
        self.0.health.get()
    }

    fn reset(&mut self) -> bool {
        self.0.resets.set(self.0.resets.get() + 1);
        !self.0.clings.get()
    }
}

/// Failures show: what the device answers is not what software would.
pub fn without_fallback() -> HealthConfig {
    HealthConfig {
        fallback: false,
        ..HealthConfig::default()
    }
}

/// An entered lcore on a still clock, with one queue pair for all kinds.
pub struct Bench {
    pub lcore: Lcore,
    pub device: Handle,
    pub clock: TestClock,
    _entered: Entered,
}

impl Bench {
    pub fn new(capacity: usize) -> Self {
        let clock = TestClock::default();
        let device = Handle::new(capacity, Capabilities::ALL, &clock);
        Self::with(without_fallback(), device, clock)
    }

    /// With a device that computes, and software in its place where it does not.
    pub fn with_fallback(capacity: usize, health: HealthConfig) -> Self {
        let clock = TestClock::default();
        let device = Handle::new(capacity, Capabilities::ALL, &clock);
        device.compute();
        Self::with(health, device, clock)
    }

    pub fn with(health: HealthConfig, device: Handle, clock: TestClock) -> Self {
        device.set_health(health);
        let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
        lcore.add_queue_pair(device.queue_pair());
        Self {
            _entered: lcore.enter(),
            lcore,
            device,
            clock,
        }
    }

    /// Sessions 0 to `count - 1`, not started.
    pub fn sessions(&self, count: u64) -> Vec<Rc<Session>> {
        (0..count).map(|id| Session::new(&self.lcore, id)).collect()
    }

    /// A session whose op the device holds.
    pub fn in_flight(&self, id: u64) -> Rc<Session> {
        let session = Session::new(&self.lcore, id);
        session.start(1);
        assert_eq!(session.ctx.status(), Status::OK);
        session
    }

    pub fn poll(&self) -> Polled {
        self.lcore.poll().unwrap()
    }

    /// One turn of a pipeline's loop: poll, then resume whatever is ready.
    pub fn turn(&self, sessions: &[Rc<Session>]) -> Polled {
        let polled = self.poll();
        while let Some(Conn(id)) = self.lcore.next_ready() {
            sessions[id as usize].resume();
        }
        polled
    }

    /// Counters of the queue pair: orphaned, in flight.
    pub fn orphaned_and_in_flight(&self) -> (u64, usize) {
        let stats = self.lcore.stats();
        (
            stats.channels[0].counts.orphaned,
            stats.channels[0].in_flight,
        )
    }

    /// Whether every slot can be had again: fills them all and empties them.
    pub fn all_slots_are_free(&self) -> bool {
        let capacity = self.lcore.stats().channels[0].capacity;
        let sessions = self.sessions(capacity as u64);
        sessions.iter().for_each(|session| session.start(1));
        let all = sessions
            .iter()
            .all(|session| session.ctx.status() == Status::OK);
        self.device.release(capacity);
        for _ in 0..=capacity {
            self.turn(&sessions);
        }
        all && sessions.iter().all(|session| session.result().is_some())
    }
}

/// A connection of the smallest front-end there can be.
pub struct Session {
    pub id: u64,
    pub ctx: Rc<WaitCtx>,
    /// The status that each callback found.
    pub callbacks: RefCell<Vec<Status>>,
    /// Whether callbacks are written down, which allocates.
    pub records: Cell<bool>,
    /// Whether it queues itself when it was refused.
    pub queues: Cell<bool>,
    /// Runs in the callback.
    pub on_callback: RefCell<Option<Box<dyn FnMut()>>>,
    pub job: RefCell<Option<Rc<Job>>>,
    result: Rc<Cell<Option<Result<(), OffloadError>>>>,
    lcore: Lcore,
}

fn callback(_: *const (), argument: *mut ()) {
    // SAFETY: the argument is the session that holds the wait context this is called from,
    // and tests keep their sessions until the end.
    let session = unsafe { &*argument.cast::<Session>() };
    let status = session.ctx.status();
    if session.records.get() {
        session.callbacks.borrow_mut().push(status);
    }
    if status != Status::EAGAIN {
        session.lcore.make_ready(Conn(session.id));
    }
    if let Some(hook) = &mut *session.on_callback.borrow_mut() {
        hook();
    }
}

impl Session {
    pub fn new(lcore: &Lcore, id: u64) -> Rc<Self> {
        let session = Rc::new(Self {
            id,
            ctx: WaitCtx::new(),
            callbacks: RefCell::default(),
            records: Cell::new(true),
            queues: Cell::new(true),
            on_callback: RefCell::default(),
            job: RefCell::default(),
            result: Rc::default(),
            lcore: lcore.clone(),
        });
        let argument = Rc::as_ptr(&session).cast_mut().cast();
        let notify = Foreign::new(callback, ptr::null(), argument);
        session.ctx.set_notify(Some(notify.into()));
        session
    }

    /// Starts a job of `ops` key generations, one after the other.
    pub fn start(&self, ops: u8) {
        self.start_kind(OpKind::X25519Keygen, ops);
    }

    /// Starts a job of `ops` X25519 operations of `kind`.
    pub fn start_kind(&self, kind: OpKind, ops: u8) {
        let (id, result) = (self.id as u8, Rc::clone(&self.result));
        let (progress, job) = job::start(Some(&self.ctx), move || {
            result.set(Some((0..ops).try_for_each(|op| compute(kind, [id, op]))));
            0
        })
        .unwrap();
        *self.job.borrow_mut() = job;
        self.after(&progress);
    }

    /// Starts a job of one X25519 operation of `kind` on a device that computes.
    pub fn start_true(&self, kind: OpKind, peer: [u8; 32]) {
        let (id, result) = (self.id as u8, Rc::clone(&self.result));
        let (progress, job) = job::start(Some(&self.ctx), move || {
            result.set(Some(compute_truly(kind, id, &peer)));
            0
        })
        .unwrap();
        *self.job.borrow_mut() = job;
        self.after(&progress);
    }

    pub fn resume(&self) {
        let job = self.job.borrow().clone();
        if let Some(job) = job.filter(|job| job.is_paused()) {
            let progress = job.resume().unwrap();
            self.after(&progress);
        }
    }

    /// What a front-end does after each call: a refused connection queues once.
    fn after(&self, progress: &Progress) {
        let waits = self
            .job
            .borrow()
            .as_ref()
            .is_some_and(|job| job.awaited() != 0);
        let is_refused = !waits && self.ctx.status() == Status::EAGAIN;
        if matches!(progress, Progress::Paused) && is_refused && self.queues.get() {
            self.lcore.retry(Conn(self.id), &self.the_job());
        }
    }

    /// How its function ended, once it has.
    pub fn result(&self) -> Option<Result<(), OffloadError>> {
        self.result.get()
    }

    pub fn the_job(&self) -> Rc<Job> {
        self.job.borrow().clone().unwrap()
    }

    pub fn callbacks(&self) -> Vec<Status> {
        self.callbacks.borrow().clone()
    }

    /// Closes as a Rust front-end does: the job unwinds by its own error path.
    pub fn close(&self) {
        self.ctx.free();
        let job = self.the_job();
        job.cancel();
        let _ = job.resume().unwrap();
    }

    /// Closes as SSL_free under a paused job does: the context is freed, the stack taken back.
    pub fn abandon(&self) {
        if let Some(job) = self.ctx.free() {
            // SAFETY: the job's frames are those of `compute`, which own nothing.
            unsafe { job.abandon() };
        }
    }
}

/// One op, and whether its result is right.
fn compute_truly(kind: OpKind, id: u8, peer: &[u8; 32]) -> Result<(), OffloadError> {
    let private = [id; 32];
    let request = match kind {
        OpKind::X25519Derive => Request::x25519_derive(&private, peer),
        _ => Request::x25519_keygen(&private),
    };
    let mut output = [0; 32];
    offload(&request, &mut output)?;
    let mut op = Op::new();
    op.prepare(Token(0), &request, 0);
    cpu::run(&mut op);
    assert_eq!(output, op.output(), "not the result");
    Ok(())
}

/// One op, and whether its result is its own.
fn compute(kind: OpKind, seed: [u8; 2]) -> Result<(), OffloadError> {
    let private: [u8; 32] = std::array::from_fn(|index| seed[index % 2]);
    let mut output = [0; 32];
    let peer = [9; 32];
    let (request, expected) = match kind {
        OpKind::X25519Derive => {
            let expected = std::array::from_fn(|index| answer(&private)[index] ^ peer[index]);
            (Request::x25519_derive(&private, &peer), expected)
        }
        _ => (Request::x25519_keygen(&private), answer(&private)),
    };
    offload(&request, &mut output)?;
    assert_eq!(output, expected, "another op's result");
    Ok(())
}
