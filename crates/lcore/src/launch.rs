//! Pinned threads that Spinlane owns.

use std::thread::{self, JoinHandle};

use core_affinity::CoreId;
use thiserror::Error;

use crate::core::{Config, Lcore};

/// Why no lcores were launched. The text names the core.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The list of cores is empty.
    #[error("no core given; name at least one, e.g. --cores 1")]
    NoCore,
    /// The machine has no such core, or this process may not use it.
    #[error(
        "core {core} does not exist or is not allowed to this process; usable cores: {usable:?}"
    )]
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// The cores there are.
        usable: Vec<usize>,
    },
    /// A core was named twice: two lcores that spin on one core starve each other.
    #[error("core {core} is named twice; give each lcore a core of its own")]
    Twice {
        /// The core.
        core: usize,
    },
    /// The thread could not be made.
    #[error("cannot start the thread of core {core}: {source}; raise the limit on threads")]
    Thread {
        /// The core.
        core: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread could not be pinned.
    #[error(
        "cannot pin a thread to core {core}; check the process's CPU affinity (taskset, cpuset)"
    )]
    Pin {
        /// The core.
        core: usize,
    },
}

/// Lcores at work, each on a pinned thread.
pub struct Launched<T> {
    threads: Vec<(usize, JoinHandle<Result<T, LaunchError>>)>,
}

impl<T> Launched<T> {
    /// Waits until all have returned; their results in the order of their cores.
    ///
    /// # Errors
    /// A thread could not be pinned.
    ///
    /// # Panics
    /// A panic of an lcore's function goes through.
    pub fn join(self) -> Result<Vec<T>, LaunchError> {
        let mut results = Vec::new();
        for (_, thread) in self.threads {
            results.push(
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
            );
        }
        Ok(results)
    }
}

/// Runs `body` on one pinned thread per core, each with an lcore of its own, entered.
///
/// # Errors
/// See [`LaunchError`]; cores are checked before any thread starts.
pub fn launch<T, F>(cores: &[usize], config: Config, body: F) -> Result<Launched<T>, LaunchError>
where
    T: Send + 'static,
    F: Fn(usize, &Lcore) -> T + Clone + Send + 'static,
{
    check(cores)?;
    let mut threads = Vec::new();
    for &core in cores {
        let body = body.clone();
        let thread = thread::Builder::new()
            .name(format!("lcore-{core}"))
            .spawn(move || run(core, config, body))
            .map_err(|source| LaunchError::Thread { core, source })?;
        threads.push((core, thread));
    }
    Ok(Launched { threads })
}

fn run<T>(
    core: usize,
    config: Config,
    body: impl Fn(usize, &Lcore) -> T,
) -> Result<T, LaunchError> {
    if !core_affinity::set_for_current(CoreId { id: core }) {
        return Err(LaunchError::Pin { core });
    }
    let lcore = Lcore::new(config);
    let _entered = lcore.enter();
    Ok(body(core, &lcore))
}

fn check(cores: &[usize]) -> Result<(), LaunchError> {
    if cores.is_empty() {
        return Err(LaunchError::NoCore);
    }
    let usable: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .iter()
        .map(|id| id.id)
        .collect();
    for (position, &core) in cores.iter().enumerate() {
        if !usable.contains(&core) {
            return Err(LaunchError::NoSuchCore { core, usable });
        }
        if cores[..position].contains(&core) {
            return Err(LaunchError::Twice { core });
        }
    }
    Ok(())
}
