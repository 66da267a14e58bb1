//! What a seed means: how many jobs, which devices, which faults.

use std::fmt;

use spinlane::lcore::HealthConfig;
use spinlane_driver_sim::{Chance, Latency, Rng, SimConfig};

/// Jobs of a seed at most.
pub const MAX_JOBS: u64 = 160;

/// All that a seed decides before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Jobs to be run.
    pub jobs: u64,
    /// Jobs of the thread at most; 0 = no limit.
    pub max_jobs: usize,
    /// Ops of a queue pair at most.
    pub capacity: usize,
    /// Key generations have a device of their own.
    pub two_devices: bool,
    /// Two queue pairs share all kinds.
    pub shared: bool,
    /// Jobs ask several things at once, now and then.
    pub sets: bool,
    /// Ops that no job waits for.
    pub alone: u64,
    /// ECDSA ops have a key of the device's own.
    pub remote: bool,
    /// Of two queue pairs that share all kinds only one has that key.
    pub one_has_keys: bool,
    /// Queue pairs for records; 0 = none are sealed.
    pub record_pairs: u64,
    /// RSA and ECDSA ops besides X25519's, which are cheaper.
    pub signs: bool,
    /// Faults; none for a device that computes inline.
    pub faults: Option<SimConfig>,
    /// What the lcore does about them.
    pub health: HealthConfig,
}

impl Plan {
    /// The plan of what `rng` says.
    pub fn draw(rng: &mut Rng) -> Self {
        let health = HealthConfig {
            fallback: rng.below(8) != 0,
            op_deadline_ns: rng.between(1_000_000, 20_000_000),
            max_errors: rng.between(1, 8) as u32,
            probe_interval_ns: rng.between(100_000, 10_000_000),
        };
        let simulated = rng.below(12) != 0;
        let pairs = rng.below(4);
        Self {
            // Mostly few, sometimes many.
            jobs: 1 + rng.below(MAX_JOBS).min(rng.below(MAX_JOBS)),
            max_jobs: if rng.below(4) == 0 {
                rng.between(1, 40) as usize
            } else {
                0
            },
            capacity: 1 + rng.below(64).min(rng.below(64)) as usize,
            two_devices: pairs == 0,
            shared: pairs == 1,
            sets: rng.below(2) == 0,
            alone: rng.below(3) * rng.below(40),
            remote: rng.below(3) == 0,
            one_has_keys: pairs == 1 && rng.below(2) == 0,
            record_pairs: rng.below(5).saturating_sub(2),
            signs: rng.below(16) == 0,
            faults: simulated.then(|| faults(rng, &health)),
            health,
        }
    }
}

/// Faults, about half of them present, rare or frequent.
fn faults(rng: &mut Rng, health: &HealthConfig) -> SimConfig {
    const PERCENT: [u32; 4] = [1, 3, 10, 30];
    let mut config = SimConfig::new(rng.bits());
    let deadline_ns = health.op_deadline_ns;
    let chance = |rng: &mut Rng| match rng.below(2) {
        0 => Chance::NEVER,
        _ => Chance::percent(PERCENT[rng.below(4) as usize]),
    };
    config.lose = chance(rng);
    config.dup = chance(rng);
    config.late = chance(rng);
    config.corrupt = chance(rng);
    config.wrong_status = chance(rng);
    config.refuse = chance(rng);
    config.reorder = chance(rng);
    if rng.below(4) == 0 {
        config.reset = Chance::percent(1);
    }
    config.late_by_ns = rng.between(deadline_ns / 2, 3 * deadline_ns);
    let (min_ns, max_ns) = (1 + rng.below(20_000), 20_001 + rng.below(deadline_ns));
    config.latency = match rng.below(3) {
        0 => Latency::Constant(min_ns),
        1 => Latency::Uniform { min_ns, max_ns },
        _ => Latency::Tail { min_ns, max_ns },
    };
    // Without fallback nobody goes on while the device is dead.
    if health.fallback && rng.below(3) == 0 {
        config.die_after_ns = Some(rng.between(10_000, 20 * deadline_ns));
        let revives = rng.below(4) != 0;
        config.revive_after_ns = revives.then(|| rng.between(10_000, 10 * deadline_ns));
    }
    if rng.below(4) == 0 {
        config.descriptors = Some(rng.between(1, 8) as usize);
    }
    config
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
