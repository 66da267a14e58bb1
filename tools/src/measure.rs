//! What the measuring commands share: a pinned thread, clocks, rounds that were not preempted,
//! and what is said of many figures.

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use spinlane::Lcore;
use spinlane::lcore::{Clock, TscClock};

/// Pairs tried per pair wanted, before preempted ones have to do.
const TRIES: usize = 4;

/// Runs `body` on a thread of its own, pinned to `core` (by default the last one there is, as
/// the first takes most interrupts), with an lcore. `body` is told the core.
///
/// # Errors
/// There is no such core, or what `body` fails with.
pub fn on_core<T: Send + 'static>(
    core: Option<usize>,
    body: impl Fn(usize, &Lcore) -> Result<T> + Clone + Send + 'static,
) -> Result<T> {
    let core = match core {
        Some(core) => core,
        None => {
            let usable = core_affinity::get_core_ids().unwrap_or_default();
            usable
                .last()
                .context("cannot tell which cores there are; give --core")?
                .id
        }
    };
    let launched = spinlane::launch(&[core], spinlane::Config::default(), body);
    let results = launched
        .and_then(spinlane::lcore::Launched::join)
        .context("--core")?;
    results
        .into_iter()
        .next()
        .context("the lcore returned nothing")?
}

/// CPU time of this thread in nanoseconds. A system call, so not for short sections.
pub fn thread_cpu_ns() -> Result<u64> {
    let time =
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("CLOCK_THREAD_CPUTIME_ID")?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// How often this thread has lost its core involuntarily.
pub fn preemptions() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).context("getrusage(RUSAGE_THREAD)")?;
    Ok(usage.involuntary_context_switches())
}

/// Times short sections by the TSC, which costs a fiftieth of the thread's CPU clock. What it
/// costs all the same is measured once and subtracted from every section.
pub struct Stopwatch {
    clock: TscClock,
    /// By the thread's CPU clock in place of the TSC.
    of_thread: bool,
    overhead_ns: u64,
}

impl Stopwatch {
    /// A calibrated one.
    pub fn new() -> Self {
        Self::calibrated(false)
    }

    /// One by the thread's CPU clock, which stands still while the thread is preempted; for sections
    /// of some microseconds at least, as it takes two system calls to time one.
    ///
    /// # Errors
    /// The kernel has no such clock.
    pub fn of_thread() -> Result<Self> {
        thread_cpu_ns()?;
        Ok(Self::calibrated(true))
    }

    fn calibrated(of_thread: bool) -> Self {
        let mut watch = Self {
            clock: TscClock::new(),
            of_thread,
            overhead_ns: 0,
        };
        let mut empty: Vec<u64> = (0..10_001).map(|_| watch.time(|| ()).1).collect();
        empty.sort_unstable();
        watch.overhead_ns = empty[empty.len() / 2];
        watch
    }

    /// Runs `section`; returns its value and its nanoseconds.
    #[inline]
    pub fn time<T>(&self, section: impl FnOnce() -> T) -> (T, u64) {
        let start_ns = self.now_ns();
        let value = section();
        let took_ns = self.now_ns() - start_ns;
        (value, took_ns.saturating_sub(self.overhead_ns))
    }

    /// Nanoseconds subtracted from each section.
    pub fn overhead_ns(&self) -> u64 {
        self.overhead_ns
    }

    /// Nanoseconds since some fixed point.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        if self.of_thread {
            thread_cpu_ns().expect("it has been read before")
        } else {
            self.clock.now_ns()
        }
    }
}

/// Pairs of rounds, one of each side.
pub struct Pairs<T> {
    /// Those to be used: without a preemption, or, if there was none of these, all.
    pub kept: Vec<T>,
    /// Pairs thrown away because the thread was preempted.
    pub thrown_away: usize,
    /// No pair was without a preemption, so those kept are not either.
    pub preempted: bool,
}

/// Calls `pair` until `wanted` calls went by without a preemption, at most four times as often.
/// `pair` is told which number it has, so that the sides can take turns in going first.
///
/// # Errors
/// What `pair` fails with.
pub fn pairs<T>(wanted: usize, pair: impl FnMut(usize) -> Result<T>) -> Result<Pairs<T>> {
    pairs_by(wanted, pair, preemptions)
}

/// The same with another count of preemptions.
fn pairs_by<T>(
    wanted: usize,
    mut pair: impl FnMut(usize) -> Result<T>,
    mut preemptions: impl FnMut() -> Result<i64>,
) -> Result<Pairs<T>> {
    let (mut clean, mut preempted) = (Vec::new(), Vec::new());
    for number in 0..wanted * TRIES {
        let before = preemptions()?;
        let result = pair(number)?;
        if preemptions()? == before {
            clean.push(result);
        } else {
            preempted.push(result);
        }
        if clean.len() == wanted {
            break;
        }
    }
    if clean.is_empty() {
        return Ok(Pairs {
            kept: preempted,
            thrown_away: 0,
            preempted: true,
        });
    }
    Ok(Pairs {
        kept: clean,
        thrown_away: preempted.len(),
        preempted: false,
    })
}

/// How far apart some figures lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    ///
    /// # Errors
    /// There is none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Result<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            bail!("nothing was measured; ask for at least one round");
        };
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Ok(Self { median, min, max })
    }
}

/// A histogram of nanoseconds up to a minute, with three significant digits.
///
/// # Errors
/// None in practice: the bounds are constants in hdrhistogram's range.
pub fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).context("bounds of a histogram")
}

/// The `percent`th percentile of nanoseconds, in microseconds.
pub fn percentile_us(histogram: &Histogram<u64>, percent: f64) -> f64 {
    histogram.value_at_percentile(percent) as f64 / 1e3
}

/// Checks that `value`, given by `argument`, is within `range`.
///
/// # Errors
/// It is not; the text says so.
pub fn within<T: PartialOrd + std::fmt::Display>(
    argument: &str,
    value: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<()> {
    let (low, high) = (range.start(), range.end());
    ensure!(
        range.contains(&value),
        "{argument} {value} is out of range; give {low} to {high}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn spread_of_odd_even_and_none() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(
            spread(&[3.0, 1.0, 2.0]).unwrap(),
            Spread {
                median: 2.0,
                min: 1.0,
                max: 3.0
            }
        );
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert!(
            spread(&[])
                .unwrap_err()
                .to_string()
                .contains("at least one round")
        );
    }

    /// Pairs of which those with an odd number are preempted, or all.
    fn pairs_on_a_busy_core(wanted: usize, all: bool) -> Pairs<usize> {
        let count = Cell::new(0);
        let pair = |number| {
            count.set(count.get() + i64::from(all || number % 2 == 1));
            Ok(number)
        };
        pairs_by(wanted, pair, || Ok(count.get())).unwrap()
    }

    #[test]
    fn preempted_pairs_are_thrown_away_and_made_up_for() {
        let pairs = pairs_on_a_busy_core(3, false);
        assert_eq!(pairs.kept, [0, 2, 4]);
        assert_eq!((pairs.thrown_away, pairs.preempted), (2, false));
    }

    #[test]
    fn where_every_pair_is_preempted_they_have_to_do() {
        let pairs = pairs_on_a_busy_core(2, true);
        assert_eq!(pairs.kept.len(), 2 * TRIES);
        assert_eq!((pairs.thrown_away, pairs.preempted), (0, true));
    }

    #[test]
    fn the_kernel_counts_preemptions_upwards() {
        let before = preemptions().unwrap();
        assert!(before >= 0 && preemptions().unwrap() >= before);
    }

    #[test]
    fn a_failing_pair_ends_the_rounds() {
        assert!(pairs(3, |_| -> Result<()> { bail!("broken") }).is_err());
    }

    #[test]
    fn the_stopwatch_subtracts_its_own_cost() {
        let watch = Stopwatch::new();
        let ((), slept_ns) = watch.time(|| std::thread::sleep(std::time::Duration::from_millis(2)));
        assert!(
            slept_ns >= 1_900_000 && watch.overhead_ns() < 1_000_000,
            "{slept_ns}"
        );
    }

    #[test]
    fn the_threads_stopwatch_stands_still_meanwhile() {
        let watch = Stopwatch::of_thread().unwrap();
        let ((), slept_ns) =
            watch.time(|| std::thread::sleep(std::time::Duration::from_millis(20)));
        assert!(slept_ns < 15_000_000, "{slept_ns}");
    }

    #[test]
    fn the_cpu_clock_counts_work_only() {
        let start_ns = thread_cpu_ns().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(thread_cpu_ns().unwrap() - start_ns < 15_000_000);
    }

    #[test]
    fn a_core_that_does_not_exist_is_named() {
        let error = on_core(Some(4095), |_, _| Ok(())).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("--core") && text.contains("4095"), "{text}");
    }

    #[test]
    fn out_of_range_is_named() {
        assert!(within("--rounds", 3, 1..=5).is_ok());
        assert!(
            within("--rounds", 0, 1..=5)
                .unwrap_err()
                .to_string()
                .contains("--rounds 0")
        );
    }
}
