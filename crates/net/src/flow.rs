//! The flow table: connections by their addresses and ports, and by name.

use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use spinlane_tcp::{Instant, Resting, Tcb};

use crate::address::{Mac, Tuple};
use crate::wheel::PER_TIMER;

/// Names a connection for as long as the application has it; afterwards it names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowId {
    pub(crate) index: u32,
    generation: u32,
}

impl FlowId {
    /// Its place in the table, below [`Config::max_flows`](crate::Config::max_flows): for tables of the application's. It goes to another
    /// connection once this one was let go of.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// Who answers for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A listener, before the handshake is complete.
    HalfOpen(u16),
    /// A listener's queue.
    Backlog,
    /// The application.
    Application,
    /// The application has gone.
    Nobody,
}

/// A connection that is at work.
#[derive(Debug)]
pub(crate) struct Busy {
    pub(crate) tcb: Tcb,
    /// When the SYN came; later, when the application went.
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) enum Life {
    Free,
    Busy(Box<Busy>),
    Resting(Resting),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) tuple: Tuple,
    /// Whom its frames go to.
    pub(crate) mac: Mac,
    generation: u32,
    pub(crate) owner: Owner,
    /// In the table by its tuple: until it is closed.
    hashed: bool,
    /// In the queue of those that may have something to send.
    pub(crate) touched: bool,
    /// In the queue of those that the application should look at.
    pub(crate) ready: bool,
    /// The application had more to send than there was room.
    pub(crate) wants_room: bool,
    /// The neighbour's address is not known yet.
    pub(crate) unresolved: bool,
    pub(crate) life: Life,
}

impl Flow {
    pub(crate) fn tcb(&self) -> Option<&Tcb> {
        match &self.life {
            Life::Busy(busy) => Some(&busy.tcb),
            _ => None,
        }
    }
}

/// Bytes of the stack's memory that an idle connection takes at most: its record, its timer, its places in the hash table at
/// the least load that a table as large as [`Config::max_flows`](crate::Config::max_flows) has when it is half full.
pub const fn memory_per_idle_connection() -> usize {
    // A place is an index and a control byte; hashbrown fills 7 of 8 places at most and doubles their number.
    let places = (size_of::<u32>() + 1) * 8 * 2 / 7;
    size_of::<Flow>() + PER_TIMER + places.next_multiple_of(4)
}

const _: () = assert!(memory_per_idle_connection() <= 256);

/// All connections. Its memory is reserved at once and taken as connections come.
#[derive(Debug)]
pub(crate) struct Flows {
    flows: Vec<Flow>,
    free: Vec<u32>,
    table: HashTable<u32>,
    hash: Hash,
    limit: usize,
}

/// A keyed hash, so that nobody can choose ports that collide.
#[derive(Clone)]
pub(crate) struct Hash(SipHasher13);

impl std::fmt::Debug for Hash {
    /// The key stays out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hash").finish_non_exhaustive()
    }
}

impl Hash {
    pub(crate) fn of(&self, tuple: &Tuple) -> u64 {
        let mut hasher = self.0;
        hasher.write(&tuple.bytes());
        hasher.finish()
    }
}

impl Flows {
    pub(crate) fn new(limit: u32, key: &[u8; 16]) -> Self {
        let limit = limit as usize;
        Self {
            flows: Vec::with_capacity(limit),
            free: Vec::new(),
            table: HashTable::with_capacity(limit),
            hash: Hash(SipHasher13::new_with_key(key)),
            limit,
        }
    }

    /// Connections, closed ones that the application has not let go of included.
    pub(crate) fn len(&self) -> usize {
        self.flows.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    pub(crate) fn hash(&self) -> Hash {
        self.hash.clone()
    }

    pub(crate) fn find(&self, tuple: &Tuple) -> Option<u32> {
        let same = |index: &u32| self.flows[*index as usize].tuple == *tuple;
        self.table.find(self.hash.of(tuple), same).copied()
    }

    /// Takes a connection in; `None` if there is no room. No other has its tuple.
    pub(crate) fn insert(
        &mut self,
        (tuple, mac, owner): (Tuple, Mac, Owner),
        since: Instant,
        tcb: Tcb,
    ) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "fewer than the limit, a u32"
            )]
            let index = self.flows.len() as u32;
            index
        });
        let busy = Busy { tcb, since };
        let old = self.flows.get(index as usize);
        let flow = Flow {
            tuple,
            mac,
            generation: old.map_or(0, |old| old.generation),
            owner,
            hashed: true,
            touched: false,
            ready: false,
            wants_room: false,
            unresolved: false,
            life: Life::Busy(Box::new(busy)),
        };
        match self.flows.get_mut(index as usize) {
            Some(place) => *place = flow,
            None => self.flows.push(flow),
        }
        let (flows, hash) = (&self.flows, &self.hash);
        let of = |index: &u32| hash.of(&flows[*index as usize].tuple);
        self.table.insert_unique(of(&index), index, of);
        Some(index)
    }

    pub(crate) fn id(&self, index: u32) -> FlowId {
        let generation = self.flows[index as usize].generation;
        FlowId { index, generation }
    }

    /// The connection that the application calls `id`; `None` if it has let go of it.
    pub(crate) fn owned(&mut self, id: FlowId) -> Option<&mut Flow> {
        let flow = self.flows.get_mut(id.index as usize)?;
        let is_it = flow.generation == id.generation && flow.owner == Owner::Application;
        (is_it && !matches!(flow.life, Life::Free)).then_some(flow)
    }

    /// As [`Flows::owned`], to look at.
    pub(crate) fn look(&self, id: FlowId) -> Option<&Flow> {
        let flow = self.flows.get(id.index as usize)?;
        let is_it = flow.generation == id.generation && flow.owner == Owner::Application;
        (is_it && !matches!(flow.life, Life::Free)).then_some(flow)
    }

    /// A place in the table, which may be free.
    pub(crate) fn at(&mut self, index: u32) -> &mut Flow {
        &mut self.flows[index as usize]
    }

    /// Lets others have the connection's tuple.
    pub(crate) fn unhash(&mut self, index: u32) {
        let flow = &mut self.flows[index as usize];
        if std::mem::take(&mut flow.hashed) {
            let hash = self.hash.of(&flow.tuple);
            if let Ok(entry) = self.table.find_entry(hash, |other| *other == index) {
                entry.remove();
            }
        }
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, index: u32) {
        self.unhash(index);
        let flow = &mut self.flows[index as usize];
        debug_assert!(!matches!(flow.life, Life::Free), "{flow:?} is gone already");
        flow.life = Life::Free;
        flow.generation = flow.generation.wrapping_add(1);
        (flow.ready, flow.touched, flow.unresolved) = (false, false, false);
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use spinlane_tcp::{Config, Seq};

    use super::*;
    use crate::address::Address;

    fn tuple(port: u16) -> Tuple {
        Tuple {
            local: Address::v4([10, 0, 0, 1]),
            remote: Address::v4([10, 0, 0, 2]),
            local_port: 443,
            remote_port: port,
        }
    }

    #[test]
    fn connections_are_found_by_tuple_and_by_name_until_they_are_gone() {
        let mut flows = Flows::new(100, &[1; 16]);
        let insert = |flows: &mut Flows, port| {
            let tcb = Tcb::connect(&Config::default(), Seq(1));
            let about = (tuple(port), Mac([2; 6]), Owner::Application);
            flows.insert(about, Instant::default(), tcb)
        };
        let ids: Vec<FlowId> = (0..100)
            .map(|port| {
                let index = insert(&mut flows, port).unwrap();
                flows.id(index)
            })
            .collect();
        assert_eq!(insert(&mut flows, 100), None);
        for (port, id) in (0..100).zip(&ids) {
            assert_eq!(flows.find(&tuple(port)), Some(id.index));
            assert_eq!(flows.owned(*id).unwrap().tuple, tuple(port));
        }
        flows.unhash(ids[7].index);
        assert!(flows.find(&tuple(7)).is_none() && flows.owned(ids[7]).is_some());
        flows.remove(ids[7].index);
        flows.remove(ids[8].index);
        assert!(flows.owned(ids[7]).is_none() && flows.find(&tuple(8)).is_none());
        assert_eq!(flows.len(), 98);
        let index = insert(&mut flows, 8).unwrap();
        assert_eq!(index, ids[8].index);
        assert!(flows.owned(ids[8]).is_none() && flows.owned(flows.id(index)).is_some());
    }
}
