//! As much of HTTP/1.1 (RFC 9112) as a scraper needs: one GET per connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;
use prometheus::TEXT_FORMAT;

/// A request has this long to arrive, and its answer to leave.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest request head, in bytes.
const MAX_HEAD: usize = 8192;
/// Most header fields.
const MAX_FIELDS: usize = 64;
/// Where the counters are.
const PATH: &str = "/metrics";

/// Answers the request on `socket`, with what `text` returns if it asks for the counters. Whatever
/// goes wrong ends this connection only.
pub fn answer(socket: &TcpStream, text: impl FnOnce() -> Result<String>) {
    if let Err(error) = try_answer(socket, text) {
        tracing::debug!("--metrics: {error}");
    }
}

fn try_answer(
    mut socket: &TcpStream,
    text: impl FnOnce() -> Result<String>,
) -> std::io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let (status, kind, body) = match read_target(socket)? {
        Ok(path) if path == PATH => match text() {
            Ok(text) => ("200 OK", TEXT_FORMAT, text),
            Err(error) => (
                "500 Internal Server Error",
                "text/plain",
                format!("{error:#}\n"),
            ),
        },
        Ok(_) => ("404 Not Found", "text/plain", format!("see {PATH}\n")),
        Err(refusal) => (refusal, "text/plain", format!("GET {PATH}\n")),
    };
    write!(
        socket,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    socket.flush()
}

/// Reads a request up to the end of its head: the path it asks for, or the status to refuse it with.
fn read_target(mut socket: &TcpStream) -> std::io::Result<Result<String, &'static str>> {
    const BAD: Result<String, &str> = Err("400 Bad Request");
    let deadline = Instant::now() + PATIENCE;
    let (mut head, mut filled) = ([0; MAX_HEAD], 0);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Err("408 Request Timeout"));
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut head[filled..])? {
            0 => return Ok(BAD),
            count => filled += count,
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&head[..filled]) {
            Ok(httparse::Status::Complete(_)) => {
                let (method, target) = (request.method, request.path.unwrap_or_default());
                let path = target.split('?').next().unwrap_or_default();
                return Ok(match method {
                    Some("GET") => Ok(path.to_owned()),
                    _ => Err("405 Method Not Allowed"),
                });
            }
            Ok(httparse::Status::Partial) if filled < MAX_HEAD => {}
            Ok(httparse::Status::Partial) | Err(_) => return Ok(BAD),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What a client gets that sends `request`.
    fn ask(request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || answer(&server, || Ok("counters\n".to_owned())));
            client.write_all(request).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut said = String::new();
            // A refused request that was not read to its end may reset the connection.
            let _ = client.read_to_string(&mut said);
            said
        })
    }

    #[test]
    fn counters_are_under_metrics_and_nowhere_else() {
        let said = ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        assert!(
            said.contains("Content-Type: text/plain; version=0.0.4\r\n"),
            "{said}"
        );
        assert!(said.contains("Content-Length: 9\r\n") && said.ends_with("\r\n\r\ncounters\n"));
        assert!(ask(b"GET /metrics?x=1 HTTP/1.0\r\n\r\n").contains(" 200 "));
        assert!(ask(b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for noise in [&b"\x16\x03\x01\x02\x00"[..], b"GET /metrics HT", b""] {
            assert!(ask(noise).starts_with("HTTP/1.1 400 "));
        }
        let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; MAX_HEAD]].concat();
        assert!(!ask(&endless).contains(" 200 "));
    }
}
