//! The built-in HTTP/1.1 responder (RFC 9112): answers GET and HEAD, keeps connections alive,
//! takes requests in a pipeline. For trying TLS out without a backend.

use super::buffer::Buffer;

/// A request's line and headers, in bytes; less than a buffer.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// No response is longer.
const MAX_RESPONSE: usize = 512;

const BODY: &str = "hello from spinlane\n";

/// One connection's state.
#[derive(Debug, Default)]
pub struct Responder {
    closing: bool,
    has_answered: bool,
    /// Bytes of an incomplete request that were read already, and in vain.
    seen: usize,
}

/// What reading a request came to.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// More bytes are needed.
    Partial,
    /// A request of this many bytes, and what it wants.
    Whole {
        len: usize,
        status: Status,
        head_only: bool,
        keep_alive: bool,
    },
    /// Not a request that can be answered; nothing after it can be understood.
    Bad(Status),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    BadRequest,
    MethodNotAllowed,
    HeadTooLarge,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
        }
    }
}

impl Responder {
    /// Answers the requests in `up`, as far as `down` has room. `up_ended`: no more will come;
    /// `stopping`: let every answer be the connection's last; who has not asked yet may still. Returns how
    /// many were answered.
    pub fn work(
        &mut self,
        up: &mut Buffer,
        up_ended: bool,
        down: &mut Buffer,
        stopping: bool,
    ) -> u64 {
        let mut answered = 0;
        while !self.closing && down.room_len() >= MAX_RESPONSE {
            let unread = up.unread();
            let request = if unread.len() == self.seen {
                Request::Partial
            } else {
                read_request(unread)
            };
            self.seen = 0;
            match request {
                Request::Partial => {
                    self.seen = unread.len();
                    self.closing = up_ended || (stopping && self.has_answered && up.is_empty());
                    break;
                }
                Request::Whole {
                    len,
                    status,
                    head_only,
                    keep_alive,
                } => {
                    up.consume(len);
                    self.closing = !keep_alive || stopping;
                    down.push(response(status, head_only, self.closing).as_bytes());
                }
                Request::Bad(status) => {
                    self.closing = true;
                    down.push(response(status, false, true).as_bytes());
                }
            }
            answered += 1;
            self.has_answered = true;
        }
        answered
    }

    /// Whether nothing more will be answered.
    pub fn is_closing(&self) -> bool {
        self.closing
    }
}

fn read_request(bytes: &[u8]) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Request::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Request::Bad(Status::HeadTooLarge);
        }
        Err(_) => return Request::Bad(Status::BadRequest),
    };
    if len > MAX_HEAD {
        return Request::Bad(Status::HeadTooLarge);
    }
    let is_1_1 = request.version == Some(1);
    if is_1_1 && header(&request, "host").is_none() {
        return Request::Bad(Status::BadRequest);
    }
    let connection = header(&request, "connection").unwrap_or("");
    let asks = |option: &str| {
        connection
            .split(',')
            .any(|token| token.trim().eq_ignore_ascii_case(option))
    };
    // A body is not read, so nothing after it would be understood.
    let has_body = header(&request, "transfer-encoding").is_some()
        || header(&request, "content-length").is_some_and(|length| length.trim() != "0");
    let method = request.method.unwrap_or("");
    let status = if matches!(method, "GET" | "HEAD") {
        Status::Ok
    } else {
        Status::MethodNotAllowed
    };
    let keep_alive = !has_body
        && if is_1_1 {
            !asks("close")
        } else {
            asks("keep-alive")
        };
    Request::Whole {
        len,
        status,
        head_only: method == "HEAD",
        keep_alive,
    }
}

/// A header's value, if it is text.
fn header<'a>(request: &httparse::Request<'_, 'a>, name: &str) -> Option<&'a str> {
    let found = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok()
}

fn response(status: Status, head_only: bool, close: bool) -> String {
    let line = status.line();
    let body = if status == Status::Ok {
        BODY.to_owned()
    } else {
        format!("{line}\n")
    };
    let allow = if status == Status::MethodNotAllowed {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let connection = if close { "close" } else { "keep-alive" };
    format!(
        "HTTP/1.1 {line}\r\nServer: spinlane\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         {allow}Connection: {connection}\r\n\r\n{}",
        body.len(),
        if head_only { "" } else { &body },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything answered to `request`, and whether the connection is to be closed.
    fn answer(request: &[u8], ended: bool) -> (String, bool) {
        let (mut up, mut down, mut responder) =
            (Buffer::default(), Buffer::default(), Responder::default());
        assert_eq!(up.push(request), request.len());
        responder.work(&mut up, ended, &mut down, false);
        (
            String::from_utf8(down.unread().to_vec()).unwrap(),
            responder.is_closing(),
        )
    }

    #[test]
    fn answers_a_pipeline_and_keeps_the_connection() {
        let (text, closing) = answer(
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET",
            false,
        );
        assert!(!closing);
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2);
        assert_eq!(text.matches(BODY).count(), 1, "HEAD has no body");
        assert_eq!(text.matches("Content-Length: 20").count(), 2);
    }

    #[test]
    fn closes_when_told_or_when_it_cannot_go_on() {
        for (request, status, closes) in [
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n",
                "200",
                true,
            ),
            ("GET / HTTP/1.0\r\n\r\n", "200", true),
            (
                "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                "200",
                false,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                "405",
                true,
            ),
            ("GET / HTTP/1.1\r\n\r\n", "400", true),
            ("\u{1}\u{2}\r\n\r\n", "400", true),
        ] {
            let (text, closing) = answer(request.as_bytes(), false);
            assert!(
                text.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request:?}: {text}"
            );
            assert_eq!(closing, closes, "{request:?}");
            assert_eq!(text.contains("Connection: close"), closes, "{request:?}");
        }
        assert_eq!(answer(b"GET / HT", true), (String::new(), true));
    }

    #[test]
    fn who_has_not_asked_when_it_stops_may_ask_once() {
        let (mut up, mut down, mut responder) =
            (Buffer::default(), Buffer::default(), Responder::default());
        let mut work = |request: &[u8]| {
            up.push(request);
            responder.work(&mut up, false, &mut down, true);
            responder.is_closing()
        };
        assert!(!work(b""));
        assert!(!work(b"GET / HTTP/1.1\r\n"));
        assert!(work(b"Host: a\r\n\r\n"));
        let text = String::from_utf8(down.unread().to_vec()).unwrap();
        assert!(text.contains("Connection: close"), "{text}");
    }

    #[test]
    fn who_has_been_answered_is_let_go_when_it_stops() {
        let (mut up, mut down, mut responder) =
            (Buffer::default(), Buffer::default(), Responder::default());
        up.push(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        responder.work(&mut up, false, &mut down, false);
        assert!(!responder.is_closing());
        responder.work(&mut up, false, &mut down, true);
        assert!(responder.is_closing());
    }

    #[test]
    fn a_head_is_bounded() {
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(MAX_HEAD));
        assert!(
            answer(long.as_bytes(), false)
                .0
                .starts_with("HTTP/1.1 431 ")
        );
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "X: y\r\n".repeat(MAX_HEADERS + 1)
        );
        assert!(
            answer(many.as_bytes(), false)
                .0
                .starts_with("HTTP/1.1 431 ")
        );
    }

    #[test]
    fn a_full_output_stops_the_pipeline_until_there_is_room() {
        let (mut up, mut down, mut responder) =
            (Buffer::default(), Buffer::default(), Responder::default());
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for _ in 0..400 {
            up.push(request);
        }
        let first = responder.work(&mut up, true, &mut down, false);
        assert!(first > 0 && !up.is_empty() && !responder.is_closing());
        let mut answered = first;
        while !responder.is_closing() {
            down.clear();
            answered += responder.work(&mut up, true, &mut down, false);
        }
        assert_eq!(answered, 400);
    }
}
