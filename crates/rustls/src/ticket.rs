//! Session tickets (RFC 5077, RFC 8446 section 4.6.1): whom they let in, and keys that rotate by a hash
//! chain.
//!
//! ```text
//!   link 0 ──H──▶ link 1 ──H──▶ link 2 ──H──▶ …      one link per period
//!    │             │             │
//!    ▼             ▼             ▼
//!   key 0         key 1         key 2                opens tickets of its period and the next
//! ```
//! Every core has a [`ChainTicketer`] of its own, made from the same [`TicketSeed`]: without a word
//! between them they agree on each period's key, so that a client may resume on any core.
//!
//! # Whom a ticket lets in
//! A ticket stands for a full handshake: for the certificate that the client showed there. So it opens
//! only where that handshake would still be accepted:
//! - under the same scope: the digest that [`TicketSeed::ticketer`]'s caller makes of all that decides
//!   who gets in;
//! - for a period since the full handshake, however often the session was resumed and its ticket renewed
//!   (7 days at most, RFC 8446 section 4.6.1);
//! - until the first of the client's certificates ends.
//!
//! ```text
//!   sealed: │ session, by rustls │ good until │ scope │
//! ```
//!
//! # What the chain gives, and what it does not
//! A link is overwritten when the next is made: by time, if [`TicketSeed::advance`] and
//! [`ChainTicketer::advance`] are called now and then. Whoever reads the memory later opens the tickets of
//! the period that runs and of the one before, and none that are older. But a link that is stolen
//! opens **all later** tickets of its seed: only a new seed ends that, which costs the
//! sessions. A process that is copied, by fork or as a snapshot of its machine, has the chain twice.

mod chain;
mod running;
mod session;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::server::ProducesTickets;

use self::chain::{Keys, Link};
pub(crate) use self::running::Session as RunningSession;
use self::session::Session;

/// Bytes of a scope's digest.
pub const SCOPE_LEN: usize = 32;
/// Periods that a shared secret may be old: so many links are computed in half a second.
pub const MOST_PERIODS: u64 = 1_000_000;
/// RFC 8446, section 4.6.1.
const LONGEST_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Tells the scope of a server name, or of no name.
type Scope = dyn Fn(Option<&str>) -> [u8; SCOPE_LEN] + Send + Sync;

/// What a set of [`ChainTicketer`]s is made from. Clones share it.
#[derive(Clone)]
pub struct TicketSeed {
    clock: Clock,
    link: Arc<Mutex<Link>>,
}

/// When a chain began, and how fast it goes on.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
    /// The chain's age at the start.
    age: Duration,
    period: Duration,
}

impl Clock {
    /// Number of the period that is `age` after the start. In whole seconds, so that all agree.
    fn number(&self, age: Duration) -> u64 {
        age.as_secs() / self.period.as_secs().max(1)
    }

    fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            number: self.number(self.age + self.start.elapsed()),
            seconds: since_1970.unwrap_or_default().as_secs(),
        }
    }

    /// Seconds for which a session is good.
    fn lifetime(&self) -> u64 {
        self.period.min(LONGEST_LIFETIME).as_secs()
    }
}

/// A moment.
#[derive(Clone, Copy, Debug)]
struct Now {
    /// Number of the period.
    number: u64,
    /// Since 1970.
    seconds: u64,
}

impl TicketSeed {
    /// A random one, with a new key every `period` (at least a second). With random nonces a key should
    /// seal less than 2^32 tickets: an hour at a million a second.
    pub fn new(period: Duration) -> Self {
        Self::of_age(Link::random(), Duration::ZERO, period)
    }

    /// The seed that `secret` was at the moment `since`: all processes and machines that are given the same three
    /// open each other's tickets, as far as their clocks agree. Who has the secret opens every ticket of the chain:
    /// it is kept as a private key is, and replaced now and then.
    ///
    /// Returns `None` if `since` is in the future, or more than [`MOST_PERIODS`] periods ago.
    pub fn shared(secret: &[u8; 32], since: SystemTime, period: Duration) -> Option<Self> {
        let age = SystemTime::now().duration_since(since).ok()?;
        let seed = Self::of_age(Link::of(secret), age, period);
        (seed.clock.number(age) <= MOST_PERIODS).then_some(seed)
    }

    fn of_age(link: Link, age: Duration, period: Duration) -> Self {
        Self {
            clock: Clock {
                start: Instant::now(),
                age,
                period: period.max(Duration::from_secs(1)),
            },
            link: Arc::new(Mutex::new(link)),
        }
    }

    /// Overwrites the links whose time is over. To be called now and then, at least once per period, where
    /// the seed is kept.
    pub fn advance(&self) {
        let number = self.clock.now().number;
        lock(&self.link).advance(number);
    }

    /// Makes a ticketer for a core. All of one seed open each other's tickets, if their scopes agree.
    ///
    /// `scope` gets the name that the client asked for and returns a digest of all that decides who gets in
    /// under that name: whether certificates are demanded, of which issuers, revocation lists, and the
    /// certificates that the server shows. It is called twice per handshake.
    ///
    /// The ticketer is for [`Connection`](crate::Connection)s: with other connections of rustls it
    /// cannot tell which session is renewed, so that it opens tickets and makes none.
    pub fn ticketer(
        &self,
        scope: impl Fn(Option<&str>) -> [u8; SCOPE_LEN] + Send + Sync + 'static,
    ) -> Arc<ChainTicketer> {
        self.advance();
        let keys = Keys::new(lock(&self.link).duplicate());
        Arc::new(ChainTicketer {
            clock: self.clock,
            scope: Box::new(scope),
            keys: Mutex::new(keys),
        })
    }
}

impl std::fmt::Debug for TicketSeed {
    /// The link stays out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketSeed")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Seals and opens tickets with AES-256-GCM. Its lock is never contended as long as
/// each core has its own.
pub struct ChainTicketer {
    clock: Clock,
    scope: Box<Scope>,
    keys: Mutex<Keys>,
}

impl ChainTicketer {
    /// Overwrites the keys whose time is over, which otherwise waits for the next ticket. To be called
    /// now and then, at least once per period.
    pub fn advance(&self) {
        lock(&self.keys).advance(self.clock.now().number);
    }

    fn keys_at<T>(&self, now: Now, visit: impl FnOnce(&Keys) -> T) -> T {
        let mut keys = lock(&self.keys);
        keys.advance(now.number);
        visit(&keys)
    }

    fn seal(&self, plain: &[u8], now: Now) -> Option<Vec<u8>> {
        let session = Session::read(plain)?;
        let until = match RunningSession::running() {
            RunningSession::Unknown => return None,
            RunningSession::New => now.seconds + self.clock.lifetime(),
            RunningSession::Until(until) => until,
        };
        let until = until.min(session.client_until);
        if until <= now.seconds {
            return None;
        }
        RunningSession::note(until);
        let scope = (self.scope)(session.server_name);
        self.keys_at(now, |keys| {
            keys.seal(&[plain, &until.to_be_bytes(), &scope])
        })
    }

    fn open(&self, ticket: &[u8], now: Now) -> Option<Vec<u8>> {
        let mut plain = self.keys_at(now, |keys| keys.open(ticket))?;
        let (rest, scope) = plain.split_last_chunk::<SCOPE_LEN>()?;
        let (session, until) = rest.split_last_chunk::<8>()?;
        let until = u64::from_be_bytes(*until);
        let left = until.checked_sub(now.seconds)?;
        // More than there ever was: the clock was set back.
        if left == 0 || left > self.clock.lifetime() {
            return None;
        }
        if *scope != (self.scope)(Session::read(session)?.server_name) {
            return None;
        }
        RunningSession::note(until);
        let len = session.len();
        plain.truncate(len);
        Some(plain)
    }

    fn seconds_left(&self, now: Now) -> u64 {
        match RunningSession::running() {
            RunningSession::Until(until) => until.saturating_sub(now.seconds),
            RunningSession::Unknown | RunningSession::New => self.clock.lifetime(),
        }
    }
}

impl ProducesTickets for ChainTicketer {
    fn enabled(&self) -> bool {
        true
    }

    /// Of the ticket made last.
    fn lifetime(&self) -> u32 {
        u32::try_from(self.seconds_left(self.clock.now())).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, self.clock.now())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, self.clock.now())
    }
}

impl std::fmt::Debug for ChainTicketer {
    /// The keys stay out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainTicketer")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
