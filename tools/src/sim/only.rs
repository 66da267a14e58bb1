//! A queue pair that offers some kinds of ops.

use spinlane::cryptodev::{Burst, Capabilities, DeviceStats, KeyHandle, QueuePair};

/// `inner`, for ops of `kinds` alone.
pub struct Only {
    /// The queue pair.
    pub inner: Box<dyn QueuePair>,
    /// What it serves here.
    pub kinds: Capabilities,
}

impl QueuePair for Only {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        self.kinds
    }

    fn holds(&self, key: &KeyHandle) -> bool {
        self.inner.holds(key)
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        self.inner.enqueue_burst(ops)
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, now_ns: u64) -> usize {
        self.inner.dequeue_burst(done, max, now_ns)
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn stats(&self) -> DeviceStats {
        self.inner.stats()
    }

    fn is_inline(&self) -> bool {
        self.inner.is_inline()
    }

    fn reset(&mut self) -> bool {
        self.inner.reset()
    }

    fn xstats(&self) -> Vec<(&'static str, u64)> {
        self.inner.xstats()
    }
}
