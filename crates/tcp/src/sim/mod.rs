//! Two connections on a seeded wire in virtual time (feature `sim`).
//!
//! A world follows from its seed alone: what the applications send and how slowly they read, and what the wire does
//! to the segments. Whatever that is, both streams must arrive whole, windows must be kept, and nothing may be left
//! behind.

mod path;
mod rng;
mod side;
mod world;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use self::world::World;

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// A byte is wrong, doubled or missing.
    Stream,
    /// Data beyond the window that was offered, a window that shrank, a segment that is too long.
    Window,
    /// The connections did not come to their end.
    Stuck,
    /// They came to the wrong end.
    End,
    /// Something is held, or a timer runs, after the end.
    Leaked,
}

impl Breach {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Stream,
        Self::Window,
        Self::Stuck,
        Self::End,
        Self::Leaked,
    ];
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// Which rule.
    pub breach: Breach,
    /// When and by what.
    pub text: String,
}

/// A defect between a connection and its wire, of the kind that such code has had: what finds faults must find these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A segment that is sent again has the data of its neighbour.
    WrongRepair,
    /// An acknowledgement is one byte ahead of what has come.
    AckAhead,
    /// The window is not made smaller by what waits to be read.
    WindowTooLarge,
    /// A closed window is not probed.
    NoProbe,
    /// A FIN is acknowledged and forgotten.
    FinForgotten,
    /// A RST counts wherever in the window it lies.
    BlindReset,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::WrongRepair,
        Self::AckAhead,
        Self::WindowTooLarge,
        Self::NoProbe,
        Self::FinForgotten,
        Self::BlindReset,
    ];
}

/// Counts of what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Seeds run to their end.
    pub seeds: u64,
    /// Bytes that arrived, both ways.
    pub bytes: u64,
    /// Segments sent.
    pub segments: u64,
    /// Segments that were sent again.
    pub retransmissions: u64,
    /// Connections by how they ended.
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
        self.segments += other.segments;
        self.retransmissions += other.retransmissions;
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
            segments,
            retransmissions,
            virtual_us,
            ..
        } = self;
        writeln!(
            f,
            "  streams   {bytes} bytes in {segments} segments, {retransmissions} sent again"
        )?;
        writeln!(f, "  ends      {}", list(&self.ends))?;
        writeln!(f, "  faults    {}", list(&self.faults))?;
        writeln!(f, "  time      {} s", virtual_us / 1_000_000)
    }
}

/// Runs the world of a seed to its end. `trace` prints every segment.
///
/// # Errors
/// A rule was broken.
pub fn run(seed: u64, defect: Option<Defect>, trace: bool) -> Result<Tally, Violation> {
    World::new(seed, defect, trace).run()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_all(seeds: std::ops::Range<u64>) -> Tally {
        let mut tally = Tally::default();
        for seed in seeds {
            match run(seed, None, false) {
                Ok(of_seed) => tally += &of_seed,
                Err(Violation { breach, text }) => panic!("seed {seed}: {breach:?}, {text}"),
            }
        }
        tally
    }

    #[test]
    fn no_rule_is_broken_and_everything_happens() {
        let tally = run_all(0..400);
        assert_eq!(tally.seeds, 400);
        for name in [
            "lost",
            "doubled",
            "overtaken",
            "in a black hole",
            "forged",
            "zero windows",
            "openings lost",
            "delays changed",
        ] {
            assert!(tally.faults.get(name) > Some(&10), "{name}: {tally}");
        }
        for name in ["closed", "reset", "aborted"] {
            assert!(tally.ends.get(name) > Some(&5), "{name}: {tally}");
        }
        assert!(tally.retransmissions > 1000, "{tally}");
    }

    #[test]
    fn a_seed_replays_exactly() {
        for seed in 0..20 {
            let hash = |seed| run_all(seed..seed + 1).hash;
            assert_eq!(hash(seed), hash(seed), "seed {seed}");
            assert_ne!(hash(seed), hash(seed + 1));
        }
    }

    #[test]
    fn every_seeded_defect_is_found_within_few_seeds() {
        for defect in Defect::ALL {
            let found =
                (0..100).find_map(|seed| Some((seed, run(seed, Some(defect), false).err()?)));
            let (seed, violation) = found.unwrap_or_else(|| panic!("{defect:?} is not found"));
            println!("{defect:?}: {:?} in seed {seed}", violation.breach);
        }
    }
}
