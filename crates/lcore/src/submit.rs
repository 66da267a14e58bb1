//! A set of ops into the queue pairs that serve them: all of it or nothing.

use std::rc::Rc;

use spinlane_cryptodev::{Op, OpKind, Request, Token};
use spinlane_job::Job;

use crate::channel::{Channel, NO_OP, Owner, refusal_by, slot_index};
use crate::core::Lcore;
use crate::offload::{OffloadError, Submitted};

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
    /// Submits those ops of `set` that a queue pair serves for `job`, which awaits all of them from here on;
    /// `places` says where each is. A refusal is remembered with the job. What nobody serves is counted.
    pub(crate) fn submit_set(
        &self,
        set: &[Item<'_>],
        job: &Rc<Job>,
        places: &mut [Place],
    ) -> Submitted {
        let inner = &*self.inner;
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
        let unserved = set.len() - ops;
        if ops == 0 {
            self.count(|stats| stats.unrouted_ops += unserved as u64);
            return Submitted::Inline;
        }
        inner.worked.set(true);
        let channels = &mut channels.all[..];
        for index in each_once(places) {
            let (ops, most) = (part(set, places, index).count(), channels[index].capacity());
            if ops > most {
                return Submitted::Failed(OffloadError::SetTooLarge { ops, most });
            }
        }
        for index in each_once(places) {
            let ops = part(set, places, index).count();
            if !channels[index].admits(of_channel(refusal, index), ops) {
                return refuse(set, places, job, index, channels);
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
                return refuse(set, places, job, index, channels);
            };
            places[at].token = token;
            if let Owner::Job(..) = owner {
                owner = Owner::SetOf(job, token);
            }
        }
        if refusal != 0 {
            for index in each_once(places) {
                let part = part(set, places, index);
                channels[index].tried(of_channel(refusal, index), part, true);
            }
        }
        if unserved != 0 {
            self.count(|stats| stats.unrouted_ops += unserved as u64);
        }
        Submitted::Accepted
    }
}

/// The channels that ops go to.
fn each_once(places: &[Place]) -> impl Iterator<Item = usize> {
    let channels = places.iter().map(|place| place.channel);
    let is_first = |(at, channel): &(usize, usize)| {
        let mut before = places[..*at].iter();
        *channel != usize::MAX && before.all(|place| place.channel != *channel)
    };
    channels
        .enumerate()
        .filter(is_first)
        .map(|(_, channel)| channel)
}

/// The kinds of those ops of `set` that go to the channel at `index`.
fn part(set: &[Item<'_>], places: &[Place], index: usize) -> impl Iterator<Item = OpKind> {
    let all = set.iter().zip(places);
    let part = all.filter(move |(_, place)| place.channel == index);
    part.map(|((request, _), _)| request.kind())
}

/// The channel at `index` has no room for its part of `set`.
#[cold]
fn refuse(
    set: &[Item<'_>],
    places: &[Place],
    job: &Job,
    index: usize,
    channels: &mut [Channel<Op>],
) -> Submitted {
    let before = job.refusal();
    let kinds = || part(set, places, index);
    channels[index].tried(of_channel(before, index), kinds(), false);
    job.set_refusal(refusal_by(index, before), kinds().count());
    Submitted::Refused
}

/// `refusal`, if the channel at `index` refused; 0 otherwise: to others it is a first attempt.
pub(crate) fn of_channel(refusal: u64, index: usize) -> u64 {
    match slot_index(Token(refusal)) == index {
        true => refusal,
        false => 0,
    }
}
