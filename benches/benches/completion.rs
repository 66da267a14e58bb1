//! From a finished op to its connection's turn: lcore's inline callback beside
//! the file descriptor that OpenSSL's other way of asynchronous notice needs.
//!
//! Both say which of 256 connections may go on. By lcore: the poll takes the
//! op from the device, sets the status and calls back; the callback queues the
//! connection, and the loop takes it from the ready queue. By descriptor:
//! whoever completes the op writes to the connection's eventfd; the loop learns
//! it from `epoll_wait` and reads the eventfd to clear it. The resume that
//! follows either is not timed.
//!
//! `cargo bench -p spinlane-benches --bench completion`; figures are per
//! completion, of which `1` or `32` are found by a turn of the loop.

use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spinlane_benches::connection::Connection;
use spinlane_cryptodev::{Burst, Capabilities, DeviceStats, OpStatus, QueuePair, Request};
use spinlane_job as job;
use spinlane_lcore::{Config, Conn, Entered, Lcore, offload};

const CONNECTIONS: usize = 256;
const FOUND_PER_TURN: [usize; 2] = [1, 32];

fn completion(c: &mut Criterion) {
    let mut group = c.benchmark_group("completion");
    group.throughput(Throughput::Elements(1));
    for found in FOUND_PER_TURN {
        group.bench_function(BenchmarkId::new("lcore", found), |b| {
            let connections = Connections::new(found);
            b.iter_custom(|count| per_completion(count, found, || connections.turn()));
        });
        group.bench_function(BenchmarkId::new("eventfd+epoll_wait", found), |b| {
            let mut eventfds = Eventfds::new().expect("256 eventfds and an epoll");
            b.iter_custom(|count| per_completion(count, found, || eventfds.turn(found)));
        });
    }
    group.finish();
}

/// The time of `count` completions, by turns that return their own time.
fn per_completion(count: u64, found: usize, mut turn: impl FnMut() -> Duration) -> Duration {
    let turns = count.div_ceil(found as u64);
    let total = (0..turns).map(|_| turn()).sum::<Duration>();
    total.mul_f64(count as f64 / (turns * found as u64) as f64)
}

/// How long `work` takes, less what taking the time does: a turn that finds one
/// completion is not much longer than that.
fn timed(work: impl FnOnce()) -> Duration {
    static OVERHEAD: LazyLock<Duration> = LazyLock::new(|| {
        let mut empty = [Duration::ZERO; 1001];
        empty.fill_with(|| Instant::now().elapsed());
        empty.sort_unstable();
        empty[empty.len() / 2]
    });
    let overhead = *OVERHEAD;
    let start = Instant::now();
    work();
    start.elapsed().saturating_sub(overhead)
}

/// A device whose ops are done at once, and that gives back so many per poll.
struct DoneDevice {
    done: Burst,
    per_poll: Rc<Cell<usize>>,
}

impl QueuePair for DoneDevice {
    fn name(&self) -> &str {
        "done"
    }

    fn capacity(&self) -> usize {
        CONNECTIONS
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let count = ops.len();
        for mut op in ops.drain(..) {
            op.status = OpStatus::Success;
            self.done.push(op);
        }
        count
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, _now_ns: u64) -> usize {
        let count = self.per_poll.get().min(max).min(self.done.len());
        done.extend(self.done.drain(..count));
        count
    }

    fn flush(&mut self) {}

    fn stats(&self) -> DeviceStats {
        DeviceStats::default()
    }
}

/// Jobs that submit one op after the other, with the least front-end there is.
struct Connections {
    lcore: Lcore,
    _entered: Entered,
    per_poll: Rc<Cell<usize>>,
    stop: Rc<Cell<bool>>,
    all: Vec<Connection>,
}

impl Connections {
    fn new(found: usize) -> Self {
        let lcore = Lcore::new(Config::default());
        let per_poll = Rc::new(Cell::new(found));
        lcore.add_queue_pair(Box::new(DoneDevice {
            done: Burst::with_capacity(CONNECTIONS),
            per_poll: Rc::clone(&per_poll),
        }));
        job::init_thread(CONNECTIONS, CONNECTIONS).expect("a pool of jobs");
        let stop = Rc::new(Cell::new(false));
        let entered = lcore.enter();
        let submit = || {
            offload(&Request::x25519_keygen(&[1; 32]), &mut [0; 32]).expect("a device");
        };
        let all = (0..CONNECTIONS as u64)
            .map(|id| Connection::start(Conn(id), &stop, submit))
            .collect();
        Self {
            lcore,
            _entered: entered,
            per_poll,
            stop,
            all,
        }
    }

    /// One turn of the loop, and how long it took without the resumes, by which
    /// every connection found submits its next op.
    fn turn(&self) -> Duration {
        let mut ready = [Conn(0); CONNECTIONS];
        let mut count = 0;
        let took = timed(|| {
            self.lcore.poll().expect("not called from a job");
            while let Some(conn) = self.lcore.next_ready() {
                ready[count] = conn;
                count += 1;
            }
        });
        assert_eq!(count, self.per_poll.get());
        for Conn(id) in &ready[..count] {
            self.all[*id as usize].resume();
        }
        took
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.stop.set(true);
        while self.lcore.in_flight() > 0 {
            self.turn();
        }
    }
}

/// One eventfd per connection, all in one epoll.
struct Eventfds {
    epoll: OwnedFd,
    all: Vec<OwnedFd>,
    /// The connection whose op is completed next.
    next: usize,
}

impl Eventfds {
    fn new() -> io::Result<Self> {
        // SAFETY: no pointers; `owned` takes the new descriptor, or the error.
        let epoll = owned(unsafe { libc::epoll_create1(0) })?;
        let all = (0..CONNECTIONS as u64)
            .map(|id| {
                // SAFETY: as above.
                let eventfd = owned(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) })?;
                let mut event = libc::epoll_event {
                    events: libc::EPOLLIN as u32,
                    u64: id,
                };
                let (epoll, fd) = (epoll.as_raw_fd(), eventfd.as_raw_fd());
                // SAFETY: open descriptors and a live event, which is copied.
                checked(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) })?;
                Ok(eventfd)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            epoll,
            all,
            next: 0,
        })
    }

    /// Completes the ops of `found` connections, and returns how long it took
    /// to learn which.
    fn turn(&mut self, found: usize) -> Duration {
        let first = self.next;
        self.next = (first + found) % CONNECTIONS;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; CONNECTIONS];
        timed(|| {
            for eventfd in &self.all[first..first + found] {
                let one = 1_u64.to_ne_bytes();
                // SAFETY: an open eventfd and the eight bytes it takes.
                let count = unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), 8) };
                assert_eq!(count, 8);
            }
            let (epoll, memory) = (self.epoll.as_raw_fd(), events.as_mut_ptr());
            // SAFETY: an open epoll and room for as many events as are said.
            let ready = unsafe { libc::epoll_wait(epoll, memory, events.len() as c_int, 0) };
            assert_eq!(ready, found as c_int);
            for event in &events[..found] {
                let eventfd = self.all[event.u64 as usize].as_raw_fd();
                let mut value = [0; 8];
                // SAFETY: an open eventfd and room for its eight bytes.
                let count = unsafe { libc::read(eventfd, value.as_mut_ptr().cast(), 8) };
                assert_eq!(count, 8);
            }
        })
    }
}

/// The descriptor that a system call has just returned, or its error.
fn owned(descriptor: c_int) -> io::Result<OwnedFd> {
    checked(descriptor)?;
    // SAFETY: it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

criterion_group! {
    name = benches;
    config = spinlane_benches::pinned();
    targets = completion
}
criterion_main!(benches);
