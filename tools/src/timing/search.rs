//! Times of two classes, and how surely their means differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Shares of the times that are looked at, from the shortest on.
const CROPS: [f64; 8] = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];

/// One time.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// Whether the input was of the random class.
    pub class: bool,
    /// Whether nothing was varied, whatever the class.
    pub is_control: bool,
    /// The time in nanoseconds.
    pub took_ns: u64,
}

/// How often each time was measured. Nothing is rounded: pieces of a search add up to the whole.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// By nanoseconds: of the subject's two classes, then of the control's.
    counts: BTreeMap<u64, [u64; 4]>,
}

impl Tally {
    /// Adds `measurements`.
    pub fn add(&mut self, measurements: &[Measurement]) {
        for measurement in measurements {
            let place = usize::from(measurement.class) + 2 * usize::from(measurement.is_control);
            self.counts.entry(measurement.took_ns).or_default()[place] += 1;
        }
    }

    /// Returns the measurements of the subject or of its control, whichever has fewer.
    pub fn count(&self) -> u64 {
        let of = |is_control| {
            self.classes(is_control)
                .map(|(_, [a, b])| a + b)
                .sum::<u64>()
        };
        of(false).min(of(true))
    }

    /// Returns the subject's median in nanoseconds; 0 if it is empty.
    pub fn median(&self) -> u64 {
        self.limit(false, 0.5)
    }

    /// Returns the largest |t| of the subject or of its control, 0 if there are too few times to tell.
    pub fn largest_t(&self, is_control: bool) -> f64 {
        let of_crop = |crop| {
            let limit = self.limit(is_control, crop);
            welch(self.classes(is_control).filter(|&(ns, _)| ns <= limit)).abs()
        };
        CROPS.into_iter().map(of_crop).fold(0.0, f64::max)
    }

    /// Returns by how many nanoseconds the random class's mean exceeds the fixed one's, the slowest tenth left out.
    pub fn difference(&self, is_control: bool) -> f64 {
        let limit = self.limit(is_control, 0.9);
        let within = self.classes(is_control).filter(|&(ns, _)| ns <= limit);
        let [fixed, random] = moments(within);
        random.mean - fixed.mean
    }

    fn classes(&self, is_control: bool) -> impl Iterator<Item = (u64, [u64; 2])> + Clone {
        self.counts
            .iter()
            .map(move |(&ns, &[a, b, c, d])| (ns, if is_control { [c, d] } else { [a, b] }))
    }

    /// Returns the time that `share` of the times do not exceed.
    fn limit(&self, is_control: bool, share: f64) -> u64 {
        let classes = self.classes(is_control);
        let count: u64 = classes.clone().map(|(_, [a, b])| a + b).sum();
        let mut wanted = (count as f64 * share).ceil() as u64;
        for (ns, [a, b]) in classes {
            wanted = wanted.saturating_sub(a + b);
            if wanted == 0 {
                return ns;
            }
        }
        0
    }
}

/// Mean of a class, and the square of its standard error.
struct Moments {
    mean: f64,
    error: f64,
}

fn moments(times: impl Iterator<Item = (u64, [u64; 2])> + Clone) -> [Moments; 2] {
    [0, 1].map(|class| {
        let of_class = times.clone();
        let of_class = of_class.map(move |(ns, counts)| (ns as f64, counts[class] as f64));
        let count: f64 = of_class.clone().map(|(_, count)| count).sum();
        let mean = of_class.clone().map(|(ns, count)| ns * count).sum::<f64>() / count;
        let squares: f64 = of_class
            .map(|(ns, count)| count * (ns - mean).powi(2))
            .sum();
        Moments {
            mean,
            error: squares / (count - 1.0) / count,
        }
    })
}

/// Computes Welch's t of two classes; 0 if one has fewer than two times, or if no time differs.
fn welch(times: impl Iterator<Item = (u64, [u64; 2])> + Clone) -> f64 {
    let [a, b] = moments(times);
    let t = (a.mean - b.mean) / (a.error + b.error).sqrt();
    if t.is_finite() { t } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(is_control: bool, class: bool, all: &[u64]) -> Vec<Measurement> {
        let measurement = |&took_ns| Measurement {
            class,
            is_control,
            took_ns,
        };
        all.iter().map(measurement).collect()
    }

    /// By hand: means 2 and 5, variances 1 and 1 over three times each: t = -3 / sqrt(2/3).
    #[test]
    fn t_is_welchs() {
        let mut tally = Tally::default();
        tally.add(&times(false, false, &[1, 2, 3]));
        tally.add(&times(false, true, &[4, 5, 6]));
        assert!((welch(tally.classes(false)) + 3.674_234_6).abs() < 1e-6);
        assert_eq!(tally.largest_t(true), 0.0);
        assert_eq!(tally.median(), 3);
    }

    #[test]
    fn a_difference_below_an_interrupt_is_found() {
        let mut tally = Tally::default();
        for (class, base) in [(false, 100), (true, 101)] {
            let mut all: Vec<u64> = (0..1000).map(|i| base + i % 3).collect();
            all.extend((0..20).map(|i| 1_000_000 * (1 + (i * 7 + base) % 11)));
            tally.add(&times(false, class, &all));
            tally.add(&times(true, class, &vec![100; 1000]));
        }
        assert!(welch(tally.classes(false)).abs() < 2.0);
        assert!(tally.largest_t(false) > 10.0);
        assert_eq!(tally.largest_t(true), 0.0);
    }

    #[test]
    fn pieces_add_up_to_the_whole() {
        let of = |range: std::ops::Range<u64>| -> Vec<Measurement> {
            let one = |i: u64| Measurement {
                class: i.is_multiple_of(3),
                is_control: i.is_multiple_of(5),
                took_ns: i * i % 97,
            };
            range.map(one).collect()
        };
        let (mut pieces, mut whole) = (Tally::default(), Tally::default());
        pieces.add(&of(0..300));
        let text = serde_json::to_string(&pieces).unwrap();
        let mut pieces: Tally = serde_json::from_str(&text).unwrap();
        pieces.add(&of(300..1000));
        whole.add(&of(0..1000));
        assert_eq!(pieces.counts, whole.counts);
        assert_eq!(pieces.count(), 200);
        assert!(pieces.largest_t(false) > 0.0);
    }
}
