//! A queue pair with the slots in front of it: one slot per op in flight.
//!
//! ```text
//!  slots    ┌ token 7.0, Waiting(job)  ┐   token = serial number . slot index
//!           │ token 0,   Free          │
//!           └ token 9.2, Done(op, job) ┘   the op's memory, until its job has read it
//! ```
//! The serial number counts the thread's ops, whichever lcore and queue pair they go to, so
//! that a token is one op's alone: one that comes back late or twice fits no slot, and a job
//! that awaits it awaits no other.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use hdrhistogram::Histogram;
use spinlane_cryptodev::{Op, OpBurst, OpKind, OpStatus, QueuePair, Request, Token};
use spinlane_job::Job;

use crate::clock::Clock;
use crate::core::Conn;
use crate::stats::{ChannelStats, KindStats, latency_histogram};

/// Finished ops taken from a queue pair per poll at most.
const BURST: usize = 64;
/// Slots looked at per poll for results that nobody will read.
const SWEEP: usize = 16;
/// Bits of a token that hold the slot's index. The others count ops: a million a second for
/// twelve days before a number comes again.
const INDEX_BITS: u32 = 24;

thread_local! {
    /// Serial number of the thread's last op.
    static SERIAL: Cell<u64> = const { Cell::new(0) };
}

enum State {
    Free,
    /// The op is with the device.
    Waiting(Rc<Job>),
    /// The op is back; its job has not read the result yet.
    Done(Box<Op>, Rc<Job>),
}

struct Slot {
    /// Its op; [`NO_OP`] when free.
    token: Token,
    state: State,
}

/// No op is called so.
const NO_OP: Token = Token(0);

/// An op that came back and that a job waits for.
pub(crate) struct Completion {
    pub(crate) job: Rc<Job>,
    pub(crate) token: Token,
    pub(crate) ok: bool,
}

pub(crate) struct Channel {
    queue_pair: Box<dyn QueuePair>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Ops with the device.
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
    outgoing: OpBurst,
    incoming: OpBurst,
    /// Refused connections, first come first served.
    retry: VecDeque<Conn>,
    /// Free slots promised to connections that this poll took from the retry queue.
    granted: usize,
    counters: Counters,
    latency: [Option<Histogram<u64>>; OpKind::COUNT],
}

#[derive(Default)]
struct Counters {
    enqueued: u64,
    completed: u64,
    failed: u64,
    refused: u64,
    retried: u64,
    orphaned: u64,
    stray: u64,
    in_flight_peak: usize,
    idle_flushes: u64,
}

impl Channel {
    pub(crate) fn new(queue_pair: Box<dyn QueuePair>) -> Self {
        let capacity = queue_pair.capacity().min(1 << INDEX_BITS);
        let free_slot = || Slot {
            token: NO_OP,
            state: State::Free,
        };
        let mut latency = [const { None }; OpKind::COUNT];
        for kind in queue_pair.capabilities().iter() {
            latency[kind.index()] = Some(latency_histogram());
        }
        Self {
            slots: std::iter::repeat_with(free_slot).take(capacity).collect(),
            // The lowest index on top: few connections keep touching the same few slots.
            free: (0..capacity as u32).rev().collect(),
            waiting: 0,
            unread: 0,
            swept: 0,
            pool: std::iter::repeat_with(Op::new).take(capacity).collect(),
            outgoing: OpBurst::with_capacity(1),
            incoming: OpBurst::with_capacity(BURST),
            retry: VecDeque::new(),
            granted: 0,
            counters: Counters::default(),
            latency,
            queue_pair,
        }
    }

    pub(crate) fn serves(&self, kind: OpKind) -> bool {
        self.queue_pair.capabilities().has(kind)
    }

    /// Ops with the device.
    pub(crate) fn in_flight(&self) -> usize {
        self.waiting
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
        self.counters.retried += u64::from(again);
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
            self.counters.refused += 1;
        }
        accepted
    }

    fn enqueue(&mut self, request: &Request<'_>, job: &Rc<Job>, now_ns: u64) -> Option<Token> {
        let index = *self.free.last()?;
        let mut op = self.pool.pop()?;
        let token = next_token(index);
        op.prepare(token, request, now_ns);
        self.outgoing.push_back(op);
        if self.queue_pair.enqueue_burst(&mut self.outgoing) == 0 {
            self.pool.extend(self.outgoing.drain(..).map(recycled));
            return None;
        }
        self.free.pop();
        self.slots[index as usize] = Slot {
            token,
            state: State::Waiting(Rc::clone(job)),
        };
        job.await_token(token.0);
        self.counters.enqueued += 1;
        self.waiting += 1;
        self.counters.in_flight_peak = self.counters.in_flight_peak.max(self.waiting);
        Some(token)
    }

    /// Takes finished ops from the device; adds those that somebody waits for to `completions`.
    /// Returns how many came back, and reads the clock again if some did: the device may have
    /// computed them just now, which is part of their latency.
    pub(crate) fn collect(
        &mut self,
        clock: &dyn Clock,
        now_ns: &mut u64,
        completions: &mut VecDeque<Completion>,
    ) -> usize {
        let mut incoming = std::mem::take(&mut self.incoming);
        let count = self.queue_pair.dequeue_burst(&mut incoming, BURST, *now_ns);
        if count != 0 {
            *now_ns = clock.now_ns();
            for op in incoming.drain(..) {
                self.complete(op, *now_ns, completions);
            }
        }
        self.incoming = incoming;
        self.sweep();
        count
    }

    fn complete(&mut self, op: Box<Op>, now_ns: u64, completions: &mut VecDeque<Completion>) {
        let token = op.token;
        let ok = op.status == OpStatus::Success;
        let index = slot_of(token, &self.slots);
        let waiting = index.filter(|&index| matches!(self.slots[index].state, State::Waiting(_)));
        let Some(index) = waiting else {
            self.counters.stray += 1;
            return;
        };
        let slot = &mut self.slots[index];
        let State::Waiting(job) = std::mem::replace(&mut slot.state, State::Free) else {
            return;
        };
        self.waiting -= 1;
        self.counters.completed += u64::from(ok);
        self.counters.failed += u64::from(!ok);
        if job.awaited() != token.0 {
            self.counters.orphaned += 1;
            self.release(index, op);
            return;
        }
        if let Some(latency) = &mut self.latency[op.kind().index()] {
            latency.saturating_record(now_ns.saturating_sub(op.enqueued_at_ns).max(1));
        }
        slot.state = State::Done(op, Rc::clone(&job));
        self.unread += 1;
        job.complete();
        completions.push_back(Completion { job, token, ok });
    }

    /// Gives a finished op's memory to `read` and frees its slot.
    pub(crate) fn finish<T>(&mut self, token: Token, read: impl FnOnce(&Op) -> T) -> Option<T> {
        let index = slot_of(token, &self.slots)?;
        match std::mem::replace(&mut self.slots[index].state, State::Free) {
            State::Done(op, _) => {
                self.unread -= 1;
                let value = read(&op);
                self.release(index, op);
                Some(value)
            }
            other => {
                self.slots[index].state = other;
                None
            }
        }
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
            let Slot { token, state } = &self.slots[self.swept];
            if matches!(state, State::Done(_, job) if job.awaited() != token.0) {
                self.counters.orphaned += 1;
                self.finish(*token, |_| ());
            }
        }
    }

    fn release(&mut self, index: usize, op: Box<Op>) {
        self.pool.push(recycled(op));
        self.slots[index].token = NO_OP;
        self.free.push(index as u32);
    }

    /// Starts what is waiting in partial batches.
    pub(crate) fn flush(&mut self) {
        self.counters.idle_flushes += 1;
        self.queue_pair.flush();
    }

    pub(crate) fn retry(&mut self, conn: Conn) {
        self.retry.push_back(conn);
    }

    /// Moves as many refused connections to `ready` as there are free slots, in their order.
    pub(crate) fn grant(&mut self, ready: &mut VecDeque<Conn>) -> usize {
        self.granted = self.retry.len().min(self.free.len());
        ready.extend(self.retry.drain(..self.granted));
        self.granted
    }

    pub(crate) fn stats(&self) -> ChannelStats {
        let used = |kind: OpKind| {
            let latency = self.latency[kind.index()].as_ref()?;
            (!latency.is_empty()).then(|| KindStats {
                kind,
                latency_ns: latency.clone(),
            })
        };
        ChannelStats {
            device: self.queue_pair.name().to_owned(),
            enqueued: self.counters.enqueued,
            completed: self.counters.completed,
            failed: self.counters.failed,
            refused: self.counters.refused,
            retried: self.counters.retried,
            orphaned: self.counters.orphaned,
            stray: self.counters.stray,
            in_flight: self.waiting,
            in_flight_peak: self.counters.in_flight_peak,
            capacity: self.slots.len(),
            retry_queue: self.retry.len(),
            idle_flushes: self.counters.idle_flushes,
            device_stats: self.queue_pair.stats(),
            kinds: OpKind::ALL.into_iter().filter_map(used).collect(),
        }
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

/// Index of the slot that holds the op called `token`.
fn slot_of(token: Token, slots: &[Slot]) -> Option<usize> {
    let index = (token.0 & ((1 << INDEX_BITS) - 1)) as usize;
    let slot = slots.get(index)?;
    (slot.token == token && token != NO_OP).then_some(index)
}

fn recycled(mut op: Box<Op>) -> Box<Op> {
    op.recycle();
    op
}
