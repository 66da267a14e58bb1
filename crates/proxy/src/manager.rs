//! What the service manager is told (sd_notify(3)): that we are ready, read files again, stop; and, where it has a watchdog, that
//! every core still turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Signs of life of the cores. Clones share them.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<[AtomicU64]>);

impl Pulse {
    /// For so many cores.
    pub fn new(cores: usize) -> Self {
        Self((0..cores).map(|_| AtomicU64::new(0)).collect())
    }

    /// The core at `position` turns.
    pub fn beat(&self, position: usize) {
        if let Some(beats) = self.0.get(position) {
            // Each has its own, and nothing is read that was written before.
            beats.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Vec<u64> {
        self.0
            .iter()
            .map(|beats| beats.load(Ordering::Relaxed))
            .collect()
    }
}

/// The service manager; nobody, unless it has started us and wants to know.
#[derive(Debug)]
pub struct Manager {
    pulse: Pulse,
    /// The watchdog is fed this often, if there is one.
    every: Option<Duration>,
    fed: Instant,
    beats: Vec<u64>,
    /// When it was said last that a core does not turn.
    complained: Option<Instant>,
    /// Cores end one by one: none of them is stuck for that.
    is_stopping: bool,
}

impl Manager {
    /// Whoever the environment names ($NOTIFY_SOCKET, $WATCHDOG_USEC), who is told of `pulse`.
    pub fn of_environment(pulse: Pulse) -> Self {
        Self {
            beats: pulse.read(),
            pulse,
            // Twice as often as it asks for, as sd_watchdog_enabled(3) recommends.
            every: sd_notify::watchdog_enabled().map(|within| within / 2),
            fed: Instant::now(),
            complained: None,
            is_stopping: false,
        }
    }

    /// Clients are served.
    pub fn ready(&self) {
        say(&[NotifyState::Ready]);
    }

    /// Files are read again, from now until [`Manager::ready`].
    pub fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            say(&[NotifyState::Reloading, now]);
        }
    }

    /// The end begins.
    pub fn stopping(&mut self) {
        self.is_stopping = true;
        say(&[NotifyState::Stopping]);
    }

    /// Feeds the watchdog, if it is time, and every core has turned since the last time. To be called now and then.
    pub fn mind_the_time(&mut self) {
        let Some(every) = self.every.filter(|every| self.fed.elapsed() >= *every) else {
            return;
        };
        let beats = self.pulse.read();
        let stuck = beats
            .iter()
            .zip(&self.beats)
            .position(|(now, before)| now == before);
        match stuck.filter(|_| !self.is_stopping) {
            None => {
                say(&[NotifyState::Watchdog]);
                (self.beats, self.fed) = (beats, Instant::now());
            }
            Some(position) => {
                // Asked again at every look, and told once per period.
                let is_told = self.complained.is_some_and(|then| then.elapsed() < every);
                if is_told || self.fed.elapsed() < every + every / 2 {
                    return;
                }
                self.complained = Some(Instant::now());
                tracing::error!(
                    "core number {position} of --cores does not turn; the service manager is not told that all is well"
                );
            }
        }
    }
}

/// Where nobody listens, nobody is told.
fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_only_if_every_core_has_turned() {
        let pulse = Pulse::new(2);
        let mut manager = Manager::of_environment(pulse.clone());
        manager.every = Some(Duration::ZERO);
        let mut is_fed = || {
            let before = manager.fed;
            manager.mind_the_time();
            manager.fed != before
        };
        assert!(!is_fed());
        pulse.beat(0);
        assert!(!is_fed(), "the other core is stuck");
        pulse.beat(1);
        assert!(is_fed());
        pulse.beat(1);
        assert!(!is_fed());
    }
}
