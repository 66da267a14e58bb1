//! Many ops leave nothing behind. In a process of its own, where nobody else takes memory.
#![cfg(feature = "dpdk")]

mod support;

use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys;
use spinlane_cryptodev::{Burst, Device, Op, OpStatus, QueuePair, Request, Token};
use support::{block, capacity, eal, open};

const CAPACITY: usize = 63;

/// Runs `count` ops of two keys in bursts of changing length, most of the time with some in flight, and now
/// and then gives all of them up. DPDK's heap is the same before and after.
fn soak(count: u64) {
    let device = open("crypto_openssl,descriptors=64");
    let mut queue_pair = device.queue_pair(capacity(CAPACITY)).unwrap();
    let keys = [der::RSA_2048, der::RSA_2048_OTHER].map(test_keys::rsa);
    let block = block(1, 256);
    let mut pool: Burst = (0..CAPACITY).map(|_| Op::new()).collect();
    let (mut ops, mut done) = (Burst::new(), Burst::new());
    let mut run = |queue_pair: &mut dyn QueuePair, count: u64| {
        let (mut asked, mut back, mut given_up) = (0, 0, 0);
        while back + given_up < count {
            let burst = 1 + (asked % 40).min(count - asked.min(count));
            for _ in 0..burst.min(count - asked) {
                let Some(mut op) = pool.pop() else {
                    break;
                };
                let request = Request::rsa_private(&keys[asked as usize % 2], &block).unwrap();
                op.prepare(Token(asked), &request, 0);
                ops.push(op);
                asked += 1;
            }
            queue_pair.enqueue_burst(&mut ops);
            queue_pair.dequeue_burst(&mut done, 32, 0);
            for op in done.drain(..) {
                assert_eq!(op.status, OpStatus::Success);
                back += 1;
                pool.push(op);
            }
            if asked % 5000 == 0 && asked < count {
                queue_pair.reset();
                let lost = CAPACITY - pool.len() - ops.len();
                given_up += lost as u64;
                pool.extend((0..lost).map(|_| Op::new()));
            }
        }
        given_up
    };
    run(&mut *queue_pair, 200);
    let before = eal().heap_stats(0).unwrap();
    let given_up = run(&mut *queue_pair, count);
    assert_eq!(eal().heap_stats(0).unwrap(), before);

    let stats = queue_pair.stats();
    assert_eq!(stats.dequeued, 200 + count - given_up);
    assert_eq!((stats.failed, stats.faults_caught), (0, 0));
    // Whatever was given up is back: it takes as many as at first.
    let mut ops: Burst = (0..CAPACITY).map(|_| pool.pop().unwrap()).collect();
    for op in &mut ops {
        op.prepare(
            Token(0),
            &Request::rsa_private(&keys[0], &block).unwrap(),
            0,
        );
    }
    assert_eq!(queue_pair.enqueue_burst(&mut ops), CAPACITY);
    println!("{count} ops, {given_up} given up; DPDK's heap before and after: {before:?}");
}

#[test]
fn ten_thousand_ops_leave_nothing_behind() {
    soak(10_000);
}

#[test]
#[ignore = "takes five minutes and more; run by name"]
fn a_million_ops_leave_nothing_behind() {
    soak(1_000_000);
}
