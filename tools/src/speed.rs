//! `spinlane speed`: devices by themselves, per algorithm and burst, beside OpenSSL's EVP calls or
//! AWS-LC.

mod aead;
mod evp;
mod own_tool;
mod peer;
pub mod point;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;
use spinlane::crypto::aead::Algorithm as Aead;
use spinlane::cryptodev::{Device, DeviceStats, OpKind};
use spinlane::device;

use self::aead::{Evp, Sealing, Timed, Work};
use self::peer::{Peer, Whom};
use self::point::{Keys, Point};
use crate::measure::{Spread, on_core, pairs, percentile_us, within};

/// Ops per second of CPU time and latency per op, per device, algorithm and burst.
///
/// A burst of ops is enqueued, then the queue pair is polled until all are back. Rounds take turns
/// with rounds of the peer, by default OpenSSL's own EVP call for the same op, on one pinned core; a pair of rounds
/// during which the thread was preempted is thrown away and made up for, at most four times as
/// often. AEAD algorithms are measured sealing records with 16 bytes of associated data; OpenSSL seals one after
/// the other with a context made once, in as many buffers as a burst has.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Devices [default: all that this machine has].
    #[arg(long, value_delimiter = ',', value_name = "SPEC")]
    device: Vec<String>,
    /// Algorithms, e.g. rsa2048,ecdsa-p256,aes-128-gcm [default: all that the device has].
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = algorithm)]
    algorithm: Vec<Algorithm>,
    /// Bytes of data per op, of AEAD algorithms.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N",
        default_value = "64,1024,16384"
    )]
    size: Vec<usize>,
    /// Ops enqueued at a time [default: 1,8,32, or 8 against AWS-LC].
    #[arg(long, value_delimiter = ',', value_name = "N")]
    burst: Vec<usize>,
    /// Whom to measure against.
    #[arg(long, value_name = "NAME", default_value = "openssl")]
    peer: Whom,
    /// In place of devices, measure OpenSSL as the peer beside its own tool, `openssl speed`, by turns on the same
    /// core; fails if the peer is slower than 0.85 of it.
    #[arg(long, conflicts_with_all = ["device", "burst", "peer"])]
    check_peers: bool,
    /// CPU seconds per device, algorithm and burst, the peer's included.
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    seconds: f64,
    /// The core to pin to [default: the last one].
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Print one JSON object per line: per device, algorithm and burst.
    #[arg(long)]
    json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Op(OpKind),
    Aead(Aead),
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Op(kind) => kind.name(),
            Self::Aead(algorithm) => algorithm.name(),
        }
    }

    /// All that `device` offers.
    fn of(device: &dyn Device) -> Vec<Self> {
        let records = device.record_capabilities();
        let kinds = device.capabilities();
        let kinds = kinds.iter().map(Self::Op);
        kinds.chain(records.iter().map(Self::Aead)).collect()
    }
}

/// One of the two that are measured by turns.
trait Side {
    /// Ops for at least `slice_ns` of CPU time; ops per second of it.
    fn round(&mut self, slice_ns: u64) -> Result<f64>;
    /// Nanoseconds per op.
    fn latency_ns(&self) -> &Histogram<u64>;
}

/// One device, algorithm, size and burst.
#[derive(Debug, Default, Serialize)]
struct Report {
    device: String,
    algorithm: &'static str,
    /// Bytes of data per op; none if the algorithm gives its length.
    size: Option<usize>,
    burst: usize,
    core: usize,
    /// Pairs of rounds that count.
    rounds: usize,
    /// Pairs thrown away because the thread was preempted.
    rounds_thrown_away: usize,
    /// No pair was free of preemption; the figures are of preempted ones.
    preempted: bool,
    /// Ops of all rounds.
    ops: u64,
    /// Per second of CPU time, median over the rounds.
    ops_per_s: f64,
    /// From before the enqueue until it was given back.
    latency_us_p50: f64,
    latency_us_p99: f64,
    /// Gigabytes of data per second of CPU time, where an op has a size.
    gb_per_s: Option<f64>,
    /// Mean number of lanes filled; none if there was no batch.
    batch_fill_mean: Option<f64>,
    batches: u64,
    /// Ops of a batching device that ran one at a time, too few being there.
    scalar: u64,
    failed: u64,
    peer: String,
    /// Not the one that was asked for, which does not have the algorithm.
    #[serde(skip)]
    is_stand_in: bool,
    peer_ops_per_s: f64,
    peer_latency_us_p50: f64,
    peer_latency_us_p99: f64,
    ratio_median: f64,
    ratio_min: f64,
    ratio_max: f64,
}

/// Measures everything asked for and prints each figure as it is there.
///
/// # Errors
/// An argument is at fault, or a device failed.
pub fn run(args: &Args) -> Result<()> {
    let plan = args.clone();
    on_core(args.core, move |core, _| {
        if plan.check_peers {
            return own_tool::check(&plan);
        }
        if !plan.json {
            Report::print_header(plan.peer);
        }
        measure(&plan, core, |report| {
            if plan.json {
                println!("{}", serde_json::to_string(&report)?)
            } else {
                report.print()
            }
            Ok(())
        })
    })
}

fn algorithm(name: &str) -> Result<Algorithm> {
    let ops = OpKind::ALL.into_iter().map(Algorithm::Op);
    let mut all = ops.chain(Aead::ALL.into_iter().map(Algorithm::Aead));
    all.clone()
        .find(|algorithm| algorithm.name() == name)
        .with_context(|| {
            let names: Vec<_> = all.by_ref().map(Algorithm::name).collect();
            format!("unknown algorithm; there are: {}", names.join(", "))
        })
}

/// On the pinned thread: one report after the other to `report`.
fn measure(args: &Args, core: usize, mut report: impl FnMut(Report) -> Result<()>) -> Result<()> {
    if !(0.001..=3600.0).contains(&args.seconds) {
        bail!(
            "--seconds {} is out of range; give 0.001 to 3600",
            args.seconds
        );
    }
    let bursts: &[usize] = match (args.burst.as_slice(), args.peer) {
        ([], Whom::Openssl) => &[1, 8, 32],
        ([], _) => &[8],
        (named, _) => named,
    };
    for &burst in bursts {
        within("--burst", burst, 1..=4096)?;
    }
    for &size in &args.size {
        within("--size", size, 0..=aead::MAX_SIZE)?;
    }
    let keys = Keys::default();
    for device in devices(&specs(&args.device))? {
        for algorithm in algorithms(&*device, &args.algorithm)? {
            match algorithm {
                Algorithm::Op(kind) => {
                    for &burst in bursts {
                        report(measure_op(args, core, &*device, kind, burst, &keys)?)?;
                    }
                }
                Algorithm::Aead(algorithm) => {
                    for &size in &args.size {
                        for &burst in bursts {
                            let sealing = Sealing::new(&*device, algorithm, size, burst)?;
                            report(measure_aead(args, core, sealing)?)?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// The specs of a list that was split at its commas, some of which stand within specs: a part that begins
/// with `NAME=` is an option of the spec before it.
fn specs(parts: &[String]) -> Vec<String> {
    let mut specs: Vec<String> = Vec::new();
    for part in parts {
        let is_option = part
            .split_once('=')
            .is_some_and(|(name, _)| !name.contains(':'));
        match specs.last_mut() {
            Some(spec) if is_option => {
                spec.push(',');
                spec.push_str(part);
            }
            _ => specs.push(part.clone()),
        }
    }
    specs
}

/// The devices named, or all that can be opened.
fn devices(specs: &[String]) -> Result<Vec<Box<dyn Device>>> {
    if specs.is_empty() {
        let each = device::SPECS.into_iter().filter(|&spec| spec != "auto");
        return Ok(each.filter_map(|spec| device::open(spec).ok()).collect());
    }
    specs
        .iter()
        .map(|spec| device::open(spec).context("--device"))
        .collect()
}

/// The algorithms named, or all that `device` has.
fn algorithms(device: &dyn Device, named: &[Algorithm]) -> Result<Vec<Algorithm>> {
    let has = Algorithm::of(device);
    if named.is_empty() {
        return Ok(has);
    }
    if let Some(missing) = named.iter().find(|algorithm| !has.contains(algorithm)) {
        let names: Vec<_> = has.iter().map(|algorithm| algorithm.name()).collect();
        bail!(
            "--algorithm {}: device {} does not have it; it has: {}",
            missing.name(),
            device.name(),
            names.join(", ")
        );
    }
    Ok(named.to_vec())
}

fn measure_op(
    args: &Args,
    core: usize,
    device: &dyn Device,
    kind: OpKind,
    burst: usize,
    keys: &Keys,
) -> Result<Report> {
    let key = keys.of(kind)?;
    let mut point = Point::new(device, kind, burst, key)?;
    let whom = args.peer.of(kind);
    let mut peer = Peer::new(whom, kind, key)?;
    point.warm_up()?;
    let report = Report {
        device: device.name().to_owned(),
        algorithm: kind.name(),
        burst,
        core,
        peer: whom.name().to_owned(),
        is_stand_in: whom != args.peer,
        ..by_turns(args, &mut point, &mut peer)?
    };
    Ok(report.with_stats(point.stats()))
}

fn measure_aead(args: &Args, core: usize, mut sealing: Timed<Sealing>) -> Result<Report> {
    if args.peer != Whom::Openssl {
        bail!("--peer {}: does not seal; leave it out", args.peer.name());
    }
    let work = &sealing.work;
    let mut peer = Evp::new(work.algorithm(), work.size(), work.burst())?;
    let turns = by_turns(args, &mut sealing, &mut peer)?;
    let sealing = sealing.work;
    let report = Report {
        device: sealing.device().to_owned(),
        algorithm: sealing.algorithm().name(),
        size: Some(sealing.size()),
        burst: sealing.burst(),
        core,
        gb_per_s: Some(turns.ops_per_s * sealing.size() as f64 / 1e9),
        ..turns
    };
    Ok(report.with_stats(sealing.stats()))
}

/// Measures both sides by turns; what is measured is left to be filled in.
fn by_turns(args: &Args, ours: &mut dyn Side, theirs: &mut dyn Side) -> Result<Report> {
    // Short rounds, so that few are preempted; several, so that there is a spread.
    let slice_ns = ((args.seconds * 1e9 / 10.0) as u64).clamp(100_000, 20_000_000);
    let wanted = ((args.seconds * 1e9) as u64 / (2 * slice_ns)).max(3) as usize;
    let rounds = pairs(wanted, |number| {
        Ok(if number % 2 == 0 {
            let first = ours.round(slice_ns)?;
            (first, theirs.round(slice_ns)?)
        } else {
            let first = theirs.round(slice_ns)?;
            (ours.round(slice_ns)?, first)
        })
    })?;
    let ratio = Spread::of(rounds.kept.iter().map(|(ours, theirs)| ours / theirs))?;
    Ok(Report {
        rounds: rounds.kept.len(),
        rounds_thrown_away: rounds.thrown_away,
        preempted: rounds.preempted,
        ops_per_s: Spread::of(rounds.kept.iter().map(|pair| pair.0))?.median,
        latency_us_p50: percentile_us(ours.latency_ns(), 50.0),
        latency_us_p99: percentile_us(ours.latency_ns(), 99.0),
        peer: args.peer.name().to_owned(),
        peer_ops_per_s: Spread::of(rounds.kept.iter().map(|pair| pair.1))?.median,
        peer_latency_us_p50: percentile_us(theirs.latency_ns(), 50.0),
        peer_latency_us_p99: percentile_us(theirs.latency_ns(), 99.0),
        ratio_median: ratio.median,
        ratio_min: ratio.min,
        ratio_max: ratio.max,
        ..Report::default()
    })
}

impl Report {
    fn with_stats(mut self, stats: DeviceStats) -> Self {
        self.ops = stats.dequeued;
        self.batch_fill_mean =
            (stats.batches != 0).then(|| stats.batched as f64 / stats.batches as f64);
        self.batches = stats.batches;
        self.scalar = stats.scalar;
        self.failed = stats.failed;
        self
    }

    fn print_header(peer: Whom) {
        println!(
            "{:<10} {:<17} {:>5} {:>5} {:>10} {:>10} {:>10} {:>5} {:>10}  ratio to {} (min to max)",
            "device",
            "algorithm",
            "size",
            "burst",
            "ops/s",
            "p50 us",
            "p99 us",
            "fill",
            "peer/s",
            peer.name()
        );
    }

    fn print(&self) {
        println!(
            "{:<10} {:<17} {:>5} {:>5} {:>10.0} {:>10.2} {:>10.2} {:>5} {:>10.0}  {:.2} ({:.2} to {:.2}){}{}",
            self.device,
            self.algorithm,
            self.size.map_or("-".to_owned(), |size| size.to_string()),
            self.burst,
            self.ops_per_s,
            self.latency_us_p50,
            self.latency_us_p99,
            self.batch_fill_mean
                .map_or("-".to_owned(), |fill| format!("{fill:.2}")),
            self.peer_ops_per_s,
            self.ratio_median,
            self.ratio_min,
            self.ratio_max,
            if self.is_stand_in {
                format!(", to {}", self.peer)
            } else {
                String::new()
            },
            if self.preempted {
                ", every round preempted"
            } else {
                ""
            },
        );
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
        let words = std::iter::once("speed").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.args)
    }

    fn reports(line: &str) -> Result<Vec<serde_json::Value>> {
        let mut reports = Vec::new();
        measure(&parse(line).unwrap(), 0, |report| {
            report.print();
            reports.push(serde_json::to_value(&report)?);
            Ok(())
        })?;
        Ok(reports)
    }

    #[test]
    fn arguments_and_their_defaults() {
        let args = parse("").unwrap();
        assert_eq!(
            (args.device.len(), args.algorithm.len(), args.burst.len()),
            (0, 0, 0)
        );
        assert_eq!(args.peer, Whom::Openssl);
        let args =
            parse("--device soft,mb --algorithm rsa2048,x25519-derive --burst 4 --core 1").unwrap();
        assert_eq!(args.device, ["soft", "mb"]);
        let kinds = [OpKind::Rsa2048, OpKind::X25519Derive].map(Algorithm::Op);
        assert_eq!(
            (args.algorithm, args.size),
            (kinds.to_vec(), vec![64, 1024, 16384])
        );
        assert_eq!((args.burst, args.core), (vec![4], Some(1)));
    }

    #[test]
    fn options_with_commas_stay_with_their_device() {
        let list = "sim:7,lose=0.01,latency=tail:50us-2ms:mb,mb:blinding=on,dpdk:crypto_null,descriptors=64,soft";
        let args = parse(&format!("--device {list}")).unwrap();
        assert_eq!(
            specs(&args.device),
            [
                "sim:7,lose=0.01,latency=tail:50us-2ms:mb",
                "mb:blinding=on",
                "dpdk:crypto_null,descriptors=64",
                "soft",
            ]
        );
    }

    #[test]
    fn a_wrong_argument_is_named_with_what_there_is() {
        let text = parse("--algorithm rsa1024").unwrap_err().to_string();
        assert!(
            ["rsa1024", "--algorithm", "rsa2048", "aes-128-gcm"]
                .iter()
                .all(|word| text.contains(word)),
            "{text}"
        );
        for (line, culprit) in [
            ("--device warp", "--device: unknown device \"warp\""),
            ("--burst 0", "--burst 0"),
            ("--size 70000", "--size 70000"),
            ("--seconds 0", "--seconds 0"),
            ("--seconds NaN", "--seconds NaN"),
        ] {
            let text = format!("{:#}", reports(line).unwrap_err());
            assert!(text.contains(culprit), "{text}");
        }
    }

    #[test]
    fn every_algorithm_runs_on_soft_beside_its_peer() {
        let kinds = OpKind::ALL.iter().map(|kind| kind.name());
        let aead = Aead::ALL.iter().map(|algorithm| algorithm.name());
        let names: Vec<_> = kinds.chain(aead).collect();
        let reports = reports("--device soft --burst 2 --size 100 --seconds 0.001").unwrap();
        assert_eq!(
            reports
                .iter()
                .map(|report| report["algorithm"].as_str().unwrap())
                .collect::<Vec<_>>(),
            names
        );
        for report in reports {
            assert!(
                report["ops"].as_u64().unwrap() > 0 && report["failed"] == 0,
                "{report}"
            );
            assert!(
                report["ops_per_s"].as_f64().unwrap() > 0.0
                    && report["peer_ops_per_s"].as_f64().unwrap() > 0.0
            );
            assert!(
                report["ratio_median"].is_f64() && report["batch_fill_mean"].is_null(),
                "{report}"
            );
            let sized = Aead::from_name(report["algorithm"].as_str().unwrap()).is_some();
            assert!(report["size"].is_u64() == sized && report["gb_per_s"].is_f64() == sized);
        }
    }

    #[test]
    fn a_full_burst_fills_the_lanes_if_there_are_any() {
        let algorithms = "ecdsa-p256,x25519-keygen,x25519-derive";
        let line = format!("--device auto --algorithm {algorithms} --burst 8 --seconds 0.001");
        for report in reports(&line).unwrap() {
            if report["device"] == "mb" {
                assert_eq!(report["batch_fill_mean"], 8.0, "{report}");
            }
        }
    }
}
