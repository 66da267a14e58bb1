//! One seed's world: a poll core on a clock that stands still unless it is moved, devices with
//! faults, and connections that come, wait, are refused, are called back and go away.
//!
//! ```text
//!             accepted                    callback
//!  Running ────────────▶ Waiting ─────────────────────▶ Ready ──┐ resumed
//!     ▲ │                   a callback before or after          │
//!     │ │ refused,          is one too many                     │
//!     │ │ after one callback                                    │
//!     │ └──────────────▶ Refused ──┐ resumed in its turn        │
//!     └────────────────────────────┴────────────────────────────┘
//!  Closed and Ended: no callback any more
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::rc::Rc;

use spinlane::cryptodev::{Capabilities, Device, DeviceError, MAX_OUTPUT, OpKind, QueuePairConfig};
use spinlane::job::{self, Callback, Job, Progress, ResumeError, Status, WaitCtx};
use spinlane::lcore::{Clock, Config, Conn, Lcore, OffloadError, offload};
use spinlane_driver_sim::{Rng, SimDevice};
use spinlane_driver_soft::SoftDevice;

use super::only::Only;
use super::plan::Plan;
use super::question::Question;
use super::tally::{Breach, Tally, Violation};

/// Ops of a job at most.
const MAX_OPS: usize = 4;
/// Marks a ticket of a retry queue, as opposed to a connection that was called back.
const TICKET: u64 = 1 << 63;
/// Marks a ticket of the second queue pair.
const SECOND: u64 = 1 << 62;
/// Bits of a ticket that hold the connection.
const ID_BITS: u32 = 16;

thread_local! {
    /// What callbacks and jobs belong to: neither may hold it while a job is paused, since an
    /// abandoned job frees nothing.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Runs `visit` with the thread's world.
fn here<T>(visit: impl FnOnce(&World) -> T) -> Option<T> {
    let world = WORLD.with_borrow(Clone::clone);
    world.map(|world| visit(&world))
}

#[derive(Clone, Default)]
struct VirtualClock(Rc<Cell<u64>>);

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its code runs, and its refusal has been called back so often.
    Running(u32),
    /// Its op was accepted.
    Waiting,
    /// Its op is done; it was called back.
    Ready,
    /// Its attempt was refused; it holds this ticket of a retry queue.
    Refused(u64),
    /// Its function has returned.
    Ended,
    /// It was closed.
    Closed,
}

struct Connection {
    ctx: Rc<WaitCtx>,
    job: Option<Rc<Job>>,
    state: State,
    /// What it asked last.
    question: Question,
}

/// A world, and what has been found wrong with it.
pub struct World {
    plan: Plan,
    trace: bool,
    rng: RefCell<Rng>,
    clock: VirtualClock,
    lcore: Lcore,
    connections: RefCell<Vec<Connection>>,
    /// Connections called back and not yet handed out, in this order.
    called: RefCell<VecDeque<u64>>,
    /// Tickets of each queue pair's retry queue, in this order.
    tickets: RefCell<[VecDeque<u64>; 2]>,
    tickets_given: Cell<u64>,
    /// Connections handed out that the application has not resumed yet.
    held: RefCell<VecDeque<usize>>,
    /// The connection that is being resumed.
    resuming: Cell<Option<usize>>,
    tally: RefCell<Tally>,
    violation: RefCell<Option<Violation>>,
    hash: Cell<u64>,
}

/// Runs the world of `seed` to its end.
///
/// # Errors
/// The first violation, after which the world was given up.
pub fn run(seed: u64, trace: bool) -> Result<Tally, Violation> {
    let mut rng = Rng::new(seed);
    let plan = Plan::draw(&mut rng);
    if trace {
        println!("seed {seed}: {plan}");
    }
    let max_jobs = plan.max_jobs;
    let world = World::new(plan, rng, trace).map_err(|error| Violation {
        breach: Breach::Other,
        text: error.to_string(),
    })?;
    // An initial size of 0 is never above the maximum.
    let _ = job::init_thread(max_jobs, 0);
    let entered = world.lcore.enter();
    WORLD.set(Some(Rc::clone(&world)));
    world.live();
    world.finish();
    world.bury();
    WORLD.set(None);
    drop(entered);
    match world.violation.take() {
        Some(violation) => Err(violation),
        None => Ok(world.tally.take()),
    }
}

impl World {
    fn new(plan: Plan, rng: Rng, trace: bool) -> Result<Rc<Self>, DeviceError> {
        let clock = VirtualClock::default();
        let config = Config {
            health: plan.health,
            ..Config::default()
        };
        let lcore = Lcore::with_clock(config, Box::new(clock.clone()));
        let soft: Box<dyn Device> = Box::new(SoftDevice::new());
        let device = match plan.faults {
            Some(faults) => Box::new(SimDevice::new(soft, faults)),
            None => soft,
        };
        let queue_config = QueuePairConfig {
            capacity: plan.capacity,
            ..QueuePairConfig::default()
        };
        for kinds in kinds(&plan) {
            let inner = device.queue_pair(queue_config)?;
            lcore.add_queue_pair(Box::new(Only { inner, kinds }));
        }
        Ok(Rc::new(Self {
            plan,
            trace,
            rng: RefCell::new(rng),
            clock,
            lcore,
            connections: RefCell::default(),
            called: RefCell::default(),
            tickets: RefCell::default(),
            tickets_given: Cell::new(0),
            held: RefCell::default(),
            resuming: Cell::new(None),
            tally: RefCell::default(),
            violation: RefCell::default(),
            hash: Cell::new(0xcbf2_9ce4_8422_2325),
        }))
    }

    fn below(&self, bound: u64) -> u64 {
        self.rng.borrow_mut().below(bound)
    }

    fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally.borrow_mut());
    }

    /// Writes down what happened. What is written depends on the seed alone.
    fn note(&self, what: &'static str, id: usize, more: u64) {
        let mut hash = self.hash.get();
        for word in [what.len() as u64, id as u64, more, self.clock.now_ns()] {
            hash = (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        }
        self.hash.set(hash);
        if self.trace {
            println!("{:>12} ns  {what} {id} {more:#x}", self.clock.now_ns());
        }
    }

    /// The first violation counts: what follows may follow from it.
    fn violate(&self, breach: Breach, text: String) {
        let text = format!("at {} ns: {text}", self.clock.now_ns());
        self.violation
            .borrow_mut()
            .get_or_insert(Violation { breach, text });
    }

    fn is_sound(&self) -> bool {
        self.violation.borrow().is_none()
    }

    fn state(&self, id: usize) -> State {
        self.connections.borrow()[id].state
    }

    fn set_state(&self, id: usize, state: State) {
        self.connections.borrow_mut()[id].state = state;
    }

    /// The queue pair that serves `kind`.
    fn channel(&self, kind: OpKind) -> usize {
        usize::from(self.plan.two_devices && kind != OpKind::X25519Keygen)
    }

    /// Acts at random until every job was started.
    fn live(&self) {
        while self.is_sound() && (self.connections.borrow().len() as u64) < self.plan.jobs {
            self.count(|tally| tally.steps += 1);
            match self.below(100) {
                0..=24 => self.start_some(),
                25..=64 => self.turn(),
                65..=84 => self.advance(),
                85..=89 => self.with_any(Self::resume),
                90..=93 => self.with_any(Self::close),
                94..=96 => self.with_any(Self::abandon),
                _ => self.lcore.note_work(),
            }
        }
    }

    /// Goes on until all are done; then what is left must be nothing.
    fn finish(&self) {
        let step_ns = self.plan.health.op_deadline_ns / 8;
        let patience = 400 + 200 * self.plan.jobs;
        let mut steps = 0;
        while self.is_sound() && (self.is_busy() || self.lcore.in_flight() > 0) {
            steps += 1;
            if steps > patience {
                return self.report_lost();
            }
            self.turn();
            self.clock.0.set(self.clock.now_ns() + step_ns);
        }
        // What is late still comes, and reaches nobody; what nobody read is swept.
        for _ in 0..40 {
            self.turn();
            self.clock.0.set(self.clock.now_ns() + step_ns);
        }
        if self.is_sound() {
            self.take_stock();
        }
    }

    fn is_busy(&self) -> bool {
        let connections = self.connections.borrow();
        let done = |state| matches!(state, State::Ended | State::Closed);
        !connections.iter().all(|connection| done(connection.state))
    }

    fn report_lost(&self) {
        let connections = self.connections.borrow();
        let mut states = connections.iter().map(|connection| connection.state);
        let stuck = states.position(|state| !matches!(state, State::Ended | State::Closed));
        let text = match stuck {
            Some(id) => format!("connection {id} is stuck: {:?}", connections[id].state),
            None => format!("{} ops in flight for ever", self.lcore.in_flight()),
        };
        self.violate(Breach::Lost, text);
    }

    fn start_some(&self) {
        for _ in 0..=self.below(8) {
            if (self.connections.borrow().len() as u64) < self.plan.jobs && !self.start() {
                break;
            }
        }
    }

    /// Starts a connection; returns whether there was a job for it.
    fn start(&self) -> bool {
        let id = self.connections.borrow().len();
        let mut questions = [None; MAX_OPS];
        for question in &mut questions[..=self.below(MAX_OPS as u64 - 1) as usize] {
            *question = Some(Question::draw(&mut self.rng.borrow_mut(), self.plan.signs));
        }
        let ctx = WaitCtx::new();
        ctx.set_callback(Some(Callback {
            function: callback,
            argument: std::ptr::without_provenance_mut(id),
        }));
        self.connections.borrow_mut().push(Connection {
            ctx: Rc::clone(&ctx),
            job: None,
            state: State::Running(0),
            question: Question::Keygen(0),
        });
        self.note("start", id, 0);
        match job::start(Some(&ctx), move || body(id, questions)) {
            Ok((Progress::NoJobs, _)) => {
                self.count(|tally| tally.no_jobs += 1);
                self.connections.borrow_mut().pop();
                return false;
            }
            Ok((progress, job)) => {
                self.count(|tally| tally.jobs += 1);
                self.connections.borrow_mut()[id].job = job;
                self.ran(id, 0, &progress);
            }
            Err(error) => self.violate(Breach::Other, error.to_string()),
        }
        true
    }

    /// A turn of the application's loop.
    fn turn(&self) {
        self.count(|tally| tally.polls += 1);
        match self.lcore.poll() {
            Ok(polled) => self.note("poll", polled.completed, polled.retried as u64),
            Err(error) => self.violate(Breach::Other, error.to_string()),
        }
        while let Some(Conn(name)) = self.lcore.next_ready() {
            self.hand_out(name);
        }
        while self.below(4) != 0 {
            let held = self.held.borrow_mut().pop_front();
            let Some(id) = held else {
                break;
            };
            self.resume(id);
        }
        self.check_capacity();
    }

    /// The lcore calls a connection.
    fn hand_out(&self, name: u64) {
        let id = (name & ((1 << ID_BITS) - 1)) as usize;
        if name & TICKET != 0 {
            let channel = usize::from(name & SECOND != 0);
            let first = self.tickets.borrow_mut()[channel].pop_front();
            self.note("retry", id, name);
            if first != Some(name) {
                let text = format!("retry queue gave {name:#x} in place of {first:x?}");
                return self.violate(Breach::RetryOrder, text);
            }
            // A ticket may be stale: its holder was resumed out of turn.
            if self.state(id) == State::Refused(name) || self.below(2) == 0 {
                self.resume(id);
            }
            return;
        }
        let first = self.called.borrow_mut().pop_front();
        if first != Some(name) {
            let text = format!("ready queue gave {name} in place of {first:?}");
            return self.violate(Breach::Other, text);
        }
        if self.below(8) == 0 {
            self.held.borrow_mut().push_back(id);
        } else {
            self.resume(id);
        }
    }

    fn check_capacity(&self) {
        let mut used = [0; 2];
        for connection in self.connections.borrow().iter() {
            if matches!(connection.state, State::Waiting | State::Ready) {
                used[self.channel(connection.question.kind())] += 1;
            }
        }
        let channels = 1 + usize::from(self.plan.two_devices);
        let in_flight = self.lcore.in_flight();
        if used.iter().any(|used| *used > self.plan.capacity)
            || in_flight > channels * self.plan.capacity
        {
            let text = format!(
                "{used:?} slots in use, {in_flight} in flight, of {}",
                self.plan.capacity
            );
            self.violate(Breach::OverCapacity, text);
        }
    }

    fn advance(&self) {
        let deadline_ns = self.plan.health.op_deadline_ns;
        let most_ns = match self.below(20) {
            0 => 2 * deadline_ns,
            1..=4 => deadline_ns / 4,
            5..=12 => 50_000,
            _ => 1000,
        };
        self.clock.0.set(self.clock.now_ns() + self.below(most_ns));
    }

    /// Acts on a connection chosen at random.
    fn with_any(&self, act: fn(&Self, usize)) {
        let count = self.connections.borrow().len() as u64;
        if count > 0 {
            act(self, self.below(count) as usize);
        }
    }

    /// Resumes a connection, in its turn or not. One that is done is left alone.
    fn resume(&self, id: usize) {
        let job = match self.state(id) {
            State::Ended | State::Closed => return,
            State::Ready | State::Refused(_) => {
                self.set_state(id, State::Running(0));
                self.connections.borrow()[id].job.clone()
            }
            _ => self.connections.borrow()[id].job.clone(),
        };
        let Some(job) = job else {
            return;
        };
        self.note("resume", id, 0);
        let before = job.awaited();
        self.resuming.set(Some(id));
        let progress = job.resume();
        self.resuming.set(None);
        match progress {
            Ok(progress) => self.ran(id, before, &progress),
            // A callback of the resume's own poll closed it.
            Err(ResumeError::NotPaused) if self.state(id) == State::Closed => {}
            Err(error) => self.violate(Breach::Other, format!("connection {id}: {error}")),
        }
    }

    /// A connection's code ran, or not, because its op is not done. `before`: the token it
    /// waited for.
    fn ran(&self, id: usize, before: u64, progress: &Progress) {
        if !matches!(progress, Progress::Paused) {
            self.note("end", id, 0);
            self.set_state(id, State::Ended);
            return;
        }
        let state = self.state(id);
        let (ctx, awaited, channel) = {
            let connection = &self.connections.borrow()[id];
            let awaited = connection.job.as_ref().map_or(0, |job| job.awaited());
            let channel = self.channel(connection.question.kind());
            (Rc::clone(&connection.ctx), awaited, channel)
        };
        if awaited != 0 && awaited == before {
            if state != State::Waiting {
                let text = format!("connection {id} does not go on though it is {state:?}");
                self.violate(Breach::Lost, text);
            }
            return;
        }
        match (awaited != 0, ctx.status(), state) {
            (true, Status::OK, State::Running(0)) => {
                self.note("accepted", id, 0);
                self.count(|tally| tally.accepted += 1);
                self.set_state(id, State::Waiting);
            }
            (false, Status::EAGAIN, State::Running(1)) => self.refused(id, channel),
            (_, status, state) => {
                let text = format!("connection {id} paused {state:?} with status {status:?}");
                self.violate(Breach::Status, text);
            }
        }
        // So that a callback tells whether the status was set before it.
        ctx.set_status(Status::UNSUPPORTED);
    }

    fn refused(&self, id: usize, channel: usize) {
        let number = self.tickets_given.get() + 1;
        self.tickets_given.set(number);
        let second = if channel == 1 { SECOND } else { 0 };
        let ticket = TICKET | second | number << ID_BITS | id as u64;
        self.note("refused", id, ticket);
        self.count(|tally| tally.refused += 1);
        self.set_state(id, State::Refused(ticket));
        self.tickets.borrow_mut()[channel].push_back(ticket);
        self.lcore.retry(Conn(ticket));
    }

    /// Closes as a Rust front-end does: the job unwinds by its own error path.
    fn close(&self, id: usize) {
        let Some((ctx, job)) = self.take(id) else {
            return;
        };
        self.note("close", id, 0);
        self.count(|tally| tally.closed += 1);
        ctx.free();
        job.cancel();
        match job.resume() {
            Ok(Progress::Finished(_)) => {}
            other => {
                let text = format!("connection {id} does not unwind: {other:?}");
                self.violate(Breach::Other, text);
            }
        }
    }

    /// Closes as SSL_free under a paused job does: the context is freed, the stack taken back.
    fn abandon(&self, id: usize) {
        let Some((ctx, _)) = self.take(id) else {
            return;
        };
        self.note("abandon", id, 0);
        self.count(|tally| tally.abandoned += 1);
        abandon(&ctx);
    }

    /// Marks a connection as closed, if it is still open and paused.
    fn take(&self, id: usize) -> Option<(Rc<WaitCtx>, Rc<Job>)> {
        let connection = &mut self.connections.borrow_mut()[id];
        let open = matches!(
            connection.state,
            State::Waiting | State::Ready | State::Refused(_)
        );
        let job = connection.job.clone().filter(|_| open)?;
        connection.state = State::Closed;
        Some((Rc::clone(&connection.ctx), job))
    }

    /// Takes back the stacks of connections that a violation left open.
    fn bury(&self) {
        let count = self.connections.borrow().len();
        (0..count).for_each(|id| self.abandon(id));
    }

    /// The lcore calls back.
    fn called_back(&self, id: usize) {
        let status = self.connections.borrow()[id].ctx.status();
        let on_job = job::on_job();
        self.note("callback", id, u64::from(on_job));
        let is_resumed = self.resuming.get() == Some(id);
        match (self.state(id), status) {
            (State::Running(count), Status::EAGAIN) if on_job => {
                self.set_state(id, State::Running(count + 1));
            }
            // The resume's own poll found its op done, and its next attempt was refused.
            (State::Ready, Status::EAGAIN) if on_job && is_resumed => {
                self.set_state(id, State::Running(1));
            }
            (State::Waiting, Status::OK | Status::ERR) if !on_job => {
                self.count(|tally| tally.callbacks += 1);
                self.set_state(id, State::Ready);
                self.called.borrow_mut().push_back(id as u64);
                self.lcore.make_ready(Conn(id as u64));
                if self.below(64) == 0 {
                    self.with_any(Self::close);
                }
            }
            (state, status) => {
                let breach = match (state, status) {
                    (State::Waiting, Status::UNSUPPORTED) => Breach::Status,
                    (State::Closed | State::Ended, _) => Breach::LateCallback,
                    _ => Breach::DuplicateCallback,
                };
                let text = format!("connection {id}, {state:?}, called back with {status:?}");
                self.violate(breach, text);
            }
        }
    }

    /// A job is about to ask.
    fn asks(&self, id: usize, question: Question) {
        self.connections.borrow_mut()[id].question = question;
    }

    /// A job got its answer; returns whether it goes on.
    fn answered(
        &self,
        id: usize,
        question: Question,
        result: Result<(), OffloadError>,
        answer: &[u8],
    ) -> bool {
        self.note("answer", id, result.is_ok().into());
        let is_closed = self.state(id) == State::Closed;
        let fallback = self.plan.health.fallback;
        let right = match result {
            Ok(()) => !is_closed && question.is_answered_by(answer),
            Err(OffloadError::Cancelled) => is_closed,
            Err(OffloadError::Invalid) => !is_closed && (question.is_invalid() || !fallback),
            Err(OffloadError::Device) => !is_closed && !fallback,
            Err(OffloadError::OtherLcore | OffloadError::NoLcore | OffloadError::Forked) => false,
        };
        if !right {
            let text = format!("connection {id}: {question:?} was answered by {result:?}");
            self.violate(Breach::WrongResult, text);
        }
        if is_closed {
            // Some libraries go on after an error, for an alert say.
            return self.below(2) == 0;
        }
        self.count(|tally| tally.ops += 1);
        self.set_state(id, State::Running(0));
        true
    }

    /// Nothing is left, and the counters tell what happened.
    fn take_stock(&self) {
        let stacks = job::pool_stats().stacks_in_use;
        if stacks != 0 {
            self.violate(Breach::LeakedStack, format!("{stacks} stacks are not back"));
        }
        let stats = self.lcore.stats();
        let mut tally = self.tally.borrow_mut();
        let mut enqueued = 0;
        let mut refused = 0;
        for channel in &stats.channels {
            let (free, capacity) = (channel.free_slots, channel.capacity);
            if free != capacity {
                let text = format!("{} of {capacity} slots are not back", capacity - free);
                self.violate(Breach::LeakedSlot, text);
            }
            let counts = channel.counts;
            if counts.enqueued != counts.completed + counts.fallback + counts.cancelled {
                self.violate(Breach::Counters, format!("do not add up: {counts:?}"));
            }
            enqueued += counts.enqueued;
            refused += counts.refused;
            tally.add_channel(channel);
        }
        if (enqueued, refused, stats.callbacks) != (tally.accepted, tally.refused, tally.callbacks)
        {
            let text = format!(
                "{enqueued} enqueued, {refused} refused, {} callbacks; seen were {}, {}, {}",
                stats.callbacks, tally.accepted, tally.refused, tally.callbacks
            );
            self.violate(Breach::Counters, text);
        }
        tally.seeds = 1;
        tally.virtual_ns = self.clock.now_ns();
        tally.hash = self.hash.get();
    }
}

/// What each queue pair serves.
fn kinds(plan: &Plan) -> Vec<Capabilities> {
    let keygen = Capabilities::NONE.with(OpKind::X25519Keygen);
    let mut others = Capabilities::NONE.with(OpKind::X25519Derive);
    if plan.signs {
        others = others.with(OpKind::EcdsaP256).with(OpKind::Rsa2048);
    }
    if plan.two_devices {
        return vec![keygen, others];
    }
    vec![others.with(OpKind::X25519Keygen)]
}

/// A job's function. Owns nothing, so that it can be abandoned.
fn body(id: usize, questions: [Option<Question>; MAX_OPS]) -> i32 {
    for question in questions.into_iter().flatten() {
        let mut output = [0; MAX_OUTPUT];
        let output = &mut output[..question.kind().output_len()];
        here(|world| world.asks(id, question));
        let result = question.with_request(|request| offload(request, output));
        let goes_on = here(|world| world.answered(id, question, result, output));
        if goes_on != Some(true) {
            break;
        }
    }
    0
}

extern "C" fn callback(id: *mut c_void) -> c_int {
    here(|world| world.called_back(id.addr()));
    1
}

/// Frees `ctx` and takes back the stack of the job under it.
#[allow(unsafe_code)]
fn abandon(ctx: &Rc<WaitCtx>) {
    if let Some(job) = ctx.free() {
        // SAFETY: the job was started on this thread, by `World::start`. Its frames are those of
        // `body` and `offload`, which own nothing, and nothing points into them: what they borrow
        // is borrowed from them alone, and the device has copies.
        unsafe { job.abandon() };
    }
}
