//! As much of HTTP/1.1 (RFC 9112) as a scraper needs: one GET per connection, without ever waiting
//! for a client.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use prometheus::TEXT_FORMAT;

/// A request has this long to arrive, and its answer to leave.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest request head, in bytes.
const MAX_HEAD: usize = 8192;
/// Most header fields.
const MAX_FIELDS: usize = 64;
/// Where the counters are.
const PATH: &str = "/metrics";
/// Where balancers ask whether to send clients here.
const READY: &str = "/ready";

/// A client's connection.
pub struct Exchange {
    socket: TcpStream,
    head: Vec<u8>,
    /// What is still to be sent, once the request has been understood.
    answer: Option<io::Cursor<Vec<u8>>>,
    deadline: Instant,
}

/// The path that is asked for, or the status to refuse the request with.
type Asked = Result<String, &'static str>;

impl Exchange {
    /// A connection just accepted.
    ///
    /// # Errors
    /// The socket is none.
    pub fn new(socket: TcpStream, now: Instant) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            head: Vec::new(),
            answer: None,
            deadline: now + PATIENCE,
        })
    }

    /// Does what can be done without waiting; answers with what `text` returns if the counters are
    /// asked for, or whether clients are served. Returns whether it is over. Whatever goes wrong ends this connection only.
    pub fn turn(
        &mut self,
        now: Instant,
        is_ready: bool,
        text: impl FnOnce() -> Result<String, String>,
    ) -> bool {
        self.try_turn(now, is_ready, text).unwrap_or_else(|error| {
            tracing::debug!("--metrics: {error}");
            true
        })
    }

    fn try_turn(
        &mut self,
        now: Instant,
        is_ready: bool,
        text: impl FnOnce() -> Result<String, String>,
    ) -> io::Result<bool> {
        let is_late = now >= self.deadline;
        if self.answer.is_none() {
            let asked = match self.receive()? {
                Some(asked) => asked,
                None if is_late => Err("408 Request Timeout"),
                None => return Ok(false),
            };
            self.answer = Some(io::Cursor::new(answer(asked, is_ready, text)));
            self.deadline = now + PATIENCE;
        } else if is_late {
            return Ok(true);
        }
        self.send()
    }

    /// Reads what has come of the request; `None` if more is to come.
    fn receive(&mut self) -> io::Result<Option<Asked>> {
        let mut block = [0; MAX_HEAD];
        loop {
            let room = MAX_HEAD - self.head.len();
            match self.socket.read(&mut block[..room]) {
                Ok(0) => return Ok(Some(Err("400 Bad Request"))),
                Ok(count) => self.head.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some(asked) = understand(&self.head) {
                return Ok(Some(asked));
            }
        }
    }

    /// Returns whether all of the answer is with the socket.
    fn send(&mut self) -> io::Result<bool> {
        let Some(answer) = &mut self.answer else {
            return Ok(false);
        };
        match io::copy(answer, &mut self.socket) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// `None` if the head is not all there and may become one.
fn understand(head: &[u8]) -> Option<Asked> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {
            let (method, target) = (request.method, request.path.unwrap_or_default());
            let path = target.split('?').next().unwrap_or_default();
            Some(match method {
                Some("GET") => Ok(path.to_owned()),
                _ => Err("405 Method Not Allowed"),
            })
        }
        Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => None,
        Ok(httparse::Status::Partial) | Err(_) => Some(Err("400 Bad Request")),
    }
}

fn answer(asked: Asked, is_ready: bool, text: impl FnOnce() -> Result<String, String>) -> Vec<u8> {
    let (status, kind, body) = match asked {
        Ok(path) if path == READY => match is_ready {
            true => ("200 OK", "text/plain", "ready\n".to_owned()),
            false => (
                "503 Service Unavailable",
                "text/plain",
                "stopping\n".to_owned(),
            ),
        },
        Ok(path) if path == PATH => match text() {
            Ok(text) => ("200 OK", TEXT_FORMAT, text),
            Err(error) => (
                "500 Internal Server Error",
                "text/plain",
                format!("{error}\n"),
            ),
        },
        Ok(_) => ("404 Not Found", "text/plain", format!("see {PATH}\n")),
        Err(refusal) => (refusal, "text/plain", format!("GET {PATH}\n")),
    };
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What a client gets that sends `request`.
    fn ask(request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut exchange = Exchange::new(server, Instant::now()).unwrap();
                while !exchange.turn(Instant::now(), true, || Ok("counters\n".to_owned())) {
                    thread::yield_now();
                }
            });
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
    fn who_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let begin = Instant::now();
        let mut exchange = Exchange::new(server, begin).unwrap();
        let unasked = || unreachable!("nobody asks for the counters");
        assert!(!exchange.turn(begin, true, unasked));
        assert!(
            exchange.turn(begin + PATIENCE, true, unasked),
            "408 is sent, and that is all"
        );
        drop(exchange);
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
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
