//! The kernel's sockets: one that listens per core, over which the kernel spreads new connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::address::{Address, listen_remedy};
use super::carrier::{Carrier, Listener};
use super::{DEFAULT_ADDRESS, Network, Open, doors};

/// Connections that wait to be accepted, per socket; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A core's listening sockets, until they are closed; by default there are none.
#[derive(Debug, Default)]
pub struct Sockets {
    all: Vec<Arc<TcpListener>>,
    /// Whose turn it is.
    next: usize,
}

impl Listener for Sockets {
    type Client = TcpStream;
    type Backend = TcpStream;

    /// accept(2) takes ten times as long as recv(2).
    const ACCEPT_EVERY_NS: u64 = 20_000;

    fn listen(&mut self, sockets: Vec<Arc<TcpListener>>) {
        (self.all, self.next) = (sockets, 0);
    }

    fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr, usize)> {
        for _ in 0..self.all.len() {
            // From each in turn, so that no crowd at one keeps the others waiting.
            let at = self.next;
            self.next = (at + 1) % self.all.len();
            match self.all[at].accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                accepted => {
                    let (socket, peer) = accepted?;
                    socket.set_nonblocking(true)?;
                    return Ok((socket, peer, at));
                }
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn close(&mut self) {
        self.all.clear();
    }

    fn connect(&mut self, address: &Address) -> io::Result<TcpStream> {
        connect(address)
    }
}

/// Begins to connect.
///
/// # Errors
/// There is no socket or no way to `address`.
pub fn connect(address: &Address) -> io::Result<TcpStream> {
    let (socket, address) = match address {
        Address::Ip(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
            socket.set_tcp_nodelay(true)?;
            (socket, SockAddr::from(*address))
        }
        Address::Unix(path) => (
            Socket::new(Domain::UNIX, Type::STREAM, None)?,
            SockAddr::unix(path)?,
        ),
    };
    socket.set_nonblocking(true)?;
    match socket.connect(&address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        // A stream is read, written and ended alike, of whichever family.
        _ => Ok(OwnedFd::from(socket).into()),
    }
}

/// A nonblocking socket.
impl Carrier for TcpStream {
    fn fill(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.read(room)
    }

    fn drain(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn end(&mut self) {
        // It fails only if the connection has broken, which reading will find.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn reset_when_dropped(&mut self) {
        // socket(7), SO_LINGER. It fails for no live socket.
        let _ = SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }

    fn local(&self) -> Option<SocketAddr> {
        self.local_addr().ok()
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    /// A connection attempt leaves an error or, in the end, a peer.
    fn is_connected(&self) -> io::Result<bool> {
        match (self.take_error()?, SockRef::from(self).peer_addr()) {
            (Some(error), _) => Err(error),
            (None, Ok(_)) => Ok(true),
            (None, Err(error)) if error.kind() == ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }
}

/// The kernel's network for so many cores, which are told what to listen on.
pub fn network(cores: usize) -> Network<Sockets> {
    let open = |_| Box::new(Sockets::default) as Open<Sockets>;
    Network {
        address: DEFAULT_ADDRESS,
        about: String::new(),
        open: (0..cores).map(open).collect(),
        watch: Box::new(|| ()),
    }
}

/// Binds `count` nonblocking listening sockets to `address`, which errors call `name`. Returns them with the address they
/// got, which has a port even if `address` had none.
///
/// # Errors
/// The address is in use or not this machine's.
pub fn bind(name: &str, address: SocketAddr, count: usize) -> Result<(SocketAddr, doors::Sockets)> {
    let slot = |listener| Mutex::new(Some(Arc::new(listener)));
    let one = |address, shared| listen(address, shared).with_context(|| name.to_owned());
    if count == 1 {
        let listener = one(address, false)?;
        return Ok((listener.local_addr()?, [slot(listener)].into()));
    }
    // SO_REUSEPORT would silently share the port with whoever else listens there with that
    // option, so first a socket without it, which is refused if anyone does.
    let address = one(address, false)?.local_addr()?;
    let listeners = (0..count).map(|_| Ok(slot(one(address, true)?)));
    Ok((address, listeners.collect::<Result<_>>()?))
}

fn listen(address: SocketAddr, shared: bool) -> Result<TcpListener> {
    let open = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Connections in TIME_WAIT from an earlier run do not keep the port.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit it. Records leave whole, so there is nothing to wait for.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error| {
        let remedy = listen_remedy(address, &error);
        anyhow::Error::from(error).context(format!("cannot listen there; {remedy}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_share_a_port_that_nobody_else_gets() {
        let (address, listeners) = bind("x", "127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(listeners.len(), 3);
        assert!(
            listeners
                .iter()
                .map(|slot| slot.lock().unwrap().clone().unwrap())
                .all(|socket| socket.local_addr().unwrap() == address)
        );
        for count in [1, 2] {
            let error = format!("{:#}", bind("--listen x", address, count).unwrap_err());
            assert!(
                error.contains("--listen x: cannot listen there") && error.contains("in use"),
                "{error}"
            );
        }
    }
}
