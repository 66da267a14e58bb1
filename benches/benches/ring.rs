//! The ring beside rtrb's and crossbeam-queue's `ArrayQueue`, which is for
//! many producers and consumers and has no burst.
//!
//! `cargo bench -p spinlane-benches --bench ring`; figures are per burst, and
//! `thrpt` per value.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use criterion::{criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use spinlane_benches::{cores, pin_to};

const CAPACITY: usize = 1024;
const BURSTS: [usize; 3] = [1, 8, 32];

/// One end that puts values in and one that takes them out, by bursts.
trait Push: Send {
    /// Pushes from the front of `burst` what fits.
    fn push_burst(&mut self, burst: &mut VecDeque<u64>);
}
trait Pop: Send {
    /// Pops at most `max` values to the end of `popped`.
    fn pop_burst(&mut self, popped: &mut VecDeque<u64>, max: usize);
}

impl Push for spinlane_ring::Producer<u64> {
    fn push_burst(&mut self, burst: &mut VecDeque<u64>) {
        self.push_burst(burst);
    }
}
impl Pop for spinlane_ring::Consumer<u64> {
    fn pop_burst(&mut self, popped: &mut VecDeque<u64>, max: usize) {
        popped.extend(self.pop_burst(max));
    }
}

/// rtrb asks how many slots are free only when there are too few.
impl Push for rtrb::Producer<u64> {
    fn push_burst(&mut self, burst: &mut VecDeque<u64>) {
        let count = match self.write_chunk_uninit(burst.len()) {
            Ok(chunk) => {
                chunk.fill_from_iter(burst.drain(..));
                return;
            }
            Err(rtrb::chunks::ChunkError::TooFewSlots(count)) => count,
        };
        if let Ok(chunk) = self.write_chunk_uninit(count) {
            chunk.fill_from_iter(burst.drain(..count));
        }
    }
}
impl Pop for rtrb::Consumer<u64> {
    fn pop_burst(&mut self, popped: &mut VecDeque<u64>, max: usize) {
        let count = match self.read_chunk(max) {
            Ok(chunk) => return popped.extend(chunk),
            Err(rtrb::chunks::ChunkError::TooFewSlots(count)) => count,
        };
        if let Ok(chunk) = self.read_chunk(count) {
            popped.extend(chunk);
        }
    }
}

impl Push for &ArrayQueue<u64> {
    fn push_burst(&mut self, burst: &mut VecDeque<u64>) {
        while let Some(&value) = burst.front() {
            if self.push(value).is_err() {
                break;
            }
            burst.pop_front();
        }
    }
}
impl Pop for &ArrayQueue<u64> {
    fn pop_burst(&mut self, popped: &mut VecDeque<u64>, max: usize) {
        popped.extend((0..max).map_while(|_| self.pop()));
    }
}

/// One thread pushes a value and pops it, one at a time.
fn single(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring single round trip");
    group.throughput(Throughput::Elements(1));

    let (mut producer, mut consumer) = spinlane_ring::ring(CAPACITY).expect("a power of two");
    group.bench_function("spinlane", |b| {
        b.iter(|| (producer.push(1_u64).is_ok(), consumer.pop()));
    });
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(CAPACITY);
    group.bench_function("rtrb", |b| {
        b.iter(|| (producer.push(1_u64).is_ok(), consumer.pop()));
    });
    let queue = ArrayQueue::new(CAPACITY);
    group.bench_function("ArrayQueue", |b| {
        b.iter(|| (queue.push(1_u64).is_ok(), queue.pop()));
    });
    group.finish();
}

/// One thread pushes a burst and pops it.
fn burst(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring burst round trip");
    for size in BURSTS {
        let (producer, consumer) = spinlane_ring::ring(CAPACITY).expect("a power of two");
        round_trip(&mut group, "spinlane", size, producer, consumer);
        let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
        round_trip(&mut group, "rtrb", size, producer, consumer);
        let queue = ArrayQueue::new(CAPACITY);
        round_trip(&mut group, "ArrayQueue", size, &queue, &queue);
    }
    group.finish();
}

fn round_trip(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    size: usize,
    mut producer: impl Push,
    mut consumer: impl Pop,
) {
    group.throughput(Throughput::Elements(size as u64));
    let mut values = (0..size as u64).collect::<VecDeque<_>>();
    group.bench_function(BenchmarkId::new(name, size), |b| {
        b.iter(|| {
            producer.push_burst(&mut values);
            consumer.pop_burst(&mut values, size);
        });
    });
    assert_eq!(values.len(), size);
}

/// One thread pushes bursts as fast as it can, the bench thread pops them.
/// Wants two cores that nothing else uses; figures are per value.
fn two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring two threads");
    group.throughput(Throughput::Elements(1));
    for size in BURSTS {
        group.bench_function(BenchmarkId::new("spinlane", size), |b| {
            b.iter_custom(|count| {
                let (producer, consumer) = spinlane_ring::ring(CAPACITY).expect("a power of two");
                transfer(count, size, producer, consumer)
            });
        });
        group.bench_function(BenchmarkId::new("rtrb", size), |b| {
            b.iter_custom(|count| {
                let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
                transfer(count, size, producer, consumer)
            });
        });
        group.bench_function(BenchmarkId::new("ArrayQueue", size), |b| {
            b.iter_custom(|count| {
                let queue = ArrayQueue::new(CAPACITY);
                transfer(count, size, &queue, &queue)
            });
        });
    }
    group.finish();
}

/// Passes `count` values from a thread on the peer core to this one.
fn transfer(count: u64, size: usize, mut producer: impl Push, mut consumer: impl Pop) -> Duration {
    let peer = cores().expect("checked when pinning").peer;
    let started = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin_to(peer.expect("checked by main")).expect("a peer core");
            let mut burst = VecDeque::with_capacity(size);
            started.store(true, Ordering::Release);
            let mut pushed = 0;
            while pushed < count || !burst.is_empty() {
                let end = (pushed + (size - burst.len()) as u64).min(count);
                burst.extend(pushed..end);
                pushed = end;
                producer.push_burst(&mut burst);
                if !burst.is_empty() {
                    spin_loop();
                }
            }
        });
        while !started.load(Ordering::Acquire) {
            spin_loop();
        }
        let start = Instant::now();
        let mut popped = VecDeque::with_capacity(size);
        let mut received = 0;
        while received < count {
            consumer.pop_burst(&mut popped, size);
            if popped.is_empty() {
                spin_loop();
            }
            received += popped.len() as u64;
            popped.clear();
        }
        start.elapsed()
    })
}

fn two_threads_if_possible(c: &mut Criterion) {
    match cores() {
        Ok(cores) if cores.peer.is_some() => two_threads(c),
        _ => eprintln!("ring two threads: skipped, it wants a second core"),
    }
}

criterion_group! {
    name = benches;
    config = spinlane_benches::pinned();
    targets = single, burst, two_threads_if_possible
}
criterion_main!(benches);
