//! A TLS client over a blocking TCP socket, on stock libssl.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use spinlane::openssl::{ClientConfig, Progress, SslError};
use spinlane::{Ssl, SslCtx};

use crate::program::PATIENCE;

/// A client's settings that accept any certificate.
///
/// # Panics
/// libssl is out of memory.
pub fn context() -> SslCtx {
    SslCtx::client(&ClientConfig::dangerously_accepting_any_certificate())
        .expect("a client's context")
}

/// A connection.
pub struct TlsClient {
    socket: TcpStream,
    ssl: Ssl,
    ended: bool,
}

impl TlsClient {
    /// Connects and does the handshake, resuming the session of `earlier` if given.
    ///
    /// # Errors
    /// The connection or the handshake fails.
    pub fn connect(address: SocketAddr, ctx: &SslCtx, earlier: Option<&Self>) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut ssl = Ssl::client(ctx).map_err(io::Error::other)?;
        if let Some(earlier) = earlier {
            ssl.resume_session_of(&earlier.ssl);
        }
        let mut client = Self {
            socket,
            ssl,
            ended: false,
        };
        client.drive(Ssl::handshake)?;
        Ok(client)
    }

    /// Whether the handshake resumed a session.
    pub fn session_reused(&self) -> bool {
        self.ssl.session_reused()
    }

    /// Says that no more will be written, in TLS; reading goes on.
    ///
    /// # Errors
    /// The connection fails.
    pub fn close_notify(&mut self) -> io::Result<()> {
        self.ssl.shutdown();
        self.flush()
    }

    /// The socket beneath.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Ends the TCP stream without a word in TLS.
    ///
    /// # Errors
    /// The connection fails.
    pub fn bare_end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)
    }

    /// Sends a request and reads until the response is complete: `Content-Length: 20`, as the
    /// built-in responder answers.
    ///
    /// # Errors
    /// The connection fails.
    pub fn get(&mut self) -> io::Result<String> {
        self.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let (mut text, mut block) = (String::new(), [0; 1024]);
        while !text.ends_with("hello from spinlane\n") {
            match self.read(&mut block)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => text.push_str(&String::from_utf8_lossy(&block[..count])),
            }
        }
        Ok(text)
    }

    /// Calls `call` until it needs no more of the peer; `None` = the peer has closed.
    fn drive(
        &mut self,
        mut call: impl FnMut(&mut Ssl) -> Result<Progress, SslError>,
    ) -> io::Result<Option<usize>> {
        loop {
            let progress = call(&mut self.ssl);
            // An alert, too, has to leave.
            self.flush()?;
            match progress.map_err(io::Error::other)? {
                Progress::Done(count) => return Ok(Some(count)),
                Progress::Closed => return Ok(None),
                Progress::WantOutput => {}
                Progress::WantInput if self.ended => return Err(ErrorKind::UnexpectedEof.into()),
                Progress::WantInput => {
                    let socket = &self.socket;
                    self.ended = self.ssl.read_input(|room| (&*socket).read(room))? == 0;
                }
                other => {
                    return Err(io::Error::other(format!(
                        "{other:?} of a synchronous client"
                    )));
                }
            }
        }
    }
}

impl Read for TlsClient {
    /// 0 after close_notify; an end without it is an error.
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        Ok(self.drive(|ssl| ssl.read(to))?.unwrap_or(0))
    }
}

impl Write for TlsClient {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.drive(|ssl| ssl.write(from))?
            .ok_or_else(|| ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.ssl.output_len() != 0 {
            let socket = &self.socket;
            self.ssl.write_output(|bytes| (&*socket).write(bytes))?;
        }
        Ok(())
    }
}

/// A ClientHello, as it goes over the wire.
///
/// # Panics
/// libssl is out of memory.
pub fn hello() -> Vec<u8> {
    let mut ssl = Ssl::client(&context()).expect("a client");
    assert_eq!(ssl.handshake(), Ok(Progress::WantInput));
    let mut bytes = Vec::new();
    let taken = ssl.write_output(|output| {
        bytes.extend_from_slice(output);
        Ok(output.len())
    });
    taken.expect("a vector takes all");
    bytes
}
