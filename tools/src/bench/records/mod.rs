//! `spinlane bench records`: application data through our connection and through stock rustls.

mod bursts;

use anyhow::{Result, ensure};
use serde::Serialize;
use spinlane::rustls::Connection;

use super::handshake::Suite;
use super::local::{Local, establish};
use super::server::Server;
use crate::measure::{Spread, Stopwatch, on_core, pairs, within};
use spinlane_proxy::tls::{Progress, Tls};

/// Plain text of a record that is measured, in bytes.
const SIZES: [usize; 2] = [16 * 1024, 1024];

/// Records sealed and opened by the server in TLS 1.3, in GB/s of one core.
///
/// Counts what the server does between plain text and ciphertext in its own memory: neither the client
/// nor the moving of ciphertext, which on a socket the kernel does. Rounds take turns with rounds
/// of stock rustls over aws-lc-rs; those during which the thread was preempted are thrown away.
///
/// With --device, records of as many connections as a burst has go to that device, beside the same records sealed in
/// place; counted is the time of the core that the connections are on, waiting included.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The cipher suite.
    #[arg(long, value_enum, default_value = "aes128")]
    suite: Suite,
    /// Measure this device, in bursts, beside sealing in place.
    #[arg(long, value_name = "SPEC")]
    device: Option<String>,
    /// Bytes of plain text per record, with --device.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N",
        default_value = "64,256,1024,4096,16384",
        requires = "device"
    )]
    size: Vec<usize>,
    /// Connections that write a record per turn, with --device.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N",
        default_value = "1,8,32",
        requires = "device"
    )]
    burst: Vec<usize>,
    /// Rounds of each side.
    #[arg(long, default_value_t = 20, value_name = "K")]
    rounds: usize,
    /// Mebibytes of plain text per round.
    #[arg(long, default_value_t = 8, value_name = "MIB")]
    volume: usize,
    /// The core to pin to [default: the last one].
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    suite: Suite,
    core: usize,
    rows: Vec<Row>,
}

/// One operation at one size.
#[derive(Debug, Serialize)]
struct Row {
    operation: Operation,
    record_bytes: usize,
    /// Medians.
    spinlane_gb_s: f64,
    stock_rustls_gb_s: f64,
    ratio_median: f64,
    ratio_min: f64,
    ratio_max: f64,
    rounds: usize,
    rounds_thrown_away: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Seal,
    Open,
}

/// Runs the benchmark and prints its report.
///
/// # Errors
/// An argument is at fault, or a record is.
pub fn run(args: &Args) -> Result<()> {
    if let Some(spec) = &args.device {
        check(args)?;
        let report = bursts::measure(args, spec)?;
        match args.json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => print!("{report}"),
        }
        return Ok(());
    }
    let report = measure(args)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!(
        "{:<6}{:>8}{:>16}{:>16}{:>8}   ({:?}, core {})",
        "", "bytes", "spinlane GB/s", "rustls GB/s", "ratio", report.suite, report.core
    );
    for row in &report.rows {
        println!(
            "{:<6}{:>8}{:>16.2}{:>16.2}{:>8.2}   ({:.2} to {:.2})",
            format!("{:?}", row.operation).to_lowercase(),
            row.record_bytes,
            row.spinlane_gb_s,
            row.stock_rustls_gb_s,
            row.ratio_median,
            row.ratio_min,
            row.ratio_max
        );
    }
    Ok(())
}

fn check(args: &Args) -> Result<()> {
    within("--rounds", args.rounds, 1..=100_000)?;
    within("--volume", args.volume, 1..=4096)?;
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    check(args)?;
    let plan = args.clone();
    on_core(args.core, move |core, _| {
        let local = Local::new(plan.suite)?;
        let mut rows = Vec::new();
        for operation in [Operation::Seal, Operation::Open] {
            for size in SIZES {
                rows.push(row(&plan, &local, operation, size)?);
            }
        }
        Ok(Report {
            suite: plan.suite,
            core,
            rows,
        })
    })
}

fn row(args: &Args, local: &Local, operation: Operation, size: usize) -> Result<Row> {
    let watch = Stopwatch::new();
    let mut ours = Side::new(local.client()?, local.ours()?, size)?;
    let mut stock = Side::new(local.client()?, local.stock()?, size)?;
    let records = (args.volume << 20) / size;
    let rounds = pairs(args.rounds, |number| {
        if number % 2 == 0 {
            let first = ours.round(operation, records, &watch)?;
            return Ok((first, stock.round(operation, records, &watch)?));
        }
        let first = stock.round(operation, records, &watch)?;
        Ok((ours.round(operation, records, &watch)?, first))
    })?;
    let ratio = Spread::of(rounds.kept.iter().map(|(ours, stock)| ours / stock))?;
    Ok(Row {
        operation,
        record_bytes: size,
        spinlane_gb_s: Spread::of(rounds.kept.iter().map(|(ours, _)| *ours))?.median,
        stock_rustls_gb_s: Spread::of(rounds.kept.iter().map(|(_, stock)| *stock))?.median,
        ratio_median: ratio.median,
        ratio_min: ratio.min,
        ratio_max: ratio.max,
        rounds: rounds.kept.len(),
        rounds_thrown_away: rounds.thrown_away,
    })
}

/// A connection and its memory.
struct Side {
    client: Connection,
    server: Server,
    plain: Vec<u8>,
    /// Ciphertext of the server's, and plain text that it read.
    out: Vec<u8>,
}

impl Side {
    fn new(mut client: Connection, mut server: Server, size: usize) -> Result<Self> {
        establish(&mut client, &mut server)?;
        Ok(Self {
            client,
            server,
            plain: (0..size).map(|index| index as u8).collect(),
            out: vec![0; size + 256],
        })
    }

    /// Gigabytes of plain text per second of the server's time.
    fn round(&mut self, operation: Operation, records: usize, watch: &Stopwatch) -> Result<f64> {
        let mut server_ns = 0;
        for _ in 0..records {
            server_ns += match operation {
                Operation::Seal => self.seal(watch)?,
                Operation::Open => self.open(watch)?,
            };
        }
        Ok((records * self.plain.len()) as f64 / server_ns.max(1) as f64)
    }

    fn seal(&mut self, watch: &Stopwatch) -> Result<u64> {
        let Self {
            server, plain, out, ..
        } = self;
        let (done, server_ns) = watch.time(|| match server {
            Server::Tls(Tls::Rustls(connection)) => {
                let (progress, _) = connection.write_into(plain, out)?;
                anyhow::Ok(progress)
            }
            // What it has sealed it hands out where it lies.
            other => {
                let progress = other.write(plain)?;
                other.write_output(<[u8]>::len)?;
                Ok(progress)
            }
        });
        ensure!(done? == Progress::Done(plain.len()), "a record was cut");
        Ok(server_ns)
    }

    fn open(&mut self, watch: &Stopwatch) -> Result<u64> {
        let Self {
            client,
            server,
            plain,
            out,
        } = self;
        let sent = client.write(plain)?;
        ensure!(sent == Progress::Done(plain.len()), "a record was cut");
        client.write_output(|bytes| server.push_input(bytes).map_err(std::io::Error::other))?;
        ensure!(client.output_len() == 0, "the server took a part only");
        let (done, server_ns) = watch.time(|| server.read(out));
        ensure!(done? == Progress::Done(plain.len()), "a record was cut");
        ensure!(out.starts_with(plain), "a record came out wrong");
        Ok(server_ns)
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

    #[test]
    fn a_run_seals_and_opens_both_sizes() {
        let line = ["records", "--rounds", "1", "--volume", "1"];
        let report = measure(&Cli::try_parse_from(line).unwrap().args).unwrap();
        let rows: Vec<_> = report
            .rows
            .iter()
            .map(|row| (row.operation, row.record_bytes))
            .collect();
        let wanted = [Operation::Seal, Operation::Open]
            .into_iter()
            .flat_map(|operation| SIZES.map(|size| (operation, size)));
        assert_eq!(rows, wanted.collect::<Vec<_>>());
        assert!(
            report
                .rows
                .iter()
                .all(|row| row.spinlane_gb_s > 0.0 && row.ratio_min > 0.0)
        );
    }
}
