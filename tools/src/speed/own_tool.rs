//! `spinlane speed --check-peers`: OpenSSL as the peer beside `openssl speed`, so that no ratio is flattered by a peer
//! that is called worse than it can be.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use spinlane::crypto::aead::Algorithm as Aead;
use spinlane::cryptodev::OpKind;

use super::aead::Evp;
use super::peer::{Peer, Whom};
use super::point::Keys;
use super::{Algorithm, Args, Side};
use crate::measure::Spread;

/// What the peer must reach of its own tool's figure, in the median of the rounds.
const LEAST: f64 = 0.85;
const ROUNDS: usize = 3;
/// CPU time of one of the peer's rounds; the tool's takes a second.
const SLICE_NS: u64 = 500_000_000;

/// How `openssl speed` is asked for an algorithm, and where its figure stands in what `-mr` prints.
#[derive(Debug, PartialEq)]
struct Question {
    arguments: Vec<String>,
    /// First field of the line, which is split at colons.
    line: &'static str,
    field: usize,
    /// Bytes per op, where the figure counts bytes.
    size: Option<usize>,
    /// The first release that answers, as OPENSSL_VERSION_NUMBER.
    since: i64,
}

/// One algorithm.
#[derive(Debug, Default, Serialize)]
struct Row {
    algorithm: &'static str,
    size: Option<usize>,
    /// Ops per second of CPU time, medians.
    peer_ops_per_s: f64,
    tool_ops_per_s: f64,
    ratio_median: f64,
    ratio_min: f64,
    ratio_max: f64,
}

/// Compares all algorithms, or those named, on the pinned thread.
///
/// # Errors
/// The peer is too slow, or `openssl` cannot be run or is of another version than the library.
pub fn check(args: &Args) -> Result<()> {
    let library = openssl::version::version();
    let program = run(&["version".to_owned()])?;
    ensure!(
        program.contains(&format!("Library: {library}")),
        "--check-peers: the program openssl says {program:?}, and the library in use is {library:?}; \
         put the program that belongs to it first in PATH"
    );
    let all = OpKind::ALL.into_iter().map(Algorithm::Op);
    let mut algorithms: Vec<_> = all
        .chain(Aead::ALL.into_iter().map(Algorithm::Aead))
        .collect();
    if !args.algorithm.is_empty() {
        algorithms.clone_from(&args.algorithm);
    }
    if !args.json {
        let (peer, tool) = ("peer/s", "its tool/s");
        println!(
            "{:<17} {:>5} {peer:>10} {tool:>10}  ratio (min to max)",
            "algorithm", "size"
        );
    }
    let mut rows = Vec::new();
    for algorithm in algorithms {
        let sizes = match algorithm {
            Algorithm::Op(_) => &[0][..],
            Algorithm::Aead(_) => &args.size,
        };
        for &size in sizes {
            let row = match Question::of(algorithm, size) {
                Ok(question) => row(algorithm, size, &question)?,
                Err(why) => {
                    eprintln!("{}: not checked: {why}", algorithm.name());
                    continue;
                }
            };
            row.print(args.json)?;
            rows.push(row);
        }
    }
    verdict(&rows)
}

/// # Errors
/// The peer is too slow in one of `rows`.
fn verdict(rows: &[Row]) -> Result<()> {
    let slow: Vec<_> = rows
        .iter()
        .filter(|row| row.ratio_median < LEAST)
        .map(|row| format!("{} {:.2}", row.algorithm, row.ratio_median))
        .collect();
    ensure!(
        slow.is_empty(),
        "OpenSSL as the peer is slower than {LEAST} of `openssl speed`: {}; its ratios are too good by as much",
        slow.join(", ")
    );
    Ok(())
}

/// Rounds of both by turns.
fn row(algorithm: Algorithm, size: usize, question: &Question) -> Result<Row> {
    let keys = Keys::default();
    let mut peer: Box<dyn Side> = match algorithm {
        Algorithm::Op(kind) => Box::new(Peer::new(Whom::Openssl, kind, keys.of(kind)?)?),
        Algorithm::Aead(algorithm) => Box::new(Evp::new(algorithm, size, 1)?),
    };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push((peer.round(SLICE_NS)?, question.ask()?));
    }
    let ratio = Spread::of(rounds.iter().map(|(peer, tool)| peer / tool))?;
    Ok(Row {
        algorithm: algorithm.name(),
        size: question.size,
        peer_ops_per_s: Spread::of(rounds.iter().map(|round| round.0))?.median,
        tool_ops_per_s: Spread::of(rounds.iter().map(|round| round.1))?.median,
        ratio_median: ratio.median,
        ratio_min: ratio.min,
        ratio_max: ratio.max,
    })
}

/// What the program `openssl` prints.
fn run(arguments: &[String]) -> Result<String> {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .context("--check-peers needs the program openssl")?;
    ensure!(
        output.status.success(),
        "openssl {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Question {
    /// How to ask for `algorithm` on `size` bytes.
    ///
    /// # Errors
    /// Why this release of OpenSSL cannot be asked.
    fn of(algorithm: Algorithm, size: usize) -> Result<Self> {
        let op = |name: &str, line, field| Self {
            arguments: vec![name.to_owned()],
            line,
            field,
            size: None,
            since: 0,
        };
        // As key encapsulation, whose first figure is making a key.
        let keygen = |name: &str| Self {
            since: 0x3020_0000,
            ..op(name, "+F9", 2)
        };
        let question = match algorithm {
            Algorithm::Op(OpKind::Rsa2048) => op("rsa2048", "+F2", 3),
            Algorithm::Op(OpKind::Rsa3072) => op("rsa3072", "+F2", 3),
            Algorithm::Op(OpKind::Rsa4096) => op("rsa4096", "+F2", 3),
            Algorithm::Op(OpKind::EcdsaP256) => op("ecdsap256", "+F4", 3),
            Algorithm::Op(OpKind::EcdsaP384) => op("ecdsap384", "+F4", 3),
            Algorithm::Op(OpKind::Ed25519) => op("ed25519", "+F6", 4),
            Algorithm::Op(OpKind::X25519Derive) => op("ecdhx25519", "+F5", 3),
            Algorithm::Op(OpKind::EcdhP256Derive) => op("ecdhp256", "+F5", 3),
            Algorithm::Op(OpKind::EcdhP384Derive) => op("ecdhp384", "+F5", 3),
            Algorithm::Op(OpKind::X25519Keygen) => keygen("X25519"),
            Algorithm::Op(OpKind::EcdhP256Keygen) => keygen("ECP-256"),
            Algorithm::Op(OpKind::EcdhP384Keygen) => keygen("ECP-384"),
            Algorithm::Op(
                OpKind::X25519Exchange | OpKind::EcdhP256Exchange | OpKind::EcdhP384Exchange,
            ) => bail!("`openssl speed` has the parts alone: keygen and derive"),
            Algorithm::Op(
                OpKind::MlKem768Keygen | OpKind::MlKem768Encap | OpKind::MlKem768Decap,
            ) => bail!("AWS-LC is the peer of ML-KEM"),
            Algorithm::Aead(Aead::ChaCha20Poly1305) => {
                bail!("`openssl speed` seals all as one record, even with -aead")
            }
            Algorithm::Aead(_) if size == 0 => bail!("`openssl speed` does not seal 0 bytes"),
            Algorithm::Aead(algorithm) => Self {
                arguments: [
                    "-aead",
                    "-evp",
                    algorithm.name(),
                    "-bytes",
                    &size.to_string(),
                ]
                .map(str::to_owned)
                .to_vec(),
                size: Some(size),
                ..op("", "+F", 3)
            },
        };
        let version = openssl::version::number();
        ensure!(
            version >= question.since,
            "`openssl speed` has it from {} on",
            release(question.since)
        );
        Ok(question)
    }

    /// Runs `openssl speed` for a second; ops per second of CPU time.
    fn ask(&self) -> Result<f64> {
        let fixed = ["speed", "-seconds", "1", "-mr"].map(str::to_owned);
        let said = run(&[&fixed[..], &self.arguments].concat())?;
        self.find(&said)
            .with_context(|| format!("`openssl speed -mr` has no {} in {said:?}", self.line))
    }

    /// The figure in what `-mr` printed.
    fn find(&self, said: &str) -> Option<f64> {
        said.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            if fields.first() != Some(&self.line) {
                return None;
            }
            let figure: f64 = fields.get(self.field)?.parse().ok()?;
            let ops_per_s = figure / self.size.unwrap_or(1) as f64;
            (ops_per_s > 0.0).then_some(ops_per_s)
        })
    }
}

/// Major and minor number of an OPENSSL_VERSION_NUMBER.
fn release(version: i64) -> String {
    format!("{}.{}", version >> 28, version >> 20 & 0xff)
}

impl Row {
    fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "{:<17} {:>5} {:>10.0} {:>10.0}  {:.2} ({:.2} to {:.2})",
            self.algorithm,
            self.size.map_or("-".to_owned(), |size| size.to_string()),
            self.peer_ops_per_s,
            self.tool_ops_per_s,
            self.ratio_median,
            self.ratio_min,
            self.ratio_max
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What 3.0.19 and 3.5.9 print for these.
    const RSA_30: &str = "+DTP:2048:private:rsa:1\n+R1:917:2048:0.22\n+DTP:2048:public:rsa:1\n\
        +R2:12983:2048:0.22\n+H\n+F2:2:2048:4211.538462:59013.636364\n";
    const RSA_35: &str = "+F2:2:2048:3907.692308:61869.230769:56115.384615:4083.333333\n\
        +F9:2:23.076923:54115.384615:4000.000000\n+F10:2:15.000000:4200.000000:57669.230769\n";
    const ECDSA: &str = "+F4:3:256:51550.000000:16970.909091\n";
    const ECDH: &str = "+R7:4420:256:0.20\n+F5:3:256:22100.000000:0.000045\n";
    const EDDSA: &str = "+F6:0:253:Ed25519:27071.794872:9710.869565\n";
    const KEM: &str = "+F9:7:91352.941176:14042.857143:15507.142857\n";
    const AEAD: &str =
        "+R:170638:AES-128-GCM:0.620000\n+H:16384\n+F:25:AES-128-GCM:4509246761.29\n";

    #[test]
    fn each_figure_is_found_in_what_openssl_speed_prints() {
        let find = |algorithm, size, said| Question::of(algorithm, size).unwrap().find(said);
        let op = |kind, said| find(Algorithm::Op(kind), 0, said);
        assert_eq!(op(OpKind::Rsa2048, RSA_30), Some(4211.538462));
        assert_eq!(op(OpKind::Rsa2048, RSA_35), Some(3907.692308));
        assert_eq!(op(OpKind::EcdsaP256, ECDSA), Some(51550.0));
        assert_eq!(op(OpKind::EcdhP256Derive, ECDH), Some(22100.0));
        assert_eq!(op(OpKind::Ed25519, EDDSA), Some(27071.794872));
        let sealed = find(Algorithm::Aead(Aead::Aes128Gcm), 16384, AEAD);
        assert_eq!(sealed, Some(4509246761.29 / 16384.0));
        if let Ok(keygen) = Question::of(Algorithm::Op(OpKind::EcdhP256Keygen), 0) {
            assert_eq!(keygen.find(KEM), Some(91352.941176));
        }
        for said in ["", "+F4", "+F4:3:256:fast", "+F4:3:256:0.0", RSA_35] {
            assert_eq!(op(OpKind::EcdsaP256, said), None, "{said}");
        }
    }

    #[test]
    fn what_the_tool_lacks_is_said() {
        let why = |kind| {
            Question::of(Algorithm::Op(kind), 0)
                .unwrap_err()
                .to_string()
        };
        assert!(why(OpKind::EcdhP256Exchange).contains("keygen and derive"));
        if openssl::version::number() < 0x3020_0000 {
            assert!(why(OpKind::X25519Keygen).contains("from 3.2 on"));
        }
    }

    #[test]
    fn a_peer_slower_than_its_tool_is_an_error_that_names_it() {
        let row = |algorithm, ratio_median| Row {
            algorithm,
            ratio_median,
            ..Row::default()
        };
        verdict(&[row("rsa2048", 0.97), row("ed25519", 1.2)]).unwrap();
        let rows = [row("rsa2048", 0.97), row("ecdh-p256-derive", 0.46)];
        let said = verdict(&rows).unwrap_err().to_string();
        assert!(
            said.contains("ecdh-p256-derive 0.46") && !said.contains("rsa2048"),
            "{said}"
        );
    }

    #[test]
    fn a_peer_and_its_tool_are_measured_by_turns() {
        let Ok(said) = run(&["version".to_owned()]) else {
            eprintln!("skipped: the program openssl is missing");
            return;
        };
        assert!(said.starts_with("OpenSSL"), "{said}");
        let ed25519 = Algorithm::Op(OpKind::Ed25519);
        let row = row(ed25519, 0, &Question::of(ed25519, 0).unwrap()).unwrap();
        assert!(
            row.peer_ops_per_s > 0.0 && row.tool_ops_per_s > 0.0,
            "{row:?}"
        );
        assert!(row.ratio_min <= row.ratio_median && row.ratio_median <= row.ratio_max);
    }
}
