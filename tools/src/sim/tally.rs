//! What was done and found, over any number of seeds.

use std::collections::BTreeMap;

use serde::Serialize;
use spinlane::lcore::ChannelStats;

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// An attempt was never called back, or a job never went on.
    Lost,
    /// An attempt was called back twice, or in the wrong place.
    DuplicateCallback,
    /// A callback after the connection was closed.
    LateCallback,
    /// The status did not stand before the callback or the pause.
    Status,
    /// The retry queue is not first come, first served.
    RetryOrder,
    /// More in flight than the queue pair holds.
    OverCapacity,
    /// A slot was not given back.
    LeakedSlot,
    /// A stack was not given back.
    LeakedStack,
    /// A result was wrong, or an error was given for no reason.
    WrongResult,
    /// A slot was used again though the device still had its op.
    EarlyReuse,
    /// An unhealthy device got ops that a healthy one serves.
    Routing,
    /// Software took an op whose secret is the device's own.
    Software,
    /// The counters do not tell what happened.
    Counters,
    /// Anything else.
    Other,
}

impl Breach {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Lost,
        Self::DuplicateCallback,
        Self::LateCallback,
        Self::Status,
        Self::RetryOrder,
        Self::OverCapacity,
        Self::LeakedSlot,
        Self::LeakedStack,
        Self::WrongResult,
        Self::EarlyReuse,
        Self::Routing,
        Self::Software,
        Self::Counters,
        Self::Other,
    ];
}

/// A rule that was broken, and how.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which rule.
    pub breach: Breach,
    /// When and by what.
    pub text: String,
}

/// Counts of what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Seeds run to their end.
    pub seeds: u64,
    /// Actions of the application.
    pub steps: u64,
    /// Polls, without those that a resume made.
    pub polls: u64,
    /// Jobs started.
    pub jobs: u64,
    /// Jobs not started at once, the pool being at its maximum.
    pub no_jobs: u64,
    /// Ops answered.
    pub ops: u64,
    /// Ops accepted.
    pub accepted: u64,
    /// Ops refused.
    pub refused: u64,
    /// Sets of several ops accepted.
    pub sets: u64,
    /// Ops without a job that were answered.
    pub alone: u64,
    /// Callbacks of finished ops.
    pub callbacks: u64,
    /// Connections closed with a paused job.
    pub closed: u64,
    /// Connections freed under a paused job.
    pub abandoned: u64,
    /// Records taken.
    pub records: u64,
    /// Ops that ended by the device.
    pub completed: u64,
    /// Ops that ended by software.
    pub fallback: u64,
    /// Ops that ended with nobody waiting.
    pub cancelled: u64,
    /// Ops past their deadline.
    pub timed_out: u64,
    /// Errors of devices.
    pub errors: u64,
    /// Late and duplicate completions, dropped.
    pub stray: u64,
    /// Times a device was marked unhealthy.
    pub failures: u64,
    /// Times a probe found it healthy again.
    pub recoveries: u64,
    /// Faults injected, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Simulated time.
    pub virtual_ns: u64,
    /// Sum of the seeds' hashes over all that happened: equal if all happened alike.
    pub hash: u64,
}

impl Tally {
    pub(super) fn add_channel(&mut self, channel: &ChannelStats) {
        self.completed += channel.counts.completed;
        self.fallback += channel.counts.fallback;
        self.cancelled += channel.counts.cancelled;
        self.timed_out += channel.counts.timed_out;
        self.errors += channel.counts.errors;
        self.stray += channel.stray;
        self.failures += channel.health.failures;
        self.recoveries += channel.health.recoveries;
        for (name, count) in &channel.xstats {
            *self.faults.entry(name).or_default() += count;
        }
    }
}

impl std::ops::AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.polls += other.polls;
        self.jobs += other.jobs;
        self.no_jobs += other.no_jobs;
        self.ops += other.ops;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.sets += other.sets;
        self.alone += other.alone;
        self.callbacks += other.callbacks;
        self.closed += other.closed;
        self.abandoned += other.abandoned;
        self.records += other.records;
        self.completed += other.completed;
        self.fallback += other.fallback;
        self.cancelled += other.cancelled;
        self.timed_out += other.timed_out;
        self.errors += other.errors;
        self.stray += other.stray;
        self.failures += other.failures;
        self.recoveries += other.recoveries;
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.virtual_ns += other.virtual_ns;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}
