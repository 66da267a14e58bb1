//! The configuration and its files read again on SIGHUP: the main thread reads, the cores look now and then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::doors::Running;

/// What was read last. Clones share it.
#[derive(Clone)]
pub struct Current(Arc<Inner>);

struct Inner {
    /// How often the files were read.
    reading: AtomicU64,
    running: Mutex<Arc<Running>>,
}

impl Current {
    /// The first reading.
    pub fn new(running: Running) -> Self {
        Self(Arc::new(Inner {
            reading: AtomicU64::new(1),
            running: Mutex::new(Arc::new(running)),
        }))
    }

    /// Number of the last reading.
    pub fn reading(&self) -> u64 {
        // What belongs to it is read under the lock.
        self.0.reading.load(Ordering::Relaxed)
    }

    /// The last reading and its number. Takes a lock: not for every connection.
    pub fn latest(&self) -> (u64, Arc<Running>) {
        let running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (self.reading(), Arc::clone(&running))
    }

    /// Replaces it.
    pub fn replace(&self, running: Running) {
        let mut place = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(running);
        self.0.reading.fetch_add(1, Ordering::Relaxed);
    }
}

/// What came of SIGHUP, for the counters.
#[derive(Debug)]
pub struct Outcome {
    is_good: AtomicBool,
    /// Of the last that was good, or of the start; in seconds since 1970.
    good_since: AtomicU64,
    is_ready: AtomicBool,
    /// When each certificate that is served ends, in seconds since 1970.
    expiries: Mutex<Vec<(String, i64)>>,
}

impl Default for Outcome {
    /// The start.
    fn default() -> Self {
        Self {
            is_good: AtomicBool::new(true),
            good_since: AtomicU64::new(now()),
            is_ready: AtomicBool::new(false),
            expiries: Mutex::default(),
        }
    }
}

impl Outcome {
    /// One has come to its end.
    pub fn note(&self, is_good: bool) {
        self.is_good.store(is_good, Ordering::Relaxed);
        if is_good {
            self.good_since.store(now(), Ordering::Relaxed);
        }
    }

    /// Whether clients are served, from now on.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Whether clients are served, and nobody has asked to stop.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// `running` is in force.
    pub fn note_certificates(&self, running: &Running) {
        let doors = running
            .doors
            .iter()
            .flat_map(|door| door.context.expiries());
        *self.expiries.lock().unwrap_or_else(PoisonError::into_inner) = doors.cloned().collect();
    }

    /// When each certificate that is served ends, in seconds since 1970, by its name.
    pub fn expiries(&self) -> Vec<(String, i64)> {
        let mut all = self
            .expiries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // Several listeners may have the same.
        all.sort();
        all.dedup();
        all
    }

    /// Whether the last was good, or there was none.
    pub fn is_good(&self) -> bool {
        self.is_good.load(Ordering::Relaxed)
    }

    /// When what is in force was read, in seconds since 1970.
    pub fn good_since(&self) -> u64 {
        self.good_since.load(Ordering::Relaxed)
    }
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs()
}
