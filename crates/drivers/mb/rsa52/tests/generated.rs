//! The generated code in an emulator: on any machine, every access is within the operands' lengths
//! that `src/kernel.rs` asserts, nothing is read before it is written, and the results are right.
//!
//! Addresses are arguments plus constants and there are no branches (see `generator/inst.rs`), so
//! that what one run touches, all do.

#[path = "common/emulator.rs"]
mod emulator;
#[path = "../generator/mod.rs"]
mod generator;

use emulator::{Emulator, Lanes, Operand};
use generator::inst::{Gpr, Inst};
use generator::layout::{DIGIT, ENTRIES, WINDOW, limbs_per_pass, modulus, scratch};
use generator::{KERNELS, Kind};
use openssl::bn::{BigNum, BigNumContext};

const LOW_52: u64 = (1 << 52) - 1;

/// Bits of a modulus of so many limbs.
fn modulus_bits(limbs: usize) -> usize {
    limbs * 52 / 256 * 256
}

/// Numbers below 2^bits, some with runs of zeros and of ones.
fn numbers(limbs: usize, bits: usize) -> Vec<Lanes> {
    let mut lines = vec![[0; 8]; limbs];
    for lane in 0..8 {
        for (i, line) in lines.iter_mut().enumerate() {
            let mut word = [0; 8];
            openssl::rand::rand_bytes(&mut word).unwrap();
            let word = u64::from_ne_bytes(word);
            let limb = match (lane, word % 4) {
                (0, _) => LOW_52,
                (1 | 2, 0) => 0,
                (1 | 2, 1) => LOW_52,
                _ => word >> 12,
            };
            let fits = bits.saturating_sub(i * 52).min(52);
            line[lane] = limb & ((1 << fits) - 1);
        }
    }
    lines
}

fn number(lines: &[Lanes], lane: usize) -> BigNum {
    let mut sum = BigNum::new().unwrap();
    for line in lines.iter().rev() {
        let mut shifted = BigNum::new().unwrap();
        shifted.lshift(&sum, 52).unwrap();
        let limb = BigNum::from_slice(&line[lane].to_be_bytes()).unwrap();
        sum.checked_add(&shifted, &limb).unwrap();
    }
    sum
}

fn values(operand: &Operand) -> Vec<Lanes> {
    operand
        .lines
        .iter()
        .map(|line| line.expect("written"))
        .collect()
}

/// A modulus laid out for the kernels.
fn modulus_lines(limbs: usize) -> Vec<Lanes> {
    let mut n = numbers(limbs, modulus_bits(limbs));
    let top = modulus_bits(limbs) - 1;
    n[0] = n[0].map(|limb| limb | 1);
    n[top / 52] = n[top / 52].map(|limb| limb | 1 << (top % 52));
    let k0 = n[0].map(|n| {
        let inverse = (0..6).fold(1u64, |x, _| {
            x.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(x)))
        });
        inverse.wrapping_neg() & LOW_52
    });
    let mut lines = vec![
        k0,
        [LOW_52; 8],
        [LOW_52 + 1; 8],
        std::array::from_fn(|i| i as u64),
    ];
    lines.extend(&n);
    for block in n.chunks(10) {
        let mut carry = [0; 8];
        for i in 0..5 {
            let sum: Lanes =
                std::array::from_fn(|lane| block[i][lane] + block[i + 5][lane] + carry[lane]);
            carry = sum.map(|sum| if i < 4 { sum >> 52 } else { 0 });
            lines.push(sum.map(|sum| if i < 4 { sum & LOW_52 } else { sum }));
        }
    }
    assert_eq!(lines.len(), modulus::lines(limbs));
    lines
}

/// A kernel's operands, each as long as `src/kernel.rs` makes sure of.
struct Call<'a> {
    emulator: Emulator<'a>,
    limbs: usize,
    n: Vec<Lanes>,
    r: usize,
    scratch: usize,
}

impl<'a> Call<'a> {
    fn new(code: &'a [Inst], limbs: usize, result: usize) -> Self {
        let mut emulator = Emulator::new(code);
        let n = modulus_lines(limbs);
        let r = emulator.operand(
            Gpr::Rdi,
            Operand {
                name: "r",
                lines: vec![None; result],
                writable: true,
            },
        );
        emulator.operand(Gpr::Rcx, input("modulus", &n));
        let lines = vec![None; scratch::lines(limbs)];
        let scratch = emulator.operand(
            Gpr::R8,
            Operand {
                name: "scratch",
                lines,
                writable: true,
            },
        );
        Self {
            emulator,
            limbs,
            n: n[modulus::LIMBS..][..limbs].to_vec(),
            r,
            scratch,
        }
    }

    fn result(&self) -> Vec<Lanes> {
        values(&self.emulator.operands[self.r])
    }

    /// Whether the result is a b / R mod n, below 2n, in limbs of 52 bits.
    fn check_montgomery(&self, a: &[Lanes], b: &[Lanes], what: &str) {
        let result = self.result();
        assert!(
            result.iter().flatten().all(|limb| *limb <= LOW_52),
            "{what}"
        );
        let mut context = BigNumContext::new().unwrap();
        for lane in 0..8 {
            let n = number(&self.n, lane);
            let (mut expected, mut shifted, mut times_r) = (
                BigNum::new().unwrap(),
                BigNum::new().unwrap(),
                BigNum::new().unwrap(),
            );
            expected
                .mod_mul(&number(a, lane), &number(b, lane), &n, &mut context)
                .unwrap();
            let result = number(&result, lane);
            shifted.lshift(&result, 52 * self.limbs as i32).unwrap();
            times_r.nnmod(&shifted, &n, &mut context).unwrap();
            assert_eq!(times_r, expected, "{what}, lane {lane}");
            let mut twice = BigNum::new().unwrap();
            twice.lshift1(&n).unwrap();
            assert!(result < twice, "{what}, lane {lane}");
        }
    }
}

fn input(name: &'static str, lines: &[Lanes]) -> Operand {
    Operand {
        name,
        lines: lines.iter().copied().map(Some).collect(),
        writable: false,
    }
}

/// Operands of a multiplication may be a few times the modulus.
fn factor(limbs: usize) -> Vec<Lanes> {
    numbers(limbs, modulus_bits(limbs) + 2)
}

/// Calls the kernels of a kind with the operands that `prepare` makes, in place and not, and checks
/// them against the Montgomery product of those.
fn check_modular(wanted: Kind, prepare: impl Fn(&mut Call, usize) -> [Vec<Lanes>; 2]) {
    let code = generator::program();
    for (kind, limbs) in KERNELS.into_iter().filter(|(kind, _)| *kind == wanted) {
        for in_place in [false, true] {
            let mut call = Call::new(&code, limbs, limbs);
            let [a, b] = prepare(&mut call, limbs);
            if in_place {
                call.emulator.operands[call.r].lines = input("a", &a).lines;
                call.emulator.point(Gpr::Rsi, call.r);
            } else {
                call.emulator.operand(Gpr::Rsi, input("a", &a));
            }
            call.emulator.call(&kind.symbol(limbs));
            call.check_montgomery(&a, &b, &format!("{kind:?} {limbs}"));
        }
    }
}

#[test]
fn multiplications_are_right_and_in_bounds() {
    check_modular(Kind::Mul, |call, limbs| {
        let b = factor(limbs);
        call.emulator.operand(Gpr::Rdx, input("b", &b));
        [factor(limbs), b]
    });
}

#[test]
fn squarings_are_right_and_in_bounds() {
    check_modular(Kind::Square, |_, limbs| {
        let a = factor(limbs);
        [a.clone(), a]
    });
}

#[test]
fn products_are_right_and_in_bounds() {
    let code = generator::program();
    for (kind, limbs) in KERNELS
        .into_iter()
        .filter(|(kind, _)| *kind == Kind::Product)
    {
        let mut call = Call::new(&code, limbs, 2 * limbs);
        let (a, b) = (numbers(limbs, 52 * limbs), numbers(limbs, 52 * limbs));
        call.emulator.operand(Gpr::Rsi, input("a", &a));
        call.emulator.operand(Gpr::Rdx, input("b", &b));
        call.emulator.call(&kind.symbol(limbs));
        for lane in 0..8 {
            let mut product = BigNum::new().unwrap();
            product
                .checked_mul(
                    &number(&a, lane),
                    &number(&b, lane),
                    &mut BigNumContext::new().unwrap(),
                )
                .unwrap();
            assert_eq!(
                number(&call.result(), lane),
                product,
                "{limbs} limbs, lane {lane}"
            );
        }
    }
}

/// Each lane gets the entry it wants, every entry is read whole, and which is wanted does not show
/// in what is touched.
#[test]
fn picks_are_right_in_bounds_and_blind() {
    let code = generator::program();
    let picking = |kind: &Kind| matches!(kind, Kind::Pick | Kind::SquareAndPick);
    for (kind, limbs) in KERNELS.into_iter().filter(|(kind, _)| picking(kind)) {
        let table = numbers(limbs * ENTRIES, limbs * ENTRIES * 52);
        let mut traces = Vec::new();
        for wanted in [
            [0, 1, 2, 3, 4, 5, 6, 7],
            [15, 14, 13, 12, 11, 10, 9, 8],
            [9; 8],
        ] {
            let share = limbs_per_pass(limbs);
            let mut picked = Vec::new();
            for pass in 0..WINDOW {
                let first = (pass * share).min(limbs - share);
                let mut call = Call::new(&code, limbs, limbs);
                let a = factor(limbs);
                call.emulator.operand(Gpr::Rsi, input("a", &a));
                let lines = vec![None; limbs - first];
                let b = call.emulator.operand(
                    Gpr::Rdx,
                    Operand {
                        name: "b",
                        lines,
                        writable: true,
                    },
                );
                call.emulator
                    .operand(Gpr::R9, input("table", &table[first..]));
                let scratch = &mut call.emulator.operands[call.scratch].lines;
                scratch[scratch::NUMBERS] = Some(wanted.map(|number| number % DIGIT as u64));
                scratch[scratch::NUMBERS + 1] = Some(wanted.map(|number| number / DIGIT as u64));
                traces.push((pass, call.emulator.call(&kind.symbol(limbs))));
                picked.truncate(first);
                picked.extend(
                    call.emulator.operands[b]
                        .lines
                        .iter()
                        .map_while(|line| *line),
                );
                if kind == Kind::SquareAndPick {
                    call.check_montgomery(&a, &a, &format!("{kind:?} {limbs}"));
                }
            }
            for (i, line) in picked.iter().enumerate() {
                let entry = |lane: usize| table[wanted[lane] as usize * limbs + i][lane];
                assert_eq!(
                    *line,
                    std::array::from_fn(entry),
                    "{kind:?} {limbs}, limb {i}"
                );
            }
            assert_eq!(picked.len(), limbs);
        }
        for (pass, trace) in &traces[WINDOW..] {
            assert_eq!(
                trace, &traces[*pass].1,
                "{kind:?} {limbs}: the same addresses"
            );
        }
    }
}

/// The numbers of multiplications that the documentation gives.
#[test]
fn multiplications_are_as_few_as_documented() {
    let code = generator::program();
    let count = |kind: Kind, limbs: usize| {
        let mut call = Call::new(&code, limbs, limbs);
        call.emulator.operand(Gpr::Rsi, input("a", &factor(limbs)));
        call.emulator.operand(Gpr::Rdx, input("b", &factor(limbs)));
        call.emulator.call(&kind.symbol(limbs));
        call.emulator.multiplications
    };
    let both = |limbs| (count(Kind::Square, limbs), count(Kind::Mul, limbs));
    assert_eq!(both(20), (1070, 1300));
    assert_eq!(both(30), (2280, 2850));
    assert_eq!(both(40), (3940, 5000));
}

/// The emulator finds what it is there for.
mod seeded {
    use super::*;
    use generator::inst::{Mem, Zmm};

    fn run(body: Vec<Inst>) {
        let mut code = vec![Inst::Label("f".to_owned(), true)];
        code.extend(body);
        code.push(Inst::Return);
        let mut emulator = Emulator::new(&code);
        emulator.operand(Gpr::Rdi, input("a", &[[1; 8]; 2]));
        emulator.call("f");
    }

    #[test]
    fn good_code_passes() {
        run(vec![Inst::Load(Zmm(1), Mem(Gpr::Rdi, 64))]);
    }

    #[test]
    #[should_panic(expected = "a has 2 lines, not 2")]
    fn an_access_beyond_the_operand_is_found() {
        run(vec![Inst::Load(Zmm(1), Mem(Gpr::Rdi, 128))]);
    }

    #[test]
    #[should_panic(expected = "aligned")]
    fn an_access_across_lines_is_found() {
        run(vec![Inst::Load(Zmm(1), Mem(Gpr::Rdi, 8))]);
    }

    #[test]
    #[should_panic(expected = "writes a")]
    fn a_write_to_an_input_is_found() {
        run(vec![
            Inst::Zero(Zmm(1)),
            Inst::Store(Mem(Gpr::Rdi, 0), Zmm(1)),
        ]);
    }

    #[test]
    #[should_panic(expected = "zmm1 has no value")]
    fn a_register_without_a_value_is_found() {
        run(vec![Inst::Move(Zmm(0), Zmm(1))]);
    }

    #[test]
    #[should_panic(expected = "a column overflows")]
    fn an_overflowing_column_is_found() {
        let double = Inst::Add(Zmm(1), Zmm(1), Zmm(1).into());
        let mut body = vec![Inst::Load(Zmm(1), Mem(Gpr::Rdi, 0))];
        body.extend(vec![double; 62]);
        body.extend(vec![Inst::Sub(Zmm(2), Zmm(1), Mem(Gpr::Rdi, 0).into()); 1]);
        body.push(Inst::Add(Zmm(1), Zmm(1), Zmm(2).into()));
        body.push(Inst::Load(Zmm(3), Mem(Gpr::Rdi, 0)));
        body.push(Inst::MaddLo(Zmm(1), Zmm(3), Zmm(3).into()));
        run(body);
    }
}
