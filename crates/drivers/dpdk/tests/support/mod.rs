//! What the tests of devices share.
#![allow(dead_code)] // each test uses its own part

use std::sync::Arc;

use spinlane_crypto::Key;
use spinlane_cryptodev::{Burst, KeyHandle, Op, QueuePair, QueuePairConfig, Request, Token};
use spinlane_driver_dpdk::{DpdkDevice, Eal, EalConfig};

/// EAL, which all tests of a process share.
pub fn eal() -> Eal {
    Eal::init(&EalConfig::default()).unwrap()
}

/// A fresh virtual device.
pub fn open(spec: &str) -> DpdkDevice {
    DpdkDevice::open(&eal(), &spec.parse().unwrap()).unwrap()
}

/// Room for `capacity` ops.
pub fn capacity(capacity: usize) -> QueuePairConfig {
    QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    }
}

/// An op named `seed` on a block made of it.
pub fn rsa_op(key: &Arc<KeyHandle>, seed: u64) -> Box<Op> {
    let Some(Key::Rsa(rsa)) = key.as_local() else {
        panic!("no RSA key")
    };
    let block = block(seed, rsa.modulus_len());
    let mut op = Op::new();
    op.prepare(Token(seed), &Request::rsa_private(key, &block).unwrap(), 0);
    op
}

/// A block below any modulus of `len` bytes.
pub fn block(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut block: Vec<u8> = (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    block[0] = 0;
    block
}

/// Runs `ops`, as many at a time as the queue pair takes; they come back in order of completion.
pub fn run_all(queue_pair: &mut dyn QueuePair, mut ops: Burst) -> Burst {
    let (count, mut done) = (ops.len(), Burst::new());
    let mut idle = 0;
    while done.len() < count {
        queue_pair.enqueue_burst(&mut ops);
        match queue_pair.dequeue_burst(&mut done, 32, 0) {
            0 => idle += 1,
            _ => idle = 0,
        }
        assert!(idle < 1_000_000, "{} of {count} ops came back", done.len());
    }
    done
}
