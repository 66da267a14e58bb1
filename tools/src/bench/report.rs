//! What a run of `spinlane bench handshake` came to.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;
use spinlane::lcore::Stats;

use super::handshake::{Args, FrontEnd, Group, Suite, Version};
use super::pipeline::Round;
use crate::measure::{Spread, histogram, percentile_us};
use spinlane_proxy::tls::KeyKind;

/// What the pinned thread found out.
pub struct Measured {
    /// The core it was pinned to.
    pub core: usize,
    /// Names of those we are compared with.
    pub baselines: Vec<String>,
    /// Rounds that count: ours, then each baseline's.
    pub rounds: Vec<Vec<Round>>,
    /// Sets of rounds that do not.
    pub thrown_away: usize,
    /// The rounds that count were preempted, as all were.
    pub preempted: bool,
    /// Name of the device.
    pub device: String,
    /// The lcore's counters.
    pub stats: Stats,
    /// What the stopwatch subtracted from each section.
    pub overhead_ns: u64,
}

/// One run.
#[derive(Debug, Serialize)]
pub struct Report {
    tls: FrontEnd,
    protocol: Version,
    cert: KeyKind,
    group: Group,
    suite: Suite,
    resume: bool,
    connections: usize,
    burst: usize,
    device: String,
    tickets: usize,
    pub core: usize,
    /// Rounds of each side that count.
    rounds: usize,
    handshakes_per_round: usize,
    /// Those thrown away because the thread was preempted.
    rounds_thrown_away: usize,
    /// No round was free of preemption; the figures are of preempted ones.
    pub preempted: bool,
    /// Median over the rounds.
    handshakes_per_s: f64,
    /// Of the fastest round, which a noisy machine disturbs least.
    best_handshakes_per_s: f64,
    /// Server time per handshake.
    server_us_p50: f64,
    server_us_p99: f64,
    baselines: Vec<Baseline>,
    /// Mean number of lanes filled; none if there was no batch.
    batch_fill_mean: Option<f64>,
    #[serde(flatten)]
    counters: Counters,
    clock: &'static str,
    clock_overhead_ns: u64,
}

/// A stock library, and how we compare with it.
#[derive(Debug, Serialize)]
struct Baseline {
    name: String,
    handshakes_per_s: f64,
    best_handshakes_per_s: f64,
    server_us_p50: f64,
    server_us_p99: f64,
    /// Our rate over its rate, round by round.
    ratio_median: f64,
    ratio_min: f64,
    ratio_max: f64,
    ratio_of_best: f64,
    /// Our time over its time.
    p50_ratio: f64,
    p99_ratio: f64,
}

/// What the lcore and its device counted, the warm-up included.
#[derive(Debug, Default, Serialize)]
struct Counters {
    ops_enqueued: u64,
    /// Most ops with the device at once: how many handshakes really ran side by side.
    ops_in_flight_peak: usize,
    ops_failed: u64,
    ops_refused: u64,
    /// Ops of a batching device that ran one at a time, too few being there.
    ops_scalar: u64,
    /// Ops that were not offloaded although they could have been.
    ops_inline: u64,
    batches: u64,
    idle_flushes: u64,
    callbacks: u64,
}

/// Rounds of one side added up.
struct Side {
    rates: Vec<f64>,
    each_ns: Histogram<u64>,
}

impl Report {
    /// The report of a run with these arguments.
    ///
    /// # Errors
    /// There was no round, or no op reached the device.
    pub fn of(args: &Args, measured: &Measured) -> Result<Self> {
        let side = |index| Side::of(measured.rounds.iter().filter_map(|set| set.get(index)));
        let ours = side(0)?;
        let baselines = measured.baselines.iter().enumerate();
        let baselines = baselines
            .map(|(index, name)| Baseline::of(name, &ours, &side(index + 1)?))
            .collect::<Result<_>>()?;
        let counters = Counters::of(&measured.stats);
        ensure!(
            counters.ops_enqueued != 0,
            "no op ever reached device {}; nothing was offloaded",
            measured.device
        );
        let rate = ours.rate()?;
        Ok(Self {
            tls: args.tls,
            protocol: args.protocol,
            cert: args.cert,
            group: args.group,
            suite: args.preferred(),
            resume: args.resume,
            connections: args.connections,
            burst: args.burst(),
            device: measured.device.clone(),
            tickets: args.tickets,
            core: measured.core,
            rounds: measured.rounds.len(),
            handshakes_per_round: args.handshakes,
            rounds_thrown_away: measured.thrown_away,
            preempted: measured.preempted,
            handshakes_per_s: rate.median,
            best_handshakes_per_s: rate.max,
            server_us_p50: ours.us(50.0),
            server_us_p99: ours.us(99.0),
            baselines,
            batch_fill_mean: measured
                .stats
                .channels
                .first()
                .and_then(|channel| channel.batch_fill_mean()),
            counters,
            clock: "tsc",
            clock_overhead_ns: measured.overhead_ns,
        })
    }

    /// Prints it for people.
    pub fn print(&self) {
        let name = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
        println!(
            "{}{}, {} certificate, {}, {}, {} connections, device {}, core {}: {} rounds of {} handshakes, {} thrown away (preempted)",
            self.protocol.name(),
            if self.resume { " resumed" } else { "" },
            name(&self.cert),
            name(&self.group),
            name(&self.suite),
            self.connections,
            self.device,
            self.core,
            self.rounds,
            self.handshakes_per_round,
            self.rounds_thrown_away,
        );
        let row = |what: &str, rate: f64, p50: f64, p99: f64| {
            println!("{what:<44} {rate:>9.0} {p50:>9.1} {p99:>9.1}")
        };
        println!(
            "{:<44} {:>9} {:>9} {:>9}",
            "server's CPU time only", "hs/s", "p50 us", "p99 us"
        );
        row(
            &format!("spinlane, {}", name(&self.tls)),
            self.handshakes_per_s,
            self.server_us_p50,
            self.server_us_p99,
        );
        for baseline in &self.baselines {
            row(
                &baseline.name,
                baseline.handshakes_per_s,
                baseline.server_us_p50,
                baseline.server_us_p99,
            );
        }
        for baseline in &self.baselines {
            println!(
                "ratio to {}: {:.2} ({:.2} to {:.2}), of the best rounds {:.2}, of p50 {:.2}, of p99 {:.2}",
                baseline.name,
                baseline.ratio_median,
                baseline.ratio_min,
                baseline.ratio_max,
                baseline.ratio_of_best,
                baseline.p50_ratio,
                baseline.p99_ratio,
            );
        }
        println!(
            "batch fill {}; burst {}, ops in flight at most {}",
            self.batch_fill_mean
                .map_or("none".to_owned(), |fill| format!("{fill:.2}")),
            self.burst,
            self.counters.ops_in_flight_peak,
        );
    }
}

impl Baseline {
    fn of(name: &str, ours: &Side, theirs: &Side) -> Result<Self> {
        let rates = ours.rates.iter().zip(&theirs.rates);
        let ratio = Spread::of(rates.map(|(ours, theirs)| ours / theirs))?;
        let rate = theirs.rate()?;
        Ok(Self {
            name: name.to_owned(),
            handshakes_per_s: rate.median,
            best_handshakes_per_s: rate.max,
            server_us_p50: theirs.us(50.0),
            server_us_p99: theirs.us(99.0),
            ratio_median: ratio.median,
            ratio_min: ratio.min,
            ratio_max: ratio.max,
            ratio_of_best: ours.rate()?.max / rate.max,
            p50_ratio: ours.us(50.0) / theirs.us(50.0),
            p99_ratio: ours.us(99.0) / theirs.us(99.0),
        })
    }
}

impl Side {
    fn of<'a>(rounds: impl Iterator<Item = &'a Round>) -> Result<Self> {
        let mut side = Self {
            rates: Vec::new(),
            each_ns: histogram()?,
        };
        for round in rounds {
            side.rates.push(round.rate());
            side.each_ns.add(&round.each_ns)?;
        }
        Ok(side)
    }

    fn rate(&self) -> Result<Spread> {
        Spread::of(self.rates.iter().copied())
    }

    /// This percentile of the server's time per handshake, in microseconds.
    fn us(&self, percent: f64) -> f64 {
        percentile_us(&self.each_ns, percent)
    }
}

impl Counters {
    fn of(stats: &Stats) -> Self {
        let mut counters = Self {
            ops_inline: stats.inline_ops + stats.unrouted_ops,
            callbacks: stats.callbacks,
            ..Self::default()
        };
        for channel in &stats.channels {
            counters.ops_enqueued += channel.counts.enqueued;
            counters.ops_in_flight_peak = counters.ops_in_flight_peak.max(channel.in_flight_peak);
            counters.ops_failed += channel.counts.failed;
            counters.ops_refused += channel.counts.refused;
            counters.ops_scalar += channel.device_stats.scalar;
            counters.batches += channel.device_stats.batches;
            counters.idle_flushes += channel.idle_flushes;
        }
        counters
    }
}
