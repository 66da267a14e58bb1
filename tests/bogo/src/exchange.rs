//! One side of each of a test's connections.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use spinlane::rustls::Connection;
use spinlane::{Config, Conn, Lcore, Progress, device};

use crate::config;
use crate::flags::Flags;

type Failed = Box<dyn Error>;

/// What the shim says first, if it is to.
const INITIAL: &[u8] = b"hello";

enum Side {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>),
}

/// Is the side that `flags` describe, once and for every resumption.
///
/// # Errors
/// What TLS or an expectation failed with.
pub fn run(flags: &Flags) -> Result<(), Failed> {
    let side = match flags.server {
        true => Side::Server(config::server(flags)?),
        false => Side::Client(config::client(flags)?),
    };
    // A device that computes in polls: so each op pauses the handshake, as with a card.
    let lcore = Lcore::new(Config::default());
    lcore.add_queue_pair(device::open("soft")?.queue_pair(Default::default())?);
    for number in 0..=flags.resume_count {
        let mut conn = match &side {
            Side::Server(config) => Connection::server(Arc::clone(config))?,
            Side::Client(config) => {
                let name = flags.host_name.clone().unwrap_or("localhost".to_owned());
                Connection::client(Arc::clone(config), ServerName::try_from(name)?)
            }
        };
        conn.attach(&lcore, Conn(number as u64));
        let socket = connect(flags)?;
        let mut exchange = Exchange {
            flags,
            number,
            lcore: &lcore,
            conn,
            socket,
        };
        let done = exchange.run();
        // The alert of a failure.
        let flushed = exchange.flush();
        drain(&exchange.socket);
        done.and(flushed)?;
    }
    Ok(())
}

fn connect(flags: &Flags) -> Result<TcpStream, Failed> {
    let address = match flags.ipv6 {
        true => SocketAddr::from((Ipv6Addr::LOCALHOST, flags.port)),
        false => SocketAddr::from((Ipv4Addr::LOCALHOST, flags.port)),
    };
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.write_all(&flags.shim_id.to_le_bytes())?;
    Ok(socket)
}

/// Ends without a reset, which would take what was sent away from the runner.
fn drain(mut socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Write);
    let mut chunk = [0; 4096];
    while socket.read(&mut chunk).is_ok_and(|count| count > 0) {}
}

struct Exchange<'a> {
    flags: &'a Flags,
    /// 0, or which resumption it is.
    number: usize,
    lcore: &'a Lcore,
    conn: Connection,
    socket: TcpStream,
}

/// What a call came to, once it could go no further without the peer.
#[derive(PartialEq, Eq)]
enum Came {
    /// This far.
    Done(usize),
    /// To the peer's close_notify.
    Closed,
    /// To the end of TCP.
    End,
}

impl Exchange<'_> {
    fn run(&mut self) -> Result<(), Failed> {
        match self.call(Connection::handshake)? {
            Came::Done(_) => self.check()?,
            _ => return Err("the connection ended before its handshake was done".into()),
        }
        if self.flags.writes_first {
            self.write(INITIAL)?;
        }
        if self.flags.shuts_down {
            self.conn.shutdown();
            self.flush()?;
        }
        let mut text = vec![0; self.flags.read_size];
        loop {
            match self.call(|conn| conn.read(&mut text))? {
                Came::Done(count) => {
                    if self.flags.shuts_down {
                        continue; // nothing can be said to it any more
                    }
                    if self.flags.key_update {
                        self.call(Connection::refresh_traffic_keys)?;
                    }
                    let echo: Vec<u8> = text[..count].iter().map(|byte| !byte).collect();
                    self.write(&echo)?;
                }
                Came::Closed => {
                    self.conn.shutdown();
                    return self.flush();
                }
                Came::End if self.flags.check_close_notify => {
                    return Err("TCP ended without a close_notify".into());
                }
                Came::End => return Ok(()),
            }
        }
    }

    /// Repeats `call` until it is done, with polls, what is to be sent and what comes in between.
    fn call(
        &mut self,
        mut call: impl FnMut(&mut Connection) -> Result<Progress, spinlane::rustls::Error>,
    ) -> Result<Came, Failed> {
        loop {
            self.lcore.poll()?;
            while self.lcore.next_ready().is_some() {}
            let progress = call(&mut self.conn)?;
            self.flush()?;
            match progress {
                Progress::Done(count) => return Ok(Came::Done(count)),
                Progress::Closed => return Ok(Came::Closed),
                Progress::WantInput if self.receive()? == 0 => return Ok(Came::End),
                _ => {}
            }
        }
    }

    fn write(&mut self, mut text: &[u8]) -> Result<(), Failed> {
        while !text.is_empty() {
            match self.call(|conn| conn.write(text))? {
                Came::Done(count) => text = &text[count..],
                _ => return Err("the connection ended before all was written".into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<usize, Failed> {
        let most = if self.flags.bytewise { 1 } else { usize::MAX };
        let socket = &mut self.socket;
        let read = self.conn.read_input(|room| {
            let len = room.len().min(most);
            socket.read(&mut room[..len])
        });
        match read {
            // The runner goes away without reading what it was sent.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            read => Ok(read?),
        }
    }

    fn flush(&mut self) -> Result<(), Failed> {
        let socket = &mut self.socket;
        while self.conn.has_output() {
            match self.conn.write_output(|bytes| socket.write(bytes)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether the handshake came to what the runner expects.
    fn check(&self) -> Result<(), Failed> {
        let (flags, number, conn) = (self.flags, self.number, &self.conn);
        let got = conn.protocol_version().map(u16::from);
        expect("version", flags.expect_version.of(number), got.as_ref())?;
        let got = conn.alpn_protocol().unwrap_or_default();
        expect("ALPN protocol", flags.expect_alpn.of(number), Some(&got))?;
        // A session of TLS 1.2 that is resumed exchanges no keys.
        if let Some(group) = conn.group().map(u16::from) {
            expect("group", flags.expect_group.of(number), Some(&group))?;
        }
        let reused = number > 0 && !flags.expect_session_miss;
        expect("resumption", Some(&reused), Some(&conn.session_reused()))
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: Option<&T>,
    got: Option<&T>,
) -> Result<(), Failed> {
    match wanted {
        Some(_) if wanted != got => Err(format!("{what}: {got:?} instead of {wanted:?}").into()),
        _ => Ok(()),
    }
}
