//! Session tickets (RFC 5077, RFC 8446 section 4.6.1) whose keys rotate by a hash chain.
//!
//! ```text
//!   seed ──H──▶ chain 1 ──H──▶ chain 2 ──H──▶ …      one link per period
//!    │            │              │
//!    ▼            ▼              ▼
//!   key 0        key 1          key 2                 opens tickets for two periods
//! ```
//! Every core has a [`ChainTicketer`] of its own, made from the same [`TicketSeed`]: without a word
//! between them they agree on each period's key, so that a client may resume on any core. A link is
//! wiped when the next is made, so that whoever sees the memory later cannot open older
//! tickets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;
use spinlane_cryptodev::digest::{Digest, HmacKey};
use spinlane_cryptodev::random;
use zeroize::Zeroizing;

const NAME_LEN: usize = 16;
const TAG_LEN: usize = 16;
/// Longer tickets are not ours: a session with a long chain of client certificates fits.
const MAX_TICKET_LEN: usize = 16 * 1024;

/// What a set of [`ChainTicketer`]s starts from.
#[derive(Clone)]
pub struct TicketSeed {
    seed: Zeroizing<[u8; 32]>,
    period: Duration,
    start: Instant,
}

impl std::fmt::Debug for TicketSeed {
    /// The seed stays out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketSeed")
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

impl TicketSeed {
    /// A random one, with a new key every `period` (at least a second). A ticket opens for one to two
    /// periods. With random nonces a key should seal less than 2^32 tickets: an hour at a
    /// million a second.
    pub fn new(period: Duration) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        random::fill(&mut *seed);
        Self {
            seed,
            period: period.max(Duration::from_secs(1)),
            start: Instant::now(),
        }
    }

    /// A ticketer for a core. All of one seed open each other's tickets.
    pub fn ticketer(&self) -> Arc<ChainTicketer> {
        Arc::new(ChainTicketer {
            period: self.period,
            start: self.start,
            keys: Mutex::new(Keys::new(self.seed.clone())),
        })
    }
}

/// Seals and opens tickets with AES-256-GCM. Its lock is never contended as long as
/// each core has its own.
pub struct ChainTicketer {
    period: Duration,
    start: Instant,
    keys: Mutex<Keys>,
}

/// The keys of this period and the last.
struct Keys {
    link: Zeroizing<[u8; 32]>,
    /// Number of the period that `link` belongs to.
    number: u64,
    current: Option<TicketKey>,
    previous: Option<TicketKey>,
}

struct TicketKey {
    name: [u8; NAME_LEN],
    aead: LessSafeKey,
}

impl TicketKey {
    /// The key of a link; none only if memory is out.
    fn of(link: &HmacKey) -> Option<Self> {
        let (mut name, mut key) = ([0; 32], Zeroizing::new([0; 32]));
        link.sign(&[b"ticket key name"], &mut name);
        link.sign(&[b"ticket key"], &mut *key);
        Some(Self {
            name: *name.first_chunk()?,
            aead: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).ok()?),
        })
    }

    /// name ‖ nonce ‖ ciphertext ‖ tag, the name authenticated.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce);
        let mut ticket = Vec::with_capacity(NAME_LEN + NONCE_LEN + plain.len() + TAG_LEN);
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .aead
            .seal_in_place_separate_tag(
                nonce,
                Aad::from(self.name),
                &mut ticket[NAME_LEN + NONCE_LEN..],
            )
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, nonce: [u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self
            .aead
            .open_in_place(nonce, Aad::from(self.name), &mut plain);
        let len = opened.ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

impl Keys {
    fn new(seed: Zeroizing<[u8; 32]>) -> Self {
        let current = TicketKey::of(&HmacKey::new(Digest::Sha256, &*seed));
        Self {
            link: seed,
            number: 0,
            current,
            previous: None,
        }
    }

    /// Goes on to period `number`.
    fn advance(&mut self, number: u64) {
        while self.number < number {
            let mut next = Zeroizing::new([0; 32]);
            HmacKey::new(Digest::Sha256, &*self.link).sign(&[b"next ticket link"], &mut *next);
            self.link = next;
            self.number += 1;
            let link = HmacKey::new(Digest::Sha256, &*self.link);
            self.previous = std::mem::replace(&mut self.current, TicketKey::of(&link));
        }
    }
}

impl ChainTicketer {
    fn with_keys<T>(&self, visit: impl FnOnce(&Keys) -> T) -> T {
        self.with_keys_at(self.start.elapsed(), visit)
    }

    fn with_keys_at<T>(&self, age: Duration, visit: impl FnOnce(&Keys) -> T) -> T {
        // Whole seconds, so that all agree; the period has at least one.
        let number = age.as_secs() / self.period.as_secs().max(1);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.advance(number);
        visit(&keys)
    }
}

impl ProducesTickets for ChainTicketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.period.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.with_keys(|keys| keys.current.as_ref()?.seal(plain))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.with_keys(|keys| open(keys, ticket))
    }
}

fn open(keys: &Keys, ticket: &[u8]) -> Option<Vec<u8>> {
    if ticket.len() > MAX_TICKET_LEN {
        return None;
    }
    let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
    let mut known = [&keys.current, &keys.previous].into_iter().flatten();
    // The name is not secret.
    let key = known.find(|key| key.name == *name)?;
    key.open(*nonce, sealed)
}

impl std::fmt::Debug for ChainTicketer {
    /// The keys stay out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainTicketer")
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(3600);

    fn seal_at(ticketer: &ChainTicketer, age: Duration) -> Vec<u8> {
        let sealed = ticketer.with_keys_at(age, |keys| keys.current.as_ref()?.seal(b"session"));
        sealed.unwrap()
    }

    fn open_at(ticketer: &ChainTicketer, age: Duration, ticket: &[u8]) -> Option<Vec<u8>> {
        ticketer.with_keys_at(age, |keys| open(keys, ticket))
    }

    #[test]
    fn cores_of_one_seed_open_each_others_tickets_and_others_do_not() {
        let seed = TicketSeed::new(PERIOD);
        let (one, two) = (seed.ticketer(), seed.clone().ticketer());
        let stranger = TicketSeed::new(PERIOD).ticketer();
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(two.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(stranger.decrypt(&ticket), None);
        assert_ne!(one.encrypt(b"session").unwrap(), ticket);
    }

    #[test]
    fn a_ticket_opens_for_this_period_and_the_next() {
        let seed = TicketSeed::new(PERIOD);
        let (one, late) = (seed.ticketer(), seed.ticketer());
        let ticket = seal_at(&one, PERIOD * 5);
        assert!(open_at(&late, PERIOD * 5, &ticket).is_some());
        assert!(open_at(&late, PERIOD * 7 - Duration::from_secs(1), &ticket).is_some());
        assert!(open_at(&late, PERIOD * 7, &ticket).is_none());
        // What is gone does not come back with the clock.
        assert!(open_at(&late, PERIOD * 5, &ticket).is_none());
    }

    #[test]
    fn forged_and_truncated_tickets_do_not_open() {
        let ticketer = TicketSeed::new(PERIOD).ticketer();
        let ticket = ticketer.encrypt(b"session").unwrap();
        for len in 0..ticket.len() {
            assert_eq!(ticketer.decrypt(&ticket[..len]), None, "{len} bytes");
            let mut forged = ticket.clone();
            forged[len] ^= 1;
            assert_eq!(ticketer.decrypt(&forged), None, "byte {len}");
        }
        assert_eq!(ticketer.decrypt(&vec![0; MAX_TICKET_LEN + 1]), None);
    }
}
