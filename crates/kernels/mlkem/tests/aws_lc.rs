//! Whole operations beside AWS-LC's.

#![cfg(target_arch = "x86_64")]

mod common;

use common::*;
use spinlane_mlkem::{LANES, Lanes};

/// Random operations in batches of random fill: key pairs, ciphertexts, secrets, and secrets of
/// ciphertexts in which a bit has been flipped.
fn random_operations<const K: usize>(operations: usize) {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<K>::new(cpu);
    let mut bytes = Bytes(operations as u64 + K as u64);
    let mut done = 0;
    while done < operations {
        let fill = 1 + bytes.below(LANES);
        let seeds = seeds(&mut bytes, fill);
        let pairs = our_pairs(&mut lanes, &seeds);
        let theirs: Vec<_> = seeds.iter().map(their_pair::<K>).collect();
        assert_eq!(pairs, theirs);

        let messages: Vec<[u8; 32]> = (0..fill).map(|_| bytes.take()).collect();
        let inputs: Vec<_> = pairs
            .iter()
            .zip(&messages)
            .map(|(pair, m)| (pair.encapsulation_key.as_slice(), *m))
            .collect();
        let sealed = our_encapsulations(&mut lanes, &inputs);
        for ((key, m), sealed) in inputs.iter().zip(&sealed) {
            assert_eq!(
                their_encapsulation::<K>(key, m).as_ref(),
                sealed.as_ref().ok()
            );
        }

        let ciphertexts: Vec<_> = sealed
            .iter()
            .map(|sealed| {
                let mut ciphertext = sealed.as_ref().unwrap().ciphertext.clone();
                if bytes.below(2) == 0 {
                    let bit = bytes.below(8 * ciphertext.len());
                    ciphertext[bit / 8] ^= 1 << (bit % 8);
                }
                ciphertext
            })
            .collect();
        let inputs: Vec<_> = pairs
            .iter()
            .zip(&ciphertexts)
            .map(|(pair, ciphertext)| (pair.decapsulation_key.as_slice(), ciphertext.as_slice()))
            .collect();
        let secrets = our_decapsulations(&mut lanes, &inputs);
        for (((key, ciphertext), secret), sealed) in inputs.iter().zip(secrets).zip(&sealed) {
            let secret = secret.unwrap();
            assert_eq!(their_decapsulation::<K>(key, ciphertext), Some(secret));
            let sealed = sealed.as_ref().unwrap();
            let as_sent = sealed.ciphertext.as_slice() == *ciphertext;
            assert_eq!(sealed.shared_secret == secret, as_sent);
        }
        done += fill;
    }
}

#[test]
fn random_operations_of_ml_kem_512() {
    random_operations::<2>(1000);
}

#[test]
fn random_operations_of_ml_kem_768() {
    random_operations::<3>(4000);
}

#[test]
fn random_operations_of_ml_kem_1024() {
    random_operations::<4>(1000);
}

/// Some minutes.
#[test]
#[ignore = "a million operations of ML-KEM-768, three kinds each"]
fn a_million_random_operations() {
    random_operations::<3>(1_000_000);
}

/// A secret vector whose coefficients have q added wherever twelve bits have room for it. FIPS 203
/// takes them mod q: the key opens what the proper one opens.
#[test]
fn a_secret_vector_is_taken_mod_q() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<3>::new(cpu);
    let mut bytes = Bytes(12);
    for seed in seeds(&mut bytes, LANES) {
        let mut pair = our_pairs(&mut lanes, &[seed])[0].clone();
        let sealed = their_encapsulation::<3>(&pair.encapsulation_key, &bytes.take()).unwrap();
        let mut changed = 0;
        for three in pair.decapsulation_key[..1152].chunks_exact_mut(3) {
            let both = u32::from_le_bytes([three[0], three[1], three[2], 0]);
            let [low, high] = [both & 4095, both >> 12].map(|coefficient| {
                changed += usize::from(coefficient + 3329 < 4096);
                if coefficient + 3329 < 4096 {
                    coefficient + 3329
                } else {
                    coefficient
                }
            });
            three.copy_from_slice(&(low | high << 12).to_le_bytes()[..3]);
        }
        assert!(changed > 100);
        let input = (
            pair.decapsulation_key.as_slice(),
            sealed.ciphertext.as_slice(),
        );
        assert_eq!(
            our_decapsulations(&mut lanes, &[input]),
            [Ok(sealed.shared_secret)]
        );
        assert_eq!(
            their_decapsulation::<3>(input.0, input.1),
            Some(sealed.shared_secret)
        );
    }
}
