//! `spinlane bench`: whole handshakes against the stock libraries.

mod arrivals;
mod c;
mod client;
mod connect;
mod handshake;
mod local;
mod memory;
mod pipeline;
mod records;
mod report;
mod server;
mod tcp;

use anyhow::Result;
use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
pub enum Command {
    /// Handshakes in memory; counts the server's CPU time only.
    Handshake(handshake::Args),
    /// Application data, sealed and opened.
    Records(records::Args),
    /// New connections per second of a server that runs elsewhere.
    Connect(connect::Args),
    /// Memory per idle and per paused connection.
    Memory(memory::Args),
    /// Handshakes in memory that arrive at random; throughput, batch fill and latency by load.
    Arrivals(arrivals::Args),
    /// TCP alone: a question, an answer, the end. Two processes.
    #[command(subcommand)]
    Tcp(tcp::Command),
}

/// Runs `command` and prints what it measured.
///
/// # Errors
/// An argument is at fault, or a handshake failed.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Handshake(args) => handshake::run(args),
        Command::Records(args) => records::run(args),
        Command::Connect(args) => connect::run(args),
        Command::Memory(args) => memory::run(args),
        Command::Arrivals(args) => arrivals::run(args),
        Command::Tcp(command) => tcp::run(command),
    }
}
