//! Which queue pair an op goes to: by its key, by its kind, and by how much each has to do.

use spinlane_cryptodev::{Burst, Kind, Op, Request, Token, aead};

use crate::channel::{Channel, Class, Told, slot_index};
use crate::clock::Clock;
use crate::offload::OffloadError;
use crate::submit::Place;

/// The queue pairs for one class, and which of them serve each kind.
pub(crate) struct Channels<O: Class> {
    pub(crate) all: Vec<Channel<O>>,
    /// By kind: places in `all`, in the order in which they were added.
    routes: Vec<Vec<u8>>,
}

impl<O: Class> Default for Channels<O> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            routes: vec![Vec::new(); O::Kind::ALL.len()],
        }
    }
}

impl<O: Class> Channels<O> {
    /// Adds a queue pair. Those beyond the 256th are not asked for anything.
    pub(crate) fn push(&mut self, channel: Channel<O>) {
        if let Ok(place) = u8::try_from(self.all.len()) {
            for kind in channel.capabilities().iter() {
                self.routes[kind.index()].push(place);
            }
        }
        self.all.push(channel);
    }

    /// Of the queue pairs for `kind` that `takes` approves of, the one that has least to do. A healthy one comes before
    /// one that is not, except that one whose turn for a probe has come gets this op, from which its probe is made.
    fn pick(
        &self,
        kind: O::Kind,
        takes: impl Fn(&Channel<O>) -> bool,
        now_ns: u64,
    ) -> Option<usize> {
        let served = self.routes[kind.index()].iter().copied().map(usize::from);
        let mut served = served.filter(|index| takes(&self.all[*index]));
        let first = served.next()?;
        let Some(second) = served.next() else {
            return Some(first);
        };
        let all = [first, second].into_iter().chain(served);
        all.min_by_key(|index| self.all[*index].rank(now_ns))
    }
}

impl Channels<Op> {
    /// The queue pair for `request`; `None` if none serves its kind, its key and its operands' lengths.
    pub(crate) fn route(&self, request: &Request<'_>, now_ns: u64) -> Option<usize> {
        let kind = request.kind();
        let takes = |channel: &Channel<Op>| channel.takes(request);
        self.pick(kind, takes, now_ns)
    }

    /// Why none is.
    #[cold]
    pub(crate) fn unserved(&self, request: &Request<'_>) -> OffloadError {
        let kind = request.kind();
        let of_kind = self.routes[kind.index()].iter();
        let most = of_kind.filter_map(|index| self.all[usize::from(*index)].takes_at_most(request));
        match (most.max(), request.key().and_then(|key| key.driver())) {
            (Some(most), _) => {
                let len = request.input_len();
                OffloadError::TooLong { kind, len, most }
            }
            (None, Some(driver)) => OffloadError::KeyElsewhere { kind, driver },
            (None, None) => OffloadError::NotServed { kind },
        }
    }

    /// As [`Channels::route`], for whoever has this `refusal` (0: none). It goes to the queue pair that refused it,
    /// where slots are kept for it, unless that has become unhealthy and another has not: two who each went
    /// where slots are kept for the other would refuse each other for ever.
    pub(crate) fn route_again(
        &self,
        request: &Request<'_>,
        refusal: u64,
        now_ns: u64,
    ) -> Option<usize> {
        let route = self.route(request, now_ns)?;
        if refusal == 0 {
            return Some(route);
        }
        let refused_by = slot_index(Token(refusal));
        let stays = |channel: &Channel<Op>| {
            channel.takes(request) && (channel.is_healthy() || !self.all[route].is_healthy())
        };
        Some(if self.all.get(refused_by).is_some_and(stays) {
            refused_by
        } else {
            route
        })
    }

    /// Finds other queue pairs for what the device of the one at `index` has failed and software may not compute.
    #[cold]
    fn move_away(&mut self, index: usize, homeless: Burst, now_ns: u64, told: &mut Told) {
        for op in homeless {
            let (token, kind) = (op.token, op.kind());
            let takes = |channel: &Channel<Op>| {
                !std::ptr::eq(channel, &self.all[index]) && channel.takes_over(&op)
            };
            let other = self.pick(kind, takes, now_ns);
            match (other, self.all[index].waiter_of(token)) {
                (Some(channel), Some(waiter)) => {
                    let token_there = self.all[channel].adopt(op, waiter, now_ns);
                    let place = Place {
                        channel,
                        token: token_there,
                    };
                    self.all[index].moved_to(token, kind, place);
                }
                _ => self.all[index].stay(op, now_ns, told),
            }
        }
    }

    /// [`Channel::collect`] of the queue pair at `index`, and what follows for the others.
    pub(crate) fn collect(
        &mut self,
        index: usize,
        clock: &dyn Clock,
        now_ns: &mut u64,
        told: &mut Told,
    ) -> usize {
        let channel = &mut self.all[index];
        let count = channel.collect(clock, now_ns, told);
        if channel.has_homeless() {
            let homeless = channel.take_homeless();
            self.move_away(index, homeless, *now_ns, told);
        }
        count
    }

    /// Where an op is that was submitted to `place`: another queue pair may have taken it over.
    pub(crate) fn locate(&self, place: Place) -> Place {
        let channel = self.all.get(place.channel);
        let moved = channel.and_then(|channel| channel.moved(place.token));
        moved.unwrap_or(place)
    }

    /// Gives a finished op's memory to `read` and its slot back; `None` if it is not there.
    pub(crate) fn finish<T>(&mut self, place: Place, read: impl FnOnce(&Op) -> T) -> Option<T> {
        let there = self.locate(place);
        if there != place {
            self.all[place.channel].forget_moved(place.token);
        }
        let channel = self.all.get_mut(there.channel)?;
        channel.finish(there.token, read)
    }
}

impl Channels<aead::Op> {
    /// The queue pair for `op`; `None` if none serves its algorithm and its lengths.
    pub(crate) fn route(&self, op: &aead::Op, now_ns: u64) -> Option<usize> {
        let takes = |channel: &Channel<aead::Op>| channel.capabilities().takes(op);
        self.pick(op.algorithm()?, takes, now_ns)
    }
}
