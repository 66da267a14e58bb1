//! Time: the TSC in nanoseconds, or whatever a simulation puts in its place.

/// A monotonic clock.
pub trait Clock {
    /// Nanoseconds since some fixed point.
    fn now_ns(&self) -> u64;
}

/// The processor's time stamp counter by the crate quanta, which calibrates it once per
/// process and falls back to the system's clock where the counter is not constant. Reading it
/// costs no system call.
#[derive(Clone, Debug)]
pub struct TscClock {
    clock: quanta::Clock,
    epoch: u64,
}

impl TscClock {
    /// A clock that starts at 0 now. The process's first one takes some milliseconds to
    /// calibrate.
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let epoch = clock.raw();
        Self { clock, epoch }
    }
}

impl Default for TscClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TscClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        self.clock.delta_as_nanos(self.epoch, self.clock.raw())
    }
}
