//! What the proxy asks of a network: connections that never block, and where they come from.
//!
//! ```text
//!   Listener ── accept ──▶ Carrier (client)  ── fill ──▶ TLS
//!       └────── connect ─▶ Carrier (backend)  ◀─ drain ── TLS
//! ```
//! [`Sockets`](crate::sockets::Sockets) are the kernel's, [`Packets`](crate::packets::Packets) our own stack over a port.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use spinlane::Conn;

use super::address::Address;
use super::packets::PacketReport;

/// A TCP connection, to a client or to the backend. Dropping it closes it: what was drained before still leaves.
pub trait Carrier {
    /// Gives bytes that have come, as many as `room` takes; returns how many. 0: the peer has ended, and all of it has come.
    ///
    /// # Errors
    /// `WouldBlock`: nothing has come. Any other: the connection broke.
    fn fill(&mut self, room: &mut [u8]) -> io::Result<usize>;

    /// Takes bytes that are to leave, as many as there is room for; returns how many.
    ///
    /// # Errors
    /// `WouldBlock`: there is no room. Any other: the peer takes no more.
    fn drain(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Nothing more will be drained: the peer is told behind what was.
    fn end(&mut self);

    /// When it is dropped, the peer's connection is to be reset.
    fn reset_when_dropped(&mut self);

    /// Whether a connection that was begun is made.
    ///
    /// # Errors
    /// It cannot be made.
    fn is_connected(&self) -> io::Result<bool>;

    /// Our address of the connection, if that can be told.
    fn local(&self) -> Option<SocketAddr> {
        None
    }

    /// Has [`Listener::next_news`] name `conn` when there is something to fill, room to drain, or an end. Returns whether it does:
    /// where it does not, one has to look.
    fn tell(&mut self, _conn: Conn) -> bool {
        false
    }

    /// The kernel's socket behind it, which is watched while its connection rests. `None` where [`Carrier::tell`] tells.
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A core's network: where its connections come from, and how it connects to the backend.
pub trait Listener {
    /// To a client.
    type Client: Carrier;
    /// To the backend.
    type Backend: Carrier;

    /// When nobody was waiting, nobody need look again for so long.
    const ACCEPT_EVERY_NS: u64;

    /// Takes clients from these sockets from now on, and from no others, where it takes any from the kernel.
    fn listen(&mut self, _sockets: Vec<Arc<TcpListener>>) {}

    /// The next client that has come, and the position of the listener that it came to.
    ///
    /// # Errors
    /// `WouldBlock`: none has. `ConnectionAborted` and `Interrupted`: not this one. Any other: none can be had now.
    fn accept(&mut self) -> io::Result<(Self::Client, SocketAddr, usize)>;

    /// Takes no more clients.
    fn close(&mut self);

    /// Begins to connect to `address`.
    ///
    /// # Errors
    /// There is no way to it.
    fn connect(&mut self, address: &Address) -> io::Result<Self::Backend>;

    /// At the begin of a turn: takes what has come. Returns whether anything has.
    fn receive(&mut self, _now_ns: u64) -> bool {
        false
    }

    /// The next connection with news, see [`Carrier::tell`].
    fn next_news(&mut self) -> Option<Conn> {
        None
    }

    /// At the end of a turn: what was drained leaves.
    fn transmit(&mut self, _now_ns: u64) {}

    /// Whether everything that was drained has arrived, so that the program may end.
    fn is_quiet(&self) -> bool {
        true
    }

    /// What a stack of our own has to tell.
    fn report(&self) -> Option<Box<PacketReport>> {
        None
    }
}

/// Whether a call may simply be made again later.
pub fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}
