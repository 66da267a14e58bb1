//! An HTTPS server:  cargo run --release --example hello -- server.crt server.key 8443
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use spinlane::rustls::{Connection, server_config};
use spinlane::{Config, Conn, Lcore, Progress};

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut arg = || args.next().ok_or("usage: hello CERT KEY PORT");
    let config = server_config(&std::fs::read(arg()?)?, &std::fs::read(arg()?)?)?;
    let (config, lcore) = (Arc::new(config), Lcore::new(Config::default()));
    lcore.add_queue_pair(spinlane::device::open("auto")?.queue_pair(Default::default())?);
    let listener = TcpListener::bind(("127.0.0.1", arg()?.parse()?))?;
    for socket in listener.incoming() {
        let mut socket = socket?; // one after the other; echo_rustls.rs serves many
        let mut conn = Connection::server(Arc::clone(&config))?;
        conn.attach(&lcore, Conn(1));
        loop {
            // A paused call may be made again at any time: with one connection there is no need to ask when.
            lcore.poll()?;
            let progress = conn.read(&mut [0; 4096]);
            if let Ok(Progress::Done(_)) = progress {
                conn.write(REPLY)?;
                conn.shutdown();
            }
            let _ = conn.write_output(|bytes| socket.write(bytes)); // an alert, if the call has failed
            match progress {
                Ok(Progress::Done(_) | Progress::Closed) | Err(_) => break,
                Ok(Progress::WantInput) if conn.read_input(|room| socket.read(room))? == 0 => break,
                Ok(_) => {}
            }
        }
    }
    Ok(())
}
