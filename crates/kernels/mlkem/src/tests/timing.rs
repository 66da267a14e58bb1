//! A statistical search for what time tells about secrets, after Reparaz, Balasch and
//! Verbauwhede, "Dude, is my code constant time?" (2017).
//!
//! Two classes of inputs, one fixed and one random, are timed in random order, in eight lanes that
//! all have the same input. Welch's t says how surely the classes' means differ: above 4.5 there is
//! a leak. Each search is done on all measurements and on those below several percentiles, since
//! interrupts hide what is small.
//!
//! What is public is the same in both classes. Of a key pair to be made the seed tells the matrix,
//! and the time tells how that is sampled; so generation is searched with a matrix of its own.
//!
//! ```text
//! MLKEM_MEASUREMENTS=1000000 cargo test --release -p spinlane-mlkem --lib timing -- \
//!     --ignored --nocapture --test-threads 1
//! ```

use std::hint::black_box;
use std::time::Instant;

use super::{Bytes, run, runs};
use crate::pke::generate;
use crate::simd::{Cpu, ZERO, bytes_mut};
use crate::work::Work;
use crate::{Decapsulation, Encapsulation, KeyGeneration, LANES, MlKem768};

/// Above this t, dudect's authors call the difference certain enough.
const THRESHOLD: f64 = 4.5;

/// Bytes of the secret vector, with which a decapsulation key begins.
const VECTOR: usize = 1152;

/// How often each operation is measured: 20,000 times, or as often as `MLKEM_MEASUREMENTS` says.
fn measurements() -> usize {
    match std::env::var("MLKEM_MEASUREMENTS") {
        Ok(count) => count.parse().expect("MLKEM_MEASUREMENTS is a number"),
        Err(_) => 20_000,
    }
}

/// Measures `run` and returns the largest |t|. `prepare` makes an input and is given a mask, all
/// ones for the random class; it takes the same steps for both, so that stores and caches tell
/// nothing.
fn search<S>(
    what: &str,
    state: &mut S,
    prepare: impl Fn(&mut S, &mut Bytes, u8),
    run: impl Fn(&mut S),
) -> f64 {
    let count = measurements();
    let mut random = Bytes(1);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let class = random.word() & 0x100 != 0;
        prepare(
            state,
            &mut random,
            black_box(u8::from(class).wrapping_neg()),
        );
        let start = Instant::now();
        run(state);
        times.push((class, start.elapsed().as_nanos() as u64));
    }
    let mut sorted: Vec<u64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable();
    let crops = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];
    let t = crops.map(|crop| {
        let limit = sorted[((count - 1) as f64 * crop) as usize];
        welch(times.iter().filter(|(_, time)| *time <= limit))
    });
    let largest = t.iter().fold(0.0, |largest: f64, t| largest.max(t.abs()));
    let median = sorted[count / 2];
    eprintln!(
        "{what}: {count} measurements, median {median} ns: largest |t| {largest:.2} of {t:.2?}"
    );
    largest
}

/// Welch's t of the two classes' times.
fn welch<'a>(times: impl Iterator<Item = &'a (bool, u64)>) -> f64 {
    let (mut count, mut mean, mut squares) = ([0.0; 2], [0.0; 2], [0.0; 2]);
    for &(class, time) in times {
        let (class, time) = (usize::from(class), time as f64);
        count[class] += 1.0;
        let delta = time - mean[class];
        mean[class] += delta / count[class];
        squares[class] += delta * (time - mean[class]);
    }
    let error = |class: usize| squares[class] / (count[class] - 1.0) / count[class];
    (mean[0] - mean[1]) / (error(0) + error(1)).sqrt()
}

/// Makes `to` `random` where the mask is all ones, else `fixed`; reads both.
fn select(to: &mut [u8], mask: u8, random: &[u8], fixed: &[u8]) {
    for ((to, random), fixed) in to.iter_mut().zip(random).zip(fixed) {
        *to = random & mask | fixed & !mask;
    }
}

/// A key pair, an encapsulation for it, and what is given to the operation that is searched.
struct State {
    lanes: MlKem768,
    encapsulation_key: Vec<u8>,
    decapsulation_key: Vec<u8>,
    sealed: Vec<u8>,
    /// m, or a decapsulation key.
    secret: Vec<u8>,
    ciphertext: Vec<u8>,
    /// How secrets of the random class begin.
    others: Vec<Vec<u8>>,
    out: [(Vec<u8>, [u8; 32]); LANES],
}

impl State {
    fn new(cpu: Cpu) -> Self {
        let mut lanes = MlKem768::new(cpu);
        let (encapsulation_key, decapsulation_key) = pair(&mut lanes, &[1; 32]);
        let mut sealed = vec![0; MlKem768::CIPHERTEXT];
        let outcome = lanes.encapsulate(&mut [Encapsulation {
            encapsulation_key: &encapsulation_key,
            m: &[9; 32],
            ciphertext: &mut sealed,
            shared_secret: &mut [0; 32],
        }]);
        assert!(outcome[0].is_ok());
        Self {
            lanes,
            secret: decapsulation_key.clone(),
            ciphertext: sealed.clone(),
            encapsulation_key,
            decapsulation_key,
            sealed,
            others: Vec::new(),
            out: std::array::from_fn(|_| (vec![0; MlKem768::CIPHERTEXT], [0; 32])),
        }
    }

    /// Makes the secret begin as the fixed class's does, or as one of the others.
    fn choose(&mut self, fixed: &[u8], random: &mut Bytes, mask: u8) {
        let other = &self.others[random.word() as usize % self.others.len()];
        select(&mut self.secret[..fixed.len()], mask, other, fixed);
    }

    fn encapsulate(&mut self) {
        let m = self.secret.first_chunk().unwrap();
        let key = &self.encapsulation_key;
        let mut ops = self
            .out
            .each_mut()
            .map(|(ciphertext, shared_secret)| Encapsulation {
                encapsulation_key: key,
                m,
                ciphertext,
                shared_secret,
            });
        assert!(self.lanes.encapsulate(&mut ops).iter().all(Result::is_ok));
    }

    fn decapsulate(&mut self) {
        let (key, ciphertext) = (&self.secret, &self.ciphertext);
        let mut ops = self.out.each_mut().map(|(_, shared_secret)| Decapsulation {
            decapsulation_key: key,
            ciphertext,
            shared_secret,
        });
        assert!(self.lanes.decapsulate(&mut ops).iter().all(Result::is_ok));
    }
}

/// Returns the keys of a seed.
fn pair(lanes: &mut MlKem768, d: &[u8; 32]) -> (Vec<u8>, Vec<u8>) {
    let mut encapsulation_key = vec![0; MlKem768::ENCAPSULATION_KEY];
    let mut decapsulation_key = vec![0; MlKem768::DECAPSULATION_KEY];
    lanes.generate(&mut [KeyGeneration {
        d,
        z: &[7; 32],
        encapsulation_key: &mut encapsulation_key,
        decapsulation_key: &mut decapsulation_key,
    }]);
    (encapsulation_key, decapsulation_key)
}

fn state() -> Option<State> {
    runs().then(|| State::new(Cpu::detect().unwrap()))
}

fn no_leak(t: f64) {
    assert!(t < THRESHOLD, "a leak: t = {t}");
}

/// The steps of a generation that see the secret: the hash of d, the noise, the arithmetic.
#[test]
#[ignore = "measures for a while; wants a quiet core"]
fn generation_takes_the_same_time_for_all_seeds() {
    if !runs() {
        return;
    }
    let mut work = Box::new(Work::<3>::ZERO);
    run!(work.sample_matrices(Work::<3>::queue(LANES)));
    let mut state = (work, [0; 32], vec![0; MlKem768::DECAPSULATION_KEY]);
    type Generation = (Box<Work<3>>, [u8; 32], Vec<u8>);
    let prepare = |(_, d, _): &mut Generation, random: &mut Bytes, mask| {
        select(d, mask, &random.take::<32>(), &[1; 32]);
    };
    let t = search("generation, d", &mut state, prepare, |(work, d, out)| {
        let mut seed = ZERO;
        bytes_mut(std::slice::from_mut(&mut seed))[..32].copy_from_slice(d);
        let seeds = run!(work.hash_seeds([seed; LANES]));
        for (lane, seed) in work.lanes.iter_mut().zip(seeds) {
            lane.seed = seed;
        }
        run!(work.expand_noise(LANES, 6));
        let Work { lanes, scratch, .. } = &mut **work;
        for lane in lanes {
            run!(generate(lane, scratch, out));
        }
    });
    no_leak(t);
}

#[test]
#[ignore = "measures for a while; wants a quiet core"]
fn encapsulation_takes_the_same_time_for_all_messages() {
    let Some(mut state) = state() else { return };
    let mut random = Bytes(3);
    state.others = (0..256).map(|_| random.take::<32>().to_vec()).collect();
    let prepare = |state: &mut State, random: &mut Bytes, mask| {
        state.choose(&[0; 32], random, mask);
    };
    no_leak(search(
        "encapsulation, m",
        &mut state,
        prepare,
        State::encapsulate,
    ));
}

/// Other vectors with the fixed key's public half: all reject but the fixed one.
#[test]
#[ignore = "measures for a while; wants a quiet core"]
fn decapsulation_takes_the_same_time_for_all_keys() {
    let Some(mut state) = state() else { return };
    let mut random = Bytes(4);
    let other = |_| pair(&mut state.lanes, &random.take()).1[..VECTOR].to_vec();
    state.others = (0..256).map(other).collect();
    let fixed = state.decapsulation_key[..VECTOR].to_vec();
    let prepare = |state: &mut State, random: &mut Bytes, mask| {
        state.choose(&fixed, random, mask);
    };
    no_leak(search(
        "decapsulation, key",
        &mut state,
        prepare,
        State::decapsulate,
    ));
}

/// The random class has a bit of the ciphertext flipped.
fn falsify(state: &mut State, random: &mut Bytes, mask: u8) {
    state.ciphertext.copy_from_slice(&state.sealed);
    let bit = random.word() as usize % (8 * state.ciphertext.len());
    state.ciphertext[bit / 8] ^= mask & (1 << (bit % 8));
}

#[test]
#[ignore = "measures for a while; wants a quiet core"]
fn decapsulation_takes_the_same_time_for_false_ciphertexts() {
    let Some(mut state) = state() else { return };
    no_leak(search(
        "decapsulation, rejected",
        &mut state,
        falsify,
        State::decapsulate,
    ));
}

/// The search finds what naive code does: it compares until a byte differs.
#[test]
#[ignore = "measures for a while; wants a quiet core"]
fn a_naive_comparison_is_found() {
    let Some(mut state) = state() else { return };
    let t = search("naive comparison", &mut state, falsify, |state| {
        state.decapsulate();
        let mut pairs = state.ciphertext.iter().zip(&state.sealed);
        black_box(pairs.all(|(a, b)| black_box(a) == black_box(b)));
    });
    assert!(t > 10.0, "the search is blind: t = {t}");
}
