//! What the soft device promises as a device.

use spinlane_crypto::test_keys::der;
use spinlane_crypto::{Key, mlkem};
use spinlane_cryptodev::test_keys::{ed25519, p256, p384, rsa};
use spinlane_cryptodev::{
    Burst, Capabilities, Device, DeviceError, Op, OpKind, OpStatus, QueuePair, QueuePairConfig,
    Request, Token,
};
use spinlane_driver_soft::{BUDGET_US, SoftDevice};

fn open(capacity: usize) -> Box<dyn QueuePair> {
    let config = QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    };
    SoftDevice::new()
        .queue_pair(config)
        .expect("a capacity in range")
}

fn op(token: u64, request: &Request<'_>) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(Token(token), request, 0);
    op
}

fn drain(queue: &mut dyn QueuePair) -> Burst {
    let mut done = Burst::new();
    while queue.dequeue_burst(&mut done, usize::MAX, 0) > 0 {}
    done
}

#[test]
fn serves_every_kind() {
    let mut queue = open(OpKind::COUNT);
    assert_eq!(queue.capabilities(), Capabilities::ALL);
    let rsa_keys = [rsa(der::RSA_2048), rsa(der::RSA_3072), rsa(der::RSA_4096)];
    let ec = p256(1);
    let mut ops = Burst::new();
    for (token, key) in (0..).zip(&rsa_keys) {
        let Some(Key::Rsa(rsa)) = key.as_local() else {
            panic!("an RSA key")
        };
        let block = vec![0x21; rsa.modulus_len()];
        ops.push(op(
            token,
            &Request::rsa_private(key, &block).expect("below the modulus"),
        ));
    }
    ops.push(op(
        3,
        &Request::ecdsa_p256(&ec, &[7; 32]).expect("32 bytes"),
    ));
    ops.push(op(
        4,
        &Request::ecdsa_p384(&p384(1), &[7; 48]).expect("48 bytes"),
    ));
    ops.push(op(
        5,
        &Request::ed25519(&ed25519(1), b"message").expect("short"),
    ));
    ops.push(op(6, &Request::x25519_keygen(&[1; 32])));
    ops.push(op(7, &Request::x25519_derive(&[1; 32], &[9; 32])));
    let (Some(Key::EcP256(p256)), p384) = (ec.as_local(), p384(2)) else {
        panic!("a P-256 key")
    };
    let Some(Key::EcP384(p384)) = p384.as_local() else {
        panic!("a P-384 key")
    };
    let (peer256, peer384) = (p256.public_key(), p384.public_key());
    let requests = [
        Request::ecdh_p256_keygen(&[1; 32]),
        Request::ecdh_p256_derive(&[1; 32], &peer256),
        Request::ecdh_p384_keygen(&[1; 48]),
        Request::ecdh_p384_derive(&[1; 48], &peer384),
        Ok(Request::x25519_exchange(&[1; 32], &[9; 32])),
        Request::ecdh_p256_exchange(&[1; 32], &peer256),
        Request::ecdh_p384_exchange(&[1; 48], &peer384),
    ];
    ops.extend(
        (8..)
            .zip(requests)
            .map(|(token, request)| op(token, &request.expect("in range"))),
    );
    let (mut public, mut private) = ([0; 1184], [0; 2400]);
    assert!(mlkem::generate(&[1; 64], &mut public, &mut private));
    ops.push(op(15, &Request::ml_kem_768_keygen(&[1; 64])));
    ops.push(op(16, &Request::ml_kem_768_encap(&public, &[2; 32])));
    ops.push(op(17, &Request::ml_kem_768_decap(&private, &[3; 1088])));
    assert_eq!(queue.enqueue_burst(&mut ops), OpKind::COUNT);

    let done = drain(&mut *queue);
    let kinds: Vec<OpKind> = done.iter().map(|op| op.kind()).collect();
    assert_eq!(kinds, OpKind::ALL, "in the order of submission");
    for (token, op) in (0..).zip(&done) {
        assert_eq!((op.token, op.status), (Token(token), OpStatus::Success));
        match op.key().and_then(|key| key.as_local()) {
            Some(Key::Rsa(key)) => assert!(key.verify_raw(op.output(), op.input())),
            Some(Key::EcP256(key)) => {
                let (digest, signature) = (op.input().try_into(), op.output().try_into());
                assert!(key.verify(digest.expect("32 bytes"), signature.expect("64 bytes")));
            }
            Some(Key::EcP384(key)) => {
                let (digest, signature) = (op.input().try_into(), op.output().try_into());
                assert!(key.verify(digest.expect("48 bytes"), signature.expect("96 bytes")));
            }
            Some(Key::Ed25519(key)) => {
                let signature = op.output().try_into().expect("64 bytes");
                assert!(key.verify(op.input(), signature));
            }
            None => assert!(op.output().iter().any(|byte| *byte != 0)),
        }
    }
}

#[test]
fn refuses_what_exceeds_its_capacity_unchanged() {
    let mut queue = open(2);
    assert_eq!(queue.capacity(), 2);
    let mut ops: Burst = (0..5)
        .map(|i| op(i, &Request::x25519_keygen(&[1; 32])))
        .collect();
    assert_eq!(queue.enqueue_burst(&mut ops), 2);
    let left: Vec<_> = ops.iter().map(|op| (op.token, op.status)).collect();
    assert_eq!(left, [2, 3, 4].map(|i| (Token(i), OpStatus::NotProcessed)));
    assert_eq!(queue.enqueue_burst(&mut ops), 0, "still full");

    let mut done = Burst::new();
    assert_eq!(queue.dequeue_burst(&mut done, 1, 0), 1);
    assert_eq!(queue.enqueue_burst(&mut ops), 1, "one place is free again");
    assert_eq!(drain(&mut *queue).len(), 2);
    let stats = queue.stats();
    assert_eq!((stats.enqueued, stats.dequeued, stats.failed), (3, 3, 0));
}

#[test]
fn one_call_gives_at_most_max() {
    let mut queue = open(8);
    let mut ops: Burst = (0..3)
        .map(|i| op(i, &Request::x25519_keygen(&[1; 32])))
        .collect();
    queue.enqueue_burst(&mut ops);
    let mut done = Burst::new();
    assert_eq!(queue.dequeue_burst(&mut done, 0, 0), 0);
    assert_eq!(queue.dequeue_burst(&mut done, 2, 0), 2);
    assert_eq!(queue.dequeue_burst(&mut done, 2, 0), 1);
}

#[test]
fn one_call_computes_for_a_bounded_time() {
    let mut queue = open(64);
    let key = rsa(der::RSA_2048);
    let block = [0x21; 256];
    let mut ops: Burst = (0..2)
        .map(|i| {
            op(
                i,
                &Request::rsa_private(&key, &block).expect("below the modulus"),
            )
        })
        .chain((2..40).map(|i| op(i, &Request::x25519_keygen(&[1; 32]))))
        .collect();
    queue.enqueue_burst(&mut ops);
    let mut done = Burst::new();
    assert_eq!(
        queue.dequeue_burst(&mut done, 64, 0),
        1,
        "an RSA op fills a call"
    );
    assert_eq!(queue.dequeue_burst(&mut done, 64, 0), 1);
    let cheap = queue.dequeue_burst(&mut done, 64, 0);
    assert!(
        cheap > 1 && cheap as u32 <= BUDGET_US,
        "{cheap} cheap ops share a call"
    );
}

#[test]
fn a_low_order_point_fails_alone() {
    let mut queue = open(8);
    let mut ops: Burst = [[9; 32], [0; 32], [9; 32]]
        .iter()
        .map(|peer| op(0, &Request::x25519_derive(&[1; 32], peer)))
        .collect();
    queue.enqueue_burst(&mut ops);
    let status: Vec<_> = drain(&mut *queue).iter().map(|op| op.status).collect();
    assert_eq!(
        status,
        [OpStatus::Success, OpStatus::Invalid, OpStatus::Success]
    );
    assert_eq!(queue.stats().failed, 1);
}

#[test]
fn an_op_that_nobody_prepared_is_invalid() {
    let mut queue = open(1);
    queue.enqueue_burst(&mut Burst::from([Op::new()]));
    assert_eq!(drain(&mut *queue)[0].status, OpStatus::Invalid);
}

#[test]
fn a_capacity_out_of_range_is_named() {
    for capacity in [0, usize::MAX] {
        let config = QueuePairConfig {
            capacity,
            ..QueuePairConfig::default()
        };
        let error = SoftDevice::new()
            .queue_pair(config)
            .err()
            .expect("out of range");
        assert!(
            matches!(error, DeviceError::Setting { setting: "capacity", value, .. } if value == capacity)
        );
    }
}
