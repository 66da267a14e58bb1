//! A queue pair with the slots in front of it: one slot per op in flight, of whichever class.
//!
//! ```text
//!  slots    ┌ token 7.0, Device, waiter, copy   ┐   token = serial number . slot index
//!           │ token 0,   Free                   │   copy = what the op was asked
//!           │ token 8.2, Software, waiter       │   its op is in the software queue
//!           │ token 9.3, Done, waiter, op       │   the op's memory, until it has been read
//!           └ token 6.4, Quarantined            ┘   ended, but the device still has its op
//! ```
//! Who waits for an op, and how that hears of its end, is the class's ([`Class`]): a job or the holder of a
//! ticket reads the result in the slot ([`jobs`]); a record goes into a queue of those that are done ([`records`]).
//!
//! The serial number counts the thread's ops, whichever lcore and queue pair they go to, so
//! that a token is one op's alone: one that comes back late or twice fits no slot, and a job
//! that awaits it awaits no other. An op is with the device or with software, never with both:
//! what the device gives back once software has the op fits no slot in that state.
//!
//! A slot whose op was taken away from the device is not used again before the device has given the op back,
//! or has been reset: a card may still write into it. Only so many are put up with ([`Channel::bear`]).

mod fallback;
mod jobs;
pub(crate) mod pool;
mod records;

use std::cell::Cell;
use std::collections::VecDeque;

use spinlane_cryptodev::{
    Burst, Capabilities, HealthConfig, Kind, OpStatus, Operation, QueuePair, Token,
};

use self::pool::Pool;
use crate::clock::Clock;
use crate::defect::{Defect, has};
use crate::health::Health;
use crate::latency::Latencies;
use crate::retry::RetryQueue;
use crate::stats::{ChannelStats, KindStats, OpCounts};
use crate::submit::Place;

pub(crate) use self::jobs::{Owner, Told};
pub(crate) use self::records::Ended;

/// Finished ops taken from a queue pair per poll at most.
const BURST: usize = 64;
/// Slots looked at per poll for results that nobody will read.
const SWEEP: usize = 16;
/// Bits of a token that hold the slot's index. The others count ops: a million a second for
/// twelve days before a number comes again.
const INDEX_BITS: u32 = 24;
/// The highest index is no slot's: it names probes.
const MAX_SLOTS: usize = (1 << INDEX_BITS) - 1;

thread_local! {
    /// Serial number of the thread's last op.
    static SERIAL: Cell<u64> = const { Cell::new(0) };
}

/// A class of ops, and who waits for them.
pub(crate) trait Class: Operation {
    /// Who waits for an op.
    type Waiter;
    /// Where those are noted who are to be told of an end.
    type Told;
    /// The waiter of no op.
    const NOBODY: Self::Waiter;

    /// Whether somebody still waits.
    fn is_wanted(waiter: &Self::Waiter) -> bool;

    /// `op` has ended. Returns it if it stays in its slot until it has been read.
    fn end(waiter: &mut Self::Waiter, op: Box<Self>, told: &mut Self::Told) -> Option<Box<Self>>;

    /// Nobody will ever get the result.
    fn abandon(_waiter: &mut Self::Waiter) {}
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
    /// The op is back; its result has not been read yet.
    Done,
    /// Nothing but that the device still has the op.
    Quarantined,
    /// The device failed the op, whose key is no matter of software's: another queue pair is looked for.
    Moving,
    /// Another queue pair has taken the op over, where its result will be.
    Moved(Place),
}

/// Its parts are set one by one: a state that owned them would be put together in memory
/// and copied from there, for which the processor waits until the parts have been stored.
struct Slot<O: Class> {
    /// Its op; [`NO_OP`] when free.
    token: Token,
    state: State,
    /// The op was taken away from the device, which has not given it back.
    is_held: bool,
    /// Another queue pair's device has failed the op before.
    is_adopted: bool,
    waiter: O::Waiter,
    /// The op, once it is done.
    op: Option<Box<O>>,
    /// What its op was asked, in case the device keeps the op; `None` where it cannot.
    copy: Option<Box<O>>,
}

impl<O: Class> Slot<O> {
    const FREE: Self = Self {
        token: NO_OP,
        state: State::Free,
        is_held: false,
        is_adopted: false,
        waiter: O::NOBODY,
        op: None,
        copy: None,
    };

    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool {
        O::is_wanted(&self.waiter)
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

pub(crate) struct Channel<O: Class> {
    queue_pair: Box<dyn QueuePair<O>>,
    capabilities: Capabilities<O::Kind>,
    /// It cannot keep an op: see [`QueuePair::is_inline`].
    is_inline: bool,
    /// See [`QueuePair::batches`].
    batches: bool,
    slots: Vec<Slot<O>>,
    free: Vec<u32>,
    /// Ops with the device or in the software queue.
    waiting: usize,
    /// Slots whose op the device has, though it was taken away.
    held: usize,
    /// Finished ops that have not been read.
    unread: usize,
    /// The slot that was swept last.
    swept: usize,
    pool: Pool<O>,
    outgoing: Burst<O>,
    incoming: Burst<O>,
    /// Ops to be computed here, in the device's place.
    software: VecDeque<Box<O>>,
    /// Ops that another queue pair may take over.
    homeless: Vec<Box<O>>,
    /// Ops of sets that were accepted, until the device has room for them.
    overflow: VecDeque<Box<O>>,
    health: Health,
    /// When the deadlines are looked at next; 0 = now.
    check_at_ns: u64,
    /// The device refused something since the deadlines were looked at last.
    has_refused: bool,
    /// Who was refused, first come first served.
    retry: RetryQueue,
    counts: Vec<OpCounts>,
    stray: u64,
    in_flight_peak: usize,
    idle_flushes: u64,
    latency: Vec<Option<Latencies>>,
}

impl<O: Class> Channel<O> {
    pub(crate) fn new(queue_pair: Box<dyn QueuePair<O>>, health: HealthConfig) -> Self {
        let capacity = queue_pair.capacity().min(MAX_SLOTS);
        let capabilities = queue_pair.capabilities();
        let kinds = O::Kind::ALL.iter();
        let latency = kinds.map(|kind| capabilities.has(*kind).then(Latencies::new));
        let is_inline = queue_pair.is_inline();
        Self {
            slots: std::iter::repeat_with(|| Slot::FREE)
                .take(capacity)
                .collect(),
            // The lowest index on top: few connections keep touching the same few slots.
            free: (0..capacity as u32).rev().collect(),
            waiting: 0,
            held: 0,
            unread: 0,
            swept: 0,
            // One for a probe.
            pool: Pool::new(1 + if is_inline { capacity } else { 2 * capacity }),
            outgoing: Burst::with_capacity(BURST),
            incoming: Burst::with_capacity(BURST),
            software: VecDeque::with_capacity(capacity),
            homeless: Vec::new(),
            overflow: VecDeque::new(),
            health: Health::new(health),
            check_at_ns: 0,
            has_refused: false,
            retry: RetryQueue::default(),
            counts: vec![OpCounts::default(); O::Kind::ALL.len()],
            stray: 0,
            in_flight_peak: 0,
            idle_flushes: 0,
            latency: latency.collect(),
            is_inline,
            batches: queue_pair.batches(),
            capabilities,
            queue_pair,
        }
    }

    pub(crate) fn queue_pair(&self) -> &dyn QueuePair<O> {
        &*self.queue_pair
    }

    pub(crate) fn capabilities(&self) -> &Capabilities<O::Kind> {
        &self.capabilities
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.health.is_healthy()
    }

    /// How far back it stands among those that could take an op: by its health, by whether it has room, by how
    /// much it has to do.
    pub(crate) fn rank(&self, now_ns: u64) -> u64 {
        let load = (self.waiting + self.retry.len()) as u64;
        let class = match self.health.is_healthy() || has(Defect::BlindRouting) {
            true => 1 + u64::from(self.free.is_empty()),
            false if self.health.wants_probe(now_ns) => 0,
            false => 3,
        };
        class << 32 | load
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

    /// Gives `op` a slot, of which one must be free, and puts it on its way: to the device, to which
    /// [`Channel::send`] hands it, or to software if the device is unhealthy.
    fn admit(
        &mut self,
        mut op: Box<O>,
        waiter: impl FnOnce(Token) -> O::Waiter,
        now_ns: u64,
    ) -> Token {
        let Some(index) = self.free.pop() else {
            return NO_OP;
        };
        let token = next_token(index);
        op.token = token;
        op.enqueued_at_ns = now_ns;
        self.counts[op.kind().index()].enqueued += 1;
        self.waiting += 1;
        self.in_flight_peak = self.in_flight_peak.max(self.waiting);
        let goes_out = self.health.is_healthy() || self.asks_again(&op);
        if goes_out && self.health.wants_probe(now_ns) {
            // Nothing else could tell whether the device serves such keys again.
            self.health.probe_sent(token, now_ns);
        }
        let copy = (goes_out && !self.is_inline).then(|| {
            let mut copy = self.pool.take(op.memory().len());
            copy.copy_from(&op);
            copy
        });
        let slot = &mut self.slots[index as usize];
        slot.token = token;
        slot.waiter = waiter(token);
        slot.copy = copy;
        if goes_out {
            slot.state = State::Device;
            self.outgoing.push(op);
        } else {
            slot.state = State::Software { doubted: false };
            self.probe(&op, now_ns);
            self.software.push_back(op);
        }
        token
    }

    /// Gives the device what was admitted for it. What it refuses stays in `outgoing`.
    fn send(&mut self, now_ns: u64) {
        if self.outgoing.is_empty() {
            return;
        }
        if self.queue_pair.enqueue_burst(&mut self.outgoing) == 0 {
            self.has_refused = true;
            self.health.refused(now_ns);
        } else {
            self.health.accepted();
        }
    }

    /// Takes the slot of an op that the device refused back. Returns who waited.
    fn withdraw(&mut self, op: &O) -> O::Waiter {
        self.counts[op.kind().index()].enqueued -= 1;
        self.waiting -= 1;
        let index = slot_index(op.token);
        let waiter = std::mem::replace(&mut self.slots[index].waiter, O::NOBODY);
        self.release(index);
        waiter
    }

    /// Gives the device what it had no room for, except what has ended otherwise since.
    #[cold]
    fn send_overflow(&mut self, now_ns: u64) {
        while let Some(op) = self.overflow.pop_front() {
            match slot_of(op.token, &self.slots) {
                Some(index) if self.slots[index].state == State::Device => {}
                index => {
                    self.came_back(index);
                    self.pool.put(op);
                    continue;
                }
            }
            self.outgoing.push(op);
            self.send(now_ns);
            if let Some(refused) = self.outgoing.pop() {
                self.overflow.push_front(refused);
                break;
            }
        }
    }

    /// Takes finished ops from the device and computes some in its place; notes those that
    /// somebody waits for in `told`. Returns how many ended, and reads the clock again if
    /// some did: they may have been computed just now, which is part of their latency.
    pub(crate) fn collect(
        &mut self,
        clock: &dyn Clock,
        now_ns: &mut u64,
        told: &mut O::Told,
    ) -> usize {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut count = self.queue_pair.dequeue_burst(&mut incoming, BURST, *now_ns);
        if count != 0 {
            *now_ns = clock.now_ns();
            self.health.answered(*now_ns);
            for op in incoming.drain(..) {
                self.complete(op, *now_ns, told);
            }
        }
        self.incoming = incoming;
        if !self.overflow.is_empty() {
            self.send_overflow(*now_ns);
        }
        if *now_ns >= self.check_at_ns {
            self.check(count < BURST, *now_ns, told);
        }
        if !self.software.is_empty() {
            count += self.run_software(clock, now_ns, told);
        }
        self.sweep();
        count
    }

    /// The device gave `op` back.
    fn complete(&mut self, op: Box<O>, now_ns: u64, told: &mut O::Told) {
        let with_device = slot_of(op.token, &self.slots)
            .filter(|&index| self.slots[index].state == State::Device);
        let Some(index) = with_device else {
            self.stray(op, now_ns);
            return;
        };
        if op.status == OpStatus::Success && self.slots[index].is_wanted() {
            self.succeeded(&op, now_ns);
            self.end(index, op, EndedBy::Device, now_ns, told);
        } else {
            self.complete_otherwise(index, op, now_ns, told);
        }
    }

    /// An op has its result, or none, for good.
    #[inline(always)]
    fn end(&mut self, index: usize, op: Box<O>, by: EndedBy, now_ns: u64, told: &mut O::Told) {
        let kind = op.kind().index();
        let counts = &mut self.counts[kind];
        match by {
            EndedBy::Device => counts.completed += 1,
            EndedBy::Software => counts.fallback += 1,
        }
        match op.status {
            OpStatus::Success => counts.bytes += op.bytes() as u64,
            OpStatus::Invalid => {
                counts.failed += 1;
                counts.invalid += 1;
            }
            _ => counts.failed += 1,
        }
        if let Some(latency) = &mut self.latency[kind] {
            latency.record(now_ns.saturating_sub(op.enqueued_at_ns));
        }
        self.waiting -= 1;
        let slot = &mut self.slots[index];
        match O::end(&mut slot.waiter, op, told) {
            Some(op) => {
                slot.state = State::Done;
                slot.op = Some(op);
                self.unread += 1;
            }
            None => self.release(index),
        }
    }

    /// An op ended that nobody waits for any more.
    fn cancelled(&mut self, index: usize, op: Box<O>) {
        let counts = &mut self.counts[op.kind().index()];
        counts.cancelled += 1;
        counts.orphaned += 1;
        self.waiting -= 1;
        self.pool.put(op);
        self.release(index);
    }

    /// Gives a finished op's memory to `read` and frees its slot.
    pub(crate) fn finish<T>(&mut self, token: Token, read: impl FnOnce(&O) -> T) -> Option<T> {
        let index = slot_of(token, &self.slots)?;
        let op = self.slots[index].op.take()?;
        self.unread -= 1;
        let value = read(&op);
        self.pool.put(op);
        self.release(index);
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
            if matches!(slot.state, State::Moved(_)) && !slot.is_wanted() {
                self.forget_moved(slot.token);
            } else if slot.state == State::Done && !slot.is_wanted() {
                let kind = self.finish(slot.token, Operation::kind);
                if let Some(kind) = kind {
                    self.counts[kind.index()].orphaned += 1;
                }
            }
        }
    }

    /// The op called `token`, which was taken over by another queue pair, has been read there, or nobody wants it.
    pub(crate) fn forget_moved(&mut self, token: Token) {
        if let Some(index) = slot_of(token, &self.slots) {
            self.unread -= 1;
            self.release(index);
        }
    }

    /// A slot has no op any more. It is free, unless the device still has the op.
    fn release(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.waiter = O::NOBODY;
        slot.is_adopted = false;
        if let Some(copy) = slot.copy.take() {
            self.pool.put(copy);
        }
        if slot.is_held {
            slot.state = State::Quarantined;
            return;
        }
        slot.token = NO_OP;
        slot.state = State::Free;
        if !has(Defect::SlotLeak) {
            self.free.push(index as u32);
        }
    }

    /// Starts what is waiting in partial batches.
    pub(crate) fn flush(&mut self) {
        self.idle_flushes += 1;
        self.queue_pair.flush();
    }

    pub(crate) fn stats(&self) -> ChannelStats<O::Kind> {
        let used = |kind: &O::Kind| {
            let counts = self.counts[kind.index()];
            let latency = self.latency[kind.index()].as_ref()?;
            (counts != OpCounts::default()).then(|| KindStats {
                kind: *kind,
                counts,
                latency_ns: latency.histogram(),
            })
        };
        let mut counts = OpCounts::default();
        self.counts.iter().for_each(|of_kind| counts += *of_kind);
        let states = self.slots.iter().map(|slot| slot.state);
        ChannelStats {
            device: self.queue_pair.name().to_owned(),
            counts,
            stray: self.stray,
            in_flight: self.waiting,
            in_flight_peak: self.in_flight_peak,
            capacity: self.slots.len(),
            free_slots: self.free.len(),
            quarantined: states.filter(|state| *state == State::Quarantined).count(),
            retry_queue: self.retry.len(),
            idle_flushes: self.idle_flushes,
            health: self.health.stats(),
            device_stats: self.queue_pair.stats(),
            xstats: self.queue_pair.xstats(),
            kinds: O::Kind::ALL.iter().filter_map(used).collect(),
        }
    }
}

/// Who waits for what it will never give back is told so.
impl<O: Class> Drop for Channel<O> {
    fn drop(&mut self) {
        let slots = self.slots.iter_mut().filter(|slot| slot.is_wanted());
        slots.for_each(|slot| O::abandon(&mut slot.waiter));
    }
}

/// A token for the thread's next op, which goes into slot `index`.
fn next_token(index: u32) -> Token {
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
fn slot_of<O: Class>(token: Token, slots: &[Slot<O>]) -> Option<usize> {
    let index = slot_index(token);
    let slot = slots.get(index)?;
    let same = slot.token == token || has(Defect::Generation);
    (same && slot.token != NO_OP).then_some(index)
}
