//! Bulk data on DPDK's devices: what holds up nobody, what is never plaintext, what comes back.
#![cfg(feature = "dpdk")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use spinlane_crypto::aead::{Algorithm, TAG_LEN};
use spinlane_cryptodev::aead::{Direction, Key, MAX_AAD, Op, Request};
use spinlane_cryptodev::{Buffer, Burst, OpStatus, QueuePair};
use spinlane_cryptodev::{Device, DeviceError, QueuePairConfig, Token, cpu};
use spinlane_driver_dpdk::DpdkDevice;
use support::open;

/// Drivers, and something that each of them has.
const DRIVERS: [(&str, Algorithm); 4] = [
    ("crypto_openssl", Algorithm::Aes128Gcm),
    ("crypto_aesni_gcm", Algorithm::Aes256Gcm),
    ("crypto_aesni_mb", Algorithm::Aes128Gcm),
    ("crypto_chacha20_poly1305", Algorithm::ChaCha20Poly1305),
];

fn queue_pair(device: &DpdkDevice, capacity: usize) -> Box<dyn QueuePair<Op>> {
    let config = QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    };
    device.record_queue_pair(config).expect("it has one")
}

fn key(algorithm: Algorithm, byte: u8) -> Arc<Key> {
    Arc::new(Key::new(algorithm, &vec![byte; algorithm.key_len()]).expect("its length"))
}

fn request<'a>(direction: Direction, key: &'a Arc<Key>, nonce: &'a [u8; 12]) -> Request<'a> {
    Request {
        direction,
        key,
        nonce,
        aad: b"aad13bytelong",
        data: 5..105,
    }
}

/// A seal of 100 bytes, named `token`.
fn seal(token: u64, key: &Arc<Key>) -> Box<Op> {
    let mut op = Op::new(Buffer::heap(5 + 100 + TAG_LEN).expect("short"));
    op.buffer_mut().fill(token as u8);
    let nonce = nonce(token);
    op.prepare(Token(token), &request(Direction::Seal, key, &nonce))
        .expect("it fits");
    op
}

fn nonce(token: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&token.to_be_bytes());
    nonce
}

/// Whether `op` is what [`seal`] asked for.
fn is_sealed(op: &Op) -> bool {
    let mut wanted = seal(op.token.0, op.key().expect("it has one"));
    cpu::run_aead(&mut wanted);
    op.status == OpStatus::Success && op.buffer()[..] == wanted.buffer()[..]
}

fn run(queue_pair: &mut dyn QueuePair<Op>, mut ops: Burst<Op>) -> Burst<Op> {
    let (count, mut done, mut idle) = (ops.len(), Burst::new(), 0);
    while done.len() < count {
        queue_pair.enqueue_burst(&mut ops);
        idle = match queue_pair.dequeue_burst(&mut done, 32, 0) {
            0 => idle + 1,
            _ => 0,
        };
        assert!(idle < 1_000_000, "{} of {count} ops came back", done.len());
    }
    done
}

#[test]
fn a_forgery_leaves_zeros_and_disturbs_no_other() {
    for (driver, algorithm) in DRIVERS {
        let device = open(driver);
        let mut queue_pair = queue_pair(&device, 64);
        let key = key(algorithm, 1);
        let mut ops = run(
            &mut *queue_pair,
            (0..40).map(|token| seal(token, &key)).collect(),
        );
        for op in &mut ops {
            assert!(is_sealed(op), "{driver}: {op:?}");
            let (token, nonce) = (op.token, nonce(op.token.0));
            // Every third is falsified, in its data or its tag.
            let spot = 5 + (token.0 as usize * 7) % (100 + TAG_LEN);
            op.buffer_mut()[spot] ^= u8::from(token.0 % 3 == 0);
            op.prepare(token, &request(Direction::Open, &key, &nonce))
                .expect("it fits");
        }
        for op in run(&mut *queue_pair, ops) {
            let (status, byte) = match op.token.0 % 3 {
                0 => (OpStatus::Invalid, 0),
                _ => (OpStatus::Success, op.token.0 as u8),
            };
            assert_eq!(
                (op.status, op.data()),
                (status, &[byte; 100][..]),
                "{driver}"
            );
        }
        assert_eq!(queue_pair.stats().failed, 14, "{driver}");
    }
}

#[test]
fn what_the_device_cannot_serve_comes_back_as_it_came() {
    for (driver, algorithm) in DRIVERS {
        let device = open(driver);
        let mut queue_pair = queue_pair(&device, 64);
        let (key, foreign) = (key(algorithm, 1), key_that_is_not_served(&device));
        let mut ops = Burst::new();
        for token in 0..9 {
            ops.push(match token % 3 {
                0 => seal(token, &key),
                1 => Op::new(Buffer::heap(50).expect("short")),
                _ => match &foreign {
                    Some(foreign) => seal(token, foreign),
                    None => seal(token, &key),
                },
            });
        }
        let done = run(&mut *queue_pair, ops);
        let sealed = done.iter().filter(|op| op.key().is_some() && is_sealed(op));
        assert_eq!(
            sealed.count(),
            if foreign.is_some() { 3 } else { 6 },
            "{driver}"
        );
        let undone = done.iter().filter(|op| op.status == OpStatus::NotProcessed);
        for op in undone {
            assert_eq!(op.data(), [op.token.0 as u8; 100], "{driver}");
        }
        let failed = done.iter().filter(|op| op.status == OpStatus::Error);
        assert_eq!(failed.count(), 3, "{driver}: those that nobody prepared");
    }
}

fn key_that_is_not_served(device: &DpdkDevice) -> Option<Arc<Key>> {
    let has = device.record_capabilities();
    let missing = Algorithm::ALL
        .into_iter()
        .find(|algorithm| !has.has(*algorithm));
    missing.map(|algorithm| key(algorithm, 9))
}

#[test]
fn a_full_ring_refuses_and_holds_one_less_than_its_descriptors() {
    let device = open("crypto_aesni_gcm,descriptors=64");
    let mut queue_pair = queue_pair(&device, 256);
    assert_eq!(queue_pair.capacity(), 63);
    let key = key(Algorithm::Aes128Gcm, 1);
    let mut ops: Burst<Op> = (0..70).map(|token| seal(token, &key)).collect();
    assert_eq!(queue_pair.enqueue_burst(&mut ops), 63);
    assert_eq!(queue_pair.enqueue_burst(&mut ops), 0);
    let left: Vec<_> = ops.iter().map(|op| (op.token.0, op.status)).collect();
    let wanted: Vec<_> = (63..70)
        .map(|token| (token, OpStatus::NotProcessed))
        .collect();
    assert_eq!(left, wanted);
    let mut done = Burst::new();
    while queue_pair.dequeue_burst(&mut done, 10, 0) > 0 {
        queue_pair.enqueue_burst(&mut ops);
    }
    let tokens: BTreeSet<_> = done.iter().map(|op| op.token.0).collect();
    assert_eq!(tokens.len(), 70);
    assert!(done.iter().all(|op| is_sealed(op)));
}

#[test]
fn a_session_per_key_direction_and_aad_length_ends_after_the_key() {
    let device = open("crypto_aesni_gcm");
    let mut queue_pair = queue_pair(&device, 64);
    let sessions = |queue_pair: &dyn QueuePair<Op>| {
        let xstats = queue_pair.xstats();
        ["sessions", "sessions_created"].map(|wanted| {
            let found = xstats.iter().find(|(name, _)| *name == wanted);
            found.expect("it is counted").1
        })
    };
    let keys: Vec<_> = (0..20)
        .map(|byte| key(Algorithm::Aes128Gcm, byte))
        .collect();
    for _ in 0..3 {
        let ops = (0..60).map(|token| seal(token, &keys[token as usize % 20]));
        let done = run(&mut *queue_pair, ops.collect());
        assert!(done.iter().all(|op| is_sealed(op)));
    }
    assert_eq!(sessions(&*queue_pair), [20, 20]);
    drop(keys);
    // Far more keys than there are sessions, each used once: the dead leave.
    for token in 0..3000 {
        let key = key(Algorithm::Aes128Gcm, token as u8);
        let done = run(&mut *queue_pair, Burst::from([seal(token, &key)]));
        assert!(is_sealed(&done[0]), "{token}");
    }
    let [alive, created] = sessions(&*queue_pair);
    assert!(alive <= 1024 && created == 3020, "{alive} alive");
    // More keys alive than sessions: they take turns.
    let keys: Vec<_> = (0..1100)
        .map(|byte| key(Algorithm::Aes128Gcm, byte as u8))
        .collect();
    for (token, key) in (0..).zip(&keys).chain((0..).zip(&keys)) {
        let done = run(&mut *queue_pair, Burst::from([seal(token, key)]));
        assert!(is_sealed(&done[0]), "{token}");
    }
}

#[test]
fn a_session_with_an_op_in_flight_makes_no_room_for_another() {
    let device = open("crypto_aesni_gcm,descriptors=2048");
    let mut queue_pair = queue_pair(&device, 1100);
    let keys: Vec<_> = (0..1100)
        .map(|byte| key(Algorithm::Aes128Gcm, byte as u8))
        .collect();
    let ops = (0..).zip(&keys).map(|(token, key)| seal(token, key));
    let done = run(&mut *queue_pair, ops.collect());
    let undone = done.iter().filter(|op| op.status == OpStatus::NotProcessed);
    assert_eq!(undone.count(), 1100 - 1024);
    assert_eq!(done.iter().filter(|op| is_sealed(op)).count(), 1024);
}

#[test]
fn a_stopped_device_gives_back_what_it_has_not_begun() {
    let device = open("crypto_aesni_mb");
    let mut queue_pair = queue_pair(&device, 64);
    assert!(queue_pair.is_inline());
    let key = key(Algorithm::Aes128Gcm, 1);
    let mut ops: Burst<Op> = (0..10).map(|token| seal(token, &key)).collect();
    assert_eq!(queue_pair.enqueue_burst(&mut ops), 10);
    device.stop().expect("nobody else uses it");
    let mut done = Burst::new();
    assert_eq!(queue_pair.dequeue_burst(&mut done, 32, 0), 10);
    assert!(done.iter().all(|op| op.status == OpStatus::NotProcessed));
    assert!(done.iter().all(|op| op.data() == [op.token.0 as u8; 100]));
    device.start().expect("it was started before");
    let done = run(&mut *queue_pair, done);
    assert!(done.iter().all(|op| is_sealed(op)));
}

#[test]
fn every_length_that_the_device_names_is_served() {
    for (driver, algorithm) in DRIVERS {
        let device = open(driver);
        let mut queue_pair = queue_pair(&device, 256);
        let key = key(algorithm, 1);
        let lengths = [0, 1, 15, 16, 17, 63, 255, 4096, 16_401, 65_000];
        let asked: Vec<_> = lengths
            .iter()
            .flat_map(|len| [0, 5, 13, 16, 63, MAX_AAD].map(|aad| (*len, aad)))
            .collect();
        let prepared = |(token, (len, aad)): (usize, &(usize, usize))| {
            let mut op = Op::new(queue_pair.buffer(len + TAG_LEN).expect("memory"));
            let request = Request {
                direction: Direction::Seal,
                key: &key,
                nonce: &nonce(token as u64),
                aad: &[7; MAX_AAD][..*aad],
                data: 0..*len,
            };
            op.prepare(Token(token as u64), &request).expect("it fits");
            let mut wanted = Op::new(Buffer::heap(len + TAG_LEN).expect("short"));
            wanted.prepare(Token(0), &request).expect("it fits");
            cpu::run_aead(&mut wanted);
            (op, wanted)
        };
        let (ops, wanted): (Burst<Op>, Vec<_>) = asked.iter().enumerate().map(prepared).unzip();
        for op in run(&mut *queue_pair, ops) {
            let (len, aad) = asked[op.token.0 as usize];
            let wanted = &wanted[op.token.0 as usize];
            assert_eq!(
                op.status,
                OpStatus::Success,
                "{driver}: {len} bytes, {aad} of AAD"
            );
            assert!(
                op.buffer()[..] == wanted.buffer()[..],
                "{driver}: {len} bytes, {aad} of AAD"
            );
        }
    }
}

#[test]
fn a_queue_pair_for_rsa_of_a_device_that_only_seals_is_refused() {
    let device = open("crypto_aesni_gcm");
    let error = device
        .queue_pair(QueuePairConfig::default())
        .err()
        .expect("no RSA");
    assert!(
        matches!(error, DeviceError::Unavailable { missing: "RSA", .. }),
        "{error}"
    );
    assert!(!open("crypto_openssl").record_capabilities().is_empty());
}
