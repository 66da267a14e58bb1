//! The pool with backends that do what no module could be made to do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A number that is doubled.
pub(super) struct Number(pub(super) Result<u64, Failure>);

impl Job for Number {
    type Task = u64;
    type Outcome = u64;

    fn task(&mut self) -> u64 {
        self.0.unwrap_or_default()
    }

    fn finish(&mut self, outcome: Result<u64, Failure>) {
        self.0 = outcome;
    }
}

#[derive(Default)]
struct Doubler {
    sessions: AtomicUsize,
    counters: Counters,
}

impl Backend for Doubler {
    type Job = Number;
    type Session = usize;

    fn session(&self) -> usize {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    fn serve(&self, _: &mut usize, task: u64) -> Result<u64, Failure> {
        assert_ne!(task, 13, "a panic within the wrapper");
        Ok(2 * task)
    }

    fn is_forked(&self) -> bool {
        false
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn limits(workers: usize) -> Limits {
    Limits {
        workers,
        stuck_after: Duration::from_secs(100),
        stuck_threads: 1,
        close_within: Duration::from_secs(100),
    }
}

#[test]
fn every_op_comes_back_once_whoever_sends_it() {
    const EACH: u64 = 20_000;
    let pool = Pool::start(Doubler::default(), limits(3)).unwrap();
    let send = |number: u64| {
        let pool = Arc::clone(&pool);
        thread::spawn(move || {
            let mut client = Client::new(&pool, 64, u64::MAX);
            let (mut sent, mut sum, mut done) = (0, 0, VecDeque::new());
            let mut received = 0;
            while received < EACH {
                while sent < EACH && client.len() < 64 {
                    client.submit(Number(Ok(number + 2 * sent)), 0);
                    sent += 1;
                }
                received += client.collect(32, 0, |op| done.push_back(op)) as u64;
                sum += done.drain(..).map(|op| op.0.unwrap()).sum::<u64>();
                if sent == EACH {
                    thread::yield_now();
                }
            }
            assert_eq!(client.len(), 0);
            sum
        })
    };
    // Numbers above 13 alone, and a sum that tells whether each was there.
    let threads = [20, 21].map(send);
    let sums = threads.map(|thread| thread.join().unwrap());
    let wanted = |number| 2 * (EACH * number + EACH * (EACH - 1));
    assert_eq!(sums, [wanted(20), wanted(21)]);
    assert!(
        pool.slots()
            .iter()
            .all(|slot| slot.load.load(Ordering::Relaxed) == 0)
    );
}

#[test]
fn a_panic_fails_its_op_and_makes_a_fresh_session() {
    let pool = Pool::start(Doubler::default(), limits(1)).unwrap();
    let mut client = Client::new(&pool, 8, u64::MAX);
    let mut done = VecDeque::new();
    for number in [1, 13, 2] {
        client.submit(Number(Ok(number)), 0);
        while client.collect(8, 0, |op| done.push_back(op)) == 0 {
            thread::yield_now();
        }
    }
    let results: Vec<_> = done.iter().map(|op| op.0).collect();
    assert_eq!(results, [Ok(2), Err(Failure::Panicked), Ok(4)]);
    assert_eq!(pool.backend().sessions.load(Ordering::Relaxed), 2);
    assert_eq!(pool.backend().counters.read().panics, 1);
}

#[test]
fn a_worker_that_sleeps_is_woken_and_one_that_is_busy_is_not() {
    let pool = Pool::start(Doubler::default(), limits(1)).unwrap();
    let mut client = Client::new(&pool, 1024, u64::MAX);
    let mut done = VecDeque::new();
    for number in 100..1100 {
        client.submit(Number(Ok(number)), 0);
        while client.collect(1, 0, |op| done.push_back(op)) == 0 {}
    }
    let wakes = pool.backend().counters.read().wakes;
    assert!((1..=1000).contains(&wakes), "at most one per op: {wakes}");
    done.clear();
    // Sent in one go, the worker finds its next op whenever it has finished one.
    for number in 100..1100 {
        client.submit(Number(Ok(number)), 0);
    }
    while client.len() > 0 {
        client.collect(64, 0, |op| done.push_back(op));
    }
    assert_eq!(done.len(), 1000);
}
