//! What it costs to have another core compute: the hop, and the client's poll.
//!
//! - *hop*: ops to a crypto core and back by two rings, with an inner device that does nothing: the
//!   whole round trip, and of it the client's two calls, which is what its core pays.
//! - *poll iteration*: how long a client lcore's iterations take (poll, resume what is ready, submit)
//!   while batches of RSA-4096 run; by `lookaside`, and by the same device inline. In CPU time of the
//!   thread, so that a neighbour on the core is not taken for ours.
//!
//! `cargo bench -p spinlane-benches --bench lookaside`; wants two cores that nothing else uses.
//! Figures of the hop are per burst, and `thrpt` per op.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hdrhistogram::Histogram;
use spinlane::device;
use spinlane_benches::connection::Connection;
use spinlane_benches::cores;
use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys::rsa;
use spinlane_cryptodev::{
    Burst, Capabilities, Device, DeviceError, DeviceStats, KeyHandle, Op, OpStatus, QueuePair,
    QueuePairConfig, Request, Token,
};
use spinlane_driver_lookaside::{LookasideDevice, Settings};
use spinlane_job as job;
use spinlane_lcore::{Config, Conn, Lcore, offload};

const BURSTS: [usize; 3] = [1, 8, 32];
/// Connections whose ops are in flight during the poll iterations: four batches.
const CONNECTIONS: usize = 32;
/// How long poll iterations are looked at, per device.
const WATCH: Duration = Duration::from_secs(4);

/// A device whose ops are done at once.
struct Nothing;

struct NothingPair(Burst);

impl Device for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        Ok(Box::new(NothingPair(Burst::with_capacity(config.capacity))))
    }
}

impl QueuePair for NothingPair {
    fn name(&self) -> &str {
        "nothing"
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let count = ops.len();
        self.0.append(ops);
        count
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, _now_ns: u64) -> usize {
        let count = self.0.len().min(max);
        done.extend(self.0.drain(..count).map(|mut op| {
            op.status = OpStatus::Success;
            op
        }));
        count
    }

    fn flush(&mut self) {}

    fn stats(&self) -> DeviceStats {
        DeviceStats::default()
    }
}

fn hop(c: &mut Criterion, peer: usize) {
    let device = LookasideDevice::new(Box::new(Nothing), &[peer], Settings::default());
    let device = device.expect("a core of its own");
    let mut queue_pair = device
        .queue_pair(QueuePairConfig::default())
        .expect("it runs");
    for (name, whole) in [
        ("lookaside hop", true),
        ("lookaside hop, client's calls", false),
    ] {
        let mut group = c.benchmark_group(name);
        for size in BURSTS {
            group.throughput(Throughput::Elements(size as u64));
            let mut ops: Burst = (0..size as u64).map(op).collect();
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter_custom(|count| {
                    (0..count)
                        .map(|_| round_trip(&mut *queue_pair, &mut ops, whole))
                        .sum()
                });
            });
        }
        group.finish();
    }
}

fn op(token: u64) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(Token(token), &Request::x25519_keygen(&[1; 32]), 0);
    op
}

/// Sends `ops` and gets them back. Returns how long it took, or the two calls of it that did
/// something, less what taking the time costs.
fn round_trip(queue_pair: &mut dyn QueuePair, ops: &mut Burst, whole: bool) -> Duration {
    let size = ops.len();
    let start = Instant::now();
    queue_pair.enqueue_burst(ops);
    let mut calls = start.elapsed();
    while ops.len() < size {
        let before = ops.len();
        let call = Instant::now();
        queue_pair.dequeue_burst(ops, size, 0);
        if ops.len() > before {
            calls += call.elapsed();
        }
    }
    let took = if whole { start.elapsed() } else { calls };
    took.saturating_sub(clock_cost() * if whole { 1 } else { 2 })
}

/// What it costs to take the time twice.
fn clock_cost() -> Duration {
    static COST: std::sync::LazyLock<Duration> = std::sync::LazyLock::new(|| {
        let mut empty = [Duration::ZERO; 1001];
        empty.fill_with(|| Instant::now().elapsed());
        empty.sort_unstable();
        empty[empty.len() / 2]
    });
    *COST
}

/// The CPU time of this thread: a neighbour that takes the core for a while does not count.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a live timespec, which the call fills.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What it costs to read that twice.
fn thread_cpu_cost() -> Duration {
    static COST: std::sync::LazyLock<Duration> = std::sync::LazyLock::new(|| {
        let mut empty = [Duration::ZERO; 1001];
        empty.fill_with(|| {
            let begin = thread_cpu();
            thread_cpu() - begin
        });
        empty.sort_unstable();
        empty[empty.len() / 2]
    });
    *COST
}

/// Jobs that submit one RSA-4096 op after the other, with the least front-end there is.
struct Connections {
    lcore: Lcore,
    stop: Rc<Cell<bool>>,
    all: Vec<Connection>,
}

impl Connections {
    /// On `lcore`, which is the current one.
    fn new(lcore: &Lcore, key: &Arc<KeyHandle>) -> Self {
        let stop = Rc::new(Cell::new(false));
        let start = |id| {
            let (key, block) = (Arc::clone(key), [0x21; 512]);
            Connection::start(Conn(id), &stop, move || {
                let request = Request::rsa_private(&key, &block).expect("below the modulus");
                offload(&request, &mut [0; 512]).expect("a device");
            })
        };
        Self {
            lcore: lcore.clone(),
            all: (0..CONNECTIONS as u64).map(start).collect(),
            stop,
        }
    }

    /// One iteration; returns how many connections it resumed.
    fn iterate(&self) -> usize {
        self.lcore.poll().expect("not called from a job");
        let mut resumed = 0;
        while let Some(Conn(id)) = self.lcore.next_ready() {
            self.all[id as usize].resume();
            resumed += 1;
        }
        resumed
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.stop.set(true);
        while self.lcore.in_flight() > 0 {
            self.iterate();
        }
    }
}

/// Prints how long iterations take with this device.
fn poll_iterations(spec: &str, key: &Arc<KeyHandle>) {
    let device = device::open(spec).expect("a spec that is right");
    let lcore = Lcore::new(Config::default());
    let queue_pair = device.queue_pair(QueuePairConfig::default());
    lcore.add_queue_pair(queue_pair.expect("it runs"));
    let _entered = lcore.enter();
    let connections = Connections::new(&lcore, key);
    let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("constants");
    let (mut all, mut busy) = (histogram(), histogram());
    let mut ops = 0;
    let start = Instant::now();
    while start.elapsed() < WATCH {
        let begin = thread_cpu();
        let resumed = connections.iterate();
        let took = (thread_cpu() - begin).saturating_sub(thread_cpu_cost());
        let took = took.as_nanos() as u64;
        all.saturating_record(took.max(1));
        if resumed > 0 {
            busy.saturating_record(took.max(1));
        }
        ops += resumed;
    }
    let rate = ops as f64 / start.elapsed().as_secs_f64();
    for (name, histogram) in [("all", &all), ("with completions", &busy)] {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{:<22}{name:<18}{:>12}{:>11.2}{:>11.2}{:>11.2}{:>12.1}{rate:>10.0}",
            device.name(),
            histogram.len(),
            us(0.5),
            us(0.99),
            us(0.999),
            histogram.max() as f64 / 1e3,
        );
    }
}

fn lookaside(c: &mut Criterion) {
    let peer = match cores().expect("checked when pinning").peer {
        Some(peer) => peer.id,
        None => return eprintln!("lookaside: skipped, it wants a second core"),
    };
    hop(c, peer);
    println!(
        "\npoll iterations of a client lcore, {CONNECTIONS} RSA-4096 ops in flight, times in us"
    );
    println!(
        "{:<22}{:<18}{:>12}{:>11}{:>11}{:>11}{:>12}{:>10}",
        "device", "iterations", "count", "p50", "p99", "p99.9", "max", "ops/s"
    );
    let key = rsa(der::RSA_4096);
    job::init_thread(CONNECTIONS, CONNECTIONS).expect("a pool of jobs");
    let inner = device::open("auto")
        .expect("there is always one")
        .name()
        .to_owned();
    poll_iterations(&format!("lookaside:{inner}@{peer}"), &key);
    poll_iterations(&inner, &key);
}

criterion_group! {
    name = benches;
    config = spinlane_benches::pinned();
    targets = lookaside
}
criterion_main!(benches);
