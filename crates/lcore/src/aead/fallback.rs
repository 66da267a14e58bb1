//! What is done about a device that errs, stalls or refuses: its ops are computed here instead.

use std::sync::Arc;

use spinlane_crypto::aead::{NONCE_LEN, TAG_LEN};
use spinlane_crypto::random;
use spinlane_cryptodev::aead::{Direction, Key, Op, Request};
use spinlane_cryptodev::{Buffer, OpStatus, QueuePair};
use spinlane_cryptodev::{Token, cpu};

use super::{AeadChannel, Ended, EndedBy};
use crate::channel::{BUDGET_NS, BUDGET_OPS, CHECKS_PER_DEADLINE, MAX_SLOTS, next_token};
use crate::clock::Clock;
use crate::health::Cause;

/// Bytes that a probe seals.
const PROBE_LEN: usize = 64;

/// An op without memory.
pub(super) fn empty_op() -> Box<Op> {
    match Buffer::heap(0) {
        Ok(buffer) => Op::new(buffer),
        Err(_) => unreachable!("nothing is no more than the longest buffer"),
    }
}

/// A random key for probes, of an algorithm that `queue_pair` serves; `None` if it serves none. An
/// unhealthy device gets nobody's data, nor nonces under anybody's key.
pub(super) fn probe_key(queue_pair: &dyn QueuePair<Op>) -> Option<Arc<Key>> {
    let algorithm = queue_pair.capabilities().iter().next()?;
    let mut secret = [0; 32];
    random::fill(&mut secret);
    Key::new(algorithm, &secret[..algorithm.key_len()])
        .ok()
        .map(Arc::new)
}

impl AeadChannel {
    /// Looks at the deadlines and at how the device fares. `drained`: it has nothing to give back that it
    /// has not been asked for; otherwise what is late may be about to come.
    pub(super) fn check(&mut self, drained: bool, now_ns: u64, done: &mut Ended) {
        let deadline_ns = self.health.config().op_deadline_ns;
        self.check_at_ns = now_ns.saturating_add((deadline_ns / CHECKS_PER_DEADLINE).max(1));
        if !std::mem::take(&mut self.has_refused) {
            self.health.asked_for_nothing();
        }
        let patience_ns = deadline_ns.saturating_mul(if drained { 1 } else { 2 });
        let overdue = self.expire(patience_ns, now_ns, done);
        if let Some(cause) = self.health.verdict(overdue, now_ns) {
            self.fail(cause, now_ns, done);
        }
        if self.health.probe_is_overdue(now_ns) {
            self.probe_failed(now_ns);
        }
    }

    /// Gives up the ops that the device has had for longer than `patience_ns`; returns whether there are
    /// any.
    fn expire(&mut self, patience_ns: u64, now_ns: u64, done: &mut Ended) -> bool {
        let mut overdue = false;
        for index in 0..self.slots.len() {
            let late = self.slots[index]
                .copy
                .take_if(|copy| now_ns.saturating_sub(copy.enqueued_at_ns) >= patience_ns);
            if let Some(copy) = late {
                overdue = true;
                self.counts_of(&copy).timed_out += 1;
                self.health.erred();
                self.give_up(index, copy, now_ns, done);
            }
        }
        overdue
    }

    /// The device is unhealthy: what it has is computed here, and what comes too.
    fn fail(&mut self, cause: Cause, now_ns: u64, done: &mut Ended) {
        self.health.fail(now_ns);
        tracing::warn!(
            device = self.queue_pair.name(),
            in_flight = self.in_flight,
            "device unhealthy: {cause}; software seals and opens until a probe succeeds"
        );
        for index in 0..self.slots.len() {
            if let Some(copy) = self.slots[index].copy.take() {
                self.give_up(index, copy, now_ns, done);
            }
        }
        if !self.is_inline {
            self.queue_pair.reset();
        }
    }

    /// Takes an op away from the device. `copy` goes on in its place, or ends with an error if software
    /// is not to.
    fn give_up(&mut self, index: usize, mut copy: Box<Op>, now_ns: u64, done: &mut Ended) {
        copy.token = self.slots[index].callers;
        self.release(index);
        if self.health.config().fallback {
            self.software.push_back((copy, false));
        } else {
            copy.fail(OpStatus::Error);
            self.end(copy, EndedBy::Device, now_ns, done);
        }
    }

    /// What software is to compute in place of `op`, as the device gave it back, and whether the device
    /// found its tag wrong; or `op` for good. An inline device's word on a tag is taken. What it
    /// failed is lost with its data; what it did not begin is not.
    pub(super) fn settle(
        &mut self,
        mut op: Box<Op>,
        copy: Option<Box<Op>>,
    ) -> Result<(Box<Op>, bool), Box<Op>> {
        let fallback = self.health.config().fallback;
        let doubted = op.status == OpStatus::Invalid;
        match (op.status, copy) {
            (OpStatus::Error | OpStatus::NotProcessed | OpStatus::Invalid, Some(mut copy))
                if fallback =>
            {
                copy.token = op.token;
                self.put_spare(op);
                Ok((copy, doubted))
            }
            (OpStatus::NotProcessed, None) if fallback => Ok((op, false)),
            (status, copy) => {
                if let Some(copy) = copy {
                    self.put_spare(copy);
                }
                if status == OpStatus::NotProcessed {
                    op.fail(OpStatus::Error);
                }
                Err(op)
            }
        }
    }

    pub(super) fn count_error(&mut self, op: &Op) {
        self.counts_of(op).errors += 1;
        self.health.erred();
        // Now, if it is one too many.
        self.check_at_ns = 0;
    }

    /// Computes ops of the software queue, for a bounded time.
    pub(super) fn run_software(&mut self, clock: &dyn Clock, now_ns: &mut u64, done: &mut Ended) {
        let (start_ns, mut ended) = (*now_ns, 0);
        while ended < BUDGET_OPS && now_ns.saturating_sub(start_ns) < BUDGET_NS {
            let Some((mut op, doubted)) = self.software.pop_front() else {
                break;
            };
            ended += 1;
            cpu::run_aead(&mut op);
            if doubted && op.status == OpStatus::Success {
                self.count_error(&op);
            }
            *now_ns = clock.now_ns();
            self.end(op, EndedBy::Software, *now_ns, done);
        }
    }

    /// Has an unhealthy device seal something of ours, if it is time to.
    pub(super) fn probe(&mut self, now_ns: u64) {
        if !self.health.wants_probe(now_ns) {
            return;
        }
        let token = next_token(MAX_SLOTS as u32);
        self.health.probe_sent(token, now_ns);
        if self.send_probe(token, now_ns).is_none() {
            self.probe_failed(now_ns);
        }
    }

    fn send_probe(&mut self, token: Token, now_ns: u64) -> Option<()> {
        let mut op = Op::new(self.queue_pair.buffer(PROBE_LEN + TAG_LEN).ok()?);
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&token.0.to_le_bytes());
        op.prepare(
            token,
            &probe(self.probe_key.as_ref()?, &nonce, Direction::Seal),
        )
        .ok()?;
        op.enqueued_at_ns = now_ns;
        self.outgoing.push(op);
        let taken = self.queue_pair.enqueue_burst(&mut self.outgoing);
        self.outgoing.clear();
        (taken == 1).then_some(())
    }

    /// A probe came back: the one that is out, or one that was given up.
    pub(super) fn probe_came(&mut self, mut op: Box<Op>, now_ns: u64) {
        if !self.health.is_probe(op.token) {
            self.stray += 1;
        } else if is_right(&mut op) {
            self.health.recover(now_ns);
            let device = self.queue_pair.name();
            tracing::info!(device, "device healthy again: a probe succeeded");
        } else {
            self.probe_failed(now_ns);
        }
    }

    fn probe_failed(&mut self, now_ns: u64) {
        self.health.probe_failed(now_ns);
        if !self.is_inline {
            self.queue_pair.reset();
        }
    }
}

/// Zeros to be sealed, or opened again.
fn probe<'a>(key: &'a Arc<Key>, nonce: &'a [u8; NONCE_LEN], direction: Direction) -> Request<'a> {
    Request {
        direction,
        key,
        nonce,
        aad: &[],
        data: 0..PROBE_LEN,
    }
}

/// Whether software opens what the device made of a probe.
fn is_right(op: &mut Op) -> bool {
    let (nonce, token) = (*op.nonce(), op.token);
    let Some(key) = op.key().cloned().filter(|_| op.status == OpStatus::Success) else {
        return false;
    };
    if op
        .prepare(token, &probe(&key, &nonce, Direction::Open))
        .is_err()
    {
        return false;
    }
    cpu::run_aead(op);
    op.status == OpStatus::Success && op.data().iter().all(|byte| *byte == 0)
}
