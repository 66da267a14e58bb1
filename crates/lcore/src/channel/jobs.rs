//! Private-key ops: a job waits for one, or for a set, which is called by its first op's token; an op without a job
//! is that of whoever holds its ticket. The result stays in the slot until it has been read.

use std::rc::Rc;
use std::sync::Arc;

use spinlane_cryptodev::{Burst, KeyHandle, Op, OpKind, OpStatus, Request, Token};
use spinlane_job::{Conn, Job, Notify, Status};

use super::{Channel, Class, NO_OP, State, slot_index, slot_of};
use crate::defect::{Defect, has};
use crate::retry::Refused;
use crate::submit::Place;

/// Who waits for a private-key op.
#[derive(Clone)]
pub(crate) struct Waiter {
    /// Whose op it is; `None`: that of whoever has the ticket.
    job: Option<Rc<Job>>,
    /// What its job waits for: its op's token, or that of the set it is of. Of an op without a job, its token;
    /// [`NO_OP`] once the ticket is gone.
    awaited: Token,
    /// Whom to tell of an op without a job.
    ticket: Option<Notify>,
}

/// Who is to be told that ops have ended.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) jobs: Vec<Rc<Job>>,
    pub(crate) tickets: Vec<Notify>,
}

impl Class for Op {
    type Waiter = Waiter;
    type Told = Told;
    const NOBODY: Waiter = Waiter {
        job: None,
        awaited: NO_OP,
        ticket: None,
    };

    fn is_wanted(waiter: &Waiter) -> bool {
        match &waiter.job {
            Some(job) => job.awaited() == waiter.awaited.0 || has(Defect::Orphan),
            None => waiter.awaited != NO_OP,
        }
    }

    /// If it is the last of its set, the job's status says so and the notification follows.
    #[inline(always)]
    fn end(waiter: &mut Waiter, op: Box<Self>, told: &mut Told) -> Option<Box<Self>> {
        if let Some(job) = &waiter.job {
            let ok = op.status == OpStatus::Success;
            let status = job
                .complete(ok)
                .or(has(Defect::FirstOfSet).then_some(Status::OK));
            if let Some(status) = status {
                if !has(Defect::StatusAfterCallback) {
                    job.set_status(status);
                }
                told.jobs.push(Rc::clone(job));
            }
        } else if let Some(notify) = waiter.ticket.take() {
            told.tickets.push(notify);
        }
        Some(op)
    }

    /// Resumed, a job finds no result and fails.
    fn abandon(waiter: &mut Waiter) {
        if let Some(job) = &waiter.job {
            job.complete(false);
        }
    }
}

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

impl Owner<'_> {
    fn waits_for(self, token: Token) -> Waiter {
        match self {
            Self::Job(job, _) => Waiter {
                job: Some(Rc::clone(job)),
                awaited: token,
                ticket: None,
            },
            Self::SetOf(job, set) => Waiter {
                job: Some(Rc::clone(job)),
                awaited: set,
                ticket: None,
            },
            Self::Ticket(notify) => Waiter {
                job: None,
                awaited: token,
                ticket: Some(notify.clone()),
            },
        }
    }
}

impl Channel<Op> {
    /// Whether the queue pair serves `request`: its kind, as long as it is, and its key.
    pub(crate) fn takes(&self, request: &Request<'_>) -> bool {
        let most = self.takes_at_most(request);
        most.is_some_and(|most| request.input_len() <= most)
    }

    /// How long an op like `request` may be; `None` if the queue pair serves not its kind or not its key.
    pub(crate) fn takes_at_most(&self, request: &Request<'_>) -> Option<usize> {
        let limits = self.capabilities.limits(request.kind())?;
        let holds = |key: &Arc<KeyHandle>| self.queue_pair.holds(key) || has(Defect::ForeignKey);
        request.key().is_none_or(holds).then_some(limits.max_len)
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
        if self.free.is_empty() {
            return None;
        }
        let mut op = self.pool.take(request.memory_len());
        op.prepare(NO_OP, request, now_ns);
        let token = self.admit(op, |token| owner.waits_for(token), now_ns);
        self.send(now_ns);
        if let Some(refused) = self.outgoing.pop() {
            if !matches!(owner, Owner::SetOf(..)) {
                self.withdraw(&refused);
                self.pool.put(refused);
                return None;
            }
            self.overflow.push_back(refused);
        }
        if let Owner::Job(job, ops) = owner {
            job.await_token(token.0, ops as u32);
        }
        Some(token)
    }

    pub(crate) fn has_homeless(&self) -> bool {
        !self.homeless.is_empty()
    }

    /// Ops that the device failed and another queue pair may take over.
    pub(crate) fn take_homeless(&mut self) -> Burst {
        std::mem::take(&mut self.homeless)
    }

    /// Whether it can take `op` over now.
    pub(crate) fn takes_over(&self, op: &Op) -> bool {
        let holds = |key: &Arc<KeyHandle>| self.queue_pair.holds(key);
        let has_room = !self.free.is_empty() && self.overflow.is_empty();
        let serves = self.capabilities.takes(op) && op.key().is_none_or(holds);
        self.health.is_healthy() && has_room && serves
    }

    /// Takes over `op`, whose slot at another queue pair this waiter is of. There is room. Returns its new token.
    pub(crate) fn adopt(&mut self, op: Box<Op>, waiter: Waiter, now_ns: u64) -> Token {
        let token = self.admit(op, |_| waiter, now_ns);
        self.slots[slot_index(token)].is_adopted = true;
        self.send(now_ns);
        self.overflow.extend(self.outgoing.pop());
        token
    }

    /// Who waits for the op called `token`, which is about to be taken over.
    pub(crate) fn waiter_of(&self, token: Token) -> Option<Waiter> {
        let index = slot_of(token, &self.slots)?;
        Some(self.slots[index].waiter.clone())
    }

    /// The op called `token` was taken over: it is at `place` now.
    pub(crate) fn moved_to(&mut self, token: Token, kind: OpKind, place: Place) {
        if let Some(index) = slot_of(token, &self.slots) {
            self.slots[index].state = State::Moved(place);
            let counts = &mut self.counts[kind.index()];
            counts.enqueued -= 1;
            counts.moved += 1;
            self.waiting -= 1;
            self.unread += 1;
        }
    }

    /// Where the op called `token` is, if another queue pair has taken it over.
    pub(crate) fn moved(&self, token: Token) -> Option<Place> {
        match self.slots[slot_of(token, &self.slots)?].state {
            State::Moved(place) => Some(place),
            _ => None,
        }
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
        let free = match self.overflow.is_empty() {
            true => self.free.len(),
            false => 0,
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
            self.slots[index].waiter = Op::NOBODY;
        }
    }
}
