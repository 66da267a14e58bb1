//! What the wire does to the frames of one direction.

use std::collections::BTreeMap;

use super::rng::Rng;
use crate::ethernet::HEADER;

/// How often each fault was made.
pub type Faults = BTreeMap<&'static str, u64>;

/// One direction of a wire.
#[derive(Clone, Debug)]
pub struct Path {
    delay_us: u64,
    jitter_us: u64,
    /// Out of 10,000.
    loss: u64,
    /// A loss takes everything for so long at most.
    burst_us: u64,
    duplicate: u64,
    /// Bits are flipped, or the frame's end is cut off.
    corrupt: u64,
    /// A longer frame is lost.
    pub(super) narrow: usize,
    /// Whether whoever sent it is told.
    pub(super) tells: bool,
    /// When the delay changes, and to what.
    change: Option<(u64, u64)>,
    losing_until: u64,
    last_arrival: u64,
}

/// A frame under way.
pub(super) struct Arrival {
    pub(super) at: u64,
    pub(super) frame: Vec<u8>,
}

impl Path {
    /// A path that loses nothing.
    pub fn quiet(delay_us: u64) -> Self {
        Self {
            delay_us,
            jitter_us: 0,
            loss: 0,
            burst_us: 0,
            duplicate: 0,
            corrupt: 0,
            narrow: usize::MAX,
            tells: false,
            change: None,
            losing_until: 0,
            last_arrival: 0,
        }
    }

    /// `least`: bytes of the largest frame that every link carries.
    pub fn random(rng: &mut Rng, least: usize) -> Self {
        let change = (rng.below(2_000_000), rng.pick(&[50, 5_000, 200_000]));
        Self {
            delay_us: rng.pick(&[20, 500, 5_000, 50_000]),
            jitter_us: rng.pick(&[0, 0, 10, 2_000, 20_000]),
            loss: rng.pick(&[0, 0, 50, 300, 1_000]),
            burst_us: rng.pick(&[0, 0, 1_000, 300_000]),
            duplicate: rng.pick(&[0, 0, 100, 1_000]),
            corrupt: rng.pick(&[0, 0, 100, 500]),
            narrow: if rng.chance(1_000) { least } else { usize::MAX },
            tells: rng.chance(5_000),
            change: rng.chance(1_000).then_some(change),
            ..Self::quiet(0)
        }
    }

    /// Whether a frame is too long for the path.
    pub(super) fn is_too_narrow(&self, frame: &[u8]) -> bool {
        frame.len() > self.narrow
    }

    /// When copies of a frame arrive that leaves at `now`, and what is left of them.
    pub(super) fn carry(
        &mut self,
        now: u64,
        frame: &[u8],
        rng: &mut Rng,
        faults: &mut Faults,
    ) -> Vec<Arrival> {
        let mut note = |what| *faults.entry(what).or_default() += 1;
        if let Some((_, delay)) = self.change.take_if(|(at, _)| *at <= now) {
            self.delay_us = delay;
            note("delays changed");
        }
        if rng.chance(self.loss) {
            self.losing_until = now + rng.below(self.burst_us + 1);
        }
        if now <= self.losing_until {
            note("lost");
            return Vec::new();
        }
        let copies = if rng.chance(self.duplicate) { 2 } else { 1 };
        if copies > 1 {
            note("doubled");
        }
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            let at = now + self.delay_us + rng.below(self.jitter_us + 1);
            if at < self.last_arrival {
                note("overtaken");
            }
            self.last_arrival = self.last_arrival.max(at);
            let mut frame = frame.to_vec();
            if rng.chance(self.corrupt) {
                note("corrupted");
                corrupt(&mut frame, rng);
            }
            arrivals.push(Arrival { at, frame });
        }
        arrivals
    }
}

/// Flips a bit of the packet or cuts its end off: what routers have done to packets. (The Ethernet header is protected by a check
/// sequence that cards look at.)
fn corrupt(frame: &mut Vec<u8>, rng: &mut Rng) {
    if rng.chance(3_000) {
        let len = rng.below(frame.len() as u64);
        frame.truncate(usize::try_from(len).unwrap_or(0));
        return;
    }
    let packet = frame.len().saturating_sub(HEADER) as u64;
    let bit = rng.below(packet * 8);
    let (at, bit) = (usize::try_from(bit / 8).unwrap_or(0), bit % 8);
    if let Some(byte) = frame.get_mut(HEADER + at) {
        *byte ^= 1 << bit;
    }
}
