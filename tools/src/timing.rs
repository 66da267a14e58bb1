//! `spinlane timing`: a statistical search for what time tells about secrets, after Reparaz, Balasch and
//! Verbauwhede, "Dude, is my code constant time?" (2017).

mod search;
mod subject;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::search::{Measurement, Tally};
use self::subject::{Kind, Random, Subject};
use crate::measure::{Stopwatch, on_core, within};

/// Above this |t|, the authors call the difference of two means certain enough.
const THRESHOLD: f64 = 4.5;
/// Fewest measurements that are judged.
const FEWEST: u64 = 10_000;

/// Search for secrets in the time that operations take: |t| above 4.5 is a leak.
///
/// Two classes of inputs, one fixed and one random, are timed in random order on one pinned core. Welch's t says how
/// surely the means of the two classes differ. Between the measurements of a subject are those of its control, where
/// both classes are random: what the control shows as well is the search's own noise. Each t is the largest of those
/// of all times and of the times below several percentiles, since interrupts hide what is small.
///
/// With --tally, a search goes on where the last call stopped, so that it can be done in pieces. Exits with 1 if a
/// subject has a |t| above 4.5 that its control does not have.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to search [default: all].
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = subject)]
    subject: Vec<Kind>,
    /// Device that computes the operations.
    #[arg(long, value_name = "SPEC", default_value = "auto")]
    device: String,
    /// Operations per measurement: as many as the device has lanes.
    #[arg(long, value_name = "N", default_value_t = 8)]
    burst: usize,
    /// Measurements per subject, and as many of its control.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    measurements: u64,
    /// Seconds per subject, after which it stops unfinished.
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    seconds: f64,
    /// The core to pin to [default: the last one].
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Keep the times there, and add to those that are there.
    #[arg(long, value_name = "DIR")]
    tally: Option<PathBuf>,
}

/// Searches what was asked for and prints a line per subject.
///
/// # Errors
/// An argument is at fault, a device failed, or there is a leak.
pub fn run(args: &Args) -> Result<()> {
    within("--burst", args.burst, 1..=64)?;
    within("--measurements", args.measurements, 100..=1_000_000_000)?;
    within("--seconds", args.seconds, 0.0..=3600.0)?;
    let plan = args.clone();
    on_core(args.core, move |_, _| {
        println!(
            "| what is varied | device | measurements | median in ns | random less fixed in ns | abs(t) | control | control's abs(t) |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        let all = match plan.subject.as_slice() {
            [] => &Kind::ALL,
            named => named,
        };
        let mut leaks = Vec::new();
        for &kind in all {
            if let Some(leak) = search_one(&plan, kind)? {
                leaks.push(leak);
            }
        }
        ensure!(leaks.is_empty(), "{}", leaks.join("; "));
        Ok(())
    })
}

fn subject(name: &str) -> Result<Kind> {
    let all = Kind::ALL.iter();
    all.clone()
        .find(|kind| kind.name() == name)
        .copied()
        .with_context(|| {
            let names: Vec<_> = all.map(|kind| kind.name()).collect();
            format!("unknown subject; there are: {}", names.join(", "))
        })
}

/// Searches `kind` and prints its line. Returns what is to be said of a leak.
fn search_one(args: &Args, kind: Kind) -> Result<Option<String>> {
    let mut subject = kind.open(&args.device, args.burst)?;
    let device = subject.device().to_owned();
    let file = args
        .tally
        .as_ref()
        .map(|dir| dir.join(format!("{}.{device}.{}.json", kind.name(), args.burst)));
    let mut tally = file.as_deref().map_or(Ok(Tally::default()), read)?;
    let missing = args.measurements.saturating_sub(tally.count());
    let budget = Duration::from_secs_f64(args.seconds);
    tally.add(&measure(&mut *subject, missing, budget)?);
    if let Some(file) = &file {
        write(file, &tally)?;
    }
    let (test, control) = (tally.largest_t(false), tally.largest_t(true));
    println!(
        "| {} | {device} | {} | {} | {:.1} | {test:.1} | {:.1} | {control:.1} |",
        kind.name(),
        tally.count(),
        tally.median(),
        tally.difference(false),
        tally.difference(true),
    );
    let judged = tally.count() >= FEWEST;
    match kind {
        Kind::NaiveComparison if judged && test < THRESHOLD => {
            bail!(
                "the search is blind: it does not see a comparison that ends at the first difference"
            )
        }
        Kind::NaiveComparison => Ok(None),
        _ => Ok((judged && test > THRESHOLD && control <= THRESHOLD)
            .then(|| format!("a leak: {} on {device}, |t| = {test:.1}", kind.name()))),
    }
}

/// Measures the subject and its control, `count` times each or until `budget` is spent.
fn measure(subject: &mut dyn Subject, count: u64, budget: Duration) -> Result<Vec<Measurement>> {
    let mut random = Random::new();
    // So that nothing is allocated between two measurements.
    let mut measurements = Vec::with_capacity(2 * count as usize);
    let (watch, start) = (Stopwatch::new(), Instant::now());
    for index in 0..2 * count {
        if start.elapsed() >= budget {
            break;
        }
        let is_control = index % 2 == 1;
        let class = random.word() & 0x100 != 0;
        // Of a control both classes are random, by the same steps.
        let mask = std::hint::black_box(u8::from(class | is_control).wrapping_neg());
        subject.prepare(&mut random, mask)?;
        let (done, took_ns) = watch.time(|| subject.run());
        done?;
        // Asked of both, so that they differ in nothing else.
        let own = subject.class()?;
        measurements.push(Measurement {
            class: if is_control {
                class
            } else {
                own.unwrap_or(class)
            },
            is_control,
            took_ns,
        });
    }
    Ok(measurements)
}

fn read(file: &Path) -> Result<Tally> {
    if !file.exists() {
        return Ok(Tally::default());
    }
    let text = fs::read_to_string(file).with_context(|| format!("--tally {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("--tally {}", file.display()))
}

fn write(file: &Path, tally: &Tally) -> Result<()> {
    let text = serde_json::to_string(tally)?;
    fs::write(file, text).with_context(|| format!("--tally {}", file.display()))
}
