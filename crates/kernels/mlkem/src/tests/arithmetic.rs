//! Reductions, the transform, products.

use std::arch::x86_64::*;

use super::{Bytes, lines, run, runs, words};
use crate::field::{Factors, Q, canonical, power, reduce};
use crate::ntt::{Multiplier, Poly, backward, dot, forward};

const Q_64: i64 = Q as i64;

fn all_words() -> impl Iterator<Item = Vec<i16>> {
    let lines = (i16::MIN..=i16::MAX).step_by(32);
    lines.map(|first| (first..=first + 31).collect())
}

#[test]
fn every_word_is_reduced() {
    if !runs() {
        return;
    }
    for before in all_words() {
        let line = lines::<1>(&before)[0];
        let reduced = words(&[run!(reduce(line))]);
        let least = words(&[run!(canonical(line))]);
        for ((word, reduced), least) in before.iter().zip(reduced).zip(least) {
            assert!(reduced.abs() < Q as i16, "{word}");
            assert_eq!((reduced - least).rem_euclid(Q as i16), 0, "{word}");
            assert_eq!(i64::from(least), i64::from(*word).rem_euclid(Q_64));
        }
    }
}

#[test]
fn every_word_times_factors() {
    if !runs() {
        return;
    }
    for factor in [0, 1, 17, 1664, 1665, 3328, -1, 1 << 16] {
        let factors = Factors::new([factor; 32]);
        for before in all_words() {
            let products = words(&[run!(factors.times(lines::<1>(&before)[0]))]);
            for (word, product) in before.iter().zip(products) {
                assert!(product.abs() < Q as i16);
                let wanted = (i64::from(*word) * factor).rem_euclid(Q_64);
                assert_eq!(i64::from(product).rem_euclid(Q_64), wanted);
            }
        }
    }
}

/// FIPS 203, algorithm 9.
fn slow_forward(f: &[i64]) -> Vec<i64> {
    let mut f = f.to_vec();
    let mut k = 1;
    let mut distance = 128;
    while distance >= 2 {
        for start in (0..256).step_by(2 * distance) {
            let zeta = power(17, u32::from((k as u8).reverse_bits() >> 1));
            k += 1;
            for i in start..start + distance {
                let product = zeta * f[i + distance];
                f[i + distance] = (f[i] - product).rem_euclid(Q_64);
                f[i] = (f[i] + product).rem_euclid(Q_64);
            }
        }
        distance /= 2;
    }
    f
}

/// FIPS 203, algorithms 11 and 12.
fn slow_product(a: &[i64], b: &[i64]) -> Vec<i64> {
    let pairs = (0..128).flat_map(|i| {
        let gamma = power(17, 2 * u32::from((i as u8).reverse_bits() >> 1) + 1);
        let (a0, a1, b0, b1) = (a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]);
        [a0 * b0 + a1 * b1 % Q_64 * gamma, a0 * b1 + a1 * b0]
    });
    pairs.map(|word| word.rem_euclid(Q_64)).collect()
}

fn wide(p: &[i16]) -> Vec<i64> {
    p.iter().map(|word| i64::from(*word)).collect()
}

fn least(p: &Poly) -> Vec<i64> {
    wide(&words(p))
        .iter()
        .map(|word| word.rem_euclid(Q_64))
        .collect()
}

/// Random polynomials, and those at the ends of what is allowed.
fn polynomials(limit: i16) -> Vec<Vec<i16>> {
    let mut bytes = Bytes(limit as u64);
    let mut all = vec![vec![limit; 256], vec![-limit; 256], vec![0; 256]];
    for _ in 0..20 {
        let random = |_| (bytes.word() % (2 * limit as u64 + 1)) as i64 - i64::from(limit);
        all.push((0..256).map(random).map(|word| word as i16).collect());
        let extreme = |_| if bytes.word() & 1 == 0 { limit } else { -limit };
        all.push((0..256).map(extreme).collect());
    }
    all
}

#[test]
fn transform_is_that_of_the_standard_and_stays_in_bounds() {
    if !runs() {
        return;
    }
    for p in polynomials(Q as i16) {
        let transformed = run!(forward(lines(&p)));
        assert_eq!(least(&transformed), slow_forward(&wide(&p)));
        assert!(
            words(&transformed)
                .iter()
                .all(|word| i32::from(word.abs()) <= 8 * Q)
        );
    }
}

#[test]
fn inverse_undoes_the_transform_of_any_words() {
    if !runs() {
        return;
    }
    for p in polynomials(i16::MAX) {
        let undone = run!(backward(lines(&p)));
        assert!(
            words(&undone)
                .iter()
                .all(|word| i32::from(word.abs()) <= 2 * Q)
        );
        // It multiplies by R.
        let wanted: Vec<_> = wide(&p)
            .iter()
            .map(|word| (word << 16).rem_euclid(Q_64))
            .collect();
        assert_eq!(slow_forward(&least(&undone)), wanted);
    }
}

#[test]
fn sums_of_products_are_those_of_the_standard() {
    if !runs() {
        return;
    }
    let b = polynomials(i16::MAX);
    let a: Vec<Vec<i16>> = polynomials(2047)
        .iter()
        .map(|p| p.iter().map(|word| word + 2048).collect())
        .chain([vec![4095; 256], vec![0; 256]])
        .collect();
    for i in 0..a.len() {
        let a: [&Vec<i16>; 4] = std::array::from_fn(|j| &a[(i + j) % a.len()]);
        let b: [&Vec<i16>; 4] = std::array::from_fn(|j| &b[(i + 5 * j) % b.len()]);
        let a_lines = a.map(|p| lines::<8>(p));
        let b_lines = b.map(|p| run!(Multiplier::new(&lines(p))));
        let sum = run!(dot(a_lines.each_ref().map(|p| p.as_slice()), &b_lines));
        assert!(words(&sum).iter().all(|word| word.abs() < 18_000));
        let mut wanted = vec![0; 256];
        for (a, b) in a.iter().zip(b) {
            for (sum, word) in wanted.iter_mut().zip(slow_product(&wide(a), &wide(b))) {
                *sum += word;
            }
        }
        let times_r = least(&sum).into_iter().map(|word| (word << 16) % Q_64);
        assert_eq!(
            times_r.collect::<Vec<_>>(),
            wanted.iter().map(|w| w % Q_64).collect::<Vec<_>>()
        );
    }
}

/// Multiplication of polynomials mod X^256 + 1, by the book.
#[test]
fn transform_multiplies_polynomials() {
    if !runs() {
        return;
    }
    let mut bytes = Bytes(3);
    let [a, b]: [Vec<i16>; 2] =
        std::array::from_fn(|_| (0..256).map(|_| bytes.below(Q_64)).collect());
    let mut wanted = vec![0; 256];
    for (i, x) in wide(&a).iter().enumerate() {
        for (j, y) in wide(&b).iter().enumerate() {
            let sign = if i + j < 256 { 1 } else { -1 };
            let to: &mut i64 = &mut wanted[(i + j) % 256];
            *to = (*to + sign * x * y).rem_euclid(Q_64);
        }
    }
    let a: Vec<i16> = slow_forward(&wide(&a))
        .iter()
        .map(|word| *word as i16)
        .collect();
    let b = run!(Multiplier::new(&forward(lines(&b))));
    let product = run!(backward(dot([lines::<8>(&a).as_slice()], &[b])));
    assert_eq!(least(&product), wanted);
}

#[test]
fn a_line_has_32_words() {
    assert_eq!(words(&[crate::simd::words16([7; 32])]), [7; 32]);
    assert_eq!(size_of::<__m512i>(), 64);
}
