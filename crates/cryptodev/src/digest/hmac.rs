//! HMAC (RFC 2104), one by one and side by side.

use std::fmt;

use super::{Digest, Hasher, MAX_BLOCK_LEN, MAX_DIGEST_LEN, MidState};
use crate::aws_lc::cleanse;
use crate::sha512::{
    BLOCK_LEN, Batch, LANES, Lanes, SHA384_START, SHA512_START, end_message, finish_block,
    last_block, write_state,
};
use crate::wiped::Wiped;

/// An HMAC key (RFC 2104), kept as the two digest states that already took it in. Wiped on drop.
#[derive(Clone)]
pub struct HmacKey {
    digest: Digest,
    inner: MidState,
    outer: MidState,
}

impl HmacKey {
    /// Takes in `key`, of any length.
    pub fn new(digest: Digest, key: &[u8]) -> Self {
        let [key] = Self::each(digest, [key]);
        key
    }

    /// The HMAC keys of up to four secrets, SHA-384's and SHA-512's side by side where the CPU
    /// has lanes for it.
    pub fn each<const N: usize>(digest: Digest, keys: [&[u8]; N]) -> [Self; N] {
        const { assert!(2 * N <= LANES) };
        let start = match digest {
            Digest::Sha256 => None,
            Digest::Sha384 => Some(&SHA384_START),
            Digest::Sha512 => Some(&SHA512_START),
        };
        let short = keys.iter().all(|key| key.len() <= BLOCK_LEN);
        match start.zip(Lanes::detect()) {
            Some((start, lanes)) if short => {
                let states = in_lanes(lanes, start, keys);
                states.map(|(inner, outer)| Self {
                    digest,
                    inner,
                    outer,
                })
            }
            _ => keys.map(|key| Self::one(digest, key)),
        }
    }

    fn one(digest: Digest, key: &[u8]) -> Self {
        let mut block = Wiped::<MAX_BLOCK_LEN>::ZEROS;
        let block = &mut block[..digest.block_len()];
        if key.len() > block.len() {
            digest.hash(&[key], block);
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let mut after = |pad| {
            let mut hasher = Hasher::new(digest);
            block.iter_mut().for_each(|byte| *byte ^= pad);
            hasher.update(block);
            hasher.mid_state()
        };
        let inner = after(0x36);
        Self {
            digest,
            inner,
            outer: after(0x36 ^ 0x5c),
        }
    }

    /// Its digest.
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
        if self.sign_short(parts, out) {
            return;
        }
        let mut inner = Hasher::after_block(self.digest, &self.inner);
        parts.iter().for_each(|part| inner.update(part));
        inner.finish(out);
        let mut outer = Hasher::after_block(self.digest, &self.outer);
        outer.update(out);
        cleanse(out);
        outer.finish(out);
    }

    /// The same over what fits the last block of a SHA-384 or SHA-512. False: it is none such.
    fn sign_short(&self, parts: &[&[u8]], out: &mut [u8]) -> bool {
        let (MidState::Sha512(inner), MidState::Sha512(outer)) = (&self.inner, &self.outer) else {
            return false;
        };
        let (mut block, mut filled) = (Wiped::<BLOCK_LEN>::ZEROS, 0);
        for part in parts {
            let Some(place) = block.get_mut(filled..filled + part.len()) else {
                return false;
            };
            place.copy_from_slice(part);
            filled += part.len();
        }
        if !end_message(&mut block, filled) {
            return false;
        }
        finish_block(inner, &block, out);
        block[..out.len()].copy_from_slice(out);
        end_message(&mut block, out.len());
        finish_block(outer, &block, out);
        true
    }

    /// HMACs of up to eight messages, each under its key and in the first [`Digest::len`] bytes
    /// of its result, the rest zero. Those of SHA-384 and SHA-512 over at most 111 bytes are computed
    /// side by side where the CPU has lanes for it, if all are such.
    pub fn sign_each<const N: usize>(ops: [(&Self, &[u8]); N]) -> [Wiped<MAX_DIGEST_LEN>; N] {
        const { assert!(N <= LANES) };
        let mut tags = std::array::from_fn(|_| Wiped::<MAX_DIGEST_LEN>::ZEROS);
        if let Some(lanes) = Lanes::detect()
            && Self::sign_in_lanes(lanes, &ops, &mut tags)
        {
            return tags;
        }
        for ((key, message), tag) in ops.into_iter().zip(&mut tags) {
            key.sign(&[message], &mut tag[..]);
        }
        tags
    }

    /// False: one of them is not for lanes, and nothing has been done.
    fn sign_in_lanes(
        lanes: Lanes,
        ops: &[(&Self, &[u8])],
        tags: &mut [Wiped<MAX_DIGEST_LEN>],
    ) -> bool {
        let mut batch = Batch::new();
        let mut block = Wiped::<BLOCK_LEN>::ZEROS;
        for (lane, (key, message)) in ops.iter().enumerate() {
            let MidState::Sha512(inner) = &key.inner else {
                return false;
            };
            if !last_block(message, &mut block) {
                return false;
            }
            batch.set(lane, inner, &block);
        }
        batch.run(lanes);
        for (lane, ((key, _), tag)) in ops.iter().zip(&mut *tags).enumerate() {
            let tag = &mut tag[..key.digest.len()];
            write_state(&batch.state(lane), tag);
            let MidState::Sha512(outer) = &key.outer else {
                return false;
            };
            last_block(tag, &mut block);
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
    /// The key stays out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacKey")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Inner and outer state of each key, none of which is longer than a block.
fn in_lanes<const N: usize>(
    lanes: Lanes,
    start: &[u64; 8],
    keys: [&[u8]; N],
) -> [(MidState, MidState); N] {
    let mut batch = Batch::new();
    let mut block = Wiped::<BLOCK_LEN>::ZEROS;
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
    std::array::from_fn(|index| {
        let state = |lane| MidState::Sha512(batch.state(lane));
        (state(2 * index), state(2 * index + 1))
    })
}
