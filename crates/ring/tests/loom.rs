//! The ring's model under loom: two threads in every interleaving that the
//! memory model allows.
//!
//! `make loom` runs it. Without `--cfg loom` this file is empty.
#![cfg(loom)]

mod model;

use loom::thread;
use model::Step::{self, Pop, PopBurst, Push, PushBurst};
use model::{assert_all_dropped, halves};

const ALL: usize = usize::MAX;

/// Drives the two ends by their steps in two threads, and checks in every
/// interleaving that the values come out in order, are within what went in,
/// and are each dropped once.
fn explore(capacity: usize, pushes: &'static [Step], pops: &'static [Step]) {
    loom::model(move || {
        let (mut pushing, mut popping, witness) = halves(capacity);
        let producing = thread::spawn(move || {
            for &step in pushes {
                pushing.step(step);
            }
            pushing
        });
        for &step in pops {
            popping.step(step);
        }
        assert!(popping.end.len() <= capacity);
        let pushing = producing.join().unwrap();
        assert!(popping.popped <= pushing.pushed);
        assert_eq!(popping.end.len(), pushing.pushed - popping.popped);
        popping.step(PopBurst {
            max: ALL,
            take: ALL,
        });
        assert_eq!(popping.popped, pushing.pushed);
        drop((pushing, popping));
        assert_all_dropped(&witness);
    });
}

#[test]
fn one_slot() {
    explore(1, &[Push; 5], &[Pop; 4]);
}

#[test]
fn two_slots_wrap_around() {
    explore(2, &[Push; 5], &[Pop; 4]);
}

#[test]
fn bursts_wrap_around() {
    explore(
        2,
        &[PushBurst(2), PushBurst(3), PushBurst(2)],
        &[PopBurst { max: 2, take: ALL }; 3],
    );
}

#[test]
fn single_and_burst_mixed() {
    explore(
        4,
        &[PushBurst(3), PushBurst(4), Push],
        &[
            Pop,
            PopBurst { max: 3, take: 1 },
            PopBurst { max: 4, take: ALL },
        ],
    );
}

#[test]
fn ends_dropped_while_the_other_works() {
    loom::model(|| {
        let (mut pushing, mut popping, witness) = halves(2);
        let producing = thread::spawn(move || {
            pushing.step(Push);
            pushing.step(PushBurst(2));
        });
        popping.step(Pop);
        drop(popping);
        producing.join().unwrap();
        assert_all_dropped(&witness);
    });
}

#[test]
fn abandoned_means_that_all_has_come() {
    loom::model(|| {
        let (mut pushing, mut popping, witness) = halves(4);
        let producing = thread::spawn(move || {
            pushing.step(Push);
            pushing.step(PushBurst(2));
        });
        popping.step(Pop);
        if popping.end.is_abandoned() {
            popping.step(PopBurst {
                max: ALL,
                take: ALL,
            });
            assert_eq!(popping.popped, 3);
        }
        drop(popping);
        producing.join().unwrap();
        assert_all_dropped(&witness);
    });
}
