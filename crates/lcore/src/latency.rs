//! Latencies of ops, counted in a few instructions each.
//!
//! The buckets are those of an HdrHistogram of two significant digits: single nanoseconds below
//! 256, then 128 per power of two. Recording by the crate itself is a quarter of what a
//! completion costs, so that it only gets the sums, when somebody asks.

use hdrhistogram::Histogram;

/// Buckets per power of two.
const PER_OCTAVE: u64 = 128;
/// Longer ones count as this: a minute.
const LONGEST_NS: u64 = 60_000_000_000;
const BUCKETS: usize = bucket_of(LONGEST_NS) + 1;

/// How often each latency came.
pub(crate) struct Latencies {
    counts: Box<[u64; BUCKETS]>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
        }
    }

    /// One more op, of this latency in nanoseconds.
    #[inline]
    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.counts[bucket_of(latency_ns.min(LONGEST_NS))] += 1;
    }

    pub(crate) fn histogram(&self) -> Histogram<u64> {
        // The bounds are constants within the crate's documented range.
        let mut histogram =
            Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("constant bounds are valid");
        for (bucket, &count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count != 0)
        {
            histogram.saturating_record_n(lowest_of(bucket), count);
        }
        histogram
    }
}

/// The bucket that counts `value`.
const fn bucket_of(value: u64) -> usize {
    // Below twice the buckets of an octave, every value has one of its own.
    let shift = (value | PER_OCTAVE).ilog2() - PER_OCTAVE.ilog2();
    ((shift as u64 * PER_OCTAVE) + (value >> shift)) as usize
}

/// The lowest value that `bucket` counts.
const fn lowest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / PER_OCTAVE).saturating_sub(1);
    (bucket - shift * PER_OCTAVE) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_two_significant_digits() {
        let mut latencies = Latencies::new();
        let reference: Histogram<u64> = Latencies::new().histogram();
        let octaves = (0..36).flat_map(|octave| [1_u64 << octave, (1 << octave) + 1]);
        let values = octaves.chain([0, 3, 255, 256, 257, 1_000_003, 123_456_789, LONGEST_NS]);
        for value in values {
            let lowest = lowest_of(bucket_of(value));
            assert_eq!(lowest, reference.lowest_equivalent(value), "of {value}");
            latencies.record(value);
        }
        assert_eq!(latencies.histogram().len(), 36 * 2 + 8);
    }

    #[test]
    fn what_takes_longer_than_a_minute_counts_as_one() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX);
        let histogram = latencies.histogram();
        assert!(histogram.equivalent(histogram.max(), LONGEST_NS));
    }
}
