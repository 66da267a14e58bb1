//! Ops without a job: a notification says that one has ended, and its ticket gets the result.

use std::iter;

use spinlane_cryptodev::{OpKind, Request, Token};
use spinlane_job::Notify;

use crate::channel::{Owner, refusal_by, slot_index};
use crate::core::Lcore;
use crate::offload::{OffloadError, result_of};
use crate::retry::Refused;
use crate::submit::{Place, of_channel};

/// How a submission went.
#[derive(Debug)]
pub enum Submitted {
    /// The op is with a queue pair. One notification follows when it has ended.
    Accepted(Ticket),
    /// The queue pair is full. One notification follows when there is room.
    Refused(Refusal),
}

/// An op in flight, or its result. Dropped, the op becomes nobody's, and no notification is made.
pub struct Ticket {
    lcore: Lcore,
    kind: OpKind,
    place: Place,
}

/// A place in a queue pair's retry queue. Dropped, it is given up, and no notification is made.
pub struct Refusal {
    lcore: Lcore,
    number: u64,
}

impl Lcore {
    /// Submits an op that no job waits for: of an asynchronous Rust program, or of a layer with states of its
    /// own. `notify` is told once, by a poll, whatever the submission comes to. Only queues; the request's
    /// operands are copied.
    ///
    /// # Errors
    /// [`OffloadError::NotServed`], or [`OffloadError::Forked`]; nothing is submitted then, and nobody told.
    pub fn submit(
        &self,
        request: &Request<'_>,
        notify: impl Into<Notify>,
    ) -> Result<Submitted, OffloadError> {
        self.submit_again(request, notify.into(), 0)
    }

    /// An attempt by whoever has this `refusal`; 0: the first one.
    fn submit_again(
        &self,
        request: &Request<'_>,
        notify: Notify,
        refusal: u64,
    ) -> Result<Submitted, OffloadError> {
        if self.is_of_parent() {
            return Err(OffloadError::Forked);
        }
        let inner = &*self.inner;
        let kind = request.kind();
        let now_ns = inner.clock.now_ns();
        let mut channels = inner.channels.borrow_mut();
        let route = channels.route_again(request, refusal, now_ns);
        let index = route.ok_or_else(|| channels.unserved(request))?;
        inner.worked.set(true);
        let channel = &mut channels.all[index];
        let place_in_queue = of_channel(refusal, index);
        let token = channel
            .admits(place_in_queue, 1)
            .then(|| channel.enqueue(request, Owner::Ticket(&notify), now_ns));
        let token = token.flatten();
        channel.tried(place_in_queue, iter::once(kind), token.is_some());
        // It may wait with an older notification, and at another queue pair than that which it was sent to now.
        if let Some(before) = channels.all.get_mut(slot_index(Token(refusal)))
            && refusal != 0
        {
            before.forget_refusal(refusal);
        }
        let lcore = self.clone();
        if let Some(token) = token {
            let place = Place {
                channel: index,
                token,
            };
            return Ok(Submitted::Accepted(Ticket { lcore, kind, place }));
        }
        let number = refusal_by(index, refusal);
        channels.all[index].retry(Refused {
            number,
            ops: 1,
            job: None,
            notify,
        });
        Ok(Submitted::Refused(Refusal { lcore, number }))
    }
}

impl Refusal {
    /// Submits the op again, or another: when the notification was made, or earlier. Refused again, it has the
    /// same place in the queue.
    ///
    /// # Errors
    /// As for [`Lcore::submit`]; the place is given up.
    pub fn retry(
        mut self,
        request: &Request<'_>,
        notify: impl Into<Notify>,
    ) -> Result<Submitted, OffloadError> {
        let again = self
            .lcore
            .submit_again(request, notify.into(), self.number)?;
        // The place is the new refusal's, if it is one.
        self.number = 0;
        Ok(again)
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        let mut channels = self.lcore.inner.channels.borrow_mut();
        if self.number != 0
            && let Some(channel) = channels.all.get_mut(slot_index(Token(self.number)))
        {
            channel.forget_refusal(self.number);
        }
    }
}

impl Ticket {
    /// Whether the op has ended.
    pub fn is_done(&self) -> bool {
        let channels = self.lcore.inner.channels.borrow();
        let place = channels.locate(self.place);
        let channel = channels.all.get(place.channel);
        channel.is_none_or(|channel| channel.has_ended(place.token))
    }

    /// Writes the op's result to `output`, its kind's `output_len()` bytes long. Gives the ticket back if
    /// the op has not ended.
    ///
    /// # Errors
    /// The outer one is the ticket; the inner one says why there is no result.
    ///
    /// # Panics
    /// If `output` has another length.
    pub fn take(mut self, output: &mut [u8]) -> Result<Result<(), OffloadError>, Self> {
        let kind = self.kind;
        assert_eq!(output.len(), kind.output_len(), "output length of {kind}");
        if !self.is_done() {
            return Err(self);
        }
        let result = self.lcore.finish(self.place, |op| result_of(op, output));
        self.place = Place::NOWHERE;
        Ok(result.unwrap_or(Err(OffloadError::OtherLcore)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut channels = self.lcore.inner.channels.borrow_mut();
        for place in [self.place, channels.locate(self.place)] {
            if let Some(channel) = channels.all.get_mut(place.channel) {
                channel.drop_ticket(place.token);
            }
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("kind", &self.kind)
            .field("done", &self.is_done())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refusal")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
