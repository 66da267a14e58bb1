//! A machine on the wire, as its applications and the wire see it.

use spinlane_tcp::{End, Instant, State};

use super::port::Port;
use crate::address::Mac;
use crate::config::Config;
use crate::flow::FlowId;
use crate::stack::{ListenerId, Stack};
use std::net::SocketAddr;

/// A machine with connections, each named by a number of its own.
pub trait Station {
    /// Takes frames that have arrived.
    fn receive(&mut self, now: u64, frames: Vec<Vec<u8>>);
    /// Does what is due, and gives the frames to send.
    fn transmit(&mut self, now: u64) -> Vec<Vec<u8>>;
    /// When there is something to do without a frame.
    fn due(&mut self, now: u64) -> Option<u64>;

    /// Opens a connection to the other station's server: its name, and the local port.
    fn connect(&mut self, now: u64) -> Option<(usize, u16)>;
    /// A connection that has come: its name, and the peer's port.
    fn accept(&mut self) -> Option<(usize, u16)>;
    /// Lets `read` take of what has come.
    fn read(&mut self, name: usize, read: &mut dyn FnMut(&[u8]) -> usize);
    /// Queues data.
    fn write(&mut self, name: usize, bytes: &[u8]) -> usize;
    /// Whether data can be queued by now: the handshake is complete.
    fn is_up(&self, name: usize) -> bool;
    /// Bytes that wait to be read.
    fn readable(&self, name: usize) -> usize;
    /// Bytes queued or unacknowledged.
    fn unacknowledged(&self, name: usize) -> usize;
    /// Whether all that the peer will send has come.
    fn peer_finished(&self, name: usize) -> bool;
    /// Why the connection is over.
    fn end(&self, name: usize) -> Option<End>;
    /// Closes our side.
    fn close(&mut self, name: usize);
    /// Resets, and lets go.
    fn abort(&mut self, name: usize);
    /// Lets go.
    fn release(&mut self, name: usize);

    /// What is still there, once all should be gone.
    fn left(&self) -> Option<String>;
    /// A bound that is exceeded.
    fn excess(&self) -> Option<String>;
    /// What has happened so far.
    fn counts(&self) -> Counts {
        Counts::default()
    }
    /// Whether its word about windows is checked: our own stack's is.
    fn is_ours(&self) -> bool;
}

/// What has happened at a station.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Segments sent again.
    pub retransmissions: u64,
    /// Connections made of a cookie.
    pub cookies: u64,
    /// Times that a connection was put down to rest.
    pub rested: u64,
    /// "Too big" messages believed.
    pub too_big: u64,
    /// Connections in TIME-WAIT now.
    pub time_wait: usize,
}

/// Our own stack.
#[derive(Debug)]
pub struct Ours {
    stack: Stack<Port>,
    listener: ListenerId,
    server: SocketAddr,
    names: Vec<FlowId>,
    limits: (usize, usize),
    mac: Mac,
}

impl Ours {
    /// A machine with a server on port 443, whose clients connect to `server`.
    ///
    /// # Panics
    /// If the configuration is refused.
    pub fn new(config: Config, mtu: u16, server: SocketAddr) -> Self {
        let limits = (config.max_half_open as usize, config.max_time_wait as usize);
        let mac = config.mac;
        let any = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 443);
        let made = Stack::new(config, Port::new(mtu)).map_err(|error| error.to_string());
        let (mut stack, listening) = match made {
            Ok(mut stack) => {
                let listening = stack.listen(any).map_err(|error| error.to_string());
                (stack, listening)
            }
            Err(error) => panic!("{error}"),
        };
        let listener = listening.unwrap_or_else(|error| panic!("{error}"));
        stack.io().sent.clear();
        Self {
            stack,
            listener,
            server,
            names: Vec::new(),
            limits,
            mac,
        }
    }

    /// The stack.
    pub fn stack(&mut self) -> &mut Stack<Port> {
        &mut self.stack
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    fn name(&mut self, id: FlowId) -> usize {
        self.names.push(id);
        self.names.len() - 1
    }
}

fn at(now: u64) -> Instant {
    Instant::from_micros(now)
}

impl Station for Ours {
    fn receive(&mut self, now: u64, frames: Vec<Vec<u8>>) {
        self.stack.io().arrived.extend(frames);
        while self.stack.receive(at(now), |_, _| 0) > 0 {}
    }

    fn transmit(&mut self, now: u64) -> Vec<Vec<u8>> {
        self.stack.transmit(at(now));
        // The applications look at everything themselves.
        while self.stack.next_ready().is_some() {}
        std::mem::take(&mut self.stack.io().sent)
    }

    fn due(&mut self, _now: u64) -> Option<u64> {
        self.stack.due().map(Instant::micros)
    }

    fn connect(&mut self, _now: u64) -> Option<(usize, u16)> {
        let id = self.stack.connect(self.server).ok()?;
        let (_, local) = self.stack.addresses(id)?;
        Some((self.name(id), local.port()))
    }

    fn accept(&mut self) -> Option<(usize, u16)> {
        let id = self.stack.accept(self.listener)?;
        let (remote, _) = self.stack.addresses(id)?;
        Some((self.name(id), remote.port()))
    }

    fn read(&mut self, name: usize, read: &mut dyn FnMut(&[u8]) -> usize) {
        let id = self.names[name];
        self.stack.read(id, |parts| read(&parts.concat()));
    }

    fn write(&mut self, name: usize, bytes: &[u8]) -> usize {
        self.stack.write(self.names[name], bytes)
    }

    fn is_up(&self, name: usize) -> bool {
        let state = self.stack.state(self.names[name]);
        !matches!(state, None | Some(State::SynSent | State::SynReceived))
    }

    fn readable(&self, name: usize) -> usize {
        self.stack.readable(self.names[name])
    }

    fn unacknowledged(&self, name: usize) -> usize {
        self.stack.unacknowledged(self.names[name])
    }

    fn peer_finished(&self, name: usize) -> bool {
        self.stack.peer_finished(self.names[name])
    }

    fn end(&self, name: usize) -> Option<End> {
        self.stack.end(self.names[name])
    }

    fn close(&mut self, name: usize) {
        self.stack.close(self.names[name]);
    }

    fn abort(&mut self, name: usize) {
        self.stack.abort(self.names[name]);
    }

    fn release(&mut self, name: usize) {
        self.stack.release(self.names[name]);
    }

    fn left(&self) -> Option<String> {
        let stack = &self.stack;
        let counts = [
            stack.flows(),
            stack.half_open(),
            stack.time_waiting(),
            stack.timers(),
        ];
        (counts != [0; 4]).then(|| format!("connections, half-open, TIME-WAIT, timers: {counts:?}"))
    }

    fn excess(&self) -> Option<String> {
        let counts = (self.stack.half_open(), self.stack.time_waiting());
        let (half_open, time_wait) = self.limits;
        // A cookie's acknowledgement passes through the table of the half-open within a call.
        let broken = counts.0 > half_open || counts.1 > time_wait;
        broken.then(|| format!("half-open, TIME-WAIT: {counts:?} of {:?}", self.limits))
    }

    fn counts(&self) -> Counts {
        let counters = self.stack.counters();
        Counts {
            retransmissions: counters.retransmissions,
            cookies: counters.cookies_taken,
            rested: counters.rested,
            too_big: counters.too_big,
            time_wait: self.stack.time_waiting(),
        }
    }

    fn is_ours(&self) -> bool {
        true
    }
}
