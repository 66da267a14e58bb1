//! Numbers that look random and follow from a seed.

use crate::config::Chance;

/// SplitMix64 (Steele, Lea, Flood 2014): the same on every machine. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// 2^64 divided by the golden ratio, odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another stream, by `number`; this one goes on as if nothing had been asked.
    #[must_use]
    pub fn fork(&self, number: u64) -> Self {
        Self(mix(self.0 ^ mix(number.wrapping_add(1).wrapping_mul(GAMMA))))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// 0 to `bound` - 1; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Whether it happens this time.
    pub fn chance(&mut self, chance: Chance) -> bool {
        // Drawn whatever the chance is: a fault switched off leaves the others as they are.
        self.below(Chance::PARTS) < chance.parts()
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // The first outputs for seed 0 of the authors' code.
        let mut rng = Rng::new(0);
        assert_eq!(
            [rng.bits(), rng.bits(), rng.bits()],
            [
                0xe220_a839_7b1d_cdaf,
                0x6e78_9e6a_a1b9_65f4,
                0x06c4_5d18_8009_454f
            ]
        );
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut rng = Rng::new(1);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[rng.below(7) as usize] = true;
            assert!((3..=5).contains(&rng.between(3, 5)));
        }
        assert_eq!((seen, rng.below(0)), ([true; 7], 0));
    }

    #[test]
    fn chances_are_as_often_as_they_say() {
        let mut rng = Rng::new(2);
        let mut count = |chance| (0..100_000).filter(|_| rng.chance(chance)).count();
        assert_eq!((count(Chance::NEVER), count(Chance::ALWAYS)), (0, 100_000));
        let tenth = count(Chance::percent(10));
        assert!((9_500..10_500).contains(&tenth), "{tenth}");
    }

    #[test]
    fn forks_differ_from_each_other_and_from_their_origin() {
        let mut streams = [Rng::new(3), Rng::new(3).fork(0), Rng::new(3).fork(1)];
        let first = streams.each_mut().map(Rng::bits);
        assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    }
}
