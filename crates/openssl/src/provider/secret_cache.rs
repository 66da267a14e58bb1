//! HMAC keys of the secrets in use, for TLS13-KDF.
//!
//! libssl derives several values from each secret of a handshake, and hashing the secret into an
//! HMAC key is half of each derivation. So a thread keeps the keys of the secrets that its jobs
//! used last. A key leaves, and is wiped, with the last use that a handshake makes of it, which its
//! label tells, and with the end of its job, however that comes. Outside a job nothing is kept:
//! nothing would tell when to wipe it.

use std::cell::RefCell;

use spinlane_crypto::digest::{Digest, HmacKey, MAX_DIGEST_LEN};
use spinlane_crypto::{Erased, Wiped, constant_time_eq};
use spinlane_job as job;

/// Secrets kept: those of the connection that runs, and some of connections that wait.
const SLOTS: usize = 4;

/// Returns the HMAC key of `secret`, from which `label` derives.
pub(super) fn hmac_key(digest: Digest, secret: &[u8], label: &[u8]) -> HmacKey {
    let fresh = || HmacKey::new(digest, secret);
    if secret.len() != digest.len() {
        return fresh();
    }
    let Some(job) = job::at_end(forget) else {
        return fresh();
    };
    // The cache is gone while the thread's locals are being destroyed.
    let key = CACHE.try_with(|cache| {
        let mut cache = cache.borrow_mut();
        let cache = cache.get_or_insert_default();
        cache.hmac_key(job, digest, secret, is_last_use(label))
    });
    key.unwrap_or_else(|_| fresh())
}

/// Wipes what is kept for `job`, which has ended.
fn forget(job: usize) {
    let _ = CACHE.try_with(|cache| {
        if let Some(cache) = &mut *cache.borrow_mut() {
            cache.forget(job);
        }
    });
}

/// Returns `true` if a handshake derives nothing more from a secret it derived this from (RFC 8446,
/// section 7.1, in libssl's order). A wrong answer costs time, nothing else.
fn is_last_use(label: &[u8]) -> bool {
    matches!(
        label,
        b"iv" | b"finished" | b"derived" | b"c ap traffic" | b"resumption"
    )
}

thread_local! {
    /// Boxed: a library's thread-local memory is scarce.
    static CACHE: RefCell<Option<Box<Cache>>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Cache {
    /// Wiped where they lie.
    entries: [Option<Erased<Entry>>; SLOTS],
    /// The slot that a new secret takes when all are taken.
    next: usize,
}

struct Entry {
    job: usize,
    secret: Wiped<MAX_DIGEST_LEN>,
    key: HmacKey,
}

impl Cache {
    fn hmac_key(&mut self, job: usize, digest: Digest, secret: &[u8], last_use: bool) -> HmacKey {
        let is_it = |entry: &Erased<Entry>| {
            entry.key.digest() == digest && constant_time_eq(&entry.secret[..secret.len()], secret)
        };
        for slot in &mut self.entries {
            if let Some(entry) = slot.as_ref().filter(|entry| is_it(entry)) {
                let key = entry.key.clone();
                if last_use {
                    *slot = None;
                }
                return key;
            }
        }
        let key = HmacKey::new(digest, secret);
        if !last_use {
            let mut copy = Wiped::ZEROS;
            copy[..secret.len()].copy_from_slice(secret);
            let free = self.entries.iter().position(Option::is_none);
            let slot = free.unwrap_or(self.next);
            self.entries[slot] = Some(Erased::new(Entry {
                job,
                secret: copy,
                key: key.clone(),
            }));
            self.next = (slot + 1) % SLOTS;
        }
        key
    }

    fn forget(&mut self, job: usize) {
        for slot in &mut self.entries {
            if slot.as_ref().is_some_and(|entry| entry.job == job) {
                *slot = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(key: &HmacKey) -> [u8; 32] {
        let mut out = [0; 32];
        key.sign(&[b"message"], &mut out);
        out
    }

    fn kept() -> usize {
        CACHE.with_borrow(|cache| {
            let entries = cache.iter().flat_map(|cache| cache.entries.iter());
            entries.flatten().count()
        })
    }

    /// Runs `action` as a job; abandons it if it pauses.
    fn as_job(action: impl FnOnce() + 'static) {
        let body = move || {
            action();
            0
        };
        let (_, paused) = job::start(None, body).unwrap();
        if let Some(paused) = paused {
            assert_ne!(kept(), 0);
            // SAFETY: nothing points into its stack, and nothing on it has a destructor.
            unsafe { paused.abandon() };
        }
    }

    #[test]
    fn every_key_is_that_of_its_secret_and_leaves_with_the_last_use() {
        let action = || {
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
        };
        as_job(action);
    }

    #[test]
    fn a_key_leaves_with_its_job_and_no_other() {
        let use_one = |byte| drop(hmac_key(Digest::Sha256, &[byte; 32], b"c hs traffic"));
        let (_, other) = job::start(None, move || {
            use_one(1);
            job::pause();
            0
        })
        .unwrap();
        as_job(move || use_one(2));
        assert_eq!(kept(), 1);
        let paused = move || {
            use_one(3);
            job::pause();
        };
        as_job(paused);
        assert_eq!(kept(), 1);
        other.unwrap().resume().unwrap();
        assert_eq!(kept(), 0);
        use_one(4);
        assert_eq!(kept(), 0);
    }
}
