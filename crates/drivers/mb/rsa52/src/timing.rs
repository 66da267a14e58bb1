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

use std::time::Instant;

use crate::kernel::layout::{ENTRIES, WINDOW, modulus, scratch};
use crate::kernel::{Context, Cpu};
use crate::line::{LANES, LOW_52, Line};
use crate::rsa::{RsaLanes, load_modulus};
use crate::scalar::{Limbs, k0};
use crate::tests::openssl_key;

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
fn search<I>(
    count: usize,
    mut prepare: impl FnMut(&mut Random, bool) -> I,
    mut run: impl FnMut(I),
) -> f64 {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let class = random.next() & 0x100 != 0;
        let input = prepare(&mut random, class);
        let start = Instant::now();
        run(input);
        times.push((class, start.elapsed().as_nanos() as u64));
    }
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

fn cpu() -> Option<Cpu> {
    Cpu::detect()
        .inspect_err(|missing| eprintln!("skipped: this CPU lacks {missing}"))
        .ok()
}

/// One window of the exponentiation: four squarings, the pick, the multiplication. `leak` skips the
/// multiplication where the first lane's digit is 0, as naive code does.
fn search_window(cpu: Cpu, count: usize, leak: bool) -> f64 {
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
    let mut scratch = vec![Line::ZERO; scratch::lines(LIMBS)];
    let table: Vec<Line> = (0..ENTRIES * LIMBS)
        .map(|_| random.line().map(|limb| limb >> 16))
        .collect();
    let (mut x, mut picked) = (vec![Line::ZERO; LIMBS], vec![Line::ZERO; LIMBS]);
    let mut context = Context {
        _cpu: cpu,
        limbs: LIMBS,
        modulus: &modulus,
        scratch: &mut scratch,
    };
    search(
        count,
        |random, fixed| {
            // Drawn for both classes, that preparing takes the same way.
            let digits = Line(std::array::from_fn(|_| random.next() % ENTRIES as u64));
            let base: [Line; LIMBS] = std::array::from_fn(|_| random.line().map(|limb| limb >> 16));
            if fixed {
                (Line::ZERO, [Line::all(0); LIMBS])
            } else {
                (digits, base)
            }
        },
        |(digits, base)| {
            x.copy_from_slice(&base);
            context.set_numbers(&digits);
            for pass in 0..WINDOW {
                context.square_and_pick(&mut x, &mut picked, &table, pass);
            }
            if !(leak && digits.0[0] == 0) {
                context.mul_assign(&mut x, &picked);
            }
        },
    )
}

#[test]
#[ignore = "measures for seconds; wants a quiet core"]
fn a_window_takes_the_same_time_for_all_key_bits_and_messages() {
    let Some(cpu) = cpu() else { return };
    let t = search_window(cpu, 1_000_000, false);
    assert!(t < THRESHOLD, "a leak: t = {t}");
}

#[test]
#[ignore = "measures for seconds"]
fn a_leak_is_found() {
    let Some(cpu) = cpu() else { return };
    let t = search_window(cpu, 20_000, true);
    assert!(t > 10.0, "the search is blind: t = {t}");
}

/// Keys: one in all lanes against others; messages: one against random ones. RSA-2048, all of it.
#[test]
#[ignore = "measures for minutes; wants a quiet core"]
fn an_operation_takes_the_same_time_for_all_keys_and_messages() {
    let Some(cpu) = cpu() else { return };
    let mut lanes = RsaLanes::new(cpu);
    let keys: Vec<_> = (0..32).map(|_| openssl_key(2048)).collect();
    // As many copies of the one as there are others: the caches must not tell.
    let same: Vec<_> = (0..32).map(|_| openssl_key_again(&keys[0])).collect();
    let mut out = [[0; 256]; LANES];
    let t = search(
        100_000,
        |random, fixed| {
            let pool = if fixed { &same } else { &keys };
            let chosen =
                std::array::from_fn::<_, LANES, _>(|_| &pool[random.next() as usize % 32].1);
            let mut block = [[0; 256]; LANES];
            for lane in &mut block {
                lane[1..].fill_with(|| random.next() as u8);
                if fixed {
                    lane[1..].fill(1);
                }
            }
            (chosen, block)
        },
        |(keys, blocks)| {
            let blocks = blocks.each_ref().map(|block| &block[..]);
            lanes.private(&keys, &blocks, &mut out.each_mut().map(|out| &mut out[..]));
        },
    );
    assert!(t < THRESHOLD, "a leak: t = {t}");
}

fn openssl_key_again(
    (key, _): &(openssl::rsa::Rsa<openssl::pkey::Private>, crate::PrivateKey),
) -> (openssl::rsa::Rsa<openssl::pkey::Private>, crate::PrivateKey) {
    (key.clone(), crate::tests::private_key(key))
}
