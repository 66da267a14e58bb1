//! HMAC (RFC 2104), one by one and side by side.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Digest, Hasher, MAX_BLOCK_LEN, MAX_DIGEST_LEN};
use crate::aws_lc::cleanse;
use crate::sha512::{BLOCK_LEN, Batch, LANES, Lanes};

/// A digest's state after a whole block.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) enum MidState {
    /// Of SHA-256.
    Sha256([u32; 8]),
    /// Of SHA-384 and SHA-512.
    Sha512([u64; 8]),
}

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
        let lanes = lanes_for(digest);
        let short = keys.iter().all(|key| key.len() <= BLOCK_LEN);
        match lanes {
            Some(lanes) if short => Self::in_lanes(lanes, digest, keys),
            _ => keys.map(|key| Self::one(digest, key)),
        }
    }

    fn one(digest: Digest, key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; MAX_BLOCK_LEN]);
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
            hasher.sha.mid_state()
        };
        let inner = after(0x36);
        Self {
            digest,
            inner,
            outer: after(0x36 ^ 0x5c),
        }
    }

    fn in_lanes<const N: usize>(lanes: Lanes, digest: Digest, keys: [&[u8]; N]) -> [Self; N] {
        let start = Hasher::new(digest).sha.mid_state();
        let MidState::Sha512(start) = &start else {
            return keys.map(|key| Self::one(digest, key));
        };
        let mut batch = Batch::new();
        let mut block = [0; BLOCK_LEN];
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
        cleanse(&mut block);
        batch.run(lanes);
        std::array::from_fn(|index| Self {
            digest,
            inner: MidState::Sha512(batch.state(2 * index)),
            outer: MidState::Sha512(batch.state(2 * index + 1)),
        })
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
        let mut inner = Hasher::after(self.digest, &self.inner);
        parts.iter().for_each(|part| inner.update(part));
        inner.finish(out);
        let mut outer = Hasher::after(self.digest, &self.outer);
        outer.update(out);
        cleanse(out);
        outer.finish(out);
    }

    /// HMACs of up to eight messages, each under its key and in the first [`Digest::len`] bytes
    /// of its result, the rest zero. Those of SHA-384 and SHA-512 over at most 111 bytes are computed
    /// side by side where the CPU has lanes for it, if all are such.
    pub fn sign_each<const N: usize>(
        ops: [(&Self, &[u8]); N],
    ) -> [Zeroizing<[u8; MAX_DIGEST_LEN]>; N] {
        const { assert!(N <= LANES) };
        let mut tags = std::array::from_fn(|_| Zeroizing::new([0; MAX_DIGEST_LEN]));
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
        tags: &mut [Zeroizing<[u8; MAX_DIGEST_LEN]>],
    ) -> bool {
        let mut batch = Batch::new();
        let mut block = Zeroizing::new([0; BLOCK_LEN]);
        for (lane, (key, message)) in ops.iter().enumerate() {
            let MidState::Sha512(state) = &key.inner else {
                return false;
            };
            if !last_block(message, &mut block) {
                return false;
            }
            batch.set(lane, state, &block);
        }
        batch.run(lanes);
        for (lane, (key, _)) in ops.iter().enumerate() {
            let inner = digest_of(batch.state(lane));
            let MidState::Sha512(state) = &key.outer else {
                return false;
            };
            last_block(&inner[..key.digest.len()], &mut block);
            batch.set(lane, state, &block);
        }
        batch.run(lanes);
        for (lane, ((key, _), tag)) in ops.iter().zip(tags).enumerate() {
            let len = key.digest.len();
            tag[..len].copy_from_slice(&digest_of(batch.state(lane))[..len]);
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

fn lanes_for(digest: Digest) -> Option<Lanes> {
    match digest {
        Digest::Sha256 => None,
        Digest::Sha384 | Digest::Sha512 => Lanes::detect(),
    }
}

/// The block that ends a message of one block before and `message` (FIPS 180-4, section 5.1.2).
/// False: they do not fit.
fn last_block(message: &[u8], block: &mut [u8; BLOCK_LEN]) -> bool {
    const LENGTH: usize = 16;
    if message.len() + 1 + LENGTH > BLOCK_LEN {
        return false;
    }
    let (head, tail) = block.split_at_mut(message.len());
    head.copy_from_slice(message);
    tail.fill(0);
    tail[0] = 0x80;
    let bits = 8 * (BLOCK_LEN + message.len()) as u64;
    block[BLOCK_LEN - size_of::<u64>()..].copy_from_slice(&bits.to_be_bytes());
    true
}

fn digest_of(state: [u64; 8]) -> Zeroizing<[u8; MAX_DIGEST_LEN]> {
    let mut out = Zeroizing::new([0; MAX_DIGEST_LEN]);
    for (bytes, word) in out.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    out
}
