//! The kernel's sockets: one that listens per core, over which the kernel spreads new connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Result;
use socket2::{Domain, SockRef, Socket, Type};

use super::address::listen_remedy;
use super::carrier::{Carrier, Listener};
use super::{Network, Open};

/// Connections that wait to be accepted, per socket; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A core's listening socket, until it is closed; by default there is none.
#[derive(Debug, Default)]
pub struct Sockets(Option<TcpListener>);

impl Listener for Sockets {
    type Client = TcpStream;
    type Backend = TcpStream;

    /// accept(2) takes ten times as long as recv(2).
    const ACCEPT_EVERY_NS: u64 = 20_000;

    fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let listener = self.0.as_ref().ok_or(ErrorKind::WouldBlock)?;
        let (socket, peer) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, peer))
    }

    fn close(&mut self) {
        self.0 = None;
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<TcpStream> {
        connect(address)
    }
}

/// Begins to connect.
///
/// # Errors
/// There is no socket or no way to `address`.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
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

    /// A connection attempt leaves an error or, in the end, a peer.
    fn is_connected(&self) -> io::Result<bool> {
        match (self.take_error()?, self.peer_addr()) {
            (Some(error), _) => Err(error),
            (None, Ok(_)) => Ok(true),
            (None, Err(error)) if error.kind() == ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }
}

/// Listens on `address`, by one socket per core.
///
/// # Errors
/// The address is in use or not this machine's.
pub fn network(address: SocketAddr, cores: usize) -> Result<Network<Sockets>> {
    let (address, sockets) = bind(address, cores)?;
    let open = |sockets: Sockets| Box::new(move || sockets) as Open<Sockets>;
    Ok(Network {
        address,
        about: String::new(),
        open: sockets.into_iter().map(open).collect(),
        watch: Box::new(|| ()),
    })
}

/// Binds `count` nonblocking listening sockets to `address`. Returns them with the address they got,
/// which has a port even if `address` had none.
///
/// # Errors
/// The address is in use or not this machine's.
fn bind(address: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<Sockets>)> {
    if count == 1 {
        let listener = listen(address, false)?;
        return Ok((listener.local_addr()?, vec![Sockets(Some(listener))]));
    }
    // SO_REUSEPORT would silently share the port with whoever else listens there with that
    // option, so first a socket without it, which is refused if anyone does.
    let address = listen(address, false)?.local_addr()?;
    let listeners = (0..count)
        .map(|_| Ok(Sockets(Some(listen(address, true)?))))
        .collect::<Result<_>>()?;
    Ok((address, listeners))
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
        anyhow::Error::from(error)
            .context(format!("--listen {address}: cannot listen there; {remedy}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_share_a_port_that_nobody_else_gets() {
        let (address, listeners) = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(listeners.len(), 3);
        assert!(
            listeners
                .iter()
                .all(|Sockets(socket)| socket.as_ref().unwrap().local_addr().unwrap() == address)
        );
        for count in [1, 2] {
            let error = format!("{:#}", bind(address, count).unwrap_err());
            assert!(
                error.contains(&format!("--listen {address}")) && error.contains("in use"),
                "{error}"
            );
        }
    }
}
