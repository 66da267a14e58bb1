//! Idle sockets: the kernel is asked once about all of them, not about each.
//!
//! ```text
//!   rests for the first time ── add ──▶ epoll(7) ── something comes, room is made ──▶ next: its name
//! ```
//! No completion comes by it: who waits for an op is called by the lcore. A socket is watched from its connection's first rest
//! until it is closed, edge-triggered, so that resting and waking cost no system call of their own. What comes while its connection is
//! looked at anyhow is said too, and finds nobody resting.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use spinlane::Conn;

/// Sockets of which is told at most at a time; the others' turn comes with the next question.
const EVENTS: usize = 256;
/// The kernel is asked that often at most.
const EVERY_NS: u64 = 20_000;

/// The sockets of a core whose connections have rested.
pub struct Watch {
    epoll: Epoll,
    /// There has been a socket: where packets are ours there never is, and nothing to ask.
    has_any: bool,
    events: Box<[EpollEvent]>,
    named: VecDeque<Conn>,
    asked_ns: u64,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// There is no file descriptor to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            has_any: false,
            events: vec![EpollEvent::empty(); EVENTS].into(),
            named: VecDeque::with_capacity(EVENTS),
            asked_ns: 0,
        })
    }

    /// Has [`Watch::next`] name `conn` whenever something comes on `socket`, an end included, or there is room again to
    /// send, from now on until `socket` is closed.
    ///
    /// # Errors
    /// The kernel lets no more be watched, see epoll_ctl(2).
    pub fn add(&mut self, socket: BorrowedFd<'_>, conn: Conn) -> io::Result<()> {
        self.has_any = true;
        let what = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        Ok(self.epoll.add(socket, EpollEvent::new(what, conn.0))?)
    }

    /// Asks the kernel, if it is time.
    pub fn ask(&mut self, now_ns: u64) {
        if !self.has_any {
            return;
        }
        if now_ns.saturating_sub(self.asked_ns) < EVERY_NS || !self.named.is_empty() {
            return;
        }
        self.asked_ns = now_ns;
        // It fails for no set that there is, but for a signal: the next turn asks again.
        let count = self.epoll.wait(&mut self.events, EpollTimeout::ZERO);
        let named = self.events[..count.unwrap_or(0)].iter();
        self.named.extend(named.map(|event| Conn(event.data())));
    }

    /// The next connection with news.
    pub fn next(&mut self) -> Option<Conn> {
        self.named.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// The first that is named from now on.
    fn wait(watch: &mut Watch) -> Conn {
        let start = Instant::now();
        let mut now_ns = watch.asked_ns;
        while start.elapsed() < PATIENCE {
            now_ns += EVERY_NS;
            watch.ask(now_ns);
            if let Some(conn) = watch.next() {
                return conn;
            }
        }
        panic!("nobody is named");
    }

    fn is_quiet(watch: &mut Watch) -> bool {
        let now_ns = watch.asked_ns + EVERY_NS;
        watch.ask(now_ns);
        watch.next().is_none()
    }

    #[test]
    fn a_connection_is_named_when_something_comes_and_no_sooner() {
        let mut watch = Watch::new().unwrap();
        let (mut one, mut its) = pair();
        let (other, others) = pair();
        watch.add(its.as_fd(), Conn(1)).unwrap();
        watch.add(others.as_fd(), Conn(2)).unwrap();
        // There is room: each is named once.
        let mut first = [wait(&mut watch).0, wait(&mut watch).0];
        first.sort_unstable();
        assert_eq!(first, [1, 2]);
        for round in 0..3 {
            assert!(is_quiet(&mut watch), "round {round}");
            one.write_all(b"x").unwrap();
            assert_eq!(wait(&mut watch), Conn(1));
            // Also unread, it is said but once.
            assert!(is_quiet(&mut watch), "round {round}");
            its.read_exact(&mut [0]).unwrap();
        }
        // An end is news, and a socket that is closed has none.
        drop(other);
        assert_eq!(wait(&mut watch), Conn(2));
        drop(its);
        drop(one);
        assert!(is_quiet(&mut watch));
    }

    #[test]
    fn a_connection_is_named_when_there_is_room_again() {
        let mut watch = Watch::new().unwrap();
        let (mut client, mut server) = pair();
        server.set_nonblocking(true).unwrap();
        watch.add(server.as_fd(), Conn(7)).unwrap();
        assert_eq!(wait(&mut watch), Conn(7));
        let mut sent = 0;
        while let Ok(count) = server.write(&[0; 65536]) {
            sent += count;
        }
        assert!(is_quiet(&mut watch));
        let mut read = vec![0; sent];
        client.read_exact(&mut read).unwrap();
        assert_eq!(wait(&mut watch), Conn(7));
        assert!(server.write(&[0]).is_ok());
    }
}
