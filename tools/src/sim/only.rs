//! A queue pair that offers some kinds of ops, or lacks the keys that its device has.

use spinlane::cryptodev::{Burst, Capabilities, DeviceStats, KeyHandle, QueuePair};

/// `inner`, for ops of `kinds` alone. Counts those that should never have come.
pub struct Only {
    /// The queue pair.
    pub inner: Box<dyn QueuePair>,
    /// What it serves here.
    pub kinds: Capabilities,
    /// Whether it has keys of its own, if its device has.
    pub has_keys: bool,
    /// Ops with keys that it does not have.
    pub misrouted: u64,
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
        key.as_local().is_some() || self.has_keys && self.inner.holds(key)
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let keys = ops.iter().filter_map(|op| op.key());
        self.misrouted += keys.filter(|key| !self.holds(key)).count() as u64;
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
        let mut all = self.inner.xstats();
        if self.misrouted != 0 {
            all.push(("misrouted", self.misrouted));
        }
        all
    }
}
