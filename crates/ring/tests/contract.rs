//! The promises that the model does not cover: construction, ownership,
//! dropping, and no allocation.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use allocation_counter::measure;
use spinlane_ring::{Burst, CapacityError, Consumer, Full, MAX_CAPACITY, Producer, ring};

#[test]
fn a_capacity_that_is_no_power_of_two_names_the_one_that_is() {
    for (capacity, remedy) in [(0, 1), (3, 4), (1000, 1024), (usize::MAX, MAX_CAPACITY)] {
        let error = ring::<u8>(capacity).unwrap_err();
        assert_eq!(error, CapacityError::NotPowerOfTwo { capacity });
        let text = error.to_string();
        assert!(text.contains(&format!("capacity {capacity} ")), "{text}");
        assert!(text.ends_with(&format!("use {remedy}")), "{text}");
    }
}

#[test]
fn a_capacity_too_large_is_an_error() {
    let capacity = MAX_CAPACITY * 2;
    let error = ring::<()>(capacity).unwrap_err();
    assert_eq!(error, CapacityError::TooLarge { capacity });
}

#[test]
fn more_slots_than_memory_is_an_error() {
    type Huge = [u64; 1 << 40];
    let error = ring::<Huge>(MAX_CAPACITY).unwrap_err();
    assert!(matches!(error, CapacityError::OutOfMemory { .. }));
}

#[test]
fn values_without_size_are_counted() {
    let (mut producer, mut consumer) = ring(2).unwrap();
    producer.push(()).unwrap();
    producer.push(()).unwrap();
    assert!(producer.push(()).is_err());
    assert_eq!(consumer.pop_burst(8).count(), 2);
}

#[test]
fn a_failed_push_gives_the_value_back_and_shows_it_to_nobody() {
    let (mut producer, _consumer) = ring(1).unwrap();
    producer.push("secret").unwrap();
    let full = producer.push("secret").unwrap_err();
    assert_eq!(format!("{full:?}"), "Full(..)");
    assert!(!full.to_string().contains("secret"));
    let Full(value) = full;
    assert_eq!(value, "secret");
}

#[test]
fn ends_and_bursts_may_change_threads() {
    fn sent<T: Send>() {}
    sent::<Producer<Box<u8>>>();
    sent::<Consumer<Box<u8>>>();
    sent::<Burst<'_, Box<u8>>>();
}

#[test]
fn each_end_sees_the_other_go() {
    let (mut producer, consumer) = ring(2).unwrap();
    assert!(!producer.is_abandoned());
    drop(consumer);
    assert!(producer.is_abandoned());
    assert!(
        producer.push(1).is_ok(),
        "the value is dropped with the ring"
    );

    let (mut producer, mut consumer) = ring(2).unwrap();
    producer.push(1).unwrap();
    assert!(!consumer.is_abandoned());
    drop(producer);
    assert!(consumer.is_abandoned());
    assert_eq!((consumer.pop(), consumer.pop()), (Some(1), None));
}

#[test]
fn values_left_are_dropped_once_with_the_second_end() {
    for producer_first in [true, false] {
        let (mut producer, mut consumer) = ring(4).unwrap();
        let witness = Rc::new(());
        let mut burst = VecDeque::from(vec![witness.clone(); 4]);
        assert_eq!(producer.push_burst(&mut burst), 4);
        drop(consumer.pop());
        assert_eq!(Rc::strong_count(&witness), 4);
        if producer_first {
            drop(producer);
            assert_eq!(Rc::strong_count(&witness), 4);
            drop(consumer);
        } else {
            drop(consumer);
            assert_eq!(Rc::strong_count(&witness), 4);
            drop(producer);
        }
        assert_eq!(Rc::strong_count(&witness), 1);
    }
}

#[test]
fn a_forgotten_burst_yields_nothing_twice() {
    let (mut producer, mut consumer) = ring(4).unwrap();
    producer.push_burst(&mut VecDeque::from(["a", "b", "c"].map(String::from)));
    let mut burst = consumer.pop_burst(2);
    assert_eq!(burst.next().as_deref(), Some("a"));
    std::mem::forget(burst);
    assert_eq!(producer.free_slots(), 1, "its slot is still held");
    assert_eq!(consumer.pop().as_deref(), Some("b"));
    assert_eq!(producer.free_slots(), 3);

    std::mem::forget({
        let mut burst = consumer.pop_burst(2);
        assert_eq!(burst.next().as_deref(), Some("c"));
        burst
    });
    drop(producer);
    drop(consumer); // would free "c" twice
}

#[test]
fn a_panic_while_popping_keeps_the_rest() {
    let (mut producer, mut consumer) = ring(4).unwrap();
    producer.push_burst(&mut VecDeque::from([1, 2, 3, 4]));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        for value in consumer.pop_burst(4) {
            assert!(value < 2, "on purpose");
        }
    }));
    assert!(panicked.is_err());
    assert_eq!(producer.free_slots(), 2);
    assert_eq!(consumer.pop_burst(4).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn nothing_is_allocated_after_creation() {
    let (mut producer, mut consumer) = ring(8).unwrap();
    let mut burst = VecDeque::with_capacity(32);
    let mut popped = VecDeque::with_capacity(32);
    let allocated = measure(|| {
        for round in 0..1000 {
            burst.extend(round..round + 10);
            producer.push_burst(&mut burst);
            popped.extend(consumer.pop_burst(3));
            popped.extend(consumer.pop());
            let _ = producer.push(round);
            popped.extend(consumer.pop_burst(32));
            burst.clear();
            popped.clear();
        }
    });
    assert_eq!(allocated.count_total, 0);
}
