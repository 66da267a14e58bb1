//! What an application does with its connections: start, resume, close, and what their jobs do.

use std::ptr;
use std::rc::Rc;

use spinlane::job::{self, Foreign, Job, Progress, ResumeError, Status, WaitCtx};
use spinlane::lcore::Conn;

use super::{Connection, ID_BITS, MAX_OPS, SECOND, Shown, State, TICKET, World, here};
use crate::sim::question::{Answers, MAX_SET, Question, Set};
use crate::sim::tally::Breach;
use spinlane::cryptodev::MAX_OUTPUT;

impl World {
    /// Starts a connection; returns whether there was a job for it.
    pub(super) fn start(&self) -> bool {
        let id = self.connections.borrow().len();
        let mut sets = [None; MAX_OPS];
        for set in &mut sets[..=self.below(MAX_OPS as u64 - 1) as usize] {
            let (rng, plan) = (&mut self.rng.borrow_mut(), &self.plan);
            *set = Some(Set::draw(rng, plan.signs, plan.remote, plan.sets));
        }
        let ctx = WaitCtx::new();
        let notify = Foreign::new(callback, ptr::null(), ptr::without_provenance_mut(id));
        ctx.set_notify(Some(notify.into()));
        self.connections.borrow_mut().push(Connection {
            ctx: Rc::clone(&ctx),
            job: None,
            state: State::Running(0),
            asked: Set::of(Question::Keygen(0)),
            ticket: None,
        });
        self.note("start", id, 0);
        match job::start(Some(&ctx), move || body(id, sets)) {
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

    /// Resumes a connection, in its turn or not. One that is done is left alone.
    pub(super) fn resume(&self, id: usize) {
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
    pub(super) fn ran(&self, id: usize, before: u64, progress: &Progress) {
        if !matches!(progress, Progress::Paused) {
            self.note("end", id, 0);
            self.set_state(id, State::Ended);
            return;
        }
        let state = self.state(id);
        let (ctx, awaited, ops) = {
            let connection = &self.connections.borrow()[id];
            let awaited = connection.job.as_ref().map_or(0, |job| job.awaited());
            let ops = connection.asked.questions().len() as u64;
            (Rc::clone(&connection.ctx), awaited, ops)
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
                self.count(|tally| {
                    tally.accepted += ops;
                    tally.sets += u64::from(ops > 1);
                });
                self.set_state(id, State::Waiting);
                self.give_up_ticket(id);
            }
            (false, Status::EAGAIN, State::Running(1)) => self.refused(id),
            (_, status, state) => {
                let text = format!("connection {id} paused {state:?} with status {status:?}");
                self.violate(Breach::Status, text);
            }
        }
        // So that a callback tells whether the status was set before it.
        ctx.set_status(Status::UNSUPPORTED);
    }

    /// It has a ticket from its first refusal until it is accepted, which it shows now or later. A set may be
    /// refused by the one queue pair and then by the other, where its ticket has the same number.
    pub(super) fn refused(&self, id: usize) {
        let Some(job) = self.connections.borrow()[id].job.clone() else {
            return;
        };
        // The low bits of its number say who refused.
        let second = if job.refusal() & 0xff_ffff == 0 {
            0
        } else {
            SECOND
        };
        let before = self.connections.borrow()[id].ticket;
        let (ticket, was_shown) = match before {
            Some((ticket, was_shown)) if ticket & SECOND == second => (ticket, was_shown),
            Some((ticket, _)) => {
                self.give_up_ticket(id);
                (ticket & !SECOND | second, true)
            }
            None => {
                self.tickets_given.set(self.tickets_given.get() + 1);
                let number = self.tickets_given.get() << ID_BITS | id as u64;
                (TICKET | second | number, false)
            }
        };
        self.note("refused", id, ticket);
        self.count(|tally| tally.refused += job.refused_ops() as u64);
        self.connections.borrow_mut()[id].ticket = Some((ticket, was_shown));
        self.set_state(id, State::Refused(ticket));
        if self.below(4) == 0 {
            self.unclaimed.borrow_mut().push(id);
        } else {
            self.claim(id);
        }
    }

    /// Shows its ticket, if it is still refused. Once more than it must, now and then.
    pub(super) fn claim(&self, id: usize) {
        let State::Refused(ticket) = self.state(id) else {
            return;
        };
        let Some(job) = self.connections.borrow()[id].job.clone() else {
            return;
        };
        self.claims.set(self.claims.get() + 1);
        let shown = self.connections.borrow_mut()[id]
            .ticket
            .replace((ticket, true));
        let may_be_called = shown.is_some_and(|(_, shown)| shown) && self.lcore.ready() != 0;
        let mut tickets = self.tickets.borrow_mut();
        let queue = &mut tickets[usize::from(ticket & SECOND != 0)];
        if queue.iter().all(|other| other.ticket != ticket) {
            queue.push(Shown {
                ticket,
                number: self.claims.get(),
                may_be_called,
            });
        }
        for _ in 0..=self.below(8) / 7 {
            self.lcore.retry(Conn(ticket), &job);
        }
    }

    /// Waits no more.
    pub(super) fn give_up_ticket(&self, id: usize) {
        if let Some((ticket, _)) = self.connections.borrow_mut()[id].ticket.take() {
            let mut tickets = self.tickets.borrow_mut();
            let waits = |shown: &Shown| shown.ticket != ticket;
            tickets.iter_mut().for_each(|queue| queue.retain(waits));
        }
    }

    /// Closes as a Rust front-end does: the job unwinds by its own error path.
    pub(super) fn close(&self, id: usize) {
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
    pub(super) fn abandon(&self, id: usize) {
        let Some((ctx, _)) = self.take(id) else {
            return;
        };
        self.note("abandon", id, 0);
        self.count(|tally| tally.abandoned += 1);
        abandon(&ctx);
    }

    /// Marks a connection as closed, if it is still open and paused.
    pub(super) fn take(&self, id: usize) -> Option<(Rc<WaitCtx>, Rc<Job>)> {
        let open = matches!(
            self.state(id),
            State::Waiting | State::Ready | State::Refused(_)
        );
        self.give_up_ticket(id);
        let connection = &mut self.connections.borrow_mut()[id];
        let job = connection.job.clone().filter(|_| open)?;
        connection.state = State::Closed;
        Some((Rc::clone(&connection.ctx), job))
    }

    /// Takes back the stacks of connections that a violation left open.
    pub(super) fn bury(&self) {
        let count = self.connections.borrow().len();
        (0..count).for_each(|id| self.abandon(id));
    }

    /// A job is about to ask.
    pub(super) fn asks(&self, id: usize, set: Set) {
        self.connections.borrow_mut()[id].asked = set;
    }
}

/// A job's function. Owns nothing, so that it can be abandoned.
fn body(id: usize, sets: [Option<Set>; MAX_OPS]) -> i32 {
    for set in sets.into_iter().flatten() {
        let mut answers: Answers = [[0; MAX_OUTPUT]; MAX_SET];
        here(|world| world.asks(id, set));
        let result = set.ask(&mut answers);
        let goes_on = here(|world| world.answered(id, &set, result, &answers));
        if goes_on != Some(true) {
            break;
        }
    }
    0
}

fn callback(_: *const (), id: *mut ()) {
    here(|world| world.called_back(id.addr()));
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
