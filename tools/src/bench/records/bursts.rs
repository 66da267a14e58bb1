//! Records of many connections as bursts to a device, beside the same records sealed in place.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use spinlane::cryptodev::QueuePairConfig;
use spinlane::lcore::{Conn, Lcore};
use spinlane::rustls::Connection;
use spinlane_proxy::tls::{Progress, Tls};

use super::super::local::{Local, establish};
use super::super::server::Server;
use super::Args;
use crate::measure::{Spread, Stopwatch, on_core, pairs, within};

/// Polls without anything coming back, after which a device is stuck rather than slow.
const MAX_POLLS: u32 = 100_000_000;

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Report {
    device: String,
    core: usize,
    rows: Vec<Row>,
}

/// One size at one burst.
#[derive(Debug, Serialize)]
struct Row {
    record_bytes: usize,
    burst: usize,
    /// Medians.
    device_gb_s: f64,
    in_place_gb_s: f64,
    ratio_median: f64,
    ratio_min: f64,
    ratio_max: f64,
    rounds: usize,
    rounds_thrown_away: usize,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "seal  {:>8}{:>8}{:>16}{:>16}{:>8}   ({}, core {})",
            "bytes", "burst", "device GB/s", "in place GB/s", "ratio", self.device, self.core
        )?;
        self.rows.iter().try_for_each(|row| {
            writeln!(
                f,
                "      {:>8}{:>8}{:>16.2}{:>16.2}{:>8.2}   ({:.2} to {:.2})",
                row.record_bytes,
                row.burst,
                row.device_gb_s,
                row.in_place_gb_s,
                row.ratio_median,
                row.ratio_min,
                row.ratio_max
            )
        })
    }
}

/// Measures the device that `spec` names.
///
/// # Errors
/// An argument is at fault, or a record is.
pub fn measure(args: &Args, spec: &str) -> Result<Report> {
    for burst in &args.burst {
        within("--burst", *burst, 1..=4096)?;
    }
    for size in &args.size {
        within("--size", *size, 1..=16 * 1024)?;
    }
    let (plan, spec) = (args.clone(), spec.to_owned());
    on_core(args.core, move |core, lcore| {
        let device = spinlane::device::open(&spec).with_context(|| format!("--device {spec}"))?;
        let queue_pair = device.record_queue_pair(QueuePairConfig::default())?;
        lcore.add_record_queue_pair(queue_pair);
        let local = Local::new(plan.suite)?;
        let mut rows = Vec::new();
        for size in &plan.size {
            for burst in &plan.burst {
                rows.push(row(&plan, &local, lcore, *size, *burst)?);
            }
        }
        Ok(Report {
            device: device.name().to_owned(),
            core,
            rows,
        })
    })
}

fn row(args: &Args, local: &Local, lcore: &Lcore, size: usize, burst: usize) -> Result<Row> {
    let watch = Stopwatch::new();
    let mut device = Group::new(local, Some(lcore), size, burst)?;
    let mut in_place = Group::new(local, None, size, burst)?;
    let turns = ((args.volume << 20) / (size * burst)).max(1);
    let rounds = pairs(args.rounds, |number| {
        if number % 2 == 0 {
            let first = device.round(turns, &watch)?;
            return Ok((first, in_place.round(turns, &watch)?));
        }
        let first = in_place.round(turns, &watch)?;
        Ok((device.round(turns, &watch)?, first))
    })?;
    let ratio = Spread::of(rounds.kept.iter().map(|(device, here)| device / here))?;
    Ok(Row {
        record_bytes: size,
        burst,
        device_gb_s: Spread::of(rounds.kept.iter().map(|(device, _)| *device))?.median,
        in_place_gb_s: Spread::of(rounds.kept.iter().map(|(_, here)| *here))?.median,
        ratio_median: ratio.median,
        ratio_min: ratio.min,
        ratio_max: ratio.max,
        rounds: rounds.kept.len(),
        rounds_thrown_away: rounds.thrown_away,
    })
}

/// Connections that write a record each per turn.
struct Group<'a> {
    lcore: Option<&'a Lcore>,
    servers: Vec<Connection>,
    plain: Vec<u8>,
}

impl<'a> Group<'a> {
    fn new(local: &Local, lcore: Option<&'a Lcore>, size: usize, burst: usize) -> Result<Self> {
        let mut clients = VecDeque::new();
        let mut servers = Vec::new();
        for name in 0..burst {
            let (mut client, mut server) = (local.client()?, local.ours()?);
            establish(&mut client, &mut server)?;
            let Server::Tls(Tls::Rustls(mut server)) = server else {
                bail!("the server is none of ours");
            };
            if let Some(lcore) = lcore {
                server.attach(lcore, Conn(name as u64));
                ensure!(
                    server.offloads_records(),
                    "--device: it does not seal with --suite; `spinlane devices` lists under AEAD what it does"
                );
            }
            clients.push_back(client);
            servers.push(server);
        }
        let plain = (0..size).map(|index| index as u8).collect();
        let mut group = Self {
            lcore,
            servers,
            plain,
        };
        group.check(clients)?;
        Ok(group)
    }

    /// A turn whose records are opened.
    fn check(&mut self, mut clients: VecDeque<Connection>) -> Result<()> {
        let mut records = vec![Vec::new(); clients.len()];
        self.turn(|name, record| records[name].extend_from_slice(record))?;
        for record in records {
            let mut client = clients.pop_front().context("a record too many")?;
            client.push_input(&record);
            let mut text = vec![0; self.plain.len()];
            let read = client.read(&mut text)?;
            ensure!(
                read == Progress::Done(text.len()) && text == self.plain,
                "a record came out wrong"
            );
        }
        Ok(())
    }

    /// Gigabytes of plain text per second of this core's time.
    fn round(&mut self, turns: usize, watch: &Stopwatch) -> Result<f64> {
        let mut spent_ns = 0;
        for _ in 0..turns {
            let (done, ns) = watch.time(|| self.turn(|_, _| {}));
            done?;
            spent_ns += ns;
        }
        let bytes = turns * self.servers.len() * self.plain.len();
        Ok(bytes as f64 / spent_ns.max(1) as f64)
    }

    /// Every connection writes a record; `send` gets each that is sealed, and whose it is.
    fn turn(&mut self, mut send: impl FnMut(usize, &[u8])) -> Result<()> {
        let Some(lcore) = self.lcore else {
            for (name, server) in self.servers.iter_mut().enumerate() {
                write(server, &self.plain)?;
                take(server, |record| send(name, record))?;
            }
            return Ok(());
        };
        for server in &mut self.servers {
            write(server, &self.plain)?;
        }
        let (mut left, mut polls) = (self.servers.len(), 0);
        while left != 0 {
            ensure!(polls < MAX_POLLS, "the device keeps records for ever");
            polls += 1;
            lcore.poll()?;
            while let Some(Conn(name)) = lcore.next_ready() {
                let name = name as usize;
                let server = self.servers.get_mut(name).context("a name of nobody's")?;
                take(server, |record| send(name, record))?;
                left -= 1;
            }
        }
        Ok(())
    }
}

fn write(server: &mut Connection, plain: &[u8]) -> Result<()> {
    ensure!(
        server.write(plain)? == Progress::Done(plain.len()),
        "a record was cut"
    );
    Ok(())
}

fn take(server: &mut Connection, send: impl FnOnce(&[u8])) -> Result<()> {
    server.write_output(|record| {
        send(record);
        Ok(record.len())
    })?;
    Ok(())
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

    fn measured(spec: &str, suite: &str) -> Result<Report> {
        let line = "records --rounds 1 --volume 1 --size 64,16384 --burst 1,9 --suite";
        let line = line.split(' ').chain([suite, "--device", spec]);
        measure(&Cli::try_parse_from(line)?.args, spec)
    }

    #[test]
    fn every_size_is_measured_at_every_burst() {
        for spec in ["soft", "sim:1,wrong-status=0.1:soft"] {
            let report = measured(spec, "aes256").unwrap();
            let rows = report.rows.iter();
            let at: Vec<_> = rows.map(|row| (row.record_bytes, row.burst)).collect();
            assert_eq!(at, [(64, 1), (64, 9), (16_384, 1), (16_384, 9)]);
            let is_measured = |row: &Row| row.device_gb_s > 0.0 && row.in_place_gb_s > 0.0;
            assert!(report.rows.iter().all(is_measured));
        }
    }

    #[test]
    fn a_device_without_records_is_named() {
        let error = measured("mb", "aes128").unwrap_err().to_string();
        assert!(error.contains("serves no records"), "{error}");
    }
}
