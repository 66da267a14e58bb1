//! A core's loop. One turn: poll the lcore, take packets, resume what is ready, accept, look at connections, send packets.
//!
//! ```text
//!            accept                    nothing moved for a while
//!              │      ┌─────────────────────────────────────────────┐
//!              ▼      │                                             ▼
//!           active list: all looked at every turn           resting: looked at by nobody
//!              │  ▲   ▲                                             │
//!   an op is   │  │   └───── named by the listener or the watch ────┘
//!   submitted  ▼  │ callback or retry
//!           waiting: looked at by nobody
//! ```
//! Where the listener tells of news, a connection rests as soon as nothing moves; sockets are watched for it ([`Watch`]).
//! Every connection is in exactly one of these places. One that is closed leaves a stale key in the
//! list, which finds nobody, as does its stale token in the lcore's queues and the watch's.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use slotmap::{DefaultKey, Key, KeyData, SlotMap};
use spinlane::{Conn, Lcore};

use super::carrier::Listener;
use super::client::Client;
use super::connection::{Connection, Next};
use super::context::Lasting;
use super::counters::Closed;
use super::doors::Doors;
use super::env::Env;
use super::manager::Pulse;
use super::metrics::Probe;
use super::reload::Current;
use super::report::Report;
use super::signals::Stop;
use super::watch::Watch;

/// Connections accepted per turn at most.
const ACCEPT_BURST: usize = 16;
/// Active connections looked at per turn at most.
const ACTIVE_BURST: usize = 256;
/// A connection on sockets rests when nothing has moved for this time.
const REST_AFTER_NS: u64 = 1_000_000;
/// Goodbyes have so long to arrive.
const PART_NS: u64 = 1_000_000_000;
/// How often it is said at most that sockets cannot be watched.
const COMPLAIN_EVERY_NS: u64 = 1_000_000_000;
/// How often deadlines are looked at.
const SWEEP_NS: u64 = 50_000_000;
/// Pause after a failure to accept, e.g. for want of file descriptors.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;

/// What all cores share.
pub struct Site {
    /// Certificates, keys and settings, as they were read last.
    pub current: Current,
    /// Asks to stop.
    pub stop: Stop,
    /// Signs of life.
    pub pulse: Pulse,
    /// The tokens that keys are on.
    pub lasting: Arc<Lasting>,
    /// Who wants to know the counters.
    pub metrics: Option<Probe>,
}

/// What a core tells the main thread.
pub enum Event {
    /// It accepts connections.
    Ready,
    /// Its counters.
    Report(Box<Report>),
}

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the active list.
    Listed,
    /// An op is with a device, or it in the retry queue.
    Waiting,
    /// Until the listener or the watch names it.
    Resting,
}

struct Entry<L: Listener> {
    connection: Connection<L>,
    place: Place,
    moved_ns: u64,
}

/// A core at work.
pub struct Worker<'a, L: Listener> {
    core: usize,
    lcore: &'a Lcore,
    site: &'a Site,
    reports: &'a Sender<Event>,
    connections: SlotMap<DefaultKey, Entry<L>>,
    active: VecDeque<DefaultKey>,
    watch: Watch,
    /// When it is said next that sockets cannot be watched.
    complain_ns: u64,
    late: Vec<DefaultKey>,
    env: Env<L>,
    /// What new connections are made from.
    doors: Doors,
    /// Its place among the cores.
    position: usize,
    /// Which reading of the files that is.
    reading: u64,
    /// Tokens that its lcore has queue pairs of.
    tokens: usize,
    sweep_ns: u64,
    report_ns: u64,
    /// Number of the last scrape that was answered.
    scraped: u64,
    accept_ns: u64,
    drained_ns: u64,
}

impl<'a, L: Listener> Worker<'a, L> {
    /// Ready to run on `core`, which has this position among the cores, and whose lcore is `lcore`.
    ///
    /// # Errors
    /// As for [`Watch::new`].
    pub fn new(
        (core, position): (usize, usize),
        lcore: &'a Lcore,
        site: &'a Site,
        reports: &'a Sender<Event>,
        mut net: L,
    ) -> std::io::Result<Self> {
        let (reading, running) = site.current.latest();
        net.listen(running.sockets(position));
        Ok(Self {
            core,
            lcore,
            site,
            reports,
            connections: SlotMap::new(),
            active: VecDeque::new(),
            watch: Watch::new()?,
            complain_ns: 0,
            late: Vec::new(),
            env: Env::new(core, running.limits.clone(), net),
            doors: Doors::new(&running, &Doors::default()),
            position,
            reading,
            tokens: 0,
            sweep_ns: 0,
            report_ns: lcore.now_ns().saturating_add(running.limits.stats_ns),
            scraped: 0,
            accept_ns: 0,
            drained_ns: u64::MAX,
        })
    }

    /// Turns until the program is to stop and all connections are closed or cut off.
    pub fn run(mut self) -> Report {
        while !(self.env.stopping
            && (self.connections.is_empty() || self.env.now_ns >= self.drained_ns))
        {
            self.turn();
        }
        for (_, mut entry) in std::mem::take(&mut self.connections) {
            let closed = entry.connection.stop(&mut self.env);
            self.env.counters.count_closed(closed);
        }
        self.part();
        self.report()
    }

    /// What was said last arrives, if it does so soon.
    fn part(&mut self) {
        let until = self.lcore.now_ns() + PART_NS;
        while !self.env.net.is_quiet() && self.env.now_ns < until {
            self.env.now_ns = self.lcore.now_ns();
            self.env.net.receive(self.env.now_ns);
            self.env.net.transmit(self.env.now_ns);
        }
    }

    fn turn(&mut self) {
        // Only a callback can be refused to poll, and this is none.
        let _ = self.lcore.poll();
        self.env.now_ns = self.lcore.now_ns();
        self.env.leads_to_ops = self.env.net.receive(self.env.now_ns);
        while let Some(Conn(token)) = self.lcore.next_ready() {
            self.call(token, &[Place::Waiting, Place::Resting]);
        }
        while let Some(Conn(token)) = self.env.net.next_news() {
            self.call(token, &[Place::Resting]);
        }
        self.watch.ask(self.env.now_ns);
        while let Some(Conn(token)) = self.watch.next() {
            self.call(token, &[Place::Resting]);
        }
        self.accept();
        for _ in 0..self.active.len().min(ACTIVE_BURST) {
            let Some(key) = self.active.pop_front() else {
                break;
            };
            self.look_at(key);
        }
        self.env.net.transmit(self.env.now_ns);
        if self.env.leads_to_ops || self.active.len() > ACTIVE_BURST {
            self.lcore.note_work();
        }
        self.mind_the_time();
    }

    /// What is done by the clock.
    fn mind_the_time(&mut self) {
        if self.env.now_ns >= self.sweep_ns {
            self.sweep_ns = self.env.now_ns + SWEEP_NS;
            self.site.pulse.beat(self.position);
            self.sweep();
            self.renew();
            self.doors.mind_the_time();
        }
        if self.env.now_ns >= self.report_ns {
            self.report_ns = self.env.now_ns.saturating_add(self.env.limits.stats_ns);
            // Nobody listens any more only when the program ends.
            let _ = self.reports.send(Event::Report(Box::new(self.report())));
        }
        if let Some(metrics) = &self.site.metrics {
            let mut scraped = self.scraped;
            metrics.answer(&mut scraped, || self.report());
            self.scraped = scraped;
        }
        if self.site.stop.asked() && !self.env.stopping {
            self.drain();
        }
    }

    /// New connections use what was read last; those that are open keep what they have.
    fn renew(&mut self) {
        if self.site.current.reading() == self.reading {
            return;
        }
        let (reading, running) = self.site.current.latest();
        if let Err(error) = self.open_tokens() {
            // Its handshakes fail, each with a word.
            tracing::error!(core = self.core, "a token is not served: {error:#}");
        }
        self.accept_all();
        if !self.env.stopping {
            self.env.net.listen(running.sockets(self.position));
        }
        self.doors = Doors::new(&running, &self.doors);
        self.env.limit(running.limits.clone());
        let report_ns = self.env.now_ns.saturating_add(running.limits.stats_ns);
        self.report_ns = self.report_ns.min(report_ns);
        self.reading = reading;
    }

    /// Clients that are connected as far as they know are served, although nobody listens any more.
    fn accept_all(&mut self) {
        self.accept_ns = 0;
        while self.accept() == ACCEPT_BURST {}
    }

    /// Takes a queue pair of each token that it has none of.
    ///
    /// # Errors
    /// There is no memory.
    pub fn open_tokens(&mut self) -> anyhow::Result<()> {
        for queue_pair in self.site.lasting.tokens().queue_pairs(self.tokens)? {
            self.lcore.add_queue_pair(queue_pair);
            self.tokens += 1;
        }
        Ok(())
    }

    /// Accepts no more; connections have some time to finish.
    fn drain(&mut self) {
        self.accept_all();
        self.env.net.close();
        self.site.current.latest().1.close(self.position);
        self.env.stopping = true;
        let resting = self.connections.iter_mut();
        for (key, entry) in resting.filter(|(_, entry)| entry.place == Place::Resting) {
            entry.place = Place::Listed;
            self.active.push_back(key);
        }
        self.drained_ns = self.env.now_ns.saturating_add(self.env.limits.drain_ns);
        tracing::info!(core = self.core, open = self.connections.len(), "draining");
    }

    /// Accepts up to a burst; returns how many.
    fn accept(&mut self) -> usize {
        let room = self
            .env
            .limits
            .max_connections
            .saturating_sub(self.connections.len());
        if self.env.now_ns < self.accept_ns {
            return 0;
        }
        let mut accepted = 0;
        while accepted < ACCEPT_BURST.min(room) {
            match self.env.net.accept() {
                Ok((carrier, peer, door)) => {
                    accepted += 1;
                    self.admit(carrier, peer, door);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.accept_ns = self.env.now_ns + L::ACCEPT_EVERY_NS;
                        break;
                    }
                    // The client was gone before it was accepted.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                    _ => {
                        self.cannot_accept(&error.into());
                        break;
                    }
                },
            }
        }
        accepted
    }

    fn admit(&mut self, carrier: L::Client, peer: SocketAddr, door: usize) {
        let Self {
            connections,
            env,
            doors,
            lcore,
            ..
        } = self;
        // The sockets and the doors change together.
        let Some(door) = doors.get(door).map(Rc::clone) else {
            return;
        };
        let admitted = connections.try_insert_with_key(|key| {
            let conn = Conn(key.data().as_ffi());
            let tls = door.context.accept(lcore, conn)?;
            let client = Client::new(carrier, tls, conn);
            let connection = Connection::new(conn, client, peer, door, env);
            anyhow::Ok(Entry {
                connection,
                place: Place::Listed,
                moved_ns: env.now_ns,
            })
        });
        match admitted {
            Ok(key) => {
                self.env.counters.accepted += 1;
                self.env.leads_to_ops = true;
                self.active.push_back(key);
            }
            Err(error) => self.cannot_accept(&error),
        }
    }

    /// Lets the machine breathe.
    fn cannot_accept(&mut self, error: &anyhow::Error) {
        self.env.counters.accept_errors += 1;
        self.accept_ns = self.env.now_ns + ACCEPT_PAUSE_NS;
        // One line per second at most.
        if self.env.counters.accept_errors % 10 == 1 {
            let core = self.core;
            tracing::warn!(
                core,
                "cannot accept: {error:#}; if file descriptors ran out, raise `ulimit -n`"
            );
        }
    }

    /// Somebody calls a connection that is at one of `places`. One that is elsewhere, or gone, is not meant.
    fn call(&mut self, token: u64, places: &[Place]) {
        let key = KeyData::from_ffi(token).into();
        let entry = self.connections.get_mut(key);
        if let Some(entry) = entry.filter(|entry| places.contains(&entry.place)) {
            entry.place = Place::Listed;
            self.look_at(key);
        }
    }

    /// Gives a connection its turn, and puts it where it belongs then.
    fn look_at(&mut self, key: DefaultKey) {
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        match entry.connection.turn(&mut self.env) {
            Next::Again => {
                entry.moved_ns = self.env.now_ns;
                self.active.push_back(key);
            }
            Next::Quiet if entry.connection.is_told() => entry.place = Place::Resting,
            Next::Quiet if self.env.now_ns - entry.moved_ns < REST_AFTER_NS => {
                self.active.push_back(key)
            }
            Next::Quiet => match entry.connection.rest(&mut self.watch) {
                Ok(()) => entry.place = Place::Resting,
                Err(error) => self.cannot_rest(key, &error),
            },
            Next::Wait => entry.place = Place::Waiting,
            Next::Closed(closed) => self.remove(key, closed),
        }
    }

    /// It is looked at as before.
    fn cannot_rest(&mut self, key: DefaultKey, error: &std::io::Error) {
        self.active.push_back(key);
        if self.env.now_ns >= self.complain_ns {
            self.complain_ns = self.env.now_ns + COMPLAIN_EVERY_NS;
            tracing::warn!(
                core = self.core,
                "an idle socket cannot be watched and costs a system call per turn: {error}; raise `ulimit -n` or \
                 sysctl fs.epoll.max_user_watches"
            );
        }
    }

    fn remove(&mut self, key: DefaultKey, closed: Closed) {
        if let Some(mut entry) = self.connections.remove(key) {
            entry.connection.release(&mut self.env);
        }
        self.env.counters.count_closed(closed);
    }

    /// Ends the connections whose time is up, and handshakes that hold too much, until the rest may stay. One that
    /// waits for an op is in no list, but then it is in its handshake and closed without further ado.
    fn sweep(&mut self) {
        let late = self
            .connections
            .iter()
            .filter(|(_, entry)| entry.connection.is_late(&self.env));
        self.late.extend(late.map(|(key, _)| key));
        while let Some(key) = self.late.pop() {
            let Some(entry) = self.connections.get_mut(key) else {
                continue;
            };
            if !entry.connection.is_late(&self.env) {
                continue;
            }
            match entry.connection.expire(&mut self.env) {
                Next::Closed(closed) => self.remove(key, closed),
                _ if entry.place == Place::Resting => {
                    entry.place = Place::Listed;
                    self.active.push_back(key);
                }
                _ => {}
            }
        }
    }

    fn report(&self) -> Report {
        Report {
            core: self.core,
            open: self.connections.len(),
            counters: self.env.counters.clone(),
            lcore: self.lcore.stats(),
            packets: self.env.net.report(),
            servers: self.doors.counts(),
        }
    }
}
