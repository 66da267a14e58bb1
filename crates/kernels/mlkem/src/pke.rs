//! K-PKE (FIPS 203, 5) of one lane, whose hashing has been done.

use std::arch::x86_64::*;

use crate::field::{Factors, canonical, power};
use crate::ntt::{Multiplier, Poly, backward, dot, forward};
use crate::pack::{
    decode, decode_compressed, encode, encode_compressed, from_message, is_canonical, to_message,
};
use crate::sample::{Noise, small};
use crate::simd::{Line, bytes, bytes_mut};
use crate::work::{Lane, Scratch};

/// R: what [`dot`] divides by.
static R: Factors = Factors::new([power(2, 16); 32]);

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add(a: &Poly, b: &Poly) -> Poly {
    let mut sum = *a;
    for (sum, b) in sum.iter_mut().zip(b) {
        *sum = _mm512_add_epi16(*sum, *b);
    }
    sum
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn subtract(a: &Poly, b: &Poly) -> Poly {
    let mut difference = *a;
    for (difference, b) in difference.iter_mut().zip(b) {
        *difference = _mm512_sub_epi16(*difference, *b);
    }
    difference
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn all_canonical(p: &Poly) -> Poly {
    let mut all = *p;
    for words in &mut all {
        *words = canonical(*words);
    }
    all
}

/// Samples noise that is multiplied: eta 3 for ML-KEM-512, else 2.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn small_1<const K: usize>(noise: &Noise) -> Poly {
    match K {
        2 => small::<3>(noise),
        _ => small::<2>(noise),
    }
}

/// Returns the length in bytes of 256 compressed words: of the ciphertext's vector, and of its last
/// polynomial.
pub(crate) const fn compressed_lens(k: usize) -> (usize, usize) {
    match k {
        4 => (32 * 11, 32 * 5),
        _ => (32 * 10, 32 * 4),
    }
}

/// Decodes the key's vector, and says whether it is canonical: the modulus check (FIPS 203, 7.2).
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) fn decode_key<const K: usize>(key: &[u8], to: &mut [Poly; K]) -> bool {
    let mut good = true;
    for (i, p) in to.iter_mut().enumerate() {
        *p = decode::<12>(&key[384 * i..]);
        good &= is_canonical(p);
    }
    good
}

/// Computes the keys' vectors from matrix and noise (K-PKE.KeyGen). `decapsulation_key` and the
/// lane's key are written 384 K bytes, and 16 more.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
pub(crate) fn generate<const K: usize>(
    lane: &mut Lane<K>,
    scratch: &mut Scratch<K>,
    decapsulation_key: &mut [u8],
) {
    for j in 0..K {
        let secret = forward(small_1::<K>(&lane.noise[j]));
        encode::<12>(&all_canonical(&secret), &mut decapsulation_key[384 * j..]);
        let mut scaled = secret;
        for words in &mut scaled {
            *words = R.times(*words);
        }
        scratch.multipliers[j] = Multiplier::new(&scaled);
    }
    for i in 0..K {
        let row: [&[Line]; K] = std::array::from_fn(|j| &lane.matrix[i][j][..8]);
        let error = forward(small_1::<K>(&lane.noise[K + i]));
        // Within q and 8 q: less than 2^15.
        let public = add(&dot(row, &scratch.multipliers), &error);
        encode::<12>(
            &all_canonical(&public),
            &mut bytes_mut(&mut lane.key)[384 * i..],
        );
    }
}

/// Encrypts the lane's message (K-PKE.Encrypt), under the key whose vector is in
/// `scratch.polynomials`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
pub(crate) fn encrypt<const K: usize>(lane: &mut Lane<K>, scratch: &mut Scratch<K>) {
    for j in 0..K {
        scratch.multipliers[j] = Multiplier::new(&forward(small_1::<K>(&lane.noise[j])));
    }
    let (vector_len, _) = compressed_lens(K);
    let to = bytes_mut(&mut lane.ciphertext);
    for i in 0..K {
        let column: [&[Line]; K] = std::array::from_fn(|j| &lane.matrix[j][i][..8]);
        let product = backward(dot(column, &scratch.multipliers));
        let u = all_canonical(&add(&product, &small::<2>(&lane.noise[K + i])));
        let to = &mut to[vector_len * i..];
        match K {
            4 => encode_compressed::<11>(&u, to),
            _ => encode_compressed::<10>(&u, to),
        }
    }
    let key: [&[Line]; K] = std::array::from_fn(|j| &scratch.polynomials[j][..]);
    let product = backward(dot(key, &scratch.multipliers));
    let message = from_message(&bytes(std::slice::from_ref(&lane.message))[..32]);
    let noise = add(&small::<2>(&lane.noise[2 * K]), &message);
    let v = all_canonical(&add(&product, &noise));
    let to = &mut to[vector_len * K..];
    match K {
        4 => encode_compressed::<5>(&v, to),
        _ => encode_compressed::<4>(&v, to),
    }
}

/// Decrypts `ciphertext`, which 48 bytes follow (K-PKE.Decrypt).
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
pub(crate) fn decrypt<const K: usize>(
    decapsulation_key: &[u8],
    ciphertext: &[u8],
    scratch: &mut Scratch<K>,
    message: &mut Line,
) {
    let (vector_len, _) = compressed_lens(K);
    for j in 0..K {
        let from = &ciphertext[vector_len * j..];
        let u = match K {
            4 => decode_compressed::<11>(from),
            _ => decode_compressed::<10>(from),
        };
        scratch.multipliers[j] = Multiplier::new(&forward(u));
        scratch.polynomials[j] = decode::<12>(&decapsulation_key[384 * j..]);
    }
    let secret: [&[Line]; K] = std::array::from_fn(|j| &scratch.polynomials[j][..]);
    let product = backward(dot(secret, &scratch.multipliers));
    let from = &ciphertext[vector_len * K..];
    let v = match K {
        4 => decode_compressed::<5>(from),
        _ => decode_compressed::<4>(from),
    };
    let w = all_canonical(&subtract(&v, &product));
    to_message(&w, &mut bytes_mut(std::slice::from_mut(message))[..32]);
}
