//! X25519 public keys (RFC 7748), eight at a time.
//!
//! A public key is a multiple of one point, the base. On the curve's Edwards form that is a sum of
//! 64 table entries (Bernstein and others, "High-speed high-security signatures", 2011, section 4),
//! where the Montgomery ladder, which knows any point, takes 255 steps of about the same length:
//! ```text
//!   scalar = d_0 + 16 d_1 + … + 16^63 d_63,   -8 <= d_i <= 8
//!   scalar B = d_0 (B) + d_1 (16 B) + … + d_63 (16^63 B)       u = (1 + y) / (1 - y)
//! ```
//! For every i the table holds one to eight times 16^i B: eight words of a register, out of which
//! each lane picks its own by a permutation. So there is no address that depends on a scalar, nor a
//! branch; and the formulas of the addition have no exceptions.

use std::sync::OnceLock;

use zeroize::{Zeroize, Zeroizing};

use crate::ffi::edwards::{Digits, LIMB_BITS, Number, Point, Window, Work};
use crate::ffi::{Cpu, Inputs, LANES, Outputs};

/// Digits of a scalar.
const DIGITS: usize = 64;
/// The base point's coordinates and twice the curve's d = -121665/121666 (RFC 7748, section 4.1).
const BASE_X: Number = Number::all([
    0x6_2d60_8f25_d51a,
    0x4_12a4_b4f6_592a,
    0x7_5b71_71a4_b31d,
    0x1_ff60_5271_18fe,
    0x2_1693_6d3c_d6e5,
]);
const BASE_Y: Number = Number::all([
    0x6_6666_6666_6658,
    0x4_cccc_cccc_cccc,
    0x1_9999_9999_9999,
    0x3_3333_3333_3333,
    0x6_6666_6666_6666,
]);
const TWICE_D: Number = Number::all([
    0x6_9b94_26b2_f159,
    0x3_5050_762a_dd7a,
    0x3_cf44_c003_8052,
    0x6_738c_c740_7977,
    0x2_406d_9dc5_6dff,
]);

/// Makes public keys.
pub(crate) struct Base {
    cpu: Cpu,
    table: &'static [Window],
}

/// What belongs to a batch; wiped after it.
#[derive(Zeroize)]
struct Batch {
    point: Point,
    digits: Digits,
    work: Work,
}

impl Base {
    /// The first of a process computes the table, which takes a millisecond.
    pub(crate) fn new(cpu: Cpu) -> Self {
        static TABLE: OnceLock<Box<[Window]>> = OnceLock::new();
        Self {
            cpu,
            table: TABLE.get_or_init(|| table(cpu)),
        }
    }

    /// Public keys of eight private scalars, 32 bytes each.
    ///
    /// # Panics
    /// If a length differs.
    pub(crate) fn public(&self, private: &Inputs<'_>, public: &mut Outputs<'_>) {
        let scalars = Zeroizing::new(private.map(biased_scalar));
        let mut batch = Zeroizing::new(Batch::new());
        for (index, window) in self.table.iter().enumerate() {
            let bias = if index + 1 < DIGITS { 8 } else { 0 };
            for (digit, scalar) in batch.digits.0.iter_mut().zip(scalars.iter()) {
                *digit = (scalar[index / 16] >> (4 * (index % 16)) & 15).wrapping_sub(bias);
            }
            batch.add(self.cpu, window);
        }
        let Point { y, z, .. } = &batch.point;
        let difference = Zeroizing::new(z.minus(y));
        let inverse = Zeroizing::new(invert(self.cpu, &difference));
        let sum = Zeroizing::new(z.plus(y));
        let u = self.cpu.multiply(&sum, &inverse);
        for (lane, public) in public.iter_mut().enumerate() {
            public.copy_from_slice(&bytes(u.0.map(|limb| limb[lane])));
        }
    }
}

impl Batch {
    fn new() -> Self {
        Self {
            point: Point::NEUTRAL,
            digits: Digits([0; LANES]),
            work: Work::ZERO,
        }
    }

    fn add(&mut self, cpu: Cpu, window: &Window) {
        cpu.add_multiple(&mut self.point, &self.digits, window, &mut self.work);
    }
}

/// The scalar that RFC 7748 makes of these bytes, plus 8 in each digit but the last: so digits of
/// 0 to 15 stand for -8 to 7, and the last, of 4 to 8, for itself. Below 2^256: that scalar is at
/// most 2^255 - 8.
fn biased_scalar(private: &[u8]) -> [u64; 4] {
    const EIGHTS: [u64; 4] = [
        0x8888_8888_8888_8888,
        0x8888_8888_8888_8888,
        0x8888_8888_8888_8888,
        0x0888_8888_8888_8888,
    ];
    let (words, _) = private.as_chunks();
    let mut scalar: [u64; 4] = std::array::from_fn(|i| u64::from_le_bytes(words[i]));
    scalar[0] &= !7;
    scalar[3] = scalar[3] & (u64::MAX >> 1) | 1 << 62;
    let mut carry = false;
    for (word, eights) in scalar.iter_mut().zip(EIGHTS) {
        let (sum, first) = word.overflowing_add(eights);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        (*word, carry) = (sum, first | second);
    }
    scalar
}

/// z^(p-2), by the usual chain of 254 squarings and 11 multiplications.
fn invert(cpu: Cpu, z: &Number) -> Number {
    let square = |a: &Number, times| Zeroizing::new(cpu.square(a, times));
    let multiply = |a: &Number, b: &Number| Zeroizing::new(cpu.multiply(a, b));
    let z2 = square(z, 1);
    let z9 = multiply(z, &square(&z2, 2));
    let z11 = multiply(&z2, &z9);
    // to_n: z^(2^n - 1).
    let to_5 = multiply(&z9, &square(&z11, 1));
    let join = |upper: &Number, times, lower: &Number| multiply(&square(upper, times), lower);
    let to_10 = join(&to_5, 5, &to_5);
    let to_20 = join(&to_10, 10, &to_10);
    let to_40 = join(&to_20, 20, &to_20);
    let to_50 = join(&to_40, 10, &to_10);
    let to_100 = join(&to_50, 50, &to_50);
    let to_200 = join(&to_100, 100, &to_100);
    let to_250 = join(&to_200, 50, &to_50);
    *join(&to_250, 5, &z11)
}

/// A number's 255 bits, reduced.
fn bytes(mut limbs: [u64; 5]) -> [u8; 32] {
    const LIMB: u64 = (1 << LIMB_BITS) - 1;
    let carry = |limbs: &mut [u64; 5]| {
        let mut over = 0;
        for limb in limbs.iter_mut() {
            *limb += over;
            over = *limb >> LIMB_BITS;
            *limb &= LIMB;
        }
        over
    };
    // Twice: what the first time brings into the lowest limb may be one too much again.
    limbs[0] += 19 * carry(&mut limbs);
    limbs[0] += 19 * carry(&mut limbs);
    // Now below 2^255 + 19, so at least p only if 19 more reach 2^255.
    let mut more = limbs;
    more[0] += 19;
    limbs[0] += 19 * carry(&mut more);
    carry(&mut limbs);

    let mut out = [0; 32];
    let (mut held, mut bits, mut limbs) = (0u128, 0, limbs.into_iter());
    for word in out.as_chunks_mut::<8>().0 {
        while bits < 64 {
            held |= u128::from(limbs.next().unwrap_or(0)) << bits;
            bits += LIMB_BITS;
        }
        *word = (held as u64).to_le_bytes();
        held >>= 64;
        bits -= 64;
    }
    out
}

/// The windows of all digits, each made of the one before, in lanes: lane j has j + 1 times the
/// window's point. Of 60 KB, so never on the stack, which may be a job's.
fn table(cpu: Cpu) -> Box<[Window]> {
    let mut batch = Batch::new();
    let base = window(cpu, &BASE_X, &BASE_Y);
    for round in 0..LANES as u64 {
        batch.digits = Digits(std::array::from_fn(|lane| u64::from(lane as u64 >= round)));
        batch.add(cpu, &base);
    }
    let mut windows = vec![base; DIGITS].into_boxed_slice();
    for (index, slot) in windows.iter_mut().enumerate() {
        if index != 0 {
            // Four doublings: each lane adds the entry that it is itself.
            batch.digits = Digits(std::array::from_fn(|lane| lane as u64 + 1));
            for _ in 0..4 {
                let itself = affine(cpu, &batch.point);
                batch.add(cpu, &itself);
            }
        }
        *slot = affine(cpu, &batch.point);
    }
    windows
}

/// The window that holds the lanes' points.
fn affine(cpu: Cpu, point: &Point) -> Window {
    let inverse = invert(cpu, &point.z);
    window(
        cpu,
        &cpu.multiply(&point.x, &inverse),
        &cpu.multiply(&point.y, &inverse),
    )
}

fn window(cpu: Cpu, x: &Number, y: &Number) -> Window {
    Window {
        plus: y.plus(x),
        minus: y.minus(x),
        product: cpu.multiply(&cpu.multiply(x, y), &TWICE_D),
    }
}

#[cfg(test)]
mod tests {
    use spinlane_crypto::random;
    use spinlane_cryptodev::{Op, Request, Token, cpu};

    use super::*;

    fn detect() -> Option<Cpu> {
        let cpu = Cpu::detect();
        if let Err(missing) = cpu {
            eprintln!("skipped: this machine lacks {missing}, so there are no lanes");
        }
        cpu.ok()
    }

    /// aws-lc's.
    fn reference(private: &[u8; 32]) -> Vec<u8> {
        let mut op = Op::new();
        op.prepare(Token(0), &Request::x25519_keygen(private), 0);
        cpu::run(&mut op);
        op.output().to_vec()
    }

    fn agrees(base: &Base, private: &[[u8; 32]; LANES]) {
        let mut public = [[0; 32]; LANES];
        base.public(
            &private.each_ref().map(|scalar| &scalar[..]),
            &mut public.each_mut().map(|key| &mut key[..]),
        );
        for (private, public) in private.iter().zip(public) {
            assert_eq!(public[..], reference(private), "{private:02x?}");
        }
    }

    #[test]
    fn public_keys_are_aws_lcs_for_any_scalar() {
        let Some(cpu) = detect() else { return };
        let base = Base::new(cpu);
        let mut private = [[0; 32]; LANES];
        for _ in 0..500 {
            private.iter_mut().for_each(|scalar| random::fill(scalar));
            agrees(&base, &private);
        }
    }

    /// Every bit by itself and every bit but one; every digit in every place, also those that borrow
    /// from all above.
    #[test]
    fn public_keys_are_aws_lcs_for_scalars_at_the_edges() {
        let Some(cpu) = detect() else { return };
        let base = Base::new(cpu);
        let mut scalars = Vec::new();
        for bit in 0..256 {
            let mut one = [0; 32];
            one[bit / 8] = 1 << (bit % 8);
            scalars.extend([one, one.map(|byte| !byte)]);
        }
        for digit in 0..16 {
            scalars.push([digit * 0x11; 32]);
            for place in 0..64 {
                let mut alone = [0x77; 32];
                let shift = 4 * (place % 2);
                alone[place / 2] = alone[place / 2] & !(15 << shift) | digit << shift;
                scalars.push(alone);
            }
        }
        for chunk in scalars.chunks(LANES) {
            let mut private = [[0; 32]; LANES];
            private[..chunk.len()].copy_from_slice(chunk);
            agrees(&base, &private);
        }
    }

    fn lane_bytes(number: &Number, lane: usize) -> [u8; 32] {
        bytes(number.0.map(|limb| limb[lane]))
    }

    fn same(a: &Number, b: &Number) -> bool {
        (0..LANES).all(|lane| lane_bytes(a, lane) == lane_bytes(b, lane))
    }

    /// Limbs as far above 51 bits as they may be, as low as they may be, and any.
    fn number() -> Number {
        const MOST: u64 = (1 << 51) + (1 << 12) - 1;
        let mut number = Number::all([0; 5]);
        for limb in number.0.as_flattened_mut() {
            let mut word = [0; 8];
            random::fill(&mut word);
            let word = u64::from_le_bytes(word);
            *limb = match word >> 61 {
                0 | 1 => MOST,
                2 => 0,
                _ => word & ((1 << 51) - 1),
            };
        }
        number
    }

    #[test]
    fn arithmetic_holds_for_the_largest_limbs() {
        let Some(cpu) = detect() else { return };
        let most = Number::all([(1 << 51) + (1 << 12) - 1; 5]);
        for round in 0..2000 {
            let (a, b, c) = match round {
                0 => (most, most, most),
                _ => (number(), number(), number()),
            };
            let in_sum = cpu.multiply(&a.plus(&b), &c);
            let in_parts = cpu.multiply(&a, &c).plus(&cpu.multiply(&b, &c));
            assert!(same(&in_sum, &in_parts));
            let in_difference = cpu.multiply(&a.minus(&b), &c);
            let in_parts = cpu.multiply(&a, &c).minus(&cpu.multiply(&b, &c));
            assert!(same(&in_difference, &in_parts));
            assert!(same(&cpu.square(&a, 1), &cpu.multiply(&a, &a)));
            let fourth = cpu.square(&cpu.square(&a, 1), 1);
            assert!(same(&cpu.square(&a, 2), &fourth));
            for number in [in_sum, in_difference, fourth] {
                let mut limbs = number.0.as_flattened().iter();
                assert!(limbs.all(|limb| *limb < (1 << 51) + (1 << 12)));
            }
        }
    }

    #[test]
    fn a_number_times_its_inverse_is_one() {
        let Some(cpu) = detect() else { return };
        let one = Number::all([1, 0, 0, 0, 0]);
        for _ in 0..20 {
            let a = number();
            assert!(same(&cpu.multiply(&a, &invert(cpu, &a)), &one));
        }
    }

    #[test]
    fn bytes_are_of_the_reduced_number() {
        const LIMB: u64 = (1 << 51) - 1;
        let p = [LIMB - 18, LIMB, LIMB, LIMB, LIMB];
        let small = |value: u8| {
            let mut bytes = [0; 32];
            bytes[0] = value;
            bytes
        };
        assert_eq!(bytes([0; 5]), small(0));
        assert_eq!(bytes(p), small(0));
        assert_eq!(bytes(p.map(|limb| 2 * limb)), small(0));
        assert_eq!(bytes([LIMB; 5]), small(18));
        assert_eq!(bytes([LIMB + 1, LIMB, LIMB, LIMB, LIMB]), small(19));
        let mut last = [0xff; 32];
        (last[0], last[31]) = (0xec, 0x7f);
        assert_eq!(bytes([p[0] - 1, LIMB, LIMB, LIMB, LIMB]), last);
    }
}
