//! After the first op of a key the driver allocates nothing. (What crypto_openssl takes per op is C's.)
#![cfg(feature = "dpdk")]

mod support;

use std::sync::Arc;

use allocation_counter::measure;
use spinlane_crypto::aead::{Algorithm, TAG_LEN};
use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::aead::{Direction, Key, Op, Request};
use spinlane_cryptodev::test_keys;
use spinlane_cryptodev::{Burst, Device, OpStatus, Token};
use support::{capacity, open, rsa_op};

#[test]
fn nothing_is_allocated_per_op_after_warm_up() {
    let key = test_keys::rsa(der::RSA_2048);
    let device = open("crypto_openssl");
    let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
    let mut ops: Burst = (0..20).map(|seed| rsa_op(&key, seed)).collect();
    let mut done = Burst::with_capacity(32);
    let mut round = || {
        while done.len() < 20 {
            queue_pair.enqueue_burst(&mut ops); // more than it holds
            queue_pair.dequeue_burst(&mut done, 32, 0);
            queue_pair.flush();
        }
        ops.append(&mut done);
    };
    round();
    let allocated = measure(|| (0..5).for_each(|_| round()));
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn nor_is_anything_per_record() {
    let device = open("crypto_openssl");
    let mut queue_pair = device.record_queue_pair(capacity(16)).unwrap();
    let keys = [1, 2].map(|seed| Arc::new(Key::new(Algorithm::Aes128Gcm, &[seed; 16]).unwrap()));
    let ops = (0..20).map(|_| Op::new(queue_pair.buffer(100 + TAG_LEN).unwrap()));
    let (mut ops, mut done): (Burst<Op>, _) = (ops.collect(), Burst::with_capacity(32));
    let mut nonce = 0u64;
    let mut round = || {
        for op in &mut ops {
            nonce += 1;
            let mut bytes = [0; 12];
            bytes[4..].copy_from_slice(&nonce.to_be_bytes());
            let request = Request {
                direction: Direction::Seal,
                key: &keys[nonce as usize % 2],
                nonce: &bytes,
                aad: b"aad13bytelong",
                data: 0..100,
            };
            op.prepare(Token(nonce), &request).unwrap();
        }
        while done.len() < 20 {
            queue_pair.enqueue_burst(&mut ops); // more than it holds
            queue_pair.dequeue_burst(&mut done, 32, 0);
        }
        assert!(done.iter().all(|op| op.status == OpStatus::Success));
        ops.append(&mut done);
    };
    round();
    let allocated = measure(|| (0..5).for_each(|_| round()));
    assert_eq!(allocated.count_total, 0);
}
