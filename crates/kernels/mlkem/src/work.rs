//! The memory of a batch.

use crate::keccak::State;
use crate::ntt::{Multiplier, Poly};
use crate::sample::{Accepted, Noise};
use crate::simd::{Line, ZERO, wipe};
use crate::sponge::LANES;

/// A long message, padded, and 64 bytes that may be read after it: 12 blocks of 136 for K = 4.
pub(crate) type Message = [Line; 27];

/// A ciphertext, and 48 bytes that may be written after it: 1568 for K = 4.
pub(crate) type Ciphertext = [Line; 26];

/// Polynomials of noise that an encryption takes, for K = 4.
const MAX_NOISE: usize = 9;

/// Squeezed bytes of a lane: three blocks of SHAKE128, and what a row's store adds.
pub(crate) type Squeezed = [Line; 9];

/// One lane's memory.
#[derive(Clone, Copy)]
pub(crate) struct Lane<const K: usize> {
    /// The encapsulation key, padded to be hashed. Public.
    pub key: Message,
    /// Sampled from the key's seed. Public.
    pub matrix: [[Accepted; K]; K],
    /// The seed of the noise, in the first half.
    pub seed: Line,
    /// The shared secret, in the first half.
    pub shared: Line,
    /// The message that is encapsulated, in the first half.
    pub message: Line,
    pub noise: [Noise; MAX_NOISE],
    /// The ciphertext of an encryption: a decapsulation's is secret.
    pub ciphertext: Ciphertext,
    /// z and the ciphertext that came, padded to be hashed.
    pub rejection: Message,
}

impl<const K: usize> Lane<K> {
    const ZERO: Self = Self {
        key: [ZERO; 27],
        matrix: [[[ZERO; 9]; K]; K],
        seed: ZERO,
        shared: ZERO,
        message: ZERO,
        noise: [[ZERO; 4]; MAX_NOISE],
        ciphertext: [ZERO; 26],
        rejection: [ZERO; 27],
    };

    /// Lines of noise of a polynomial that are used.
    const NOISE_LINES: usize = if K == 2 { 3 } else { 2 };

    /// Overwrites all but what is public; `rejection` only if an operation used it.
    fn wipe(&mut self, rejection: bool) {
        for line in [&mut self.seed, &mut self.shared, &mut self.message] {
            wipe(std::slice::from_mut(line));
        }
        for noise in &mut self.noise[..=2 * K] {
            wipe(&mut noise[..Self::NOISE_LINES]);
        }
        wipe(&mut self.ciphertext);
        if rejection {
            wipe(&mut self.rejection);
        }
    }
}

/// What one lane after the other uses.
pub(crate) struct Scratch<const K: usize> {
    pub multipliers: [Multiplier; K],
    pub polynomials: [Poly; K],
}

/// Everything. 53 KB for K = 2, 86 KB for K = 3, 131 KB for K = 4.
pub(crate) struct Work<const K: usize> {
    pub state: State,
    pub lanes: [Lane<K>; LANES],
    pub scratch: Scratch<K>,
    pub squeezed: [Squeezed; LANES],
}

impl<const K: usize> Work<K> {
    pub(crate) const ZERO: Self = Self {
        state: [ZERO; 25],
        lanes: [Lane::ZERO; LANES],
        scratch: Scratch {
            multipliers: [Multiplier::ZERO; K],
            polynomials: [[ZERO; 8]; K],
        },
        squeezed: [[ZERO; 9]; LANES],
    };

    /// Wipes all that is secret of the first `lanes` lanes; `rejections` only if they were used.
    pub(crate) fn wipe(&mut self, lanes: usize, rejections: bool) {
        wipe(&mut self.state);
        for lane in &mut self.lanes[..lanes] {
            lane.wipe(rejections);
        }
        self.scratch
            .multipliers
            .iter_mut()
            .for_each(Multiplier::wipe);
        wipe(self.scratch.polynomials.as_flattened_mut());
    }

    /// Returns `true` if all that is secret is zero.
    #[cfg(feature = "inspection")]
    pub(crate) fn is_wiped(&self) -> bool {
        let zero = |lines: &[Line]| crate::simd::bytes(lines).iter().all(|byte| *byte == 0);
        let scratch = &self.scratch;
        zero(&self.state)
            && scratch.multipliers.iter().all(|m| m.lines().all(zero))
            && zero(scratch.polynomials.as_flattened())
            && self.lanes.iter().all(|lane| {
                zero(&[lane.seed, lane.shared, lane.message])
                    && zero(lane.noise.as_flattened())
                    && zero(&lane.ciphertext)
                    && zero(&lane.rejection)
            })
    }
}
