//! SIGTERM and SIGINT: the first asks to stop, the second does not ask. SIGHUP: read the files again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit status after a second signal.
const CUT_SHORT: i32 = 1;

/// Asks all cores to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that the signals set.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, CUT_SHORT, Arc::clone(&stop.0))
                .and_then(|_| flag::register(signal, Arc::clone(&stop.0)))
                .with_context(|| format!("installing the handler of signal {signal}"))?;
        }
        Ok(stop)
    }

    /// Whether it was asked for.
    pub fn asked(&self) -> bool {
        // Nothing is read that the asking side wrote before.
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// SIGHUP came.
#[derive(Debug, Default)]
pub struct Hangup(Arc<AtomicBool>);

impl Hangup {
    /// One that the signal sets.
    ///
    /// # Errors
    /// The handler cannot be installed.
    pub fn on_signal() -> Result<Self> {
        let hangup = Self::default();
        flag::register(SIGHUP, Arc::clone(&hangup.0))
            .with_context(|| format!("installing the handler of signal {SIGHUP}"))?;
        Ok(hangup)
    }

    /// Whether it came since the last call.
    pub fn take(&self) -> bool {
        // Nothing is read that the other side wrote before.
        self.0.swap(false, Ordering::Relaxed)
    }
}
