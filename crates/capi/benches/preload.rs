//! What libspinlane.so costs or saves a program that knows nothing of it: the same C program with the
//! library preloaded (and the provider active, where keys are used) and without, by turns.
//!
//! `cargo bench --package spinlane-capi`, on a quiet machine, pinned (`taskset -c 1`).

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use support::{Link, compile, configuration, identity, succeed, text, with_spinlane};

/// Turns; each figure is the median of as many runs.
const TURNS: usize = 9;

fn run(program: &Path, arguments: &[&str], configuration: Option<&Path>) -> f64 {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("OPENSSL_CONF");
    if let Some(configuration) = configuration {
        with_spinlane(&mut command, configuration);
    }
    text(&succeed(&mut command).stdout).trim().parse().unwrap()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let program = compile("benches/work.c", Link::Stock, &["-O2"]);
    let provider = configuration("bench", "");
    let [rsa, ec] = ["rsa2048", "p256"].map(|kind| {
        let identity = identity(kind);
        [identity.certificate, identity.key].map(|file| file.display().to_string())
    });
    let rows: [(&str, Vec<&str>); 7] = [
        ("resume and pause", vec!["job"]),
        ("sign RSA-2048", vec!["sign", &rsa[1]]),
        ("sign P-256", vec!["sign", &ec[1]]),
        (
            "handshake 1.3 RSA-2048",
            vec!["handshake", &rsa[0], &rsa[1], "1.3"],
        ),
        (
            "handshake 1.3 P-256",
            vec!["handshake", &ec[0], &ec[1], "1.3"],
        ),
        (
            "handshake 1.2 RSA-2048",
            vec!["handshake", &rsa[0], &rsa[1], "1.2"],
        ),
        (
            "handshake 1.2 P-256",
            vec!["handshake", &ec[0], &ec[1], "1.2"],
        ),
    ];
    println!(
        "{:<24} {:>12} {:>12} {:>8}",
        "ns of CPU per op", "OpenSSL", "Spinlane", "ratio"
    );
    for (name, arguments) in rows {
        let (mut stock, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            stock.push(run(&program, &arguments, None));
            ours.push(run(&program, &arguments, Some(&provider)));
        }
        let (stock, ours) = (median(stock), median(ours));
        println!(
            "{name:<24} {stock:>12.1} {ours:>12.1} {:>8.2}",
            ours / stock
        );
    }
}
