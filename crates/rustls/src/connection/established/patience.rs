//! How often a peer may do what costs work and means nothing.
//!
//! As often as in rustls, and again for every [`PORTION`] bytes of text that go either way and every
//! [`WINDOW`]. So it is a rate that ends a connection: a long one may change its keys as often as it
//! likes, and all at once what belongs to text that was still on its way.

use std::time::{Duration, Instant};

use rustls::PeerMisbehaved;

use crate::record::Fault;

/// After this time everything may be done again as often.
const WINDOW: Duration = Duration::from_secs(60);
/// For so much text as well.
const PORTION: usize = 64 * 1024;
/// Text beyond this much counts for nothing: no more is on its way at a time.
const MAX_TEXT: usize = 256 * PORTION;

/// What costs work and means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nuisance {
    /// Of application data.
    EmptyRecord,
    KeyUpdate,
    Warning,
    /// A wish to, which is refused.
    Renegotiation,
}

/// How much more of each the peer may send.
pub(super) struct Patience {
    left: [u8; 4],
    /// When `left` was full; `None` if it still is.
    since: Option<Instant>,
    /// Bytes of text that nothing was granted for yet.
    text: usize,
}

impl Nuisance {
    const ALL: [Self; 4] = [
        Self::EmptyRecord,
        Self::KeyUpdate,
        Self::Warning,
        Self::Renegotiation,
    ];

    /// How often it may be done in a window: rustls' numbers.
    const fn allowed(self) -> u8 {
        match self {
            Self::EmptyRecord | Self::KeyUpdate => 32,
            Self::Warning => 4,
            Self::Renegotiation => 1,
        }
    }

    fn too_many(self) -> PeerMisbehaved {
        match self {
            Self::EmptyRecord => PeerMisbehaved::TooManyEmptyFragments,
            Self::KeyUpdate => PeerMisbehaved::TooManyKeyUpdateRequests,
            Self::Warning => PeerMisbehaved::TooManyWarningAlertsReceived,
            Self::Renegotiation => PeerMisbehaved::TooManyRenegotiationRequests,
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            left: Nuisance::ALL.map(Nuisance::allowed),
            since: None,
            text: 0,
        }
    }
}

impl Patience {
    /// The peer has sent `count` bytes of text, which make up for empty records and KeyUpdates before.
    pub(super) fn heard(&mut self, count: usize) {
        for what in [Nuisance::EmptyRecord, Nuisance::KeyUpdate] {
            self.left[what as usize] = what.allowed();
        }
        self.said(count);
    }

    /// The peer was sent `count` bytes of text.
    pub(super) fn said(&mut self, count: usize) {
        self.text = (self.text + count).min(MAX_TEXT);
    }

    /// The peer has done `what` at `now`.
    ///
    /// # Errors
    /// It has done so too often.
    pub(super) fn spend(&mut self, what: Nuisance, now: Instant) -> Result<(), Fault> {
        let since = *self.since.get_or_insert(now);
        if self.left[what as usize] == 0 {
            if now.duration_since(since) < WINDOW {
                let rest = self.text.checked_sub(PORTION);
                self.text = rest.ok_or_else(|| Fault::misbehaved(what.too_many()))?;
            }
            self.left = Nuisance::ALL.map(Nuisance::allowed);
            self.since = Some(now);
        }
        self.left[what as usize] -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often `what` can be done at `now`.
    fn how_often(patience: &mut Patience, what: Nuisance, now: Instant) -> usize {
        let can = |_: &i32| patience.spend(what, now).is_ok();
        (0..100_000).take_while(can).count()
    }

    #[test]
    fn it_comes_back_with_time_and_with_text_either_way() {
        for what in Nuisance::ALL {
            let count = usize::from(what.allowed());
            let (start, mut patience) = (Instant::now(), Patience::default());
            assert_eq!(how_often(&mut patience, what, start), count);
            let almost = start + WINDOW - Duration::from_nanos(1);
            assert_eq!(how_often(&mut patience, what, almost), 0);
            let later = start + WINDOW;
            assert_eq!(how_often(&mut patience, what, later), count);
            patience.said(PORTION - 1);
            assert_eq!(how_often(&mut patience, what, later), 0);
            patience.said(1);
            assert_eq!(how_often(&mut patience, what, later), count);
            // What was on its way comes at once.
            patience.said(3 * PORTION);
            assert_eq!(how_often(&mut patience, what, later), 3 * count);
            patience.said(10 * MAX_TEXT);
            let most = MAX_TEXT / PORTION * count;
            assert_eq!(how_often(&mut patience, what, later), most);
        }
    }

    #[test]
    fn a_word_from_the_peer_makes_up_for_empty_records_and_key_updates() {
        for what in Nuisance::ALL {
            let count = usize::from(what.allowed());
            let (start, mut patience) = (Instant::now(), Patience::default());
            assert_eq!(how_often(&mut patience, what, start), count);
            patience.heard(1);
            let is_made_up = matches!(what, Nuisance::EmptyRecord | Nuisance::KeyUpdate);
            let again = if is_made_up { count } else { 0 };
            assert_eq!(how_often(&mut patience, what, start), again, "{what:?}");
        }
    }
}
