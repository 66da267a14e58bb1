//! Certificates and keys read again on SIGHUP: the main thread reads, the cores look now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::context::Context;

/// What was read last. Clones share it.
#[derive(Clone)]
pub struct Current(Arc<Inner>);

struct Inner {
    /// How often the files were read.
    reading: AtomicU64,
    context: Mutex<Context>,
}

impl Current {
    /// The first reading.
    pub fn new(context: Context) -> Self {
        Self(Arc::new(Inner {
            reading: AtomicU64::new(1),
            context: Mutex::new(context),
        }))
    }

    /// Number of the last reading.
    pub fn reading(&self) -> u64 {
        // What belongs to it is read under the lock.
        self.0.reading.load(Ordering::Relaxed)
    }

    /// The last reading and its number. Takes a lock: not for every connection.
    pub fn latest(&self) -> (u64, Context) {
        let context = self
            .0
            .context
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (self.reading(), context.clone())
    }

    /// Replaces it.
    pub fn replace(&self, context: Context) {
        let mut place = self
            .0
            .context
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = context;
        self.0.reading.fetch_add(1, Ordering::Relaxed);
    }
}
