//! What was derived from a handshake's secrets before rustls comes with them.
//!
//! A store is one handshake's: the thread's current one while that handshake runs ([`Store::enter`]), gone
//! and wiped when it ends or is dropped. rustls on its own has none; then nothing is kept.
//!
//! No address, no jump and no time depends on a secret: a search compares it with every entry that there is.
//! Secrets are wiped where they lie. They are copied onto the caller's stack, which is a job's, and wiped when
//! the job has ended.

use std::cell::RefCell;

use spinlane_crypto::digest::HmacKey;
use spinlane_crypto::{Erased, Wiped};

/// Bytes of the longest secret: a SHA-384.
pub(super) const LEN: usize = 48;
/// Secrets that a handshake keeps at most; it has five at a time. Beyond that the oldest are forgotten, which
/// costs time only.
const CAPACITY: usize = 8;

/// What is known of a secret.
#[derive(Clone)]
pub(super) enum Known {
    /// The HMAC key that it is.
    Key(HmacKey),
    /// Of a traffic secret.
    Traffic(Traffic),
    /// Of a salt: HMAC key of what HKDF-Extract makes of it and zeros.
    Extracted(HmacKey),
}

/// HKDF-Expand-Label of a traffic secret.
#[derive(Clone)]
pub(super) struct Traffic {
    /// The key, and what HKDF has behind it.
    pub(super) key: Wiped<32>,
    pub(super) key_len: usize,
    pub(super) iv: Wiped<12>,
    /// Of a handshake's.
    pub(super) finished: Option<Wiped<LEN>>,
}

/// One handshake's store; takes memory with the first secret.
#[derive(Default)]
pub(crate) struct Store(Option<Box<Erased<Entries>>>);

#[derive(Default)]
struct Entries {
    entries: [Option<Entry>; CAPACITY],
    /// The next to be forgotten.
    next: usize,
}

struct Entry {
    /// Behind a shorter one, zeros.
    secret: Wiped<LEN>,
    len: usize,
    /// How often it will be asked for.
    uses: usize,
    known: Known,
}

thread_local! {
    /// The store of the handshake that runs.
    static CURRENT: RefCell<Option<Store>> = const { RefCell::new(None) };
}

/// Whether there is a store: else it is no use to derive anything ahead.
pub(super) fn is_there() -> bool {
    // At thread exit it is gone.
    let is_there = CURRENT.try_with(|current| current.borrow().is_some());
    is_there.unwrap_or(false)
}

/// Keeps `known` until `secret`, at most [`LEN`] bytes, has been asked for `uses` times.
pub(super) fn put(secret: &[u8], uses: usize, known: Known) {
    let _ = CURRENT.try_with(|current| {
        if let Some(Store(entries)) = &mut *current.borrow_mut() {
            entries.get_or_insert_default().put(secret, uses, known);
        }
    });
}

/// What is known of `secret`.
pub(super) fn get(secret: &[u8]) -> Option<Known> {
    let known = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        current.as_mut()?.0.as_mut()?.get(secret)
    });
    known.ok().flatten()
}

impl Store {
    /// Runs `action` with this store as the thread's.
    pub(crate) fn enter<T>(&mut self, action: impl FnOnce() -> T) -> T {
        /// Takes the store back, and puts the one before in its place.
        struct Entered<'a>(&'a mut Store, Option<Store>);

        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                let store = exchange(self.1.take());
                *self.0 = store.unwrap_or_default();
            }
        }

        let before = exchange(Some(std::mem::take(self)));
        let _entered = Entered(self, before);
        action()
    }
}

/// Makes `store` the thread's; returns the one before.
fn exchange(store: Option<Store>) -> Option<Store> {
    CURRENT
        .try_with(|current| current.replace(store))
        .ok()
        .flatten()
}

impl Entries {
    fn put(&mut self, secret: &[u8], uses: usize, known: Known) {
        let free = self.entries.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.next = (self.next + 1) % CAPACITY;
            self.next
        });
        let mut own = Wiped::<LEN>::ZEROS;
        own[..secret.len()].copy_from_slice(secret);
        self.entries[at] = Some(Entry {
            secret: own,
            len: secret.len(),
            uses,
            known,
        });
    }

    fn get(&mut self, secret: &[u8]) -> Option<Known> {
        let is_it = |entry: &Entry| same(&entry.secret[..entry.len], secret);
        let mut entries = self.entries.iter_mut();
        let place = entries.find(|place| place.as_ref().is_some_and(is_it))?;
        let entry = place.as_mut()?;
        entry.uses -= 1;
        let known = entry.known.clone();
        if entry.uses == 0 {
            // Wiped where it lies: taken out, it would leave its bytes behind.
            *place = None;
        }
        Some(known)
    }
}

/// Whether both are the same; takes as long whatever they hold. Hashes are whole words long.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let ((words, rest), (other_words, other_rest)) = (a.as_chunks(), b.as_chunks());
    let words = words.iter().zip(other_words);
    let difference = words.fold(0, |seen, (a, b)| {
        seen | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b))
    });
    let rest = rest.iter().zip(other_rest);
    let difference = rest.fold(difference, |seen, (a, b)| seen | u64::from(a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
impl Store {
    /// Secrets in it.
    pub(super) fn len(&self) -> usize {
        self.0
            .iter()
            .flat_map(|all| all.entries.iter().flatten())
            .count()
    }
}

#[cfg(test)]
mod tests {
    use spinlane_crypto::digest::Digest;

    use super::*;

    fn known(byte: u8) -> Known {
        Known::Key(HmacKey::new(Digest::Sha384, &[byte]))
    }

    fn secret(number: usize) -> [u8; LEN] {
        let mut secret = [0; LEN];
        secret[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
        secret
    }

    #[test]
    fn a_secret_is_known_as_often_as_it_was_said() {
        let mut store = Store::default();
        store.enter(|| {
            put(&secret(1), 2, known(1));
            put(&secret(2), 1, known(2));
            put(&secret(3)[..32], 1, known(3));
            assert!(get(&secret(4)).is_none());
            assert!(get(&secret(3)).is_none() && get(&secret(2)[..32]).is_none());
            for expected in [true, true, false] {
                assert_eq!(get(&secret(1)).is_some(), expected);
            }
            assert!(get(&secret(2)).is_some() && get(&secret(3)[..32]).is_some());
        });
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn what_differs_in_one_bit_is_not_the_same() {
        let secret = secret(5);
        for len in [0, 7, 32, 45, LEN] {
            assert!(same(&secret[..len], &secret[..len]));
            for bit in 0..8 * len {
                let mut other = secret;
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!same(&secret[..len], &other[..len]));
            }
        }
        assert!(!same(&secret, &secret[..32]));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        Store::default().enter(|| {
            for number in 0..3 * CAPACITY {
                put(&secret(number), 1, known(0));
            }
            let kept = (0..3 * CAPACITY).filter(|number| get(&secret(*number)).is_some());
            assert!(kept.eq(2 * CAPACITY..3 * CAPACITY));
        });
    }

    #[test]
    fn where_a_secret_lies_says_nothing_of_it() {
        for round in 0..100 {
            let mut entries = Entries::default();
            let secrets: [_; CAPACITY] = std::array::from_fn(|_| {
                let mut secret = [round; LEN];
                spinlane_crypto::random::fill(&mut secret);
                entries.put(&secret, 1, known(0));
                secret
            });
            let places = entries.entries.iter().flatten();
            assert!(places.map(|entry| *entry.secret).eq(secrets));
        }
    }

    #[test]
    fn each_handshake_has_its_own_and_without_one_nothing_is_kept() {
        let [mut one, mut other] = [Store::default(), Store::default()];
        let is_known = || get(&secret(1)).is_some();
        put(&secret(1), 9, known(1));
        assert!(!is_there() && !is_known());
        one.enter(|| {
            put(&secret(1), 9, known(1));
            other.enter(|| assert!(is_there() && !is_known()));
            assert!(is_known());
        });
        assert!(!is_known());
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            one.enter(|| panic!("a handshake that panics"));
        }));
        assert!(!is_there());
        one.enter(|| assert!(is_known()));
        assert_eq!((one.len(), other.len()), (1, 0));
    }
}
