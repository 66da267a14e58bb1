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
    /// When it came to be used again after another was.
    used: u64,
}

/// Sessions `S` for keys `K`.
pub(crate) struct Table<K, S> {
    /// A session stays in its place.
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

    /// The session for `purpose`, and its number, if there is one already.
    #[inline]
    pub(crate) fn find(&mut self, purpose: Purpose) -> Option<(u32, &mut S)> {
        if self.last.0 != purpose {
            self.turn_to(purpose)?;
        }
        let number = self.last.1;
        let entry = self.entries.get_mut(number as usize)?.as_mut()?;
        Some((number, &mut entry.session))
    }

    /// [`Table::find`], or else a new one, by `make`. Who has ops in flight, as `is_busy` says, stays.
    ///
    /// # Errors
    /// There is none, and none can be made.
    pub(crate) fn find_or_make(
        &mut self,
        key: &Arc<K>,
        variant: u16,
        is_busy: impl Fn(&S) -> bool,
        make: impl FnOnce() -> Result<S, i32>,
    ) -> Result<(u32, &mut S), NoSession> {
        let purpose = Purpose::new(key, variant);
        if self.turn_to(purpose).is_none() {
            let place = self.room(is_busy).ok_or(NoSession::Busy)?;
            let session = make().map_err(NoSession::Refused)?;
            self.created += 1;
            self.places.insert(purpose, place as u32);
            self.entries[place] = Some(Entry {
                purpose,
                key: Arc::downgrade(key),
                session,
                used: 0,
            });
        }
        self.find(purpose).ok_or(NoSession::Busy)
    }

    /// The session of that number.
    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut S> {
        let entry = self.entries.get_mut(number as usize)?.as_mut()?;
        Some(&mut entry.session)
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
    fn room(&mut self, is_busy: impl Fn(&S) -> bool) -> Option<usize> {
        if self.leave == Leave::AtNext || self.places.len() == self.max {
            self.let_go_of_dead(&is_busy);
        }
        match self.entries.iter().position(Option::is_none) {
            Some(free) => Some(free),
            None if self.entries.len() < self.max => {
                self.entries.push(None);
                Some(self.entries.len() - 1)
            }
            None => {
                let place = self.least_lately_used(is_busy)?;
                self.let_go_of(place);
                Some(place)
            }
        }
    }

    fn let_go_of_dead(&mut self, is_busy: impl Fn(&S) -> bool) {
        for place in 0..self.entries.len() {
            let is_dead =
                |entry: &Entry<K, S>| entry.key.strong_count() == 0 && !is_busy(&entry.session);
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

    /// Of those that are not busy; mostly the first that is asked.
    fn least_lately_used(&self, is_busy: impl Fn(&S) -> bool) -> Option<usize> {
        let mut after = None;
        loop {
            let entries = self.entries.iter().enumerate();
            let later = entries.filter_map(|(place, entry)| {
                let entry = entry.as_ref()?;
                (Some(entry.used) > after).then_some((entry.used, place, entry))
            });
            let (used, place, entry) = later.min_by_key(|(used, ..)| *used)?;
            if !is_busy(&entry.session) {
                return Some(place);
            }
            after = Some(used);
        }
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

    /// Looks for the session for `key`, while those in `busy` have ops in flight; whether it was made.
    fn use_beside(table: &mut Table<u8, u8>, key: &Arc<u8>, busy: &[u8]) -> bool {
        let before = table.created();
        let is_busy = |session: &u8| busy.contains(session);
        let (number, session) = table
            .find_or_make(key, 0, is_busy, || Ok(**key))
            .expect("there is room");
        assert_eq!(*session, **key);
        assert_eq!(table.get_mut(number).copied(), Some(**key));
        table.created() > before
    }

    fn use_once(table: &mut Table<u8, u8>, key: &Arc<u8>) -> bool {
        use_beside(table, key, &[])
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
        for key in &keys[..3] {
            assert!(use_once(&mut table, key));
        }
        let refused = table.find_or_make(&keys[3], 0, |_| true, || panic!("there is no room"));
        assert_eq!(refused.err(), Some(NoSession::Busy));
        // The first two are busy, the third leaves.
        assert!(use_beside(&mut table, &keys[3], &[0, 1]));
        assert!(table.find(Purpose::new(&keys[2], 0)).is_none());
        assert!(!use_once(&mut table, &keys[0]));
    }

    #[test]
    fn one_with_an_op_in_flight_whose_key_is_gone_stays() {
        let mut table = table(Leave::AtNext);
        use_once(&mut table, &Arc::new(8));
        use_beside(&mut table, &Arc::new(9), &[8]);
        assert_eq!(table.entries.iter().flatten().count(), 2);
        use_once(&mut table, &Arc::new(10));
        assert_eq!(table.entries.iter().flatten().count(), 1);
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
            let refused = table.find_or_make(&key, 9, |_| false, || Err(95));
            assert_eq!(refused.err(), Some(NoSession::Refused(95)));
        }
        for variant in [0, 1, 2, 1, 0] {
            let (_, session) = table
                .find_or_make(&key, variant, |_| false, || Ok(variant as u8))
                .expect("room");
            assert_eq!(*session, variant as u8);
        }
        assert_eq!(table.created(), 3);
    }
}
