//! Which op with the inner device belongs to which client.
//!
//! ```text
//!  entries   ┌ own token 7.0 ─ port 1, token, enqueued_at ┐   own token = serial . index
//!            └ free                                       ┘
//! ```
//! Clients number their ops independently and by their own clocks. On its way through the inner
//! device an op carries the crypto core's token and time; it gets its client's back afterwards.
//! The serial number is what tells an op from one that comes back late or twice.

use spinlane_cryptodev::{Kind, OpStatus, Operation, Token};

/// Bits of an own token that hold the entry's index.
const INDEX_BITS: u32 = 24;
/// Most entries.
pub(crate) const MAX_ENTRIES: usize = 1 << INDEX_BITS;

struct Entry<K> {
    own: Token,
    port: u32,
    kind: K,
    token: Token,
    client_ns: u64,
    admitted_ns: u64,
}

/// An op that is given up.
pub(crate) struct Lost<O> {
    /// The token under which it may still come back.
    pub(crate) own: Token,
    pub(crate) port: usize,
    /// What its client gets in its place.
    pub(crate) failed: Box<O>,
}

/// The ops that are with the inner device, or about to be.
pub(crate) struct Table<O: Operation> {
    entries: Box<[Option<Entry<O::Kind>>]>,
    free: Vec<u32>,
    serial: u64,
    /// The entry whose age was looked at last.
    swept: usize,
}

impl<O: Operation> Table<O> {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(MAX_ENTRIES);
        Self {
            entries: std::iter::repeat_with(|| None).take(capacity).collect(),
            // The lowest index on top: few ops keep touching the same few entries.
            free: (0..capacity as u32).rev().collect(),
            serial: 0,
            swept: 0,
        }
    }

    /// How many more ops it takes.
    pub(crate) fn room(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    /// Gives `op`, which came by `port`, the crypto core's token and time. There must be room.
    pub(crate) fn admit(&mut self, port: usize, op: &mut O, now_ns: u64) {
        let index = self.free.pop().expect("the caller has asked for room");
        self.serial += 1;
        let own = Token(self.serial << INDEX_BITS | u64::from(index));
        self.entries[index as usize] = Some(Entry {
            own,
            port: port as u32,
            kind: op.kind(),
            token: op.token,
            client_ns: op.enqueued_at_ns,
            admitted_ns: now_ns,
        });
        op.token = own;
        op.enqueued_at_ns = now_ns;
    }

    /// Gives `op` its client's token and time back, and says by which port it came; `None` if
    /// it is not, or no longer, awaited.
    pub(crate) fn settle(&mut self, op: &mut O) -> Option<usize> {
        let index = (op.token.0 & (MAX_ENTRIES as u64 - 1)) as usize;
        let entry = self.entries.get_mut(index)?;
        let entry = entry.take_if(|entry| entry.own == op.token)?;
        self.free.push(index as u32);
        op.token = entry.token;
        op.enqueued_at_ns = entry.client_ns;
        Some(entry.port as usize)
    }

    /// Gives up an op that was admitted before `before_ns`, if the next few entries have one.
    pub(crate) fn give_up(&mut self, before_ns: u64) -> Option<Lost<O>> {
        /// Entries looked at per call.
        const SWEEP: usize = 16;
        for _ in 0..SWEEP.min(self.entries.len()) {
            self.swept = (self.swept + 1) % self.entries.len();
            let entry = &mut self.entries[self.swept];
            if let Some(entry) = entry.take_if(|entry| entry.admitted_ns < before_ns) {
                self.free.push(self.swept as u32);
                return Some(entry.lost());
            }
        }
        None
    }

    /// Gives up whatever is still awaited, one at a time.
    pub(crate) fn give_up_any(&mut self) -> Option<Lost<O>> {
        let index = self.entries.iter().position(Option::is_some)?;
        let entry = self.entries[index].take()?;
        self.free.push(index as u32);
        Some(entry.lost())
    }
}

impl<K: Kind> Entry<K> {
    fn lost<O: Operation<Kind = K>>(self) -> Lost<O> {
        let mut failed = O::without_operands(self.kind, self.token);
        failed.status = OpStatus::Error;
        failed.enqueued_at_ns = self.client_ns;
        Lost {
            own: self.own,
            port: self.port as usize,
            failed,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use spinlane_cryptodev::{Op, OpKind, Request};

    use super::*;

    fn op(token: u64) -> Box<Op> {
        let mut op = Op::new();
        op.prepare(Token(token), &Request::x25519_keygen(&[1; 32]), token * 10);
        op
    }

    #[test]
    fn clients_with_equal_tokens_are_told_apart() {
        let mut table = Table::<Op>::new(2);
        let (mut one, mut two) = (op(5), op(5));
        table.admit(1, &mut one, 100);
        table.admit(2, &mut two, 100);
        assert_eq!(table.room(), 0);
        assert_ne!(one.token, two.token);
        assert_eq!(two.enqueued_at_ns, 100);
        assert_eq!(table.settle(&mut two), Some(2));
        assert_eq!(table.settle(&mut one), Some(1));
        assert_eq!((one.token, one.enqueued_at_ns), (Token(5), 50));
        assert!(table.is_empty());
    }

    #[test]
    fn what_comes_twice_or_from_nowhere_is_not_awaited() {
        let mut table = Table::<Op>::new(1);
        let mut first = op(5);
        table.admit(0, &mut first, 0);
        let own = first.token;
        assert_eq!(table.settle(&mut first), Some(0));
        let mut again = op(5);
        again.token = own;
        assert_eq!(table.settle(&mut again), None);
        // The entry is another op's by now.
        table.admit(0, &mut op(6), 0);
        assert_eq!(table.settle(&mut again), None);
        again.token = Token(u64::MAX);
        assert_eq!(table.settle(&mut again), None);
    }

    #[test]
    fn an_op_that_is_lost_comes_back_failed() {
        let mut table = Table::<Op>::new(64);
        let mut lost = op(5);
        table.admit(3, &mut lost, 100);
        table.admit(3, &mut op(6), 200);
        assert!(
            (0..8).all(|_| table.give_up(100).is_none()),
            "not old enough"
        );
        let given_up = (0..8).find_map(|_| table.give_up(150)).expect("old enough");
        assert_eq!((given_up.port, given_up.own), (3, lost.token));
        let failed = given_up.failed;
        assert_eq!((failed.token, failed.status), (Token(5), OpStatus::Error));
        assert_eq!(
            (failed.kind(), failed.enqueued_at_ns),
            (OpKind::X25519Keygen, 50)
        );
        assert_eq!(table.settle(&mut lost), None, "late");
        let other = table.give_up_any().expect("the other");
        assert_eq!(other.failed.token, Token(6));
        assert!(table.give_up_any().is_none() && table.is_empty());
    }
}
