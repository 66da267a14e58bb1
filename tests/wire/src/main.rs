//! Serves HTTP over stock rustls, a connection per thread:  stock-rustls CERT KEY HOST:PORT
//!
//! Answers requests as `spinlane proxy --backend respond` does, as far as scripts look: each once, then close_notify
//! unless it is kept alive. Tickets as the proxy issues them; else rustls' own settings.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request line and headers are no longer.
const MAX_HEAD: usize = 8 * 1024;
/// What the proxy gives a client, for a handshake and to come back.
const PATIENCE: Duration = Duration::from_secs(10);
const BODY: &str = "hello from rustls\n";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut arg = || args.next().ok_or("usage: stock-rustls CERT KEY HOST:PORT");
    let chain = CertificateDer::pem_file_iter(arg()?)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(arg()?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    let config = Arc::new(config);
    let listener = TcpListener::bind(arg()?)?;
    for socket in listener.incoming() {
        let (socket, config) = (socket?, Arc::clone(&config));
        thread::spawn(move || {
            // A client that misbehaves is what this server is for.
            if let Err(error) = serve(&socket, config) {
                eprintln!("{error}");
            }
            drain(&socket);
        });
    }
    Ok(())
}

fn serve(socket: &TcpStream, config: Arc<ServerConfig>) -> Result<(), Box<dyn Error>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, socket);
    let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let count = stream.read(&mut chunk)?;
        head.extend_from_slice(&chunk[..count]);
        let end = head.windows(4).position(|four| four == b"\r\n\r\n");
        if count == 0 || head.len() > MAX_HEAD {
            break;
        }
        let Some(end) = end else { continue };
        let keep_alive = head[..end].windows(8).any(|eight| eight == b"HTTP/1.1");
        head.drain(..end + 4);
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let len = BODY.len();
        // One record, as the proxy's.
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: {connection}\r\n\r\n{BODY}"
        );
        stream.write_all(answer.as_bytes())?;
        if !keep_alive {
            break;
        }
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// Ends without a reset, which would take the alert away from the client that is to see it.
fn drain(mut socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Write);
    let mut chunk = [0; 4096];
    while socket.read(&mut chunk).is_ok_and(|count| count > 0) {}
}
