//! What is printed in the end, as text or JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::tally::{Breach, Tally, Violation};

/// Violations that are told one by one.
const MAX_TOLD: usize = 10;

/// A seed that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    seed: u64,
    breach: Breach,
    text: String,
    /// A command that shows it again.
    pub replay: String,
}

/// A range of seeds, once run.
#[derive(Debug, Serialize)]
pub struct Report {
    seeds: [u64; 2],
    failed: usize,
    /// Failed seeds by the rule that was broken first; 0 for all others.
    breaches: BTreeMap<Breach, usize>,
    /// The first ones.
    pub failures: Vec<Failure>,
    wall_s: f64,
    ops_per_s: f64,
    /// Of the seeds that did not fail.
    tally: Tally,
}

impl Report {
    /// What `seeds` led to in `wall_s` seconds.
    pub fn new(
        seeds: &Range<u64>,
        tally: Tally,
        failures: Vec<(u64, Violation)>,
        wall_s: f64,
    ) -> Self {
        let mut breaches: BTreeMap<_, _> =
            Breach::ALL.into_iter().map(|breach| (breach, 0)).collect();
        for (_, violation) in &failures {
            *breaches.entry(violation.breach).or_default() += 1;
        }
        let failed = failures.len();
        let tell = |(seed, violation): (u64, Violation)| Failure {
            seed,
            breach: violation.breach,
            text: violation.text,
            replay: format!("spinlane sim --seeds {seed}..{} --trace", seed + 1),
        };
        Self {
            seeds: [seeds.start, seeds.end],
            failed,
            breaches,
            failures: failures.into_iter().take(MAX_TOLD).map(tell).collect(),
            wall_s,
            ops_per_s: tally.ops as f64 / wall_s,
            tally,
        }
    }

    /// Seeds that failed, and of how many.
    pub fn failed(&self) -> (usize, u64) {
        let [from, to] = self.seeds;
        (self.failed, to - from)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seeds: [from, to],
            failed,
            wall_s,
            ops_per_s,
            ..
        } = self;
        writeln!(
            f,
            "seeds {from}..{to}: {failed} failed, {wall_s:.1} s, {ops_per_s:.0} ops/s"
        )?;
        write!(f, "{}", self.tally)?;
        let broken: Vec<_> = self
            .breaches
            .iter()
            .map(|(breach, count)| format!("{breach:?} {count}"))
            .collect();
        writeln!(f, "  broken    {}", broken.join(", "))?;
        for failure in &self.failures {
            let Failure {
                seed,
                breach,
                text,
                replay,
            } = failure;
            writeln!(f, "seed {seed}: {breach:?}, {text}\n  replay: {replay}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  jobs      {}, closed {}, freed while paused {}",
            self.jobs, self.closed, self.abandoned
        )?;
        writeln!(
            f,
            "  attempts  {} accepted, {} refused; {} callbacks",
            self.accepted, self.refused, self.callbacks
        )?;
        writeln!(
            f,
            "  records   {}\n  ops       {} completed, {} fallback, {} cancelled; {} past their deadline, \
             {} errors, {} strays dropped",
            self.records,
            self.completed,
            self.fallback,
            self.cancelled,
            self.timed_out,
            self.errors,
            self.stray
        )?;
        writeln!(
            f,
            "  devices   {} failures, {} recoveries",
            self.failures, self.recoveries
        )?;
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(f, "  faults    {}", faults.join(", "))
    }
}
