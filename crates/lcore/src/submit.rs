//! A set of ops into the queue pairs that serve them: all of it or nothing.

use std::rc::Rc;

use spinlane_cryptodev::{OpKind, Request, Token};
use spinlane_job::Job;

use crate::channel::{Channel, NO_OP, Owner, refusal_by, slot_index};
use crate::core::{Inner, Lcore};
use crate::offload::OffloadError;

/// An op of a set, and where its result goes.
pub type Item<'a> = (&'a Request<'a>, &'a mut [u8]);

/// Where an op is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) channel: usize,
    pub(crate) token: Token,
}

impl Place {
    /// With no queue pair.
    pub(crate) const NOWHERE: Self = Self {
        channel: usize::MAX,
        token: NO_OP,
    };

    pub(crate) fn is_nowhere(self) -> bool {
        self.token == NO_OP
    }
}

impl Lcore {
    /// Submits those ops of `set` that a queue pair serves, at least one, for `job`, which awaits all of them
    /// from here on; `places` says where each is. Returns `false` if a queue pair has no room for its part:
    /// nothing is submitted then, and the refusal is remembered with the job.
    pub(crate) fn submit_set(
        &self,
        set: &[Item<'_>],
        job: &Rc<Job>,
        places: &mut [Place],
    ) -> Result<bool, OffloadError> {
        let inner = &*self.inner;
        inner.worked.set(true);
        let channels = &mut inner.channels.borrow_mut()[..];
        let refusal = job.refusal();
        for (index, channel) in channels.iter().enumerate() {
            let (ops, most) = (inner.part(set, index).count(), channel.capacity());
            if ops > most {
                return Err(OffloadError::SetTooLarge { ops, most });
            }
            if ops != 0 && !channel.admits(of_channel(refusal, index), ops) {
                return Ok(inner.refuse(set, job, index, channels));
            }
        }
        let ops = set.iter().filter(|item| inner.route_of(item).is_some());
        let mut owner = Owner::Job(job, ops.count());
        let now_ns = inner.clock.now_ns();
        for (item, place) in set.iter().zip(places) {
            *place = Place::NOWHERE;
            let Some(channel) = inner.route_of(item) else {
                continue;
            };
            let Some(token) = channels[channel].enqueue(item.0, owner, now_ns) else {
                // Before anything was taken: only the first op of a set is refused here.
                return Ok(inner.refuse(set, job, channel, channels));
            };
            *place = Place { channel, token };
            if let Owner::Job(..) = owner {
                owner = Owner::SetOf(job, token);
            }
        }
        for (index, channel) in channels.iter_mut().enumerate() {
            channel.tried(of_channel(refusal, index), inner.part(set, index), true);
        }
        Ok(true)
    }
}

impl Inner {
    fn route_of(&self, (request, _): &Item<'_>) -> Option<usize> {
        self.route(request.kind())
    }

    /// The kinds of those ops of `set` that the channel at `index` serves.
    fn part(&self, set: &[Item<'_>], index: usize) -> impl Iterator<Item = OpKind> {
        let served = set
            .iter()
            .filter(move |item| self.route_of(item) == Some(index));
        served.map(|(request, _)| request.kind())
    }

    /// The channel at `index` has no room for its part of `set`. Returns `false`.
    #[cold]
    fn refuse(&self, set: &[Item<'_>], job: &Job, index: usize, channels: &mut [Channel]) -> bool {
        let before = job.refusal();
        channels[index].tried(of_channel(before, index), self.part(set, index), false);
        job.set_refusal(refusal_by(index, before), self.part(set, index).count());
        false
    }
}

/// `refusal`, if the channel at `index` refused; 0 otherwise: to others it is a first attempt.
pub(crate) fn of_channel(refusal: u64, index: usize) -> u64 {
    match slot_index(Token(refusal)) == index {
        true => refusal,
        false => 0,
    }
}
