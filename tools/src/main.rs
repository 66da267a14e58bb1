//! The program `spinlane`: a TLS proxy on poll-mode cores, and what measures it.

#![deny(unsafe_code)]

mod bench;
mod devices;
mod measure;
mod sim;
mod speed;
mod timing;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use spinlane_proxy as proxy;

/// Poll-mode TLS crypto offload.
#[derive(Parser)]
#[command(name = "spinlane", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Terminate TLS in front of a plain-TCP backend.
    Proxy(Box<proxy::Args>),
    /// Try a configuration file of `spinlane proxy`, and the files that it names.
    Check {
        /// The file.
        file: std::path::PathBuf,
    },
    /// List the crypto devices of this machine.
    Devices,
    /// Measure devices: operations per second and latency.
    Speed(speed::Args),
    /// Search for secrets in the time that operations take.
    Timing(timing::Args),
    /// Simulate devices that fail, with virtual time.
    Sim(sim::Args),
    /// Measure whole handshakes against the stock library.
    #[command(subcommand)]
    Bench(bench::Command),
}

/// What is logged unless RUST_LOG says otherwise. cryptoki calls each mechanism that it does not know an error.
const LOG: &str = "info,cryptoki=off";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| LOG.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let done = match cli.command {
        Command::Proxy(args) => proxy::run(&args),
        Command::Check { file } => proxy::check(&file),
        Command::Devices => devices::run(),
        Command::Speed(args) => speed::run(&args),
        Command::Timing(args) => timing::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Bench(command) => bench::run(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spinlane: {error:#}");
            ExitCode::FAILURE
        }
    }
}
