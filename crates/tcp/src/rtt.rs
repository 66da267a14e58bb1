//! Round-trip times and the retransmission time-out (RFC 6298).

use core::time::Duration;

/// The time-out before there is a sample (RFC 6298, section 2.1).
const INITIAL: Duration = Duration::from_secs(1);
/// Linux's floor in place of RFC 6298's second, which would stall a connection for thousands of
/// round trips.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(60);

/// Smoothed round-trip time, in microseconds, and its variation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    smoothed: u32,
    variation: u32,
    /// Least that was ever measured; 0 before the first sample.
    least: u32,
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

impl Rtt {
    /// Takes a sample of a segment that was sent once (Karn's algorithm; RFC 6298, section 3).
    pub(crate) fn sample(&mut self, time: Duration) {
        let sample = micros(time).max(1);
        if self.smoothed == 0 {
            (self.smoothed, self.variation) = (sample, sample / 2);
            self.least = sample;
            return;
        }
        let mean = |old: u32, weight: u64, new: u32| {
            let sum = u64::from(old) * (weight - 1) + u64::from(new);
            u32::try_from(sum / weight).unwrap_or(u32::MAX)
        };
        self.variation = mean(self.variation, 4, self.smoothed.abs_diff(sample));
        self.smoothed = mean(self.smoothed, 8, sample).max(1);
        self.least = self.least.min(sample);
    }

    pub(crate) fn smoothed(&self) -> Option<Duration> {
        (self.smoothed != 0).then(|| Duration::from_micros(self.smoothed.into()))
    }

    pub(crate) fn least(&self) -> Duration {
        Duration::from_micros(self.least.into())
    }

    /// Returns the retransmission time-out, doubled `backoff` times.
    pub(crate) fn timeout(&self, backoff: u8) -> Duration {
        let once = match self.smoothed() {
            None => INITIAL,
            Some(smoothed) => smoothed + Duration::from_micros(4 * u64::from(self.variation)),
        };
        (once.max(LEAST) * (1 << backoff.min(9))).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// RFC 9293, MUST-18 and MUST-19; RFC 6298, section 2.
    #[test]
    fn the_time_out_follows_the_samples_within_bounds() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(0), Duration::from_secs(1));
        rtt.sample(ms(100));
        assert_eq!(rtt.timeout(0), ms(300));
        for _ in 0..100 {
            rtt.sample(ms(100));
        }
        assert_eq!(rtt.timeout(0), LEAST);
        for _ in 0..100 {
            rtt.sample(ms(300));
        }
        assert!(rtt.timeout(0) >= ms(300) && rtt.timeout(0) < ms(320));
        assert_eq!(rtt.least(), ms(100));
        assert_eq!(rtt.timeout(200), MOST);
    }

    /// RFC 9293, MUST-20: each time-out doubles the next.
    #[test]
    fn the_time_out_backs_off_exponentially() {
        let mut rtt = Rtt::default();
        rtt.sample(ms(100));
        assert_eq!(rtt.timeout(1), ms(600));
        assert_eq!(rtt.timeout(3), ms(2400));
    }
}
