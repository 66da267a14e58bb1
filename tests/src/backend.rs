//! Plain-TCP backends, each on threads of its own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Serves every connection with `serve`, on a thread each, until the test ends. Returns where.
///
/// # Panics
/// The loopback cannot be listened on.
pub fn spawn(serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    self::serve(listener, serve);
    address
}

/// Serves every connection to `listener` with `serve`, on a thread each, until the test ends.
pub fn serve(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) {
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            // What fails here shows at the client.
            std::thread::spawn(move || drop(serve(socket)));
        }
    });
}

/// Sends back what comes, until it ends.
///
/// # Errors
/// The connection fails.
pub fn echo(socket: TcpStream) -> io::Result<()> {
    io::copy(&mut &socket, &mut &socket)?;
    socket.shutdown(std::net::Shutdown::Write)
}

/// An address that nobody listens on, nor comes to: tcpmux, which nobody runs, and no port for clients.
pub fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}
