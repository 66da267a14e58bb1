//! Counts of what was done.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Counts of what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Seeds run to their end.
    pub seeds: u64,
    /// Bytes that arrived, both ways.
    pub bytes: u64,
    /// Frames sent by the stations.
    pub frames: u64,
    /// Segments that were sent again.
    pub retransmissions: u64,
    /// Connections made of a cookie.
    pub cookies: u64,
    /// Times that a connection was put down to rest.
    pub rested: u64,
    /// Connections in TIME-WAIT at the same time, at most, summed over the seeds.
    pub time_wait: u64,
    /// Ends of connections by how they ended.
    pub ends: BTreeMap<&'static str, u64>,
    /// What the wire did.
    pub faults: BTreeMap<&'static str, u64>,
    /// Simulated time.
    pub virtual_us: u64,
    /// Sum of the seeds' hashes over all that was sent: equal if all happened alike.
    pub hash: u64,
}

impl std::ops::AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.retransmissions += other.retransmissions;
        self.cookies += other.cookies;
        self.rested += other.rested;
        self.time_wait += other.time_wait;
        for (name, count) in &other.ends {
            *self.ends.entry(name).or_default() += count;
        }
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.virtual_us += other.virtual_us;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&str, u64>| {
            let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
            counts.collect::<Vec<_>>().join(", ")
        };
        let Self {
            bytes,
            frames,
            retransmissions,
            cookies,
            rested,
            virtual_us,
            ..
        } = self;
        writeln!(
            f,
            "  streams   {bytes} bytes in {frames} frames, {retransmissions} segments sent again"
        )?;
        writeln!(
            f,
            "  tables    {cookies} cookies taken, {rested} times at rest"
        )?;
        writeln!(f, "  ends      {}", list(&self.ends))?;
        writeln!(f, "  faults    {}", list(&self.faults))?;
        writeln!(f, "  time      {} s", virtual_us / 1_000_000)
    }
}
