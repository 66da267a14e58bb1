//! Whose ticket is being made: what rustls does not tell a ticketer.
//!
//! rustls opens a client's ticket and seals the next one in different calls, with pauses and other
//! handshakes between, and says at neither whose it is. So a handshake keeps what it has learnt of its
//! session, and lends it to the thread while it runs:
//! ```text
//!   handshake ──▶ thread ──▶ ticketer: decrypt notes, encrypt and lifetime read
//!             ◀── at the pause or the end
//! ```

use std::cell::Cell;

/// What is known of the session of a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Session {
    /// Nobody has said so: no [`Connection`](crate::Connection) runs.
    #[default]
    Unknown,
    /// No ticket has been opened or made.
    New,
    /// It is good until then, in seconds since 1970: said by the ticket that was opened, or by the first
    /// that was made. A ticket that was opened but not resumed by shortens the new session, no more.
    Until(u64),
}

thread_local! {
    static RUNNING: Cell<Session> = const { Cell::new(Session::Unknown) };
}

impl Session {
    /// That of the handshake that runs on this thread.
    pub(super) fn running() -> Self {
        RUNNING.get()
    }

    /// Notes the end of the session of the handshake that runs, if one does.
    pub(super) fn note(until: u64) {
        if RUNNING.get() != Self::Unknown {
            RUNNING.set(Self::Until(until));
        }
    }

    /// Runs a step of this session's handshake.
    pub(crate) fn run<T>(&mut self, step: impl FnOnce() -> T) -> T {
        /// Puts back what was there, also when `step` panics: a handshake may be driven in another's
        /// callback.
        struct Lent<'a> {
            session: &'a mut Session,
            outer: Session,
        }
        impl Drop for Lent<'_> {
            fn drop(&mut self) {
                *self.session = RUNNING.replace(self.outer);
            }
        }
        let _lent = Lent {
            outer: RUNNING.replace(*self),
            session: self,
        };
        step()
    }
}
