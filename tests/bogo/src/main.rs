//! A shim for BoGo, the TLS test suite of BoringSSL: README.md beside this crate says how it is run.
//!
//! The runner starts this program once per test with flags that describe one side of a connection; the program connects to
//! it, is that side, echoes every byte's complement, and says by its exit status how that went. What goes wrong in TLS is
//! status 1, a flag that is not known 89, by which the runner skips the test.

#![forbid(unsafe_code)]

mod config;
mod exchange;
mod flags;

use std::process::ExitCode;

/// A flag asks for what is not there; the runner skips the test.
const UNIMPLEMENTED: u8 = 89;

fn main() -> ExitCode {
    // The runner asks once whether handshakes can be split over two processes.
    if std::env::args().any(|flag| flag == "-is-handshaker-supported") {
        println!("No");
        return ExitCode::SUCCESS;
    }
    let flags = match flags::Flags::parse(std::env::args().skip(1)) {
        Ok(flags) => flags,
        Err(what) => {
            eprintln!("not implemented: {what}");
            return ExitCode::from(UNIMPLEMENTED);
        }
    };
    match exchange::run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
