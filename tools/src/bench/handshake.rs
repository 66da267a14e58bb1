//! `spinlane bench handshake`: offloaded against stock synchronous OpenSSL, round by round.

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::Serialize;
use spinlane::cryptodev::QueuePairConfig;
use spinlane::lcore::Stats;
use spinlane::openssl::{ClientConfig, KeyOffload, Pem, Protocol, ServerConfig};
use spinlane::{Lcore, SslCtx, device};

use super::certificate::{self, Kind};
use super::pipeline::{Pipeline, Round};
use crate::measure::{Spread, Stopwatch, histogram, on_core, pairs, percentile_us, within};

/// The library that does TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Tls {
    /// libssl of the system.
    Openssl,
}

/// The version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
enum Version {
    /// TLS 1.2.
    #[value(name = "1.2")]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[value(name = "1.3")]
    #[serde(rename = "1.3")]
    Tls13,
}

/// Full handshakes and one small message each way, clients in memory, key exchange X25519.
///
/// Counts what the server does: making its connection, its calls of libssl, the polls, dropping
/// it. Clients and the moving of bytes are counted on neither side. Rounds take turns with rounds
/// of stock synchronous OpenSSL on one pinned core; a pair of rounds during which the thread
/// was preempted is thrown away and made up for, at most four times as often.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The library that does TLS.
    #[arg(long, value_enum, default_value = "openssl")]
    tls: Tls,
    /// The server's certificate.
    #[arg(long, value_enum, default_value = "rsa2048")]
    cert: Kind,
    /// The version of TLS.
    #[arg(long, value_enum, default_value = "1.3")]
    protocol: Version,
    /// Handshakes in flight.
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// Pairs of rounds.
    #[arg(long, default_value_t = 20, value_name = "K")]
    rounds: usize,
    /// Handshakes per round.
    #[arg(long, default_value_t = 256, value_name = "H")]
    handshakes: usize,
    /// The crypto device.
    #[arg(long, default_value = "auto", value_name = "SPEC")]
    device: String,
    /// Session tickets per handshake.
    #[arg(long, default_value_t = 0, value_name = "N")]
    tickets: usize,
    /// The core to pin to [default: the last one].
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One run.
#[derive(Debug, Serialize)]
struct Report {
    tls: Tls,
    protocol: Version,
    cert: Kind,
    connections: usize,
    device: String,
    tickets: usize,
    core: usize,
    /// Pairs of rounds that count.
    rounds: usize,
    handshakes_per_round: usize,
    /// Pairs thrown away because the thread was preempted.
    rounds_thrown_away: usize,
    /// No pair was free of preemption; the figures are of preempted ones.
    preempted: bool,
    /// Median over the rounds.
    handshakes_per_s: f64,
    baseline: String,
    baseline_handshakes_per_s: f64,
    ratio_median: f64,
    ratio_min: f64,
    ratio_max: f64,
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

/// What the pinned thread found out.
struct Measured {
    core: usize,
    pairs: Vec<(Round, Round)>,
    thrown_away: usize,
    preempted: bool,
    device: String,
    stats: Stats,
    overhead_ns: u64,
}

/// Runs the benchmark and prints its report.
///
/// # Errors
/// An argument is at fault, or a handshake failed.
pub fn run(args: &Args) -> Result<()> {
    let report = measure(args)?;
    if report.preempted {
        tracing::warn!(
            core = report.core,
            "every round was preempted; choose a quieter core by --core"
        );
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    within("--connections", args.connections, 1..=16_384)?;
    within("--rounds", args.rounds, 1..=100_000)?;
    within("--handshakes", args.handshakes, 1..=10_000_000)?;
    let identity = certificate::generate(args.cert)?;
    let plan = args.clone();
    let measured = on_core(args.core, move |core, lcore| {
        on_this_core(&plan, &identity, core, lcore)
    })?;
    report(args, &measured)
}

/// The rounds, on the pinned thread.
fn on_this_core(
    args: &Args,
    identity: &(Pem, Pem),
    core: usize,
    lcore: &Lcore,
) -> Result<Measured> {
    let device = device::open(&args.device).context("--device")?;
    lcore.add_queue_pair(device.queue_pair(QueuePairConfig::default())?);
    let (offloaded, stock) = (
        server(args, identity, true)?,
        server(args, identity, false)?,
    );
    if let KeyOffload::Unsupported(why) = offloaded.key_offload() {
        anyhow::bail!("the key of --cert is not offloaded: {why}");
    }
    let client = client(args)?;
    let watch = Stopwatch::new();
    let mut ours = Pipeline::new(&offloaded, &client, Some(lcore), &watch, args.connections);
    let mut theirs = Pipeline::new(&stock, &client, None, &watch, args.connections);
    // Warms up caches, pools and lazily made objects of both sides.
    for pipeline in [&mut ours, &mut theirs] {
        pipeline.round(args.handshakes.min(4 * args.connections))?;
    }
    let rounds = pairs(args.rounds, |number| {
        Ok(if number % 2 == 0 {
            let first = ours.round(args.handshakes)?;
            (first, theirs.round(args.handshakes)?)
        } else {
            let first = theirs.round(args.handshakes)?;
            (ours.round(args.handshakes)?, first)
        })
    })?;
    Ok(Measured {
        core,
        pairs: rounds.kept,
        thrown_away: rounds.thrown_away,
        preempted: rounds.preempted,
        device: device.name().to_owned(),
        stats: lcore.stats(),
        overhead_ns: watch.overhead_ns(),
    })
}

fn server(args: &Args, (certificate, key): &(Pem, Pem), offload: bool) -> Result<SslCtx> {
    let config = ServerConfig {
        offload,
        tickets: args.tickets,
        max_protocol: args.protocol.into(),
        ..ServerConfig::new(certificate.clone(), key.clone())
    };
    SslCtx::server(&config).context("the server's settings")
}

fn client(args: &Args) -> Result<SslCtx> {
    let config = ClientConfig {
        min_protocol: args.protocol.into(),
        max_protocol: args.protocol.into(),
        // X25519 it is; but TLS 1.2 wants the certificate's curve listed, too (RFC 8422, section 5.1).
        groups: Some("X25519:P-256".to_owned()),
        ..ClientConfig::default()
    };
    SslCtx::client(&config).context("the client's settings")
}

fn report(args: &Args, measured: &Measured) -> Result<Report> {
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
    let us = |side: &Side, percent| percentile_us(&side.each_ns, percent);
    Ok(Report {
        tls: args.tls,
        protocol: args.protocol,
        cert: args.cert,
        connections: args.connections,
        device: measured.device.clone(),
        tickets: args.tickets,
        core: measured.core,
        rounds: measured.pairs.len(),
        handshakes_per_round: args.handshakes,
        rounds_thrown_away: measured.thrown_away,
        preempted: measured.preempted,
        handshakes_per_s: Spread::of(ours.rates.iter().copied())?.median,
        baseline: format!("{}, synchronous", openssl::version::version()),
        baseline_handshakes_per_s: Spread::of(theirs.rates.iter().copied())?.median,
        ratio_median: ratio.median,
        ratio_min: ratio.min,
        ratio_max: ratio.max,
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

impl Report {
    fn print(&self) {
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
            "ratio {:.2} ({:.2} to {:.2}), of p50 {:.2}, of p99 {:.2}; batch fill {}",
            self.ratio_median,
            self.ratio_min,
            self.ratio_max,
            self.p50_ratio,
            self.p99_ratio,
            self.batch_fill_mean
                .map_or("none".to_owned(), |fill| format!("{fill:.2}")),
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
}

impl Counters {
    fn of(stats: &Stats) -> Self {
        let mut counters = Self {
            ops_inline: stats.inline_ops + stats.unrouted_ops,
            callbacks: stats.callbacks,
            ..Self::default()
        };
        for channel in &stats.channels {
            counters.ops_enqueued += channel.enqueued;
            counters.ops_failed += channel.failed;
            counters.ops_refused += channel.refused;
            counters.ops_scalar += channel.device_stats.scalar;
            counters.batches += channel.device_stats.batches;
            counters.idle_flushes += channel.idle_flushes;
        }
        counters
    }
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }
}

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::Tls12 => Self::Tls12,
            Version::Tls13 => Self::Tls13,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let words = std::iter::once("handshake").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.args)
    }

    fn error_of(line: &str) -> String {
        format!("{:#}", measure(&parse(line).unwrap()).unwrap_err())
    }

    #[test]
    fn arguments_and_their_defaults() {
        let args = parse("").unwrap();
        assert_eq!(
            (args.tls, args.cert, args.protocol),
            (Tls::Openssl, Kind::Rsa2048, Version::Tls13)
        );
        assert_eq!(
            (args.connections, args.device.as_str(), args.tickets),
            (64, "auto", 0)
        );
        let args = parse("--cert p256 --protocol 1.2 --connections 3 --core 1 --json").unwrap();
        assert_eq!((args.cert, args.protocol), (Kind::P256, Version::Tls12));
        assert_eq!((args.connections, args.core, args.json), (3, Some(1), true));
    }

    #[test]
    fn a_wrong_argument_is_named_with_what_there_is() {
        for (line, culprit, remedy) in [
            ("--cert dsa", "--cert", "p256"),
            ("--protocol 1.1", "--protocol", "1.2"),
            ("--tls gnutls", "--tls", "openssl"),
        ] {
            let text = parse(line).unwrap_err().to_string();
            assert!(text.contains(culprit) && text.contains(remedy), "{text}");
        }
        let text = error_of("--device warp");
        assert!(
            text.contains("--device") && text.contains("\"warp\"") && text.contains("soft"),
            "{text}"
        );
        let text = error_of("--core 4095");
        assert!(text.contains("--core") && text.contains("4095"), "{text}");
        assert!(error_of("--connections 0").contains("--connections 0"));
        assert!(error_of("--rounds 0").contains("--rounds 0"));
    }

    fn smoke(line: &str) -> serde_json::Map<String, serde_json::Value> {
        let report = measure(&parse(line).unwrap()).unwrap();
        report.print();
        let object = serde_json::to_value(&report)
            .unwrap()
            .as_object()
            .unwrap()
            .clone();
        for key in [
            "tls",
            "protocol",
            "cert",
            "connections",
            "device",
            "handshakes_per_s",
            "baseline",
            "baseline_handshakes_per_s",
            "ratio_median",
            "ratio_min",
            "ratio_max",
            "rounds",
            "batch_fill_mean",
            "rounds_thrown_away",
            "server_us_p50",
            "server_us_p99",
            "p99_ratio",
        ] {
            assert!(object.contains_key(key), "{key} is missing");
        }
        assert!(object["ops_enqueued"].as_u64().unwrap() > 0);
        assert_eq!(object["ops_failed"], 0);
        assert_eq!(object["ops_inline"], 0);
        assert_eq!(
            object["callbacks"], object["ops_enqueued"],
            "one callback each"
        );
        object
    }

    #[test]
    fn a_run_on_soft_offloads_every_op() {
        let object =
            smoke("--device soft --cert rsa2048 --connections 5 --rounds 1 --handshakes 12");
        assert_eq!(object["device"], "soft");
        assert_eq!(object["protocol"], "1.3");
    }

    #[test]
    fn a_run_on_the_best_device_fills_lanes_if_it_has_any() {
        let object =
            smoke("--cert p256 --protocol 1.2 --connections 16 --rounds 1 --handshakes 32");
        assert_eq!(object["cert"], "p256");
        if object["device"] == "mb" {
            assert!(object["batches"].as_u64().unwrap() > 0);
        }
    }

    #[test]
    fn one_connection_at_a_time_runs_without_batches() {
        let object = smoke("--cert p256 --connections 1 --rounds 1 --handshakes 4");
        assert!(object["batch_fill_mean"].is_null());
    }
}
