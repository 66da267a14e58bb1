//! The lanes against OpenSSL: random and edge values, partial lanes, bad lanes, faults.

#![cfg(target_arch = "x86_64")]

mod common;

use std::sync::OnceLock;

use common::{Key, batch, cpu, random_block};
use openssl::bn::BigNum;
use spinlane_rsa52::{LANES, RsaLanes};

const SIZES: [u32; 3] = [2048, 3072, 4096];

/// One key of each size for all tests: making them takes longest.
fn key(bits: u32) -> &'static Key {
    static KEYS: [OnceLock<Key>; 3] = [const { OnceLock::new() }; 3];
    KEYS[bits as usize / 1024 - 2].get_or_init(|| Key::generate(bits))
}

/// Values at which carries and reductions have their edges.
fn edges(key: &Key) -> Vec<Vec<u8>> {
    let small = |value: u32| BigNum::from_u32(value).unwrap();
    let minus_one = |number: &BigNum| {
        let mut less = BigNum::new().unwrap();
        less.checked_sub(number, &small(1)).unwrap();
        less
    };
    let n = key.theirs.n().to_owned().unwrap();
    let (p, q) = (
        key.theirs.p().unwrap().to_owned().unwrap(),
        key.theirs.q().unwrap().to_owned().unwrap(),
    );
    let times = |number: &BigNum, factor: u32| {
        let mut product = BigNum::from_slice(&number.to_vec()).unwrap();
        product.mul_word(factor).unwrap();
        product
    };
    let mut ones = BigNum::new().unwrap();
    ones.lshift(&small(1), n.num_bits() - 1).unwrap();
    // 0, 1 and n-1 have no signature in OpenSSL either; theirs are themselves.
    [
        small(0),
        small(1),
        small(2),
        minus_one(&n),
        minus_one(&minus_one(&n)),
        minus_one(&p),
        minus_one(&q),
        times(&p, 1),
        times(&q, 1),
        times(&p, 2),
        times(&q, 3),
        times(&p, 65537),
        times(&q, u32::MAX),
        minus_one(&ones),
        ones,
    ]
    .iter()
    .map(|value| value.to_vec_padded(n.num_bytes()).unwrap())
    .collect()
}

/// Runs batches over all of `keys`, one in each lane by turns, and compares every result.
fn compare(lanes: &mut RsaLanes, keys: &[&Key], batches: usize) {
    for number in 0..batches {
        let key = |lane: usize| keys[(number * LANES + lane * 13) % keys.len()];
        let keys: [&Key; LANES] = std::array::from_fn(key);
        let blocks = keys.map(random_block);
        let (good, signatures) = batch(lanes, &keys, &blocks);
        assert_eq!(good, [true; LANES]);
        for lane in 0..LANES {
            assert_eq!(
                signatures[lane],
                keys[lane].sign(&blocks[lane]),
                "lane {lane}"
            );
        }
    }
}

#[test]
fn random_blocks_are_signed_as_openssl_does() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = RsaLanes::new(cpu);
    for bits in SIZES {
        let keys = [key(bits), &Key::generate(bits)];
        compare(&mut lanes, &keys, if bits == 2048 { 20 } else { 4 });
    }
}

/// 100,000 pairs over 100 keys of a size. All three take some twenty minutes of a core:
/// `cargo test --release -p spinlane-rsa52 --test openssl -- --ignored --nocapture`.
fn compare_a_hundred_thousand(bits: u32) {
    let Some(cpu) = cpu() else { return };
    let keys: Vec<Key> = (0..100).map(|_| Key::generate(bits)).collect();
    compare(
        &mut RsaLanes::new(cpu),
        &keys.iter().collect::<Vec<_>>(),
        100_000 / LANES,
    );
    eprintln!("RSA-{bits}: 100000 signatures over 100 keys equal to OpenSSL's");
}

#[test]
#[ignore = "100,000 pairs over 100 keys take minutes"]
fn a_hundred_thousand_pairs_of_2048_bits_are_signed_as_openssl_does() {
    compare_a_hundred_thousand(2048);
}

#[test]
#[ignore = "100,000 pairs over 100 keys take minutes"]
fn a_hundred_thousand_pairs_of_3072_bits_are_signed_as_openssl_does() {
    compare_a_hundred_thousand(3072);
}

#[test]
#[ignore = "100,000 pairs over 100 keys take minutes"]
fn a_hundred_thousand_pairs_of_4096_bits_are_signed_as_openssl_does() {
    compare_a_hundred_thousand(4096);
}

#[test]
fn edge_values_are_signed_as_openssl_does() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = RsaLanes::new(cpu);
    for bits in SIZES {
        let key = key(bits);
        let edges = edges(key);
        // Each in every lane, beside others.
        for shift in 0..edges.len() {
            let blocks = std::array::from_fn(|lane| edges[(lane + shift) % edges.len()].clone());
            let (good, signatures) = batch(&mut lanes, &[key; LANES], &blocks);
            assert_eq!(good, [true; LANES]);
            for lane in 0..LANES {
                assert_eq!(
                    signatures[lane],
                    key.power(&blocks[lane]),
                    "lane {lane}, value {shift}"
                );
            }
        }
    }
}

#[test]
fn a_bad_lane_fails_alone() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = RsaLanes::new(cpu);
    for bits in SIZES {
        let key = key(bits);
        let broken = Key {
            theirs: key.theirs.clone(),
            ours: key.broken(),
        };
        for bad in 0..LANES {
            let mut blocks: [Vec<u8>; LANES] = std::array::from_fn(|_| random_block(key));
            let mut keys = [key; LANES];
            // By turns a block not below the modulus, and a key whose prime is none.
            if bad % 2 == 0 {
                blocks[bad].fill(0xff);
            } else {
                keys[bad] = &broken;
            }
            let (good, signatures) = batch(&mut lanes, &keys, &blocks);
            for lane in 0..LANES {
                assert_eq!(good[lane], lane != bad, "bad {bad}, lane {lane}");
                if lane == bad {
                    assert!(
                        signatures[lane].iter().all(|byte| *byte == 0),
                        "nothing leaves"
                    );
                } else {
                    assert_eq!(
                        signatures[lane],
                        key.sign(&blocks[lane]),
                        "bad {bad}, lane {lane}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_any_lane_is_caught() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = RsaLanes::new(cpu);
    for bits in SIZES {
        let key = key(bits);
        for round in 0..32 {
            let blocks = std::array::from_fn(|_| random_block(key));
            let faulty = |lane: usize| (lane * 5 + round * 3) % 8 < 1 + round % 8;
            for lane in (0..LANES).filter(|lane| faulty(*lane)) {
                let bit = (round * 977 + lane * 131) % bits as usize;
                lanes.inject_fault(lane, bit);
            }
            let (good, _) = batch(&mut lanes, &[key; LANES], &blocks);
            assert_eq!(
                good,
                std::array::from_fn(|lane| !faulty(lane)),
                "round {round}"
            );
        }
    }
}

#[test]
#[should_panic(expected = "keys, blocks and outputs of 2048 bits")]
fn keys_of_two_sizes_are_refused() {
    let Some(cpu) = cpu() else {
        panic!("keys, blocks and outputs of 2048 bits cannot be tried")
    };
    let mut keys = [key(2048); LANES];
    keys[5] = key(3072);
    let blocks = std::array::from_fn(|_| random_block(keys[0]));
    batch(&mut RsaLanes::new(cpu), &keys, &blocks);
}

#[test]
fn nothing_stays_in_memory() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = RsaLanes::new(cpu);
    for bits in SIZES {
        let key = key(bits);
        batch(
            &mut lanes,
            &[key; LANES],
            &std::array::from_fn(|_| random_block(key)),
        );
        assert!(lanes.is_wiped(), "{bits}");
    }
}
