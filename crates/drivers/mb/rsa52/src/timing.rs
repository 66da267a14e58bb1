//! A statistical search for what time tells about secrets, after Reparaz, Balasch and
//! Verbauwhede, "Dude, is my code constant time?" (2017).
//!
//! Two classes of inputs, one fixed and one random, are timed in random order. Welch's t says how
//! surely their means differ: above 4.5 there is a leak, and 10^6 measurements find differences of
//! a few picoseconds. Each search is done on all measurements and on those below several
//! percentiles, since interrupts hide what is small.
//!
//! ```text
//! cargo test --release -p spinlane-rsa52 timing -- --ignored --nocapture --test-threads 1
//! ```
//!
//! Whole operations take minutes. With `RSA52_TALLY=FILE` their times are kept there, and added to those of earlier runs.

use std::hint::black_box;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::PrivateKey;
use crate::kernel::layout::{ENTRIES, WINDOW, modulus, scratch};
use crate::kernel::{Context, Cpu};
use crate::line::{LANES, LOW_52, Line};
use crate::rsa::{RsaLanes, load_modulus};
use crate::scalar::{Limbs, k0};
use crate::tests::{openssl_key, private_key};

/// Above this t, dudect's authors call the difference certain enough.
const THRESHOLD: f64 = 4.5;

/// xorshift: the classes must not be told apart by their order.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 12
    }

    fn line(&mut self) -> Line {
        Line(std::array::from_fn(|_| self.next() & LOW_52))
    }
}

/// Measures `count` times: `prepare` makes an input of the class it is told, `run` is timed.
/// Returns the largest |t|.
///
/// `prepare` is given a mask, all ones for the random class, and takes the same steps for both: two
/// ways of writing an input leave different traces in store buffers and caches, which the
/// measurement would find.
fn search<S>(
    count: usize,
    state: S,
    prepare: impl Fn(&mut S, &mut Random, u64),
    run: impl Fn(&mut S),
) -> f64 {
    largest_t(&measure(count, state, prepare, run))
}

/// A class, random if `true`, and nanoseconds.
type Time = (bool, u64);

fn measure<S>(
    count: usize,
    mut state: S,
    prepare: impl Fn(&mut S, &mut Random, u64),
    run: impl Fn(&mut S),
) -> Vec<Time> {
    // Other inputs in each run, so that those of several add up.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ since_1970.as_nanos() as u64);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let class = random.next() & 0x100 != 0;
        let mask = black_box(u64::from(class).wrapping_neg());
        prepare(&mut state, &mut random, mask);
        let start = Instant::now();
        run(&mut state);
        times.push((class, start.elapsed().as_nanos() as u64));
    }
    times
}

/// Returns the largest |t| of all times and of those below several percentiles.
fn largest_t(times: &[Time]) -> f64 {
    let count = times.len();
    let mut sorted: Vec<u64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable();
    let crops = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];
    let t = crops.map(|crop| {
        let limit = sorted[((count - 1) as f64 * crop) as usize];
        welch(times.iter().filter(|(_, time)| *time <= limit))
    });
    let largest = t
        .into_iter()
        .fold(0.0, |largest: f64, t| largest.max(t.abs()));
    eprintln!(
        "{count} measurements, median {} ns: largest |t| {largest:.2} of {t:.2?}",
        sorted[count / 2]
    );
    largest
}

/// Computes Welch's t of the two classes' times.
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

fn cpu() -> Option<Cpu> {
    Cpu::detect()
        .inspect_err(|missing| eprintln!("skipped: this CPU lacks {missing}"))
        .ok()
}

/// Returns `random` if the mask is all ones, else `fixed`.
fn select(mask: u64, random: Line, fixed: Line) -> Line {
    Line(std::array::from_fn(|lane| {
        random.0[lane] & mask | fixed.0[lane] & !mask
    }))
}

/// What is random in one class and fixed in the other; the rest is random in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Varied {
    /// The key's digits in the window, this one in all lanes when fixed; or the whole key.
    KeyBits(u64),
    /// The number that is raised.
    Message,
    /// The same, and 0 when fixed, which no message is.
    MessageOrZero,
    /// Nothing: shows what the search itself brings in.
    Nothing,
}

/// One window of the exponentiation: four squarings, the pick, the multiplication. `leak` skips the
/// multiplication where the first lane's digit is 0, as naive code does.
fn search_window(cpu: Cpu, count: usize, varied: Varied, leak: bool) -> f64 {
    const LIMBS: usize = 20;
    let mut random = Random(1);
    let n: Vec<u64> = (0..LIMBS).map(|_| random.next() & LOW_52 | 1).collect();
    let n = Limbs::new(
        n.into_iter()
            .enumerate()
            .map(|(i, limb)| if i == 19 { limb >> 16 } else { limb })
            .collect(),
    );
    let mut modulus = vec![Line::ZERO; modulus::lines(LIMBS)];
    load_modulus(&mut modulus, LIMBS, [(&n, k0(n[0])); LANES]);
    let table: Vec<Line> = (0..ENTRIES * LIMBS)
        .map(|_| random.line().map(|limb| limb >> 16))
        .collect();
    let digit = if let Varied::KeyBits(digit) = varied {
        digit
    } else {
        0
    };
    let base: Vec<Line> = (0..LIMBS)
        .map(|_| random.line().map(|limb| limb >> 16))
        .map(|line| {
            if varied == Varied::MessageOrZero {
                Line::ZERO
            } else {
                line
            }
        })
        .collect();
    struct State {
        digits: Line,
        x: Vec<Line>,
        picked: Vec<Line>,
        scratch: Vec<Line>,
    }
    let state = State {
        digits: Line::ZERO,
        x: vec![Line::ZERO; LIMBS],
        picked: vec![Line::ZERO; LIMBS],
        scratch: vec![Line::ZERO; scratch::lines(LIMBS)],
    };
    search(
        count,
        state,
        |state, random, mask| {
            let (digits, limbs) = match varied {
                Varied::Nothing => (u64::MAX, u64::MAX),
                Varied::KeyBits(_) => (mask, u64::MAX),
                Varied::Message | Varied::MessageOrZero => (u64::MAX, mask),
            };
            let wanted = random.line().map(|digit| digit % ENTRIES as u64);
            state.digits = select(digits, wanted, Line::all(digit));
            for (limb, fixed) in state.x.iter_mut().zip(&base) {
                *limb = select(limbs, random.line().map(|limb| limb >> 16), *fixed);
            }
        },
        |state| {
            let mut context = Context {
                _cpu: cpu,
                limbs: LIMBS,
                modulus: &modulus,
                scratch: &mut state.scratch,
            };
            context.set_numbers(&state.digits);
            for pass in 0..WINDOW {
                context.square_and_pick(&mut state.x, &mut state.picked, &table, pass);
            }
            if !(leak && state.digits.0[0] == 5) {
                context.mul_assign(&mut state.x, &state.picked);
            }
        },
    )
}

#[test]
#[ignore = "measures for seconds; wants a quiet core"]
fn a_window_takes_the_same_time_for_all_key_bits_and_messages() {
    let Some(cpu) = cpu() else { return };
    let bits = [0, 5, 15].map(Varied::KeyBits);
    for varied in [Varied::Nothing, Varied::Message].into_iter().chain(bits) {
        eprint!("{varied:?}: ");
        let t = search_window(cpu, 1_000_000, varied, false);
        assert!(t < THRESHOLD, "a leak: t = {t}");
    }
}

/// Reported, not judged: see the crate's documentation.
#[test]
#[ignore = "measures for seconds; wants a quiet core"]
fn a_window_of_zero() {
    let Some(cpu) = cpu() else { return };
    eprint!("{:?}: ", Varied::MessageOrZero);
    search_window(cpu, 1_000_000, Varied::MessageOrZero, false);
}

#[test]
#[ignore = "measures for seconds"]
fn a_leak_is_found() {
    let Some(cpu) = cpu() else { return };
    let t = search_window(cpu, 20_000, Varied::KeyBits(5), true);
    assert!(t > 10.0, "the search is blind: t = {t}");
}

/// Whole RSA-2048 operations: one key in all lanes against others, one message against others, and
/// nothing fixed, to see what the search brings in. Each is measured 20,000 times, or as often as
/// `RSA52_MEASUREMENTS` says: 10^6 take nine minutes.
#[test]
#[ignore = "measures for minutes; wants a quiet core"]
fn an_operation_takes_the_same_time_for_all_keys_and_messages() {
    let Some(cpu) = cpu() else { return };
    let count = match std::env::var("RSA52_MEASUREMENTS") {
        Ok(count) => count.parse().expect("RSA52_MEASUREMENTS is a number"),
        Err(_) => 20_000,
    };
    for varied in [Varied::KeyBits(0), Varied::Message, Varied::Nothing] {
        eprint!("{varied:?}: ");
        let t = search_operation(cpu, count, varied);
        assert!(t < THRESHOLD, "a leak: t = {t}");
    }
}

/// Keys are copied to the same eight places before every operation: at places of their own, caches
/// tell them apart.
fn search_operation(cpu: Cpu, count: usize, varied: Varied) -> f64 {
    struct State {
        lanes: RsaLanes,
        keys: [PrivateKey; LANES],
        blocks: [[u8; 256]; LANES],
        out: [[u8; 256]; LANES],
    }
    let fixed = openssl_key(2048);
    let others: Vec<PrivateKey> = (0..32).map(|_| openssl_key(2048).1).collect();
    let state = State {
        lanes: RsaLanes::new(cpu),
        keys: std::array::from_fn(|_| private_key(&fixed.0)),
        blocks: [[0; 256]; LANES],
        out: [[0; 256]; LANES],
    };
    let times = measure(
        count,
        state,
        |state, random, mask| {
            let (of_keys, of_blocks) = match varied {
                Varied::Nothing => (u64::MAX, u64::MAX),
                Varied::KeyBits(_) => (mask, u64::MAX),
                Varied::Message | Varied::MessageOrZero => (u64::MAX, mask),
            };
            for (key, block) in state.keys.iter_mut().zip(&mut state.blocks) {
                let other = &others[random.next() as usize % others.len()];
                copy_selected(key, of_keys, other, &fixed.1);
                block[1..].fill_with(|| random.next() as u8 & of_blocks as u8 | 1);
            }
        },
        |state| {
            let keys = state.keys.each_ref();
            let blocks = state.blocks.each_ref().map(|block| &block[..]);
            let mut out = state.out.each_mut().map(|out| &mut out[..]);
            state.lanes.private(&keys, &blocks, &mut out);
        },
    );
    largest_t(&with_earlier(times, varied))
}

/// Returns `times` and those of earlier runs, and keeps all, if `RSA52_TALLY` says where.
fn with_earlier(times: Vec<Time>, varied: Varied) -> Vec<Time> {
    let Ok(file) = std::env::var("RSA52_TALLY") else {
        return times;
    };
    let file = format!("{file}.{varied:?}");
    let mut text = std::fs::read_to_string(&file).unwrap_or_default();
    for (class, ns) in times {
        text += &format!("{} {ns}\n", u8::from(class));
    }
    std::fs::write(&file, &text).expect("RSA52_TALLY can be written");
    let read = |line: &str| {
        let (class, ns) = line.split_once(' ')?;
        Some((class == "1", ns.parse().ok()?))
    };
    text.lines().filter_map(read).collect()
}

/// Makes `key` the key `random` where the mask is all ones, else `fixed`; reads both.
fn copy_selected(key: &mut PrivateKey, mask: u64, random: &PrivateKey, fixed: &PrivateKey) {
    let copy = |to: &mut u64, random: u64, fixed: u64| *to = random & mask | fixed & !mask;
    let copy_all = |to: &mut [u64], random: &[u64], fixed: &[u64]| {
        for ((to, random), fixed) in to.iter_mut().zip(random).zip(fixed) {
            copy(to, *random, *fixed);
        }
    };
    for (to, random, fixed) in [
        (&mut key.p, &random.p, &fixed.p),
        (&mut key.q, &random.q, &fixed.q),
    ] {
        copy(&mut to.k0, random.k0, fixed.k0);
        copy_all(&mut to.modulus, &random.modulus, &fixed.modulus);
        copy_all(&mut to.r2, &random.r2, &fixed.r2);
        copy_all(&mut to.r3, &random.r3, &fixed.r3);
        copy_all(&mut to.exponent, &random.exponent, &fixed.exponent);
    }
    copy_all(&mut key.qinv, &random.qinv, &fixed.qinv);
    copy_all(&mut key.n, &random.n, &fixed.n);
    copy(&mut key.n_k0, random.n_k0, fixed.n_k0);
    copy_all(&mut key.n_r2, &random.n_r2, &fixed.n_r2);
}
