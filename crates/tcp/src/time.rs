//! Time as the caller tells it.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A moment, in microseconds since whatever the caller counts from. Moments of one connection never
/// go back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Later than all others: a timer that is off.
    pub const NEVER: Self = Self(u64::MAX);

    /// Makes the moment so many microseconds after the caller's origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the caller's origin.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Returns the time since `earlier`, zero if that lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Returns the clock of TCP's timestamps (RFC 7323, section 5.4): milliseconds, of which the
    /// low 32 bits count.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub const fn timestamp(self) -> u32 {
        (self.0 / 1000) as u32
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
