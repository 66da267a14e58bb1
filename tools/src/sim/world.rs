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

mod alone;
mod connection;
mod records;
mod rules;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use spinlane::cryptodev::{Capabilities, Device, DeviceError, OpKind, QueuePairConfig};
use spinlane::job::{self, Job, WaitCtx};
use spinlane::lcore::{Clock, Config, Conn, Lcore};
use spinlane_driver_sim::{Rng, SimDevice};
use spinlane_driver_soft::SoftDevice;

use self::alone::{Alone, Attempt};
use super::only::Only;
use super::plan::Plan;
use super::question::Set;
use super::tally::{Breach, Tally, Violation};
use super::vault::Vault;
use records::Records;
use rules::Seen;

/// Ops of a job at most.
const MAX_OPS: usize = 4;
/// Marks a ticket of a retry queue, as opposed to a connection that was called back.
const TICKET: u64 = 1 << 63;
/// Marks a ticket of the second queue pair.
const SECOND: u64 = 1 << 62;
/// Marks an attempt to submit an op that no job waits for.
const ALONE: u64 = 1 << 61;
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

/// A ticket in a retry queue.
#[derive(Debug)]
struct Shown {
    ticket: u64,
    /// Counts all that were shown.
    number: u64,
    /// The lcore may have called its holder already because of an earlier showing.
    may_be_called: bool,
}

struct Connection {
    ctx: Rc<WaitCtx>,
    job: Option<Rc<Job>>,
    state: State,
    /// What it asked last.
    asked: Set,
    /// That of its refusal, until its op is accepted, and whether it was shown.
    ticket: Option<(u64, bool)>,
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
    /// Tickets in each queue pair's retry queue.
    tickets: RefCell<[Vec<Shown>; 2]>,
    /// Refused connections that have not shown their tickets.
    unclaimed: RefCell<Vec<usize>>,
    claims: Cell<u64>,
    tickets_given: Cell<u64>,
    /// Ops that no job waits for, and the attempts to submit them.
    alone: RefCell<Vec<Alone>>,
    attempts: RefCell<Vec<Attempt>>,
    /// Connections handed out that the application has not resumed yet.
    held: RefCell<VecDeque<usize>>,
    /// The connection that is being resumed.
    resuming: Cell<Option<usize>>,
    /// What was known of the queue pairs after the last turn.
    seen: RefCell<[Vec<Seen>; 2]>,
    records: RefCell<Records>,
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
        let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
        let soft: Box<dyn Device> = match plan.remote {
            true => Box::new(Vault::new()),
            false => Box::new(SoftDevice::new()),
        };
        let device = match plan.faults {
            Some(faults) => Box::new(SimDevice::new(soft, faults)),
            None => soft,
        };
        let queue_config = QueuePairConfig {
            capacity: plan.capacity,
            ..QueuePairConfig::default()
        };
        for (index, kinds) in kinds(&plan).into_iter().enumerate() {
            let only = Only {
                inner: device.queue_pair(queue_config)?,
                kinds,
                has_keys: index == 0 || !plan.one_has_keys,
                misrouted: 0,
            };
            lcore.add_queue_pair_with(Box::new(only), plan.health);
        }
        for _ in 0..plan.record_pairs {
            lcore.add_record_queue_pair_with(device.record_queue_pair(queue_config)?, plan.health);
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
            unclaimed: RefCell::default(),
            claims: Cell::new(0),
            tickets_given: Cell::new(0),
            alone: RefCell::default(),
            attempts: RefCell::default(),
            held: RefCell::default(),
            resuming: Cell::new(None),
            seen: RefCell::default(),
            records: RefCell::default(),
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
        let name = what
            .bytes()
            .fold(0, |name, byte| name << 8 | u64::from(byte));
        for word in [name, id as u64, more, self.clock.now_ns()] {
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

    /// Acts at random until every job was started, or that takes too long.
    fn live(&self) {
        for _ in 0..self.patience() {
            if !self.is_sound() || self.connections.borrow().len() as u64 == self.plan.jobs {
                break;
            }
            self.count(|tally| tally.steps += 1);
            match self.below(100) {
                0..=19 => self.start_some(),
                20..=22 => self.submit_alone(),
                23..=24 => self.touch_alone(),
                25..=64 => {
                    if self.plan.record_pairs > 0 && self.below(2) == 0 {
                        self.enqueue_records();
                    }
                    self.turn();
                }
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
        let mut steps = 0;
        while self.is_sound() && (self.is_busy() || self.lcore.in_flight() > 0) {
            steps += 1;
            if steps > self.patience() {
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

    /// Steps after which something is stuck.
    fn patience(&self) -> u64 {
        400 + 200 * self.plan.jobs
    }

    /// Whether a connection is open, or a ticket not handed out.
    fn is_busy(&self) -> bool {
        if self.tickets.borrow().iter().any(|queue| !queue.is_empty()) {
            return true;
        }
        if self.alone.borrow().iter().any(Alone::is_open) {
            return true;
        }
        let connections = self.connections.borrow();
        let done = |state| matches!(state, State::Ended | State::Closed);
        !connections.iter().all(|connection| done(connection.state))
    }

    fn start_some(&self) {
        for _ in 0..=self.below(8) {
            if (self.connections.borrow().len() as u64) < self.plan.jobs && !self.start() {
                break;
            }
        }
    }

    /// A turn of the application's loop.
    fn turn(&self) {
        while self.below(2) != 0 {
            let unclaimed = self.unclaimed.borrow().len() as u64;
            if unclaimed == 0 {
                break;
            }
            let id = self.below(unclaimed) as usize;
            let id = self.unclaimed.borrow_mut().swap_remove(id);
            self.claim(id);
        }
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
        self.dequeue_records();
        // The counters take longer to read than a turn.
        if self.tally.borrow().polls.is_multiple_of(4) {
            self.check_capacity();
            self.check_devices();
        }
    }

    /// The lcore calls a connection.
    fn hand_out(&self, name: u64) {
        if name & (TICKET | ALONE) == ALONE {
            return self.hand_out_alone((name & !ALONE) as usize);
        }
        let id = (name & ((1 << ID_BITS) - 1)) as usize;
        if name & TICKET != 0 {
            self.note("retry", id, name);
            return self.hand_out_ticket(id, name);
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

    /// Tickets are numbered by the refusals. One that was shown before another, and has a lower number, is
    /// first. One is handed out once for each time that it was shown.
    fn hand_out_ticket(&self, id: usize, ticket: u64) {
        let is_refused = self.state(id) == State::Refused(ticket);
        let mut tickets = self.tickets.borrow_mut();
        let queue = &mut tickets[usize::from(ticket & SECOND != 0)];
        let Some(position) = queue.iter().position(|shown| shown.ticket == ticket) else {
            // Its holder was resumed out of turn, or closed, after the lcore had called it.
            drop(tickets);
            let is_unclaimed = self.unclaimed.borrow().contains(&id);
            match (is_refused, is_unclaimed) {
                // Refused out of turn: the lcore still knew it.
                (true, true) => self.resume(id),
                (true, false) => {
                    self.violate(Breach::RetryOrder, format!("{ticket:#x} was called twice"));
                }
                (false, _) => {}
            }
            return;
        };
        let Shown {
            number,
            may_be_called,
            ..
        } = queue.remove(position);
        let precedes = |other: &&Shown| other.ticket < ticket && other.number < number;
        let first = queue.iter().find(precedes);
        if let Some(first) = first.filter(|_| !may_be_called && !self.plan.shared) {
            let text = format!(
                "retry queue gave {ticket:#x} in place of {:#x}",
                first.ticket
            );
            self.violate(Breach::RetryOrder, text);
        }
        drop(tickets);
        self.resume(id);
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
}

/// What each queue pair serves.
fn kinds(plan: &Plan) -> Vec<Capabilities> {
    let keygen = Capabilities::NONE.with(OpKind::X25519Keygen);
    let mut others = Capabilities::NONE.with(OpKind::X25519Derive);
    if plan.signs || plan.remote {
        others = others.with(OpKind::EcdsaP256).with(OpKind::Rsa2048);
    }
    let all = others.with(OpKind::X25519Keygen);
    match (plan.two_devices, plan.shared) {
        (true, _) => vec![keygen, others],
        (_, true) => vec![all, all],
        _ => vec![all],
    }
}
