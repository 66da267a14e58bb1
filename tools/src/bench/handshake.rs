//! `spinlane bench handshake`: offloaded against stock synchronous OpenSSL, round by round.

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use spinlane::cryptodev::QueuePairConfig;
use spinlane::openssl::{ClientConfig, KeyOffload, Pem, Protocol, ServerConfig};
use spinlane::{Lcore, SslCtx, device};

use super::certificate::{self, Kind};
use super::pipeline::Pipeline;
use super::report::{Measured, Report};
use crate::measure::{Stopwatch, on_core, pairs, within};

/// The library that does TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// libssl of the system.
    Openssl,
}

/// The version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Version {
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
    pub(super) tls: Tls,
    /// The server's certificate.
    #[arg(long, value_enum, default_value = "rsa2048")]
    pub(super) cert: Kind,
    /// The version of TLS.
    #[arg(long, value_enum, default_value = "1.3")]
    pub(super) protocol: Version,
    /// Connections at a time.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(super) connections: usize,
    /// Connections stepped between two polls, those whose ops came back first [default: all].
    /// With fewer, only about as many handshakes are under way at once; the others wait to begin.
    #[arg(long, value_name = "B")]
    pub(super) burst: Option<usize>,
    /// Pairs of rounds.
    #[arg(long, default_value_t = 20, value_name = "K")]
    pub(super) rounds: usize,
    /// Handshakes per round.
    #[arg(long, default_value_t = 256, value_name = "H")]
    pub(super) handshakes: usize,
    /// The crypto device.
    #[arg(long, default_value = "auto", value_name = "SPEC")]
    pub(super) device: String,
    /// Session tickets per handshake.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) tickets: usize,
    /// The core to pin to [default: the last one].
    #[arg(long, value_name = "N")]
    pub(super) core: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
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

/// Checks the values that clap does not.
///
/// # Errors
/// One is out of range.
pub fn check(args: &Args) -> Result<()> {
    within("--connections", args.connections, 1..=16_384)?;
    within("--burst", args.burst(), 1..=16_384)?;
    within("--rounds", args.rounds, 1..=100_000)?;
    within("--handshakes", args.handshakes, 1..=10_000_000)
}

fn measure(args: &Args) -> Result<Report> {
    check(args)?;
    let identity = certificate::generate(args.cert)?;
    let plan = args.clone();
    let measured = on_core(args.core, move |core, lcore| {
        on_this_core(&plan, &identity, core, lcore)
    })?;
    Report::of(args, &measured)
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
    let pipeline = |server, lcore| {
        Pipeline::new(
            server,
            &client,
            lcore,
            &watch,
            args.connections,
            args.burst(),
        )
    };
    let (mut ours, mut theirs) = (pipeline(&offloaded, Some(lcore)), pipeline(&stock, None));
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

pub(super) fn server(
    args: &Args,
    (certificate, key): &(Pem, Pem),
    offload: bool,
) -> Result<SslCtx> {
    let config = ServerConfig {
        offload,
        tickets: args.tickets,
        max_protocol: args.protocol.into(),
        ..ServerConfig::new(certificate.clone(), key.clone())
    };
    SslCtx::server(&config).context("the server's settings")
}

pub(super) fn client(args: &Args) -> Result<SslCtx> {
    let config = ClientConfig {
        min_protocol: args.protocol.into(),
        max_protocol: args.protocol.into(),
        // X25519 it is; but TLS 1.2 wants the certificate's curve listed, too (RFC 8422, section 5.1).
        groups: Some("X25519:P-256".to_owned()),
        ..ClientConfig::default()
    };
    SslCtx::client(&config).context("the client's settings")
}

impl Args {
    /// Connections stepped between two polls.
    pub(super) fn burst(&self) -> usize {
        self.burst.unwrap_or(self.connections)
    }
}

impl Version {
    /// As people write it.
    pub fn name(self) -> &'static str {
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
        assert!(error_of("--burst 0").contains("--burst 0"));
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
    fn all_connections_are_in_flight_unless_the_burst_is_smaller() {
        let line = "--cert p256 --connections 16 --rounds 1 --handshakes 32";
        assert_eq!(smoke(line)["ops_in_flight_peak"], 16);
        assert_eq!(smoke(&format!("{line} --burst 8"))["burst"], 8);
    }

    #[test]
    fn one_connection_at_a_time_runs_without_batches() {
        let object = smoke("--cert p256 --connections 1 --rounds 1 --handshakes 4");
        assert!(object["batch_fill_mean"].is_null());
    }
}
