//! HMAC (RFC 2104), one by one and side by side.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Digest, MAX_DIGEST_LEN};
use crate::sha2::{SHA256_START, Sha2, State, Word, end_message, finish_block, write_state};
use crate::sha512::{self, Batch, LANES, Lanes, SHA384_START, SHA512_START};
use crate::wiped::Wiped;

/// Bytes of SHA-512's block.
const LONG_BLOCK: usize = sha512::BLOCK_LEN;
/// Lanes of the smaller batch.
const HALF: usize = LANES / 2;

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
        let [key] = Self::each(digest, [key]);
        key
    }

    /// Makes the HMAC keys of up to four secrets. Those of SHA-384 and SHA-512 are computed side by
    /// side if the CPU has lanes for it.
    pub fn each<const N: usize>(digest: Digest, keys: [&[u8]; N]) -> [Self; N] {
        const { assert!(2 * N <= LANES) };
        let start = match digest {
            Digest::Sha256 => return keys.map(|key| Self::one(digest, key)),
            Digest::Sha384 => &SHA384_START,
            Digest::Sha512 => &SHA512_START,
        };
        let short = keys.iter().all(|key| key.len() <= LONG_BLOCK);
        match Lanes::detect() {
            Some(lanes) if short => {
                let states = match 2 * N <= HALF {
                    true => in_lanes::<N, HALF>(lanes, start, keys),
                    false => in_lanes::<N, LANES>(lanes, start, keys),
                };
                states.map(|states| Self { digest, states })
            }
            _ => keys.map(|key| Self::one(digest, key)),
        }
    }

    fn one(digest: Digest, key: &[u8]) -> Self {
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

    /// Computes the HMACs of up to eight messages, each under its own key. A result is in the first
    /// [`Digest::len`] bytes, and the rest is zero.
    ///
    /// If all keys are of SHA-384 or SHA-512 and all messages have at most 111 bytes, they are
    /// computed side by side where the CPU has lanes for it.
    pub fn sign_each<const N: usize>(ops: [(&Self, &[u8]); N]) -> [Wiped<MAX_DIGEST_LEN>; N] {
        const { assert!(N <= LANES) };
        let mut tags = std::array::from_fn(|_| Wiped::<MAX_DIGEST_LEN>::ZEROS);
        if let Some(lanes) = Lanes::detect()
            && match N <= HALF {
                true => Self::sign_in_lanes::<HALF>(lanes, &ops, &mut tags),
                false => Self::sign_in_lanes::<LANES>(lanes, &ops, &mut tags),
            }
        {
            return tags;
        }
        for ((key, message), tag) in ops.iter().zip(&mut tags) {
            key.sign(&[message], &mut tag[..]);
        }
        tags
    }

    /// Computes all HMACs, at most `L`, in lanes. Returns `false`, and has done nothing, if one of them
    /// is not for lanes.
    fn sign_in_lanes<const L: usize>(
        lanes: Lanes,
        ops: &[(&Self, &[u8])],
        tags: &mut [Wiped<MAX_DIGEST_LEN>],
    ) -> bool {
        let mut batch = Batch::<L>::new();
        let mut block = Wiped::<LONG_BLOCK>::ZEROS;
        for (lane, (key, message)) in ops.iter().enumerate() {
            let States::Long(inner, _) = &key.states else {
                return false;
            };
            if !last_block(&[message], &mut block) {
                return false;
            }
            batch.set(lane, inner, &block);
        }
        batch.run(lanes);
        for (lane, ((key, _), tag)) in ops.iter().zip(&mut *tags).enumerate() {
            let tag = &mut tag[..key.digest.len()];
            write_state(&batch.state(lane), tag);
            let States::Long(_, outer) = &key.states else {
                return false;
            };
            last_block(&[tag], &mut block);
            batch.set(lane, outer, &block);
        }
        batch.run(lanes);
        for (lane, ((key, _), tag)) in ops.iter().zip(tags).enumerate() {
            write_state(&batch.state(lane), &mut tag[..key.digest.len()]);
        }
        true
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

/// Computes the inner and the outer state of each key, in `L` lanes, two for each. No key is longer than a
/// block.
fn in_lanes<const N: usize, const L: usize>(
    lanes: Lanes,
    start: &[u64; 8],
    keys: [&[u8]; N],
) -> [States; N] {
    let mut batch = Batch::<L>::new();
    let mut block = Wiped::<LONG_BLOCK>::ZEROS;
    for (index, key) in keys.into_iter().enumerate() {
        for (lane, pad) in [(2 * index, 0x36), (2 * index + 1, 0x5c)] {
            block.fill(pad);
            block
                .iter_mut()
                .zip(key)
                .for_each(|(byte, key)| *byte ^= key);
            batch.set(lane, start, &block);
        }
    }
    batch.run(lanes);
    std::array::from_fn(|index| States::Long(batch.state(2 * index), batch.state(2 * index + 1)))
}
