//! So many answers to strangers per second.

use spinlane_tcp::Instant;

/// A bucket of permits, filled at a steady rate.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    per_second: u32,
    permits: u32,
    filled: Instant,
}

impl Limiter {
    /// Allows `per_second` in any second, and as many at once.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            permits: per_second,
            filled: Instant::default(),
        }
    }

    /// Takes a permit. Returns `false` if there is none.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let rate = u64::from(self.per_second);
        let passed = now.micros().saturating_sub(self.filled.micros());
        // A quotient beyond the bucket's size is worth no more than the bucket.
        let new = (u128::from(passed) * u128::from(rate) / 1_000_000).min(rate.into());
        if let Ok(new @ 1..) = u32::try_from(new) {
            self.permits = (self.permits + new).min(self.per_second);
            self.filled = now;
        }
        let allowed = self.permits > 0;
        self.permits -= u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_twice_the_rate_and_a_long_one_has_the_rate() {
        let mut limiter = Limiter::new(100);
        let mut allowed = 0;
        for micros in (5_000_000..15_000_000_u64).step_by(100) {
            allowed += u32::from(limiter.allow(Instant::from_micros(micros)));
        }
        assert!((1000..=1100).contains(&allowed), "{allowed}");
        let burst = (0..500).filter(|_| limiter.allow(Instant::from_micros(u64::MAX / 2)));
        assert_eq!(burst.count(), 100);
    }
}
