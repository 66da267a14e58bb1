//! Ops that no job waits for: each attempt to submit one is called by its number, once.

use std::mem;

use spinlane::cryptodev::{MAX_OUTPUT, OpKind};
use spinlane::lcore::{Conn, OffloadError, Submitted, Ticket};

use super::{ALONE, World};
use crate::sim::question::Question;
use crate::sim::tally::Breach;

/// An op.
pub(super) struct Alone {
    question: Question,
    /// `None` once it has ended, or was dropped.
    submitted: Option<Submitted>,
    /// Number of the attempt that led to that.
    attempt: usize,
}

/// A submission, accepted or refused.
pub(super) struct Attempt {
    /// Whose.
    id: usize,
    is_accepted: bool,
    calls: Calls,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// One is to come.
    One,
    /// One may have been on its way when it was dropped, or tried again.
    AtMostOne,
    /// It was made, or must not be.
    None,
}

impl Alone {
    pub(super) fn is_open(&self) -> bool {
        self.submitted.is_some()
    }

    /// Its kind, if it has a slot.
    pub(super) fn uses_slot(&self) -> Option<OpKind> {
        let is_accepted = matches!(self.submitted, Some(Submitted::Accepted(_)));
        is_accepted.then(|| self.question.kind())
    }
}

impl World {
    pub(super) fn submit_alone(&self) {
        let id = self.alone.borrow().len();
        if id as u64 == self.plan.alone {
            return;
        }
        let question = Question::draw(&mut self.rng.borrow_mut(), self.plan.signs, false);
        self.alone.borrow_mut().push(Alone {
            question,
            submitted: None,
            attempt: 0,
        });
        self.attempt(id, None);
    }

    /// Submits an op, or does so again after a refusal.
    fn attempt(&self, id: usize, before: Option<Submitted>) {
        let question = self.alone.borrow()[id].question;
        let attempt = self.attempts.borrow().len();
        let name = Conn(ALONE | attempt as u64);
        let submitted = question.with_request(|request| match before {
            Some(Submitted::Refused(refusal)) => refusal.retry(request, name),
            _ => self.lcore.submit(request, name),
        });
        let submitted = match submitted {
            Ok(submitted) => submitted,
            Err(error) => return self.violate(Breach::Other, format!("op {id}: {error}")),
        };
        let is_accepted = matches!(submitted, Submitted::Accepted(_));
        self.note("alone", id, is_accepted.into());
        self.count(|tally| {
            tally.accepted += u64::from(is_accepted);
            tally.refused += u64::from(!is_accepted);
        });
        self.attempts.borrow_mut().push(Attempt {
            id,
            is_accepted,
            calls: Calls::One,
        });
        let alone = &mut self.alone.borrow_mut()[id];
        alone.submitted = Some(submitted);
        alone.attempt = attempt;
    }

    /// The lcore calls an attempt.
    pub(super) fn hand_out_alone(&self, attempt: usize) {
        let (id, is_accepted, calls) = {
            let attempt = &mut self.attempts.borrow_mut()[attempt];
            let calls = mem::replace(&mut attempt.calls, Calls::None);
            (attempt.id, attempt.is_accepted, calls)
        };
        self.note("called", id, attempt as u64);
        self.count(|tally| tally.callbacks += u64::from(is_accepted));
        match calls {
            Calls::One => self.go_on_alone(id),
            Calls::AtMostOne => {}
            Calls::None => {
                let text = format!("op {id}: attempt {attempt} was called again, or too late");
                self.violate(Breach::DuplicateCallback, text);
            }
        }
    }

    /// The op was called: its result is there, or there is room for it.
    fn go_on_alone(&self, id: usize) {
        let submitted = self.alone.borrow_mut()[id].submitted.take();
        match submitted {
            Some(Submitted::Accepted(ticket)) => {
                let mut answer = [0; MAX_OUTPUT];
                let question = self.alone.borrow()[id].question;
                let answer = &mut answer[..question.kind().output_len()];
                match ticket.take(answer) {
                    Ok(result) => self.check_alone(id, question, result, answer),
                    Err(_) => self.violate(Breach::Lost, format!("op {id} has no result")),
                }
            }
            refused => self.attempt(id, refused),
        }
    }

    fn check_alone(
        &self,
        id: usize,
        question: Question,
        result: Result<(), OffloadError>,
        answer: &[u8],
    ) {
        let fallback = self.plan.health.fallback;
        let right = match result {
            Ok(()) => question.is_answered_by(answer),
            Err(OffloadError::Invalid) => question.is_invalid() || !fallback,
            Err(OffloadError::Device) => !fallback,
            Err(_) => false,
        };
        if !right {
            let text = format!("op {id}: {question:?} was answered by {result:?}");
            self.violate(Breach::WrongResult, text);
        }
        self.count(|tally| {
            tally.alone += 1;
            tally.ops += 1;
        });
    }

    /// Drops an op, or tries too early.
    pub(super) fn touch_alone(&self) {
        let count = self.alone.borrow().len() as u64;
        if count == 0 {
            return;
        }
        let id = self.below(count) as usize;
        let (submitted, attempt) = {
            let alone = &mut self.alone.borrow_mut()[id];
            (alone.submitted.take(), alone.attempt)
        };
        let Some(submitted) = submitted else {
            return;
        };
        let drops = self.below(2) == 0;
        match submitted {
            Submitted::Accepted(ticket) if !drops => {
                let kept = self.ask_too_early(id, ticket);
                self.alone.borrow_mut()[id].submitted = kept.map(Submitted::Accepted);
            }
            refused @ Submitted::Refused(_) if !drops => {
                self.outlive(attempt);
                self.attempt(id, Some(refused));
            }
            _ => self.outlive(attempt),
        }
    }

    /// A ticket of an op that has not ended is given back.
    fn ask_too_early(&self, id: usize, ticket: Ticket) -> Option<Ticket> {
        if ticket.is_done() {
            return Some(ticket);
        }
        let kind = self.alone.borrow()[id].question.kind();
        let kept = ticket.take(&mut [0; MAX_OUTPUT][..kind.output_len()]).err();
        if kept.is_none() {
            self.violate(Breach::Other, format!("op {id} ended in between"));
        }
        kept
    }

    /// Nobody wants the call of `attempt` any more, which may have been made already.
    fn outlive(&self, attempt: usize) {
        let attempt = &mut self.attempts.borrow_mut()[attempt];
        if attempt.calls == Calls::One {
            attempt.calls = match self.lcore.ready() {
                0 => Calls::None,
                _ => Calls::AtMostOne,
            };
        }
    }
}
