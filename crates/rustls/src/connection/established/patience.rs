//! How often a peer may do what costs work and means nothing.
//!
//! Each may be done so many times, as in rustls, in [`WINDOW`], or in [`WINDOW_TEXT`] bytes of text
//! either way. So it is a rate that ends a connection: a long one may change its keys as often as it
//! likes.

use std::time::{Duration, Instant};

use rustls::PeerMisbehaved;

use crate::record::Fault;

/// After this time everything may be done again as often.
const WINDOW: Duration = Duration::from_secs(60);
/// After so much text as well.
const WINDOW_TEXT: usize = 64 * 1024;

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
    /// Without text from the peer in between.
    empty_records: u8,
    /// Likewise.
    key_updates: u8,
    warnings: u8,
    renegotiations: u8,
    /// When the window began; `None` if nothing was done since.
    since: Option<Instant>,
    /// Bytes of text since then.
    text: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            empty_records: 32,
            key_updates: 32,
            warnings: 4,
            renegotiations: 1,
            since: None,
            text: 0,
        }
    }
}

impl Patience {
    /// The peer has sent `count` bytes of text.
    pub(super) fn heard(&mut self, count: usize) {
        let fresh = Self::default();
        (self.empty_records, self.key_updates) = (fresh.empty_records, fresh.key_updates);
        self.said(count);
    }

    /// The peer was sent `count` bytes of text.
    pub(super) fn said(&mut self, count: usize) {
        self.text = self.text.saturating_add(count);
    }

    /// The peer has done `what` at `now`.
    ///
    /// # Errors
    /// It has done so too often.
    pub(super) fn spend(&mut self, what: Nuisance, now: Instant) -> Result<(), Fault> {
        let since = *self.since.get_or_insert(now);
        let is_over = self.text >= WINDOW_TEXT || now.duration_since(since) >= WINDOW;
        if is_over {
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
        let (left, too_many) = match what {
            Nuisance::EmptyRecord => (
                &mut self.empty_records,
                PeerMisbehaved::TooManyEmptyFragments,
            ),
            Nuisance::KeyUpdate => (
                &mut self.key_updates,
                PeerMisbehaved::TooManyKeyUpdateRequests,
            ),
            Nuisance::Warning => (
                &mut self.warnings,
                PeerMisbehaved::TooManyWarningAlertsReceived,
            ),
            Nuisance::Renegotiation => (
                &mut self.renegotiations,
                PeerMisbehaved::TooManyRenegotiationRequests,
            ),
        };
        let less = left.checked_sub(1);
        *left = less.ok_or_else(|| Fault::misbehaved(too_many))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Nuisance, u32); 4] = [
        (Nuisance::EmptyRecord, 32),
        (Nuisance::KeyUpdate, 32),
        (Nuisance::Warning, 4),
        (Nuisance::Renegotiation, 1),
    ];

    /// How often `what` can be done at `now`.
    fn how_often(patience: &mut Patience, what: Nuisance, now: Instant) -> u32 {
        (0..100)
            .take_while(|_| patience.spend(what, now).is_ok())
            .count() as u32
    }

    #[test]
    fn it_comes_back_with_time_and_with_text_either_way() {
        for (what, count) in ALL {
            let start = Instant::now();
            let mut patience = Patience::default();
            assert_eq!(how_often(&mut patience, what, start), count);
            let almost = start + WINDOW - Duration::from_nanos(1);
            assert_eq!(how_often(&mut patience, what, almost), 0);
            assert_eq!(how_often(&mut patience, what, start + WINDOW), count);
            patience.said(WINDOW_TEXT - 1);
            assert_eq!(how_often(&mut patience, what, start + WINDOW), 0);
            patience.said(1);
            assert_eq!(how_often(&mut patience, what, start + WINDOW), count);
            patience.heard(WINDOW_TEXT);
            assert_eq!(how_often(&mut patience, what, start + WINDOW), count);
        }
    }

    #[test]
    fn a_word_from_the_peer_excuses_what_came_before_it() {
        for (what, count) in ALL {
            let (start, mut patience) = (Instant::now(), Patience::default());
            assert_eq!(how_often(&mut patience, what, start), count);
            patience.heard(1);
            let excused = matches!(what, Nuisance::EmptyRecord | Nuisance::KeyUpdate);
            let again = if excused { count } else { 0 };
            assert_eq!(how_often(&mut patience, what, start), again, "{what:?}");
        }
    }
}
