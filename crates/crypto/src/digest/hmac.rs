//! HMAC (RFC 2104).

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Digest, MAX_DIGEST_LEN};
use crate::sha2::{SHA256_START, Sha2, State, Word, end_message, finish_block};
use crate::sha512::{SHA384_START, SHA512_START};
use crate::wiped::Wiped;

/// An HMAC key (RFC 2104), kept as the two digest states that already took it in. Wiped on drop.
#[derive(Clone)]
pub struct HmacKey {
    digest: Digest,
    states: States,
}

/// States that have taken in one block: the inner hash's, the outer's.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
enum States {
    /// SHA-256's.
    Short(State<u32>, State<u32>),
    /// SHA-384's and SHA-512's.
    Long(State<u64>, State<u64>),
}

impl HmacKey {
    /// Takes in `key`, of any length.
    pub fn new(digest: Digest, key: &[u8]) -> Self {
        let states = match digest {
            Digest::Sha256 => {
                let (inner, outer) = key_states(digest, &SHA256_START, key);
                States::Short(inner, outer)
            }
            Digest::Sha384 => {
                let (inner, outer) = key_states(digest, &SHA384_START, key);
                States::Long(inner, outer)
            }
            Digest::Sha512 => {
                let (inner, outer) = key_states(digest, &SHA512_START, key);
                States::Long(inner, outer)
            }
        };
        Self { digest, states }
    }

    /// Returns the key's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Writes the HMAC of the concatenation of `parts` into the first [`Digest::len`] bytes of
    /// `out`.
    ///
    /// # Panics
    /// If `out` is shorter than that.
    pub fn sign(&self, parts: &[&[u8]], out: &mut [u8]) {
        let out = &mut out[..self.digest.len()];
        match &self.states {
            States::Short(inner, outer) => sign(inner, outer, parts, out),
            States::Long(inner, outer) => sign(inner, outer, parts, out),
        }
    }
}

impl fmt::Debug for HmacKey {
    /// Prints no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacKey")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Computes the inner and the outer state of a key.
fn key_states<W: Word<BLOCK>, const BLOCK: usize>(
    digest: Digest,
    start: &State<W>,
    key: &[u8],
) -> (State<W>, State<W>) {
    let mut short = Wiped::<MAX_DIGEST_LEN>::ZEROS;
    let key = if key.len() <= BLOCK {
        key
    } else {
        digest.hash(&[key], &mut short[..]);
        &short[..digest.len()]
    };
    let padded = |pad: u8| {
        let mut block = Wiped::new([pad; BLOCK]);
        block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        let mut state = *start;
        W::compress(&mut state, std::slice::from_ref(&*block));
        state
    };
    (padded(0x36), padded(0x5c))
}

/// Computes the HMAC of `parts` from the states of its key.
fn sign<W: Word<BLOCK>, const BLOCK: usize>(
    inner: &State<W>,
    outer: &State<W>,
    parts: &[&[u8]],
    out: &mut [u8],
) {
    let mut block = Wiped::<BLOCK>::ZEROS;
    if last_block(parts, &mut block) {
        finish_block(inner, &block, out);
    } else {
        let mut inner = Sha2::after(*inner, BLOCK as u64);
        parts.iter().for_each(|part| inner.update(part));
        inner.finish(out);
    }
    // No longer than half a block: it fits.
    last_block(&[out], &mut block);
    finish_block(outer, &block, out);
}

/// Makes `block` the last block of a message: one block before it, then `parts`. Returns `false` if
/// `parts` do not fit one block.
fn last_block<const BLOCK: usize>(parts: &[&[u8]], block: &mut [u8; BLOCK]) -> bool {
    let mut filled = 0;
    for part in parts {
        let Some(place) = block.get_mut(filled..filled + part.len()) else {
            return false;
        };
        place.copy_from_slice(part);
        filled += part.len();
    }
    end_message(block, filled)
}
