//! Whole stacks on a seeded wire in virtual time (feature `sim`).
//!
//! A world follows from its seed alone: what the applications send and how slowly they read, and what the wire does
//! to the frames. Whatever that is, all streams must arrive whole, windows must be kept, strangers must not be believed, and nothing may be
//! left behind.

mod bulk;
pub(crate) mod frames;
mod fuzzed;
mod path;
mod plan;
mod port;
mod rng;
mod station;
mod talk;
mod tally;
mod watch;
mod world;

use serde::Serialize;

pub use bulk::{Bulk, Cause, Transfer};
pub use fuzzed::Fuzzed;
pub use path::Path;
pub use plan::{Setup, ours};
pub use port::Port;
pub use rng::Rng;
pub use station::{Counts, Ours, Station};
pub use tally::Tally;

use world::World;

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// A byte is wrong, doubled or missing.
    Stream,
    /// Data beyond the window that was offered, a window that shrank, a frame that is too long.
    Window,
    /// The connections did not come to their end.
    Stuck,
    /// They came to the wrong end.
    End,
    /// Something is held, or a timer runs, after the end.
    Leaked,
    /// A table has more in it than it may.
    Bound,
    /// A stranger was believed.
    Believed,
}

impl Breach {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Stream,
        Self::Window,
        Self::Stuck,
        Self::End,
        Self::Leaked,
        Self::Bound,
        Self::Believed,
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

/// A defect, put between a station and its wire, of the kind that such code has had: what finds faults must find these.
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
    /// Checksums are not looked at.
    Unchecked,
    /// A "too big" is believed that names no number in flight.
    AnyRouter,
    /// An answer that nobody asked for changes a neighbour's address.
    AnyNeighbour,
    /// Any acknowledgement passes for a cookie's.
    AnyCookie,
    /// The connection's record is not given back.
    NotReleased,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::WrongRepair,
        Self::AckAhead,
        Self::WindowTooLarge,
        Self::NoProbe,
        Self::FinForgotten,
        Self::BlindReset,
        Self::Unchecked,
        Self::AnyRouter,
        Self::AnyNeighbour,
        Self::AnyCookie,
        Self::NotReleased,
    ];
}

/// Runs the world of a seed to its end. `trace` prints every frame.
///
/// # Errors
/// A rule was broken.
pub fn run(seed: u64, defect: Option<Defect>, trace: bool) -> Result<Tally, Violation> {
    let mut rng = Rng::new(seed);
    let setup = Setup::random(&mut rng);
    let stations =
        [0, 1].map(|side| -> Box<dyn Station> { Box::new(ours(&setup, side, &mut rng)) });
    World::new(rng, &setup, stations, defect, trace).run()
}

/// Runs a world with stations of the caller's, the first of which opens connections to the second.
///
/// # Errors
/// A rule was broken.
pub fn run_with(
    rng: Rng,
    setup: &Setup,
    stations: [Box<dyn Station>; 2],
    trace: bool,
) -> Result<Tally, Violation> {
    World::new(rng, setup, stations, None, trace).run()
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
            "corrupted",
            "in a black hole",
            "too big",
            "forged",
            "flooded",
            "zero windows",
            "openings lost",
            "delays changed",
        ] {
            assert!(tally.faults.get(name) > Some(&10), "{name}: {tally}");
        }
        for name in ["closed", "reset", "aborted"] {
            assert!(tally.ends.get(name) > Some(&5), "{name}: {tally}");
        }
        let unreached = tally.ends.get("never reached").copied().unwrap_or(0);
        assert!(unreached * 50 < tally.ends["closed"], "{tally}");
        for (count, what) in [
            (tally.retransmissions, "retransmissions"),
            (tally.cookies, "cookies"),
            (tally.rested, "rested"),
            (tally.time_wait, "TIME-WAIT"),
        ] {
            assert!(count > 100, "{what}: {tally}");
        }
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
