//! Many seals and opens leave nothing behind. In a process of its own, where nobody else takes memory.
#![cfg(feature = "dpdk")]

mod support;

use std::collections::VecDeque;
use std::sync::Arc;

use spinlane_crypto::aead::{Algorithm, TAG_LEN};
use spinlane_cryptodev::aead::{Direction, Key, Op, Request};
use spinlane_cryptodev::{Buffer, Burst, OpStatus, QueuePair};
use spinlane_cryptodev::{Device, Token};
use support::{capacity, eal, open};

const CAPACITY: usize = 63;
const MOST: usize = 300;

/// Ops that go round: sealed, opened, and sealed again.
struct Soak {
    queue_pair: Box<dyn QueuePair<Op>>,
    keys: Vec<Arc<Key>>,
    ops: Burst<Op>,
    done: Burst<Op>,
    idle: VecDeque<Box<Op>>,
    asked: u64,
}

impl Soak {
    /// Prepares the next op: every other one opens what it sealed before, of which every seventh is falsified.
    fn prepare(&mut self) {
        let Some(mut op) = self.idle.pop_front() else {
            return;
        };
        let number = self.asked;
        self.asked += 1;
        let opens = op.token.0 != 0 && op.direction() == Direction::Seal;
        // Who opens takes what it was sealed with; who seals another key, nonce and length each time.
        let (key, nonce, data) = match op.key().filter(|_| opens) {
            Some(key) => (Arc::clone(key), *op.nonce(), op.data_range()),
            None => {
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&number.to_be_bytes());
                let key = &self.keys[number as usize % self.keys.len()];
                let len = number as usize * 7 % (MOST - 5);
                op.buffer_mut()[5..5 + len].fill(number as u8);
                (Arc::clone(key), nonce, 5..5 + len)
            }
        };
        let forged = opens && number.is_multiple_of(7);
        if forged {
            op.buffer_mut()[data.end] ^= 1; // the tag
        }
        let request = Request {
            direction: if opens {
                Direction::Open
            } else {
                Direction::Seal
            },
            key: &key,
            nonce: &nonce,
            aad: b"aad13bytelong",
            data,
        };
        op.prepare(Token(1 + u64::from(forged)), &request)
            .expect("it fits");
        self.ops.push(op);
    }

    /// `count` ops there and back, in bursts of changing length.
    fn run(&mut self, count: u64) {
        let until = self.asked + count;
        while self.asked < until || self.idle.len() < CAPACITY {
            let burst = (1 + self.asked % 40).min(until - self.asked);
            (0..burst).for_each(|_| self.prepare());
            self.queue_pair.enqueue_burst(&mut self.ops);
            self.queue_pair.dequeue_burst(&mut self.done, 32, 0);
            for op in self.done.drain(..) {
                let wanted = match op.token {
                    Token(2) => OpStatus::Invalid,
                    _ => OpStatus::Success,
                };
                assert_eq!(op.status, wanted, "{op:?}");
                self.idle.push_back(op);
            }
        }
    }
}

/// Runs `count` ops of a dozen keys on `driver`. DPDK's heap is the same before and after, and so is the room.
fn soak(driver: &str, algorithm: Algorithm, count: u64) {
    let device = open(&format!("{driver},descriptors=64"));
    let queue_pair = device
        .record_queue_pair(capacity(CAPACITY))
        .expect("it has one");
    let idle = (0..CAPACITY).map(|_| Op::new(Buffer::heap(MOST + TAG_LEN).expect("short")));
    let key = |byte| Arc::new(Key::new(algorithm, &vec![byte; algorithm.key_len()]).expect("fits"));
    let mut soak = Soak {
        queue_pair,
        keys: (0..12).map(key).collect(),
        ops: Burst::new(),
        done: Burst::new(),
        idle: idle.collect(),
        asked: 0,
    };
    soak.run(2000); // makes the sessions, for both directions of each key
    let before = eal().heap_stats(0).expect("node 0");
    soak.run(count);
    assert_eq!(eal().heap_stats(0).expect("node 0"), before);

    let stats = soak.queue_pair.stats();
    assert_eq!(stats.dequeued, 2000 + count);
    assert!(stats.failed > 0, "forgeries");
    let xstats = soak.queue_pair.xstats();
    let xstat = |name| {
        xstats
            .iter()
            .find(|(other, _)| *other == name)
            .expect("a counter")
            .1
    };
    assert_eq!((xstat("sessions"), xstat("sessions_created")), (24, 24));
    // Its pool is full: it takes as many as at first.
    let mut ops: Burst<Op> = soak.idle.drain(..).collect();
    assert_eq!(soak.queue_pair.enqueue_burst(&mut ops), CAPACITY);
    println!("{driver}: {count} ops; DPDK's heap before and after: {before:?}");
}

fn soak_each(count: u64) {
    soak("crypto_aesni_gcm", Algorithm::Aes128Gcm, count);
    soak(
        "crypto_chacha20_poly1305",
        Algorithm::ChaCha20Poly1305,
        count,
    );
    soak("crypto_openssl", Algorithm::Aes256Gcm, count);
}

#[test]
fn ten_thousand_records_leave_nothing_behind() {
    soak_each(10_000);
}

#[test]
#[ignore = "takes seconds with --release, far more without; run by name"]
fn a_million_records_leave_nothing_behind() {
    soak_each(1_000_000);
}
