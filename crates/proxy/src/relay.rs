//! The plain side of a connection: a nonblocking TCP connection to the backend.
//!
//! ```text
//!   client ── up ──▶ backend        a full buffer stops whoever fills it;
//!   client ◀── down ── backend      each direction ends on its own (half-close)
//! ```
//! Only a client that has said so has ended: a backend that is dropped before is reset, whatever the
//! reason, so that it never takes a part of a request for the whole.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::buffer::Buffer;

/// A connection to the backend.
#[derive(Debug)]
pub struct Relay {
    socket: TcpStream,
    /// Where it is, or is to be.
    address: SocketAddr,
    connected: bool,
    /// The backend takes no more: what is still sent to it is dropped.
    deaf: bool,
    /// The end of `up` was passed on.
    up_closed: bool,
    /// The backend has sent its last.
    down_ended: bool,
    /// How the connection broke, kept until what came before has been passed on.
    broken: Option<io::Error>,
}

/// Why a backend is of no use.
#[derive(Debug)]
pub enum RelayError {
    /// It could not be connected to.
    Unreachable(io::Error),
    /// The connection broke.
    Reset(io::Error),
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes to the backend.
    pub up: usize,
    /// Bytes from the backend.
    pub down: usize,
    /// The connection was made in this turn.
    pub connected: bool,
}

impl Relay {
    /// Begins to connect.
    ///
    /// # Errors
    /// There is no socket or no way to `address`.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        Ok(Self {
            socket: socket.into(),
            address,
            connected: false,
            deaf: false,
            up_closed: false,
            down_ended: false,
            broken: None,
        })
    }

    /// The backend's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the connection is made.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the backend has sent its last, all of it in `down` or passed on.
    pub fn down_ended(&self) -> bool {
        self.down_ended
    }

    /// Whether nothing more goes up: the backend knows that the client has sent its last, or takes
    /// no more.
    pub fn up_closed(&self) -> bool {
        self.up_closed || self.deaf
    }

    /// Moves what can be moved: `up` to the backend, and its end if `up_ended`; the backend's
    /// bytes to `down`.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub fn work(
        &mut self,
        up: &mut Buffer,
        up_ended: bool,
        down: &mut Buffer,
    ) -> Result<Moved, RelayError> {
        let mut moved = Moved::default();
        if !self.connected {
            self.connected = self.try_connected().map_err(RelayError::Unreachable)?;
            moved.connected = self.connected;
            if !self.connected {
                return Ok(moved);
            }
        }
        moved.up = self.send(up);
        if up_ended && up.is_empty() && !self.up_closed {
            self.up_closed = true;
            // It fails only if the connection has broken, which reading will find.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        moved.down = self.receive(down).map_err(RelayError::Reset)?;
        Ok(moved)
    }

    /// A connection attempt leaves an error or, in the end, a peer.
    fn try_connected(&self) -> io::Result<bool> {
        match (self.socket.take_error()?, self.socket.peer_addr()) {
            (Some(error), _) => Err(error),
            (None, Ok(_)) => Ok(true),
            (None, Err(error)) if error.kind() == ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }

    fn send(&mut self, up: &mut Buffer) -> usize {
        if self.deaf {
            up.clear();
        }
        let mut sent = 0;
        while !up.is_empty() {
            match self.socket.write(up.unread()) {
                Ok(count) => {
                    up.consume(count);
                    sent += count;
                }
                Err(error) if is_transient(&error) => break,
                // It may have answered before it stopped listening: read on.
                Err(_) => {
                    self.deaf = true;
                    up.clear();
                }
            }
        }
        sent
    }

    fn receive(&mut self, down: &mut Buffer) -> io::Result<usize> {
        if let Some(error) = self.broken.take_if(|_| down.is_empty()) {
            return Err(error);
        }
        if self.down_ended || self.broken.is_some() || down.is_full() {
            return Ok(0);
        }
        match down.fill(|room| self.socket.read(room)) {
            Ok(0) => {
                self.down_ended = true;
                Ok(0)
            }
            Err(error) if is_transient(&error) => Ok(0),
            Err(error) if !down.is_empty() => {
                self.broken = Some(error);
                Ok(0)
            }
            result => result,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.up_closed {
            // Closing resets the connection then (socket(7), SO_LINGER). It fails for no live socket.
            let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Whether a nonblocking call may simply be made again later.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
