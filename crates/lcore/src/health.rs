//! Whether a device is to be trusted with ops: a state machine that is told what happened.
//!
//! ```text
//!               errors in a row, no answer, nothing accepted
//!   Healthy ──────────────────────────────────────────────────▶ Unhealthy
//!      ▲                                                          │    ▲
//!      │               the probe comes back, right                │    │ probe refused, wrong
//!      └──────────────────────────────────────────────────────────┘    │ or not back in time:
//!                                                                 └────┘ another later
//! ```
//! A probe is a copy of an op that software computes meanwhile, so that nobody waits for it. A device that keeps
//! ops, and does not let go of them when it is reset, is closed: it is never healthy again.

use std::fmt;

use spinlane_cryptodev::{HealthConfig, Token};

use crate::stats::HealthStats;

/// Why a device is unhealthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Errors,
    NoAnswer,
    AcceptsNothing,
    KeepsOps,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "too many errors in a row",
            Self::NoAnswer => "no answer within the deadline",
            Self::AcceptsNothing => "no op accepted within the deadline",
            Self::KeepsOps => "it keeps more than half of what it may have past the deadline",
        })
    }
}

enum State {
    Healthy,
    Unhealthy {
        /// When the next probe may be sent.
        probe_at_ns: u64,
        /// The one that is out, and when it was sent.
        probe: Option<(Token, u64)>,
    },
    /// For good.
    Closed,
}

pub(crate) struct Health {
    config: HealthConfig,
    state: State,
    errors_in_row: u32,
    /// When an op last came back, whichever.
    answered_at_ns: u64,
    /// First refusal since an op was last accepted.
    refused_since_ns: Option<u64>,
    stats: HealthStats,
}

impl Health {
    pub(crate) fn new(config: HealthConfig) -> Self {
        Self {
            config,
            state: State::Healthy,
            errors_in_row: 0,
            answered_at_ns: 0,
            refused_since_ns: None,
            stats: HealthStats {
                healthy: true,
                closed: false,
                failures: 0,
                recoveries: 0,
                probes: 0,
                probes_failed: 0,
            },
        }
    }

    pub(crate) fn config(&self) -> &HealthConfig {
        &self.config
    }

    pub(crate) fn is_healthy(&self) -> bool {
        matches!(self.state, State::Healthy)
    }

    /// An op came back, whichever.
    pub(crate) fn answered(&mut self, now_ns: u64) {
        self.answered_at_ns = now_ns;
    }

    /// An op came back as it should.
    pub(crate) fn succeeded(&mut self) {
        self.errors_in_row = 0;
    }

    /// An op came back with an error, or not in time.
    pub(crate) fn erred(&mut self) {
        self.errors_in_row = self.errors_in_row.saturating_add(1);
    }

    pub(crate) fn accepted(&mut self) {
        self.refused_since_ns = None;
    }

    pub(crate) fn refused(&mut self, now_ns: u64) {
        self.refused_since_ns.get_or_insert(now_ns);
    }

    /// Nobody wants anything of the device that it could refuse.
    pub(crate) fn asked_for_nothing(&mut self) {
        self.refused_since_ns = None;
    }

    /// What is wrong with a device that is still taken for healthy. `overdue`: an op is past
    /// its deadline.
    pub(crate) fn verdict(&self, overdue: bool, now_ns: u64) -> Option<Cause> {
        let for_long =
            |since_ns: u64| now_ns.saturating_sub(since_ns) >= self.config.op_deadline_ns;
        if !self.config.fallback || !self.is_healthy() {
            None
        } else if overdue && for_long(self.answered_at_ns) {
            Some(Cause::NoAnswer)
        } else if self.errors_in_row >= self.config.max_errors {
            Some(Cause::Errors)
        } else if self.refused_since_ns.is_some_and(for_long) {
            Some(Cause::AcceptsNothing)
        } else {
            None
        }
    }

    /// It is never given an op again.
    pub(crate) fn close(&mut self) {
        self.state = State::Closed;
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(crate) fn fail(&mut self, now_ns: u64) {
        self.stats.failures += 1;
        self.state = State::Unhealthy {
            probe_at_ns: now_ns.saturating_add(self.config.probe_interval_ns),
            probe: None,
        };
    }

    /// Whether a probe should be sent.
    pub(crate) fn wants_probe(&self, now_ns: u64) -> bool {
        matches!(self.state, State::Unhealthy { probe_at_ns, probe: None } if now_ns >= probe_at_ns)
    }

    pub(crate) fn probe_sent(&mut self, token: Token, now_ns: u64) {
        self.stats.probes += 1;
        if let State::Unhealthy { probe, .. } = &mut self.state {
            *probe = Some((token, now_ns));
        }
    }

    pub(crate) fn is_probing(&self) -> bool {
        matches!(self.state, State::Unhealthy { probe: Some(_), .. })
    }

    /// Whether the op called `token` is the probe that is out.
    pub(crate) fn is_probe(&self, token: Token) -> bool {
        matches!(self.state, State::Unhealthy { probe: Some((probe, _)), .. } if probe == token)
    }

    /// Whether the probe that is out has missed its deadline.
    pub(crate) fn probe_is_overdue(&self, now_ns: u64) -> bool {
        matches!(self.state, State::Unhealthy { probe: Some((_, sent_ns)), .. }
            if now_ns.saturating_sub(sent_ns) >= self.config.op_deadline_ns)
    }

    pub(crate) fn probe_failed(&mut self, now_ns: u64) {
        self.stats.probes_failed += 1;
        if self.is_closed() {
            return;
        }
        self.state = State::Unhealthy {
            probe_at_ns: now_ns.saturating_add(self.config.probe_interval_ns),
            probe: None,
        };
    }

    /// The device has answered right. Returns whether it serves again.
    pub(crate) fn recover(&mut self, now_ns: u64) -> bool {
        if self.is_closed() {
            return false;
        }
        self.stats.recoveries += 1;
        self.state = State::Healthy;
        self.errors_in_row = 0;
        self.refused_since_ns = None;
        self.answered_at_ns = now_ns;
        true
    }

    pub(crate) fn stats(&self) -> HealthStats {
        HealthStats {
            healthy: self.is_healthy(),
            closed: self.is_closed(),
            ..self.stats
        }
    }
}
