//! Pinned threads that Spinlane owns.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use core_affinity::CoreId;
use spinlane_crypto::random;
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
    threads: Vec<JoinHandle<Result<T, LaunchError>>>,
}

impl<T> Launched<T> {
    /// Waits until all have returned; their results in the order of their cores.
    ///
    /// # Errors
    /// [`LaunchError::Pin`], which [`launch`] has found out before.
    ///
    /// # Panics
    /// A panic of an lcore's function goes through.
    pub fn join(self) -> Result<Vec<T>, LaunchError> {
        let join = |thread: JoinHandle<_>| {
            let joined = thread.join();
            joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        self.threads.into_iter().map(join).collect()
    }
}

/// Runs `body` on one pinned thread per core, each with an lcore of its own, to which it attaches its
/// connections. None starts before all threads are there and pinned, and have drawn random bytes
/// once ([`random::warm_up`]).
///
/// # Errors
/// See [`LaunchError`]; `body` has not run then, on no core.
pub fn launch<T, F>(cores: &[usize], config: Config, body: F) -> Result<Launched<T>, LaunchError>
where
    T: Send + 'static,
    F: Fn(usize, &Lcore) -> T + Clone + Send + 'static,
{
    check(cores)?;
    let mut threads = Vec::new();
    let mut waiting = Vec::new();
    for &core in cores {
        let body = body.clone();
        let (pinned, is_pinned) = channel();
        let (go, start) = channel();
        let thread = thread::Builder::new()
            .name(format!("lcore-{core}"))
            .spawn(move || run(core, config, body, &pinned, &start))
            .map_err(|source| LaunchError::Thread { core, source })?;
        threads.push(thread);
        waiting.push((core, is_pinned, go));
    }
    for (core, is_pinned, _) in &waiting {
        if is_pinned.recv() != Ok(true) {
            return Err(LaunchError::Pin { core: *core });
        }
    }
    for (.., go) in waiting {
        // The thread is waiting for it.
        let _ = go.send(());
    }
    Ok(Launched { threads })
}

/// A thread's life: pin, say so, wait for the others, work. Returns early when `start` is
/// dropped because another thread failed.
fn run<T>(
    core: usize,
    config: Config,
    body: impl Fn(usize, &Lcore) -> T,
    pinned: &Sender<bool>,
    start: &Receiver<()>,
) -> Result<T, LaunchError> {
    let is_pinned = core_affinity::set_for_current(CoreId { id: core });
    random::warm_up();
    // Nobody listens when the launch has failed already, and then `start` says so.
    let _ = pinned.send(is_pinned);
    if start.recv().is_err() {
        return Err(LaunchError::Pin { core });
    }
    Ok(body(core, &Lcore::new(config)))
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
