//! The sessions of a queue pair: one per purpose, made when the first such op comes, and let go of when
//! others need their room.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};

/// What a session is for: a key, and what else it depends on, as a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Purpose {
    /// Where the key lies. No other key does as long as a session for it is in the table.
    key: usize,
    variant: u16,
}

impl Purpose {
    /// Of no key at all.
    const NONE: Self = Self { key: 0, variant: 0 };

    #[inline]
    pub(crate) fn new<K>(key: &Arc<K>, variant: u16) -> Self {
        Self {
            key: Arc::as_ptr(key).addr(),
            variant,
        }
    }
}

/// When an idle session whose key is gone leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// When another is made: right for few keys that are worth much.
    AtNext,
    /// When there is no room for another: looking at thousands for each would take too long.
    ForRoom,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// The table is full, and all have ops in flight. Later there will be one.
    Busy,
    /// The device does not take the key, as it said by an errno.
    Refused(i32),
}

struct Entry<K, S> {
    purpose: Purpose,
    /// Keeps the address from being another key's, but not the key.
    key: Weak<K>,
    session: S,
    in_flight: u32,
    /// When it came to be used again after another was.
    used: u64,
}

/// Sessions `S` for keys `K`.
pub(crate) struct Table<K, S> {
    /// A place keeps its number while it has ops in flight.
    entries: Vec<Option<Entry<K, S>>>,
    places: HashMap<Purpose, u32, BuildHasherDefault<PurposeHasher>>,
    /// Who was found last, and where: mostly the next one too.
    last: (Purpose, u32),
    max: usize,
    leave: Leave,
    clock: u64,
    created: u64,
}

impl<K, S> Table<K, S> {
    /// Room for `max` sessions; it grows no more.
    pub(crate) fn new(max: usize, leave: Leave) -> Self {
        Self {
            entries: Vec::with_capacity(max),
            places: HashMap::with_capacity_and_hasher(max, BuildHasherDefault::default()),
            last: (Purpose::NONE, 0),
            max,
            leave,
            clock: 0,
            created: 0,
        }
    }

    /// The session for one more op, and its number, if there is one already.
    #[inline]
    pub(crate) fn take(&mut self, purpose: Purpose) -> Option<(u32, &S)> {
        if self.last.0 != purpose {
            self.turn_to(purpose)?;
        }
        let number = self.last.1;
        let entry = self.entries.get_mut(number as usize)?.as_mut()?;
        entry.in_flight += 1;
        Some((number, &entry.session))
    }

    /// [`Table::take`], or else a new one, by `make`.
    ///
    /// # Errors
    /// There is none, and none can be made.
    pub(crate) fn take_or_make(
        &mut self,
        key: &Arc<K>,
        variant: u16,
        make: impl FnOnce() -> Result<S, i32>,
    ) -> Result<(u32, &S), NoSession> {
        let purpose = Purpose::new(key, variant);
        if self.turn_to(purpose).is_none() {
            let place = self.room().ok_or(NoSession::Busy)?;
            let session = make().map_err(NoSession::Refused)?;
            self.created += 1;
            self.places.insert(purpose, place as u32);
            self.entries[place] = Some(Entry {
                purpose,
                key: Arc::downgrade(key),
                session,
                in_flight: 0,
                used: 0,
            });
        }
        self.take(purpose).ok_or(NoSession::Busy)
    }

    /// An op is back from the device, with this session.
    #[inline]
    pub(crate) fn give_back(&mut self, number: u32) -> Option<&S> {
        let entry = self.entries.get_mut(number as usize)?.as_mut()?;
        entry.in_flight -= 1;
        Some(&entry.session)
    }

    /// Keeps every session for ever: a device has kept ops with them.
    pub(crate) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.entries));
    }

    /// Sessions made so far.
    pub(crate) fn created(&self) -> u64 {
        self.created
    }

    /// Makes the session for `purpose` the last one.
    fn turn_to(&mut self, purpose: Purpose) -> Option<()> {
        let number = *self.places.get(&purpose)?;
        self.clock += 1;
        self.entries[number as usize].as_mut()?.used = self.clock;
        self.last = (purpose, number);
        Some(())
    }

    /// A free place: one that was never used, or that of a session whose key is gone, or that of the one that
    /// was used least lately.
    fn room(&mut self) -> Option<usize> {
        if self.leave == Leave::AtNext || self.places.len() == self.max {
            self.let_go_of_dead();
        }
        match self.entries.iter().position(Option::is_none) {
            Some(free) => Some(free),
            None if self.entries.len() < self.max => {
                self.entries.push(None);
                Some(self.entries.len() - 1)
            }
            None => {
                let place = self.least_lately_used()?;
                self.let_go_of(place);
                Some(place)
            }
        }
    }

    fn let_go_of_dead(&mut self) {
        for place in 0..self.entries.len() {
            let is_dead =
                |entry: &Entry<K, S>| entry.in_flight == 0 && entry.key.strong_count() == 0;
            if self.entries[place].as_ref().is_some_and(is_dead) {
                self.let_go_of(place);
            }
        }
    }

    fn let_go_of(&mut self, place: usize) {
        if let Some(entry) = self.entries[place].take() {
            self.places.remove(&entry.purpose);
            if self.last.0 == entry.purpose {
                self.last = (Purpose::NONE, 0);
            }
        }
    }

    fn least_lately_used(&self) -> Option<usize> {
        let entries = self.entries.iter().enumerate();
        let idle = entries.filter_map(|(place, entry)| {
            let entry = entry.as_ref()?;
            (entry.in_flight == 0).then_some((entry.used, place))
        });
        idle.min().map(|(_, place)| place)
    }
}

/// Spreads addresses: nobody else chooses them, so that a hash proof against that would only cost.
#[derive(Default)]
struct PurposeHasher(u64);

impl Hasher for PurposeHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        // 2^64 by the golden ratio, so that neighbours end far apart.
        let product = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Addresses differ in their upper bits, and tables look at the lower ones too.
        self.0 = product ^ product >> 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(leave: Leave) -> Table<u8, u8> {
        Table::new(3, leave)
    }

    /// One op with the session for `key`, made if need be, there and back; whether it was made.
    fn use_once(table: &mut Table<u8, u8>, key: &Arc<u8>) -> bool {
        let before = table.created();
        let (number, session) = table
            .take_or_make(key, 0, || Ok(**key))
            .expect("there is room");
        assert_eq!(*session, **key);
        table.give_back(number);
        table.created() > before
    }

    #[test]
    fn the_one_that_was_used_least_lately_leaves() {
        let mut table = table(Leave::ForRoom);
        let keys: Vec<_> = (0..4).map(Arc::new).collect();
        let made = [0, 1, 2, 0, 0, 3, 0, 2, 1].map(|key| use_once(&mut table, &keys[key]));
        // 3 comes for 1, which comes again for 3.
        assert_eq!(
            made,
            [true, true, true, false, false, true, false, false, true]
        );
    }

    #[test]
    fn one_with_an_op_in_flight_stays() {
        let mut table = table(Leave::ForRoom);
        let keys: Vec<_> = (0..4).map(Arc::new).collect();
        let numbers: Vec<_> = keys[..3]
            .iter()
            .map(|key| table.take_or_make(key, 0, || Ok(**key)).expect("room").0)
            .collect();
        let refused = table.take_or_make(&keys[3], 0, || panic!("there is no room"));
        assert_eq!(refused.err(), Some(NoSession::Busy));
        table.give_back(numbers[1]);
        assert!(use_once(&mut table, &keys[3]));
        assert_eq!(table.give_back(numbers[0]), Some(&0));
        assert!(table.take(Purpose::new(&keys[1], 0)).is_none());
    }

    #[test]
    fn the_session_of_a_key_that_is_gone_leaves_at_the_next_or_for_room() {
        for (leave, alive) in [(Leave::AtNext, 2), (Leave::ForRoom, 3)] {
            let mut table = table(leave);
            let stays = Arc::new(7);
            use_once(&mut table, &stays);
            use_once(&mut table, &Arc::new(8));
            use_once(&mut table, &Arc::new(9));
            assert_eq!(table.entries.iter().flatten().count(), alive);
            use_once(&mut table, &Arc::new(10));
            assert_eq!(table.entries.iter().flatten().count(), 2);
            assert!(!use_once(&mut table, &stays));
        }
    }

    #[test]
    fn a_key_has_a_session_per_variant_and_a_refusal_takes_no_room() {
        let mut table = table(Leave::ForRoom);
        let key = Arc::new(1);
        for _ in 0..5 {
            let refused = table.take_or_make(&key, 9, || Err(95));
            assert_eq!(refused.err(), Some(NoSession::Refused(95)));
        }
        for variant in [0, 1, 2, 1, 0] {
            let (number, session) = table
                .take_or_make(&key, variant, || Ok(variant as u8))
                .expect("room");
            assert_eq!(*session, variant as u8);
            table.give_back(number);
        }
        assert_eq!(table.created(), 3);
    }
}
