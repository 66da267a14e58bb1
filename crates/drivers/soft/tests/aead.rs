//! What the soft device promises of bulk data.

use std::sync::Arc;

use spinlane_crypto::aead::{Algorithm, TAG_LEN};
use spinlane_cryptodev::aead::{Direction, Key, Op, Request};
use spinlane_cryptodev::{Burst, Capabilities, OpStatus, QueuePair};
use spinlane_cryptodev::{Device, DeviceError, QueuePairConfig, Token};
use spinlane_driver_soft::{BUDGET_US, SoftDevice};

fn open(capacity: usize) -> Result<Box<dyn QueuePair<Op>>, DeviceError> {
    let config = QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    };
    let device = SoftDevice::new();
    device.record_queue_pair(config)
}

fn key(algorithm: Algorithm) -> Arc<Key> {
    Arc::new(Key::new(algorithm, &vec![1; algorithm.key_len()]).expect("its length"))
}

/// `count` ops of `len` bytes to be sealed, their tokens and nonces counting up.
fn seals(queue: &dyn QueuePair<Op>, key: &Arc<Key>, count: u8, len: usize) -> Burst<Op> {
    let op = |number: u8| {
        let mut op = Op::new(queue.buffer(len + TAG_LEN).expect("memory"));
        let request = Request {
            direction: Direction::Seal,
            key,
            nonce: &[number; 12],
            aad: &[],
            data: 0..len,
        };
        op.prepare(Token(number.into()), &request).expect("it fits");
        op
    };
    (0..count).map(op).collect()
}

#[test]
fn seals_and_opens_a_burst_in_order() {
    let mut queue = open(8).expect("in range");
    assert_eq!(queue.capabilities(), Capabilities::ALL);
    assert!(queue.is_inline());
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let mut ops = seals(&*queue, &key, 8, 100);
        let mut done = Burst::new();
        assert_eq!(queue.enqueue_burst(&mut ops), 8);
        assert_eq!(queue.dequeue_burst(&mut done, usize::MAX, 0), 8);
        for (token, op) in (0u8..).zip(&mut done) {
            assert_eq!(
                (op.token, op.status),
                (Token(token.into()), OpStatus::Success)
            );
            // Every third is falsified.
            op.buffer_mut()[7] ^= u8::from(token % 3 == 0);
            let open = Request {
                direction: Direction::Open,
                key: &key,
                nonce: &[token; 12],
                aad: &[],
                data: 0..100,
            };
            op.prepare(Token(token.into()), &open).expect("it fits");
        }
        assert_eq!(queue.enqueue_burst(&mut done), 8);
        assert_eq!(queue.dequeue_burst(&mut done, usize::MAX, 0), 8);
        for op in &done {
            assert_eq!(op.data(), [0; 100]);
            let forged = op.token.0 % 3 == 0;
            assert_eq!(op.status == OpStatus::Invalid, forged, "{op:?}");
        }
    }
    let stats = queue.stats();
    assert_eq!((stats.enqueued, stats.dequeued, stats.failed), (48, 48, 9));
}

#[test]
fn refuses_what_exceeds_its_capacity_unchanged() {
    let mut queue = open(2).expect("in range");
    let mut ops = seals(&*queue, &key(Algorithm::Aes128Gcm), 5, 16);
    assert_eq!(queue.enqueue_burst(&mut ops), 2);
    assert_eq!(queue.enqueue_burst(&mut ops), 0, "full");
    for (token, op) in (2..).zip(&ops) {
        assert_eq!(
            (op.token, op.status),
            (Token(token), OpStatus::NotProcessed)
        );
        assert_eq!(op.data(), [0; 16]);
    }
    let mut done = Burst::new();
    assert_eq!(
        queue.dequeue_burst(&mut done, 1, 0),
        1,
        "no more than asked for"
    );
    assert_eq!(queue.enqueue_burst(&mut ops), 1, "one place is free again");
}

#[test]
fn an_op_that_is_not_prepared_holds_up_nobody() {
    let mut queue = open(8).expect("in range");
    let mut ops = seals(&*queue, &key(Algorithm::Aes256Gcm), 2, 16);
    ops.insert(1, Op::new(queue.buffer(4).expect("memory")));
    assert_eq!(queue.enqueue_burst(&mut ops), 3);
    let mut done = Burst::new();
    queue.dequeue_burst(&mut done, usize::MAX, 0);
    let status: Vec<_> = done.iter().map(|op| op.status).collect();
    assert_eq!(
        status,
        [OpStatus::Success, OpStatus::Error, OpStatus::Success]
    );
}

#[test]
fn one_call_computes_for_a_bounded_time() {
    let mut queue = open(64).expect("in range");
    let mut ops = seals(&*queue, &key(Algorithm::ChaCha20Poly1305), 64, 16 * 1024);
    queue.enqueue_burst(&mut ops);
    let given = queue.dequeue_burst(&mut Burst::new(), usize::MAX, 0);
    assert!(given > 1 && given < 64, "{given} of {BUDGET_US} us");
}

#[test]
fn a_capacity_out_of_range_is_named() {
    let error = open(0).err().expect("out of range");
    assert!(error.to_string().contains("capacity"), "{error}");
}
