//! Sequence numbers (RFC 9293, section 3.4).

use core::cmp::Ordering;
use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A sequence number: counts modulo 2^32, and compares as numbers less than 2^31 apart do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// Returns how far `self` lies ahead of `earlier`, 0 if it does not.
    pub fn since(self, earlier: Self) -> u32 {
        if self < earlier { 0 } else { self - earlier }
    }

    /// Returns the one further ahead.
    pub fn max(self, other: Self) -> Self {
        if self < other { other } else { self }
    }

    /// Returns the one further behind.
    pub fn min(self, other: Self) -> Self {
        if other < self { other } else { self }
    }
}

impl PartialOrd for Seq {
    /// Total for numbers of one window, which is all that a connection compares.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.0.wrapping_sub(other.0).cast_signed().cmp(&0))
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, count: u32) {
        *self = *self + count;
    }
}

impl Sub for Seq {
    type Output = u32;

    fn sub(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_and_subtract_across_the_wrap() {
        let (before, after) = (Seq(u32::MAX - 1), Seq(3));
        assert!(before < after);
        assert_eq!(before + 5, after);
        assert_eq!(after - before, 5);
        assert_eq!((after.since(before), before.since(after)), (5, 0));
        assert_eq!((before.max(after), before.min(after)), (after, before));
    }
}
