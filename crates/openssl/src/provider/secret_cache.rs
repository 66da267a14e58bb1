//! HMAC keys of the secrets in use, for TLS13-KDF.
//!
//! libssl derives several values from each secret of a handshake, and hashing the secret into
//! an HMAC key is half of each derivation. So a thread keeps the keys of the secrets it used
//! last. A key leaves, and is wiped, with the last use that a handshake makes of it, which its
//! label tells; what is left by handshakes that break off leaves with those that follow.

use std::cell::RefCell;

use spinlane_cryptodev::digest::{Digest, HmacKey, MAX_DIGEST_LEN};
use zeroize::Zeroizing;

/// Secrets kept: those of the connection that runs, and some of connections that wait.
const SLOTS: usize = 4;

/// The HMAC key of `secret`, from which `label` derives.
pub(super) fn hmac_key(digest: Digest, secret: &[u8], label: &[u8]) -> HmacKey {
    if secret.len() != digest.len() {
        return HmacKey::new(digest, secret);
    }
    // The cache is gone while the thread's locals are being destroyed.
    CACHE
        .try_with(|cache| {
            cache
                .borrow_mut()
                .hmac_key(digest, secret, is_last_use(label))
        })
        .unwrap_or_else(|_| HmacKey::new(digest, secret))
}

/// Whether a handshake derives nothing more from a secret it derived this from (RFC 8446,
/// section 7.1, in libssl's order). A wrong answer costs time, nothing else.
fn is_last_use(label: &[u8]) -> bool {
    matches!(
        label,
        b"iv" | b"finished" | b"derived" | b"c ap traffic" | b"resumption"
    )
}

thread_local! {
    static CACHE: RefCell<Cache> = const { RefCell::new(Cache { entries: [const { None }; SLOTS], next: 0 }) };
}

struct Cache {
    entries: [Option<Entry>; SLOTS],
    /// The slot that a new secret takes when all are taken.
    next: usize,
}

struct Entry {
    secret: Zeroizing<[u8; MAX_DIGEST_LEN]>,
    key: HmacKey,
}

impl Cache {
    fn hmac_key(&mut self, digest: Digest, secret: &[u8], last_use: bool) -> HmacKey {
        let is_it = |entry: &Entry| {
            entry.key.digest() == digest && equal(&entry.secret[..secret.len()], secret)
        };
        let found = self
            .entries
            .iter_mut()
            .find(|entry| entry.as_ref().is_some_and(is_it));
        if let Some(slot) = found {
            let key = if last_use {
                slot.take().map(|entry| entry.key)
            } else {
                slot.as_ref().map(|entry| entry.key.clone())
            };
            return key.unwrap_or_else(|| HmacKey::new(digest, secret));
        }
        let key = HmacKey::new(digest, secret);
        if !last_use {
            let mut copy = Zeroizing::new([0; MAX_DIGEST_LEN]);
            copy[..secret.len()].copy_from_slice(secret);
            let slot = self
                .entries
                .iter()
                .position(Option::is_none)
                .unwrap_or(self.next);
            self.entries[slot] = Some(Entry {
                secret: copy,
                key: key.clone(),
            });
            self.next = (slot + 1) % SLOTS;
        }
        key
    }
}

/// Compares in constant time: how much of a secret was guessed must not show.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.iter()
        .zip(b)
        .fold(0, |different, (a, b)| different | (a ^ b))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(key: &HmacKey) -> [u8; 32] {
        let mut out = [0; 32];
        key.sign(&[b"message"], &mut out);
        out
    }

    #[test]
    fn every_key_is_that_of_its_secret_and_leaves_with_the_last_use() {
        let kept = || CACHE.with_borrow(|cache| cache.entries.iter().flatten().count());
        for round in 0..3u8 {
            for secret in (0..7).map(|index| [index ^ round; 32]) {
                let fresh = sign(&HmacKey::new(Digest::Sha256, &secret));
                for label in [b"c hs traffic", b"s hs traffic"] {
                    assert_eq!(sign(&hmac_key(Digest::Sha256, &secret, label)), fresh);
                }
            }
            assert_eq!(kept(), SLOTS);
        }
        for index in 0..8 {
            hmac_key(Digest::Sha256, &[index; 32], b"derived");
        }
        assert_eq!(kept(), 0);
    }
}
