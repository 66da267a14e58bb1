//! Initial sequence numbers that strangers cannot guess (RFC 6528).

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::seq::Seq;
use crate::time::Instant;

/// Makes initial sequence numbers: a clock that counts every 4 microseconds, and a keyed hash of
/// the addresses and ports.
#[derive(Clone)]
pub struct Isn {
    hasher: SipHasher24,
}

impl Isn {
    /// Makes a source of numbers from a random key, which must stay secret.
    pub fn new(key: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher24::new_with_key(key),
        }
    }

    /// Returns the number for a connection whose addresses and ports are `tuple`, in bytes.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub fn at(&self, now: Instant, tuple: &[u8]) -> Seq {
        let mut hasher = self.hasher;
        hasher.write(tuple);
        Seq((now.micros() / 4) as u32) + hasher.finish() as u32
    }
}

impl std::fmt::Debug for Isn {
    /// Prints no key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Isn").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9293, MUST-8 and SHLD-1: clock-driven, and different for each connection and key.
    #[test]
    fn numbers_follow_a_clock_from_a_secret_start() {
        let (isn, other) = (Isn::new(&[1; 16]), Isn::new(&[2; 16]));
        let at = |micros| isn.at(Instant::from_micros(micros), b"a tuple");
        assert_eq!(at(4_000_000) - at(0), 1_000_000);
        assert_ne!(isn.at(Instant::default(), b"another"), at(0));
        assert_ne!(other.at(Instant::default(), b"a tuple"), at(0));
    }
}
