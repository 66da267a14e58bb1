//! `spinlane sim`: the real poll core, jobs and fibers under devices that fail, or (`--net`) the real TCP/IP stack on a wire that
//! loses, with virtual time. What happens follows from a seed alone, and is checked as it happens.
//!
//! # Invariants
//! - No clock, no randomness, no I/O in a world: a seed that fails once fails always.
//! - Each thread runs whole worlds; worlds share nothing.

mod net;
mod only;
mod plan;
mod question;
mod report;
mod tally;
mod vault;
mod world;

use std::ops::{AddAssign, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};
use report::Report;
use tally::{Breach, Tally, Violation};

/// Seeds that a thread takes at a time.
const SHARE: u64 = 64;

/// Simulates devices that fail, with virtual time, and checks every step.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Simulate TCP connections on a wire that loses, doubles and reorders, instead of devices.
    #[arg(long)]
    pub net: bool,
    /// Seeds, the last one excluded.
    #[arg(long, value_name = "A..B", default_value = "0..1000", value_parser = range)]
    pub seeds: Range<u64>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Print everything that happens; for few seeds.
    #[arg(long, conflicts_with = "json")]
    pub trace: bool,
    /// Threads; by default as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Switch a defect on, to see it found.
    #[cfg(feature = "seeded-defects")]
    #[arg(long, value_name = "NAME", value_parser = defect)]
    pub defect: Option<spinlane::lcore::Defect>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parts = text.split_once("..");
    let numbers = parts.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let range = numbers.filter(|range: &Range<u64>| !range.is_empty());
    range.ok_or_else(|| "not a range of seeds; write e.g. 0..1000".to_owned())
}

#[cfg(feature = "seeded-defects")]
fn defect(name: &str) -> Result<spinlane::lcore::Defect, String> {
    use spinlane::lcore::Defect;
    let names = || Defect::ALL.map(|defect| format!("{defect:?}").to_lowercase());
    let found = names().iter().position(|known| *known == name);
    found
        .map(|index| Defect::ALL[index])
        .ok_or_else(|| format!("no such defect; there are: {}", names().join(", ")))
}

/// Runs the seeds.
///
/// # Errors
/// A rule was broken; the text says how to see it again.
pub fn run(args: &Args) -> Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = match args.trace {
        true => 1,
        false => args.threads.map_or(cores, usize::from),
    };
    if args.net {
        return net::run(args, threads);
    }
    let start = Instant::now();
    let (tally, failures) = run_seeds(&args.seeds, threads, || run_one_of(args), panicked);
    let report = Report::new(&args.seeds, tally, failures, start.elapsed().as_secs_f64());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    let (failed, seeds) = report.failed();
    match report.failures.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{failed} of {seeds} seeds failed; see the first again with: {}",
            first.replay
        ),
    }
}

/// Runs one seed, to a tally or a violation.
type RunOne<T, V> = Box<dyn Fn(u64) -> Result<T, V>>;

fn panicked(text: &'static str) -> Violation {
    Violation {
        breach: Breach::Other,
        text: text.to_owned(),
    }
}

/// What runs a seed on the calling thread.
fn run_one_of(args: &Args) -> RunOne<Tally, Violation> {
    #[cfg(feature = "seeded-defects")]
    spinlane::lcore::seed_defect(args.defect);
    let trace = args.trace;
    Box::new(move |seed| world::run(seed, trace))
}

/// Runs `seeds` on so many threads. `run_one` is called once per thread; `panicked` makes the violation of a
/// seed that panicked.
fn run_seeds<T, V>(
    seeds: &Range<u64>,
    threads: usize,
    run_one: impl Fn() -> RunOne<T, V> + Sync,
    panicked: impl Fn(&'static str) -> V + Sync,
) -> (T, Vec<(u64, V)>)
where
    T: Default + for<'a> AddAssign<&'a T> + Send,
    V: Send,
{
    let next = AtomicU64::new(seeds.start);
    let work = || {
        // The devices' ups and downs are no news here.
        let _quiet = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::new());
        let run_one = run_one();
        let (mut tally, mut failures) = (T::default(), Vec::new());
        loop {
            let from = next.fetch_add(SHARE, Ordering::Relaxed);
            if from >= seeds.end {
                return (tally, failures);
            }
            for seed in from..seeds.end.min(from + SHARE) {
                match catch_unwind(AssertUnwindSafe(|| run_one(seed))) {
                    Ok(Ok(of_seed)) => tally += &of_seed,
                    Ok(Err(violation)) => failures.push((seed, violation)),
                    Err(_) => {
                        failures.push((seed, panicked("panicked; the message is above")));
                        // This thread's jobs are in an unknown state.
                        return (tally, failures);
                    }
                }
            }
        }
    };
    let (mut tally, mut failures) = (T::default(), Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            // A worker catches panics.
            if let Ok((of_worker, failed)) = worker.join() {
                tally += &of_worker;
                failures.extend(failed);
            }
        }
    });
    failures.sort_by_key(|(seed, _)| *seed);
    (tally, failures)
}

#[cfg(test)]
mod tests {
    use spinlane::lcore::{Defect, seed_defect};

    use super::*;

    fn run_all(seeds: Range<u64>, defect: Option<Defect>) -> (Tally, Vec<(u64, Violation)>) {
        let run_one = || -> RunOne<Tally, Violation> {
            seed_defect(defect);
            Box::new(|seed| world::run(seed, false))
        };
        run_seeds(&seeds, 2, run_one, panicked)
    }

    #[test]
    fn no_rule_is_broken_and_everything_happens() {
        let (tally, failures) = run_all(0..1000, None);
        assert!(failures.is_empty(), "{:#?}", failures.first());
        assert_eq!(tally.seeds, 1000);
        for (count, what) in [
            (tally.refused, "refused"),
            (tally.fallback, "fallback"),
            (tally.cancelled, "cancelled"),
            (tally.timed_out, "past their deadline"),
            (tally.stray, "strays"),
            (tally.recoveries, "recoveries"),
            (tally.abandoned, "abandoned"),
            (tally.no_jobs, "out of jobs"),
        ] {
            assert!(count > 100, "{what}: {count}");
        }
        assert!(
            tally.faults.values().all(|count| *count > 10),
            "{:?}",
            tally.faults
        );
    }

    #[test]
    fn a_seed_replays_exactly() {
        let hashes = |seeds| run_all(seeds, None).0.hash;
        for seed in 0..50 {
            assert_eq!(
                hashes(seed..seed + 1),
                hashes(seed..seed + 1),
                "seed {seed}"
            );
        }
        assert_ne!(hashes(1..2), hashes(2..3));
    }

    #[test]
    fn every_seeded_defect_is_found_within_few_seeds_and_found_again() {
        for defect in Defect::ALL {
            let (_, failures) = run_all(0..100, Some(defect));
            let (seed, violation) = failures.first().unwrap_or_else(|| panic!("{defect:?}"));
            let (_, again) = run_all(*seed..seed + 1, Some(defect));
            assert_eq!(again[0].1.text, violation.text, "{defect:?}, seed {seed}");
            let (failed, breach) = (failures.len(), violation.breach);
            println!("{defect:?}: {failed} of 100 seeds, {breach:?} in seed {seed} first");
        }
    }
}
