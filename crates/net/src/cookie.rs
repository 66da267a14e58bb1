//! SYN cookies (RFC 4987, section 3.6): a SYN-ACK whose number says what the SYN was, so that nothing need be kept.
//!
//! ```text
//!   number     │ minute, 3 bits │ MSS class, 2 bits │ keyed hash of all that and of the connection, 27 bits │
//!   timestamp  │ milliseconds, rounded down               │ SACK, 1 bit │ window scale, 4 bits (15: none) │
//! ```
//! A forger who knows nothing guesses right once in 2^25 (two minutes are valid, two bits are free).

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use spinlane_tcp::{Flags, Instant, Segment, Seq};

use crate::address::Tuple;

/// Segments that a client may have asked for; it gets the largest that is not larger.
const CLASSES_V4: [u16; 4] = [536, 1300, 1440, 1460];
const CLASSES_V6: [u16; 4] = [536, 1220, 1420, 1440];
const HASH: u32 = (1 << 27) - 1;
const NO_SCALE: u32 = 15;
/// Low bits of the timestamp that are ours.
const OPTIONS: u32 = 31;

/// Makes cookies and takes them.
pub(crate) struct Cookies {
    hasher: SipHasher24,
}

impl std::fmt::Debug for Cookies {
    /// The key stays out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cookies").finish_non_exhaustive()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "three bits are used")]
fn minute(now: Instant) -> u32 {
    (now.micros() / 60_000_000) as u32 & 7
}

impl Cookies {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher24::new_with_key(key),
        }
    }

    /// The number for a minute and an MSS class.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    fn number(&self, tuple: &Tuple, peers: Seq, minute: u32, class: u32) -> Seq {
        let mut hasher = self.hasher;
        hasher.write(&tuple.bytes());
        hasher.write_u32(peers.0);
        hasher.write_u32(minute << 2 | class);
        Seq(minute << 29 | class << 27 | (hasher.finish() as u32 & HASH))
    }

    /// The answer to `syn`. `offer` is what a connection's SYN-ACK would say; of it a peer without timestamps gets the MSS alone.
    pub(crate) fn answer(
        &self,
        now: Instant,
        tuple: &Tuple,
        syn: &Segment,
        offer: &Segment,
    ) -> Segment {
        let wanted = syn.mss.unwrap_or(0);
        let classes = classes(tuple);
        let class = classes.iter().rposition(|class| *class <= wanted);
        #[expect(clippy::cast_possible_truncation, reason = "0 to 3")]
        let class = class.unwrap_or(0) as u32;
        let mut answer = Segment {
            seq: self.number(tuple, syn.seq, minute(now), class),
            ack: syn.seq + 1,
            flags: Flags::SYN | Flags::ACK,
            window: offer.window,
            mss: offer.mss,
            ..Segment::default()
        };
        if let Some((echo, _)) = syn.timestamps.filter(|_| offer.timestamps.is_some()) {
            let sack = syn.sack_permitted && offer.sack_permitted;
            let scale = syn.scale.map_or(NO_SCALE, u32::from);
            answer.sack_permitted = sack;
            answer.scale = syn.scale.and(offer.scale);
            // Not ahead of the clock that the connection's own timestamps follow.
            let clock = (now.timestamp() & !OPTIONS).wrapping_sub(OPTIONS + 1);
            answer.timestamps = Some((clock | u32::from(sack) << 4 | scale, echo));
        }
        answer
    }

    /// What the SYN said whose cookie `ack` acknowledges, and the cookie; `None` if it is no cookie of the last two minutes.
    pub(crate) fn take(
        &self,
        now: Instant,
        tuple: &Tuple,
        ack: &Segment,
    ) -> Option<(Segment, Seq)> {
        let (cookie, peers) = (ack.ack - 1, ack.seq - 1);
        let (at, class) = (cookie.0 >> 29, cookie.0 >> 27 & 3);
        let age = minute(now).wrapping_sub(at) & 7;
        if age > 1 || self.number(tuple, peers, at, class) != cookie {
            return None;
        }
        let mut syn = Segment {
            seq: peers,
            flags: Flags::SYN,
            // The acknowledgement's own, which is shifted, is taken with it.
            window: ack.window,
            mss: Some(classes(tuple)[class as usize]),
            ..Segment::default()
        };
        if let Some((value, echo)) = ack.timestamps {
            syn.timestamps = Some((value, 0));
            syn.sack_permitted = echo & 16 != 0;
            let scale = echo & NO_SCALE;
            let scale = (scale != NO_SCALE).then_some(scale as u8);
            syn.scale = scale;
        }
        Some((syn, cookie))
    }
}

fn classes(tuple: &Tuple) -> &'static [u16; 4] {
    if tuple.local.is_v4() {
        &CLASSES_V4
    } else {
        &CLASSES_V6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn tuple(port: u16) -> Tuple {
        Tuple {
            local: Address::v4([10, 0, 0, 1]),
            remote: Address::v4([10, 0, 0, 2]),
            local_port: 443,
            remote_port: port,
        }
    }

    fn offer() -> Segment {
        Segment {
            window: 65535,
            mss: Some(1460),
            scale: Some(7),
            sack_permitted: true,
            timestamps: Some((0, 0)),
            ..Segment::default()
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    /// The acknowledgement of `answer` by a client that said `syn`.
    fn ack(syn: &Segment, answer: &Segment) -> Segment {
        Segment {
            seq: syn.seq + 1,
            ack: answer.seq + 1,
            flags: Flags::ACK,
            timestamps: answer.timestamps.map(|(value, _)| (77, value)),
            ..Segment::default()
        }
    }

    #[test]
    fn what_a_syn_said_comes_back_with_the_acknowledgement() {
        let cookies = Cookies::new(&[3; 16]);
        for (mss, taken) in [
            (None, 536),
            (Some(100), 536),
            (Some(1459), 1440),
            (Some(9000), 1460),
        ] {
            for scale in [None, Some(0), Some(14)] {
                for sack_permitted in [false, true] {
                    let syn = Segment {
                        seq: Seq(u32::MAX),
                        mss,
                        scale,
                        sack_permitted,
                        timestamps: Some((5, 0)),
                        ..Segment::default()
                    };
                    let answer = cookies.answer(at(1000), &tuple(1), &syn, &offer());
                    assert!(answer.timestamps.unwrap().0 <= at(1000).timestamp());
                    let (back, cookie) = cookies
                        .take(at(1055), &tuple(1), &ack(&syn, &answer))
                        .unwrap();
                    assert_eq!(
                        (back.mss, back.scale, back.sack_permitted),
                        (Some(taken), scale, sack_permitted)
                    );
                    assert_eq!((back.seq, cookie), (syn.seq, answer.seq));
                    // Without timestamps the MSS is all that is left.
                    let plain = Segment {
                        timestamps: None,
                        ..syn
                    };
                    let answer = cookies.answer(at(1000), &tuple(1), &plain, &offer());
                    assert_eq!((answer.scale, answer.sack_permitted), (None, false));
                    let (back, _) = cookies
                        .take(at(1000), &tuple(1), &ack(&plain, &answer))
                        .unwrap();
                    assert_eq!(
                        (back.mss, back.scale, back.sack_permitted),
                        (Some(taken), None, false)
                    );
                }
            }
        }
    }

    #[test]
    fn cookies_of_others_and_old_ones_are_refused() {
        let cookies = Cookies::new(&[3; 16]);
        let syn = Segment {
            seq: Seq(9),
            ..Segment::default()
        };
        let answer = cookies.answer(at(600), &tuple(1), &syn, &offer());
        let ack = ack(&syn, &answer);
        let take = |cookies: &Cookies, seconds, port, ack: &Segment| {
            cookies.take(at(seconds), &tuple(port), ack).is_some()
        };
        assert!(take(&cookies, 600, 1, &ack) && take(&cookies, 719, 1, &ack));
        assert!(!take(&cookies, 720, 1, &ack) && !take(&cookies, 599, 1, &ack));
        assert!(!take(&cookies, 600, 2, &ack));
        assert!(!take(&Cookies::new(&[4; 16]), 600, 1, &ack));
        let guesses = (0..100_000).filter(|guess| {
            let guess = Segment {
                ack: Seq(guess * 40_503),
                ..ack
            };
            take(&cookies, 600, 1, &guess)
        });
        assert_eq!(guesses.count(), 0);
        let other = Segment {
            seq: ack.seq + 1,
            ..ack
        };
        assert!(!take(&cookies, 600, 1, &other));
    }
}
