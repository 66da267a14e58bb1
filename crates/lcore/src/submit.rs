//! A set of ops into the queue pairs that serve them: all of it or nothing.

use std::rc::Rc;

use spinlane_cryptodev::{Op, OpKind, Request, Token};
use spinlane_job::Job;

use crate::channel::{Channel, NO_OP, Owner, refusal_by, slot_index};
use crate::core::Lcore;
use crate::offload::OffloadError;

/// An op of a set, and where its result goes.
pub type Item<'a> = (&'a Request<'a>, &'a mut [u8]);

/// Where an op is.
#[derive(Clone, Copy, PartialEq, Eq)]
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
    /// Whether some queue pair serves `request`.
    pub(crate) fn serves(&self, request: &Request<'_>) -> bool {
        // Which one matters not, and so neither does the time.
        self.inner.channels.borrow().route(request, 0).is_some()
    }

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
        let now_ns = inner.clock.now_ns();
        let channels = &mut *inner.channels.borrow_mut();
        let refusal = job.refusal();
        // Decided once: by what each has in flight before any of these. As many as were refused go where they were.
        let (mut ops, mut refused) = (0, job.refused_ops());
        for ((request, _), place) in set.iter().zip(&mut *places) {
            let again = if refused == 0 { 0 } else { refusal };
            let route = channels.route_again(request, again, now_ns);
            refused -= usize::from(again != 0 && route == Some(slot_index(Token(refusal))));
            ops += usize::from(route.is_some());
            *place = Place {
                channel: route.unwrap_or(usize::MAX),
                token: NO_OP,
            };
        }
        let channels = &mut channels.all[..];
        if set.len() > 1 {
            check_sizes(set, places, channels)?;
        }
        for (index, channel) in channels.iter().enumerate() {
            let ops = part(set, places, index).count();
            if ops != 0 && !channel.admits(of_channel(refusal, index), ops) {
                return Ok(refuse(set, places, job, index, channels));
            }
        }
        let mut owner = Owner::Job(job, ops);
        for at in 0..set.len() {
            let index = places[at].channel;
            let Some(channel) = channels.get_mut(index) else {
                continue;
            };
            let Some(token) = channel.enqueue(set[at].0, owner, now_ns) else {
                // Before anything was taken: only the first op of a set is refused here.
                return Ok(refuse(set, places, job, index, channels));
            };
            places[at].token = token;
            if let Owner::Job(..) = owner {
                owner = Owner::SetOf(job, token);
            }
        }
        for (index, channel) in channels.iter_mut().enumerate() {
            channel.tried(of_channel(refusal, index), part(set, places, index), true);
        }
        Ok(true)
    }
}

/// The kinds of those ops of `set` that go to the channel at `index`.
fn part(set: &[Item<'_>], places: &[Place], index: usize) -> impl Iterator<Item = OpKind> {
    let all = set.iter().zip(places);
    let part = all.filter(move |(_, place)| place.channel == index);
    part.map(|((request, _), _)| request.kind())
}

/// Whether each channel may ever have room for its part of `set`.
fn check_sizes(
    set: &[Item<'_>],
    places: &[Place],
    channels: &[Channel<Op>],
) -> Result<(), OffloadError> {
    for (index, channel) in channels.iter().enumerate() {
        let (ops, most) = (part(set, places, index).count(), channel.capacity());
        if ops > most {
            return Err(OffloadError::SetTooLarge { ops, most });
        }
    }
    Ok(())
}

/// The channel at `index` has no room for its part of `set`. Returns `false`.
#[cold]
fn refuse(
    set: &[Item<'_>],
    places: &[Place],
    job: &Job,
    index: usize,
    channels: &mut [Channel<Op>],
) -> bool {
    let before = job.refusal();
    let kinds = || part(set, places, index);
    channels[index].tried(of_channel(before, index), kinds(), false);
    job.set_refusal(refusal_by(index, before), kinds().count());
    false
}

/// `refusal`, if the channel at `index` refused; 0 otherwise: to others it is a first attempt.
pub(crate) fn of_channel(refusal: u64, index: usize) -> u64 {
    match slot_index(Token(refusal)) == index {
        true => refusal,
        false => 0,
    }
}
