//! What can be set, and what can go wrong at the start.

use spinlane_cryptodev::{DeviceError, QueuePairConfig};
use thiserror::Error;

use crate::idle::IdlePolicy;

/// How crypto cores work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The queue pair that each crypto core opens on the inner device, shared by its clients:
    /// up to `capacity` ops are with the device, the others wait in the clients' rings.
    pub inner: QueuePairConfig,
    /// What a crypto core does when it has nothing to do.
    pub idle: IdlePolicy,
    /// An op that the inner device has not given back after so long counts as lost and comes
    /// back failed. Nanoseconds; default 10 s.
    pub lost_after_ns: u64,
    /// A crypto core that has not made a turn for so long counts as stuck: it gets no new ops
    /// until it does. Longer than any batch and any sleep. Nanoseconds; default 1 s.
    pub stuck_after_ns: u64,
    /// How long a stop waits for a stuck crypto core before it leaves the thread to itself.
    /// Nanoseconds; default 5 s.
    pub stop_within_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            inner: QueuePairConfig::default(),
            idle: IdlePolicy::default(),
            lost_after_ns: 10_000_000_000,
            stuck_after_ns: 1_000_000_000,
            stop_within_ns: 5_000_000_000,
        }
    }
}

/// Why there are no crypto cores. The text names the core and the remedy.
#[derive(Debug, Error)]
pub enum StartError {
    /// The list of cores is empty.
    #[error("lookaside has no core; name at least one, e.g. lookaside:mb@1")]
    NoCore,
    /// The machine has no such core, or this process may not use it.
    #[error(
        "crypto core {core} does not exist or is not allowed to this process; usable: {usable:?} (see \
         taskset, cpuset)"
    )]
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// Those that can be named.
        usable: Vec<usize>,
    },
    /// A core was named twice.
    #[error("crypto core {core} is named twice; give each crypto core a core of its own")]
    Twice {
        /// The core.
        core: usize,
    },
    /// A sleep as long as that would pass for being stuck.
    #[error(
        "a crypto core that sleeps for {sleep_us} us would pass for stuck; let it sleep for \
         {max_us} us at most"
    )]
    Sleep {
        /// The sleep asked for, in microseconds.
        sleep_us: u128,
        /// The longest, in microseconds.
        max_us: u64,
    },
    /// The thread could not be made.
    #[error("cannot start the thread of crypto core {core}: {source}; raise the limit on threads")]
    Thread {
        /// The core.
        core: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The inner device panicked while it opened a queue pair.
    #[error("the inner device panicked on crypto core {core}; choose another device")]
    Panicked {
        /// The core.
        core: usize,
    },
    /// The inner device gave no queue pair.
    #[error("the inner device on crypto core {core}: {source}")]
    Inner {
        /// The core.
        core: usize,
        /// What it said.
        source: DeviceError,
    },
}
