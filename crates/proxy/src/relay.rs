//! The plain side of a connection: a TCP connection to the backend that never blocks.
//!
//! ```text
//!   client ── up ──▶ backend        a full buffer stops whoever fills it;
//!   client ◀── down ── backend      each direction ends on its own (half-close)
//! ```
//! Only a client that has said so has ended: a backend that is dropped before is reset, whatever the
//! reason, so that it never takes a part of a request for the whole.

use std::io;

use spinlane::Conn;

use super::address::Address;
use super::buffer::Buffer;
use super::carrier::{Carrier, is_transient};
use super::watch::Watch;

/// A connection to the backend.
#[derive(Debug)]
pub struct Relay<C: Carrier> {
    carrier: C,
    /// Where it is, or is to be.
    address: Address,
    connected: bool,
    /// Nobody need look for what comes.
    told: bool,
    watched: bool,
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

impl<C: Carrier> Relay<C> {
    /// A connection that was begun, to `address`, for the connection `conn`.
    pub fn new(mut carrier: C, address: Address, conn: Conn) -> Self {
        Self {
            told: carrier.tell(conn),
            watched: false,
            carrier,
            address,
            connected: false,
            deaf: false,
            up_closed: false,
            down_ended: false,
            broken: None,
        }
    }

    /// The backend's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether its connection's name is told when there is something to do, so that nobody need look.
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// Has the name of its connection, `conn`, told from now on, if it is not yet.
    ///
    /// # Errors
    /// As for [`Watch::add`].
    pub fn rest(&mut self, watch: &mut Watch, conn: Conn) -> io::Result<()> {
        if let Some(socket) = self.carrier.socket().filter(|_| !self.watched) {
            watch.add(socket, conn)?;
            self.watched = true;
        }
        Ok(())
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
            self.connected = self
                .carrier
                .is_connected()
                .map_err(RelayError::Unreachable)?;
            moved.connected = self.connected;
            if !self.connected {
                return Ok(moved);
            }
        }
        moved.up = self.send(up);
        if up_ended && up.is_empty() && !self.up_closed {
            self.up_closed = true;
            self.carrier.end();
        }
        moved.down = self.receive(down).map_err(RelayError::Reset)?;
        Ok(moved)
    }

    fn send(&mut self, up: &mut Buffer) -> usize {
        if self.deaf {
            up.clear();
        }
        let mut sent = 0;
        while !up.is_empty() {
            match self.carrier.drain(up.unread()) {
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
        match down.fill(|room| self.carrier.fill(room)) {
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

impl<C: Carrier> Drop for Relay<C> {
    fn drop(&mut self) {
        if !self.up_closed {
            self.carrier.reset_when_dropped();
        }
    }
}
