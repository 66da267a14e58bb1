//! The ring against its model: unit cases and proptest.
#![cfg(not(loom))]

mod model;

use model::Step::{self, Pop, PopBurst, Push, PushBurst};
use model::check;
use proptest::prelude::*;

const ALL: usize = usize::MAX;

#[test]
fn empty_ring_pops_nothing() {
    check(4, &[Pop, PopBurst { max: 8, take: ALL }]);
}

#[test]
fn one_slot_is_a_ring() {
    check(1, &[Push, Push, Pop, Pop, Push, Pop, PushBurst(2), Pop]);
}

#[test]
fn every_slot_can_be_filled() {
    check(4, &[Push, Push, Push, Push, Push, Pop, Push, Push]);
}

#[test]
fn burst_takes_what_fits_and_leaves_the_rest() {
    check(8, &[PushBurst(5), PushBurst(5), PushBurst(5), Pop]);
}

#[test]
fn burst_of_nothing_does_nothing() {
    check(
        2,
        &[PushBurst(0), Push, PopBurst { max: 0, take: ALL }, Pop],
    );
}

#[test]
fn burst_yields_at_most_max_and_keeps_the_untaken() {
    check(
        8,
        &[
            PushBurst(8),
            PopBurst { max: 3, take: ALL },
            PopBurst { max: 4, take: 1 },
            PopBurst { max: 4, take: 0 },
            PushBurst(8),
            PopBurst { max: 32, take: ALL },
        ],
    );
}

#[test]
fn laps_around_the_slots() {
    let lap = [PushBurst(3), PopBurst { max: 2, take: 2 }, Push, Pop, Pop];
    check(4, &lap.repeat(20));
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Push),
        (0..40_usize).prop_map(PushBurst),
        Just(Pop),
        (0..40_usize, 0..40_usize).prop_map(|(max, take)| PopBurst { max, take }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_steps(exponent in 0..6_u32, steps in prop::collection::vec(step(), 0..200)) {
        check(1 << exponent, &steps);
    }
}
