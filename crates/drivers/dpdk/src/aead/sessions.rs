//! A queue pair's sessions: one per key, direction and length of associated data, made when the first such op
//! comes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};

use spinlane_cryptodev::aead::{Direction, Key, Op};

use crate::ffi::{AeadSession, AeadSessionPool, DeviceId, Running};

/// Sessions that a queue pair has at a time. One more, and the one that was idle longest is let go.
const MAX_SESSIONS: usize = 1024;

/// What a session is for: key's number, direction, bytes of associated data.
type Purpose = (u64, Direction, u8);

struct Entry {
    purpose: Purpose,
    key: Weak<Key>,
    session: AeadSession,
    in_flight: u32,
    /// When it was used last, in ops.
    used: u64,
}

pub(crate) struct Sessions {
    device: DeviceId,
    /// A place keeps its number while it has ops in flight. Dropped before the pool.
    entries: Vec<Option<Entry>>,
    places: HashMap<Purpose, u32, BuildHasherDefault<PurposeHasher>>,
    pool: AeadSessionPool,
    uses: u64,
    last: usize,
    created: u64,
}

impl Sessions {
    pub(crate) fn new(running: &Running, device: DeviceId) -> Result<Self, i32> {
        Ok(Self {
            device,
            entries: Vec::with_capacity(MAX_SESSIONS),
            places: HashMap::with_capacity_and_hasher(MAX_SESSIONS, BuildHasherDefault::default()),
            pool: AeadSessionPool::new(running, device, MAX_SESSIONS as u32)?,
            uses: 0,
            last: 0,
            created: 0,
        })
    }

    /// The session for `op`, which is then in flight, and its number; `None` if the device does not take
    /// the key, or every session has ops in flight.
    pub(crate) fn take(&mut self, op: &Op) -> Option<(&AeadSession, u32)> {
        let key = op.key()?;
        let purpose = (key.id(), op.direction(), op.aad().len() as u8);
        let index = match self.find(&purpose) {
            Some(index) => index,
            None => self.create(key, purpose)?,
        };
        self.uses += 1;
        self.last = index;
        let entry = self.entries[index].as_mut()?;
        entry.in_flight += 1;
        entry.used = self.uses;
        Some((&entry.session, index as u32))
    }

    /// An op with this session is back from the device.
    pub(crate) fn give_back(&mut self, number: u32) {
        if let Some(Some(entry)) = self.entries.get_mut(number as usize) {
            entry.in_flight -= 1;
        }
    }

    /// Keeps every session for ever: a device has kept ops with them.
    pub(crate) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.entries));
        self.pool.leak();
    }

    /// Sessions made so far.
    pub(crate) fn created(&self) -> u64 {
        self.created
    }

    /// Sessions of DPDK's that are alive.
    pub(crate) fn in_use(&self) -> u32 {
        self.pool.in_use()
    }

    fn find(&self, purpose: &Purpose) -> Option<usize> {
        match self.entries.get(self.last) {
            Some(Some(entry)) if entry.purpose == *purpose => Some(self.last),
            _ => self.places.get(purpose).map(|&index| index as usize),
        }
    }

    /// Makes a session in a free place. If there is none, idle sessions whose keys are gone leave; if there are
    /// none of these, the one that was used least lately does.
    fn create(&mut self, key: &Arc<Key>, purpose: Purpose) -> Option<usize> {
        let free = match self.entries.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.entries.len() < MAX_SESSIONS => {
                self.entries.push(None);
                self.entries.len() - 1
            }
            None => self.make_room()?,
        };
        let aad_len = usize::from(purpose.2);
        let session = match self.pool.session(self.device, key, purpose.1, aad_len) {
            Ok(session) => session,
            Err(error) => {
                tracing::warn!(
                    algorithm = key.algorithm().name(),
                    "the DPDK device takes no session for a key: {}",
                    crate::ffi::error_text(error)
                );
                return None;
            }
        };
        self.created += 1;
        self.places.insert(purpose, free as u32);
        self.entries[free] = Some(Entry {
            purpose,
            key: Arc::downgrade(key),
            session,
            in_flight: 0,
            used: 0,
        });
        Some(free)
    }

    /// Lets go of sessions; returns a place that is free now.
    fn make_room(&mut self) -> Option<usize> {
        let mut free = None;
        for (index, place) in self.entries.iter_mut().enumerate() {
            let idle = |entry: &mut Entry| entry.in_flight == 0 && entry.key.strong_count() == 0;
            if let Some(entry) = place.take_if(idle) {
                self.places.remove(&entry.purpose);
                free = Some(index);
            }
        }
        if free.is_some() {
            return free;
        }
        let entries = self.entries.iter().enumerate();
        let idle = entries.filter_map(|(index, entry)| {
            let entry = entry.as_ref()?;
            (entry.in_flight == 0).then_some((entry.used, index))
        });
        let (_, index) = idle.min()?;
        let entry = self.entries[index].take()?;
        self.places.remove(&entry.purpose);
        Some(index)
    }
}

/// Spreads numbers that count up: nobody else chooses them, so that a hash proof against that would only
/// cost.
#[derive(Default)]
pub(crate) struct PurposeHasher(u64);

impl Hasher for PurposeHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        // 2^64 by the golden ratio, so that neighbours end far apart.
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
