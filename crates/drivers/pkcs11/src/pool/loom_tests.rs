use std::collections::VecDeque;
use std::sync::Arc;

use loom::thread;
use spinlane_ring::{Consumer, Producer, ring};

use super::Job;
use super::slot::{Next, Port, Slot};
use super::sync::{AtomicU64, Ordering};
use crate::error::Failure;

struct Number(Result<u64, Failure>);

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

type Attached = (
    Arc<Slot<Number>>,
    Producer<Number>,
    Consumer<Number>,
    Arc<AtomicU64>,
);

/// A worker's slot with one client, that client's ends of the two rings, and its bell.
fn attached() -> Attached {
    let slot = Arc::new(Slot::new());
    let (submissions, theirs) = ring(2).unwrap();
    let (their_completions, completions) = ring(2).unwrap();
    let bell = Arc::new(AtomicU64::new(0));
    assert!(slot.attach(Port {
        client: 0,
        submissions: theirs,
        completions: their_completions,
        bell: Arc::clone(&bell),
    }));
    (slot, submissions, completions, bell)
}

/// Two ops are sent while the worker may be falling asleep: it is woken, or has seen them. A sleeper that
/// nobody wakes is a deadlock, which loom reports.
#[test]
fn an_op_sent_while_the_worker_falls_asleep() {
    loom::model(|| {
        let (slot, mut submissions, mut completions, bell) = attached();
        let worker = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let mut served = 0;
                while served < 2 {
                    match slot.take(0) {
                        Next::Over => return,
                        Next::Nothing => slot.sleep.sleep_unless(|| slot.is_due(0)),
                        Next::Task(task) => {
                            assert!(slot.finish(0, Ok(2 * task)));
                            served += 1;
                        }
                    }
                }
            })
        };
        for number in [1, 2] {
            slot.load.fetch_add(1, Ordering::Relaxed);
            assert!(submissions.push(Number(Ok(number))).is_ok());
            slot.sleep.wake();
        }
        worker.join().unwrap();
        assert_eq!(bell.load(Ordering::Acquire), 2);
        let done: VecDeque<_> = completions.pop_burst(2).map(|op| op.0).collect();
        assert_eq!(done, [Ok(2), Ok(4)]);
        assert_eq!(slot.load.load(Ordering::Relaxed), 0);
    });
}

/// The supervisor gives the worker up while that finishes: the op comes back once, from one of the two.
#[test]
fn an_op_given_up_while_its_worker_comes_back() {
    loom::model(|| {
        let (slot, mut submissions, mut completions, _) = attached();
        slot.load.fetch_add(1, Ordering::Relaxed);
        assert!(submissions.push(Number(Ok(1))).is_ok());
        let worker = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let Next::Task(task) = slot.take(0) else {
                    return None;
                };
                let in_time = slot.finish(0, Ok(2 * task));
                Some(in_time || slot.revive().is_some())
            })
        };
        let given_up = slot.give_up_stuck(std::time::Duration::ZERO, || false);
        assert_eq!(given_up, None, "nobody takes its place");
        let serves = worker.join().unwrap();
        let done: Vec<_> = completions.pop_burst(2).map(|op| op.0).collect();
        match done[..] {
            [Ok(2)] => assert_eq!(serves, Some(true)),
            [Err(Failure::Stuck)] => assert_eq!(serves, Some(true), "it serves again"),
            ref other => panic!("{other:?}"),
        }
        assert!(slot.is_alive());
        assert_eq!(slot.load.load(Ordering::Relaxed), 0);
    });
}

/// It is closed while an op is sent: that is served, or comes back failed, or is still in the ring.
#[test]
fn an_op_sent_while_all_ends() {
    // Three threads: every interleaving with at most two switches that no thread asked for.
    let mut bounded = loom::model::Builder::new();
    bounded.preemption_bound = Some(2);
    bounded.check(|| {
        let (slot, mut submissions, mut completions, _) = attached();
        let worker = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                loop {
                    match slot.take(0) {
                        Next::Over => return,
                        Next::Nothing => slot.sleep.sleep_unless(|| slot.is_due(0)),
                        Next::Task(task) => assert!(slot.finish(0, Ok(2 * task))),
                    }
                }
            })
        };
        let closer = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.close())
        };
        slot.load.fetch_add(1, Ordering::Relaxed);
        assert!(submissions.push(Number(Ok(1))).is_ok());
        slot.sleep.wake();
        closer.join().unwrap();
        worker.join().unwrap();
        let left = slot.load.load(Ordering::Relaxed) as usize;
        let done: Vec<_> = completions.pop_burst(2).map(|op| op.0).collect();
        assert_eq!(done.len() + left, 1);
        assert!(
            matches!(done[..], [] | [Ok(2)] | [Err(Failure::Stopped)]),
            "{done:?}"
        );
    });
}
