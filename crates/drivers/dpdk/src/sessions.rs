//! A queue pair's sessions: one per key, made when the key first comes.

use std::sync::{Arc, Weak};

use spinlane_cryptodev::{Key, RsaKey};
use zeroize::Zeroizing;

use crate::crt::Crt;
use crate::device::RsaBy;
use crate::ffi::{DeviceId, RsaNumbers, Running, Session, SessionPool};

/// Keys that a queue pair serves at a time. One more, and the one that was idle longest is let go.
const MAX_KEYS: usize = 64;

/// A key in the form the device wants it.
pub(crate) enum KeySession {
    /// The whole of it.
    Rsa(Session),
    /// Its halves, by two modular exponentiations.
    Crt(Box<Crt>),
    /// None of it.
    #[cfg(feature = "null")]
    Null(crate::ffi::NullSession),
}

struct Entry {
    /// Keeps the address from being another key's, but not the key.
    key: Weak<Key>,
    session: KeySession,
    in_flight: usize,
    /// When it was used last, in ops.
    used: u64,
}

/// Names a session that has ops in flight.
pub(crate) type SessionIndex = u16;

pub(crate) struct Sessions {
    device: DeviceId,
    by: RsaBy,
    /// A place keeps its number while it has ops in flight. Dropped before the pool.
    entries: Vec<Option<Entry>>,
    pool: SessionPool,
    uses: u64,
    last: usize,
    created: u64,
}

impl Sessions {
    pub(crate) fn new(running: &Running, device: DeviceId, by: RsaBy) -> Result<Self, i32> {
        // Two per key by modexp.
        let socket = device.socket(running);
        let pool = match by {
            RsaBy::Rsa | RsaBy::Modexp => SessionPool::new(running, 2 * MAX_KEYS as u32, socket)?,
            #[cfg(feature = "null")]
            RsaBy::Null => SessionPool::symmetric(running, MAX_KEYS as u32, socket)?,
        };
        Ok(Self {
            device,
            by,
            entries: Vec::with_capacity(MAX_KEYS),
            pool,
            uses: 0,
            last: 0,
            created: 0,
        })
    }

    /// The session of `key` for one more op; `None` if the device does not take the key, or every
    /// session has ops in flight.
    pub(crate) fn take(&mut self, key: &Arc<Key>) -> Option<SessionIndex> {
        let index = match self.find(key) {
            Some(index) => index,
            None => self.create(key)?,
        };
        self.uses += 1;
        self.last = index;
        let entry = self.entries[index].as_mut()?;
        entry.in_flight += 1;
        entry.used = self.uses;
        Some(index as SessionIndex)
    }

    /// A session that was taken.
    pub(crate) fn get(&self, index: SessionIndex) -> Option<&KeySession> {
        let entry = self.entries.get(usize::from(index))?;
        entry.as_ref().map(|entry| &entry.session)
    }

    /// An op with this session is back from the device.
    pub(crate) fn give_back(&mut self, index: SessionIndex) {
        if let Some(Some(entry)) = self.entries.get_mut(usize::from(index)) {
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

    fn find(&self, key: &Arc<Key>) -> Option<usize> {
        let is_it = |entry: &Option<Entry>| {
            let entry = entry.as_ref();
            entry.is_some_and(|entry| std::ptr::eq(entry.key.as_ptr(), Arc::as_ptr(key)))
        };
        if self.entries.get(self.last).is_some_and(is_it) {
            return Some(self.last);
        }
        self.entries.iter().position(is_it)
    }

    /// Lets go of idle sessions whose keys are gone, then makes one in a free place, or in the place
    /// of the one that was used least lately.
    fn create(&mut self, key: &Arc<Key>) -> Option<usize> {
        for entry in &mut self.entries {
            entry.take_if(|entry| entry.in_flight == 0 && entry.key.strong_count() == 0);
        }
        let free = self.entries.iter().position(Option::is_none);
        let index = match free {
            Some(index) => index,
            None if self.entries.len() < MAX_KEYS => {
                self.entries.push(None);
                self.entries.len() - 1
            }
            None => self.least_lately_used()?,
        };
        self.entries[index] = None;
        let session = match self.make(key) {
            Ok(session) => session,
            Err(error) => {
                tracing::warn!(
                    key = key.name(),
                    "the DPDK device takes no session for a key: {}",
                    crate::ffi::error_text(error)
                );
                return None;
            }
        };
        self.created += 1;
        self.entries[index] = Some(Entry {
            key: Arc::downgrade(key),
            session,
            in_flight: 0,
            used: 0,
        });
        Some(index)
    }

    fn least_lately_used(&self) -> Option<usize> {
        let idle = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let entry = entry.as_ref()?;
                (entry.in_flight == 0).then_some((entry.used, index))
            });
        idle.min().map(|(_, index)| index)
    }

    fn make(&self, key: &Key) -> Result<KeySession, i32> {
        #[cfg(feature = "null")]
        if self.by == RsaBy::Null {
            return Ok(KeySession::Null(self.pool.null(self.device)?));
        }
        match key {
            Key::Rsa(key) => self.make_rsa(key),
            _ => Err(libc::ENOTSUP),
        }
    }

    fn make_rsa(&self, key: &RsaKey) -> Result<KeySession, i32> {
        match self.by {
            #[cfg(feature = "null")]
            RsaBy::Null => Err(libc::ENOTSUP),
            RsaBy::Rsa => {
                let [p, q] = [key.p_limbs(), key.q_limbs()].map(big_endian);
                let [dp, dq] = [key.dp_limbs(), key.dq_limbs()].map(big_endian);
                let qinv = big_endian(key.qinv_limbs());
                let numbers = RsaNumbers {
                    n: key.modulus(),
                    e: key.public_exponent(),
                    p: &p,
                    q: &q,
                    dp: &dp,
                    dq: &dq,
                    qinv: &qinv,
                };
                Ok(KeySession::Rsa(self.pool.rsa(self.device, &numbers)?))
            }
            RsaBy::Modexp => {
                let make = |prime: &[u64], exponent: &[u64]| {
                    let (prime, exponent) = (big_endian(prime), big_endian(exponent));
                    self.pool.modexp(self.device, &prime, &exponent)
                };
                Ok(KeySession::Crt(Box::new(Crt::new(key, make)?)))
            }
        }
    }
}

/// Limbs, least significant first, as big-endian bytes.
pub(crate) fn big_endian(limbs: &[u64]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * limbs.len()));
    for limb in limbs.iter().rev() {
        bytes.extend_from_slice(&limb.to_be_bytes());
    }
    bytes
}
