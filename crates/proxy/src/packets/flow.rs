//! A connection on a core's stack.

use std::cell::{RefCell, RefMut};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

use spinlane::Conn;
use spinlane_net::{End, FlowId, FrameIo, State};

use super::Core;
use crate::carrier::Carrier;

/// A connection; closed, or reset, when it is dropped.
#[derive(Debug)]
pub struct Flow<F: FrameIo> {
    core: Rc<RefCell<Core<F>>>,
    id: FlowId,
    is_to_be_reset: bool,
}

impl<F: FrameIo> Flow<F> {
    pub(super) fn new(core: &Rc<RefCell<Core<F>>>, id: FlowId) -> Self {
        Self {
            core: Rc::clone(core),
            id,
            is_to_be_reset: false,
        }
    }

    fn core(&self) -> RefMut<'_, Core<F>> {
        self.core.borrow_mut()
    }
}

/// As a socket would fail.
fn error(end: End) -> io::Error {
    let kind = match end {
        End::Closed | End::Aborted => ErrorKind::NotConnected,
        End::Reset => ErrorKind::ConnectionReset,
        End::Refused => ErrorKind::ConnectionRefused,
        End::TimedOut => ErrorKind::TimedOut,
    };
    io::Error::new(kind, end)
}

impl<F: FrameIo> Carrier for Flow<F> {
    fn local(&self) -> Option<SocketAddr> {
        let addresses = self.core().stack.addresses(self.id);
        addresses.map(|(_, local)| local)
    }

    fn fill(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let stack = &mut self.core.borrow_mut().stack;
        // Asked first: reading wakes a connection that rests.
        if stack.readable(self.id) != 0 {
            return Ok(stack.read(self.id, |parts| copy(parts, room)));
        }
        if stack.peer_finished(self.id) {
            return Ok(0);
        }
        match stack.end(self.id) {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(End::Closed) => Ok(0),
            Some(end) => Err(error(end)),
        }
    }

    fn drain(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stack = &mut self.core.borrow_mut().stack;
        match (stack.write(self.id, bytes), stack.end(self.id)) {
            (0, None) => Err(ErrorKind::WouldBlock.into()),
            (0, Some(end)) => Err(error(end)),
            (count, _) => Ok(count),
        }
    }

    fn end(&mut self) {
        let id = self.id;
        self.core().stack.close(id);
    }

    fn reset_when_dropped(&mut self) {
        self.is_to_be_reset = true;
    }

    fn is_connected(&self) -> io::Result<bool> {
        let stack = &self.core().stack;
        match stack.end(self.id) {
            Some(end) => Err(error(end)),
            None => Ok(stack.state(self.id) != Some(State::SynSent)),
        }
    }

    fn tell(&mut self, conn: Conn) -> bool {
        let id = self.id;
        self.core().name(id, Some(conn));
        true
    }
}

/// Fills `room` from both parts in a row; returns how many bytes.
fn copy([first, second]: [&[u8]; 2], room: &mut [u8]) -> usize {
    let from_first = first.len().min(room.len());
    let (head, tail) = room.split_at_mut(from_first);
    head.copy_from_slice(&first[..from_first]);
    let from_second = second.len().min(tail.len());
    tail[..from_second].copy_from_slice(&second[..from_second]);
    from_first + from_second
}

impl<F: FrameIo> Drop for Flow<F> {
    fn drop(&mut self) {
        let core = &mut *self.core.borrow_mut();
        core.name(self.id, None);
        match self.is_to_be_reset {
            true => core.stack.abort(self.id),
            false => core.stack.release(self.id),
        }
    }
}
