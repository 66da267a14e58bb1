//! The chain of links from which ticket keys are derived, and what a core keeps of it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use spinlane_crypto::digest::{Digest, HmacKey};
use spinlane_crypto::random;
use zeroize::Zeroizing;

pub(super) const NAME_LEN: usize = 16;
const TAG_LEN: usize = 16;
/// Longer tickets are not ours: a session with a long chain of client certificates fits.
pub(super) const MAX_TICKET_LEN: usize = 16 * 1024;

/// A link of the chain: the secret of one period. In a box, so that moving it leaves no copy behind.
pub(super) struct Link {
    secret: Box<Zeroizing<[u8; 32]>>,
    /// Number of the period.
    number: u64,
}

impl Link {
    fn zero(number: u64) -> Self {
        Self {
            secret: Box::new(Zeroizing::new([0; 32])),
            number,
        }
    }

    /// The first of a new chain.
    pub(super) fn random() -> Self {
        let mut link = Self::zero(0);
        random::fill(&mut link.secret[..]);
        link
    }

    /// The first of the chain that begins with `secret`.
    pub(super) fn of(secret: &[u8; 32]) -> Self {
        let mut link = Self::zero(0);
        link.secret.copy_from_slice(secret);
        link
    }

    pub(super) fn duplicate(&self) -> Self {
        let mut link = Self::zero(self.number);
        link.secret.copy_from_slice(&self.secret[..]);
        link
    }

    /// Goes on to period `number`, if that is a later one; what was before is overwritten.
    pub(super) fn advance(&mut self, number: u64) {
        while self.number < number {
            let mut next = Zeroizing::new([0; 32]);
            self.hmac_key().sign(&[b"next ticket link"], &mut *next);
            self.secret.copy_from_slice(&*next);
            self.number += 1;
        }
    }

    fn hmac_key(&self) -> HmacKey {
        HmacKey::new(Digest::Sha256, &self.secret[..])
    }

    /// `None`: memory is out.
    fn ticket_key(&self) -> Option<TicketKey> {
        let link = self.hmac_key();
        let (mut name, mut key) = ([0; 32], Zeroizing::new([0; 32]));
        link.sign(&[b"ticket key name"], &mut name);
        link.sign(&[b"ticket key"], &mut *key);
        Some(TicketKey {
            name: *name.first_chunk()?,
            aead: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).ok()?),
        })
    }

    #[cfg(test)]
    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// A link with the keys of its period and of the one before.
pub(super) struct Keys {
    link: Link,
    current: Option<TicketKey>,
    previous: Option<TicketKey>,
}

impl Keys {
    pub(super) fn new(link: Link) -> Self {
        let current = link.ticket_key();
        Self {
            link,
            current,
            previous: None,
        }
    }

    /// Goes on to period `number`, if that is a later one.
    pub(super) fn advance(&mut self, number: u64) {
        if self.link.number >= number {
            return;
        }
        if self.link.number + 1 < number {
            self.link.advance(number - 1);
            self.current = self.link.ticket_key();
        }
        self.link.advance(number);
        self.previous = std::mem::replace(&mut self.current, self.link.ticket_key());
    }

    /// Returns name ‖ nonce ‖ ciphertext ‖ tag. The name is authenticated.
    pub(super) fn seal(&self, parts: &[&[u8]]) -> Option<Vec<u8>> {
        self.current.as_ref()?.seal(parts)
    }

    /// Returns what [`Keys::seal`] was given in this period or in the one before.
    pub(super) fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET_LEN {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut known = [&self.current, &self.previous].into_iter().flatten();
        // The name is not secret.
        let key = known.find(|key| key.name == *name)?;
        key.open(*nonce, sealed)
    }
}

struct TicketKey {
    name: [u8; NAME_LEN],
    aead: LessSafeKey,
}

impl TicketKey {
    fn seal(&self, parts: &[&[u8]]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce);
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut ticket = Vec::with_capacity(NAME_LEN + NONCE_LEN + len + TAG_LEN);
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(&nonce);
        for part in parts {
            ticket.extend_from_slice(part);
        }
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
