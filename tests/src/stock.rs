//! A TLS client of stock rustls over a blocking TCP socket, for what libssl's safe face does not offer.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::program::PATIENCE;

/// A connection by which the application's bytes are read and written.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connects to `localhost` at `address`, which must have a certificate that the one in the file `ca`
/// has issued. The handshake is done by the first read or write.
///
/// # Errors
/// The connection fails.
///
/// # Panics
/// `ca` is no certificate.
pub fn connect(address: SocketAddr, ca: &Path) -> io::Result<Stream> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(ca).expect("a certificate");
    roots.add(ca).expect("an issuer");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(StreamOwned::new(tls, socket))
}

/// Sends a KeyUpdate that asks for another (RFC 8446, section 4.6.3).
///
/// # Errors
/// The connection fails.
pub fn update_keys(stream: &mut Stream) -> io::Result<()> {
    stream
        .conn
        .refresh_traffic_keys()
        .map_err(io::Error::other)?;
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut stream.sock)?;
    }
    Ok(())
}
