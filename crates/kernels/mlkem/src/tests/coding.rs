//! Encoding, compression, sampling.

use super::{Bytes, bit, lines, run, runs, words};
use crate::field::Q;
use crate::pack::{decode, decode_compressed, encode, encode_compressed, from_message, to_message};
use crate::pke::decode_key;
use crate::sample::{accept, small};
use crate::simd::{ZERO, bytes_mut};

const Q_16: i16 = Q as i16;

/// FIPS 203, algorithms 5 and 6, and room behind.
fn slow_encode(words: &[i16], d: usize) -> Vec<u8> {
    let mut packed = vec![0; 32 * d + 64];
    for (i, word) in words.iter().enumerate() {
        for j in 0..d {
            packed[(i * d + j) / 8] |= ((word >> j & 1) as u8) << ((i * d + j) % 8);
        }
    }
    packed
}

fn encoding<const D: usize>() {
    let mut bytes = Bytes(D as u64);
    for _ in 0..200 {
        let words_before: Vec<i16> = (0..256).map(|_| bytes.below(1 << D)).collect();
        let wanted = slow_encode(&words_before, D);
        let mut packed = vec![0; wanted.len()];
        run!(encode::<D>(&lines(&words_before), &mut packed));
        assert_eq!(packed[..32 * D], wanted[..32 * D]);
        // What lies behind does not count.
        packed[32 * D..].fill(0xff);
        assert_eq!(words(&run!(decode::<D>(&packed))), words_before);
    }
}

#[test]
fn words_are_encoded_and_decoded() {
    if !runs() {
        return;
    }
    encoding::<4>();
    encoding::<5>();
    encoding::<10>();
    encoding::<11>();
    encoding::<12>();
}

fn compression<const D: usize>() {
    let round =
        |numerator: i32, denominator: i32| (2 * numerator + denominator) / (2 * denominator);
    for first in (0..Q_16).step_by(256) {
        let all: Vec<i16> = (first..first + 256).map(|x| x.min(Q_16 - 1)).collect();
        let rounded = |x: &i16| (round(i32::from(*x) << D, Q) % (1 << D)) as i16;
        let wanted: Vec<i16> = all.iter().map(rounded).collect();
        let mut packed = vec![0; 32 * D + 64];
        run!(encode_compressed::<D>(&lines(&all), &mut packed));
        assert_eq!(packed[..32 * D], slow_encode(&wanted, D)[..32 * D]);
    }
    for first in (0..1 << D).step_by(256) {
        let all: Vec<i16> = (first..first + 256).map(|x| x & ((1 << D) - 1)).collect();
        let restored = words(&run!(decode_compressed::<D>(&slow_encode(&all, D))));
        for (x, y) in all.iter().zip(restored) {
            assert_eq!(i32::from(y), round(i32::from(*x) * Q, 1 << D));
        }
    }
}

#[test]
fn every_word_is_compressed_and_decompressed() {
    if !runs() {
        return;
    }
    compression::<4>();
    compression::<5>();
    compression::<10>();
    compression::<11>();
}

#[test]
fn every_word_is_a_bit_of_a_message() {
    if !runs() {
        return;
    }
    for first in (0..Q_16).step_by(256) {
        let all: Vec<i16> = (first..first + 256).map(|x| x.min(Q_16 - 1)).collect();
        let mut message = [0; 32];
        run!(to_message(&lines(&all), &mut message));
        for (i, x) in all.iter().enumerate() {
            assert_eq!(bit(&message, i), i16::from((833..=2496).contains(x)), "{x}");
        }
    }
    let message: [u8; 32] = Bytes(1).take();
    let p = words(&run!(from_message(&message)));
    for (i, word) in p.iter().enumerate() {
        assert_eq!(*word, 1665 * bit(&message, i));
    }
}

/// The modulus check: each place, with each value that is too large.
fn modulus_check<const K: usize>() {
    let mut bytes = Bytes(K as u64);
    let good: Vec<i16> = (0..256 * K).map(|_| bytes.below(i64::from(Q))).collect();
    let mut key: Vec<u8> = good
        .chunks(256)
        .flat_map(|p| slow_encode(p, 12)[..384].to_vec())
        .collect();
    key.extend([0xff; 64]);
    let mut decoded = [[ZERO; 8]; K];
    assert!(run!(decode_key(&key, &mut decoded)));
    assert_eq!(words(decoded.as_flattened()), good);
    let put = |key: &mut [u8], place: usize, value: i16| {
        let [low, high] = value.to_le_bytes();
        let at = place / 2 * 3;
        match place % 2 {
            0 => (key[at], key[at + 1]) = (low, key[at + 1] & 0xf0 | high),
            _ => {
                let value = [low << 4, low >> 4 | high << 4];
                (key[at + 1], key[at + 2]) = (key[at + 1] & 0x0f | value[0], value[1]);
            }
        }
    };
    for (place, value) in good.iter().enumerate() {
        for bad in Q_16..4096 {
            put(&mut key, place, bad);
            assert!(!run!(decode_key(&key, &mut decoded)), "{bad} at {place}");
        }
        put(&mut key, place, Q_16 - 1);
        assert!(run!(decode_key(&key, &mut decoded)));
        put(&mut key, place, *value);
    }
}

#[test]
fn no_coefficient_from_q_on_is_taken() {
    if !runs() {
        return;
    }
    modulus_check::<2>();
    modulus_check::<3>();
    modulus_check::<4>();
}

/// FIPS 203, algorithm 7's loop.
fn slow_accept(stream: &[u8], accepted: &mut Vec<i16>) {
    for three in stream.chunks_exact(3) {
        let first = i16::from(three[0]) + 256 * i16::from(three[1] % 16);
        let second = i16::from(three[1] / 16) + 16 * i16::from(three[2]);
        for word in [first, second] {
            if word < Q_16 && accepted.len() < 256 {
                accepted.push(word);
            }
        }
    }
}

#[test]
fn candidates_are_accepted_in_order() {
    if !runs() {
        return;
    }
    let mut bytes = Bytes(4);
    for ones in 0..500 {
        let mut accepted = Vec::new();
        let mut to = [ZERO; 9];
        let mut count = 0;
        let mut blocks = 3;
        while accepted.len() < 256 {
            let mut stream = vec![0xff; blocks * 168 + 40];
            for byte in &mut stream[..blocks * 168] {
                // The more ones, the fewer candidates below q.
                *byte = bytes.word() as u8 | if bytes.word() % 1000 < ones { 0xff } else { 0 };
            }
            slow_accept(&stream[..blocks * 168], &mut accepted);
            count = run!(accept(&mut to, count, &stream));
            assert_eq!(count, accepted.len());
            assert_eq!(words(&to)[..count], accepted);
            blocks = 1;
        }
    }
}

#[test]
fn bits_of_noise_are_counted() {
    if !runs() {
        return;
    }
    let mut bytes = Bytes(5);
    for _ in 0..100 {
        let stream: [u8; 256] = bytes.take();
        let mut noise = [ZERO; 4];
        bytes_mut(&mut noise).copy_from_slice(&stream);
        // FIPS 203, algorithm 8.
        let slow = |eta: usize| -> Vec<i16> {
            let sum = |from: usize| (from..from + eta).map(|i| bit(&stream, i)).sum::<i16>();
            (0..256)
                .map(|i| sum(2 * i * eta) - sum(2 * i * eta + eta))
                .collect()
        };
        assert_eq!(words(&run!(small::<2>(&noise))), slow(2));
        assert_eq!(words(&run!(small::<3>(&noise))), slow(3));
    }
}
