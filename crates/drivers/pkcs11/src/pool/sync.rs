//! The one switch between the real primitives and loom's, which a model checker drives through every
//! interleaving (`RUSTFLAGS="--cfg loom"`).

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

/// A word that a thread sleeps on: a futex.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(crate) struct Futex(AtomicU32);

#[cfg(not(loom))]
impl Futex {
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Sleeps unless the word is no longer `value`; may wake for no reason.
    pub(crate) fn wait(&self, value: u32) {
        atomic_wait::wait(&self.0, value);
    }

    pub(crate) fn wake(&self) {
        atomic_wait::wake_one(&self.0);
    }
}

/// The same out of what loom has: a sleeper that nobody wakes is a deadlock, which loom finds.
#[cfg(loom)]
#[derive(Debug, Default)]
pub(crate) struct Futex {
    word: AtomicU32,
    lock: Mutex<()>,
    woken: loom::sync::Condvar,
}

#[cfg(loom)]
impl Futex {
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    pub(crate) fn wait(&self, value: u32) {
        let guard = self.lock.lock().unwrap();
        if self.word.load(Ordering::Relaxed) == value {
            drop(self.woken.wait(guard));
        }
    }

    pub(crate) fn wake(&self) {
        drop(self.lock.lock().unwrap());
        self.woken.notify_one();
    }
}
