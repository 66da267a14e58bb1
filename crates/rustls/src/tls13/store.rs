//! What was derived from a secret before rustls comes with it: a thread's store.

use std::cell::RefCell;

use spinlane_cryptodev::Wiped;
use spinlane_cryptodev::digest::HmacKey;

use super::ahead::LEN;

/// Secrets that a thread keeps at most: four of each handshake that waits for the client's last
/// message, for 96 of these. Beyond that the oldest are forgotten, which costs time only.
const CAPACITY: usize = 384;

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

struct Store {
    /// First bytes of each entry's secret, so that a search is short.
    tags: Vec<u32>,
    entries: Vec<Option<Entry>>,
    /// Entries that are none.
    free: Vec<usize>,
    /// The next to be forgotten.
    next: usize,
}

struct Entry {
    secret: Wiped<LEN>,
    /// How often it will be asked for.
    uses: usize,
    known: Known,
}

thread_local! {
    static STORE: RefCell<Store> = const { RefCell::new(Store::new()) };
}

/// Keeps `known` until `secret` has been asked for `uses` times.
pub(super) fn put(secret: &[u8; LEN], uses: usize, known: Known) {
    // At thread exit, when the store is gone, nothing is kept.
    let _ = STORE.try_with(|store| store.borrow_mut().put(secret, uses, known));
}

/// What is known of `secret`.
pub(super) fn get(secret: &[u8; LEN]) -> Option<Known> {
    STORE
        .try_with(|store| store.borrow_mut().get(secret))
        .ok()
        .flatten()
}

/// Secrets in store.
#[cfg(test)]
pub(super) fn len() -> usize {
    STORE.with(|store| store.borrow().entries.iter().flatten().count())
}

impl Store {
    const fn new() -> Self {
        Self {
            tags: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            next: 0,
        }
    }

    fn put(&mut self, secret: &[u8; LEN], uses: usize, known: Known) {
        let entry = Some(Entry {
            secret: Wiped::new(*secret),
            uses,
            known,
        });
        let at = if let Some(at) = self.free.pop() {
            at
        } else if self.entries.len() < CAPACITY {
            self.entries.push(None);
            self.tags.push(0);
            self.entries.len() - 1
        } else {
            self.next = (self.next + 1) % CAPACITY;
            self.next
        };
        self.entries[at] = entry;
        self.tags[at] = tag(secret);
    }

    fn get(&mut self, secret: &[u8; LEN]) -> Option<Known> {
        let wanted = tag(secret);
        let at = self.tags.iter().position(|tag| *tag == wanted)?;
        let entry = self.entries[at].as_mut()?;
        if !same(&entry.secret[..], secret) {
            return None;
        }
        entry.uses -= 1;
        if entry.uses != 0 {
            return Some(entry.known.clone());
        }
        self.free.push(at);
        self.tags[at] = 0;
        self.entries[at].take().map(|entry| entry.known)
    }
}

/// Two secrets with the same are a matter of chance, of 2^-32 for any two.
fn tag(secret: &[u8; LEN]) -> u32 {
    let [a, b, c, d, ..] = *secret;
    u32::from_le_bytes([a, b, c, d])
}

/// Whether both are the same; takes as long whatever they hold.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |seen, (a, b)| seen | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use spinlane_cryptodev::digest::Digest;

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
        let mut store = Store::new();
        store.put(&secret(1), 2, known(1));
        store.put(&secret(2), 1, known(2));
        assert!(store.get(&secret(3)).is_none());
        for expected in [true, true, false] {
            assert_eq!(store.get(&secret(1)).is_some(), expected);
        }
        assert!(store.get(&secret(2)).is_some());
        assert_eq!(store.free.len(), 2);
        store.put(&secret(4), 1, known(4));
        assert_eq!((store.entries.len(), store.free.len()), (2, 1));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut store = Store::new();
        for number in 0..2 * CAPACITY {
            store.put(&secret(number), 1, known(0));
        }
        assert_eq!(store.entries.len(), CAPACITY);
        let kept = (0..2 * CAPACITY).filter(|number| store.get(&secret(*number)).is_some());
        assert_eq!(
            kept.collect::<Vec<_>>(),
            (CAPACITY..2 * CAPACITY).collect::<Vec<_>>()
        );
        assert_eq!(store.free.len(), CAPACITY);
    }
}
