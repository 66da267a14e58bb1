//! Record keys of SHA-256's traffic secrets: derived once, though rustls asks for them twice.
//!
//! rustls derives the keys for application data when it gets to them, and again when the connection takes them
//! over ([`Connection`](crate::Connection)). So whoever derives such a secret derives its keys at once, and
//! they are kept until they have been asked for twice, or another secret needs the slot. (SHA-384 has
//! its own, see [`ahead`](super::ahead).)

use std::cell::RefCell;

use spinlane_cryptodev::Wiped;
use spinlane_cryptodev::digest::{Digest, HmacKey};

use super::label::{Info, Label};
use super::store::{Traffic, same};

/// Bytes of a SHA-256.
const LEN: usize = 32;
/// Secrets that a thread keeps at most: two of each handshake that waits for the client's last message. Two
/// secrets of one slot cost time only.
const SLOTS: usize = 512;
/// Times that rustls asks.
const USES: usize = 2;

struct Entry {
    secret: Wiped<LEN>,
    uses: usize,
    traffic: Traffic,
}

thread_local! {
    static KEPT: RefCell<Vec<Option<Entry>>> = const { RefCell::new(Vec::new()) };
}

/// Whether `label` is that of a secret for application data (RFC 8446, section 7.1).
pub(super) fn is_application(label: &Label<'_>) -> bool {
    matches!(label.label, b"c ap traffic" | b"s ap traffic") && label.len == LEN
}

/// Derives and keeps the keys, of `key_len` bytes, of a secret for application data.
pub(super) fn put(secret: &[u8; LEN], key_len: usize) {
    // At thread exit, when the slots are gone, nothing is kept.
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.is_empty() {
            kept.resize_with(SLOTS, || None);
        }
        match &mut kept[slot(secret)] {
            // Both ends are on this thread.
            Some(entry) if same(&entry.secret[..], secret) => entry.uses += USES,
            entry => {
                *entry = Some(Entry {
                    secret: Wiped::new(*secret),
                    uses: USES,
                    traffic: derive(secret, key_len),
                });
            }
        }
    });
}

fn derive(secret: &[u8; LEN], key_len: usize) -> Traffic {
    let hmac = HmacKey::new(Digest::Sha256, secret);
    let (mut key, mut iv) = (Wiped::<32>::ZEROS, Wiped::<12>::ZEROS);
    let infos = [(key_len, &b"key"[..]), (iv.len(), b"iv")];
    let infos = infos.map(|(len, label)| Info::new(len, label, &[]));
    let [of_key, of_iv] = HmacKey::sign_each(infos.each_ref().map(|info| (&hmac, &info[..])));
    key.copy_from_slice(&of_key[..32]);
    iv.copy_from_slice(&of_iv[..12]);
    Traffic {
        key,
        key_len,
        iv,
        finished: None,
    }
}

/// The keys of `secret`, if they are kept.
pub(super) fn get(secret: &[u8; LEN]) -> Option<Traffic> {
    let look = |kept: &RefCell<Vec<Option<Entry>>>| {
        let mut kept = kept.borrow_mut();
        let slot = kept.get_mut(slot(secret))?;
        let entry = slot.as_mut()?;
        if !same(&entry.secret[..], secret) {
            return None;
        }
        entry.uses -= 1;
        if entry.uses != 0 {
            return Some(entry.traffic.clone());
        }
        slot.take().map(|entry| entry.traffic)
    };
    KEPT.try_with(look).ok().flatten()
}

/// Secrets kept.
#[cfg(test)]
pub(super) fn len() -> usize {
    KEPT.with(|kept| kept.borrow().iter().flatten().count())
}

/// Secrets are random: any bytes of theirs spread them.
fn slot(secret: &[u8; LEN]) -> usize {
    usize::from(u16::from_le_bytes([secret[0], secret[1]])) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_for_two_uses_or_until_the_slot_is_needed() {
        let secret = |slot: u8, rest: u8| {
            let mut secret = [rest; LEN];
            (secret[0], secret[1]) = (slot, 0);
            secret
        };
        put(&secret(1, 1), 16);
        put(&secret(2, 1), 32);
        assert_eq!(len(), 2);
        assert!(get(&secret(1, 2)).is_none() && get(&secret(3, 1)).is_none());
        for expected in [true, true, false] {
            assert_eq!(get(&secret(1, 1)).is_some(), expected);
        }
        put(&secret(2, 1), 32);
        assert!((0..3).all(|_| get(&secret(2, 1)).is_some()));
        put(&secret(2, 2), 32);
        assert!(get(&secret(2, 1)).is_none());
        assert_eq!(len(), 1);
        assert!(get(&secret(2, 2)).is_some());
    }
}
