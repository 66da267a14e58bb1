//! Two real threads at full speed, millions of values, order checked.
//!
//! `make tsan` runs it under ThreadSanitizer. The standard library is not
//! instrumented then, and its channels and scoped threads look like races; so
//! this is a plain `main` without the test harness, whose threads meet in
//! `join` only, which the sanitizer knows.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use spinlane_ring::{Consumer, Producer, ring};

/// Several words, so that a torn value shows, and one of them on the heap, so
/// that a doubled value is freed twice.
struct Value {
    number: usize,
    boxed: Box<usize>,
    inverted: usize,
}

impl Value {
    fn new(number: usize) -> Self {
        Self {
            number,
            boxed: Box::new(number),
            inverted: !number,
        }
    }

    fn check(self, number: usize) {
        assert_eq!(self.number, number);
        assert_eq!(*self.boxed, number);
        assert_eq!(self.inverted, !number);
    }
}

/// Waits for the other end; yields now and then, because the machine may have
/// fewer idle cores than this test has threads.
fn relax(waited: &mut u32) {
    *waited += 1;
    if waited.is_multiple_of(64) {
        thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// Pushes `0..count`: one value, then a burst of two, then one of three, …
fn push_all(mut producer: Producer<Value>, count: usize, max_burst: usize) {
    let mut waiting = VecDeque::with_capacity(max_burst);
    let (mut made, mut waited) = (0, 0);
    for size in (1..=max_burst).cycle() {
        let size = size.min(count - made);
        waiting.extend((made..made + size).map(Value::new));
        made += size;
        while let Some(value) = waiting.pop_front() {
            if let Err(full) = producer.push(value) {
                waiting.push_front(full.0);
                relax(&mut waited);
            }
            producer.push_burst(&mut waiting);
        }
        if made == count {
            return;
        }
    }
}

/// Pops until the producer has gone and the ring is empty.
fn pop_all(mut consumer: Consumer<Value>, max_burst: usize) -> usize {
    let (mut popped, mut waited) = (0, 0);
    for size in (1..=max_burst).cycle() {
        let gone = consumer.is_abandoned();
        let before = popped;
        if let Some(value) = consumer.pop() {
            value.check(popped);
            popped += 1;
        }
        for value in consumer.pop_burst(size) {
            value.check(popped);
            popped += 1;
        }
        if popped == before {
            if gone {
                break;
            }
            relax(&mut waited);
        }
    }
    popped
}

fn stress(capacity: usize, count: usize, max_burst: usize) {
    println!("{count} values by bursts of up to {max_burst} through {capacity} slots");
    let (producer, consumer) = ring(capacity).expect("a valid capacity");
    let pushing = thread::spawn(move || push_all(producer, count, max_burst));
    let popped = pop_all(consumer, max_burst);
    pushing.join().expect("the producer panicked");
    assert_eq!(popped, count);
}

/// Counts its drops; the box is what a second drop would free again.
struct Counted {
    _boxed: Box<usize>,
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Drops both ends at about the same time with values left in the ring, each
/// of which must be dropped once.
fn drop_ends(rounds: usize) {
    const VALUES: usize = 5;
    println!("{rounds} rings whose ends are dropped in any order");
    for round in 0..rounds {
        let (mut producer, mut consumer) = ring(8).expect("a valid capacity");
        let pushing = thread::spawn(move || {
            let boxes = (0..VALUES).map(Box::new);
            let mut values = boxes.map(|_boxed| Counted { _boxed }).collect();
            assert_eq!(producer.push_burst(&mut values), VALUES);
        });
        drop(consumer.pop_burst(round % VALUES).last());
        drop(consumer);
        pushing.join().expect("the producer panicked");
    }
    assert_eq!(DROPPED.load(Ordering::Relaxed), rounds * VALUES);
}

fn main() {
    stress(1, 200_000, 3); // each value waits for the one before it
    stress(8, 1_000_000, 32); // bursts never fit
    stress(1024, 3_000_000, 32); // bursts mostly fit
    drop_ends(1000);
}
