//! What is done about a device that errs, stalls or refuses: its ops are computed here instead.

use std::rc::Rc;

use spinlane_cryptodev::{Op, OpKind, OpStatus, Request, cpu};
use spinlane_job::Job;

use super::{Channel, EndedBy, MAX_SLOTS, State, next_token, slot_of};
use crate::clock::Clock;
use crate::defect::{Defect, has};
use crate::health::Cause;

/// Computing time of one turn, in nanoseconds: about one RSA-2048 signature, below which no
/// bound could be. A poll core's other work waits no longer than that and one op more.
pub(crate) const BUDGET_NS: u64 = 200_000;
/// Ops of one turn, however little they take.
pub(crate) const BUDGET_OPS: usize = 8;
/// The deadlines are looked at so often within one.
pub(crate) const CHECKS_PER_DEADLINE: u64 = 4;

impl Channel {
    /// Looks at the deadlines and at how the device fares. `drained`: it has nothing to give
    /// back that it has not been asked for; otherwise what is late may be about to come.
    pub(super) fn check(&mut self, drained: bool, now_ns: u64, completed: &mut Vec<Rc<Job>>) {
        let deadline_ns = self.health.config().op_deadline_ns;
        self.check_at_ns = now_ns.saturating_add((deadline_ns / CHECKS_PER_DEADLINE).max(1));
        if self.retry.is_empty() {
            self.health.asked_for_nothing();
        }
        let patience_ns = deadline_ns.saturating_mul(if drained { 1 } else { 2 });
        let overdue = !self.is_inline && self.expire(patience_ns, now_ns, completed);
        if let Some(cause) = self.health.verdict(overdue, now_ns) {
            self.fail(cause, now_ns, completed);
        }
        if self.health.probe_is_overdue(now_ns) {
            self.probe_failed(now_ns);
        }
    }

    /// Gives up the ops that the device has had for longer than `patience_ns`; returns whether
    /// there are any.
    fn expire(&mut self, patience_ns: u64, now_ns: u64, completed: &mut Vec<Rc<Job>>) -> bool {
        let mut overdue = false;
        for index in 0..self.slots.len() {
            let Some(kind) = self.kind_if_overdue(index, patience_ns, now_ns) else {
                continue;
            };
            overdue = true;
            self.counts[kind.index()].timed_out += 1;
            self.health.erred();
            self.give_up(index, now_ns, completed);
        }
        overdue
    }

    fn kind_if_overdue(&self, index: usize, patience_ns: u64, now_ns: u64) -> Option<OpKind> {
        let slot = &self.slots[index];
        let copy = slot.copy.as_ref()?;
        let overdue = slot.state == State::Device
            && now_ns.saturating_sub(copy.enqueued_at_ns) >= patience_ns;
        overdue.then(|| copy.kind())
    }

    /// The device is unhealthy: what it has is computed here, and what comes too.
    fn fail(&mut self, cause: Cause, now_ns: u64, completed: &mut Vec<Rc<Job>>) {
        self.health.fail(now_ns);
        let in_flight = self.waiting - self.software.len();
        tracing::warn!(
            device = self.queue_pair.name(),
            in_flight,
            "device unhealthy: {cause}; software computes until a probe succeeds"
        );
        if self.is_inline {
            // What it has comes back by itself.
            return;
        }
        for index in 0..self.slots.len() {
            if self.slots[index].state == State::Device {
                self.give_up(index, now_ns, completed);
            }
        }
        self.queue_pair.reset();
    }

    /// Takes an op away from the device. Its copy goes on in its place, or ends with an error
    /// if software is not to.
    fn give_up(&mut self, index: usize, now_ns: u64, completed: &mut Vec<Rc<Job>>) {
        let Some(mut copy) = self.slots[index].copy.take() else {
            return;
        };
        if !self.slots[index].is_wanted() {
            self.cancelled(index, copy);
        } else if self.health.config().fallback {
            if !has(Defect::LostOnStall) {
                self.redo(index, copy);
            }
        } else {
            copy.status = OpStatus::Error;
            self.end(index, copy, EndedBy::Device, now_ns, completed);
        }
    }

    /// The device gave `op` back without a result, or with one that nobody waits for.
    #[cold]
    pub(super) fn complete_otherwise(
        &mut self,
        index: usize,
        op: Box<Op>,
        now_ns: u64,
        completed: &mut Vec<Rc<Job>>,
    ) {
        match op.status {
            OpStatus::Success => self.health.succeeded(),
            OpStatus::Invalid => {}
            OpStatus::Error | OpStatus::NotProcessed => self.count_error(op.kind()),
        }
        if !self.slots[index].is_wanted() {
            self.cancelled(index, op);
        } else if self.is_to_be_redone(&op) {
            self.redo(index, op);
        } else {
            self.end(index, op, EndedBy::Device, now_ns, completed);
        }
    }

    /// Whether software is to compute what the device gave back so. An inline device's word on
    /// an invalid input is taken.
    fn is_to_be_redone(&self, op: &Op) -> bool {
        self.health.config().fallback
            && match op.status {
                OpStatus::Success => false,
                OpStatus::Invalid => !self.is_inline,
                OpStatus::Error | OpStatus::NotProcessed => true,
            }
    }

    /// Hands an op to software: from its copy, if there is one, since who knows what the device
    /// did to its own.
    fn redo(&mut self, index: usize, op: Box<Op>) {
        let doubted = op.status == OpStatus::Invalid;
        let op = match self.slots[index].copy.take() {
            Some(copy) => {
                self.put_op(op);
                copy
            }
            None => op,
        };
        self.slots[index].state = State::Software { doubted };
        self.software.push_back(op);
    }

    fn count_error(&mut self, kind: OpKind) {
        self.counts[kind.index()].errors += 1;
        self.health.erred();
        // Now, if it is one too many.
        self.check_at_ns = 0;
    }

    /// Computes ops of the software queue, for a bounded time; returns how many ended.
    pub(super) fn run_software(
        &mut self,
        clock: &dyn Clock,
        now_ns: &mut u64,
        completed: &mut Vec<Rc<Job>>,
    ) -> usize {
        let (start_ns, mut ended) = (*now_ns, 0);
        while ended < BUDGET_OPS && now_ns.saturating_sub(start_ns) < BUDGET_NS {
            let Some(mut op) = self.software.pop_front() else {
                break;
            };
            ended += 1;
            let Some((index, doubted)) = self.with_software(&op) else {
                continue;
            };
            if !self.slots[index].is_wanted() {
                self.cancelled(index, op);
                continue;
            }
            cpu::run(&mut op);
            *now_ns = clock.now_ns();
            if doubted && op.status == OpStatus::Success {
                self.count_error(op.kind());
            }
            self.end(index, op, EndedBy::Software, *now_ns, completed);
        }
        ended
    }

    /// The slot of an op of the software queue, and whether the device called it invalid. There
    /// is always one: a slot leaves that state in `run_software` alone.
    fn with_software(&self, op: &Op) -> Option<(usize, bool)> {
        let index = slot_of(op.token, &self.slots)?;
        match self.slots[index].state {
            State::Software { doubted } => Some((index, doubted)),
            _ => None,
        }
    }

    /// Asks an unhealthy device the same as software, if it is time to.
    pub(super) fn probe(&mut self, request: &Request<'_>, now_ns: u64) {
        if !self.health.wants_probe(now_ns) {
            return;
        }
        let token = next_token(MAX_SLOTS as u32);
        let mut op = self.take_op();
        op.prepare(token, request, now_ns);
        self.health.probe_sent(token, now_ns);
        if let Err(refused) = self.give(op, now_ns) {
            self.put_op(refused);
            self.probe_failed(now_ns);
        }
    }

    fn probe_failed(&mut self, now_ns: u64) {
        self.health.probe_failed(now_ns);
        if !self.is_inline {
            self.queue_pair.reset();
        }
    }

    /// An op came back that no slot has with the device.
    #[cold]
    pub(super) fn stray(&mut self, mut op: Box<Op>, now_ns: u64) {
        if !self.health.is_probe(op.token) {
            self.stray += 1;
        } else if is_right(&mut op) {
            self.health.recover(now_ns);
            let device = self.queue_pair.name();
            tracing::info!(device, "device healthy again: a probe succeeded");
        } else {
            self.probe_failed(now_ns);
        }
        self.put_op(op);
    }
}

/// Whether software agrees with what the device made of `op`.
fn is_right(op: &mut Op) -> bool {
    match op.status {
        OpStatus::Success => cpu::result_is_right(op),
        OpStatus::Invalid => {
            cpu::run(op);
            op.status == OpStatus::Invalid
        }
        OpStatus::Error | OpStatus::NotProcessed => false,
    }
}
