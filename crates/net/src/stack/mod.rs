//! A stack: one core's connections over one port.

mod application;
mod input;
mod output;
mod replies;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use spinlane_tcp::{Instant, Isn};

use crate::address::{Address, Tuple};
use crate::config::{Config, ConfigError};
use crate::cookie::Cookies;
use crate::counters::Counters;
use crate::flow::{FlowId, Flows, Hash};
use crate::frame_io::{Caps, FrameIo};
use crate::limiter::Limiter;
use crate::neighbours::Neighbours;
use crate::time_wait::TimeWait;
use crate::wheel::Wheel;
use replies::Reply;
#[cfg(feature = "sim")]
pub(crate) use replies::Sender;

/// Names a listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId(u16);

/// An address cannot be listened on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is not one of the stack's.
    #[error(
        "{0}: the stack does not have this address; listen on one of its own, or on the unspecified one for all"
    )]
    NotOurs(SocketAddr),
    /// Port 0 means nothing here.
    #[error("{0}: port 0 cannot be listened on; name a port")]
    NoPort(SocketAddr),
    /// Somebody listens there.
    #[error("{0}: there is a listener already")]
    Taken(SocketAddr),
    /// There are too many listeners.
    #[error("there are {0} listeners, which is the most")]
    TooMany(usize),
}

/// A connection cannot be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// No network of ours, and no gateway for its family.
    #[error("{0} is on no network of the stack's addresses, and there is no gateway for it")]
    NoRoute(SocketAddr),
    /// No station can have the address, or it is our own; or the port is 0.
    #[error("{0} cannot be connected to")]
    Address(SocketAddr),
    /// All local ports that were tried are in use.
    #[error(
        "no local port is free for {0}; the range is too small, or too many connections are in TIME-WAIT"
    )]
    NoPort(SocketAddr),
    /// The flow table or the neighbours' is full.
    #[error("there is no room for another connection")]
    NoRoom,
}

/// Listeners, at most.
const MOST_LISTENERS: usize = 64;

#[derive(Debug)]
struct Listener {
    /// `None`: all of ours.
    address: Option<Address>,
    port: u16,
    open: bool,
    queue: VecDeque<u32>,
}

/// Answers to strangers, each kind so many per second.
#[derive(Debug)]
struct Limits {
    echo: Limiter,
    neighbour: Limiter,
    reset: Limiter,
    time_wait: Limiter,
}

/// A stack: connections over a port, or a queue pair of one. See the crate's documentation.
#[derive(Debug)]
pub struct Stack<F> {
    io: F,
    core: Core,
}

/// All but the port, so that a frame that the port lends can be looked at.
#[derive(Debug)]
struct Core {
    config: Config,
    caps: Caps,
    ours: Vec<Address>,
    /// What connections are made with, by family.
    tcp_v4: spinlane_tcp::Config,
    tcp_v6: spinlane_tcp::Config,
    isn: Isn,
    hash: Hash,
    cookies: Cookies,
    /// Cookies may be out until then.
    cookies_until: Instant,
    flows: Flows,
    wheel: Wheel,
    time_wait: TimeWait,
    neighbours: Neighbours,
    listeners: Vec<Listener>,
    half_open: u32,
    /// Connections whose timers have fired, within a turn.
    fired: Vec<u32>,
    /// Connections that may have something to send.
    touched: Vec<u32>,
    /// Connections that the application should look at.
    ready: VecDeque<u32>,
    /// Answers without a connection, until the burst is over.
    replies: Vec<Reply>,
    limits: Limits,
    counters: Counters,
    /// The time of the last turn.
    now: Instant,
    announced: bool,
    /// Where the search for a local port goes on.
    next_port: u32,
}

impl<F: FrameIo> Stack<F> {
    /// A stack on a port.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(config: Config, io: F) -> Result<Self, ConfigError> {
        let caps = io.caps();
        config.check(&caps)?;
        let tcp = |headers: u16| spinlane_tcp::Config {
            mss: caps.mtu - headers,
            // A half-closed connection lives for as long as its application wants it; without one, `orphan_timeout` ends it.
            fin_wait: Duration::MAX,
            ..config.tcp
        };
        let key = |at: usize| {
            let mut key = [0; 16];
            key.copy_from_slice(&config.secret[at..at + 16]);
            key
        };
        let limiter = || Limiter::new(config.answers_per_second);
        let flows = Flows::new(config.max_flows, &key(0));
        let core = Core {
            caps,
            ours: config
                .interfaces
                .iter()
                .map(|one| one.address.into())
                .collect(),
            tcp_v4: tcp(40),
            tcp_v6: tcp(60),
            isn: Isn::new(&key(16)),
            hash: flows.hash(),
            cookies: Cookies::new(&key(32)),
            cookies_until: Instant::default(),
            flows,
            wheel: Wheel::new(config.max_flows as usize),
            time_wait: TimeWait::new(config.max_time_wait, config.tcp.time_wait),
            neighbours: Neighbours::default(),
            listeners: Vec::new(),
            half_open: 0,
            fired: Vec::new(),
            touched: Vec::new(),
            ready: VecDeque::new(),
            replies: Vec::new(),
            limits: Limits {
                echo: limiter(),
                neighbour: limiter(),
                reset: limiter(),
                time_wait: limiter(),
            },
            counters: Counters::default(),
            now: Instant::default(),
            announced: false,
            next_port: 0,
            config,
        };
        Ok(Self { io, core })
    }

    /// Takes a burst of frames. Data for connections that the application has goes to `deliver`, which returns how much of it
    /// is taken; the rest waits for [`Stack::read`]. Returns how many frames there were.
    pub fn receive(
        &mut self,
        now: Instant,
        mut deliver: impl FnMut(FlowId, &[u8]) -> usize,
    ) -> usize {
        let Self { io, core } = self;
        core.now = core.now.max(now);
        let count = io.receive(|frame| core.frame(&frame, &mut deliver));
        core.counters.received += count as u64;
        core.reply(io);
        count
    }

    /// Does what is due, and sends what there is to send.
    pub fn transmit(&mut self, now: Instant) {
        let Self { io, core } = self;
        core.now = core.now.max(now);
        core.turn(io);
        io.flush();
    }

    /// When [`Stack::transmit`] is to be called at the latest; `None` if only a frame or the application changes
    /// anything. A core that spins need not ask.
    pub fn due(&self) -> Option<Instant> {
        let Core {
            touched,
            wheel,
            time_wait,
            neighbours,
            now,
            announced,
            ..
        } = &self.core;
        let at_once = (!touched.is_empty() || !announced).then_some(*now);
        let times = [at_once, wheel.next(), time_wait.due(*now), neighbours.due()];
        times.into_iter().flatten().min()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Connections, TIME-WAIT excluded.
    pub fn flows(&self) -> usize {
        self.core.flows.len()
    }

    /// Connections whose handshake is not complete.
    pub fn half_open(&self) -> usize {
        self.core.half_open as usize
    }

    /// Connections in TIME-WAIT.
    pub fn time_waiting(&self) -> usize {
        self.core.time_wait.len()
    }

    /// Timers that are set.
    pub fn timers(&self) -> usize {
        self.core.wheel.armed()
    }

    /// Neighbours whose address is known or asked for.
    pub fn neighbours(&self) -> usize {
        self.core.neighbours.len()
    }

    /// The port.
    pub fn io(&mut self) -> &mut F {
        &mut self.io
    }
}

impl Core {
    fn is_ours(&self, address: Address) -> bool {
        self.ours.contains(&address)
    }

    fn tcp(&self, tuple: &Tuple) -> &spinlane_tcp::Config {
        if tuple.local.is_v4() {
            &self.tcp_v4
        } else {
            &self.tcp_v6
        }
    }

    /// The connection may have something to send.
    fn touch(&mut self, index: u32) {
        let flow = self.flows.at(index);
        if !std::mem::replace(&mut flow.touched, true) {
            self.touched.push(index);
        }
    }
}
