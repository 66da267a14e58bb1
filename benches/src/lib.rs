//! Criterion benches on pinned cores.
//!
//! A bench takes its `Criterion` from [`pinned`]:
//!
//! ```
//! use criterion::{Criterion, criterion_group};
//!
//! fn nothing(c: &mut Criterion) {
//!     c.bench_function("nothing", |b| b.iter(|| ()));
//! }
//!
//! criterion_group! {
//!     name = benches;
//!     config = spinlane_benches::pinned();
//!     targets = nothing
//! }
//! ```
//!
//! The core is the last one the process may use, or the one that the
//! environment variable `SPINLANE_BENCH_CORE` names.

pub mod connection;

use std::sync::OnceLock;
use std::time::Duration;
use std::{env, process};

use core_affinity::CoreId;
use criterion::Criterion;

/// The environment variable that names the core to bench on.
pub const CORE_VARIABLE: &str = "SPINLANE_BENCH_CORE";

/// Why the bench thread could not be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// `SPINLANE_BENCH_CORE` is not the number of a core.
    #[error(
        "{CORE_VARIABLE}={value:?} names no core that this process may use; use one of {cores:?}"
    )]
    NoSuchCore {
        /// The variable's value.
        value: String,
        /// The cores this process may use.
        cores: Vec<usize>,
    },
    /// The operating system did not say which cores there are.
    #[error("the cores that this process may use are unknown; run without a sandbox")]
    NoCores,
    /// The operating system refused.
    #[error("the thread could not be pinned to core {core}; set {CORE_VARIABLE} to another")]
    Refused {
        /// The core's number.
        core: usize,
    },
}

/// The cores of a bench.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// Where the bench thread runs.
    pub bench: CoreId,
    /// Where a second thread may run; `None` if there is one core only.
    pub peer: Option<CoreId>,
}

/// Pins the calling thread ([`pin`]) and returns a `Criterion` with times short
/// enough for many benches.
#[must_use]
pub fn pinned() -> Criterion {
    pin();
    Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
}

/// Pins the calling thread to the bench core and says so.
///
/// Exits with an error message if the thread cannot be pinned: figures from a
/// wandering thread would be worth nothing.
pub fn pin() {
    match cores().and_then(|cores| pin_to(cores.bench)) {
        Ok(core) => eprintln!("bench thread pinned to core {core}"),
        Err(error) => {
            eprintln!("error: {error}");
            process::exit(2);
        }
    }
}

/// Pins the calling thread to `core` and returns the core's number.
///
/// # Errors
///
/// [`PinError::Refused`] if the operating system does not let it.
pub fn pin_to(core: CoreId) -> Result<usize, PinError> {
    if core_affinity::set_for_current(core) {
        Ok(core.id)
    } else {
        Err(PinError::Refused { core: core.id })
    }
}

/// Chooses the cores: the bench's as the crate's first lines say, the peer's
/// the last other one. Only a process that has not pinned itself yet knows
/// them all; so the first answer stands.
///
/// # Errors
///
/// [`PinError`] if `SPINLANE_BENCH_CORE` names none.
pub fn cores() -> Result<Cores, PinError> {
    static CORES: OnceLock<Result<Cores, PinError>> = OnceLock::new();
    let choice = || {
        let all = core_affinity::get_core_ids().unwrap_or_default();
        choose(all, env::var(CORE_VARIABLE).ok())
    };
    CORES.get_or_init(choice).clone()
}

fn choose(mut cores: Vec<CoreId>, wanted: Option<String>) -> Result<Cores, PinError> {
    let bench = match wanted {
        None => cores.last().copied().ok_or(PinError::NoCores)?,
        Some(value) => value
            .parse()
            .ok()
            .map(|id| CoreId { id })
            .filter(|core| cores.contains(core))
            .ok_or_else(|| PinError::NoSuchCore {
                value,
                cores: cores.iter().map(|core| core.id).collect(),
            })?,
    };
    cores.retain(|&core| core != bench);
    Ok(Cores {
        bench,
        peer: cores.pop(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<CoreId> {
        (0..3).map(|id| CoreId { id }).collect()
    }

    #[test]
    fn the_last_core_by_default_and_another_as_peer() {
        let cores = choose(three(), None).unwrap();
        assert_eq!((cores.bench.id, cores.peer.unwrap().id), (2, 1));
        let alone = choose(vec![CoreId { id: 7 }], None).unwrap();
        assert_eq!((alone.bench.id, alone.peer), (7, None));
    }

    #[test]
    fn the_variable_decides() {
        let cores = choose(three(), Some("1".into())).unwrap();
        assert_eq!((cores.bench.id, cores.peer.unwrap().id), (1, 2));
    }

    #[test]
    fn a_core_that_is_none_is_named_with_those_that_are() {
        for value in ["3", "-1", "", "last"] {
            let error = choose(three(), Some(value.into())).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!("{value:?}")), "{text}");
            assert!(text.contains("[0, 1, 2]"), "{text}");
        }
        assert_eq!(choose(Vec::new(), None).unwrap_err(), PinError::NoCores);
    }
}
