//! Handshakes in memory, many at a time, run as a packet pipeline would: a turn steps a burst of
//! connections, those whose ops came back before those that wait for their turn, then polls the
//! lcore once. What is begun is thus finished before more is begun: of all connections, only
//! about a burst have a handshake under way, the others wait to begin. A burst as large as the
//! number of connections runs all of them side by side.
//!
//! ```text
//!   client ──bytes──▶ ┌ server: handshake, read, write ┐ ◀─ ready ─┐
//!     ▲  not timed    │ timed                          │           │ timed
//!     └───bytes────── └────────────────────────────────┘ ──▶ poll ─┘
//! ```
//! In a turn the clients of the whole burst go first, so that the server's part runs on end: on a
//! server's core no client drives its code and data out of the caches between two connections.
//!
//! Timed is what the server does: making and dropping its connection, its calls, and the polls.
//! Not timed, on either side of a comparison, are the client and the moving of bytes between
//! the two ends.

pub mod open_loop;

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use spinlane::{Conn, Lcore};

use super::client::ClientCtx;
use super::server::{Server, ServerCtx};
use crate::measure::{Stopwatch, histogram};
use spinlane_proxy::tls::{Progress, Tls};

const PING: &[u8] = b"ping-ping-ping!!";
const PONG: &[u8] = b"pong-pong-pong!!";

/// Turns without anything to do, after which a round is stuck rather than waiting.
const MAX_IDLE_TURNS: u32 = 100_000_000;

/// What a round came to.
pub struct Round {
    /// Full handshakes, from the making of the server's connection to its end.
    pub handshakes: usize,
    /// Server's time of all of them.
    pub server_ns: u64,
    /// Server's time of each. A poll's time is shared by the connections that it made ready; a
    /// poll that made none ready adds to the next.
    pub each_ns: Histogram<u64>,
}

impl Round {
    /// Handshakes per second of server time.
    pub fn rate(&self) -> f64 {
        self.handshakes as f64 * 1e9 / self.server_ns.max(1) as f64
    }
}

/// One side of a comparison.
pub struct Pipeline<'a> {
    server: &'a ServerCtx,
    client: &'a ClientCtx,
    /// A client whose session the others resume.
    earlier: Option<Tls>,
    /// Polled once per turn; `None` for a synchronous baseline, which has nothing to poll.
    lcore: Option<&'a Lcore>,
    watch: &'a Stopwatch,
    links: Vec<Option<Link>>,
    /// Connections stepped per turn at most.
    burst: usize,
    /// Connections that can go on: their ops came back, or their clients answered. They go first.
    ready: VecDeque<usize>,
    /// Those that have not begun.
    fresh: VecDeque<usize>,
    /// Those that are being stepped, and of these the ones that have nothing left to do.
    stepped: Vec<usize>,
    ended: Vec<usize>,
    /// Server's time of this round.
    server_ns: u64,
    /// Time of polls that made nobody ready.
    unclaimed_ns: u64,
}

/// A client, a server, and how far they are.
struct Link {
    client: Tls,
    server: Server,
    stage: Stage,
    /// The client has said hello.
    started: bool,
    /// The client has sent its message.
    greeted: bool,
    server_ns: u64,
}

/// What the server does next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Handshake,
    Read,
    Write,
    Finished,
}

/// Whether a connection can go on.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// At once.
    Runnable,
    /// When it comes out of the ready queue.
    Waiting,
    /// There is nothing left to do.
    Finished,
}

impl<'a> Pipeline<'a> {
    /// A pipeline with at most `connections` at a time, `burst` of them stepped per turn.
    pub fn new(
        server: &'a ServerCtx,
        client: &'a ClientCtx,
        lcore: Option<&'a Lcore>,
        watch: &'a Stopwatch,
        connections: usize,
        burst: usize,
    ) -> Self {
        Self {
            server,
            client,
            earlier: None,
            lcore,
            watch,
            links: std::iter::repeat_with(|| None).take(connections).collect(),
            burst,
            ready: VecDeque::with_capacity(connections),
            fresh: VecDeque::with_capacity(connections),
            stepped: Vec::with_capacity(burst.min(connections)),
            ended: Vec::with_capacity(burst.min(connections)),
            server_ns: 0,
            unclaimed_ns: 0,
        }
    }

    /// Runs this many handshakes. A finished connection is replaced at once, until the last ones
    /// are begun.
    ///
    /// # Errors
    /// A handshake failed or got stuck.
    pub fn round(&mut self, handshakes: usize) -> Result<Round> {
        self.server_ns = 0;
        self.unclaimed_ns = 0;
        let mut each_ns = histogram()?;
        let (mut started, mut finished, mut idle_turns) = (0, 0, 0);
        while started < handshakes.min(self.links.len()) {
            self.start(started)?;
            started += 1;
        }
        while finished < handshakes {
            idle_turns = if self.has_work() { 0 } else { idle_turns + 1 };
            ensure!(
                idle_turns < MAX_IDLE_TURNS,
                "{} connections wait for ops that never come back",
                handshakes - finished
            );
            self.turn()?;
            while let Some(slot) = self.ended.pop() {
                each_ns.saturating_record(self.finish(slot)?);
                finished += 1;
                if started < handshakes {
                    self.start(slot)?;
                    started += 1;
                }
            }
            self.poll()?;
        }
        Ok(Round {
            handshakes,
            server_ns: self.server_ns,
            each_ns,
        })
    }

    fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.fresh.is_empty()
    }

    fn start(&mut self, slot: usize) -> Result<()> {
        let client = self.client.connect(self.earlier.as_ref())?;
        let accept = || self.server.accept(self.lcore, Conn(slot as u64));
        let (server, server_ns) = self.watch.time(accept);
        self.server_ns += server_ns;
        let link = Link {
            client,
            server: server?,
            stage: Stage::Handshake,
            started: false,
            greeted: false,
            server_ns,
        };
        self.links[slot] = Some(link);
        self.fresh.push_back(slot);
        Ok(())
    }

    /// Steps a burst: the clients' part of all of them, then the servers'.
    fn turn(&mut self) -> Result<()> {
        self.stepped.clear();
        while self.stepped.len() < self.burst {
            let next = self.ready.pop_front();
            let Some(slot) = next.or_else(|| self.fresh.pop_front()) else {
                break;
            };
            self.link(slot)?.client_turn().context("client")?;
            self.stepped.push(slot);
        }
        for index in 0..self.stepped.len() {
            let slot = self.stepped[index];
            match self.step(slot)? {
                // What is begun goes first: its client has answered.
                Next::Runnable => self.ready.push_back(slot),
                Next::Waiting => {}
                Next::Finished => self.ended.push(slot),
            }
        }
        Ok(())
    }

    fn link(&mut self, slot: usize) -> Result<&mut Link> {
        let link = self.links[slot].as_mut();
        link.context("a connection is stepped that is not there")
    }

    fn step(&mut self, slot: usize) -> Result<Next> {
        let watch = self.watch;
        let link = self.link(slot)?;
        let (next, server_ns) = watch.time(|| link.server_turn());
        link.server_ns += server_ns;
        self.server_ns += server_ns;
        next.context("server")
    }

    /// Checks the answer and drops the connection; returns the server's time of it all.
    fn finish(&mut self, slot: usize) -> Result<u64> {
        let link = self.links[slot]
            .take()
            .context("a connection ends that is not there")?;
        let Link {
            mut client,
            mut server,
            ..
        } = link;
        ensure!(
            server.session_reused() == self.earlier.is_some(),
            "a session was resumed that should not be, or the other way round"
        );
        server.write_output(|bytes| client.push_input(bytes))?;
        let mut answer = [0; 64];
        match client.read(&mut answer)? {
            Progress::Done(count) if answer[..count] == *PONG => {}
            other => bail!("the client got {other:?} in place of the server's message"),
        }
        // TLS 1.2's sessions are shared, and libssl spoils that of a connection that ends without a word.
        client.shutdown();
        if self.client.resumes() && self.earlier.is_none() {
            self.earlier = Some(client);
        }
        let ((), server_ns) = self.watch.time(|| drop(server));
        self.server_ns += server_ns;
        Ok(link.server_ns + server_ns)
    }

    fn poll(&mut self) -> Result<()> {
        let (more, before) = (self.has_work(), self.ready.len());
        let ready = &mut self.ready;
        let mut queue = |slot| ready.push_back(slot as usize);
        let (polled, poll_ns) = match (self.lcore, self.server) {
            (Some(lcore), _) => self.watch.time(|| {
                if more {
                    // It may lead to ops yet: partial batches wait for them.
                    lcore.note_work();
                }
                let polled = lcore.poll();
                while let Some(Conn(slot)) = lcore.next_ready() {
                    queue(slot);
                }
                polled.map(|_| ()).map_err(anyhow::Error::from)
            }),
            (None, ServerCtx::C(servers)) => self.watch.time(|| servers.poll(more, queue)),
            (None, _) => return Ok(()),
        };
        polled?;
        self.server_ns += poll_ns;
        self.unclaimed_ns += poll_ns;
        let ready = self.ready.len() - before;
        if ready != 0 {
            let share_ns = self.unclaimed_ns / ready as u64;
            self.unclaimed_ns = 0;
            for &slot in self.ready.range(before..) {
                let link = self.links.get_mut(slot).and_then(Option::as_mut);
                link.context("a connection became ready that is not there")?
                    .server_ns += share_ns;
            }
        }
        Ok(())
    }
}

impl Link {
    /// The client's part: takes what the server sent, answers it.
    fn client_turn(&mut self) -> Result<()> {
        let Self { client, server, .. } = self;
        let news = server.write_output(|bytes| client.push_input(bytes))?;
        if !client.is_established() && (news != 0 || !self.started) {
            self.started = true;
            match client.handshake()? {
                Progress::Done(_) | Progress::WantInput => {}
                other => bail!("its handshake came to {other:?}"),
            }
        }
        if client.is_established() && !self.greeted {
            self.greeted = true;
            let sent = client.write(PING)?;
            ensure!(
                sent == Progress::Done(PING.len()),
                "its message came to {sent:?}"
            );
        }
        client.write_output(|bytes| server.push_input(bytes).map_err(std::io::Error::other))?;
        Ok(())
    }

    /// The server's part, as far as it gets. This is what is timed.
    fn server_turn(&mut self) -> Result<Next> {
        loop {
            let progress = match self.stage {
                Stage::Handshake => self.server.handshake()?,
                Stage::Read => {
                    let mut message = [0; 64];
                    let progress = self.server.read(&mut message)?;
                    if let Progress::Done(count) = progress {
                        ensure!(message[..count] == *PING, "the message came out wrong");
                    }
                    progress
                }
                Stage::Write => self.server.write(PONG)?,
                Stage::Finished => return Ok(Next::Finished),
            };
            match progress {
                Progress::Done(_) => self.stage = self.stage.next(),
                Progress::Paused | Progress::Refused => return Ok(Next::Waiting),
                Progress::WantInput | Progress::WantOutput | Progress::NoJobs => {
                    return Ok(Next::Runnable);
                }
                Progress::Closed => bail!("the client closed in stage {:?}", self.stage),
            }
        }
    }
}

impl Stage {
    fn next(self) -> Self {
        match self {
            Self::Handshake => Self::Read,
            Self::Read => Self::Write,
            Self::Write | Self::Finished => Self::Finished,
        }
    }
}
