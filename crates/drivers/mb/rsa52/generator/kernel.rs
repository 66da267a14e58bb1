//! One kernel of one size: which block products are added where.
//!
//! Numbers are split into blocks of ten limbs. A product and the multiple of the modulus that
//! Montgomery's reduction adds are summed up together, block column by block column: a column's
//! quotient digits follow from what is in it, and clear it.

use super::blocks::{
    FIRST, MULTIPLE, MULTIPLE_QUOTIENT, PRODUCT, REDUCE, SPARE, SQUARE, X, Y, Y_SUM, column,
    modulus_line, quotient,
};
use super::inst::{Gpr, Inst, Mask, Mem};
use super::layout::{BLOCK, DIGIT, limbs_per_pass, modulus, scratch};

/// What a kernel computes. All are called as `(r, a, b, modulus, scratch, table)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// r = a b / 2^(52 limbs) mod n. r may be a or b.
    Mul,
    /// r = a a / 2^(52 limbs) mod n. r may be a.
    Square,
    /// The same, and in the shade of the multiplications, some limbs of b become those of a
    /// table's entry, in each lane of the one whose number is in the scratch memory.
    SquareAndPick,
    /// That without a squaring.
    Pick,
    /// r = a b, twice as long. r must overlap neither.
    Product,
}

impl Kind {
    /// Returns the symbol of the kernel of this kind.
    pub fn symbol(self, limbs: usize) -> String {
        let name = match self {
            Self::Mul => "mul",
            Self::Square => "square",
            Self::SquareAndPick => "square_and_pick",
            Self::Pick => "pick",
            Self::Product => "full_product",
        };
        format!("spinlane_rsa52_{name}_{limbs}")
    }

    fn squares(self) -> bool {
        matches!(self, Self::Square | Self::SquareAndPick)
    }

    fn reduces(self) -> bool {
        self != Self::Product
    }
}

const R: Mem = Mem(Gpr::Rdi, 0);
const A: Mem = Mem(Gpr::Rsi, 0);
const B: Mem = Mem(Gpr::Rdx, 0);
const SCRATCH: Mem = Mem(Gpr::R8, 0);
const TABLE: Mem = Mem(Gpr::R9, 0);

/// Writes the kernel of this kind and size, a multiple of ten limbs.
pub fn kernel(kind: Kind, limbs: usize) -> Vec<Inst> {
    assert!(limbs.is_multiple_of(BLOCK) && limbs > 0);
    let mut kernel = Kernel {
        kind,
        limbs,
        blocks: limbs / BLOCK,
        code: vec![Inst::Label(kind.symbol(limbs), true)],
        picked: 0,
    };
    if kind == Kind::Pick {
        kernel.pick();
    } else {
        kernel.compute();
    }
    kernel.code.push(Inst::Return);
    kernel.code
}

struct Kernel {
    kind: Kind,
    limbs: usize,
    /// `limbs` in blocks.
    blocks: usize,
    code: Vec<Inst>,
    /// Limbs that the side task has done.
    picked: usize,
}

impl Kernel {
    fn push(&mut self, inst: Inst) {
        self.code.push(inst);
    }

    fn compute(&mut self) {
        self.code
            .extend((0..2 * BLOCK).map(|i| Inst::Zero(column(i))));
        for stage in 0..2 * self.blocks {
            self.stage(stage);
        }
        assert!(self.kind != Kind::SquareAndPick || self.picked == limbs_per_pass(self.limbs));
    }

    /// Block column `stage`: collects all that belongs to columns 0 to 9, which are complete
    /// then, and what the same block products bring for columns 10 to 19. Then clears the ten,
    /// or gives them out.
    fn stage(&mut self, stage: usize) {
        if self.kind.squares() {
            self.squares(stage);
        } else {
            self.shift_columns(stage);
            for block in self.blocks_of(stage) {
                let (x, y) = (A.line(block * BLOCK), B.line((stage - block) * BLOCK));
                self.product(x, y);
            }
        }
        let reduces = self.kind.reduces() && stage < self.blocks;
        if reduces {
            let bias = modulus_line(modulus::LOW_52);
            for i in 0..BLOCK {
                self.push(Inst::Add(column(i), column(i), bias.into())); // see `quotient`
            }
        }
        if self.kind.reduces() {
            self.multiples_of_modulus(stage);
        }
        if reduces {
            self.push(Inst::Address(X, self.quotient_block(stage)));
            self.call(REDUCE);
        } else {
            let first = if self.kind.reduces() { self.blocks } else { 0 };
            self.give_out(R.line((stage - first) * BLOCK), stage + 1 < 2 * self.blocks);
        }
    }

    /// Blocks of a factor that meet one of the other's in this block column.
    fn blocks_of(&self, stage: usize) -> std::ops::Range<usize> {
        (stage + 1).saturating_sub(self.blocks)..(stage + 1).min(self.blocks)
    }

    /// Columns 10 to 19 become 0 to 9, and new ones begin.
    fn shift_columns(&mut self, stage: usize) {
        if stage > 0 {
            self.code
                .extend((0..BLOCK).map(|i| Inst::Move(column(i), column(BLOCK + i))));
            self.code
                .extend((BLOCK..2 * BLOCK).map(|i| Inst::Zero(column(i))));
        }
    }

    /// Shifts the columns and adds what a squaring adds: products of different blocks once and
    /// doubled, and a block's square.
    fn squares(&mut self, stage: usize) {
        let blocks = self.blocks_of(stage);
        let mut pairs = blocks.clone().filter(|low| 2 * low < stage).peekable();
        if pairs.peek().is_some() {
            // What is in the columns is not to be doubled.
            let aside = SCRATCH.line(scratch::ASIDE);
            self.code
                .extend((0..BLOCK).map(|i| Inst::Store(aside.line(i), column(BLOCK + i))));
            self.code
                .extend((0..2 * BLOCK).map(|i| Inst::Zero(column(i))));
            for low in pairs {
                self.product(A.line(low * BLOCK), A.line((stage - low) * BLOCK));
            }
            for i in 0..2 * BLOCK {
                self.push(Inst::Add(column(i), column(i), column(i).into()));
            }
            for i in 0..BLOCK {
                self.push(Inst::Add(column(i), column(i), aside.line(i).into()));
            }
        } else {
            self.shift_columns(stage);
        }
        if stage.is_multiple_of(2) && blocks.contains(&(stage / 2)) {
            self.push(Inst::Address(X, A.line(stage / 2 * BLOCK)));
            self.call(SQUARE);
        }
    }

    fn product(&mut self, x: Mem, y: Mem) {
        self.push(Inst::Address(X, x));
        self.push(Inst::Address(Y, y));
        self.call(PRODUCT);
    }

    /// Adds the products of quotient digits and modulus that belong here, but for that of
    /// the digits which are still to be computed. Then computes the first of these.
    fn multiples_of_modulus(&mut self, stage: usize) {
        let first = (stage + 1).saturating_sub(self.blocks);
        let last = stage.min(self.blocks);
        for block in first..last {
            let other = stage - block;
            let sums = modulus::sums(self.limbs) + other * BLOCK / 2;
            self.push(Inst::Address(X, self.quotient_block(block)));
            self.push(Inst::Address(
                Y,
                modulus_line(modulus::LIMBS + other * BLOCK),
            ));
            self.push(Inst::Address(Y_SUM, modulus_line(sums)));
            let quotient_next = block + 1 == last && stage < self.blocks;
            self.call(if quotient_next {
                MULTIPLE_QUOTIENT
            } else {
                MULTIPLE
            });
        }
        if stage == 0 {
            quotient(&mut self.code, 0);
        }
    }

    fn quotient_block(&self, block: usize) -> Mem {
        SCRATCH.line(scratch::QUOTIENT + block * BLOCK)
    }

    /// Stores columns 0 to 9 as limbs of 52 bits; their last carry goes to column 10.
    fn give_out(&mut self, to: Mem, carry_on: bool) {
        for i in 0..BLOCK {
            if i > 0 {
                self.push(Inst::Add(column(i), column(i), SPARE.into()));
            }
            self.push(Inst::Carry(SPARE, column(i)));
            let low = modulus_line(modulus::LOW_52);
            self.push(Inst::And(column(i), column(i), low.into()));
            self.push(Inst::Store(to.line(i), column(i)));
        }
        if carry_on {
            self.push(Inst::Add(column(BLOCK), column(BLOCK), SPARE.into()));
        }
    }

    /// Calls a block subroutine. Behind the first reduction, whose quotient digits wait for each
    /// other, there is time for the side task.
    fn call(&mut self, subroutine: &str) {
        self.push(Inst::Call(subroutine.to_owned()));
        if self.kind == Kind::SquareAndPick && subroutine == REDUCE && self.picked == 0 {
            self.pick();
        }
    }

    /// The first limbs of the picked entry. Reads those limbs of every entry.
    fn pick(&mut self) {
        // The masks: where the low half of the number is 1, 2, 3, and where the high half is.
        let masks = |half: usize| (1..DIGIT).map(move |digit| (digit, Mask(3 * half + digit)));
        for half in 0..2 {
            self.push(Inst::Load(SPARE, SCRATCH.line(scratch::NUMBERS + half)));
            for (digit, mask) in masks(half) {
                let words = modulus_line(modulus::COUNT);
                let word = Mem(words.0, words.1 + digit * size_of::<u64>());
                self.push(Inst::Equal(mask, SPARE, word));
            }
        }
        self.picked = limbs_per_pass(self.limbs);
        for limb in 0..self.picked {
            let entry = |high, low| TABLE.line((DIGIT * high + low) * self.limbs + limb);
            for high in 0..DIGIT {
                let of_four = if high == 0 { SPARE } else { FIRST };
                self.code.push(Inst::Load(of_four, entry(high, 0)));
                for (low, mask) in masks(0) {
                    self.code
                        .push(Inst::LoadMasked(of_four, mask, entry(high, low)));
                }
                for (_, mask) in masks(1).filter(|(digit, _)| *digit == high) {
                    self.code.push(Inst::MoveMasked(SPARE, mask, FIRST));
                }
            }
            self.code.push(Inst::Store(B.line(limb), SPARE));
        }
    }
}
