//! A connection's life.
//!
//! ```text
//!   Handshake ──▶ Open (relay | respond) ──▶ Closing ──▶ closed
//!       └───────────── any error ───────────────┘
//! ```
//! Closing sends what is left to say (an alert, close_notify), ends the TCP stream, and reads until
//! the client has closed as well: closing with bytes unread would reset the connection, and the
//! client might never see our last ones.

use std::net::SocketAddr;
use std::rc::Rc;

use spinlane::Conn;

use super::buffer::{Buffer, CAPACITY};
use super::carrier::{Carrier, Listener};
use super::client::{Client, End};
use super::config::{BareEnd, SendProxy};
use super::counters::Closed;
use super::doors::CoreDoor;
use super::env::Env;
use super::failure::{Failure, Parting};
use super::header::{self, About};
use super::pool::Attempts;
use super::relay::{Moved, Relay, RelayError};
use super::respond::Responder;
use super::unfinished::Held;
use super::watch::Watch;
use crate::tls::Progress;

/// Rounds that a busy connection gets per turn.
const ROUNDS: usize = 4;
/// A round that moved so many bytes is likely to be followed by another.
const BULK: usize = CAPACITY / 2;
/// An address of the backend accepts within this time.
const CONNECT_NS: u64 = 5_000_000_000;
/// Closing takes this long at most.
const LINGER_NS: u64 = 2_000_000_000;

/// A connection.
pub struct Connection<L: Listener> {
    conn: Conn,
    client: Client<L::Client>,
    peer: SocketAddr,
    /// The address that the client came to, if a balancer has said so.
    came_to: Option<SocketAddr>,
    /// Which of its core's it is.
    number: u64,
    /// Where it came in.
    door: Rc<CoreDoor>,
    stage: Stage<L::Backend>,
    /// From the client, decrypted.
    up: Buffer,
    /// To the client, to be encrypted.
    down: Buffer,
    /// What its handshake has received, until that is done.
    held: Option<Held>,
    /// The TLS library is to be called although nothing came.
    due: bool,
    deadline_ns: u64,
}

enum Stage<C: Carrier> {
    /// A balancer is to say first who the client is: what has come of that.
    Greeting(Vec<u8>),
    Handshake,
    Open(App<C>),
    Closing(Closed, Parting),
}

enum App<C: Carrier> {
    Respond(Responder),
    /// With the addresses to be tried if this one fails.
    Relay(Relay<C>, Attempts),
}

/// What to do with a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Something moved: look again soon.
    Again,
    /// Nothing to do now.
    Quiet,
    /// An op is with a device, or the connection in the retry queue: the lcore calls.
    Wait,
    /// It is over.
    Closed(Closed),
}

impl<L: Listener> Connection<L> {
    /// A connection just accepted at `door`, which the lcore calls `conn`.
    pub fn new(
        conn: Conn,
        client: Client<L::Client>,
        peer: SocketAddr,
        door: Rc<CoreDoor>,
        env: &mut Env<L>,
    ) -> Self {
        Self {
            conn,
            client,
            stage: match door.takes_header_from(peer.ip()) {
                true => Stage::Greeting(Vec::new()),
                false => Stage::Handshake,
            },
            peer,
            came_to: None,
            number: env.counters.accepted,
            door,
            up: Buffer::default(),
            down: Buffer::default(),
            held: Some(env.unfinished.begin()),
            due: false,
            deadline_ns: env.now_ns.saturating_add(env.limits.handshake_ns),
        }
    }

    /// Whether the listener names it when there is something to do, so that nobody need look.
    pub fn is_told(&self) -> bool {
        let backend = match &self.stage {
            Stage::Open(App::Relay(relay, _)) => relay.is_told(),
            _ => true,
        };
        backend && self.client.is_told()
    }

    /// Has `watch` name it from now on when there is something to do, so that nobody need look.
    ///
    /// # Errors
    /// As for [`Watch::add`].
    pub fn rest(&mut self, watch: &mut Watch) -> std::io::Result<()> {
        if let Stage::Open(App::Relay(relay, _)) = &mut self.stage {
            relay.rest(watch, self.conn)?;
        }
        self.client.rest(watch, self.conn)
    }

    /// Whether its time is up, or its handshake holds too much.
    pub fn is_late(&self, env: &Env<L>) -> bool {
        env.now_ns >= self.deadline_ns || self.holds_too_much(env)
    }

    fn holds_too_much(&self, env: &Env<L>) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| env.unfinished.is_too_much(held))
    }

    /// Its handshake is done, or its memory free.
    pub fn release(&mut self, env: &mut Env<L>) {
        if let Some(held) = self.held.take() {
            env.unfinished.end(held);
        }
    }

    /// Does what can be done without waiting.
    pub fn turn(&mut self, env: &mut Env<L>) -> Next {
        let done = match self.stage {
            Stage::Greeting(_) => self.greet(env),
            Stage::Handshake => self.handshake(env),
            Stage::Open(_) => self.exchange(env),
            Stage::Closing(closed, parting) => return self.close(closed, parting, env),
        };
        done.unwrap_or_else(|failure| self.part(failure, env))
    }

    /// Its time is up, or it holds too much.
    pub fn expire(&mut self, env: &mut Env<L>) -> Next {
        let failure = match &self.stage {
            Stage::Closing(closed, _) => return Next::Closed(*closed),
            Stage::Handshake | Stage::Greeting(_) if self.holds_too_much(env) => Failure::hoards(),
            Stage::Handshake | Stage::Greeting(_) => Failure::new(
                Closed::HandshakeTimeout,
                "see --handshake-timeout",
                Parting::None,
            ),
            Stage::Open(App::Relay(relay, _)) if !relay.is_connected() => {
                match self.next_address(&std::io::ErrorKind::TimedOut.into(), env) {
                    Ok(()) => return Next::Again,
                    Err(failure) => failure,
                }
            }
            Stage::Open(_) if self.client.is_deaf() => self.gone(),
            Stage::Open(_) => {
                Failure::new(Closed::IdleTimeout, "see --idle-timeout", Parting::Notify)
            }
        };
        self.part(failure, env)
    }

    /// Says goodbye as far as that goes without waiting.
    pub fn stop(&mut self, env: &mut Env<L>) -> Closed {
        if let Stage::Closing(closed, _) = self.stage {
            return closed;
        }
        if matches!(self.stage, Stage::Open(_)) {
            self.client.notify();
            self.send(env);
        }
        Closed::Stopped
    }

    /// Takes a balancer's header, and what came behind that on to the handshake.
    fn greet(&mut self, env: &mut Env<L>) -> Result<Next, Failure> {
        let Stage::Greeting(bytes) = &mut self.stage else {
            return Ok(Next::Again);
        };
        // No more than the TLS library has room for.
        let scratch = &mut env.scratch[..header::LONGEST];
        let count = self.client.receive_plain(scratch);
        let count = count.map_err(|error| Failure::reset(&error))?;
        if count == 0 && !self.client.fin() {
            return Ok(Next::Quiet);
        }
        bytes.extend_from_slice(&scratch[..count]);
        env.counters.received += count as u64;
        if let Some(held) = &mut self.held {
            env.unfinished.add(held, count);
        }
        match header::read(bytes) {
            // A balancer that only looks whether we are there.
            header::Read::Partial if self.client.fin() && bytes.is_empty() => {
                Err(Failure::truncated())
            }
            header::Read::Partial if self.client.fin() => Err(Failure::no_header()),
            header::Read::Partial => Ok(Next::Again),
            header::Read::Bad => Err(Failure::no_header()),
            header::Read::Header(len, addresses) => {
                if let Some((client, came_to)) = addresses {
                    (self.peer, self.came_to) = (client, Some(came_to));
                }
                self.client.push(bytes.get(len..).unwrap_or_default());
                self.due = true;
                self.stage = Stage::Handshake;
                self.handshake(env)
            }
        }
    }

    fn handshake(&mut self, env: &mut Env<L>) -> Result<Next, Failure> {
        let received = self.receive(env);
        if let Some(held) = &mut self.held {
            env.unfinished.add(held, received);
        }
        if self.holds_too_much(env) {
            return Err(Failure::hoards());
        }
        let moved = received + self.send(env);
        if moved == 0 && !self.due && !self.client.fin() {
            return Ok(Next::Quiet);
        }
        env.leads_to_ops = true;
        self.due = false;
        let progress = match self.client.handshake() {
            Ok(Progress::Done(_)) => {
                env.counters.handshakes += 1;
                env.counters.resumed += u64::from(self.client.session_reused());
                self.release(env);
                self.open(env)?;
                return self.exchange(env);
            }
            Ok(progress) => progress,
            Err(error) => {
                let speaks_http = self.client.speaks_http();
                return Err(Failure::of_handshake(&error, speaks_http));
            }
        };
        let sent = self.send(env);
        match progress {
            Progress::Paused | Progress::Refused => {
                env.counters.refused += u64::from(progress == Progress::Refused);
                self.due = true;
                Ok(Next::Wait)
            }
            Progress::NoJobs => {
                env.counters.no_jobs += 1;
                self.due = true;
                Ok(Next::Again)
            }
            Progress::Closed => Err(Failure::truncated()),
            Progress::WantInput if self.client.fin() => Err(self.gone()),
            Progress::WantOutput => {
                // The room that it wants may be there already, and nothing else may move.
                self.due = sent != 0 || self.client.is_flushed();
                Ok(Next::Again)
            }
            Progress::WantInput | Progress::Done(_) => Ok(Next::Again),
        }
    }

    /// The handshake is done: what now?
    fn open(&mut self, env: &mut Env<L>) -> Result<(), Failure> {
        if let Some(balancer) = self.door.backend(&self.client) {
            let attempts = Attempts::new(balancer);
            let version = self.door.send_proxy(balancer);
            if version != SendProxy::Off {
                self.introduce(version, env);
            }
            return self.connect(attempts, env);
        }
        self.stage = Stage::Open(App::Respond(Responder::default()));
        self.deadline_ns = env.now_ns.saturating_add(env.limits.idle_ns);
        Ok(())
    }

    /// Tells the backend who the client is, in front of all that the client says.
    fn introduce(&mut self, version: SendProxy, env: &mut Env<L>) {
        let came_to = self.came_to.or_else(|| self.client.local());
        let addresses = came_to.map(|came_to| (self.peer, came_to));
        if version == SendProxy::V1 {
            let about = About {
                addresses,
                ..About::default()
            };
            let len = header::write(version, &about, &mut env.scratch[..header::MOST]);
            self.up.push(&env.scratch[..len]);
            return;
        }
        let (agreed, alpn, name) = (
            self.client.agreed(),
            self.client.alpn(),
            self.client.server_name(),
        );
        let certificate = self.client.certificate();
        let common_name = certificate.as_deref().and_then(header::common_name);
        let id = format!("{}-{:x}", env.name, self.number);
        let about = About {
            addresses,
            alpn: alpn.as_deref(),
            authority: name.as_deref(),
            unique_id: &id,
            version: agreed.version,
            suite: agreed.suite,
            group: Some(agreed.group).filter(|group| !group.is_empty()),
            has_certificate: certificate.is_some(),
            resumed: self.client.session_reused(),
            common_name: common_name.as_deref(),
        };
        let len = header::write(version, &about, &mut env.scratch[..header::MOST]);
        self.up.push(&env.scratch[..len]);
    }

    /// Begins to connect to the first address that lets it.
    fn connect(&mut self, mut attempts: Attempts, env: &mut Env<L>) -> Result<(), Failure> {
        while let Some(address) = attempts.next() {
            match env.net.connect(&address) {
                Ok(carrier) => {
                    let relay = Relay::new(carrier, address, self.conn);
                    self.stage = Stage::Open(App::Relay(relay, attempts));
                    self.deadline_ns = env.now_ns.saturating_add(CONNECT_NS);
                    return Ok(());
                }
                Err(error) => attempts.fail(&address, &error),
            }
        }
        attempts.refresh();
        Err(Failure::unreachable(attempts.failed()))
    }

    /// The backend's address has failed with `error`: begins to connect to the next.
    fn next_address(&mut self, error: &std::io::Error, env: &mut Env<L>) -> Result<(), Failure> {
        match std::mem::replace(&mut self.stage, Stage::Handshake) {
            Stage::Open(App::Relay(relay, mut attempts)) => {
                attempts.fail(relay.address(), error);
                drop(relay);
                self.connect(attempts, env)
            }
            stage => {
                self.stage = stage;
                Ok(())
            }
        }
    }

    /// The backend is connected.
    fn connected(&self, env: &mut Env<L>) {
        env.counters.backend_connects += 1;
        let Stage::Open(App::Relay(relay, attempts)) = &self.stage else {
            return;
        };
        let (address, failed) = (relay.address(), attempts.failed());
        attempts.connected(address);
        if failed.is_empty() {
            return;
        }
        if let Some(held_back) = env.may_log(Closed::BackendUnreachable) {
            tracing::warn!(
                failed,
                held_back,
                "{address} serves in place of a backend's address that failed"
            );
        }
    }

    fn exchange(&mut self, env: &mut Env<L>) -> Result<Next, Failure> {
        let mut next = Next::Quiet;
        for _ in 0..ROUNDS {
            let moved = self.round(env)?;
            if moved != 0 {
                next = Next::Again;
            }
            if moved < BULK {
                break;
            }
        }
        if self.is_over(env)? {
            return Ok(self.begin_closing(Closed::Finished, Parting::Notify, env));
        }
        Ok(next)
    }

    /// Every byte one step on its way; returns about how many moved.
    fn round(&mut self, env: &mut Env<L>) -> Result<usize, Failure> {
        let received = self.receive(env);
        let decrypted = self.decrypt(env)?;
        let ended = self.has_ended(env);
        let mut moved = Moved::default();
        match &mut self.stage {
            Stage::Open(App::Respond(responder)) => {
                let answered = responder.work(&mut self.up, ended, &mut self.down, env.stopping);
                env.counters.responses += answered;
            }
            Stage::Open(App::Relay(relay, _)) => {
                match relay.work(&mut self.up, ended, &mut self.down) {
                    Ok(worked) => moved = worked,
                    Err(RelayError::Unreachable(error)) => self.next_address(&error, env)?,
                    Err(RelayError::Reset(error)) => return Err(Failure::backend_reset(&error)),
                }
            }
            Stage::Greeting(_) | Stage::Handshake | Stage::Closing(..) => {}
        }
        if moved.connected {
            self.connected(env);
        }
        let mut sent = self.send(env);
        while self.client.encrypt(&mut self.down)? != 0 {
            sent += self.send(env);
        }
        self.put_off(decrypted, moved, env);
        Ok(received + moved.up + moved.down + usize::from(moved.connected) + sent)
    }

    /// Puts the deadline off if the application's bytes have moved: alerts, KeyUpdates and empty records
    /// keep no connection.
    fn put_off(&mut self, decrypted: usize, moved: Moved, env: &Env<L>) {
        let is_heard = !self.client.is_deaf();
        let answered = self.client.has_moved_data();
        let is_alive = match &self.stage {
            // A request that drips in does not keep its connection, only answers do.
            Stage::Open(App::Respond(_)) => answered,
            Stage::Open(App::Relay(relay, _)) => {
                let (up, down) = (decrypted + moved.up != 0, moved.down != 0 || answered);
                relay.is_connected() && (moved.connected || up || (down && is_heard))
            }
            Stage::Greeting(_) | Stage::Handshake | Stage::Closing(..) => false,
        };
        if is_alive {
            self.deadline_ns = env.now_ns.saturating_add(env.limits.idle_ns);
        }
        // All that the client had to say is on its way, and the answer has nobody to go to: the
        // backend gets some time, since closing with its answer unread would break the connection.
        if !is_heard
            && matches!(&self.stage, Stage::Open(App::Relay(relay, _)) if relay.up_closed())
        {
            self.deadline_ns = self.deadline_ns.min(env.now_ns + LINGER_NS);
        }
    }

    /// Takes the client's text, as far as there is room.
    fn decrypt(&mut self, env: &mut Env<L>) -> Result<usize, Failure> {
        let had_ended = self.client.end().is_some();
        let decrypted = self.client.decrypt(&mut self.up)?;
        match self.client.end() {
            Some(End::Broken) => return Err(self.gone()),
            Some(End::Bare) if !had_ended => {
                env.counters.bare_ends += 1;
                let is_relayed = matches!(self.stage, Stage::Open(App::Relay(..)));
                let may_be_cut = is_relayed && env.limits.bare_end == BareEnd::Reset;
                // One that has been told of our end may leave without a word.
                if may_be_cut && !self.client.has_finished() {
                    return Err(Failure::bare_end());
                }
            }
            _ => {}
        }
        Ok(decrypted)
    }

    /// Whether the client has said its last, as far as the application may take it for that.
    fn has_ended(&self, env: &Env<L>) -> bool {
        match (self.client.end(), &self.stage) {
            (Some(End::Bare), Stage::Open(App::Relay(..))) => env.limits.bare_end == BareEnd::Pass,
            (end, _) => end.is_some(),
        }
    }

    /// The client went away.
    fn gone(&self) -> Failure {
        let broken = self.client.broken();
        broken.map_or_else(Failure::truncated, Failure::reset)
    }

    /// Says what has come to its end; returns whether everything has.
    fn is_over(&mut self, env: &mut Env<L>) -> Result<bool, Failure> {
        let Stage::Open(app) = &self.stage else {
            return Ok(false);
        };
        let (down_ended, up_ended) = match app {
            App::Respond(responder) => (responder.is_closing(), true),
            App::Relay(relay, _) => {
                let is_gone = self.client.end() == Some(End::Bare);
                (relay.down_ended(), relay.up_closed() || is_gone)
            }
        };
        if !down_ended || !self.down.is_empty() {
            return Ok(false);
        }
        self.client.notify();
        self.send(env);
        let is_over = self.client.is_notified() && self.client.finish() && up_ended;
        // It did not get all that was said.
        if is_over && self.client.is_deaf() {
            return Err(self.gone());
        }
        Ok(is_over)
    }

    /// A failure: counts it, logs it, and parts from the client.
    fn part(&mut self, failure: Failure, env: &mut Env<L>) -> Next {
        let Failure {
            closed,
            detail,
            parting,
        } = failure;
        let peer = self.peer;
        env.counters.handshakes_failed += u64::from(!self.client.is_established());
        if let Some(held_back) = env.may_log(closed) {
            let why = closed.name();
            if matches!(closed, Closed::BackendUnreachable | Closed::BackendReset) {
                tracing::warn!(%peer, detail, held_back, "{why}");
            } else {
                tracing::info!(%peer, detail, held_back, "{why}");
            }
        }
        match parting {
            Parting::None => Next::Closed(closed),
            Parting::Alert | Parting::Notify => self.begin_closing(closed, parting, env),
        }
    }

    fn begin_closing(&mut self, closed: Closed, parting: Parting, env: &mut Env<L>) -> Next {
        self.stage = Stage::Closing(closed, parting);
        self.up.clear();
        self.down.clear();
        self.deadline_ns = env.now_ns + LINGER_NS;
        self.close(closed, parting, env)
    }

    /// What is left to do once nothing more is to be said but goodbye.
    fn close(&mut self, closed: Closed, parting: Parting, env: &mut Env<L>) -> Next {
        let over = Next::Closed(closed);
        let mut sent = self.send(env);
        if parting == Parting::Notify && !self.client.is_notified() {
            self.client.notify();
            sent += self.send(env);
        }
        if self.client.is_deaf() {
            return over;
        }
        // What is to be said is said before the stream ends, even if its room came just now.
        let is_said = parting != Parting::Notify || self.client.is_notified();
        let is_finished = is_said && self.client.finish();
        let Ok(discarded) = self.client.receive_plain(&mut env.scratch) else {
            return over;
        };
        env.counters.received += discarded as u64;
        match self.client.fin() && is_finished {
            true => over,
            false if sent + discarded == 0 => Next::Quiet,
            false => Next::Again,
        }
    }

    fn receive(&mut self, env: &mut Env<L>) -> usize {
        let count = self.client.receive();
        env.counters.received += count as u64;
        count
    }

    fn send(&mut self, env: &mut Env<L>) -> usize {
        let count = self.client.send();
        env.counters.sent += count as u64;
        count
    }
}
