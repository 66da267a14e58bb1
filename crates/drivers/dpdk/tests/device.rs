//! The driver against DPDK's crypto_openssl, in a process of its own: EAL is there once.
#![cfg(feature = "dpdk")]

mod support;

use std::thread;

use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys;
use spinlane_cryptodev::{Burst, Device, DeviceError, OpKind, OpStatus, QueuePairConfig};
use spinlane_driver_dpdk::{DpdkDevice, OpenError};
use support::{block, capacity, eal, open, rsa_op, run_all};

/// The device's ways of computing RSA.
const SPECS: [&str; 2] = ["crypto_openssl", "crypto_openssl,rsa=modexp"];

#[test]
fn it_offers_rsa_and_is_named_as_in_a_spec() {
    for spec in SPECS {
        let device = open(spec);
        let kinds: Vec<_> = device.capabilities().iter().collect();
        assert_eq!(kinds, [OpKind::Rsa2048, OpKind::Rsa3072, OpKind::Rsa4096]);
        assert_eq!(device.name(), "dpdk:crypto_openssl");
        let queue_pair = device.queue_pair(QueuePairConfig::default()).unwrap();
        assert_eq!(queue_pair.name(), device.name());
        assert_eq!(queue_pair.capabilities(), device.capabilities());
        assert!(!queue_pair.is_inline(), "it can be stopped");
    }
}

/// `count` random blocks per key, equal to OpenSSL's own results.
fn agrees_with_openssl(spec: &str, count: u64) {
    let device = open(spec);
    let mut queue_pair = device.queue_pair(QueuePairConfig::default()).unwrap();
    for der in [
        der::RSA_2048,
        der::RSA_2048_E3,
        der::RSA_2048_P_BELOW_Q,
        der::RSA_3072,
        der::RSA_4096,
    ] {
        let (key, theirs) = (test_keys::rsa(der), Rsa::private_key_from_der(der).unwrap());
        let ops = (0..count).map(|seed| rsa_op(&key, seed)).collect();
        for op in run_all(&mut *queue_pair, ops) {
            assert_eq!(op.status, OpStatus::Success);
            let expected = raw(&theirs, &block(op.token.0, op.input().len()));
            assert!(
                op.output() == expected,
                "{op:?} of {} bits",
                8 * expected.len()
            );
        }
    }
    assert_eq!(queue_pair.stats().failed, 0);
}

fn raw(key: &Rsa<Private>, block: &[u8]) -> Vec<u8> {
    let mut out = vec![0; block.len()];
    key.private_encrypt(block, &mut out, Padding::NONE).unwrap();
    out
}

#[test]
fn results_are_openssls() {
    for spec in SPECS {
        agrees_with_openssl(spec, 40);
    }
}

#[test]
#[ignore = "takes minutes; run by name"]
fn ten_thousand_results_are_openssls() {
    agrees_with_openssl("crypto_openssl", 10_000);
}

#[test]
fn a_ring_of_n_descriptors_holds_one_less() {
    let key = test_keys::rsa(der::RSA_2048);
    for (spec, asked, holds) in [
        ("crypto_openssl,descriptors=64", 256, 63),
        ("crypto_openssl,descriptors=64", 5, 5),
        ("crypto_openssl,descriptors=64,rsa=modexp", 256, 31),
    ] {
        let device = open(spec);
        let mut queue_pair = device.queue_pair(capacity(asked)).unwrap();
        assert_eq!(queue_pair.capacity(), holds);
        let mut ops: Burst = (0..100).map(|seed| rsa_op(&key, seed)).collect();
        assert_eq!(queue_pair.enqueue_burst(&mut ops), holds);
        // What was refused is unchanged, and first in the queue still.
        assert_eq!(ops.len(), 100 - holds);
        assert_eq!(ops[0].token.0, holds as u64);
        assert_eq!(ops[0].input(), block(holds as u64, 256));
        assert_eq!(queue_pair.enqueue_burst(&mut ops), 0);
        let done = run_all(&mut *queue_pair, ops);
        assert!(done.iter().all(|op| op.status == OpStatus::Success));
    }
}

#[test]
fn threads_have_queue_pairs_of_their_own() {
    let key = test_keys::rsa(der::RSA_2048);
    let device = open("crypto_openssl,queue_pairs=3");
    thread::scope(|scope| {
        for seed in 0..3 {
            let (key, device) = (&key, &device);
            scope.spawn(move || {
                let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
                let ops = (0..20).map(|n| rsa_op(key, 100 * seed + n)).collect();
                let done = run_all(&mut *queue_pair, ops);
                assert!(done.iter().all(|op| op.status == OpStatus::Success));
            });
        }
    });
    assert_eq!(device.free_queue_pairs(), 3);
}

#[test]
fn queue_pairs_come_to_an_end_and_back() {
    let device = open("crypto_openssl,queue_pairs=1");
    let only = device.queue_pair(capacity(16)).unwrap();
    let said = device.queue_pair(capacity(16)).err().unwrap().to_string();
    assert!(said.contains("a free queue pair is missing"), "{said}");
    drop(only);
    device.queue_pair(capacity(16)).unwrap();
    for wrong in [0, 1 << 17] {
        let error = device.queue_pair(capacity(wrong)).err().unwrap();
        assert!(matches!(error, DeviceError::Setting { .. }), "{error}");
    }
}

#[test]
fn a_device_that_cannot_be_had_is_named() {
    let error = |spec: &str| DpdkDevice::open(&eal(), &spec.parse().unwrap()).unwrap_err();
    assert!(
        matches!(error("crypto_warp"), OpenError::NotFound { name, .. } if name == "crypto_warp")
    );
    // With the feature `null` it is opened, to be measured.
    if cfg!(not(feature = "null")) {
        let useless = error("crypto_null");
        assert!(matches!(useless, OpenError::Useless { .. }));
        let said = useless.to_string();
        assert!(said.contains("dpdk:crypto_null offers no"), "{said}");
    }
}

#[test]
fn a_stopped_device_fails_its_ops_and_goes_on_when_it_is_started() {
    let key = test_keys::rsa(der::RSA_2048);
    let device = open("crypto_openssl,queue_pairs=2");
    let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
    let ops = |from: u64| -> Burst { (from..from + 8).map(|n| rsa_op(&key, n)).collect() };
    run_all(&mut *queue_pair, ops(0));

    device.stop().unwrap();
    let done = run_all(&mut *queue_pair, ops(10));
    assert!(done.iter().all(|op| op.status == OpStatus::Error));
    device.start().unwrap();
    let done = run_all(&mut *queue_pair, ops(20));
    assert!(done.iter().all(|op| op.status == OpStatus::Success));

    // Under another thread's hands nobody stops it.
    thread::scope(|scope| {
        let refused = scope.spawn(|| device.stop().unwrap_err());
        assert!(matches!(refused.join().unwrap(), OpenError::Refused { .. }));
    });
}

#[test]
fn what_is_opened_and_dropped_leaves_nothing_behind() {
    let key = test_keys::rsa(der::RSA_2048);
    let round = || {
        let device = open("crypto_openssl,queue_pairs=2");
        let mut queue_pairs: Vec<_> = (0..2)
            .map(|_| device.queue_pair(capacity(32)).unwrap())
            .collect();
        for queue_pair in &mut queue_pairs {
            run_all(&mut **queue_pair, (0..4).map(|n| rsa_op(&key, n)).collect());
            // Dropped with some in flight.
            queue_pair.enqueue_burst(&mut (0..4).map(|n| rsa_op(&key, n)).collect());
            queue_pair.flush();
        }
    };
    // Other tests of this process allocate meanwhile: as many rounds as it takes them to end.
    for _ in 0..2000 {
        let before = eal().heap_stats(0).unwrap();
        round();
        if eal().heap_stats(0).unwrap() == before {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("a device opened and dropped takes memory");
}
