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

use super::args::Backend;
use super::buffer::{Buffer, CAPACITY};
use super::client::Client;
use super::counters::Closed;
use super::env::Env;
use super::failure::{Failure, Parting};
use super::relay::{Relay, RelayError};
use super::respond::Responder;
use crate::tls::Progress;

/// Rounds that a busy connection gets per turn.
const ROUNDS: usize = 4;
/// A round that moved so many bytes is likely to be followed by another.
const BULK: usize = CAPACITY / 2;
/// A backend accepts within this time.
const CONNECT_NS: u64 = 5_000_000_000;
/// Closing takes this long at most.
const LINGER_NS: u64 = 2_000_000_000;

/// A connection.
pub struct Connection {
    client: Client,
    peer: SocketAddr,
    stage: Stage,
    /// From the client, decrypted.
    up: Buffer,
    /// To the client, to be encrypted.
    down: Buffer,
    /// The TLS library is to be called although nothing came.
    due: bool,
    deadline_ns: u64,
}

enum Stage {
    Handshake,
    Open(App),
    Closing(Closed, Parting),
}

enum App {
    Respond(Responder),
    Relay(Relay),
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

impl Connection {
    /// A connection just accepted.
    pub fn new(client: Client, peer: SocketAddr, env: &Env) -> Self {
        Self {
            client,
            peer,
            stage: Stage::Handshake,
            up: Buffer::default(),
            down: Buffer::default(),
            due: false,
            deadline_ns: env.now_ns.saturating_add(env.limits.handshake_ns),
        }
    }

    /// Whether its time is up.
    pub fn is_late(&self, now_ns: u64) -> bool {
        now_ns >= self.deadline_ns
    }

    /// Does what can be done without waiting.
    pub fn turn(&mut self, env: &mut Env) -> Next {
        let done = match self.stage {
            Stage::Handshake => self.handshake(env),
            Stage::Open(_) => self.exchange(env),
            Stage::Closing(closed, parting) => return self.close(closed, parting, env),
        };
        done.unwrap_or_else(|failure| self.part(failure, env))
    }

    /// Its time is up.
    pub fn expire(&mut self, env: &mut Env) -> Next {
        let failure = match &self.stage {
            Stage::Closing(closed, _) => return Next::Closed(*closed),
            Stage::Handshake => Failure::new(
                Closed::HandshakeTimeout,
                "see --handshake-timeout",
                Parting::None,
            ),
            Stage::Open(App::Relay(relay)) if !relay.is_connected() => Failure::new(
                Closed::BackendUnreachable,
                "connection timed out",
                Parting::Notify,
            ),
            Stage::Open(_) => {
                Failure::new(Closed::IdleTimeout, "see --idle-timeout", Parting::Notify)
            }
        };
        self.part(failure, env)
    }

    /// Says goodbye as far as that goes without waiting.
    pub fn stop(&mut self, env: &mut Env) -> Closed {
        if let Stage::Closing(closed, _) = self.stage {
            return closed;
        }
        if matches!(self.stage, Stage::Open(_)) {
            self.client.notify();
            env.counters.sent += self.client.send().unwrap_or(0) as u64;
        }
        Closed::Stopped
    }

    fn handshake(&mut self, env: &mut Env) -> Result<Next, Failure> {
        let moved = self.receive(env)? + self.send(env)?;
        if moved == 0 && !self.due && !self.client.fin() {
            return Ok(Next::Quiet);
        }
        env.leads_to_ops = true;
        self.due = false;
        let progress = match self.client.handshake() {
            Ok(Progress::Done(_)) => {
                env.counters.handshakes += 1;
                env.counters.resumed += u64::from(self.client.session_reused());
                self.open(env)?;
                return self.exchange(env);
            }
            Ok(progress) => progress,
            Err(error) => {
                let speaks_http = self.client.speaks_http();
                return Err(Failure::of_handshake(&error, speaks_http));
            }
        };
        self.send(env)?;
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
            Progress::WantInput if self.client.fin() => Err(Failure::truncated()),
            Progress::WantInput | Progress::WantOutput | Progress::Done(_) => Ok(Next::Again),
        }
    }

    /// The handshake is done: what now?
    fn open(&mut self, env: &Env) -> Result<(), Failure> {
        let (app, time_ns) = match env.limits.backend {
            Backend::Respond => (App::Respond(Responder::default()), env.limits.idle_ns),
            Backend::Relay(address) => match Relay::connect(address) {
                Ok(relay) => (App::Relay(relay), CONNECT_NS),
                Err(error) => return Err(RelayError::Unreachable(error).into()),
            },
        };
        self.stage = Stage::Open(app);
        self.deadline_ns = env.now_ns.saturating_add(time_ns);
        Ok(())
    }

    fn exchange(&mut self, env: &mut Env) -> Result<Next, Failure> {
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
    fn round(&mut self, env: &mut Env) -> Result<usize, Failure> {
        let received = self.receive(env)?;
        let had_ended = self.client.bare_end();
        self.client.decrypt(&mut self.up)?;
        env.counters.bare_ends += u64::from(self.client.bare_end() && !had_ended);
        let ended = self.client.ended();
        let worked = match &mut self.stage {
            Stage::Open(App::Respond(responder)) => {
                let answered = responder.work(&mut self.up, ended, &mut self.down, env.stopping);
                env.counters.responses += answered;
                0
            }
            Stage::Open(App::Relay(relay)) => {
                let moved = relay.work(&mut self.up, ended, &mut self.down)?;
                env.counters.backend_connects += u64::from(moved.connected);
                moved.up + moved.down + usize::from(moved.connected)
            }
            Stage::Handshake | Stage::Closing(..) => 0,
        };
        let mut sent = self.send(env)?;
        while self.client.encrypt(&mut self.down)? != 0 {
            sent += self.send(env)?;
        }
        let is_alive = match &self.stage {
            // A request that drips in does not keep its connection, only answers do.
            Stage::Open(App::Respond(_)) => sent != 0,
            Stage::Open(App::Relay(relay)) => relay.is_connected() && received + worked + sent != 0,
            Stage::Handshake | Stage::Closing(..) => false,
        };
        if is_alive {
            self.deadline_ns = env.now_ns.saturating_add(env.limits.idle_ns);
        }
        Ok(received + worked + sent)
    }

    /// Says what has come to its end; returns whether everything has.
    fn is_over(&mut self, env: &mut Env) -> Result<bool, Failure> {
        let Stage::Open(app) = &self.stage else {
            return Ok(false);
        };
        let (down_ended, up_ended) = match app {
            App::Respond(responder) => (responder.is_closing(), true),
            App::Relay(relay) => (relay.down_ended(), relay.up_closed()),
        };
        if !down_ended || !self.down.is_empty() {
            return Ok(false);
        }
        self.client.notify();
        self.send(env)?;
        Ok(self.client.is_notified() && self.client.finish() && up_ended)
    }

    /// A failure: counts it, logs it, and parts from the client.
    fn part(&mut self, failure: Failure, env: &mut Env) -> Next {
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

    fn begin_closing(&mut self, closed: Closed, parting: Parting, env: &mut Env) -> Next {
        self.stage = Stage::Closing(closed, parting);
        self.up.clear();
        self.down.clear();
        self.deadline_ns = env.now_ns + LINGER_NS;
        self.close(closed, parting, env)
    }

    /// What is left to do once nothing more is to be said but goodbye.
    fn close(&mut self, closed: Closed, parting: Parting, env: &mut Env) -> Next {
        let over = Next::Closed(closed);
        let Ok(mut sent) = self.client.send() else {
            return over;
        };
        if parting == Parting::Notify && !self.client.is_notified() {
            self.client.notify();
            sent += self.client.send().unwrap_or(0);
        }
        env.counters.sent += sent as u64;
        let is_finished = self.client.finish();
        let Ok(discarded) = self.client.discard(&mut env.scratch) else {
            return over;
        };
        env.counters.received += discarded as u64;
        match self.client.fin() && is_finished {
            true => over,
            false if sent + discarded == 0 => Next::Quiet,
            false => Next::Again,
        }
    }

    fn receive(&mut self, env: &mut Env) -> Result<usize, Failure> {
        let count = self.client.receive()?;
        env.counters.received += count as u64;
        Ok(count)
    }

    fn send(&mut self, env: &mut Env) -> Result<usize, Failure> {
        let count = self.client.send()?;
        env.counters.sent += count as u64;
        Ok(count)
    }
}
