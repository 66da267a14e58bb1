//! What a run of `spinlane bench arrivals` came to.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;
use spinlane::cryptodev::DeviceStats;
use spinlane::lcore::Stats;

use super::{Args, Capacity, Load, Side};
use crate::bench::pipeline::open_loop::OpenLoop;
use crate::measure::{Pairs, histogram, percentile_us};

/// One run.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub arguments: Arguments,
    pub core: usize,
    pub device: String,
    pub capacity: Capacity,
    pub loads: Vec<LoadReport>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub struct Arguments {
    of: Side,
    seed: u64,
    connections: usize,
    handshakes_per_round: usize,
}

impl From<&Args> for Arguments {
    fn from(args: &Args) -> Self {
        Self {
            of: args.of,
            seed: args.seed,
            connections: args.handshake.connections,
            handshakes_per_round: args.handshake.handshakes,
        }
    }
}

/// One load.
#[derive(Debug, Serialize)]
pub struct LoadReport {
    /// Of the capacity that was asked for.
    load_percent: u32,
    offered_per_s: f64,
    /// Of what synchronous OpenSSL can do. From 100 on its queue grows for ever.
    percent_of_openssl: f64,
    spinlane: SideReport,
    openssl: SideReport,
    p50_ratio: f64,
    p99_ratio: f64,
    /// Mean number of lanes filled per batch; none if there was no batch.
    batch_fill_mean: Option<f64>,
    /// Share of ops that ran one at a time, as too few were there for a batch.
    scalar_share: f64,
    rounds: usize,
    /// Rounds thrown away because the thread was preempted.
    rounds_thrown_away: usize,
    /// No round was free of preemption; the figures are of preempted ones.
    preempted: bool,
}

/// One side at one load, all rounds together.
#[derive(Debug, Serialize)]
pub struct SideReport {
    handshakes: u64,
    /// Handshakes ended per second, from the first arrival to the last end.
    per_s: f64,
    /// Share of the time in which the server worked.
    busy: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    open_peak: usize,
}

impl LoadReport {
    /// The report of these rounds.
    ///
    /// # Errors
    /// Histograms do not fit, which they do.
    pub fn of(
        load_percent: u32,
        offered_per_s: f64,
        capacity: &Capacity,
        rounds: &Pairs<Load>,
    ) -> Result<Self> {
        let loads = &rounds.kept;
        let spinlane = SideReport::of(loads.iter().map(|load| &load.ours))?;
        let openssl = SideReport::of(loads.iter().map(|load| &load.theirs))?;
        let (mut batches, mut batched, mut scalar) = (0, 0, 0);
        for Load {
            stats: (before, after),
            ..
        } in loads
        {
            let (before, after) = (device_stats(before), device_stats(after));
            batches += after.batches - before.batches;
            batched += after.batched - before.batched;
            scalar += after.scalar - before.scalar;
        }
        Ok(Self {
            load_percent,
            offered_per_s,
            percent_of_openssl: 100.0 * offered_per_s / capacity.openssl_per_s,
            p50_ratio: spinlane.p50_us / openssl.p50_us,
            p99_ratio: spinlane.p99_us / openssl.p99_us,
            spinlane,
            openssl,
            batch_fill_mean: (batches != 0).then(|| batched as f64 / batches as f64),
            scalar_share: scalar as f64 / (scalar + batched).max(1) as f64,
            rounds: loads.len(),
            rounds_thrown_away: rounds.thrown_away,
            preempted: rounds.preempted,
        })
    }
}

fn device_stats(stats: &Stats) -> DeviceStats {
    let mut sum = DeviceStats::default();
    for channel in &stats.channels {
        sum += channel.device_stats;
    }
    sum
}

impl SideReport {
    fn of<'a>(runs: impl Iterator<Item = &'a OpenLoop>) -> Result<Self> {
        let mut latency_ns: Histogram<u64> = histogram()?;
        let (mut span_ns, mut busy_ns, mut open_peak) = (0, 0, 0);
        for run in runs {
            latency_ns.add(&run.latency_ns)?;
            span_ns += run.span_ns;
            busy_ns += run.busy_ns;
            open_peak = open_peak.max(run.open_peak);
        }
        let span_s = span_ns.max(1) as f64 / 1e9;
        Ok(Self {
            handshakes: latency_ns.len(),
            per_s: latency_ns.len() as f64 / span_s,
            busy: busy_ns as f64 / 1e9 / span_s,
            p50_us: percentile_us(&latency_ns, 50.0),
            p99_us: percentile_us(&latency_ns, 99.0),
            p999_us: percentile_us(&latency_ns, 99.9),
            open_peak,
        })
    }
}

impl Report {
    /// Prints it for people.
    pub fn print(&self) {
        let Capacity {
            spinlane_per_s,
            openssl_per_s,
        } = self.capacity;
        println!(
            "device {}, core {}; capacity with {} connections at a time: spinlane {spinlane_per_s:.0} hs/s, \
             openssl {openssl_per_s:.0} hs/s",
            self.device, self.core, self.arguments.connections,
        );
        for load in &self.loads {
            println!(
                "load {}%: {:.0} arrivals/s, {:.0}% of what openssl can do; {} rounds{}, {} thrown away (preempted)",
                load.load_percent,
                load.offered_per_s,
                load.percent_of_openssl,
                load.rounds,
                if load.preempted {
                    ", all preempted"
                } else {
                    ""
                },
                load.rounds_thrown_away,
            );
            println!(
                "  {:<22}{:>9}{:>8}{:>11}{:>11}{:>11}{:>11}",
                "", "hs/s", "busy", "p50 us", "p99 us", "p99.9 us", "most open"
            );
            let row = |name: &str, side: &SideReport| {
                println!(
                    "  {name:<22}{:>9.0}{:>7.0}%{:>11.1}{:>11.1}{:>11.1}{:>11}",
                    side.per_s,
                    100.0 * side.busy,
                    side.p50_us,
                    side.p99_us,
                    side.p999_us,
                    side.open_peak,
                );
            };
            row("spinlane", &load.spinlane);
            row("openssl, synchronous", &load.openssl);
            println!(
                "  p50 ratio {:.2}, p99 ratio {:.2}; batch fill {}, {:.0}% of ops one at a time",
                load.p50_ratio,
                load.p99_ratio,
                load.batch_fill_mean
                    .map_or("none".to_owned(), |fill| format!("{fill:.2}")),
                100.0 * load.scalar_share,
            );
        }
    }
}
