//! A server of bytes on our stack, for curl.

use std::process::Child;
use std::time::{Duration, Instant as Clock};

use spinlane_net::{Config, FlowId, FrameIo, Instant, Interface, ListenerId, Mac, Stack};

/// Longer than anything here takes, on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A responder on our stack: whatever the question, an answer of so many bytes, and then the end.
pub struct Responder<F: FrameIo> {
    pub stack: Stack<F>,
    listener: ListenerId,
    begun: Clock,
    answers: Vec<Answer>,
    /// The body that is asked for, which takes longer to make than to send.
    pub body: Vec<u8>,
    pub served: usize,
}

struct Answer {
    id: FlowId,
    left: Vec<u8>,
    /// Bytes of it that the stack has taken.
    sent: usize,
    asked: Vec<u8>,
}

pub fn body(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at * 2_654_435_761) >> 13) as u8)
        .collect()
}

impl<F: FrameIo + std::fmt::Debug> Responder<F> {
    pub fn on(pair: F, mac: Mac) -> Self {
        let interface = |address: &str, prefix| Interface {
            address: address.parse().unwrap(),
            prefix,
        };
        let mut config = Config::new(mac, interface("10.77.0.2", 24), [9; 48]);
        config.interfaces.push(interface("fd77::2", 64));
        let mut stack = Stack::new(config, pair).unwrap();
        let listener = stack.listen("[::]:80".parse().unwrap()).unwrap();
        Self {
            stack,
            listener,
            begun: Clock::now(),
            answers: Vec::new(),
            body: Vec::new(),
            served: 0,
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.begun.elapsed().as_micros() as u64 + 1_000_000)
    }

    pub fn turn(&mut self) {
        let now = self.now();
        self.stack.receive(now, |_, _| 0);
        while let Some(id) = self.stack.accept(self.listener) {
            self.answers.push(Answer {
                id,
                left: Vec::new(),
                sent: 0,
                asked: Vec::new(),
            });
        }
        let (stack, served, body) = (&mut self.stack, &mut self.served, &mut self.body);
        self.answers.retain_mut(|answer| {
            let done = answer.turn(stack, body);
            *served += usize::from(done);
            !done
        });
        self.stack.transmit(now);
    }

    /// Serves until `client` has ended, and gives what it printed.
    pub fn serve(&mut self, client: Child) -> Vec<u8> {
        let begun = Clock::now();
        let reader = std::thread::spawn(|| client.wait_with_output());
        while !reader.is_finished() {
            self.turn();
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.stack);
        }
        let output = reader.join().unwrap().unwrap();
        assert!(
            output.status.success(),
            "{output:?}, {:?}",
            self.stack.counters()
        );
        output.stdout
    }
}

impl Answer {
    /// Returns `true` if the connection is done with.
    fn turn(&mut self, stack: &mut Stack<impl FrameIo>, whole: &mut Vec<u8>) -> bool {
        let asked = &mut self.asked;
        stack.read(self.id, |parts| {
            let bytes = parts.concat();
            asked.extend_from_slice(&bytes);
            bytes.len()
        });
        if self.asked.ends_with(b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&self.asked).into_owned();
            let path = text.split([' ', '/']).nth(2).unwrap_or_default();
            let len = path.parse().unwrap_or(0);
            self.left = format!("HTTP/1.0 200 OK\r\nContent-Length: {len}\r\n\r\n").into_bytes();
            if whole.len() != len {
                *whole = body(len);
            }
            self.left.extend_from_slice(whole);
            self.asked.clear();
        }
        if self.sent < self.left.len() {
            self.sent += stack.write(self.id, &self.left[self.sent..]);
            if self.sent == self.left.len() {
                stack.close(self.id);
            }
        }
        let over = stack.end(self.id).is_some() || stack.peer_finished(self.id);
        let is_done = over && self.sent == self.left.len();
        if is_done {
            stack.release(self.id);
        }
        is_done
    }
}
