//! Listening sockets, one per core: the kernel spreads new connections over them.

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use socket2::{Domain, Socket, Type};

use super::address::listen_remedy;

/// Connections that wait to be accepted, per socket; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds `count` nonblocking listening sockets to `address`. Returns them with the address they got,
/// which has a port even if `address` had none.
///
/// # Errors
/// The address is in use or not this machine's.
pub fn bind(address: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<TcpListener>)> {
    if count == 1 {
        let listener = listen(address, false)?;
        return Ok((listener.local_addr()?, vec![listener]));
    }
    // SO_REUSEPORT would silently share the port with whoever else listens there with that
    // option, so first a socket without it, which is refused if anyone does.
    let address = listen(address, false)?.local_addr()?;
    let listeners = (0..count)
        .map(|_| listen(address, true))
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
                .all(|listener| listener.local_addr().unwrap() == address)
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
