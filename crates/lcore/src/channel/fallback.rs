//! What is done about a device that errs, stalls or refuses: its ops are computed here instead, as far as their keys
//! allow it.

use spinlane_cryptodev::{Kind, OpStatus};

use super::{Channel, Class, EndedBy, MAX_SLOTS, State, next_token, slot_of};
use crate::clock::Clock;
use crate::defect::{Defect, has};
use crate::health::Cause;

/// Computing time of one turn, in nanoseconds: about one RSA-2048 signature, below which no
/// bound could be. A poll core's other work waits no longer than that and one op more.
const BUDGET_NS: u64 = 200_000;
/// Ops of one turn, however little they take.
const BUDGET_OPS: usize = 8;
/// The deadlines are looked at so often within one.
const CHECKS_PER_DEADLINE: u64 = 4;

impl<O: Class> Channel<O> {
    /// Looks at the deadlines and at how the device fares. `drained`: it has nothing to give
    /// back that it has not been asked for; otherwise what is late may be about to come.
    pub(super) fn check(&mut self, drained: bool, now_ns: u64, told: &mut O::Told) {
        let deadline_ns = self.health.config().op_deadline_ns;
        self.check_at_ns = now_ns.saturating_add((deadline_ns / CHECKS_PER_DEADLINE).max(1));
        if !std::mem::take(&mut self.has_refused) && self.retry.is_empty() {
            self.health.asked_for_nothing();
        }
        let patience_ns = deadline_ns.saturating_mul(if drained { 1 } else { 2 });
        let overdue = !self.is_inline && self.expire(patience_ns, now_ns, told);
        if let Some(cause) = self.health.verdict(overdue, now_ns) {
            self.fail(cause, now_ns, told);
        }
        if self.health.probe_is_overdue(now_ns) {
            self.probe_failed(now_ns);
        }
        self.bear(now_ns, told);
    }

    /// Gives up the ops that the device has had for longer than `patience_ns`; returns whether
    /// there are any.
    fn expire(&mut self, patience_ns: u64, now_ns: u64, told: &mut O::Told) -> bool {
        let mut overdue = false;
        for index in 0..self.slots.len() {
            let Some(kind) = self.kind_if_overdue(index, patience_ns, now_ns) else {
                continue;
            };
            overdue = true;
            self.counts[kind.index()].timed_out += 1;
            self.health.erred();
            self.give_up(index, now_ns, told);
        }
        overdue
    }

    fn kind_if_overdue(&self, index: usize, patience_ns: u64, now_ns: u64) -> Option<O::Kind> {
        let slot = &self.slots[index];
        let copy = slot.copy.as_ref()?;
        let overdue = slot.state == State::Device
            && now_ns.saturating_sub(copy.enqueued_at_ns) >= patience_ns;
        overdue.then(|| copy.kind())
    }

    /// The device is unhealthy: what it has is computed here, and what comes too.
    fn fail(&mut self, cause: Cause, now_ns: u64, told: &mut O::Told) {
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
                self.give_up(index, now_ns, told);
            }
        }
        self.reset();
    }

    /// Has the device let go of all that was taken away from it.
    fn reset(&mut self) {
        if !self.is_inline && self.queue_pair.reset() {
            self.let_go();
        }
    }

    /// No slot is held by the device any more.
    fn let_go(&mut self) {
        for index in 0..self.slots.len() {
            self.came_back(Some(index));
        }
    }

    /// The device has the op of that slot no more.
    pub(super) fn came_back(&mut self, index: Option<usize>) {
        let Some(index) = index.filter(|&index| self.slots[index].is_held) else {
            return;
        };
        self.slots[index].is_held = false;
        self.held -= 1;
        if self.slots[index].state == State::Quarantined {
            self.release(index);
        }
    }

    /// Whether the device keeps more than half of what it may have, or so much that whoever waits first would
    /// never have room.
    fn keeps_too_many(&self) -> bool {
        let slots = self.slots.len();
        self.held != 0 && (self.held > slots / 2 || self.held + self.retry.first_needs() > slots)
    }

    /// Does something about a device that keeps too many ops: resets it or, if it does not let go, never gives it
    /// another op.
    fn bear(&mut self, now_ns: u64, told: &mut O::Told) {
        if !self.keeps_too_many() {
            return;
        }
        if self.health.is_healthy() {
            self.fail(Cause::KeepsOps, now_ns, told);
        } else {
            self.reset();
        }
        if self.keeps_too_many() {
            tracing::error!(
                device = self.queue_pair.name(),
                held = self.held,
                "device keeps ops whatever it is told: it gets no more, and their memory is left to it"
            );
            self.health.close();
            // By their tokens: what comes back after all fits no slot.
            self.let_go();
        }
    }

    /// Takes an op away from the device. Its copy goes on in its place, or ends with an error
    /// if software is not to.
    fn give_up(&mut self, index: usize, now_ns: u64, told: &mut O::Told) {
        let slot = &mut self.slots[index];
        let Some(mut copy) = slot.copy.take() else {
            return;
        };
        if !has(Defect::EarlyReuse) {
            slot.is_held = true;
            self.held += 1;
        }
        if !slot.is_wanted() {
            self.cancelled(index, copy);
        } else if self.may_run_here(&copy) {
            if !has(Defect::LostOnStall) {
                self.slots[index].state = State::Software { doubted: false };
                self.software.push_back(copy);
            }
        } else if self.may_move(index, &copy) {
            self.set_out(index, copy);
        } else {
            copy.fail(OpStatus::Error);
            self.end(index, copy, EndedBy::Device, now_ns, told);
        }
    }

    /// Whether another queue pair may take `op` over, which the device failed: once, and if software may not.
    fn may_move(&self, index: usize, op: &O) -> bool {
        let at_fault = matches!(op.status, OpStatus::Error | OpStatus::NotProcessed);
        at_fault && !op.is_local() && !self.slots[index].is_adopted
    }

    fn set_out(&mut self, index: usize, mut op: Box<O>) {
        op.status = OpStatus::NotProcessed;
        self.slots[index].state = State::Moving;
        if !has(Defect::LostInMove) {
            self.homeless.push(op);
        }
    }

    /// No other queue pair takes `op` over.
    pub(crate) fn stay(&mut self, mut op: Box<O>, now_ns: u64, told: &mut O::Told) {
        op.fail(OpStatus::Error);
        if let Some(index) = slot_of(op.token, &self.slots) {
            self.end(index, op, EndedBy::Device, now_ns, told);
        }
    }

    /// The device gave `op` back without a result, or with one that nobody waits for.
    #[cold]
    pub(super) fn complete_otherwise(
        &mut self,
        index: usize,
        mut op: Box<O>,
        now_ns: u64,
        told: &mut O::Told,
    ) {
        match op.status {
            OpStatus::Success => self.health.succeeded(),
            OpStatus::Invalid => {}
            OpStatus::Error | OpStatus::NotProcessed => self.count_error(op.kind()),
        }
        if self.health.is_probe(op.token) && op.status != OpStatus::Success {
            self.probe_failed(now_ns);
        }
        if !self.slots[index].is_wanted() {
            self.cancelled(index, op);
        } else if self.is_to_be_redone(index, &op) {
            self.redo(index, op);
        } else if self.may_move(index, &op) {
            let op = self.slots[index].copy.take().unwrap_or(op);
            self.set_out(index, op);
        } else {
            // Whatever the device has left in the result: what did not succeed shows nothing.
            match op.status {
                OpStatus::Success => {}
                OpStatus::NotProcessed => op.fail(OpStatus::Error),
                status => op.fail(status),
            }
            self.end(index, op, EndedBy::Device, now_ns, told);
        }
    }

    /// Whether software may compute `op`: by the settings, and by where the secret of its key is.
    pub(super) fn may_run_here(&self, op: &O) -> bool {
        self.health.config().fallback && (op.is_local() || has(Defect::RemoteFallback))
    }

    /// Whether an op goes to an unhealthy device all the same: nobody else has its key.
    pub(super) fn asks_again(&self, op: &O) -> bool {
        !op.is_local() && !self.health.is_closed()
    }

    /// Whether software is to compute what the device gave back so. An inline device's word on
    /// an invalid input is taken; what it began and failed cannot be begun again if it works in place.
    fn is_to_be_redone(&self, index: usize, op: &O) -> bool {
        let has_copy = self.slots[index].copy.is_some();
        self.may_run_here(op)
            && match op.status {
                OpStatus::Success => false,
                OpStatus::Invalid => has_copy,
                OpStatus::Error => has_copy || O::IS_REPEATABLE,
                OpStatus::NotProcessed => true,
            }
    }

    /// Hands an op to software: from its copy, if there is one, since who knows what the device
    /// did to its own.
    fn redo(&mut self, index: usize, op: Box<O>) {
        let slot = &mut self.slots[index];
        slot.state = State::Software {
            doubted: op.status == OpStatus::Invalid,
        };
        let op = match slot.copy.take() {
            Some(copy) => {
                self.pool.put(op);
                copy
            }
            None => op,
        };
        self.software.push_back(op);
    }

    fn count_error(&mut self, kind: O::Kind) {
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
        told: &mut O::Told,
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
            // What nobody may compute is not counted as if somebody had.
            let by = if self.may_run_here(&op) {
                op.run();
                EndedBy::Software
            } else {
                op.fail(OpStatus::Error);
                EndedBy::Device
            };
            *now_ns = clock.now_ns();
            if doubted && op.status == OpStatus::Success {
                self.count_error(op.kind());
            }
            self.end(index, op, by, *now_ns, told);
        }
        ended
    }

    /// The slot of an op of the software queue, and whether the device called it invalid. There
    /// is always one: a slot leaves that state in `run_software` alone.
    fn with_software(&self, op: &O) -> Option<(usize, bool)> {
        let index = slot_of(op.token, &self.slots)?;
        match self.slots[index].state {
            State::Software { doubted } => Some((index, doubted)),
            _ => None,
        }
    }

    /// Asks an unhealthy device something whose answer software knows, if it is time to. `of` is an op that
    /// software computes meanwhile.
    pub(super) fn probe(&mut self, of: &O, now_ns: u64) {
        if !self.health.wants_probe(now_ns) {
            return;
        }
        let token = next_token(MAX_SLOTS as u32);
        let mut op = self.pool.take(of.memory().len());
        if op.make_probe(of) {
            op.token = token;
            op.enqueued_at_ns = now_ns;
            self.outgoing.push(op);
        }
        self.health.probe_sent(token, now_ns);
        self.send(now_ns);
        if self.outgoing.pop().is_some() {
            self.probe_failed(now_ns);
        }
    }

    fn probe_failed(&mut self, now_ns: u64) {
        self.health.probe_failed(now_ns);
        self.reset();
    }

    /// The device did as it should.
    #[inline]
    pub(super) fn succeeded(&mut self, op: &O, now_ns: u64) {
        self.health.succeeded();
        if !self.health.is_healthy() && self.asks_again(op) {
            self.recover(now_ns);
        }
    }

    #[cold]
    fn recover(&mut self, now_ns: u64) {
        if self.health.recover(now_ns) {
            let device = self.queue_pair.name();
            tracing::info!(device, "device healthy again: an answer came back right");
        }
    }

    /// An op came back that no slot has with the device.
    #[cold]
    pub(super) fn stray(&mut self, mut op: Box<O>, now_ns: u64) {
        if self.health.is_probe(op.token) {
            match op.is_right() {
                true => self.recover(now_ns),
                false => self.probe_failed(now_ns),
            }
        } else {
            self.stray += 1;
            self.came_back(slot_of(op.token, &self.slots));
        }
        self.pool.put(op);
    }
}
