//! ML-KEM-768 beside AWS-LC and libcrux (its AVX2), by turns on one core:
//! `cargo bench -p spinlane-mlkem`.
//!
//! Every side starts from bytes, as TLS does: an encapsulation parses the peer's key, a
//! decapsulation the expanded one. Randomness is given to all. A round is some milliseconds of
//! each side; a round in which the thread was preempted does not count. Ratios are of
//! operations per second, ours over theirs, the median of the rounds (least to largest).

#[cfg(target_arch = "x86_64")]
#[path = "../tests/common/mod.rs"]
mod common;

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("skipped: not an x86-64 CPU");
}

#[cfg(target_arch = "x86_64")]
fn main() {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let pinned = cores
        .last()
        .is_some_and(|core| core_affinity::set_for_current(*core));
    let Some(cpu) = common::cpu() else { return };
    println!(
        "ML-KEM-768, operations per second{}",
        if pinned { "" } else { ", not pinned" }
    );
    beside::run(cpu);
}

#[cfg(target_arch = "x86_64")]
mod beside {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use libcrux_ml_kem::mlkem768 as libcrux;
    use spinlane_mlkem::{Cpu, Decapsulation, Encapsulation, KeyGeneration, LANES, MlKem768};

    use super::common::*;

    const ROUNDS: usize = 60;
    const SLICE: Duration = Duration::from_millis(4);

    /// One side: does some operations and says how many.
    type Side<'a> = (&'static str, Box<dyn FnMut() -> usize + 'a>);

    /// How often the kernel has taken the core away from this thread.
    fn preemptions() -> i64 {
        // SAFETY: a zeroed rusage is a value, and the kernel writes one.
        unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
            usage.ru_nivcsw
        }
    }

    fn per_second(side: &mut dyn FnMut() -> usize) -> f64 {
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < SLICE {
            done += side();
        }
        done as f64 / start.elapsed().as_secs_f64()
    }

    fn median(mut values: Vec<f64>) -> [f64; 3] {
        values.sort_by(f64::total_cmp);
        [
            values[values.len() / 2],
            values[0],
            values[values.len() - 1],
        ]
    }

    fn compare(what: &str, mut sides: Vec<Side<'_>>) {
        for (_, side) in &mut sides {
            per_second(side);
        }
        let mut rounds: Vec<Vec<f64>> = Vec::new();
        let mut thrown_away = 0;
        while rounds.len() < ROUNDS && thrown_away < 10 * ROUNDS {
            let before = preemptions();
            let round = sides.iter_mut().map(|(_, side)| per_second(side)).collect();
            match preemptions() == before {
                true => rounds.push(round),
                false => thrown_away += 1,
            }
        }
        if rounds.is_empty() {
            return println!("{what}: no round without preemption");
        }
        print!("{what:<22}");
        for (i, (name, _)) in sides.iter().enumerate() {
            let [typical, ..] = median(rounds.iter().map(|round| round[i]).collect());
            print!(" {name} {typical:>7.0}");
            if i > 0 {
                let ratios = rounds.iter().map(|round| round[0] / round[i]).collect();
                let [ratio, least, largest] = median(ratios);
                print!(" ({ratio:.2}; {least:.2} to {largest:.2})");
            }
        }
        println!("  {} rounds, {thrown_away} thrown away", rounds.len());
    }

    pub fn run(cpu: Cpu) {
        let mut lanes = MlKem768::new(cpu);
        let mut random = Bytes(1);
        let seeds = seeds(&mut random, LANES);
        let pairs = our_pairs(&mut lanes, &seeds);
        let messages: Vec<[u8; 32]> = seeds.iter().map(|_| random.take()).collect();
        let keys = pairs.iter().map(|pair| pair.encapsulation_key.as_slice());
        let inputs: Vec<_> = keys.zip(messages.iter().copied()).collect();
        let sealed = our_encapsulations(&mut lanes, &inputs);
        let sealed: Vec<Sealed> = sealed.into_iter().map(Result::unwrap).collect();

        for fill in [8, 4, 2, 1] {
            compare(
                &format!("encapsulate, {fill} lanes"),
                vec![
                    ("ours", encapsulate(&mut lanes, &inputs[..fill])),
                    ("aws-lc", their_encapsulate(&inputs)),
                    ("libcrux", libcrux_encapsulate(&inputs)),
                ],
            );
        }
        for fill in [8, 1] {
            compare(
                &format!("generate, {fill} lanes"),
                vec![
                    ("ours", generate(&mut lanes, &seeds[..fill])),
                    ("aws-lc", their_generate(&seeds)),
                    ("libcrux", libcrux_generate(&seeds)),
                ],
            );
        }
        for fill in [8, 1] {
            compare(
                &format!("decapsulate, {fill} lanes"),
                vec![
                    ("ours", decapsulate(&mut lanes, &pairs[..fill], &sealed)),
                    ("aws-lc", their_decapsulate(&pairs, &sealed)),
                    ("libcrux", libcrux_decapsulate(&pairs, &sealed)),
                ],
            );
        }
    }

    fn encapsulate<'a>(
        lanes: &'a mut MlKem768,
        inputs: &'a [(&[u8], [u8; 32])],
    ) -> Box<dyn FnMut() -> usize + 'a> {
        let mut outputs = vec![([0; MlKem768::CIPHERTEXT], [0; 32]); inputs.len()];
        Box::new(move || {
            let mut ops: Vec<_> = inputs
                .iter()
                .zip(&mut outputs)
                .map(|((key, m), (ciphertext, shared_secret))| Encapsulation {
                    encapsulation_key: key,
                    m,
                    ciphertext,
                    shared_secret,
                })
                .collect();
            assert!(lanes.encapsulate(&mut ops).iter().all(Result::is_ok));
            ops.len()
        })
    }

    fn their_encapsulate<'a>(inputs: &'a [(&[u8], [u8; 32])]) -> Box<dyn FnMut() -> usize + 'a> {
        Box::new(move || {
            for (key, m) in inputs {
                black_box(their_encapsulation::<3>(key, m).unwrap());
            }
            inputs.len()
        })
    }

    fn libcrux_encapsulate<'a>(inputs: &'a [(&[u8], [u8; 32])]) -> Box<dyn FnMut() -> usize + 'a> {
        Box::new(move || {
            for (key, m) in inputs {
                let key = libcrux::MlKem768PublicKey::try_from(*key).unwrap();
                assert!(libcrux::validate_public_key(&key));
                black_box(libcrux::encapsulate(&key, *m));
            }
            inputs.len()
        })
    }

    fn generate<'a>(
        lanes: &'a mut MlKem768,
        seeds: &'a [[u8; 64]],
    ) -> Box<dyn FnMut() -> usize + 'a> {
        const KEYS: (usize, usize) = (MlKem768::ENCAPSULATION_KEY, MlKem768::DECAPSULATION_KEY);
        let mut outputs = vec![([0; KEYS.0], [0; KEYS.1]); seeds.len()];
        Box::new(move || {
            let mut ops: Vec<_> = seeds
                .iter()
                .zip(&mut outputs)
                .map(
                    |(seed, (encapsulation_key, decapsulation_key))| KeyGeneration {
                        d: seed.first_chunk().unwrap(),
                        z: seed.last_chunk().unwrap(),
                        encapsulation_key,
                        decapsulation_key,
                    },
                )
                .collect();
            lanes.generate(&mut ops);
            ops.len()
        })
    }

    fn their_generate<'a>(seeds: &'a [[u8; 64]]) -> Box<dyn FnMut() -> usize + 'a> {
        Box::new(move || {
            for seed in seeds {
                black_box(their_pair::<3>(seed));
            }
            seeds.len()
        })
    }

    fn libcrux_generate<'a>(seeds: &'a [[u8; 64]]) -> Box<dyn FnMut() -> usize + 'a> {
        Box::new(move || {
            for seed in seeds {
                black_box(libcrux::generate_key_pair(*seed));
            }
            seeds.len()
        })
    }

    fn decapsulate<'a>(
        lanes: &'a mut MlKem768,
        pairs: &'a [Pair],
        sealed: &'a [Sealed],
    ) -> Box<dyn FnMut() -> usize + 'a> {
        let mut outputs = vec![[0; 32]; pairs.len()];
        Box::new(move || {
            let mut ops: Vec<_> = pairs
                .iter()
                .zip(sealed)
                .zip(&mut outputs)
                .map(|((pair, sealed), shared_secret)| Decapsulation {
                    decapsulation_key: &pair.decapsulation_key,
                    ciphertext: &sealed.ciphertext,
                    shared_secret,
                })
                .collect();
            assert!(lanes.decapsulate(&mut ops).iter().all(Result::is_ok));
            ops.len()
        })
    }

    fn their_decapsulate<'a>(
        pairs: &'a [Pair],
        sealed: &'a [Sealed],
    ) -> Box<dyn FnMut() -> usize + 'a> {
        Box::new(move || {
            for (pair, sealed) in pairs.iter().zip(sealed) {
                let key = &pair.decapsulation_key;
                black_box(their_decapsulation::<3>(key, &sealed.ciphertext).unwrap());
            }
            pairs.len()
        })
    }

    fn libcrux_decapsulate<'a>(
        pairs: &'a [Pair],
        sealed: &'a [Sealed],
    ) -> Box<dyn FnMut() -> usize + 'a> {
        Box::new(move || {
            for (pair, sealed) in pairs.iter().zip(sealed) {
                let key = pair.decapsulation_key.as_slice();
                let key = libcrux::MlKem768PrivateKey::try_from(key).unwrap();
                let ciphertext = sealed.ciphertext.as_slice();
                let ciphertext = libcrux::MlKem768Ciphertext::try_from(ciphertext).unwrap();
                assert!(libcrux::validate_private_key(&key, &ciphertext));
                black_box(libcrux::decapsulate(&key, &ciphertext));
            }
            pairs.len()
        })
    }
}
