//! `spinlane bench arrivals`: handshakes that arrive at random, as clients do, at given loads.

mod report;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;
use spinlane::cryptodev::{Device, QueuePairConfig};
use spinlane::lcore::{Config, Stats};
use spinlane::{Lcore, device};
use spinlane_driver_sim::Rng;

use super::client::ClientCtx;
use super::handshake::{self, Group};
use super::pipeline::Pipeline;
use super::pipeline::open_loop::{OpenLoop, ServerClock};
use super::server::ServerCtx;
use crate::measure::{Pairs, Spread, Stopwatch, on_core, pairs, within};
use report::{LoadReport, Report};
use spinlane_proxy::tls::Identity;

/// Most connections open at once. Those that arrive beyond wait; their waiting counts.
const CONNECTIONS: usize = 2048;

/// Handshakes that arrive at random (Poisson), at given shares of what the server can do; the same
/// arrivals for synchronous OpenSSL. Prints throughput, batch fill and latency, from the arrival to
/// the end of the server's answer to the first message.
///
/// Time is the server's: it goes on while the server works (by its thread's CPU clock, so not while
/// it is preempted), and leaps to the next arrival while it has nothing to do; clients answer at once. First `--rounds` rounds of `--handshakes` with
/// `--connections` at a time, as in `bench handshake`, find out what either can do; then each load
/// gets as many. Devices that work on a core of their own cannot be measured so.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "arrivals")]
pub struct Args {
    /// Loads, in percent of what `--of` can do.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "20,50,80"
    )]
    load: Vec<u32>,
    /// Whose capacity is 100 percent.
    #[arg(long, value_enum, default_value = "spinlane")]
    of: Side,
    /// Arrivals follow from it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    handshake: handshake::Args,
}

/// One of the two that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This library.
    Spinlane,
    /// Stock synchronous OpenSSL.
    Openssl,
}

/// Runs the benchmark and prints its report.
///
/// # Errors
/// An argument is at fault, or a handshake failed.
pub fn run(args: &Args) -> Result<()> {
    let report = measure(args)?;
    if args.handshake.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    handshake::check(&args.handshake)?;
    for load in &args.load {
        within("--load", *load, 1..=1000)?;
    }
    ensure!(
        args.handshake.group != Group::X25519Mlkem768 && !args.handshake.resume,
        "bench arrivals goes without --resume and --group x25519mlkem768"
    );
    let identity = Identity::self_signed(args.handshake.cert)?;
    let plan = args.clone();
    on_core(args.handshake.core, move |core, _| {
        on_this_core(&plan, &identity, core)
    })
}

/// Both sides, ready to run.
struct Sides<'a> {
    ours: Pipeline<'a>,
    theirs: Pipeline<'a>,
    lcore: &'a Lcore,
    clock: ServerClock,
}

fn on_this_core(args: &Args, identity: &Identity, core: usize) -> Result<Report> {
    let clock = ServerClock::default();
    let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
    let device = open(&args.handshake.device, &lcore)?;
    let offloaded = ServerCtx::ours(args.handshake.tls.library(), &args.handshake, identity)?;
    let stock = ServerCtx::stock_openssl(&args.handshake, identity)?;
    let client = ClientCtx::new(&args.handshake, identity)?;
    let watch = Stopwatch::of_thread()?;
    let burst = args.handshake.burst;
    let pipeline = |server, lcore, connections| {
        let burst = burst.unwrap_or(connections);
        Pipeline::new(server, &client, lcore, &watch, connections, burst)
    };
    let closed = args.handshake.connections;
    let capacity = capacity(
        args,
        &mut pipeline(&offloaded, Some(&lcore), closed),
        &mut pipeline(&stock, None, closed),
    )?;
    let mut sides = Sides {
        ours: pipeline(&offloaded, Some(&lcore), CONNECTIONS),
        theirs: pipeline(&stock, None, CONNECTIONS),
        lcore: &lcore,
        clock,
    };
    let whole = match args.of {
        Side::Spinlane => capacity.spinlane_per_s,
        Side::Openssl => capacity.openssl_per_s,
    };
    let loads = args.load.iter().map(|&percent| {
        let per_s = whole * f64::from(percent) / 100.0;
        let rounds = at(args, &mut sides, per_s)?;
        LoadReport::of(percent, per_s, &capacity, &rounds)
    });
    Ok(Report {
        arguments: args.into(),
        core,
        device: device.name().to_owned(),
        capacity,
        loads: loads.collect::<Result<_>>()?,
    })
}

/// Opens the device, which must work on the poll core.
fn open(spec: &str, lcore: &Lcore) -> Result<Box<dyn Device>> {
    let device = device::open(spec).context("--device")?;
    let queue_pair = device.queue_pair(QueuePairConfig::default())?;
    ensure!(
        queue_pair.is_inline(),
        "--device {spec} works elsewhere than on the server's core, whose time alone is told here; \
         give one that works inline: auto, mb, soft"
    );
    lcore.add_queue_pair(queue_pair);
    Ok(device)
}

/// Handshakes per second of server time with many at once.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Capacity {
    spinlane_per_s: f64,
    openssl_per_s: f64,
}

/// What both sides can do: the median of rounds in turns.
fn capacity(args: &Args, ours: &mut Pipeline<'_>, theirs: &mut Pipeline<'_>) -> Result<Capacity> {
    let handshakes = args.handshake.handshakes;
    // Warms up caches, pools and lazily made objects of both sides.
    ours.round(handshakes)?;
    theirs.round(handshakes)?;
    let rounds = pairs(args.handshake.rounds, |_| {
        Ok((
            ours.round(handshakes)?.rate(),
            theirs.round(handshakes)?.rate(),
        ))
    })?;
    let median =
        |rates: &mut dyn Iterator<Item = f64>| Spread::of(rates).map(|spread| spread.median);
    Ok(Capacity {
        spinlane_per_s: median(&mut rounds.kept.iter().map(|(ours, _)| *ours))?,
        openssl_per_s: median(&mut rounds.kept.iter().map(|(_, theirs)| *theirs))?,
    })
}

/// Both sides' runs with the same arrivals.
pub struct Load {
    ours: OpenLoop,
    theirs: OpenLoop,
    /// The lcore's counters before and after ours.
    stats: (Stats, Stats),
}

/// Rounds at this rate.
fn at(args: &Args, sides: &mut Sides<'_>, per_s: f64) -> Result<Pairs<Load>> {
    pairs(args.handshake.rounds, |number| {
        let rng = Rng::new(args.seed).fork(number as u64);
        let arrivals = arrivals(rng, per_s, args.handshake.handshakes);
        let mut theirs = None;
        if number % 2 == 1 {
            theirs = Some(sides.theirs.open_loop(&arrivals, &sides.clock)?);
        }
        let before = sides.lcore.stats();
        let ours = sides.ours.open_loop(&arrivals, &sides.clock)?;
        let stats = (before, sides.lcore.stats());
        let theirs = match theirs {
            Some(theirs) => theirs,
            None => sides.theirs.open_loop(&arrivals, &sides.clock)?,
        };
        Ok(Load {
            ours,
            theirs,
            stats,
        })
    })
}

/// The times of a Poisson process: gaps are distributed exponentially, by inversion.
fn arrivals(mut rng: Rng, per_s: f64, count: usize) -> Vec<u64> {
    let mut at_ns = 0.0;
    let next = || {
        // Uniform in (0, 1].
        let uniform = ((rng.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        at_ns += -uniform.ln() / per_s * 1e9;
        at_ns as u64
    };
    std::iter::repeat_with(next).take(count).collect()
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

    fn parse(line: &str) -> Args {
        let words = std::iter::once("arrivals").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.args).unwrap()
    }

    fn error_of(line: &str) -> String {
        format!("{:#}", measure(&parse(line)).err().unwrap())
    }

    #[test]
    fn arrivals_are_as_many_per_second_as_asked_for() {
        let times = arrivals(Rng::new(7), 1000.0, 100_000);
        assert!(times.is_sorted());
        let per_s = times.len() as f64 * 1e9 / *times.last().unwrap() as f64;
        assert!((per_s / 1000.0 - 1.0).abs() < 0.02, "{per_s}");
        // Of a Poisson process a share of 1/e has a longer gap than the mean.
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let long = gaps.filter(|gap| *gap > 1_000_000).count() as f64 / times.len() as f64;
        assert!((long * std::f64::consts::E - 1.0).abs() < 0.02, "{long}");
        assert_eq!(times, arrivals(Rng::new(7), 1000.0, 100_000), "by the seed");
    }

    #[test]
    fn a_wrong_argument_is_named() {
        assert!(error_of("--load 0").contains("--load 0"));
        assert!(error_of("--rounds 0").contains("--rounds 0"));
        assert!(error_of("--device warp").contains("--device"));
        let error = error_of("--device lookaside:soft@0");
        assert!(
            error.contains("lookaside:soft@0") && error.contains("mb, soft"),
            "{error}"
        );
    }

    #[test]
    fn both_sides_finish_every_handshake_at_any_load() {
        let line =
            "--device soft --cert p256 --load 30,300 --rounds 2 --handshakes 30 --connections 8";
        let report = serde_json::to_value(measure(&parse(line)).unwrap()).unwrap();
        for load in report["loads"].as_array().unwrap() {
            // A busy machine leaves fewer rounds than were asked for.
            let handshakes = load["rounds"].as_u64().unwrap() * 30;
            assert!(handshakes >= 30, "{load}");
            assert_eq!(load["spinlane"]["handshakes"], handshakes);
            assert_eq!(load["openssl"]["handshakes"], handshakes);
            let figure = |side: &str, name: &str| load[side][name].as_f64().unwrap();
            for side in ["spinlane", "openssl"] {
                assert!(figure(side, "p50_us") > 0.0, "{load}");
                assert!(figure(side, "p50_us") <= figure(side, "p99_us"), "{load}");
                assert!(figure(side, "busy") <= 1.0, "{load}");
            }
        }
    }
}
