//! What a core's connections share.

use std::time::{SystemTime, UNIX_EPOCH};

use super::config::Limits;
use super::counters::{Closed, Counters};
use super::unfinished::Unfinished;

/// A core logs one line per reason and this time at most.
const LOG_INTERVAL_NS: u64 = 1_000_000_000;

/// Time, limits, counters, and what this turn has found out.
pub struct Env<L> {
    /// Where connections come from.
    pub net: L,
    /// The turn's time on the lcore's clock.
    pub now_ns: u64,
    /// What the arguments say.
    pub limits: Limits,
    /// The program is to stop.
    pub stopping: bool,
    /// Something happened in this turn that may lead to crypto ops.
    pub leads_to_ops: bool,
    /// How the names of its connections begin.
    pub name: String,
    /// This core's counters.
    pub counters: Counters,
    /// This core's unfinished handshakes.
    pub unfinished: Unfinished,
    /// Where unwanted bytes are read to.
    pub scratch: Box<[u8]>,
    log: [Limiter; Closed::ALL.len()],
}

/// Since when lines are held back, and how many.
#[derive(Clone, Copy, Default)]
struct Limiter {
    next_ns: u64,
    held_back: u64,
}

impl<L> Env<L> {
    /// At the start.
    pub fn new(core: usize, limits: Limits, net: L) -> Self {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            net,
            now_ns: 0,
            unfinished: Unfinished::new(limits.max_unfinished_bytes),
            limits,
            stopping: false,
            leads_to_ops: false,
            name: format!(
                "{:x}-{:x}-{core:x}",
                since_1970.as_millis(),
                std::process::id()
            ),
            counters: Counters::default(),
            scratch: vec![0; 16 * 1024].into_boxed_slice(),
            log: [Limiter::default(); Closed::ALL.len()],
        }
    }

    /// Other limits from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.unfinished.limit(limits.max_unfinished_bytes);
        self.limits = limits;
    }

    /// Whether an event of this kind may be logged now; if so, how many were not since the last.
    pub fn may_log(&mut self, closed: Closed) -> Option<u64> {
        let limiter = &mut self.log[closed as usize];
        if self.now_ns < limiter.next_ns {
            limiter.held_back += 1;
            return None;
        }
        limiter.next_ns = self.now_ns + LOG_INTERVAL_NS;
        Some(std::mem::take(&mut limiter.held_back))
    }
}
