//! What a poll core counts.

use hdrhistogram::Histogram;
use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::{DeviceStats, Kind, OpKind};

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
    /// Ops computed inline because no queue pair of this lcore offers their kind or algorithm.
    pub unrouted_ops: u64,
    /// AEAD ops that ended with an error at once because they were not prepared.
    pub unprepared_ops: u64,
    /// One entry per queue pair, in the order they were added.
    pub channels: Vec<ChannelStats>,
    /// One entry per queue pair for records, in the order they were added.
    pub records: Vec<ChannelStats<Algorithm>>,
}

/// What became of ops. At any time and for any set of ops,
/// `enqueued = completed + fallback + cancelled + in flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// Ops accepted, by the device or in its place by software.
    pub enqueued: u64,
    /// Ops that the device ended, whatever their status, while somebody waited for them; and those that ended with
    /// an error because the device failed and software may not compute them.
    pub completed: u64,
    /// Ops that software ended while somebody waited for them, because the device failed them,
    /// did not answer in time, or was unhealthy when they came.
    pub fallback: u64,
    /// Ops that ended when nobody waited for them any more: their connection was closed in flight.
    pub cancelled: u64,
    /// Of completed and fallback, those that ended with status ERR.
    pub failed: u64,
    /// Of failed, those whose input was at fault, such as records with a wrong tag.
    pub invalid: u64,
    /// Bytes of input, of data of records, of those that succeeded.
    pub bytes: u64,
    /// Results that nobody read: those of cancelled ops, and those whose connection was closed
    /// between its callback and its resume.
    pub orphaned: u64,
    /// Attempts refused because the queue pair was full, or behind others that wait for it.
    pub refused: u64,
    /// Attempts made again after a refusal.
    pub retried: u64,
    /// Times the device gave an op back with an error, or called an op invalid that software
    /// found valid.
    pub errors: u64,
    /// Ops that the device did not give back by their deadline.
    pub timed_out: u64,
    /// Ops that the device failed and another queue pair took over, which counts them from then on.
    pub moved: u64,
}

impl std::ops::AddAssign for OpCounts {
    fn add_assign(&mut self, other: Self) {
        self.enqueued += other.enqueued;
        self.completed += other.completed;
        self.fallback += other.fallback;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.invalid += other.invalid;
        self.bytes += other.bytes;
        self.orphaned += other.orphaned;
        self.refused += other.refused;
        self.retried += other.retried;
        self.errors += other.errors;
        self.timed_out += other.timed_out;
        self.moved += other.moved;
    }
}

/// Counters of one queue pair and the slots in front of it.
#[derive(Clone, Debug)]
pub struct ChannelStats<K = OpKind> {
    /// Name of the device.
    pub device: String,
    /// What became of its ops, all kinds together.
    pub counts: OpCounts,
    /// Ops that the device gave back twice, too late, or under a token that it was never given.
    pub stray: u64,
    /// Ops in flight now, with the device or waiting for software.
    pub in_flight: usize,
    /// Most ops ever in flight.
    pub in_flight_peak: usize,
    /// Ops in flight at most.
    pub capacity: usize,
    /// Slots that hold no op: the capacity less the ops in flight, the results not yet read and the quarantined
    /// slots.
    pub free_slots: usize,
    /// Slots whose op ended otherwise but is still with the device.
    pub quarantined: usize,
    /// Connections in the retry queue now.
    pub retry_queue: usize,
    /// Partial batches started because the lcore had nothing else to do.
    pub idle_flushes: u64,
    /// Whether new ops go to the device, and how often that changed.
    pub health: HealthStats,
    /// The device's own counters.
    pub device_stats: DeviceStats,
    /// Counters of this driver alone, by name.
    pub xstats: Vec<(&'static str, u64)>,
    /// One entry per op kind that was asked for, in the order of [`Kind::ALL`].
    pub kinds: Vec<KindStats<K>>,
}

/// How a device has fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthStats {
    /// Whether new ops go to the device.
    pub healthy: bool,
    /// Whether none ever will again: it kept ops and did not let go of them.
    pub closed: bool,
    /// Times it was marked unhealthy.
    pub failures: u64,
    /// Times a probe found it healthy again.
    pub recoveries: u64,
    /// Probes sent to it.
    pub probes: u64,
    /// Probes that it refused, failed, got wrong or did not answer in time.
    pub probes_failed: u64,
}

impl Stats {
    /// The queue pairs of all classes, with the names of their kinds: those for private-key ops, then those for
    /// records.
    pub fn queue_pairs(&self) -> impl Iterator<Item = ChannelStats<&'static str>> {
        let channels = self.channels.iter().map(ChannelStats::by_name);
        channels.chain(self.records.iter().map(ChannelStats::by_name))
    }
}

impl<K: Kind> ChannelStats<K> {
    fn by_name(&self) -> ChannelStats<&'static str> {
        let kinds = self.kinds.iter().map(|of_kind| KindStats {
            kind: of_kind.kind.name(),
            counts: of_kind.counts,
            latency_ns: of_kind.latency_ns.clone(),
        });
        ChannelStats {
            device: self.device.clone(),
            counts: self.counts,
            stray: self.stray,
            in_flight: self.in_flight,
            in_flight_peak: self.in_flight_peak,
            capacity: self.capacity,
            free_slots: self.free_slots,
            quarantined: self.quarantined,
            retry_queue: self.retry_queue,
            idle_flushes: self.idle_flushes,
            health: self.health,
            device_stats: self.device_stats,
            xstats: self.xstats.clone(),
            kinds: kinds.collect(),
        }
    }
}

impl<K> ChannelStats<K> {
    /// Mean number of lanes filled per batch; `None` before the first batch.
    pub fn batch_fill_mean(&self) -> Option<f64> {
        let DeviceStats {
            batches, batched, ..
        } = self.device_stats;
        (batches != 0).then(|| batched as f64 / batches as f64)
    }
}

/// One op kind on one queue pair.
#[derive(Clone, Debug)]
pub struct KindStats<K = OpKind> {
    /// Which kind.
    pub kind: K,
    /// What became of its ops.
    pub counts: OpCounts,
    /// Nanoseconds from the submission to the callback, two significant digits, a minute at most.
    /// Cancelled ops stay out.
    pub latency_ns: Histogram<u64>,
}
