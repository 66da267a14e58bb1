//! What the wire does to segments of one direction.

use std::collections::BTreeMap;

use super::rng::Rng;

/// One direction of a wire.
#[derive(Debug)]
pub(super) struct Path {
    delay_us: u64,
    jitter_us: u64,
    /// Out of 10,000.
    loss: u64,
    /// A loss takes everything for so long at most.
    burst_us: u64,
    duplicate: u64,
    /// A segment with more data is lost without a word.
    black_hole: usize,
    /// When the delay changes, and to what.
    change: Option<(u64, u64)>,
    losing_until: u64,
    last_arrival: u64,
}

impl Path {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let change = (rng.below(2_000_000), rng.pick(&[50, 5_000, 200_000]));
        Self {
            delay_us: rng.pick(&[20, 500, 5_000, 50_000]),
            jitter_us: rng.pick(&[0, 0, 10, 2_000, 20_000]),
            loss: rng.pick(&[0, 0, 50, 300, 1_000]),
            burst_us: rng.pick(&[0, 0, 1_000, 300_000]),
            duplicate: rng.pick(&[0, 0, 100, 1_000]),
            black_hole: if rng.chance(500) { 600 } else { usize::MAX },
            change: rng.chance(1_000).then_some(change),
            losing_until: 0,
            last_arrival: 0,
        }
    }

    /// When copies of a segment with `data` bytes arrive that leaves at `now`.
    pub(super) fn arrivals(
        &mut self,
        now: u64,
        data: usize,
        rng: &mut Rng,
        faults: &mut BTreeMap<&'static str, u64>,
    ) -> Vec<u64> {
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
        if data > self.black_hole {
            note("in a black hole");
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
            arrivals.push(at);
        }
        arrivals
    }
}
