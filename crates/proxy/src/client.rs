//! The client's side of a connection: TLS over a connection that never blocks.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use spinlane::Conn;

use crate::tls::{Agreed, Progress, Tls, TlsError, take_name};

use super::buffer::Buffer;
use super::carrier::{Carrier, is_transient};
use super::watch::Watch;

/// A client.
pub struct Client<C> {
    carrier: C,
    tls: Tls,
    /// The name that it asked for, if rustls was to tell.
    name: Option<Box<str>>,
    /// The first byte that came.
    first_byte: Option<u8>,
    /// TCP bytes came that the TLS library has not seen all of.
    unread: bool,
    /// Nothing more will come over TCP.
    fin: bool,
    /// How the TCP connection broke, if it did. What came before is still to be read.
    broken: Option<io::Error>,
    /// The client takes no more: what is still sent to it is dropped.
    deaf: bool,
    /// What is not with the network yet has bytes of the application in it.
    carries_data: bool,
    /// Some of it went to the network, and nobody has asked yet.
    data_moved: bool,
    /// How the TLS stream ended, if it has.
    end: Option<End>,
    /// We have said that we will send no more, in TLS and in TCP.
    notified: bool,
    fin_sent: bool,
    /// Nobody need look for what comes.
    told: bool,
    watched: bool,
}

/// How a client's TLS stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By close_notify: the client has said all it had to say.
    Notified,
    /// With the TCP stream alone: anybody on the way may have cut it short.
    Bare,
    /// With a TCP connection that broke.
    Broken,
}

impl<C: Carrier> Client<C> {
    /// An accepted connection, called `conn`.
    pub fn new(mut carrier: C, tls: Tls, conn: Conn) -> Self {
        Self {
            told: carrier.tell(conn),
            watched: false,
            carrier,
            tls,
            name: None,
            first_byte: None,
            unread: false,
            fin: false,
            broken: None,
            deaf: false,
            carries_data: false,
            data_moved: false,
            end: None,
            notified: false,
            fin_sent: false,
        }
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

    /// Drives the handshake.
    ///
    /// # Errors
    /// As for [`Tls::handshake`].
    pub fn handshake(&mut self) -> Result<Progress, TlsError> {
        // What came behind the handshake is still to be read.
        self.unread = true;
        let progress = self.tls.handshake();
        if let Some(name) = take_name() {
            self.name = Some(name);
        }
        progress
    }

    /// The name that the client asked for (SNI); of rustls only if its certificates are chosen by
    /// [`Naming`](crate::tls::Naming).
    pub fn server_name(&self) -> Option<Cow<'_, str>> {
        match &self.tls {
            Tls::Openssl(ssl) => ssl.server_name().map(Cow::Owned),
            Tls::Rustls(_) => self.name.as_deref().map(Cow::Borrowed),
        }
    }

    /// The protocol chosen by ALPN, if one was.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.tls.alpn()
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        self.tls.is_established()
    }

    /// Whether the handshake resumed an earlier session.
    pub fn session_reused(&self) -> bool {
        self.tls.session_reused()
    }

    /// Whether what it sent begins as a request of plain HTTP does, and no record of TLS.
    pub fn speaks_http(&self) -> bool {
        self.first_byte
            .is_some_and(|byte| byte.is_ascii_uppercase())
    }

    /// Whether the client's TCP stream has ended.
    pub fn fin(&self) -> bool {
        self.fin
    }

    /// How the client's TLS stream has ended; `None` while it has not.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The error by which the TCP connection broke, if it did.
    pub fn broken(&self) -> Option<&io::Error> {
        self.broken.as_ref()
    }

    /// Whether the client takes no more.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Takes bytes that have come, as many as there is room for; returns how many. A connection that
    /// breaks ends the stream behind what came before.
    pub fn receive(&mut self) -> usize {
        if self.fin || !self.tls.has_input_room() {
            return 0;
        }
        let carrier = &mut self.carrier;
        let mut first = None;
        let received = self.tls.read_input(|room| {
            let count = carrier.fill(room)?;
            first = room[..count].first().copied();
            Ok(count)
        });
        match received {
            Ok(count) => {
                self.fin = count == 0;
                self.unread = true;
                self.first_byte = self.first_byte.or(first);
                count
            }
            Err(error) if is_transient(&error) => 0,
            Err(error) => {
                (self.fin, self.unread) = (true, true);
                self.broken.get_or_insert(error);
                0
            }
        }
    }

    /// Takes what comes as it is, past TLS, into `scratch`; returns how much that was.
    ///
    /// # Errors
    /// The connection broke.
    pub fn receive_plain(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match self.carrier.fill(scratch) {
            Ok(count) => {
                self.fin = count == 0;
                Ok(count)
            }
            Err(error) if is_transient(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Gives the TLS library bytes that came before it was asked. There is room for them.
    pub fn push(&mut self, bytes: &[u8]) {
        let pushed = self.tls.push_input(bytes);
        debug_assert_eq!(pushed, bytes.len());
        self.first_byte = bytes.first().copied();
        self.unread = true;
    }

    /// Our address of its connection, if that can be told.
    pub fn local(&self) -> Option<SocketAddr> {
        self.carrier.local()
    }

    /// What both sides have agreed on, once the handshake is done.
    pub fn agreed(&self) -> Agreed {
        self.tls.agreed()
    }

    /// The client's own certificate, if it has shown one, in DER.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.tls.peer_certificate()
    }

    /// Gives bytes to the network, as many as it takes; returns how many. What the client does not take
    /// any more is dropped, as is what the TLS library says after our end (such as its answer to a
    /// KeyUpdate): neither keeps us from reading what the client has sent.
    pub fn send(&mut self) -> usize {
        let mut sent = 0;
        while self.tls.has_output() {
            let carrier = &mut self.carrier;
            let is_heard = !self.deaf && !self.fin_sent;
            let written = self.tls.write_output(|output| match is_heard {
                true => carrier.drain(output),
                false => Ok(output.len()),
            });
            match written {
                Ok(count) if is_heard => sent += count,
                Ok(_) => {}
                Err(error) if is_transient(&error) => break,
                Err(error) => {
                    self.deaf = true;
                    self.broken.get_or_insert(error);
                }
            }
        }
        self.data_moved |= self.carries_data && sent != 0;
        self.carries_data &= !self.is_flushed();
        sent
    }

    /// Whether bytes of the application were given to the network since this was asked last.
    pub fn has_moved_data(&mut self) -> bool {
        std::mem::take(&mut self.data_moved)
    }

    /// Whether everything was given to the network, or dropped.
    pub fn is_flushed(&self) -> bool {
        self.tls.output_len() == 0
    }

    /// Decrypts into `up` while it has room; returns how many bytes.
    ///
    /// # Errors
    /// A record is not authentic or not allowed; an alert waits to be sent.
    pub fn decrypt(&mut self, up: &mut Buffer) -> Result<usize, TlsError> {
        let mut decrypted = 0;
        while self.unread && self.end.is_none() && !up.is_full() {
            let mut progress = Progress::WantInput;
            decrypted += up.fill(|room| {
                progress = self.tls.read(room)?;
                Ok::<_, TlsError>(if let Progress::Done(count) = progress {
                    count
                } else {
                    0
                })
            })?;
            match progress {
                Progress::Done(_) => {}
                Progress::Closed => self.end = Some(End::Notified),
                Progress::WantInput if self.broken.is_some() && self.fin => {
                    self.end = Some(End::Broken);
                }
                // The library is not told of a bare end: libssl would refuse to write the rest.
                Progress::WantInput if self.fin => self.end = Some(End::Bare),
                Progress::WantInput => self.unread = false,
                // An answer of the library's own has to leave first.
                _ => break,
            }
        }
        Ok(decrypted)
    }

    /// Encrypts from `down`, one record at a time, each when those before have left for the network or are
    /// with a device; returns how many bytes.
    ///
    /// # Errors
    /// The library refuses.
    pub fn encrypt(&mut self, down: &mut Buffer) -> Result<usize, TlsError> {
        if self.deaf {
            down.clear();
        }
        if down.is_empty() || self.tls.has_output() {
            return Ok(0);
        }
        match self.tls.write(down.unread())? {
            Progress::Done(count) => {
                self.carries_data = true;
                down.consume(count);
                Ok(count)
            }
            _ => Ok(0),
        }
    }

    /// Says in TLS that we will send no more, once what was sent before is with the network.
    pub fn notify(&mut self) {
        if !self.notified && self.is_flushed() {
            self.notified = true;
            self.tls.shutdown();
        }
    }

    /// Whether that was said.
    pub fn is_notified(&self) -> bool {
        self.notified
    }

    /// Whether we have ended the TCP stream.
    pub fn has_finished(&self) -> bool {
        self.fin_sent
    }

    /// Ends the TCP stream once everything is with the network. Returns whether that is done.
    pub fn finish(&mut self) -> bool {
        if self.is_flushed() && !self.fin_sent {
            self.fin_sent = true;
            self.carrier.end();
        }
        self.fin_sent
    }
}
