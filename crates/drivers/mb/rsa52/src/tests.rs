//! Every step against its scalar model, limb by limb, and the model against OpenSSL.

use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::pkey::Private;
use openssl::rsa::Rsa;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::line::{LANES, LIMB_BITS, LOW_52, Line, carry, read_lane, reduce_once, write_lane};
use crate::scalar::{Modulus, k0, limbs_of};
use crate::{KeyParts, PrivateKey};

/// Returns a limb, often one at the edge.
fn limb() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..=LOW_52, 1 => Just(0), 1 => Just(LOW_52), 1 => Just(1)]
}

/// Numbers of `limbs` limbs with at most `bits` bits, by lane.
fn lanes(limbs: usize, bits: usize) -> impl Strategy<Value = Vec<Vec<u64>>> {
    vec(vec(limb(), limbs), LANES).prop_map(move |mut numbers| {
        for number in &mut numbers {
            for (i, limb) in number.iter_mut().enumerate() {
                *limb &= (1 << bits.saturating_sub(i * LIMB_BITS).min(LIMB_BITS)) - 1;
            }
        }
        numbers
    })
}

/// Odd numbers with their top bit set.
fn moduli(limbs: usize, bits: usize) -> impl Strategy<Value = Vec<Vec<u64>>> {
    lanes(limbs, bits).prop_map(move |mut numbers| {
        for number in &mut numbers {
            number[0] |= 1;
            number[(bits - 1) / LIMB_BITS] |= 1 << ((bits - 1) % LIMB_BITS);
        }
        numbers
    })
}

fn lines(numbers: &[Vec<u64>]) -> Vec<Line> {
    let line = |i| Line(std::array::from_fn(|lane| numbers[lane][i]));
    (0..numbers[0].len()).map(line).collect()
}

fn lane(lines: &[Line], lane: usize) -> Vec<u64> {
    lines.iter().map(|line| line.0[lane]).collect()
}

fn number(limbs: &[u64]) -> BigNum {
    let mut sum = BigNum::new().unwrap();
    for limb in limbs.iter().rev() {
        let mut shifted = BigNum::new().unwrap();
        shifted.lshift(&sum, LIMB_BITS as i32).unwrap();
        let limb = BigNum::from_slice(&limb.to_be_bytes()).unwrap();
        sum.checked_add(&shifted, &limb).unwrap();
    }
    sum
}

fn times_r_mod(x: &BigNum, powers: i32, limbs: usize, n: &BigNum) -> BigNum {
    let (mut shifted, mut reduced) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    shifted
        .lshift(x, powers * (limbs * LIMB_BITS) as i32)
        .unwrap();
    reduced
        .nnmod(&shifted, n, &mut BigNumContext::new().unwrap())
        .unwrap();
    reduced
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_model_multiplies_as_montgomery_does(
        (n, a, b) in (moduli(20, 1024), lanes(20, 1026), lanes(20, 1026))
    ) {
        let (n, a, b) = (&n[0], &a[0], &b[0]);
        let product = Modulus::new(n).mul(a, b);
        let (n, mut expected) = (number(n), BigNum::new().unwrap());
        expected.mod_mul(&number(a), &number(b), &n, &mut BigNumContext::new().unwrap()).unwrap();
        prop_assert_eq!(times_r_mod(&number(&product), 1, 20, &n), expected);
    }

    #[test]
    fn key_constants_are_right(half in moduli(20, 1024), full in moduli(60, 3072)) {
        for (n, bits) in [(&half[0], 1024), (&full[0], 3072)] {
            let one = BigNum::from_u32(1).unwrap();
            let r2 = Modulus::new(n).r2(bits);
            prop_assert_eq!(number(&r2), times_r_mod(&one, 2, n.len(), &number(n)));
            prop_assert_eq!(n[0].wrapping_mul(k0(n[0])) & LOW_52, LOW_52, "n k0 = -1");
        }
    }

    #[test]
    fn reduction_keeps_what_is_below_the_modulus(n in moduli(20, 1024), x in lanes(20, 1024)) {
        let (modulus, mut reduced, mut work) = (lines(&n), lines(&x), vec![Line::ZERO; 20]);
        reduce_once(&mut reduced, &modulus, &mut work);
        for i in 0..LANES {
            // The model's x is below 2^1024, so below 2n.
            let expected = times_r_mod(&number(&x[i]), 0, 20, &number(&n[i]));
            prop_assert_eq!(number(&lane(&reduced, i)), expected);
            let model = Modulus::new(&n[i]).reduce_once(&x[i]);
            prop_assert_eq!(&**model, &*lane(&reduced, i));
        }
    }

    #[test]
    fn carries_are_moved_on(a in lanes(6, 300), b in lanes(6, 300)) {
        let mut sum = vec![Line::ZERO; 6];
        let beyond = carry(&mut sum, |lane, i| (a[lane][i] + b[lane][i]) as i64);
        for i in 0..LANES {
            let mut expected = BigNum::new().unwrap();
            expected.checked_add(&number(&a[i]), &number(&b[i])).unwrap();
            prop_assert_eq!(number(&lane(&sum, i)), expected);
            prop_assert_eq!(beyond[i], 0);
        }
        let negative = carry(&mut sum, |lane, i| -((a[lane][i] + u64::from(i == 0)) as i64));
        prop_assert_eq!(negative, [-1; LANES]);
    }

    #[test]
    fn bytes_become_limbs_and_bytes_again(bytes in vec(any::<u8>(), 256), at in 0..LANES) {
        let mut read = vec![Line::ZERO; 40];
        read_lane(&mut read, at, &bytes);
        prop_assert_eq!(number(&lane(&read, at)), BigNum::from_slice(&bytes).unwrap());
        let words: Vec<u64> = bytes.rchunks(8).map(|word| u64::from_be_bytes(word.try_into().unwrap())).collect();
        prop_assert_eq!(&**limbs_of(&words, 40), &*lane(&read, at));
        prop_assert!(read.iter().all(|line| (0..LANES).all(|other| other == at || line.0[other] == 0)));
        let mut written = vec![0; 256];
        write_lane(&read, at, &mut written);
        prop_assert_eq!(written, bytes);
    }
}

/// The kernels on the CPU, where it runs them.
#[cfg(target_arch = "x86_64")]
mod on_the_cpu {
    use super::*;
    use crate::kernel::layout::{ENTRIES, WINDOW, scratch};
    use crate::kernel::{Context, Cpu};
    use crate::rsa::load_modulus;
    use crate::scalar::Limbs;

    /// What a kernel needs besides operands.
    struct Memory {
        modulus: Vec<Line>,
        scratch: Vec<Line>,
    }

    impl Memory {
        fn new(n: &[Vec<u64>]) -> Self {
            let limbs = n[0].len();
            let mut modulus = vec![Line::ZERO; crate::kernel::layout::modulus::lines(limbs)];
            let n: Vec<Limbs> = n.iter().map(|n| Limbs::new(n.as_slice().into())).collect();
            load_modulus(
                &mut modulus,
                limbs,
                std::array::from_fn(|lane| (&n[lane], k0(n[lane][0]))),
            );
            Self {
                modulus,
                scratch: vec![Line::all(u64::MAX); scratch::lines(limbs)],
            }
        }

        fn context(&mut self, cpu: Cpu, limbs: usize) -> Context<'_> {
            Context {
                _cpu: cpu,
                limbs,
                modulus: &self.modulus,
                scratch: &mut self.scratch,
            }
        }
    }

    fn cpu() -> Option<Cpu> {
        Cpu::detect()
            .inspect_err(|missing| eprintln!("skipped: this CPU lacks {missing}"))
            .ok()
    }

    /// Limbs of a kernel, and a modulus and two factors for it.
    fn operands(sizes: &'static [usize]) -> impl Strategy<Value = (usize, [Vec<Vec<u64>>; 3])> {
        proptest::sample::select(sizes).prop_flat_map(|limbs| {
            let bits = limbs * LIMB_BITS / 256 * 256;
            let factors = (
                moduli(limbs, bits),
                lanes(limbs, bits + 2),
                lanes(limbs, bits + 2),
            );
            (Just(limbs), factors.prop_map(|(n, a, b)| [n, a, b]))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn multiplication_and_squaring_are_the_models(
            (limbs, [n, a, b]) in operands(&[20, 30, 40, 60, 80])
        ) {
            let Some(cpu) = cpu() else { return Ok(()) };
            let mut memory = Memory::new(&n);
            let mut context = memory.context(cpu, limbs);
            let (a_lines, b_lines) = (lines(&a), lines(&b));
            let (mut product, mut square) = (a_lines.clone(), b_lines.clone());
            context.mul(&mut product, &a_lines, &b_lines);
            context.square(&mut square, &a_lines);
            let (mut product_in_place, mut square_in_place) = (a_lines.clone(), a_lines.clone());
            context.mul_assign(&mut product_in_place, &b_lines);
            context.square_assign(&mut square_in_place);
            prop_assert_eq!(&product, &product_in_place);
            prop_assert_eq!(&square, &square_in_place);
            for i in 0..LANES {
                let model = Modulus::new(&n[i]);
                prop_assert_eq!(&*lane(&product, i), &**model.mul(&a[i], &b[i]), "lane {}", i);
                prop_assert_eq!(&*lane(&square, i), &**model.mul(&a[i], &a[i]), "lane {}", i);
            }
        }

        #[test]
        fn products_are_right((limbs, [_, a, b]) in operands(&[20, 30, 40])) {
            let Some(cpu) = cpu() else { return Ok(()) };
            let mut memory = Memory::new(&a);
            let mut product = vec![Line::ZERO; 2 * limbs];
            memory.context(cpu, limbs).product(&mut product, &lines(&a), &lines(&b));
            for i in 0..LANES {
                let mut expected = BigNum::new().unwrap();
                expected.checked_mul(&number(&a[i]), &number(&b[i]), &mut BigNumContext::new().unwrap()).unwrap();
                prop_assert_eq!(number(&lane(&product, i)), expected, "lane {}", i);
            }
        }

        #[test]
        fn picks_are_the_entries_asked_for(
            (limbs, [n, a, _]) in operands(&[20, 30, 40]), wanted in proptest::array::uniform8(0..16u64)
        ) {
            let Some(cpu) = cpu() else { return Ok(()) };
            let mut memory = Memory::new(&n);
            let mut context = memory.context(cpu, limbs);
            let number = |entry: usize, i: usize| Line::all((entry * 1000 + i) as u64);
            let table: Vec<Line> = (0..ENTRIES).flat_map(|entry| (0..limbs).map(move |i| number(entry, i))).collect();
            let (mut alone, mut beside) = (vec![Line::ZERO; limbs], vec![Line::ZERO; limbs]);
            let (mut x, mut expected) = (lines(&a), lines(&a));
            context.set_numbers(&Line(wanted));
            for pass in 0..WINDOW {
                context.pick(&mut alone, &table, pass);
                context.square_and_pick(&mut x, &mut beside, &table, pass);
                context.square_assign(&mut expected);
            }
            prop_assert_eq!(x, expected);
            for (i, line) in alone.iter().enumerate() {
                prop_assert_eq!(*line, Line(wanted.map(|entry| entry * 1000 + i as u64)), "limb {}", i);
            }
            prop_assert_eq!(alone, beside);
        }
    }

    #[test]
    #[should_panic(expected = "operands of 20 limbs")]
    fn a_short_operand_is_refused() {
        let Some(cpu) = cpu() else {
            panic!("operands of 20 limbs cannot be tried here")
        };
        let mut memory = Memory::new(&vec![vec![1; 20]; LANES]);
        let (mut r, a, b) = (
            vec![Line::ZERO; 20],
            vec![Line::ZERO; 20],
            vec![Line::ZERO; 19],
        );
        memory.context(cpu, 20).mul(&mut r, &a, &b);
    }

    #[test]
    #[should_panic(expected = "a whole table")]
    fn a_short_table_is_refused() {
        let Some(cpu) = cpu() else {
            panic!("a whole table cannot be tried here")
        };
        let mut memory = Memory::new(&vec![vec![1; 20]; LANES]);
        let table = vec![Line::ZERO; 20 * ENTRIES - 1];
        memory
            .context(cpu, 20)
            .pick(&mut vec![Line::ZERO; 20], &table, 0);
    }
}

/// Returns a new key, as OpenSSL has it and as the lanes do.
pub(crate) fn openssl_key(bits: u32) -> (Rsa<Private>, PrivateKey) {
    let key = Rsa::generate(bits).unwrap();
    let ours = private_key(&key);
    (key, ours)
}

pub(crate) fn private_key(key: &Rsa<Private>) -> PrivateKey {
    let half = key.size() * 8 / 2;
    let words = |number: &BigNumRef, bits: u32| -> Vec<u64> {
        let bytes = number.to_vec_padded(bits as i32 / 8).unwrap();
        bytes
            .rchunks(8)
            .map(|word| u64::from_be_bytes(word.try_into().unwrap()))
            .collect()
    };
    PrivateKey::new(&KeyParts {
        n: &words(key.n(), 2 * half),
        p: &words(key.p().unwrap(), half),
        q: &words(key.q().unwrap(), half),
        dp: &words(key.dmp1().unwrap(), half),
        dq: &words(key.dmq1().unwrap(), half),
        qinv: &words(key.iqmp().unwrap(), half),
    })
    .unwrap()
}
