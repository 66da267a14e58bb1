//! The client's side of a connection: TLS over a nonblocking TCP socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use spinlane::openssl::{Progress, SslError};
use spinlane::{Conn, Lcore, Ssl, SslCtx};

use super::buffer::Buffer;
use super::relay::is_transient;

/// A client.
pub struct Client {
    socket: TcpStream,
    ssl: Ssl,
    /// TCP bytes came that libssl has not seen all of.
    unread: bool,
    /// Nothing more will come over TCP.
    fin: bool,
    /// Nothing more will come over TLS.
    ended: bool,
    /// The stream ended without close_notify.
    bare_end: bool,
    /// We have said that we will send no more, in TLS and in TCP.
    notified: bool,
    fin_sent: bool,
}

impl Client {
    /// An accepted connection, called `conn` on `lcore`.
    ///
    /// # Errors
    /// libssl is out of memory, or the socket is none.
    pub fn new(socket: TcpStream, ctx: &SslCtx, lcore: &Lcore, conn: Conn) -> anyhow::Result<Self> {
        socket.set_nonblocking(true)?;
        let mut ssl = Ssl::server(ctx)?;
        ssl.attach(lcore, conn);
        Ok(Self {
            socket,
            ssl,
            unread: false,
            fin: false,
            ended: false,
            bare_end: false,
            notified: false,
            fin_sent: false,
        })
    }

    /// Drives the handshake.
    ///
    /// # Errors
    /// As for [`Ssl::handshake`].
    pub fn handshake(&mut self) -> Result<Progress, SslError> {
        // What came behind the handshake is still to be read.
        self.unread = true;
        self.ssl.handshake()
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        self.ssl.is_established()
    }

    /// Whether the handshake resumed an earlier session.
    pub fn session_reused(&self) -> bool {
        self.ssl.session_reused()
    }

    /// Whether the client's TCP stream has ended.
    pub fn fin(&self) -> bool {
        self.fin
    }

    /// Whether the client's TLS stream has ended.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether it ended without saying so in TLS.
    pub fn bare_end(&self) -> bool {
        self.bare_end
    }

    /// Takes bytes from the socket, as many as there is room for; returns how many.
    ///
    /// # Errors
    /// The connection broke.
    pub fn receive(&mut self) -> io::Result<usize> {
        if self.fin || !self.ssl.has_input_room() {
            return Ok(0);
        }
        let socket = &self.socket;
        match self.ssl.read_input(|room| (&*socket).read(room)) {
            Ok(count) => {
                self.fin = count == 0;
                self.unread = true;
                Ok(count)
            }
            Err(error) if is_transient(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Reads and drops what comes, until the client has closed; returns how much that was.
    ///
    /// # Errors
    /// The connection broke.
    pub fn discard(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match (&self.socket).read(scratch) {
            Ok(count) => {
                self.fin = count == 0;
                Ok(count)
            }
            Err(error) if is_transient(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Gives bytes to the socket, as many as it takes; returns how many.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self) -> io::Result<usize> {
        let mut sent = 0;
        while self.ssl.output_len() != 0 {
            let socket = &self.socket;
            match self.ssl.write_output(|bytes| (&*socket).write(bytes)) {
                Ok(count) => sent += count,
                Err(error) if is_transient(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Whether everything was given to the socket.
    pub fn is_flushed(&self) -> bool {
        self.ssl.output_len() == 0
    }

    /// Decrypts into `up` while it has room; returns how many bytes.
    ///
    /// # Errors
    /// A record is not authentic or not allowed; an alert waits to be sent.
    pub fn decrypt(&mut self, up: &mut Buffer) -> Result<usize, SslError> {
        let mut decrypted = 0;
        while self.unread && !self.ended && !up.is_full() {
            let mut progress = Progress::WantInput;
            decrypted += up.fill(|room| {
                progress = self.ssl.read(room)?;
                Ok::<_, SslError>(if let Progress::Done(count) = progress {
                    count
                } else {
                    0
                })
            })?;
            match progress {
                Progress::Done(_) => {}
                Progress::Closed => self.ended = true,
                // libssl is not told of a bare end: it would refuse to write the rest.
                Progress::WantInput if self.fin => (self.ended, self.bare_end) = (true, true),
                Progress::WantInput => self.unread = false,
                // An answer of libssl's own has to leave first.
                _ => break,
            }
        }
        Ok(decrypted)
    }

    /// Encrypts from `down`, one record at a time, each when the one before has left for the
    /// socket; returns how many bytes.
    ///
    /// # Errors
    /// libssl refuses, or the connection broke.
    pub fn encrypt(&mut self, down: &mut Buffer) -> Result<usize, SslError> {
        if down.is_empty() || !self.is_flushed() {
            return Ok(0);
        }
        match self.ssl.write(down.unread())? {
            Progress::Done(count) => {
                down.consume(count);
                Ok(count)
            }
            _ => Ok(0),
        }
    }

    /// Says in TLS that we will send no more, once what was sent before is with the socket.
    pub fn notify(&mut self) {
        if !self.notified && self.is_flushed() {
            self.notified = true;
            self.ssl.shutdown();
        }
    }

    /// Whether that was said.
    pub fn is_notified(&self) -> bool {
        self.notified
    }

    /// Ends the TCP stream once everything is with the socket. Returns whether that is done.
    pub fn finish(&mut self) -> bool {
        if self.is_flushed() && !self.fin_sent {
            self.fin_sent = true;
            // It fails only if the connection has broken, which reading will find.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        self.fin_sent
    }
}
