//! What a run of `spinlane bench handshake` came to.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;
use spinlane::lcore::Stats;

use super::certificate::Kind;
use super::handshake::{Args, Tls, Version};
use super::pipeline::Round;
use crate::measure::{Spread, histogram, percentile_us};

/// What the pinned thread found out.
pub struct Measured {
    /// The core it was pinned to.
    pub core: usize,
    /// Rounds that count: ours, the baseline's.
    pub pairs: Vec<(Round, Round)>,
    /// Pairs that do not.
    pub thrown_away: usize,
    /// The pairs that count were preempted, as all were.
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
    tls: Tls,
    protocol: Version,
    cert: Kind,
    connections: usize,
    burst: usize,
    device: String,
    tickets: usize,
    pub core: usize,
    /// Pairs of rounds that count.
    rounds: usize,
    handshakes_per_round: usize,
    /// Pairs thrown away because the thread was preempted.
    rounds_thrown_away: usize,
    /// No pair was free of preemption; the figures are of preempted ones.
    pub preempted: bool,
    /// Median over the rounds.
    handshakes_per_s: f64,
    baseline: String,
    baseline_handshakes_per_s: f64,
    ratio_median: f64,
    ratio_min: f64,
    ratio_max: f64,
    /// Of the fastest round of each side, which a noisy machine disturbs least.
    best_handshakes_per_s: f64,
    baseline_best_handshakes_per_s: f64,
    ratio_of_best: f64,
    /// Server time per handshake.
    server_us_p50: f64,
    server_us_p99: f64,
    baseline_server_us_p50: f64,
    baseline_server_us_p99: f64,
    p50_ratio: f64,
    p99_ratio: f64,
    /// Mean number of lanes filled; none if there was no batch.
    batch_fill_mean: Option<f64>,
    #[serde(flatten)]
    counters: Counters,
    clock: &'static str,
    clock_overhead_ns: u64,
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
        let ours = Side::of(measured.pairs.iter().map(|(ours, _)| ours))?;
        let theirs = Side::of(measured.pairs.iter().map(|(_, theirs)| theirs))?;
        let ratio = Spread::of(
            ours.rates
                .iter()
                .zip(&theirs.rates)
                .map(|(ours, theirs)| ours / theirs),
        )?;
        let counters = Counters::of(&measured.stats);
        ensure!(
            counters.ops_enqueued != 0,
            "no op ever reached device {}; nothing was offloaded",
            measured.device
        );
        let (our_rate, their_rate) = (ours.rate()?, theirs.rate()?);
        let us = |side: &Side, percent| percentile_us(&side.each_ns, percent);
        Ok(Self {
            tls: args.tls,
            protocol: args.protocol,
            cert: args.cert,
            connections: args.connections,
            burst: args.burst(),
            device: measured.device.clone(),
            tickets: args.tickets,
            core: measured.core,
            rounds: measured.pairs.len(),
            handshakes_per_round: args.handshakes,
            rounds_thrown_away: measured.thrown_away,
            preempted: measured.preempted,
            handshakes_per_s: our_rate.median,
            baseline: format!("{}, synchronous", openssl::version::version()),
            baseline_handshakes_per_s: their_rate.median,
            ratio_median: ratio.median,
            ratio_min: ratio.min,
            ratio_max: ratio.max,
            best_handshakes_per_s: our_rate.max,
            baseline_best_handshakes_per_s: their_rate.max,
            ratio_of_best: our_rate.max / their_rate.max,
            server_us_p50: us(&ours, 50.0),
            server_us_p99: us(&ours, 99.0),
            baseline_server_us_p50: us(&theirs, 50.0),
            baseline_server_us_p99: us(&theirs, 99.0),
            p50_ratio: us(&ours, 50.0) / us(&theirs, 50.0),
            p99_ratio: us(&ours, 99.0) / us(&theirs, 99.0),
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
            "{}, {} certificate, {} connections, device {}, core {}: {} rounds of {} handshakes, {} thrown away (preempted)",
            self.protocol.name(),
            name(&self.cert),
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
            "spinlane",
            self.handshakes_per_s,
            self.server_us_p50,
            self.server_us_p99,
        );
        row(
            &self.baseline,
            self.baseline_handshakes_per_s,
            self.baseline_server_us_p50,
            self.baseline_server_us_p99,
        );
        println!(
            "ratio {:.2} ({:.2} to {:.2}), of the best rounds {:.2}, of p50 {:.2}, of p99 {:.2}; batch fill {}; burst {}, ops in flight at most {}",
            self.ratio_median,
            self.ratio_min,
            self.ratio_max,
            self.ratio_of_best,
            self.p50_ratio,
            self.p99_ratio,
            self.batch_fill_mean
                .map_or("none".to_owned(), |fill| format!("{fill:.2}")),
            self.burst,
            self.counters.ops_in_flight_peak,
        );
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
