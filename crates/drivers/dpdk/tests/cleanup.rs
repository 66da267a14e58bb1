//! EAL's end, in a process of its own.
#![cfg(feature = "dpdk")]

mod support;

use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys;
use spinlane_cryptodev::{Device, OpStatus};
use spinlane_driver_dpdk::{Eal, EalConfig, EalError};
use support::{capacity, eal, open, rsa_op, run_all};

#[test]
fn eal_is_cleaned_up_last_and_once() {
    assert_eq!(Eal::adopt().unwrap_err(), EalError::NotRunning);
    let key = test_keys::rsa(der::RSA_2048);
    let device = open("crypto_openssl");
    let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
    drop(device);
    // The queue pair keeps its device, and both keep EAL.
    assert_eq!(eal().cleanup(), Err(EalError::InUse));
    let done = run_all(&mut *queue_pair, [rsa_op(&key, 1)].into());
    assert_eq!(done[0].status, OpStatus::Success);
    drop(queue_pair);
    assert_eq!(eal().cleanup(), Ok(()));
    assert_eq!(
        Eal::init(&EalConfig::default()).unwrap_err(),
        EalError::CleanedUp
    );
}
