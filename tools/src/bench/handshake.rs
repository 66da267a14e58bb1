//! `spinlane bench handshake`: offloaded against the stock libraries, round by round.

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustls::CipherSuite;
use serde::Serialize;
use spinlane::cryptodev::QueuePairConfig;
use spinlane::openssl::Protocol;
use spinlane::{Lcore, device};

use super::client::ClientCtx;
use super::pipeline::{Pipeline, Round};
use super::report::{Measured, Report};
use super::server::ServerCtx;
use crate::measure::{Stopwatch, on_core, pairs, within};
use spinlane_proxy::tls::{Identity, KeyKind, Library};

/// What does TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FrontEnd {
    /// rustls over aws-lc.
    Rustls,
    /// The machine's libssl.
    Openssl,
    /// rustls as C programs have it, by spinlane_conn_* of --library: one more side to compare with.
    C,
}

impl FrontEnd {
    /// The library that does TLS on our side.
    pub fn library(self) -> Library {
        match self {
            Self::Openssl => Library::Openssl,
            Self::Rustls | Self::C => Library::Rustls,
        }
    }
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

/// The key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// X25519.
    X25519,
    /// ECDH on P-256.
    P256,
    /// X25519 and ML-KEM-768, which needs `--tls rustls`; libssl is no baseline then.
    #[value(name = "x25519mlkem768")]
    X25519Mlkem768,
}

/// The cipher suite of TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// TLS_AES_128_GCM_SHA256, which browsers put first.
    Aes128,
    /// TLS_AES_256_GCM_SHA384, which OpenSSL's clients put first.
    Aes256,
}

impl From<Suite> for CipherSuite {
    fn from(suite: Suite) -> Self {
        match suite {
            Suite::Aes128 => Self::TLS13_AES_128_GCM_SHA256,
            Suite::Aes256 => Self::TLS13_AES_256_GCM_SHA384,
        }
    }
}

/// Handshakes and one small message each way, clients in memory.
///
/// Counts what the server does: making its connection, its calls of the TLS library, the polls,
/// dropping it. Clients and the moving of bytes are counted on neither side. Rounds take turns on
/// one pinned core with rounds of the stock libraries, synchronous: OpenSSL, and for `--tls rustls`
/// also rustls over aws-lc-rs. A set of rounds during which the thread was preempted is thrown away
/// and made up for, at most four times as often.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The library that does TLS.
    #[arg(long, value_enum, default_value = "rustls")]
    pub(super) tls: FrontEnd,
    /// The library that `--tls c` loads [default: libspinlane.so beside this program].
    #[arg(long, value_name = "PATH")]
    pub(super) library: Option<std::path::PathBuf>,
    /// The server's certificate.
    #[arg(long, value_enum, default_value = "rsa2048")]
    pub(super) cert: KeyKind,
    /// The version of TLS.
    #[arg(long, value_enum, default_value = "1.3")]
    pub(super) protocol: Version,
    /// The key exchange.
    #[arg(long, value_enum, default_value = "x25519")]
    pub(super) group: Group,
    /// The only cipher suite that clients offer [default: all that libssl's offer, of which servers prefer aes128].
    #[arg(long, value_enum)]
    pub(super) suite: Option<Suite>,
    /// Resume one session over and over, with a key exchange; a ticket per handshake unless
    /// `--tickets` asks for more.
    #[arg(long)]
    pub(super) resume: bool,
    /// Connections at a time.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(super) connections: usize,
    /// Connections stepped between two polls, those begun first: only about as many handshakes are
    /// under way at once, on either side, and the others wait to begin [default: 8, which fill a batch
    /// and stay in the caches].
    #[arg(long, value_name = "B")]
    pub(super) burst: Option<usize>,
    /// Rounds of each side.
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
    within("--handshakes", args.handshakes, 1..=10_000_000)?;
    ensure!(
        args.suite.is_none() || (!args.resume && args.protocol == Version::Tls13),
        "--suite needs --protocol 1.3, and goes without --resume"
    );
    ensure!(
        args.group != Group::X25519Mlkem768
            || (args.tls.library() == Library::Rustls
                && !args.resume
                && args.protocol == Version::Tls13),
        "--group x25519mlkem768 needs --tls rustls and --protocol 1.3, and goes without --resume"
    );
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    check(args)?;
    let identity = Identity::self_signed(args.cert)?;
    let mut plan = args.clone();
    if plan.resume {
        plan.tickets = plan.tickets.max(1);
    }
    let plan = plan;
    let measured = on_core(args.core, move |core, lcore| {
        on_this_core(&plan, &identity, core, lcore)
    })?;
    Report::of(args, &measured)
}

/// The rounds, on the pinned thread.
fn on_this_core(args: &Args, identity: &Identity, core: usize, lcore: &Lcore) -> Result<Measured> {
    spinlane::crypto::random::warm_up();
    let device = device::open(&args.device).context("--device")?;
    lcore.add_queue_pair(device.queue_pair(QueuePairConfig::default())?);
    let mut servers = vec![ServerCtx::ours(args.tls.library(), args, identity)?];
    if args.tls == FrontEnd::C {
        servers.push(ServerCtx::c(args, identity)?);
    }
    if args.tls.library() == Library::Rustls {
        servers.push(ServerCtx::stock_rustls(args, identity)?);
    }
    if args.group != Group::X25519Mlkem768 {
        servers.push(ServerCtx::stock_openssl(args, identity)?);
    }
    let client = ClientCtx::new(args, identity)?;
    let watch = Stopwatch::new();
    let mut sides: Vec<Pipeline<'_>> = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        let lcore = (index == 0).then_some(lcore);
        let (connections, burst) = (args.connections, args.burst());
        sides.push(Pipeline::new(
            server,
            &client,
            lcore,
            &watch,
            connections,
            burst,
        ));
    }
    // Warms up caches, pools and lazily made objects, and gets a session to resume.
    for side in &mut sides {
        side.round(1)?;
        side.round(args.handshakes.min(4 * args.connections))?;
    }
    let rounds = pairs(args.rounds, |number| {
        rounds_of(&mut sides, number, args.handshakes)
    })?;
    Ok(Measured {
        core,
        baselines: servers[1..].iter().map(ServerCtx::name).collect(),
        rounds: rounds.kept,
        thrown_away: rounds.thrown_away,
        preempted: rounds.preempted,
        device: device.name().to_owned(),
        stats: lcore.stats(),
        overhead_ns: watch.overhead_ns(),
    })
}

/// A round of each side, which take turns in going first.
fn rounds_of(sides: &mut [Pipeline<'_>], number: usize, handshakes: usize) -> Result<Vec<Round>> {
    let count = sides.len();
    let mut rounds: Vec<Option<Round>> = std::iter::repeat_with(|| None).take(count).collect();
    for index in (0..count).map(|index| (index + number) % count) {
        rounds[index] = Some(sides[index].round(handshakes)?);
    }
    Ok(rounds.into_iter().flatten().collect())
}

/// See `Args::burst`.
const DEFAULT_BURST: usize = 8;

impl Args {
    /// The suite that every server takes, the stock ones too: none is compared with a cheaper one.
    pub(super) fn preferred(&self) -> Suite {
        self.suite.unwrap_or(Suite::Aes128)
    }

    /// Connections stepped between two polls.
    pub(super) fn burst(&self) -> usize {
        self.burst.unwrap_or(DEFAULT_BURST)
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
            (FrontEnd::Rustls, KeyKind::Rsa2048, Version::Tls13)
        );
        assert_eq!(
            (args.connections, args.device.as_str(), args.tickets),
            (64, "auto", 0)
        );
        let args = parse("--cert p256 --protocol 1.2 --connections 3 --core 1 --json").unwrap();
        assert_eq!((args.cert, args.protocol), (KeyKind::P256, Version::Tls12));
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
            "baselines",
            "rounds",
            "batch_fill_mean",
            "rounds_thrown_away",
            "server_us_p50",
            "server_us_p99",
        ] {
            assert!(object.contains_key(key), "{key} is missing");
        }
        for baseline in object["baselines"].as_array().unwrap() {
            for key in [
                "name",
                "handshakes_per_s",
                "ratio_median",
                "ratio_min",
                "ratio_max",
                "p99_ratio",
            ] {
                assert!(!baseline[key].is_null(), "{key} is missing");
            }
        }
        assert!(object["ops_enqueued"].as_u64().unwrap() > 0);
        assert_eq!(object["ops_failed"], 0);
        assert_eq!(object["ops_inline"], 0);
        // One callback per pause: a hybrid exchange is two ops of a handshake's three.
        let count = |name: &str| object[name].as_u64().unwrap();
        let pauses_of_three = if line.contains("mlkem768") { 2 } else { 3 };
        assert_eq!(
            3 * count("callbacks"),
            pauses_of_three * count("ops_enqueued")
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
    fn each_library_has_the_stock_ones_it_is_measured_against() {
        for (line, names) in [
            ("--tls openssl", &["OpenSSL"][..]),
            ("--tls rustls --resume", &["rustls+aws-lc-rs", "OpenSSL"]),
            (
                "--tls rustls --resume --protocol 1.2",
                &["rustls+aws-lc-rs", "OpenSSL"],
            ),
            ("--tls openssl --resume --protocol 1.2", &["OpenSSL"]),
            (
                "--tls rustls --group p256",
                &["rustls+aws-lc-rs", "OpenSSL"],
            ),
            ("--tls rustls --group x25519mlkem768", &["rustls+aws-lc-rs"]),
        ] {
            let object = smoke(&format!(
                "{line} --cert p256 --connections 4 --rounds 1 --handshakes 8"
            ));
            let baselines = object["baselines"].as_array().unwrap();
            assert_eq!(baselines.len(), names.len(), "{line}");
            for (baseline, name) in baselines.iter().zip(names) {
                assert!(
                    baseline["name"].as_str().unwrap().starts_with(name),
                    "{baseline}"
                );
            }
        }
        assert!(error_of("--tls openssl --group x25519mlkem768").contains("--tls rustls"));
    }

    #[test]
    fn the_same_loop_by_the_c_interface_is_one_more_side() {
        let target = std::env::current_exe().unwrap();
        // Of target/PROFILE/deps/THIS.
        let target = target.ancestors().nth(3).unwrap();
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "--offline",
            "--package",
            "spinlane-capi",
        ]);
        let built = build.arg("--target-dir").arg(target).status();
        assert!(built.unwrap().success(), "{build:?}");
        let library = target.join("debug/libspinlane.so");
        for line in ["--cert p256 --resume", "--cert rsa2048 --protocol 1.2"] {
            let object = smoke(&format!(
                "--tls c --library {} {line} --connections 4 --rounds 1 --handshakes 8",
                library.display()
            ));
            let baselines = object["baselines"].as_array().unwrap();
            assert_eq!(baselines.len(), 3);
            assert!(
                baselines[0]["name"]
                    .as_str()
                    .unwrap()
                    .starts_with("spinlane_conn_*")
            );
        }
        let text = error_of("--tls c --library /no/such.so");
        assert!(
            text.contains("/no/such.so") && text.contains("--library"),
            "{text}"
        );
    }

    #[test]
    fn all_connections_are_in_flight_if_the_burst_is_as_large() {
        let line = "--cert p256 --connections 16 --rounds 1 --handshakes 32";
        assert_eq!(
            smoke(&format!("{line} --burst 16"))["ops_in_flight_peak"],
            16
        );
        assert_eq!(smoke(line)["burst"], 8);
    }

    #[test]
    fn one_connection_at_a_time_runs_without_batches() {
        let object = smoke("--cert p256 --connections 1 --rounds 1 --handshakes 4");
        assert!(object["batch_fill_mean"].is_null());
    }
}
