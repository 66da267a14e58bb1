//! What the application does with connections.

use std::net::SocketAddr;

use spinlane_tcp::{End, State, Tcb};

use super::{ConnectError, Core, ListenError, Listener, ListenerId, MOST_LISTENERS, Stack};
use crate::address::{Address, Mac, Tuple};
use crate::config::Ports;
use crate::flow::{Flow, FlowId, Life, Owner};
use crate::frame_io::FrameIo;

/// Local ports that are tried for a connection.
const MOST_TRIES: u32 = 1024;

impl<F: FrameIo> Stack<F> {
    /// Listens on an address of ours, or on the unspecified one for all of either family.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn listen(&mut self, on: SocketAddr) -> Result<ListenerId, ListenError> {
        let core = &mut self.core;
        let address = (!on.ip().is_unspecified()).then(|| Address::from(on.ip()));
        if address.is_some_and(|address| !core.is_ours(address)) {
            return Err(ListenError::NotOurs(on));
        }
        if on.port() == 0 {
            return Err(ListenError::NoPort(on));
        }
        let same = |listener: &&Listener| listener.open && listener.port == on.port();
        let overlaps = |listener: &Listener| {
            address.is_none() || listener.address.is_none() || listener.address == address
        };
        if core.listeners.iter().filter(same).any(overlaps) {
            return Err(ListenError::Taken(on));
        }
        let count = core.listeners.len();
        let id = u16::try_from(count).ok().filter(|_| count < MOST_LISTENERS);
        let id = id.ok_or(ListenError::TooMany(MOST_LISTENERS))?;
        core.listeners.push(Listener {
            address,
            port: on.port(),
            open: true,
            queue: std::collections::VecDeque::new(),
        });
        Ok(ListenerId(id))
    }

    /// Takes no more connections. Those that wait can still be accepted.
    pub fn stop_listening(&mut self, listener: ListenerId) {
        self.core.listeners[usize::from(listener.0)].open = false;
    }

    /// The next connection that has come to a listener; it may be over by now.
    pub fn accept(&mut self, listener: ListenerId) -> Option<FlowId> {
        let core = &mut self.core;
        let index = core.listeners[usize::from(listener.0)].queue.pop_front()?;
        core.flows.at(index).owner = Owner::Application;
        // For its timer, which the queue did without.
        core.touch(index);
        let id = core.flows.id(index);
        let has_news = |tcb: &Tcb| tcb.readable() > 0 || tcb.peer_finished() || tcb.end().is_some();
        if core.flows.at(index).tcb().is_some_and(has_news) {
            core.mark_ready(index);
        }
        Some(id)
    }

    /// Opens a connection. [`Stack::next_ready`] names it when it is up, or over.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(&mut self, to: SocketAddr) -> Result<FlowId, ConnectError> {
        let core = &mut self.core;
        let remote = Address::from(to.ip());
        if !remote.is_station() || core.is_ours(remote) || to.port() == 0 {
            return Err(ConnectError::Address(to));
        }
        let no_route = || ConnectError::NoRoute(to);
        let local = core.config.source(to.ip()).ok_or_else(no_route)?;
        let hop = core.config.next_hop(to.ip()).ok_or_else(no_route)?;
        let tuple = Tuple {
            local: local.into(),
            remote,
            local_port: 0,
            remote_port: to.port(),
        };
        let tuple = core.choose_port(tuple).ok_or(ConnectError::NoPort(to))?;
        let isn = core.isn.at(core.now, &tuple.bytes());
        let tcb = Tcb::connect(core.tcp(&tuple), isn);
        let about = (tuple, Mac::BROADCAST, Owner::Application);
        let index = core.flows.insert(about, core.now, tcb);
        let index = index.ok_or(ConnectError::NoRoom)?;
        match core.neighbours.find(core.now, hop.into(), index) {
            Ok(Some(mac)) => core.flows.at(index).mac = mac,
            Ok(None) => core.flows.at(index).unresolved = true,
            Err(()) => {
                core.flows.remove(index);
                return Err(ConnectError::NoRoom);
            }
        }
        core.touch(index);
        Ok(core.flows.id(index))
    }

    /// A connection of the application's that something has happened to: it is up, data or its end has come, there is room to
    /// write again, or it is over. Each is named once, whatever has happened.
    pub fn next_ready(&mut self) -> Option<FlowId> {
        let core = &mut self.core;
        loop {
            let index = core.ready.pop_front()?;
            if std::mem::take(&mut core.flows.at(index).ready) {
                return Some(core.flows.id(index));
            }
        }
    }

    /// Lets `read` see what has come, in two parts in a row; it returns how many bytes it takes, and so does this.
    pub fn read(&mut self, id: FlowId, read: impl FnOnce([&[u8]; 2]) -> usize) -> usize {
        let taken = self.core.tcb(id).map_or(0, |tcb| tcb.read(read));
        if taken > 0 {
            // The window has grown.
            self.core.touch(id.index);
        }
        taken
    }

    /// Bytes that wait to be read.
    pub fn readable(&self, id: FlowId) -> usize {
        self.look(id).map_or(0, Tcb::readable)
    }

    /// Queues data. Returns how many bytes were taken: fewer if the queue is full, and then [`Stack::next_ready`] names the
    /// connection when there is room; none before it is up and after [`Stack::close`].
    pub fn write(&mut self, id: FlowId, bytes: &[u8]) -> usize {
        let limit = self.core.config.send_limit;
        if self.core.flows.owned(id).is_none() {
            return 0;
        }
        let taken = self.core.tcb(id).map_or(0, |tcb| tcb.send(bytes, limit));
        self.core.flows.at(id.index).wants_room = taken < bytes.len();
        if taken > 0 {
            self.core.touch(id.index);
        }
        taken
    }

    /// Bytes that are queued or not acknowledged.
    pub fn unacknowledged(&self, id: FlowId) -> usize {
        self.look(id).map_or(0, Tcb::unacknowledged)
    }

    /// Sets how many bytes may wait to be read: what the application has room for.
    pub fn set_receive_limit(&mut self, id: FlowId, limit: u32) {
        if let Some(tcb) = self.core.tcb(id) {
            tcb.set_receive_limit(limit);
            self.core.touch(id.index);
        }
    }

    /// Closes our side behind what is queued. The peer's data still comes.
    pub fn close(&mut self, id: FlowId) {
        if let Some(tcb) = self.core.tcb(id) {
            tcb.close();
            self.core.touch(id.index);
        }
    }

    /// Lets go of a connection. What is queued is still sent, and our side closed behind it. If something had come that was not
    /// read, or comes now, the peer is told by a reset (RFC 9293, section 3.6.1; RFC 2525, section 2.17).
    pub fn release(&mut self, id: FlowId) {
        let now = self.core.now;
        if self.core.flows.owned(id).is_none() {
            return;
        }
        self.core.wake(id.index);
        let flow = self.core.flows.at(id.index);
        flow.owner = Owner::Nobody;
        if let Life::Busy(busy) = &mut flow.life {
            busy.since = now;
            if busy.tcb.readable() > 0 {
                busy.tcb.abort();
            } else {
                busy.tcb.close();
            }
            // One that is waiting for its neighbour's address has told nobody of itself.
            if busy.tcb.state() == State::Closed && busy.tcb.due().is_none() {
                return self.core.closed(id.index);
            }
        }
        self.core.touch(id.index);
    }

    /// Ends a connection at once, with a reset, and lets go of it.
    pub fn abort(&mut self, id: FlowId) {
        if let Some(tcb) = self.core.tcb(id) {
            tcb.abort();
        }
        self.release(id);
    }

    /// The state; `None` for a connection that was let go of.
    pub fn state(&self, id: FlowId) -> Option<State> {
        let flow = self.core.flows.look(id)?;
        Some(flow.tcb().map_or(State::Established, Tcb::state))
    }

    /// Whether the peer has closed its side, and all that it sent has come.
    pub fn peer_finished(&self, id: FlowId) -> bool {
        self.look(id).is_some_and(Tcb::peer_finished)
    }

    /// Why a connection is over, once it is.
    pub fn end(&self, id: FlowId) -> Option<End> {
        self.look(id).and_then(Tcb::end)
    }

    /// Data of a segment at most; `None` for a connection that rests or is gone.
    pub fn mss(&self, id: FlowId) -> Option<u16> {
        self.look(id).map(Tcb::mss)
    }

    /// The peer's address and ours; `None` for a connection that was let go of.
    pub fn addresses(&self, id: FlowId) -> Option<(SocketAddr, SocketAddr)> {
        let flow: &Flow = self.core.flows.look(id)?;
        Some((flow.tuple.remote(), flow.tuple.local()))
    }

    /// The connection, unless it rests: then it has nothing to say.
    fn look(&self, id: FlowId) -> Option<&Tcb> {
        self.core.flows.look(id)?.tcb()
    }
}

impl Core {
    /// The connection, taken up if it rests.
    fn tcb(&mut self, id: FlowId) -> Option<&mut Tcb> {
        self.flows.owned(id)?;
        self.wake(id.index);
        match &mut self.flows.at(id.index).life {
            Life::Busy(busy) => Some(&mut busy.tcb),
            _ => None,
        }
    }

    /// A local port of this core's with which no connection has the tuple. They are tried from a place that differs between
    /// peers and cannot be guessed (RFC 6056, section 3.3.3).
    fn choose_port(&mut self, mut tuple: Tuple) -> Option<Tuple> {
        let Ports { range, cores, core } = self.config.ports.clone();
        let (first, last) = (u32::from(*range.start()), u32::from(*range.end()));
        let (cores, core) = (u32::from(cores), u32::from(core));
        let lowest = first + (core + cores - first % cores) % cores;
        let count = last.checked_sub(lowest)? / cores + 1;
        #[expect(clippy::cast_possible_truncation, reason = "any bits do")]
        let start = self.hash.of(&tuple) as u32;
        for tries in 0..count.min(MOST_TRIES) {
            let step = start.wrapping_add(self.next_port);
            // Where not all can be tried, further and further: connections that live long stand in rows.
            let skipped = if count > MOST_TRIES { tries } else { 0 };
            self.next_port = self.next_port.wrapping_add(1 + skipped);
            tuple.local_port = u16::try_from(lowest + step % count * cores).ok()?;
            let port = tuple.local_port;
            let listens = |listener: &Listener| listener.open && listener.port == port;
            let taken = self.flows.find(&tuple).is_some()
                || self.listeners.iter().any(listens)
                || self.time_wait.has(&tuple, self.hash.of(&tuple));
            if !taken {
                return Some(tuple);
            }
        }
        None
    }
}
