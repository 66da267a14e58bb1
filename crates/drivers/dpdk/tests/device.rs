//! The driver against DPDK's crypto_openssl, in a process of its own: EAL is there once.
#![cfg(feature = "dpdk")]

mod support;

use spinlane_cryptodev::{Device, OpKind, OpStatus, QueuePairConfig, test_keys};
use support::{open, rsa_op, run_all};

#[test]
fn it_offers_rsa_and_is_named_as_in_a_spec() {
    let device = open("crypto_openssl");
    let kinds: Vec<_> = device.capabilities().iter().collect();
    assert_eq!(kinds, [OpKind::Rsa2048, OpKind::Rsa3072, OpKind::Rsa4096]);
    assert_eq!(device.name(), "dpdk:crypto_openssl");
}

#[test]
fn results_are_right_for_every_key_size() {
    let device = open("crypto_openssl");
    let mut queue_pair = device.queue_pair(QueuePairConfig::default()).unwrap();
    for der in [
        test_keys::der::RSA_2048,
        test_keys::der::RSA_2048_E3,
        test_keys::der::RSA_2048_P_BELOW_Q,
        test_keys::der::RSA_3072,
        test_keys::der::RSA_4096,
    ] {
        let key = test_keys::rsa(der);
        let ops = (0..5).map(|seed| rsa_op(&key, seed)).collect();
        for op in run_all(&mut *queue_pair, ops) {
            assert_eq!(op.status, OpStatus::Success);
            assert!(spinlane_cryptodev::cpu::result_is_right(&op));
        }
    }
    assert_eq!(queue_pair.stats().failed, 0);
}
