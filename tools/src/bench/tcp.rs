//! `spinlane bench tcp`: connections that carry a question and an answer and nothing else: what TCP itself costs.
//!
//! Over the kernel's sockets by epoll, as a server would; with --port over our own stack. The question is answered by as many bytes,
//! and the server closes first: it is in its table, not the
//! client's, that connections wait out their time.

mod kernel;
#[cfg(feature = "dpdk")]
mod port;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use spinlane_proxy::carrier::Carrier;
use spinlane_proxy::packets::PacketArgs;

use crate::measure::{on_core, thread_cpu_ns, within};

/// Bytes of a question and of an answer at most.
const MOST_BYTES: usize = 64 * 1024;

/// What is said.
static SAID: [u8; MOST_BYTES] = [b'x'; MOST_BYTES];

/// Either end.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Answers.
    Serve(Args),
    /// Asks.
    Load(Args),
}

/// Where, how much and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server.
    #[arg(value_name = "IP:PORT")]
    server: SocketAddr,
    /// Bytes of a question, and of its answer.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    bytes: usize,
    /// Connections in flight; connections at once, of a server.
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// How long. A server counts from the first connection.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    seconds: f64,
    /// A port in place of the kernel's sockets.
    #[command(flatten)]
    packets: PacketArgs,
    /// The core to pin to [default: the last one].
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Report {
    connections: u64,
    failed: u64,
    connections_per_s: f64,
    /// Of this end's thread, for turns in which something moved.
    cpu_us_per_connection: f64,
}

/// Runs one end and prints its report.
///
/// # Errors
/// An argument is at fault, or there was no connection.
pub fn run(command: &Command) -> Result<()> {
    let (args, serves) = match command {
        Command::Serve(args) => (args, true),
        Command::Load(args) => (args, false),
    };
    within("--bytes", args.bytes, 1..=MOST_BYTES)?;
    within("--connections", args.connections, 1..=1 << 20)?;
    within("--seconds", args.seconds, 0.01..=3600.0)?;
    let report = match &args.packets.port {
        Some(spec) => on_port(args, spec, serves)?,
        None => {
            let plan = args.clone();
            on_core(args.core, move |_, _| kernel::run(&plan, serves))?
        }
    };
    ensure!(report.connections != 0, "{}: no connection", args.server);
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "{:.0} connections/s ({} done, {} failed), {:.2} us of CPU each",
            report.connections_per_s,
            report.connections,
            report.failed,
            report.cpu_us_per_connection
        );
    }
    Ok(())
}

#[cfg(feature = "dpdk")]
fn on_port(args: &Args, spec: &str, serves: bool) -> Result<Report> {
    port::run(args, spec, serves)
}

#[cfg(not(feature = "dpdk"))]
fn on_port(_: &Args, spec: &str, _: bool) -> Result<Report> {
    anyhow::bail!("--port {spec}: {}", spinlane_proxy::packets::NO_DPDK)
}

/// One connection.
struct Exchange<C> {
    carrier: C,
    /// Bytes that are still to come, and to leave.
    incoming: usize,
    outgoing: usize,
    serves: bool,
}

impl<C: Carrier> Exchange<C> {
    fn new(carrier: C, bytes: usize, serves: bool) -> Self {
        Self {
            carrier,
            incoming: bytes,
            outgoing: bytes,
            serves,
        }
    }

    /// Does what can be done without waiting; returns whether it is over.
    fn turn(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        if !self.serves {
            self.say()?;
        }
        let has_ended = loop {
            match self.carrier.fill(scratch) {
                Ok(0) => break true,
                Ok(count) => self.incoming = self.incoming.saturating_sub(count),
                Err(error) if is_transient(&error) => break false,
                Err(error) => return Err(error),
            }
        };
        if has_ended && self.incoming != 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if self.serves && self.incoming == 0 && self.outgoing != 0 {
            self.say()?;
            if self.outgoing == 0 {
                self.carrier.end();
            }
        }
        Ok(has_ended && self.outgoing == 0)
    }

    fn say(&mut self) -> io::Result<()> {
        while self.outgoing != 0 {
            match self.carrier.drain(&SAID[..self.outgoing]) {
                Ok(count) => self.outgoing -= count,
                Err(error) if is_transient(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether a call may be made again; one on a socket that is not connected yet included.
fn is_transient(error: &io::Error) -> bool {
    use ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | NotConnected)
}

/// Counts, and knows when it is over.
struct Tally {
    report: Report,
    length: Duration,
    /// The first connection.
    begun: Option<(Instant, u64)>,
    busy_ns: u64,
    /// Where what comes is read to.
    scratch: Vec<u8>,
}

impl Tally {
    fn new(args: &Args) -> Self {
        Self {
            report: Report::default(),
            length: Duration::from_secs_f64(args.seconds),
            begun: None,
            busy_ns: 0,
            scratch: vec![0; MOST_BYTES],
        }
    }

    fn begin(&mut self) -> Result<()> {
        if self.begun.is_none() {
            self.begun = Some((Instant::now(), thread_cpu_ns()?));
        }
        Ok(())
    }

    fn count(&mut self, ended: &io::Result<bool>) {
        match ended {
            Ok(_) => self.report.connections += 1,
            Err(_) => self.report.failed += 1,
        }
    }

    fn is_over(&self) -> bool {
        self.begun
            .is_some_and(|(begun, _)| begun.elapsed() >= self.length)
    }

    /// `sleeps`: the thread slept when there was nothing to do, so that its CPU time is what it was busy. Of a thread that spins it is the
    /// share of busy turns: whatever else ran on its core took from both alike.
    fn finish(self, sleeps: bool) -> Result<Report> {
        let mut report = self.report;
        if let Some((begun, cpu_ns)) = self.begun {
            let cpu_ns = (thread_cpu_ns()? - cpu_ns) as f64;
            let busy_share = match sleeps {
                true => 1.0,
                false => self.busy_ns as f64 / begun.elapsed().as_nanos() as f64,
            };
            let connections = report.connections.max(1) as f64;
            report.connections_per_s = report.connections as f64 / begun.elapsed().as_secs_f64();
            report.cpu_us_per_connection = cpu_ns * busy_share / 1e3 / connections;
        }
        Ok(report)
    }
}
