//! What one lane does to another: nothing. And what is refused.

#![cfg(target_arch = "x86_64")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::*;
use spinlane_mlkem::{Encapsulation, LANES, Lanes, MlKem768, Refused};

/// A full batch of operations of all three kinds.
struct Batch {
    seeds: Vec<[u8; 64]>,
    pairs: Vec<Pair>,
    messages: Vec<[u8; 32]>,
    sealed: Vec<Sealed>,
}

impl Batch {
    fn of<const K: usize>(lanes: &mut Lanes<K>, bytes: &mut Bytes) -> Self {
        let seeds = seeds(bytes, LANES);
        let pairs = our_pairs(lanes, &seeds);
        let messages: Vec<[u8; 32]> = (0..LANES).map(|_| bytes.take()).collect();
        let mut batch = Self {
            seeds,
            pairs,
            messages,
            sealed: Vec::new(),
        };
        let sealed = our_encapsulations(lanes, &batch.encapsulations());
        batch.sealed = sealed.into_iter().map(Result::unwrap).collect();
        batch
    }

    fn encapsulations(&self) -> Vec<(&[u8], [u8; 32])> {
        let keys = self
            .pairs
            .iter()
            .map(|pair| pair.encapsulation_key.as_slice());
        keys.zip(self.messages.iter().copied()).collect()
    }

    fn decapsulations(&self) -> Vec<(&[u8], &[u8])> {
        let keys = self
            .pairs
            .iter()
            .map(|pair| pair.decapsulation_key.as_slice());
        keys.zip(
            self.sealed
                .iter()
                .map(|sealed| sealed.ciphertext.as_slice()),
        )
        .collect()
    }
}

fn any_fill<const K: usize>() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<K>::new(cpu);
    let batch = Batch::of(&mut lanes, &mut Bytes(8));
    for first in 0..LANES {
        for end in first + 1..=LANES {
            let pairs = our_pairs(&mut lanes, &batch.seeds[first..end]);
            assert_eq!(pairs, batch.pairs[first..end]);
            let sealed = our_encapsulations(&mut lanes, &batch.encapsulations()[first..end]);
            for (sealed, wanted) in sealed.iter().zip(&batch.sealed[first..end]) {
                assert_eq!(sealed.as_ref(), Ok(wanted));
            }
            let secrets = our_decapsulations(&mut lanes, &batch.decapsulations()[first..end]);
            for (secret, wanted) in secrets.iter().zip(&batch.sealed[first..end]) {
                assert_eq!(secret.as_ref(), Ok(&wanted.shared_secret));
            }
        }
    }
}

#[test]
fn any_fill_gives_the_same_results() {
    any_fill::<2>();
    any_fill::<3>();
    any_fill::<4>();
}

#[test]
fn a_refused_lane_changes_no_other() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = MlKem768::new(cpu);
    let batch = Batch::of(&mut lanes, &mut Bytes(9));
    for bad in 0..LANES {
        // Keys: empty, short, long, all ones.
        let (short, long, ones) = ([0; 1183], [0; 1185], [0xff; 1184]);
        let len = |len| Refused::EncapsulationKeyLength { len, wanted: 1184 };
        for (key, why) in [
            (&[][..], len(0)),
            (&short[..], len(1183)),
            (&long[..], len(1185)),
            (&ones[..], Refused::Coefficient),
        ] {
            let mut inputs = batch.encapsulations();
            inputs[bad].0 = key;
            for (i, sealed) in our_encapsulations(&mut lanes, &inputs).iter().enumerate() {
                let wanted = if i == bad {
                    Err(&why)
                } else {
                    Ok(&batch.sealed[i])
                };
                assert_eq!(sealed.as_ref(), wanted);
            }
        }
        // Decapsulation: keys of another length, ciphertexts too, a damaged key.
        let mut damaged = batch.pairs[bad].decapsulation_key.clone();
        damaged[1152 + 5] ^= 1;
        let mut other_hash = batch.pairs[bad].decapsulation_key.clone();
        other_hash[2336 + 31] ^= 0x80;
        let key = batch.pairs[bad].decapsulation_key.as_slice();
        let ciphertext = batch.sealed[bad].ciphertext.as_slice();
        let key_len = |len| Refused::DecapsulationKeyLength { len, wanted: 2400 };
        let ciphertext_len = |len| Refused::CiphertextLength { len, wanted: 1088 };
        for (input, why) in [
            ((&key[1..], ciphertext), key_len(2399)),
            ((&[][..], ciphertext), key_len(0)),
            ((key, &ciphertext[1..]), ciphertext_len(1087)),
            ((key, &[][..]), ciphertext_len(0)),
            ((&damaged, ciphertext), Refused::Hash),
            ((&other_hash, ciphertext), Refused::Hash),
        ] {
            let mut inputs = batch.decapsulations();
            inputs[bad] = input;
            for (i, secret) in our_decapsulations(&mut lanes, &inputs).iter().enumerate() {
                let wanted = if i == bad {
                    Err(&why)
                } else {
                    Ok(&batch.sealed[i].shared_secret)
                };
                assert_eq!(secret.as_ref(), wanted);
            }
        }
    }
}

/// Each coefficient in turn is one that AWS-LC refuses too.
#[test]
fn every_coefficient_of_a_key_is_checked() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = MlKem768::new(cpu);
    let mut bytes = Bytes(10);
    let batch = Batch::of(&mut lanes, &mut bytes);
    for coefficient in 0..768 {
        let bad = coefficient % LANES;
        let mut key = batch.pairs[bad].encapsulation_key.clone();
        let value = 3329 + bytes.below(4096 - 3329);
        let at = coefficient / 2 * 3;
        if coefficient % 2 == 0 {
            key[at] = value as u8;
            key[at + 1] = key[at + 1] & 0xf0 | (value >> 8) as u8;
        } else {
            key[at + 1] = key[at + 1] & 0x0f | (value << 4) as u8;
            key[at + 2] = (value >> 4) as u8;
        }
        let mut inputs = batch.encapsulations();
        inputs[bad].0 = &key;
        for (i, sealed) in our_encapsulations(&mut lanes, &inputs).iter().enumerate() {
            let wanted = if i == bad {
                Err(&Refused::Coefficient)
            } else {
                Ok(&batch.sealed[i])
            };
            assert_eq!(sealed.as_ref(), wanted);
        }
        assert_eq!(their_encapsulation::<3>(&key, &batch.messages[bad]), None);
    }
}

fn each_byte_of_a_ciphertext<const K: usize>() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = Lanes::<K>::new(cpu);
    let mut bytes = Bytes(11);
    let batch = Batch::of(&mut lanes, &mut bytes);
    for at in 0..Lanes::<K>::CIPHERTEXT {
        let bad = at % LANES;
        let mut ciphertext = batch.sealed[bad].ciphertext.clone();
        ciphertext[at] ^= 1 << bytes.below(8);
        let mut inputs = batch.decapsulations();
        inputs[bad].1 = &ciphertext;
        let key = batch.pairs[bad].decapsulation_key.as_slice();
        let rejected = their_decapsulation::<K>(key, &ciphertext).unwrap();
        assert_ne!(rejected, batch.sealed[bad].shared_secret);
        let secrets = our_decapsulations(&mut lanes, &inputs);
        for (i, secret) in secrets.iter().enumerate() {
            let wanted = match i == bad {
                true => rejected,
                false => batch.sealed[i].shared_secret,
            };
            assert_eq!(*secret, Ok(wanted), "byte {at}, lane {i}");
        }
    }
}

/// A changed byte gives the secret that AWS-LC's rejection gives.
#[test]
fn every_byte_of_a_ciphertext_counts() {
    each_byte_of_a_ciphertext::<2>();
    each_byte_of_a_ciphertext::<3>();
    each_byte_of_a_ciphertext::<4>();
}

/// The caller's mistakes are said at once.
#[test]
fn mistakes_of_the_caller_panic() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = MlKem768::new(cpu);
    let (key, m) = ([0; 1184], [0; 32]);
    let mut panics = |count: usize, ciphertext: usize| {
        let mut outputs = vec![(vec![0; ciphertext], [0; 32]); count];
        let mut ops: Vec<_> = outputs
            .iter_mut()
            .map(|(ciphertext, shared_secret)| Encapsulation {
                encapsulation_key: &key,
                m: &m,
                ciphertext,
                shared_secret,
            })
            .collect();
        let call = AssertUnwindSafe(|| lanes.encapsulate(&mut ops));
        catch_unwind(call).is_err()
    };
    assert!(!panics(1, 1088) && !panics(8, 1088));
    assert!(panics(0, 1088) && panics(9, 1088));
    assert!(panics(1, 1087) && panics(1, 1089));
}
