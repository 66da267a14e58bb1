//! `spinlane sim --net`: whole TCP/IP stacks on a seeded wire.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, bail};
use serde::Serialize;
use spinlane_net::sim::{self, Breach, Tally, Violation};

use super::{Args, RunOne, run_seeds};

/// Violations that are told one by one.
const MAX_TOLD: usize = 10;

/// A range of seeds, once run.
#[derive(Serialize)]
struct Report {
    seeds: [u64; 2],
    failed: usize,
    /// Failed seeds by the rule that was broken; 0 for all others.
    breaches: BTreeMap<Breach, usize>,
    /// The first ones.
    failures: Vec<Failure>,
    wall_s: f64,
    /// Of the seeds that did not fail.
    tally: Tally,
}

#[derive(Serialize)]
struct Failure {
    seed: u64,
    #[serde(flatten)]
    violation: Violation,
    /// A command that shows it again.
    replay: String,
}

fn panicked(text: &'static str) -> Violation {
    Violation {
        breach: Breach::Stuck,
        text: text.to_owned(),
    }
}

/// Runs the seeds and reports.
pub(super) fn run(args: &Args, threads: usize) -> Result<()> {
    let trace = args.trace;
    let run_one =
        || -> RunOne<Tally, Violation> { Box::new(move |seed| sim::run(seed, None, trace)) };
    let start = Instant::now();
    let (tally, failures) = run_seeds(&args.seeds, threads, run_one, panicked);
    let broken = |breach| {
        failures
            .iter()
            .filter(|(_, failure)| failure.breach == breach)
            .count()
    };
    let tell = |(seed, violation): &(u64, Violation)| Failure {
        seed: *seed,
        violation: violation.clone(),
        replay: format!("spinlane sim --net --seeds {seed}..{} --trace", seed + 1),
    };
    let report = Report {
        seeds: [args.seeds.start, args.seeds.end],
        failed: failures.len(),
        breaches: Breach::ALL.map(|breach| (breach, broken(breach))).into(),
        failures: failures.iter().take(MAX_TOLD).map(tell).collect(),
        wall_s: start.elapsed().as_secs_f64(),
        tally,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    let Report {
        seeds: [from, to],
        failed,
        failures,
        ..
    } = report;
    match failures.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{failed} of {} seeds failed; see the first again with: {}",
            to - from,
            first.replay
        ),
    }
}

fn print(report: &Report) {
    let Report {
        seeds: [from, to],
        failed,
        wall_s,
        tally,
        ..
    } = report;
    println!("seeds {from}..{to}: {failed} failed, {wall_s:.1} s");
    print!("{tally}");
    let broken = report
        .breaches
        .iter()
        .map(|(breach, count)| format!("{breach:?} {count}"));
    println!("  broken    {}", broken.collect::<Vec<_>>().join(", "));
    for Failure {
        seed,
        violation,
        replay,
    } in &report.failures
    {
        println!(
            "seed {seed}: {:?}, {}\n  replay: {replay}",
            violation.breach, violation.text
        );
    }
}
