//! A queue pair with the slots in front of it: one slot per op in flight.
//!
//! ```text
//!  slots    ┌ token 7.0, Device, job, copy   ┐   token = serial number . slot index
//!           │ token 0,   Free                │   copy = what the op was asked
//!           │ token 8.2, Software, job       │   its op is in the software queue
//!           └ token 9.3, Done, job, op       ┘   the op's memory, until its job has read it
//! ```
//! A job waits for one op or for a set, which is called by its first op's token. An op without a job is
//! that of whoever holds its ticket.
//!
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
use spinlane_job::{Conn, Job, Notify, Status};

use crate::clock::Clock;
use crate::defect::{Defect, has};
use crate::health::{Health, HealthConfig};
use crate::latency::Latencies;
use crate::retry::{Refused, RetryQueue};
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
    /// Whose op it is; `None`: that of whoever has the ticket.
    job: Option<Rc<Job>>,
    /// What its job waits for: its op's token, or that of the set it is of. Of an op without a job, its token;
    /// [`NO_OP`] once the ticket is gone.
    awaited: Token,
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
        awaited: NO_OP,
        op: None,
        copy: None,
    };

    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool {
        match &self.job {
            Some(job) => job.awaited() == self.awaited.0 || has(Defect::Orphan),
            None => self.awaited != NO_OP,
        }
    }
}

/// No op is called so.
pub(crate) const NO_OP: Token = Token(0);

/// Whose op is to be submitted.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// A job's, which waits for so many in all.
    Job(&'a Rc<Job>, usize),
    /// That of the job that waits for the set called so.
    SetOf(&'a Rc<Job>, Token),
    /// No job's: this is told.
    Ticket(&'a Notify),
}

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
    /// Ops of sets that were accepted, until the device has room for them.
    overflow: VecDeque<Box<Op>>,
    /// Whom to tell of ops without a job, by slot.
    tickets: Vec<Option<Notify>>,
    /// Whom to tell now.
    told: Vec<Notify>,
    health: Health,
    /// When the deadlines are looked at next; 0 = now.
    check_at_ns: u64,
    /// Who was refused, first come first served.
    retry: RetryQueue,
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
            overflow: VecDeque::new(),
            tickets: std::iter::repeat_with(|| None).take(capacity).collect(),
            told: Vec::new(),
            health: Health::new(config),
            check_at_ns: 0,
            retry: RetryQueue::default(),
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

    /// How many ops it takes at most.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Whether `ops` ops may be submitted now, all of them, by whoever has this `refusal` (0: a first
    /// attempt).
    pub(crate) fn admits(&self, refusal: u64, ops: usize) -> bool {
        self.overflow.is_empty() && self.retry.admits(refusal, ops, self.free.len())
    }

    /// Counts an attempt to submit ops of these kinds, and how it ended.
    pub(crate) fn tried(
        &mut self,
        refusal: u64,
        kinds: impl Iterator<Item = OpKind>,
        accepted: bool,
    ) {
        let mut ops = 0;
        for kind in kinds {
            let counts = &mut self.counts[kind.index()];
            counts.retried += u64::from(refusal != 0);
            counts.refused += u64::from(!accepted);
            ops += 1;
        }
        if refusal != 0 {
            self.retry.tried(refusal, ops, accepted);
        }
    }

    /// Gives an op to the device, or to software if the device is unhealthy; `None` if there is no room. For
    /// an op that follows the first of its set there is: what the device does not take waits for it.
    pub(crate) fn enqueue(
        &mut self,
        request: &Request<'_>,
        owner: Owner<'_>,
        now_ns: u64,
    ) -> Option<Token> {
        let index = *self.free.last()?;
        let token = next_token(index);
        let mut op = self.take_op();
        op.prepare(token, request, now_ns);
        let (state, copy) = if self.health.is_healthy() {
            if let Err(refused) = self.give(op, now_ns) {
                if !matches!(owner, Owner::SetOf(..)) {
                    self.put_op(refused);
                    return None;
                }
                self.overflow.push_back(refused);
            }
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
        slot.copy = copy;
        match owner {
            Owner::Job(job, ops) => {
                slot.awaited = token;
                slot.job = Some(Rc::clone(job));
                job.await_token(token.0, ops as u32);
            }
            Owner::SetOf(job, set) => {
                slot.awaited = set;
                slot.job = Some(Rc::clone(job));
            }
            Owner::Ticket(notify) => {
                slot.awaited = token;
                self.tickets[index as usize] = Some(notify.clone());
            }
        }
        self.counts[request.kind().index()].enqueued += 1;
        self.waiting += 1;
        self.in_flight_peak = self.in_flight_peak.max(self.waiting);
        Some(token)
    }

    /// Gives `op` to the device, or back if that takes no more.
    fn give(&mut self, op: Box<Op>, now_ns: u64) -> Result<(), Box<Op>> {
        self.outgoing.push(op);
        if self.queue_pair.enqueue_burst(&mut self.outgoing) == 0
            && let Some(refused) = self.outgoing.pop()
        {
            self.health.refused(now_ns);
            return Err(refused);
        }
        self.health.accepted();
        Ok(())
    }

    /// Gives the device what it had no room for, except what has ended otherwise since.
    #[cold]
    fn give_overflow(&mut self, now_ns: u64) {
        while let Some(op) = self.overflow.pop_front() {
            let index = slot_of(op.token, &self.slots);
            if index.is_none_or(|index| self.slots[index].state != State::Device) {
                self.put_op(op);
            } else if let Err(refused) = self.give(op, now_ns) {
                self.overflow.push_front(refused);
                break;
            }
        }
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
        if !self.overflow.is_empty() {
            self.give_overflow(*now_ns);
        }
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

    /// An op has its result, or none, for good. If it is the last of its set, the job's status says so and
    /// the notification follows.
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
            let status = job
                .complete(ok)
                .or(has(Defect::FirstOfSet).then_some(Status::OK));
            if let Some(status) = status {
                if !has(Defect::StatusAfterCallback) {
                    job.set_status(status);
                }
                completed.push(Rc::clone(job));
            }
        } else if let Some(notify) = self.tickets[index].take() {
            self.told.push(notify);
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
        slot.awaited = NO_OP;
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

    pub(crate) fn retry(&mut self, refused: Refused) {
        self.retry.push(refused);
    }

    /// Takes `conn` out of the retry queue.
    pub(crate) fn forget(&mut self, conn: Conn) {
        self.retry.forget(conn);
    }

    /// Takes whoever has the refusal `number` out of the retry queue.
    pub(crate) fn forget_refusal(&mut self, number: u64) {
        self.retry.remove(number);
    }

    /// Takes as many out of the retry queue as there are free slots for, in their order, and hands them to
    /// `tell`. Returns how many.
    pub(crate) fn grant(&mut self, tell: impl FnMut(Notify)) -> usize {
        let free = if self.overflow.is_empty() {
            self.free.len()
        } else {
            0
        };
        self.retry.grant(free, tell)
    }

    /// Whether the op called `token`, which has no job, has ended.
    pub(crate) fn has_ended(&self, token: Token) -> bool {
        let index = slot_of(token, &self.slots);
        index.is_none_or(|index| self.slots[index].state == State::Done)
    }

    /// Nobody wants the op called `token` any more, which has no job.
    pub(crate) fn drop_ticket(&mut self, token: Token) {
        if let Some(index) = slot_of(token, &self.slots) {
            self.slots[index].awaited = NO_OP;
            self.tickets[index] = None;
        }
    }

    /// Those to be told of ops without a job that have ended.
    pub(crate) fn take_told(&mut self, told: &mut Vec<Notify>) {
        told.append(&mut self.told);
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
        slots.filter_map(|slot| slot.job.as_ref()).for_each(|job| {
            job.complete(false);
        });
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

/// The number of a refusal by the channel at `index`; of whoever was refused `before`, under that number,
/// one as old. Its low bits are that index.
pub(crate) fn refusal_by(index: usize, before: u64) -> u64 {
    match before {
        0 => next_token(index as u32).0,
        _ => before >> INDEX_BITS << INDEX_BITS | index as u64,
    }
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
