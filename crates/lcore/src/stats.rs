//! What a poll core counts.

use hdrhistogram::Histogram;
use spinlane_cryptodev::{DeviceStats, OpKind};

/// Counters of one lcore since it was made.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Calls of [`Lcore::poll`](crate::Lcore::poll).
    pub iterations: u64,
    /// Polls that found nothing to do.
    pub empty_polls: u64,
    /// Nanoseconds spent in polls that found something to do.
    pub busy_ns: u64,
    /// Polls refused because a callback or a job asked for them.
    pub reentrant_polls: u64,
    /// Polls made by a resume that came before the job's op was done.
    pub restart_polls: u64,
    /// Callbacks made.
    pub callbacks: u64,
    /// Polls whose callbacks took longer in all than
    /// [`Config::slow_callback_ns`](crate::Config::slow_callback_ns): at least one of them is slow.
    pub slow_callbacks: u64,
    /// Ops computed on the caller's stack, because they did not come from a job that can pause.
    pub inline_ops: u64,
    /// Ops computed inline because no queue pair of this lcore offers their kind.
    pub unrouted_ops: u64,
    /// One entry per queue pair, in the order they were added.
    pub channels: Vec<ChannelStats>,
}

/// Counters of one queue pair and the slots in front of it.
#[derive(Clone, Debug)]
pub struct ChannelStats {
    /// Name of the device.
    pub device: String,
    /// Ops accepted.
    pub enqueued: u64,
    /// Ops that came back done.
    pub completed: u64,
    /// Ops that came back failed.
    pub failed: u64,
    /// Attempts refused because the queue pair was full.
    pub refused: u64,
    /// Attempts made again after a refusal.
    pub retried: u64,
    /// Ops that came back after their connection had gone.
    pub orphaned: u64,
    /// Ops that the device gave back twice, or under a token that it was never given.
    pub stray: u64,
    /// Ops in flight now.
    pub in_flight: usize,
    /// Most ops ever in flight.
    pub in_flight_peak: usize,
    /// Ops in flight at most.
    pub capacity: usize,
    /// Connections in the retry queue now.
    pub retry_queue: usize,
    /// Partial batches started because the lcore had nothing else to do.
    pub idle_flushes: u64,
    /// The device's own counters.
    pub device_stats: DeviceStats,
    /// One entry per op kind that was used.
    pub kinds: Vec<KindStats>,
}

impl ChannelStats {
    /// Mean number of lanes filled per batch; `None` before the first batch.
    pub fn batch_fill_mean(&self) -> Option<f64> {
        let DeviceStats {
            batches, batched, ..
        } = self.device_stats;
        (batches != 0).then(|| batched as f64 / batches as f64)
    }
}

/// Latency of one op kind, from its submission to its callback.
#[derive(Clone, Debug)]
pub struct KindStats {
    /// Which kind.
    pub kind: OpKind,
    /// Nanoseconds, three significant digits.
    pub latency_ns: Histogram<u64>,
}

/// A histogram of 1 ns to 60 s with three significant digits; longer values count as 60 s.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    // The bounds are constants within the crate's documented range.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are valid")
}
