//! A queue pair with the slots in front of it: one slot per op in flight.
//!
//! ```text
//!  slots    ┌ token 7.0, Device, job, copy   ┐   token = serial number . slot index
//!           │ token 0,   Free                │   copy = what the op was asked
//!           │ token 8.2, Software, job       │   its op is in the software queue
//!           └ token 9.3, Done, job, op       ┘   the op's memory, until its job has read it
//! ```
//! The serial number counts the thread's ops, whichever lcore and queue pair they go to, so
//! that a token is one op's alone: one that comes back late or twice fits no slot, and a job
//! that awaits it awaits no other. An op is with the device or with software, never with both:
//! what the device gives back once software has the op fits no slot either.

mod fallback;

pub(crate) use fallback::{BUDGET_NS, BUDGET_OPS, CHECKS_PER_DEADLINE};

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use spinlane_cryptodev::{
    Buffer, Burst, MAX_OUTPUT, Op, OpKind, OpStatus, QueuePair, Request, Token,
};
use spinlane_job::{Job, Status};

use crate::clock::Clock;
use crate::core::Conn;
use crate::defect::{Defect, has};
use crate::health::{Health, HealthConfig};
use crate::latency::Latencies;
use crate::stats::{ChannelStats, KindStats, OpCounts};

/// Finished ops taken from a queue pair per poll at most.
const BURST: usize = 64;
/// Slots looked at per poll for results that nobody will read.
const SWEEP: usize = 16;
/// Bits of a token that hold the slot's index. The others count ops: a million a second for
/// twelve days before a number comes again.
const INDEX_BITS: u32 = 24;
/// The highest index is no slot's: it names probes.
pub(crate) const MAX_SLOTS: usize = (1 << INDEX_BITS) - 1;

thread_local! {
    /// Serial number of the thread's last op.
    static SERIAL: Cell<u64> = const { Cell::new(0) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// The op is with the device.
    Device,
    /// The op is in the software queue.
    Software {
        /// The device calls it invalid.
        doubted: bool,
    },
    /// The op is back; its job has not read the result yet.
    Done,
}

/// Its parts are set one by one: a state that owned them would be put together in memory
/// and copied from there, for which the processor waits until the parts have been stored.
struct Slot {
    /// Its op; [`NO_OP`] when free.
    token: Token,
    state: State,
    /// Whose op it is.
    job: Option<Rc<Job>>,
    /// The op, once it is done.
    op: Option<Box<Op>>,
    /// What its op was asked, in case the device keeps the op; none where it cannot.
    copy: Option<Box<Op>>,
}

impl Slot {
    const FREE: Self = Self {
        token: NO_OP,
        state: State::Free,
        job: None,
        op: None,
        copy: None,
    };

    /// Whether its job still waits for it.
    fn is_wanted(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| job.awaited() == self.token.0 || has(Defect::Orphan))
    }
}

/// No op is called so.
pub(crate) const NO_OP: Token = Token(0);

/// Who ended an op.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EndedBy {
    Device,
    Software,
}

pub(crate) struct Channel {
    queue_pair: Box<dyn QueuePair>,
    /// It cannot keep an op: see [`QueuePair::is_inline`].
    is_inline: bool,
    /// See [`QueuePair::batches`].
    batches: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Ops with the device or in the software queue.
    waiting: usize,
    /// Finished ops that have not been read.
    unread: usize,
    /// The slot that was swept last.
    swept: usize,
    #[expect(
        clippy::vec_box,
        reason = "ops travel boxed, so that a move is eight bytes"
    )]
    pool: Vec<Box<Op>>,
    /// Ops that the pool holds at most.
    pool_size: usize,
    outgoing: Burst,
    incoming: Burst,
    /// Ops to be computed here, in the device's place.
    software: VecDeque<Box<Op>>,
    health: Health,
    /// When the deadlines are looked at next; 0 = now.
    check_at_ns: u64,
    /// Refused connections, first come first served.
    retry: VecDeque<Conn>,
    /// Free slots promised to connections that this poll took from the retry queue.
    granted: usize,
    counts: [OpCounts; OpKind::COUNT],
    stray: u64,
    in_flight_peak: usize,
    idle_flushes: u64,
    latency: [Option<Latencies>; OpKind::COUNT],
}

impl Channel {
    pub(crate) fn new(queue_pair: Box<dyn QueuePair>, config: HealthConfig) -> Self {
        let capacity = queue_pair.capacity().min(MAX_SLOTS);
        let mut latency = [const { None }; OpKind::COUNT];
        for kind in queue_pair.capabilities().iter() {
            latency[kind.index()] = Some(Latencies::new());
        }
        let is_inline = queue_pair.is_inline();
        // One for a probe.
        let pool_size = 1 + if is_inline { capacity } else { 2 * capacity };
        Self {
            slots: std::iter::repeat_with(|| Slot::FREE)
                .take(capacity)
                .collect(),
            // The lowest index on top: few connections keep touching the same few slots.
            free: (0..capacity as u32).rev().collect(),
            waiting: 0,
            unread: 0,
            swept: 0,
            pool: std::iter::repeat_with(new_op).take(pool_size).collect(),
            pool_size,
            outgoing: Burst::with_capacity(1),
            incoming: Burst::with_capacity(BURST),
            software: VecDeque::with_capacity(capacity),
            health: Health::new(config),
            check_at_ns: 0,
            retry: VecDeque::new(),
            granted: 0,
            counts: [OpCounts::default(); OpKind::COUNT],
            stray: 0,
            in_flight_peak: 0,
            idle_flushes: 0,
            latency,
            is_inline,
            batches: queue_pair.batches(),
            queue_pair,
        }
    }

    pub(crate) fn serves(&self, kind: OpKind) -> bool {
        self.queue_pair.capabilities().has(kind)
    }

    /// Ops with the device or waiting for software.
    pub(crate) fn in_flight(&self) -> usize {
        self.waiting
    }

    /// Whether the device may hold something that waits for company.
    pub(crate) fn may_flush(&self) -> bool {
        self.batches && (self.waiting != 0 || self.health.is_probing())
    }

    /// Submits `request` for `job`, which awaits the token from here on; `None` when full. A
    /// first attempt stands behind whoever waits in the retry queue already.
    pub(crate) fn submit(
        &mut self,
        request: &Request<'_>,
        job: &Rc<Job>,
        attempt: u32,
        now_ns: u64,
    ) -> Option<Token> {
        let again = attempt > 0;
        self.counts[request.kind().index()].retried += u64::from(again);
        let queued = self.granted + self.retry.len();
        let entitled = if again {
            self.granted > 0 || queued == 0
        } else {
            queued < self.free.len()
        };
        let accepted = if entitled {
            self.enqueue(request, job, now_ns)
        } else {
            None
        };
        if again {
            self.granted = self.granted.saturating_sub(1);
        }
        if accepted.is_none() {
            self.counts[request.kind().index()].refused += 1;
        }
        accepted
    }

    fn enqueue(&mut self, request: &Request<'_>, job: &Rc<Job>, now_ns: u64) -> Option<Token> {
        let index = *self.free.last()?;
        let token = next_token(index);
        let mut op = self.take_op();
        op.prepare(token, request, now_ns);
        let (state, copy) = if self.health.is_healthy() {
            self.give(op, now_ns)?;
            let copy = (!self.is_inline).then(|| {
                let mut copy = self.take_op();
                copy.prepare(token, request, now_ns);
                copy
            });
            (State::Device, copy)
        } else {
            self.probe(request, now_ns);
            self.software.push_back(op);
            (State::Software { doubted: false }, None)
        };
        self.free.pop();
        let slot = &mut self.slots[index as usize];
        slot.token = token;
        slot.state = state;
        slot.job = Some(Rc::clone(job));
        slot.copy = copy;
        job.await_token(token.0);
        self.counts[request.kind().index()].enqueued += 1;
        self.waiting += 1;
        self.in_flight_peak = self.in_flight_peak.max(self.waiting);
        Some(token)
    }

    /// Gives `op` to the device; `None` if it takes no more.
    fn give(&mut self, op: Box<Op>, now_ns: u64) -> Option<()> {
        self.outgoing.push(op);
        if self.queue_pair.enqueue_burst(&mut self.outgoing) == 0 {
            self.health.refused(now_ns);
            let refused = self.outgoing.pop()?;
            self.put_op(refused);
            return None;
        }
        self.health.accepted();
        Some(())
    }

    /// Takes finished ops from the device and computes some in its place; adds those that
    /// somebody waits for to `completed`. Returns how many ended, and reads the clock again if
    /// some did: they may have been computed just now, which is part of their latency.
    pub(crate) fn collect(
        &mut self,
        clock: &dyn Clock,
        now_ns: &mut u64,
        completed: &mut Vec<Rc<Job>>,
    ) -> usize {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut count = self.queue_pair.dequeue_burst(&mut incoming, BURST, *now_ns);
        if count != 0 {
            *now_ns = clock.now_ns();
            self.health.answered(*now_ns);
            for op in incoming.drain(..) {
                self.complete(op, *now_ns, completed);
            }
        }
        self.incoming = incoming;
        if *now_ns >= self.check_at_ns {
            self.check(count < BURST, *now_ns, completed);
        }
        if !self.software.is_empty() {
            count += self.run_software(clock, now_ns, completed);
        }
        self.sweep();
        count
    }

    /// The device gave `op` back.
    fn complete(&mut self, op: Box<Op>, now_ns: u64, completed: &mut Vec<Rc<Job>>) {
        let with_device = slot_of(op.token, &self.slots)
            .filter(|&index| self.slots[index].state == State::Device);
        let Some(index) = with_device else {
            self.stray(op, now_ns);
            return;
        };
        if op.status == OpStatus::Success && self.slots[index].is_wanted() {
            self.health.succeeded();
            self.end(index, op, EndedBy::Device, now_ns, completed);
        } else {
            self.complete_otherwise(index, op, now_ns, completed);
        }
    }

    /// An op has its result, or none, for good: the job's status says so, the callback follows.
    #[inline(always)]
    fn end(
        &mut self,
        index: usize,
        op: Box<Op>,
        by: EndedBy,
        now_ns: u64,
        completed: &mut Vec<Rc<Job>>,
    ) {
        let kind = op.kind().index();
        let counts = &mut self.counts[kind];
        match by {
            EndedBy::Device => counts.completed += 1,
            EndedBy::Software => counts.fallback += 1,
        }
        let ok = op.status == OpStatus::Success;
        counts.failed += u64::from(!ok);
        if let Some(latency) = &mut self.latency[kind] {
            latency.record(now_ns.saturating_sub(op.enqueued_at_ns));
        }
        self.waiting -= 1;
        self.unread += 1;
        let slot = &mut self.slots[index];
        if let Some(job) = &slot.job {
            if !has(Defect::StatusAfterCallback) {
                job.set_status(if ok { Status::OK } else { Status::ERR });
            }
            job.complete();
            completed.push(Rc::clone(job));
        }
        slot.state = State::Done;
        slot.op = Some(op);
    }

    /// An op ended that nobody waits for any more.
    fn cancelled(&mut self, index: usize, op: Box<Op>) {
        let counts = &mut self.counts[op.kind().index()];
        counts.cancelled += 1;
        counts.orphaned += 1;
        self.waiting -= 1;
        self.release(index, op);
    }

    /// Gives a finished op's memory to `read` and frees its slot.
    pub(crate) fn finish<T>(&mut self, token: Token, read: impl FnOnce(&Op) -> T) -> Option<T> {
        let index = slot_of(token, &self.slots)?;
        let op = self.slots[index].op.take()?;
        self.unread -= 1;
        let value = read(&op);
        self.release(index, op);
        Some(value)
    }

    /// Frees the slots of finished ops whose jobs went away without reading them. Looks at a
    /// few slots per poll, in turn.
    fn sweep(&mut self) {
        if self.unread == 0 {
            return;
        }
        for _ in 0..SWEEP.min(self.slots.len()) {
            self.swept += 1;
            if self.swept >= self.slots.len() {
                self.swept = 0;
            }
            let slot = &self.slots[self.swept];
            if slot.state == State::Done && !slot.is_wanted() {
                let kind = self.finish(slot.token, Op::kind);
                if let Some(kind) = kind {
                    self.counts[kind.index()].orphaned += 1;
                }
            }
        }
    }

    fn release(&mut self, index: usize, op: Box<Op>) {
        self.put_op(op);
        let slot = &mut self.slots[index];
        slot.token = NO_OP;
        slot.state = State::Free;
        slot.job = None;
        if let Some(copy) = slot.copy.take() {
            self.put_op(copy);
        }
        if !has(Defect::SlotLeak) {
            self.free.push(index as u32);
        }
    }

    /// An empty op. Allocates in place of those that the device has lost.
    fn take_op(&mut self) -> Box<Op> {
        self.pool.pop().unwrap_or_else(new_op)
    }

    fn put_op(&mut self, mut op: Box<Op>) {
        op.recycle();
        if self.pool.len() < self.pool_size {
            self.pool.push(op);
        }
    }

    /// Starts what is waiting in partial batches.
    pub(crate) fn flush(&mut self) {
        self.idle_flushes += 1;
        self.queue_pair.flush();
    }

    pub(crate) fn retry(&mut self, conn: Conn) {
        self.retry.push_back(conn);
    }

    /// Takes `conn` out of the retry queue.
    pub(crate) fn forget(&mut self, conn: Conn) {
        self.retry.retain(|&other| other != conn);
    }

    /// Moves as many refused connections to `ready` as there are free slots, in their order.
    pub(crate) fn grant(&mut self, ready: &mut Vec<Conn>) -> usize {
        self.granted = self.retry.len().min(self.free.len());
        if has(Defect::RetryOrder) {
            self.retry.make_contiguous().reverse();
        }
        ready.extend(self.retry.drain(..self.granted));
        self.granted
    }

    pub(crate) fn stats(&self) -> ChannelStats {
        let used = |kind: OpKind| {
            let counts = self.counts[kind.index()];
            let latency = self.latency[kind.index()].as_ref()?;
            (counts != OpCounts::default()).then(|| KindStats {
                kind,
                counts,
                latency_ns: latency.histogram(),
            })
        };
        let mut counts = OpCounts::default();
        self.counts.iter().for_each(|of_kind| counts += *of_kind);
        ChannelStats {
            device: self.queue_pair.name().to_owned(),
            counts,
            stray: self.stray,
            in_flight: self.waiting,
            in_flight_peak: self.in_flight_peak,
            capacity: self.slots.len(),
            free_slots: self.free.len(),
            retry_queue: self.retry.len(),
            idle_flushes: self.idle_flushes,
            health: self.health.stats(),
            device_stats: self.queue_pair.stats(),
            xstats: self.queue_pair.xstats(),
            kinds: OpKind::ALL.into_iter().filter_map(used).collect(),
        }
    }
}

/// Who waits for what it will never give back is told so: resumed, a job finds no result and fails.
impl Drop for Channel {
    fn drop(&mut self) {
        let slots = self.slots.iter().filter(|slot| slot.is_wanted());
        slots
            .filter_map(|slot| slot.job.as_ref())
            .for_each(|job| job.complete());
    }
}

/// An op that has memory for all kinds.
fn new_op() -> Box<Op> {
    Op::in_memory(Buffer::heap(2 * MAX_OUTPUT).unwrap_or(Buffer::EMPTY))
}

/// A token for the thread's next op, which goes into slot `index`.
pub(crate) fn next_token(index: u32) -> Token {
    let last = u64::MAX >> INDEX_BITS;
    let serial = match SERIAL.get() {
        serial if serial == last => 1,
        serial => serial + 1,
    };
    SERIAL.set(serial);
    Token(serial << INDEX_BITS | u64::from(index))
}

/// Index of the slot that `token` was made for.
pub(crate) fn slot_index(token: Token) -> usize {
    (token.0 & ((1 << INDEX_BITS) - 1)) as usize
}

/// Index of the slot that holds the op called `token`.
fn slot_of(token: Token, slots: &[Slot]) -> Option<usize> {
    let index = slot_index(token);
    let slot = slots.get(index)?;
    let same = slot.token == token || has(Defect::Generation);
    (same && slot.token != NO_OP).then_some(index)
}
