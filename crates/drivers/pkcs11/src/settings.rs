//! What can be set.

use std::time::Duration;

use crate::error::Error;

/// How a token is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Sessions, each on a thread of its own: as many ops as the token has in hand at most. 1 to
    /// [`Settings::MAX_SESSIONS`]; default 16.
    pub sessions: usize,
    /// Whether each result is checked with the public key before it leaves. Default: yes, since a bus or a
    /// token can be wrong, and a wrong RSA signature gives the key away.
    pub verify: bool,
    /// A module that has not returned for so long is stuck: its op fails, its session is given up, and another
    /// thread takes over. Longer than any signature takes. Default 10 s.
    pub stuck_after: Duration,
    /// Threads that may be stuck at the same time, beyond [`sessions`](Self::sessions): their memory is all that
    /// is lost. Default 16.
    pub stuck_threads: usize,
    /// An op that has waited so long for a session fails. Default 10 s.
    pub wait_at_most: Duration,
    /// How soon a token that was not there is asked again. Default 100 ms.
    pub ask_again_after: Duration,
    /// How long a token must have been away before its module is finalised and initialised again, which some
    /// need in order to find it. Default 2 s.
    pub restart_module_after: Duration,
    /// How long closing waits for threads that are within the module. Default 5 s.
    pub close_within: Duration,
}

impl Settings {
    /// Most sessions that may be asked for.
    pub const MAX_SESSIONS: usize = 256;

    /// Whether they make sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let range = |setting, value, good, wanted| match good {
            true => Ok(()),
            false => Err(Error::Setting {
                setting,
                value,
                wanted,
            }),
        };
        let sessions = self.sessions as u64;
        let good = (1..=Self::MAX_SESSIONS).contains(&self.sessions);
        range("sessions", sessions, good, "1 to 256")?;
        let stuck_ms = self.stuck_after.as_millis() as u64;
        range("stuck_after", stuck_ms, stuck_ms >= 10, "10 ms or more")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sessions: 16,
            verify: true,
            stuck_after: Duration::from_secs(10),
            stuck_threads: 16,
            wait_at_most: Duration::from_secs(10),
            ask_again_after: Duration::from_millis(100),
            restart_module_after: Duration::from_secs(2),
            close_within: Duration::from_secs(5),
        }
    }
}
