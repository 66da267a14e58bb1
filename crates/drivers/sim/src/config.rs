//! What goes wrong, how often, and how it is written in a device spec.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::rng::Rng;

/// A probability, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chance(u32);

impl Chance {
    /// Parts that make 1.
    pub(crate) const PARTS: u64 = 1_000_000;
    /// 0.
    pub const NEVER: Self = Self(0);
    /// 1.
    pub const ALWAYS: Self = Self(Self::PARTS as u32);

    /// `percent` of 100; more than that is 100.
    pub const fn percent(percent: u32) -> Self {
        let percent = if percent < 100 { percent } else { 100 };
        Self(percent * (Self::ALWAYS.0 / 100))
    }

    pub(crate) fn parts(self) -> u64 {
        u64::from(self.0)
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(Self::ALWAYS.0))
    }
}

/// How long an op takes once it is computed. Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Always the same.
    Constant(u64),
    /// Anything in between, equally often.
    Uniform {
        /// Shortest.
        min_ns: u64,
        /// Longest.
        max_ns: u64,
    },
    /// Half of the ops take one to two times the shortest, a quarter two to four times, an
    /// eighth four to eight times, and so on up to the longest.
    Tail {
        /// Shortest, not 0.
        min_ns: u64,
        /// Longest.
        max_ns: u64,
    },
}

impl Latency {
    pub(crate) fn draw(self, rng: &mut Rng) -> u64 {
        match self {
            Self::Constant(ns) => ns,
            Self::Uniform { min_ns, max_ns } => rng.between(min_ns, max_ns),
            Self::Tail { min_ns, max_ns } => {
                let doublings = rng.bits().trailing_zeros().min(min_ns.leading_zeros());
                let low_ns = (min_ns << doublings).min(max_ns);
                rng.between(low_ns, low_ns.saturating_mul(2).min(max_ns))
            }
        }
    }
}

/// Faults of a [`SimDevice`](crate::SimDevice). In a device spec: the seed, then options, e.g.
/// `7,latency=uniform:50us-2ms,lose=0.01,die=2s,revive=1s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimConfig {
    /// All else follows from it.
    pub seed: u64,
    /// `latency=constant:T`, `uniform:T-T` or `tail:T-T`: how long an op takes.
    pub latency: Latency,
    /// `lose=P`: an op is never given back.
    pub lose: Chance,
    /// `dup=P`: an op is given back twice.
    pub dup: Chance,
    /// `late=P`: an op takes `late_by_ns` longer.
    pub late: Chance,
    /// `late-by=T`: that much; default 2 s.
    pub late_by_ns: u64,
    /// `corrupt=P`: a bit of an RSA result is wrong. What no check can find, a wrong shared secret
    /// say, is not simulated: nobody could do anything about it.
    pub corrupt: Chance,
    /// `wrong-status=P`: an op that was done is given back as failed, invalid or not processed.
    pub wrong_status: Chance,
    /// `refuse=P`: an enqueue and up to 15 after it are refused.
    pub refuse: Chance,
    /// `reorder=P`: an op does not wait for those in front of it.
    pub reorder: Chance,
    /// `reset=P`: the device resets itself; what is on its way comes back at once, failed.
    pub reset: Chance,
    /// `die=T`: after that much life it takes ops until it is full and gives nothing back.
    pub die_after_ns: Option<u64>,
    /// `revive=T`: after that much death it lives again, and `die` counts anew. What it had before
    /// it died comes back late, what it took while dead does not come back.
    pub revive_after_ns: Option<u64>,
    /// `descriptors=N`: ops in flight at most, if less than the queue pair is asked for.
    pub descriptors: Option<usize>,
}

impl SimConfig {
    /// No latency and no faults.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            latency: Latency::Constant(0),
            lose: Chance::NEVER,
            dup: Chance::NEVER,
            late: Chance::NEVER,
            late_by_ns: 2_000_000_000,
            corrupt: Chance::NEVER,
            wrong_status: Chance::NEVER,
            refuse: Chance::NEVER,
            reorder: Chance::NEVER,
            reset: Chance::NEVER,
            die_after_ns: None,
            revive_after_ns: None,
            descriptors: None,
        }
    }

    /// Parts `OPTIONS:INNER`, the rest of a device spec after `sim:`, at the colon that ends the
    /// options. `None` if there is none.
    pub fn split_spec(spec: &str) -> Option<(&str, &str)> {
        let within_latency = |at: usize| {
            LATENCIES
                .iter()
                .any(|name| spec[..at].ends_with(&format!("={name}")))
        };
        let (at, _) = spec
            .match_indices(':')
            .find(|(at, _)| !within_latency(*at))?;
        Some((&spec[..at], &spec[at + 1..]))
    }
}

const LATENCIES: [&str; 3] = ["constant", "uniform", "tail"];

/// Options that [`SimConfig`] understands.
const OPTIONS: [&str; 13] = [
    "latency",
    "lose",
    "dup",
    "late",
    "late-by",
    "corrupt",
    "wrong-status",
    "refuse",
    "reorder",
    "reset",
    "die",
    "revive",
    "descriptors",
];

/// Options that mean nothing. The text names the culprit and what would do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SimConfigError {
    /// They do not begin with a seed.
    #[error(
        "{text:?} is no seed; the options of sim begin with a number, e.g. sim:7,lose=0.01:soft"
    )]
    Seed {
        /// What stands in its place.
        text: String,
    },
    /// There is no such option.
    #[error("sim has no option {option:?}; there are: {}", OPTIONS.join(", "))]
    Unknown {
        /// The option.
        option: String,
    },
    /// An option is given twice.
    #[error("sim: {option} is given twice; give it once")]
    Twice {
        /// The option.
        option: String,
    },
    /// An option's value is none.
    #[error("sim: {option}={value:?} is no {wanted}")]
    Value {
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What it should be, with an example.
        wanted: &'static str,
    },
    /// What never dies does not revive.
    #[error("sim: revive without die; give die=TIME too, e.g. die=2s,revive=1s")]
    ReviveWithoutDie,
}

const CHANCE: &str = "probability; give 0 to 1, e.g. 0.01";
const TIME: &str = "time; give a number and ns, us, ms or s, e.g. 50us";
const LATENCY: &str =
    "latency; give constant:50us, uniform:50us-2ms or tail:50us-2ms, the shorter time first";
const DESCRIPTORS: &str = "number of descriptors; give 1 or more, e.g. 64";

impl FromStr for SimConfig {
    type Err = SimConfigError;

    fn from_str(text: &str) -> Result<Self, SimConfigError> {
        let mut parts = text.split(',');
        let seed = parts.next().unwrap_or_default();
        let mut config = Self::new(seed.parse().map_err(|_| SimConfigError::Seed {
            text: seed.to_owned(),
        })?);
        let mut given: Vec<&str> = Vec::new();
        for part in parts {
            let (option, value) = part.split_once('=').unwrap_or((part, ""));
            if given.contains(&option) {
                return Err(SimConfigError::Twice {
                    option: option.to_owned(),
                });
            }
            given.push(option);
            config.set(option, value)?;
        }
        if config.revive_after_ns.is_some() && config.die_after_ns.is_none() {
            return Err(SimConfigError::ReviveWithoutDie);
        }
        Ok(config)
    }
}

impl SimConfig {
    fn set(&mut self, option: &str, value: &str) -> Result<(), SimConfigError> {
        let wrong = |wanted| SimConfigError::Value {
            option: option.to_owned(),
            value: value.to_owned(),
            wanted,
        };
        let chance = || chance(value).ok_or_else(|| wrong(CHANCE));
        let time = || time_ns(value).ok_or_else(|| wrong(TIME));
        match option {
            "latency" => self.latency = latency(value).ok_or_else(|| wrong(LATENCY))?,
            "lose" => self.lose = chance()?,
            "dup" => self.dup = chance()?,
            "late" => self.late = chance()?,
            "late-by" => self.late_by_ns = time()?,
            "corrupt" => self.corrupt = chance()?,
            "wrong-status" => self.wrong_status = chance()?,
            "refuse" => self.refuse = chance()?,
            "reorder" => self.reorder = chance()?,
            "reset" => self.reset = chance()?,
            "die" => self.die_after_ns = Some(time()?),
            "revive" => self.revive_after_ns = Some(time()?),
            "descriptors" => {
                let count = value.parse().ok().filter(|count| *count > 0);
                self.descriptors = Some(count.ok_or_else(|| wrong(DESCRIPTORS))?);
            }
            _ => {
                return Err(SimConfigError::Unknown {
                    option: option.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn chance(text: &str) -> Option<Chance> {
    let value: f64 = text.parse().ok()?;
    let parts = (0.0..=1.0)
        .contains(&value)
        .then(|| value * f64::from(Chance::ALWAYS.0))?;
    Some(Chance(parts.round() as u32))
}

/// A number and a unit.
fn time_ns(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn latency(text: &str) -> Option<Latency> {
    let (name, times) = text.split_once(':')?;
    if name == "constant" {
        return time_ns(times).map(Latency::Constant);
    }
    let (min, max) = times.split_once('-')?;
    let (min_ns, max_ns) = (time_ns(min)?, time_ns(max)?);
    match name {
        _ if min_ns > max_ns => None,
        "uniform" => Some(Latency::Uniform { min_ns, max_ns }),
        "tail" if min_ns > 0 => Some(Latency::Tail { min_ns, max_ns }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood() {
        let config: SimConfig = "7,latency=tail:50us-2ms,lose=0.01,dup=0.02,late=0.5,late-by=3s,\
                                 corrupt=1,wrong-status=0.25,refuse=0,reorder=0.125,reset=0.001,\
                                 die=2s,revive=1500ms,descriptors=64"
            .parse()
            .unwrap();
        let expected = SimConfig {
            seed: 7,
            latency: Latency::Tail {
                min_ns: 50_000,
                max_ns: 2_000_000,
            },
            lose: Chance(10_000),
            dup: Chance(20_000),
            late: Chance::percent(50),
            late_by_ns: 3_000_000_000,
            corrupt: Chance::ALWAYS,
            wrong_status: Chance::percent(25),
            refuse: Chance::NEVER,
            reorder: Chance(125_000),
            reset: Chance(1000),
            die_after_ns: Some(2_000_000_000),
            revive_after_ns: Some(1_500_000_000),
            descriptors: Some(64),
        };
        assert_eq!(config, expected);
        assert_eq!("9".parse(), Ok(SimConfig::new(9)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            ("", "no seed"),
            ("x,lose=1", "\"x\" is no seed"),
            ("1,fly=1", "no option \"fly\""),
            ("1,", "no option \"\""),
            ("1,lose", "lose=\"\" is no probability"),
            ("1,lose=1.5", "0 to 1"),
            ("1,lose=nan", "0 to 1"),
            ("1,late-by=5", "ns, us, ms or s"),
            ("1,die=99999999999999999999s", "no time"),
            ("1,latency=50us", "constant:50us"),
            ("1,latency=uniform:2ms-1ms", "the shorter time first"),
            ("1,latency=tail:0us-1ms", "no latency"),
            ("1,descriptors=0", "1 or more"),
            ("1,lose=0,lose=1", "lose is given twice"),
            ("1,revive=1s", "die=TIME"),
        ] {
            let error = text.parse::<SimConfig>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_options_end_where_the_inner_device_begins() {
        for (spec, parts) in [
            ("7:soft", Some(("7", "soft"))),
            (
                "7,latency=uniform:1us-2us,lose=1:lookaside:mb@1",
                Some(("7,latency=uniform:1us-2us,lose=1", "lookaside:mb@1")),
            ),
            (
                "7,latency=constant:1us:sim:8:mb",
                Some(("7,latency=constant:1us", "sim:8:mb")),
            ),
            ("7,latency=tail:1us-2us", None),
            ("7", None),
        ] {
            assert_eq!(SimConfig::split_spec(spec), parts, "{spec}");
        }
    }

    #[test]
    fn latencies_keep_to_their_bounds_and_tails_are_long() {
        let mut rng = Rng::new(5);
        let tail = Latency::Tail {
            min_ns: 1000,
            max_ns: 100_000,
        };
        let drawn: Vec<u64> = (0..10_000).map(|_| tail.draw(&mut rng)).collect();
        assert!(drawn.iter().all(|ns| (1000..=100_000).contains(ns)));
        let share = |above: u64| drawn.iter().filter(|ns| **ns > above).count();
        assert!((4500..5500).contains(&share(2000)), "{}", share(2000));
        assert!((100..1000).contains(&share(30_000)), "{}", share(30_000));
    }
}
