//! A poll-mode TLS echo server by this machine's libssl: many connections, one thread.
//!
//! ```text
//! cargo run --release --example echo_libssl -- CERT KEY PORT [DEVICE [CAPACITY]]
//! ```
//! Ends when its standard input does, and prints what it counted.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use spinlane::cryptodev::QueuePairConfig;
use spinlane::openssl::{Pem, ServerConfig, SslError};
use spinlane::{Config, Conn, Lcore, Progress, Ssl, SslCtx};

/// Connections at a time.
const MOST: usize = 1024;

/// A client.
struct Peer {
    socket: TcpStream,
    conn: Ssl,
    /// For an op or a retry; until then the socket does not matter.
    waits: bool,
    /// All is said that is in the output, and the rest is over.
    closing: bool,
    /// What goes back to the client, as far as it has not gone yet.
    text: Vec<u8>,
}

/// What becomes of a client after a turn.
#[derive(PartialEq, Eq)]
enum Next {
    Later,
    Gone,
}

impl Peer {
    /// Goes on until there is something to wait for.
    fn drive(&mut self, lcore: &Lcore, name: Conn) -> Next {
        self.waits = false;
        loop {
            let Ok(is_sent) = self.flush() else {
                return Next::Gone;
            };
            if self.closing {
                return if is_sent { Next::Gone } else { Next::Later };
            }
            match self.call() {
                Ok(Progress::Done(_)) => {}
                Ok(Progress::WantInput) => {
                    match self.conn.read_input(|room| self.socket.read(room)) {
                        // The end, without a proper close: what came before it may have been cut short.
                        Ok(0) => self.closing = true,
                        Ok(_) => {}
                        Err(error) if is_temporary(&error) => {
                            // What the call has left to be sent.
                            return if self.flush().is_ok() {
                                Next::Later
                            } else {
                                Next::Gone
                            };
                        }
                        Err(_) => return Next::Gone,
                    }
                }
                Ok(Progress::WantOutput) if is_sent => {}
                Ok(Progress::WantOutput) => return Next::Later,
                // It comes out of the ready queue: when its op is done, or when it has its turn.
                Ok(Progress::Paused | Progress::Refused) => {
                    self.waits = true;
                    return Next::Later;
                }
                // All jobs are in use: in the next turn.
                Ok(Progress::NoJobs) => {
                    self.waits = true;
                    lcore.make_ready(name);
                    return Next::Later;
                }
                Ok(Progress::Closed) => {
                    self.conn.shutdown();
                    self.closing = true;
                }
                // The alert that says why is in the output.
                Err(_) => self.closing = true,
            }
        }
    }

    /// The next call: what was read goes back before more is read.
    fn call(&mut self) -> Result<Progress, SslError> {
        if self.text.is_empty() {
            self.text.resize(4096, 0);
            let progress = self.conn.read(&mut self.text);
            let count = match progress {
                Ok(Progress::Done(count)) => count,
                _ => 0,
            };
            self.text.truncate(count);
            return progress;
        }
        let progress = self.conn.write(&self.text)?;
        if let Progress::Done(count) = progress {
            self.text.drain(..count);
        }
        Ok(progress)
    }

    /// Sends what there is. Returns `false` if the socket is full.
    fn flush(&mut self) -> std::io::Result<bool> {
        while self.conn.output_len() != 0 {
            match self.conn.write_output(|bytes| self.socket.write(bytes)) {
                Ok(_) => {}
                Err(error) if is_temporary(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn is_temporary(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, cert, key, port, more @ ..] = &args[..] else {
        return Err("usage: echo_libssl CERT KEY PORT [DEVICE [CAPACITY]]".into());
    };
    let (cert, key) = (Pem::read(Path::new(cert))?, Pem::read(Path::new(key))?);
    let ctx = SslCtx::server(&ServerConfig::new(cert, key))?;
    let device = spinlane::device::open(more.first().map_or("auto", String::as_str))?;
    let mut of_queue_pair = QueuePairConfig::default();
    if let Some(capacity) = more.get(1) {
        of_queue_pair.capacity = capacity.parse()?;
    }
    let lcore = Lcore::new(Config::default());
    lcore.add_queue_pair(device.queue_pair(of_queue_pair)?);
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    listener.set_nonblocking(true)?;

    static STOP: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        STOP.store(true, Ordering::Relaxed);
    });
    let mut peers: HashMap<u64, Peer> = HashMap::new();
    let mut accepted = 0;
    while !STOP.load(Ordering::Relaxed) {
        lcore.poll()?;
        while let Some(name) = lcore.next_ready() {
            step(&mut peers, &lcore, name);
        }
        let idle: Vec<u64> = peers
            .iter()
            .filter(|(_, peer)| !peer.waits)
            .map(|(&name, _)| name)
            .collect();
        for name in idle {
            step(&mut peers, &lcore, Conn(name));
        }
        if peers.len() < MOST
            && let Ok((socket, _)) = listener.accept()
        {
            socket.set_nonblocking(true)?;
            accepted += 1;
            let mut conn = Ssl::server(&ctx)?;
            conn.attach(&lcore, Conn(accepted));
            let (waits, closing, text) = (false, false, Vec::new());
            peers.insert(
                accepted,
                Peer {
                    socket,
                    conn,
                    waits,
                    closing,
                    text,
                },
            );
            step(&mut peers, &lcore, Conn(accepted));
        }
    }
    let counts = lcore.stats().channels.swap_remove(0).counts;
    println!(
        "accepted {accepted} enqueued {} refused {}",
        counts.enqueued, counts.refused
    );
    Ok(())
}

/// Has the client called `name` go on, if it is still there.
fn step(peers: &mut HashMap<u64, Peer>, lcore: &Lcore, name: Conn) {
    if let Some(peer) = peers.get_mut(&name.0)
        && peer.drive(lcore, name) == Next::Gone
    {
        // Whatever is paused unwinds, and nobody is told of it any more.
        peers.remove(&name.0);
        lcore.forget(name);
    }
}
