//! Blocks of 10 by 10 limbs: the inner loops, as subroutines that all sizes share.
//!
//! ```text
//!  zmm0-19   columns: column i collects what has the weight 2^(52 i) in the current block
//!  zmm20-29  ten columns of a smaller product, or ten limbs
//!  zmm30     a limb of the first factor      (or a quotient digit)
//!  zmm31     a limb of the second, a carry, or a quotient digit
//! ```
//! A column is a sum of 52-bit halves, few enough that its 64 bits never overflow; it may be
//! negative in between. No carry is moved before a column is complete.

use super::inst::{Gpr, Inst, Mask, Mem, Src, Zmm};
use super::layout::{BLOCK, modulus};

/// Adds the product of the blocks at rax and r11 to the columns.
pub const PRODUCT: &str = "spinlane_rsa52_product";
/// As [`PRODUCT`]; the sum of the halves of the block at r11 is at r10.
pub const MULTIPLE: &str = "spinlane_rsa52_multiple";
/// As [`MULTIPLE`], and computes the first quotient digit as soon as column 0 is complete.
pub const MULTIPLE_QUOTIENT: &str = "spinlane_rsa52_multiple_quotient";
/// Adds the square of the block at rax to the columns.
pub const SQUARE: &str = "spinlane_rsa52_square";
/// Clears columns 0 to 9 by adding a multiple of the modulus.
pub const REDUCE: &str = "spinlane_rsa52_reduce";

/// Base of the modulus.
const N: Gpr = Gpr::Rcx;
/// The block that is the first factor; where [`REDUCE`] stores the quotient digits.
pub const X: Gpr = Gpr::Rax;
/// The block that is the second factor.
pub const Y: Gpr = Gpr::R11;
/// The sum of its halves.
pub const Y_SUM: Gpr = Gpr::R10;

/// Returns a column's register.
pub fn column(index: usize) -> Zmm {
    assert!(index < 2 * BLOCK);
    Zmm(index)
}

/// Returns the register of a smaller product's column, or of a limb.
fn temporary(index: usize) -> Zmm {
    assert!(index < BLOCK);
    Zmm(20 + index)
}

/// The first factor's limb.
pub const FIRST: Zmm = Zmm(30);
/// A carry, or the side task's limb.
pub const SPARE: Zmm = Zmm(31);

/// Lanes where the sum of the first factor's halves goes beyond 260 bits.
const OVER_X: Mask = Mask(6);
/// The same of the second.
const OVER_Y: Mask = Mask(7);
/// In both.
const OVER_BOTH: Mask = Mask(5);

/// A line of the modulus.
pub fn modulus_line(line: usize) -> Mem {
    Mem(N, 0).line(line)
}

/// Writes all subroutines.
pub fn subroutines() -> Vec<Inst> {
    let mut code = Vec::new();
    for (name, write) in [
        (
            PRODUCT,
            (|code| product(code, false, false)) as fn(&mut Vec<Inst>),
        ),
        (MULTIPLE, |code| product(code, true, false)),
        (MULTIPLE_QUOTIENT, |code| product(code, true, true)),
        (SQUARE, square),
        (REDUCE, reduce),
    ] {
        code.push(Inst::Label(name.to_owned(), false));
        write(&mut code);
        code.push(Inst::Return);
    }
    code
}

/// Half a block.
const HALF: usize = BLOCK / 2;

/// Karatsuba's way, H = 2^260: with x = x0 + x1 H and y = y0 + y1 H,
///
/// ```text
/// x y = x0 y0 (1 - H) + x1 y1 (H^2 - H) + (x0 + x1)(y0 + y1) H
/// ```
///
/// 150 multiplications instead of 200.
fn product(code: &mut Vec<Inst>, sum_is_known: bool, with_quotient: bool) {
    for half in 0..2 {
        half_product(code, (X, half), (Y, half));
        add_temporaries(code, BLOCK * half);
        for i in 0..BLOCK {
            let middle = column(HALF + i);
            code.push(Inst::Sub(middle, middle, temporary(i).into()));
        }
    }
    sum_halves(code, X, 0, OVER_X);
    if sum_is_known {
        code.extend((0..HALF).map(|i| Inst::Load(temporary(HALF + i), Mem(Y_SUM, 0).line(i))));
        split_over(code, temporary(BLOCK - 1), OVER_Y);
    } else {
        sum_halves(code, Y, HALF, OVER_Y);
    }
    for i in 0..HALF {
        let x = temporary(i);
        let y = |j| Src::Reg(temporary(HALF + j));
        code.extend((0..HALF).map(|j| Inst::MaddLo(column(HALF + i + j), x, y(j))));
        if with_quotient && i == 0 {
            quotient(code, 0);
        }
        code.extend((0..HALF).map(|j| Inst::MaddHi(column(HALF + i + j + 1), x, y(j))));
    }
    // The sums are x + o H and y + u H, o and u being 0 or 1.
    for i in 0..HALF {
        let upper = column(BLOCK + i);
        code.push(Inst::AddMasked(upper, OVER_X, temporary(HALF + i).into()));
        code.push(Inst::AddMasked(upper, OVER_Y, temporary(i).into()));
    }
    let bit = modulus_line(modulus::BIT_52);
    code.push(Inst::AndMask(OVER_BOTH, OVER_X, OVER_Y));
    code.push(Inst::AddMasked(
        column(BLOCK + HALF - 1),
        OVER_BOTH,
        bit.into(),
    ));
}

/// Temporaries = the product of two half blocks.
fn half_product(code: &mut Vec<Inst>, x: (Gpr, usize), y: (Gpr, usize)) {
    code.extend((0..BLOCK).map(|i| Inst::Zero(temporary(i))));
    for i in 0..HALF {
        code.push(Inst::Load(FIRST, half_line(x, i)));
        // In an order in which few additions to a column follow each other closely.
        for j in [0, 2, 4, 1, 3] {
            code.push(Inst::Load(SPARE, half_line(y, j)));
            code.push(Inst::MaddLo(temporary(i + j), FIRST, SPARE.into()));
            code.push(Inst::MaddHi(temporary(i + j + 1), FIRST, SPARE.into()));
        }
    }
}

fn half_line((base, half): (Gpr, usize), line: usize) -> Mem {
    Mem(base, 0).line(half * HALF + line)
}

/// Columns from `first` on += temporaries.
fn add_temporaries(code: &mut Vec<Inst>, first: usize) {
    for i in 0..BLOCK {
        let to = column(first + i);
        code.push(Inst::Add(to, to, temporary(i).into()));
    }
}

/// Temporaries from `to` on = the sum of a block's halves, carries moved on; `over` tells in which
/// lanes it has a 261st bit.
fn sum_halves(code: &mut Vec<Inst>, of: Gpr, to: usize, over: Mask) {
    for i in 0..HALF {
        let limb = temporary(to + i);
        code.push(Inst::Load(limb, half_line((of, 0), i)));
        code.push(Inst::Add(limb, limb, half_line((of, 1), i).into()));
        if i > 0 {
            code.push(Inst::Add(limb, limb, SPARE.into()));
        }
        if i + 1 < HALF {
            code.push(Inst::Carry(SPARE, limb));
            code.push(Inst::And(limb, limb, modulus_line(modulus::LOW_52).into()));
        } else {
            split_over(code, limb, over);
        }
    }
}

/// Takes the 53rd bit off `limb`; `over` tells where it was set.
fn split_over(code: &mut Vec<Inst>, limb: Zmm, over: Mask) {
    code.push(Inst::Test(over, limb, modulus_line(modulus::BIT_52)));
    code.push(Inst::And(limb, limb, modulus_line(modulus::LOW_52).into()));
}

/// Squares both halves and adds twice their product: 110 multiplications.
fn square(code: &mut Vec<Inst>) {
    for half in 0..2 {
        half_square(code, (X, half));
        add_temporaries(code, BLOCK * half);
    }
    half_product(code, (X, 0), (X, 1));
    add_temporaries(code, HALF);
    add_temporaries(code, HALF);
}

/// Temporaries = the square of half a block: the products of different limbs, doubled, and the
/// limbs' squares.
fn half_square(code: &mut Vec<Inst>, x: (Gpr, usize)) {
    code.extend((0..BLOCK).map(|i| Inst::Zero(temporary(i))));
    for i in 0..HALF - 1 {
        code.push(Inst::Load(FIRST, half_line(x, i)));
        for j in i + 1..HALF {
            code.push(Inst::Load(SPARE, half_line(x, j)));
            code.push(Inst::MaddLo(temporary(i + j), FIRST, SPARE.into()));
            code.push(Inst::MaddHi(temporary(i + j + 1), FIRST, SPARE.into()));
        }
    }
    for i in 1..BLOCK - 1 {
        code.push(Inst::Add(temporary(i), temporary(i), temporary(i).into()));
    }
    for i in 0..HALF {
        code.push(Inst::Load(FIRST, half_line(x, i)));
        code.push(Inst::MaddLo(temporary(2 * i), FIRST, FIRST.into()));
        code.push(Inst::MaddHi(temporary(2 * i + 1), FIRST, FIRST.into()));
    }
}

/// Montgomery's digit that clears column `i`, in [`digit`], and the column's carry to the next.
///
/// The column holds t + 2^52 - 1, t being what it is to hold. The digit is m = -t/n mod 2^52,
/// that is k0 t = k0 (column) + k0. What clearing carries on is (t + lo(m n0)) / 2^52; the sum
/// is a multiple of 2^52 and lo(m n0) below it, so that this is t / 2^52 rounded up: the column
/// shifted, without multiplying m by n0.
pub fn quotient(code: &mut Vec<Inst>, i: usize) {
    let k0 = modulus_line(modulus::K0);
    code.extend([
        Inst::Load(digit(i), k0),
        Inst::MaddLo(digit(i), column(i), k0.into()),
        Inst::Carry(column(i), column(i)),
        Inst::Add(column(i + 1), column(i + 1), column(i).into()),
    ]);
}

/// Two registers by turns, so that a digit can be computed while the last one is in use.
fn digit(i: usize) -> Zmm {
    if i.is_multiple_of(2) { SPARE } else { FIRST }
}

/// Adds m times the modulus's first block, m being the ten digits that clear ten columns. The
/// first digit is there already.
///
/// Digits depend on each other: m goes into the next column, on which the next m hangs. The two
/// multiplications on that path come first and spaced apart, and the next digit is computed well
/// before the row's end, so that the others hide its latency.
fn reduce(code: &mut Vec<Inst>) {
    code.extend((0..BLOCK).map(|j| {
        let limb = modulus_line(modulus::LIMBS + j);
        Inst::Load(temporary(j), limb)
    }));
    for i in 0..BLOCK {
        let m = digit(i);
        let low = |j: usize| Inst::MaddLo(column(i + j), m, Src::Reg(temporary(j)));
        let high = |j: usize| Inst::MaddHi(column(i + j + 1), m, Src::Reg(temporary(j)));
        let mut others = (2..BLOCK).map(low).chain((1..BLOCK).map(high));
        code.push(low(1));
        code.extend(others.by_ref().take(7));
        code.push(high(0));
        code.extend(others.by_ref().take(3));
        if i + 1 < BLOCK {
            quotient(code, i + 1);
        }
        // Beyond 52 bits is what does not count in a multiplication, but in a sum.
        code.push(Inst::And(m, m, modulus_line(modulus::LOW_52).into()));
        code.push(Inst::Store(Mem(X, 0).line(i), m));
        code.extend(others);
    }
}
