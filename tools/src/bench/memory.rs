//! `spinlane bench memory`: what a connection holds while nothing happens, and while its handshake is
//! paused.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use spinlane::cryptodev::QueuePairConfig;
use spinlane::{Conn, device};

use super::handshake::Suite;
use super::local::{Local, establish};
use super::server::Server;
use crate::measure::{on_core, within};
use spinlane_proxy::tls::{Progress, Tls};

/// Connections made and dropped first, so that pools and the allocator have what they keep.
const WARM_UP: usize = 64;

/// Resident memory per connection of the server: established and idle after a request and its answer,
/// and paused in its handshake; beside an idle one of stock rustls. All of them are held at once, in one process.
///
/// Resident memory counts everything: the allocator's own, and the pages of a paused job's stack. Clients
/// are gone before it is read.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Connections held at once.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    connections: usize,
    /// Handshakes paused at once; the kernel's limit on mappings is two per stack [default: as
    /// many as --connections, at most 10000].
    #[arg(long, value_name = "N")]
    paused: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    connections: usize,
    /// Resident bytes per idle established connection.
    idle_bytes: f64,
    stock_rustls_idle_bytes: f64,
    paused: usize,
    /// Resident bytes per paused handshake, its stack included.
    paused_bytes: f64,
}

/// Runs the benchmark and prints its report.
///
/// # Errors
/// An argument is at fault, or a handshake fails.
pub fn run(args: &Args) -> Result<()> {
    let report = measure(args)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "resident bytes per connection: idle {:.0} ({} held; stock rustls {:.0}), paused {:.0} ({} held)",
            report.idle_bytes,
            report.connections,
            report.stock_rustls_idle_bytes,
            report.paused_bytes,
            report.paused
        );
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    within("--connections", args.connections, 1..=10_000_000)?;
    let paused = args.paused.unwrap_or(args.connections.min(10_000));
    within("--paused", paused, 1..=30_000)?;
    let connections = args.connections;
    on_core(None, move |_, lcore| {
        let local = Local::new(Suite::Aes128)?;
        let idle_bytes = idle(&local, Local::ours, connections)?;
        let stock_rustls_idle_bytes = idle(&local, Local::stock, connections)?;
        let capacity = paused;
        let config = QueuePairConfig {
            capacity,
            ..QueuePairConfig::default()
        };
        lcore.add_queue_pair(device::open("soft")?.queue_pair(config)?);
        let paused_bytes = while_paused(&local, lcore, paused)?;
        Ok(Report {
            connections,
            idle_bytes,
            stock_rustls_idle_bytes,
            paused,
            paused_bytes,
        })
    })
}

/// Resident bytes per established connection.
fn idle(local: &Local, accept: fn(&Local) -> Result<Server>, count: usize) -> Result<f64> {
    let connect = || {
        let (mut client, mut server) = (local.client()?, accept(local)?);
        establish(&mut client, &mut server)?;
        client.write(b"request")?;
        client.write_output(|bytes| server.push_input(bytes).map_err(std::io::Error::other))?;
        ensure!(
            server.read(&mut [0; 16])? == Progress::Done(7),
            "a request was cut"
        );
        server.write(b"answer")?;
        server.write_output(<[u8]>::len)?;
        anyhow::Ok(server)
    };
    (0..WARM_UP).try_for_each(|_| connect().map(drop))?;
    let mut held = Vec::with_capacity(count);
    let before = resident_bytes()?;
    for _ in 0..count {
        held.push(connect()?);
    }
    per_connection(before, count)
}

/// Resident bytes per connection whose first op is with the device, which nobody polls.
fn while_paused(local: &Local, lcore: &spinlane::Lcore, count: usize) -> Result<f64> {
    let mut hello = Vec::new();
    local.client()?.write_output(|bytes| {
        hello.extend_from_slice(bytes);
        Ok(bytes.len())
    })?;
    let mut held = Vec::with_capacity(count);
    let before = resident_bytes()?;
    for index in 0..count {
        let mut server = local.ours()?;
        if let Server::Tls(tls @ Tls::Rustls(_)) = &mut server {
            tls.attach(lcore, Conn(index as u64));
        }
        server.push_input(&hello)?;
        let progress = server.handshake()?;
        ensure!(
            progress == Progress::Paused,
            "a handshake came to {progress:?}"
        );
        held.push(server);
    }
    let bytes = per_connection(before, count);
    drop(held);
    // Their ops are nobody's now; the device does them all the same.
    while lcore.in_flight() != 0 {
        lcore.poll()?;
    }
    bytes
}

fn per_connection(before: u64, count: usize) -> Result<f64> {
    Ok(resident_bytes()?.saturating_sub(before) as f64 / count as f64)
}

/// VmRSS of this process (proc(5)).
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = number.context("/proc/self/status has no VmRSS")?.parse()?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_holds_what_it_was_asked_to_hold() {
        let args = Args {
            connections: 50,
            paused: None,
            json: false,
        };
        let report = measure(&args).unwrap();
        assert_eq!((report.connections, report.paused), (50, 50));
        assert!(
            report.paused_bytes > 4096.0,
            "a stack has a page at least: {report:?}"
        );
        assert!(
            measure(&Args {
                connections: 0,
                ..args
            })
            .is_err()
        );
    }
}
