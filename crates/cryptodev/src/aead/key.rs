//! Keys: one traffic secret's, usually of one direction of one connection.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use spinlane_crypto::Wiped;
use spinlane_crypto::aead::{Algorithm, Cipher};

use super::Error;

/// A key, expanded once when it is made and immutable from then on. Share it as `Arc<Key>`; every op
/// in flight holds it. Wiped when it is dropped.
pub struct Key {
    algorithm: Algorithm,
    id: u64,
    /// Boxed, so that a move leaves none of it behind.
    secret: Box<Wiped<32>>,
    cpu: Cipher,
}

impl Key {
    /// The key with these bytes. Every value is one.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are [`Algorithm::key_len`] of them.
    pub fn new(algorithm: Algorithm, secret: &[u8]) -> Result<Self, Error> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);

        let cpu = Cipher::new(algorithm, secret)?;
        let mut own = Box::new(Wiped::ZEROS);
        own[..secret.len()].copy_from_slice(secret);
        Ok(Self {
            algorithm,
            // Relaxed: the number alone matters, and it orders nothing.
            id: LAST_ID.fetch_add(1, Ordering::Relaxed) + 1,
            secret: own,
            cpu,
        })
    }

    /// What it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Another for every key made in this process, from 1: what a driver finds its session for the key by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its bytes, for a driver.
    pub fn secret(&self) -> &[u8] {
        &self.secret[..self.algorithm.key_len()]
    }

    /// What seals and opens with it on the CPU, at once.
    pub fn cipher(&self) -> &Cipher {
        &self.cpu
    }
}

impl fmt::Debug for Key {
    /// Nothing but its algorithm and number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
