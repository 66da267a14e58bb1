//! What the queue pair does about ops that a device cannot run, which no request makes: so the tests
//! spoil them on their way, by their tokens.

use spinlane_crypto::Key;
use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys::rsa;
use spinlane_cryptodev::{Device, KeyHandle, Request, Token};

use super::*;
use crate::device::RsaBy;
use crate::ffi::{Session, Spoil};
use crate::{DpdkDevice, Eal, EalConfig};

const NO_SESSION: u64 = 1 << 32;
const LENGTH: u64 = 2 << 32;
const NOT_BELOW: u64 = 3 << 32;
const OPERATION: u64 = 4 << 32;
const WRONG_RESULT: u64 = 5 << 32;

/// How the op with this token is to be spoilt.
pub(super) fn spoil(op: &Op, session: &Session) -> Option<Spoil> {
    match op.token.0 {
        NO_SESSION => Some(Spoil::NoSession),
        LENGTH => Some(Spoil::Length(session.as_ptr())),
        NOT_BELOW => Some(Spoil::NotBelow(session.as_ptr())),
        OPERATION => Some(Spoil::Operation),
        _ => None,
    }
}

/// Flips a bit of the result.
pub(super) fn corrupt(op: &mut Op) {
    if op.token.0 == WRONG_RESULT {
        op.buffers().1[17] ^= 1;
    }
}

fn open(spec: &str) -> DpdkDevice {
    let eal = Eal::init(&EalConfig::default()).expect("EAL");
    DpdkDevice::open(&eal, &spec.parse().expect("a spec")).expect("DPDK's crypto_openssl")
}

fn queue_pair(device: &DpdkDevice, capacity: usize) -> Box<dyn QueuePair> {
    let config = QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    };
    device.queue_pair(config).expect("a queue pair")
}

fn op(token: u64, key: &Arc<KeyHandle>) -> Box<Op> {
    let Some(Key::Rsa(rsa)) = key.as_local() else {
        panic!("an RSA key")
    };
    let mut block = vec![0x33; rsa.modulus_len()];
    block[9] = token as u8;
    let request = Request::rsa_private(key, &block).expect("below the modulus");
    let mut op = Op::new();
    op.prepare(Token(token), &request, 0);
    op
}

fn run(queue_pair: &mut dyn QueuePair, mut ops: Burst) -> Burst {
    let (count, mut done) = (ops.len(), Burst::new());
    for _ in 0..100 * count {
        queue_pair.enqueue_burst(&mut ops);
        queue_pair.dequeue_burst(&mut done, 32, 0);
        if done.len() == count {
            return done;
        }
    }
    panic!("{} of {count} ops came back", done.len());
}

fn xstat(queue_pair: &dyn QueuePair, name: &str) -> u64 {
    let stats = queue_pair.xstats();
    let found = stats.iter().find(|(other, _)| *other == name);
    found.expect("a counter").1
}

#[test]
fn ops_that_the_device_refuses_fail_alone() {
    let key = rsa(der::RSA_2048);
    let device = open("crypto_openssl");
    let mut queue_pair = queue_pair(&device, 8);
    for _ in 0..20 {
        let tokens = [0, NO_SESSION, 1, LENGTH, NOT_BELOW, 2, OPERATION, 3];
        let ops = tokens.iter().map(|token| op(*token, &key)).collect();
        let done = run(&mut *queue_pair, ops);
        for op in &done {
            let expected = if op.token.0 < 4 {
                OpStatus::Success
            } else {
                OpStatus::Error
            };
            assert_eq!(op.status, expected, "{op:?}");
            assert!(op.status == OpStatus::Success || op.output().iter().all(|byte| *byte == 0));
        }
    }
    let stats = queue_pair.stats();
    assert_eq!(
        (stats.enqueued, stats.dequeued, stats.failed),
        (160, 160, 80)
    );
    assert!(xstat(&*queue_pair, "rejected") > 0);
}

#[test]
fn a_wrong_result_does_not_leave() {
    let key = rsa(der::RSA_2048);
    let device = open("crypto_openssl");
    let mut queue_pair = queue_pair(&device, 8);
    let done = run(
        &mut *queue_pair,
        [WRONG_RESULT, 1].map(|token| op(token, &key)).into(),
    );
    for op in &done {
        let wrong = op.token.0 == WRONG_RESULT;
        assert_eq!(op.status == OpStatus::Error, wrong);
        assert_eq!(op.output().iter().all(|byte| *byte == 0), wrong);
    }
    assert_eq!(queue_pair.stats().faults_caught, 1);
}

#[test]
fn operands_that_are_copied_as_for_a_card_are_wiped() {
    let device = open("crypto_openssl");
    let opened = Arc::clone(device.opened());
    let (sessions, mut raw) = opened
        .open_queue_pair(
            |running| Sessions::new(running, opened.id(), RsaBy::Rsa, opened.curves()),
            |running, home| RawQueuePair::new(running, home, 8, true),
        )
        .expect("there is one");
    raw.copy_operands();
    let config = QueuePairConfig {
        capacity: 8,
        ..QueuePairConfig::default()
    };
    let mut queue_pair = DpdkQueuePair::new(opened, raw, sessions, config);
    for der in [der::RSA_2048, der::RSA_3072, der::RSA_4096] {
        let key = rsa(der);
        let tokens = [0, WRONG_RESULT, 1, 2, OPERATION, 3];
        let ops = tokens.iter().map(|token| op(*token, &key)).collect();
        for op in run(&mut queue_pair, ops) {
            assert_eq!(op.status == OpStatus::Success, op.token.0 < 4, "{op:?}");
        }
        assert!(queue_pair.raw.is_wiped());
    }
}

#[test]
fn more_keys_than_sessions_take_turns() {
    let device = open("crypto_openssl");
    let mut queue_pair = queue_pair(&device, 8);
    let keys: Vec<_> = (0..70).map(|_| rsa(der::RSA_2048)).collect();
    for _ in 0..2 {
        for (key, token) in keys.iter().zip(0..) {
            let done = run(&mut *queue_pair, [op(token, key)].into());
            assert_eq!(done[0].status, OpStatus::Success);
        }
    }
    assert_eq!(xstat(&*queue_pair, "sessions"), 64);
    assert_eq!(xstat(&*queue_pair, "sessions_created"), 140);
    // The sessions of keys that are gone go when another key comes.
    drop(keys);
    run(&mut *queue_pair, [op(0, &rsa(der::RSA_2048))].into());
    assert_eq!(xstat(&*queue_pair, "sessions"), 1);
}

#[test]
fn what_was_given_up_comes_back_to_nobody() {
    let key = rsa(der::RSA_2048);
    for spec in ["crypto_openssl", "crypto_openssl,rsa=modexp"] {
        let device = open(spec);
        let mut queue_pair = queue_pair(&device, 6);
        let mut ops: Burst = (0..6).map(|token| op(token, &key)).collect();
        assert_eq!(queue_pair.enqueue_burst(&mut ops), 6);
        // One or more are with the device now, the others wait.
        queue_pair.flush();
        queue_pair.reset();
        let done = run(
            &mut *queue_pair,
            (10..22).map(|token| op(token, &key)).collect(),
        );
        assert!(
            done.iter()
                .all(|op| op.token.0 >= 10 && op.status == OpStatus::Success)
        );
        assert!(xstat(&*queue_pair, "late") > 0);
    }
}
