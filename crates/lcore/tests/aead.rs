//! Bulk data through an lcore: every op that is taken comes back once, right or without a trace of data.

#[path = "support/aead.rs"]
mod device;
mod support;

use std::collections::BTreeSet;

use device::{AROUND, Fate, Handle, is_right, key, op};
use proptest::prelude::*;
use spinlane_crypto::aead::{Algorithm, TAG_LEN};
use spinlane_cryptodev::aead::{Direction, Op};
use spinlane_cryptodev::{Burst, Device, Limits, OpStatus, QueuePairConfig};
use spinlane_driver_soft::SoftDevice;
use spinlane_lcore::{Config, HealthConfig, Lcore};
use support::TestClock;

const DEADLINE_NS: u64 = 1000;
const LEN: usize = 100;

struct Bench {
    lcore: Lcore,
    clock: TestClock,
    device: Handle,
}

fn bench(capacity: usize, inline: bool) -> Bench {
    bench_with(capacity, inline, true)
}

fn bench_with(capacity: usize, inline: bool, fallback: bool) -> Bench {
    let clock = TestClock::default();
    let health = HealthConfig {
        fallback,
        op_deadline_ns: DEADLINE_NS,
        max_errors: 3,
        probe_interval_ns: DEADLINE_NS,
    };
    let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
    let device = Handle::new(capacity, inline);
    lcore.add_record_queue_pair_with(device.queue_pair(), health);
    Bench {
        lcore,
        clock,
        device,
    }
}

impl Bench {
    /// Enqueues seals with these tokens; returns how many were taken.
    fn seal(&self, tokens: std::ops::Range<u64>) -> usize {
        let key = key(Algorithm::Aes128Gcm);
        let mut ops: Burst<Op> = tokens
            .map(|token| op(token, &key, Direction::Seal, LEN))
            .collect();
        self.lcore.enqueue_records(&mut ops).expect("no fork")
    }

    fn poll(&self) -> Burst<Op> {
        self.lcore.poll().expect("not from a callback");
        let mut done = Burst::new();
        self.lcore.dequeue_records(&mut done, usize::MAX);
        done
    }

    /// Polls with some time in between, longer than any deadline.
    fn poll_late(&self) -> Burst<Op> {
        self.clock.advance(2 * DEADLINE_NS);
        self.poll()
    }

    fn stats(&self) -> spinlane_lcore::ChannelStats<Algorithm> {
        self.lcore.stats().records.remove(0)
    }
}

fn tokens(done: &Burst<Op>) -> Vec<u64> {
    done.iter().map(|op| op.token.0).collect()
}

#[test]
fn a_burst_of_many_connections_on_the_soft_device() {
    let lcore = Lcore::new(Config::default());
    let queue_pair = SoftDevice::new().record_queue_pair(QueuePairConfig::default());
    lcore.add_record_queue_pair(queue_pair.expect("the default"));
    let keys = Algorithm::ALL.map(key);
    let mut ops: Burst<Op> = (0..30)
        .map(|token| {
            let direction = [Direction::Seal, Direction::Open][token as usize % 2];
            op(token, &keys[token as usize % 3], direction, LEN)
        })
        .collect();
    assert_eq!(lcore.enqueue_records(&mut ops), Ok(30));
    assert_eq!(lcore.in_flight(), 30);
    let mut done = Burst::new();
    assert_eq!(lcore.dequeue_records(&mut done, 99), 0, "before a poll");
    assert_eq!(lcore.poll().expect("not from a callback").completed, 30);
    assert_eq!(
        lcore.dequeue_records(&mut done, 7),
        7,
        "as many as asked for"
    );
    assert_eq!(lcore.dequeue_records(&mut done, 99), 23);
    assert_eq!(tokens(&done), (0..30).collect::<Vec<_>>());
    for op in &done {
        assert!(is_right(op, op.direction(), LEN), "{op:?}");
    }
    let stats = lcore.stats().records.remove(0);
    assert_eq!((stats.counts.completed, stats.in_flight), (30, 0));
    assert_eq!(stats.counts.bytes, 30 * LEN as u64);
    assert_eq!(stats.kinds.len(), 3);
    assert_eq!(stats.kinds[0].latency_ns.len(), 10);
}

#[test]
fn what_does_not_fit_stays_with_the_caller() {
    let bench = bench(4, false);
    let key = key(Algorithm::Aes128Gcm);
    let mut ops: Burst<Op> = (0..6)
        .map(|token| op(token, &key, Direction::Seal, LEN))
        .collect();
    assert_eq!(bench.lcore.enqueue_records(&mut ops), Ok(4));
    assert_eq!(bench.lcore.enqueue_records(&mut ops), Ok(0));
    assert_eq!(tokens(&ops), [4, 5]);
    assert!(ops.iter().all(|op| op.status == OpStatus::NotProcessed));
    assert_eq!(tokens(&bench.poll()), [0, 1, 2, 3]);
    assert_eq!(bench.lcore.enqueue_records(&mut ops), Ok(2));
    let done = bench.poll();
    assert_eq!(tokens(&done), [4, 5]);
    assert!(done.iter().all(|op| is_right(op, Direction::Seal, LEN)));
    assert_eq!(bench.stats().counts.refused, 2);
}

#[test]
fn an_algorithm_that_nobody_offers_is_computed_and_counted() {
    let bench = bench(4, true);
    let keys = [key(Algorithm::Aes256Gcm), key(Algorithm::Aes128Gcm)];
    let mut ops: Burst<Op> = (0..4)
        .map(|token| op(token, &keys[token as usize % 2], Direction::Seal, LEN))
        .collect();
    ops.push(device::empty(LEN));
    assert_eq!(bench.lcore.enqueue_records(&mut ops), Ok(5));
    let done = bench.poll();
    assert_eq!(tokens(&done), [0, 2, 0, 1, 3]);
    let right = done.iter().filter(|op| is_right_if_keyed(op)).count();
    assert_eq!((right, done[2].status), (4, OpStatus::Error));
    let stats = bench.lcore.stats();
    assert_eq!((stats.unrouted_ops, stats.unprepared_ops), (2, 1));
    assert_eq!(stats.records[0].counts.enqueued, 2);
}

/// Lengths that a device says it does not take are no error of its: they never get there.
#[test]
fn what_is_too_long_for_the_device_is_computed_and_counted() {
    // Three bytes of associated data is what the tests' ops have.
    for (max_len, aad_lens, taken) in [(LEN, 1 << 3, 1), (LEN, 1 << 13, 0), (LEN - 1, 1 << 3, 0)] {
        let bench = bench(4, true);
        let device = Handle::new(4, true);
        device.limit(Limits { max_len, aad_lens });
        bench.lcore.add_record_queue_pair(device.queue_pair());
        let mut ops = Burst::from([op(1, &key(Algorithm::Aes256Gcm), Direction::Seal, LEN)]);
        assert_eq!(bench.lcore.enqueue_records(&mut ops), Ok(1));
        let done = bench.poll();
        assert!(done.iter().all(|op| is_right(op, Direction::Seal, LEN)) && done.len() == 1);
        let stats = bench.lcore.stats();
        assert_eq!(stats.unrouted_ops, 1 - taken);
        assert_eq!(
            (
                stats.records[1].counts.enqueued,
                stats.records[1].counts.errors
            ),
            (taken, 0)
        );
    }
}

fn is_right_if_keyed(op: &spinlane_cryptodev::aead::Op) -> bool {
    op.key().is_some() && is_right(op, Direction::Seal, LEN)
}

#[test]
fn software_seals_what_the_device_failed_from_its_copy() {
    for (fate, errors) in [(Fate::Failed, 2), (Fate::Undone, 2), (Fate::Distrusted, 0)] {
        let bench = bench(4, false);
        bench.device.set_fate(fate);
        assert_eq!(bench.seal(1..3), 2);
        let done = bench.poll();
        assert_eq!(tokens(&done), [1, 2], "{fate:?}");
        assert!(
            done.iter().all(|op| is_right(op, Direction::Seal, LEN)),
            "{fate:?}"
        );
        let counts = bench.stats().counts;
        assert_eq!((counts.completed, counts.fallback), (0, 2), "{fate:?}");
        // A distrusted tag is an error once software has trusted it.
        let distrusted = if fate == Fate::Distrusted { 2 } else { 0 };
        assert_eq!(counts.errors, errors + distrusted, "{fate:?}");
    }
}

#[test]
fn an_inline_device_that_failed_an_op_has_lost_its_data() {
    let bench = bench(4, true);
    bench.device.set_fate(Fate::Failed);
    bench.seal(1..2);
    let done = bench.poll();
    assert_eq!(done[0].status, OpStatus::Error);
    assert_eq!(done[0].data(), [0; LEN]);
    bench.device.set_fate(Fate::Undone);
    bench.seal(2..3);
    assert!(
        is_right(&bench.poll()[0], Direction::Seal, LEN),
        "never begun"
    );
    bench.device.set_fate(Fate::Distrusted);
    bench.seal(3..4);
    assert_eq!(
        bench.poll()[0].status,
        OpStatus::Invalid,
        "its word is taken"
    );
    let counts = bench.stats().counts;
    assert_eq!((counts.completed, counts.fallback), (2, 1));
    assert_eq!((counts.failed, counts.invalid), (2, 1));
}

#[test]
fn without_fallback_what_fails_ends_with_an_error() {
    for inline in [false, true] {
        let bench = bench_with(4, inline, false);
        bench.device.set_fate(Fate::Undone);
        bench.seal(1..2);
        let done = bench.poll();
        assert_eq!(
            (done[0].status, done[0].data()),
            (OpStatus::Error, &[0; LEN][..])
        );
    }
    let bench = bench_with(4, false, false);
    bench.device.set_fate(Fate::Kept);
    bench.seal(7..8);
    bench.poll();
    let done = bench.poll_late();
    assert_eq!((tokens(&done), done[0].status), (vec![7], OpStatus::Error));
}

#[test]
fn a_stalled_device_is_replaced_and_its_late_answers_reach_nobody() {
    let bench = bench(8, false);
    bench.device.set_fate(Fate::Kept);
    assert_eq!(bench.seal(1..4), 3);
    assert!(bench.poll().is_empty());
    let done = bench.poll_late();
    assert_eq!(tokens(&done), [1, 2, 3]);
    assert!(done.iter().all(|op| is_right(op, Direction::Seal, LEN)));
    assert_eq!(done[0].buffer().len(), AROUND + LEN + TAG_LEN + AROUND);
    let stats = bench.stats();
    assert_eq!((stats.counts.timed_out, stats.health.healthy), (3, false));
    assert_eq!(bench.device.resets(), 1);

    bench.device.set_fate(Fate::Right);
    bench.device.give_up_kept();
    assert!(bench.poll().is_empty(), "they ended already");
    assert_eq!(bench.stats().stray, 3);

    // New ops are sealed by software, and one makes a probe due.
    bench.clock.advance(2 * DEADLINE_NS);
    assert_eq!(bench.seal(4..6), 2);
    assert_eq!(bench.device.held(), 1, "the probe");
    let done = bench.poll();
    assert_eq!(tokens(&done), [4, 5]);
    assert!(done.iter().all(|op| is_right(op, Direction::Seal, LEN)));
    let health = bench.stats().health;
    assert_eq!((health.healthy, health.recoveries), (true, 1));
    bench.seal(6..7);
    assert_eq!(
        (tokens(&bench.poll()), bench.stats().counts.completed),
        (vec![6], 1)
    );
}

#[test]
fn a_device_that_errs_in_a_row_is_left_alone_until_a_probe_succeeds() {
    for inline in [false, true] {
        let bench = bench(8, inline);
        bench.device.set_fate(Fate::Undone);
        assert_eq!(bench.seal(0..4), 4);
        assert_eq!(bench.poll().len(), 4);
        assert!(!bench.stats().health.healthy);
        for (turn, fate) in (1..).zip([Fate::Failed, Fate::Undone, Fate::Right]) {
            bench.device.set_fate(fate);
            bench.clock.advance(2 * DEADLINE_NS);
            bench.seal(turn * 10..turn * 10 + 1);
            let done = bench.poll();
            assert_eq!(tokens(&done), [turn * 10]);
            assert!(is_right(&done[0], Direction::Seal, LEN));
        }
        let health = bench.stats().health;
        assert_eq!(
            (health.probes, health.probes_failed, health.healthy),
            (3, 2, true)
        );
    }
}

#[test]
fn a_device_that_takes_nothing_for_a_deadline_is_replaced() {
    let bench = bench(8, true);
    bench.device.refuse(true);
    assert_eq!(bench.seal(0..1), 0);
    bench.poll();
    bench.clock.advance(DEADLINE_NS);
    assert_eq!(bench.seal(0..1), 0);
    bench.poll();
    assert!(!bench.stats().health.healthy);
    assert_eq!(bench.seal(0..1), 1);
    assert!(is_right(&bench.poll()[0], Direction::Seal, LEN));
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        count: usize,
        open: bool,
        forge: bool,
    },
    Poll,
    Wait,
    Fate(Fate),
    Refuse(bool),
    GiveUp,
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    let fates = [
        Fate::Right,
        Fate::Failed,
        Fate::Undone,
        Fate::Distrusted,
        Fate::Kept,
    ];
    prop_oneof![
        4 => (1..12usize, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(count, open, forge)| Step::Enqueue { count, open, forge }),
        4 => Just(Step::Poll),
        2 => Just(Step::Wait),
        3 => prop::sample::select(fates.to_vec()).prop_map(Step::Fate),
        1 => any::<bool>().prop_map(Step::Refuse),
        1 => Just(Step::GiveUp),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    /// Whatever the device does, each op that was taken comes back once, right; only what an inline
    /// device spoilt, or distrusted, comes back without success, and then without data.
    #[test]
    fn each_op_comes_back_once(
        inline in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let bench = bench(8, inline);
        let keys = [key(Algorithm::Aes128Gcm), key(Algorithm::ChaCha20Poly1305)];
        let (mut next, mut outstanding, mut forged) = (1, BTreeSet::<u64>::new(), BTreeSet::<u64>::new());
        let calm = [Step::Refuse(false), Step::Fate(Fate::Right), Step::GiveUp];
        let ending = (0..6).flat_map(|_| [Step::Wait, Step::Poll]);
        for step in steps.into_iter().chain(calm).chain(ending) {
            match step {
                Step::Enqueue { count, open, forge } => {
                    let direction = if open { Direction::Open } else { Direction::Seal };
                    let mut ops: Burst<Op> = (next..next + count as u64)
                        .map(|token| op(token, &keys[token as usize % 2], direction, LEN))
                        .collect();
                    next += count as u64;
                    if forge && open {
                        ops[0].buffer_mut()[AROUND] ^= 1;
                        forged.insert(ops[0].token.0);
                    }
                    let before = tokens(&ops);
                    let taken = bench.lcore.enqueue_records(&mut ops).expect("no fork");
                    prop_assert_eq!(tokens(&ops), &before[taken..]);
                    prop_assert!(ops.iter().all(|op| op.status == OpStatus::NotProcessed));
                    outstanding.extend(&before[..taken]);
                }
                Step::Poll => {
                    for op in bench.poll() {
                        let token = op.token.0;
                        prop_assert!(outstanding.remove(&token), "{token} came twice");
                        if op.status == OpStatus::Success {
                            prop_assert!(!forged.contains(&token));
                            prop_assert!(is_right(&op, op.direction(), LEN));
                        } else {
                            prop_assert!(inline || forged.contains(&token), "{op:?}");
                            prop_assert_eq!(op.data(), &[0; LEN][..]);
                        }
                    }
                    let stats = bench.stats();
                    let counts = stats.counts;
                    let ended = counts.completed + counts.fallback + stats.in_flight as u64;
                    prop_assert_eq!(counts.enqueued, ended);
                    prop_assert_eq!(stats.in_flight, outstanding.len());
                }
                Step::Wait => bench.clock.advance(2 * DEADLINE_NS),
                Step::Fate(Fate::Kept) if inline => {}
                Step::Fate(fate) => bench.device.set_fate(fate),
                Step::Refuse(refuses) => bench.device.refuse(refuses),
                Step::GiveUp => bench.device.give_up_kept(),
                Step::Lose => bench.device.lose_kept(),
            }
        }
        prop_assert!(outstanding.is_empty(), "{outstanding:?} never came back");
    }
}
