//! Writes the kernels of edwards25519 in eight lanes: arithmetic modulo p = 2^255 - 19, and the
//! addition of a table's multiples to points.
//!
//! A number is five limbs of 51 bits, a limb of all lanes one register. Limbs between two
//! operations are below 2^51 + 2^12, so that a factor's always fit the 52 bits that
//! `vpmadd52` reads. A product's columns come from two instructions,
//! ```text
//!   a_i b_j = lo + 2^52 hi      lo belongs to column i+j, twice hi to column i+j+1
//! ```
//! and columns 5 to 9 weigh 2^255 times as much as 0 to 4, which is 19 times modulo p. No column
//! comes near 2^61: at most five lo and ten hi, and nineteen times as much.
//!
//! Nothing here moves data into an address, a general-purpose register or a branch. Addresses are
//! arguments plus constants, and the one loop counts down an argument. So the kernels are
//! constant-time whatever the numbers, and touch the same memory in every run.

use std::fmt::Display;

/// Bytes of a register.
const LINE: usize = 64;
/// Limbs of a number.
const LIMBS: usize = 5;
/// Bytes of a number in all lanes.
const NUMBER: usize = LIMBS * LINE;

// Registers, each the first of five or nine.
const A: usize = 0;
const B: usize = 5;
const LO: usize = 10;
const HI: usize = 19;
// Constants: twice p, whose lowest limb differs; 19; 2^51 - 1.
const TWICE_P_LOW: usize = 28;
const TWICE_P: usize = 29;
const NINETEEN: usize = 30;
const MASK: usize = 31;

/// A number in memory: a register with its address, and bytes from there.
#[derive(Clone, Copy)]
struct Number(&'static str, usize);

impl Number {
    fn limb(self, index: usize) -> String {
        format!("[{}+{}]", self.0, self.1 + index * LINE)
    }
}

/// The kernels as the assembler reads them: GNU syntax, Intel's order of operands.
pub fn assembly() -> String {
    let mut code = Code(String::from(".text\n"));
    code.multiply();
    code.square();
    code.add_multiple();
    code.0
}

struct Code(String);

impl Code {
    fn put(&mut self, line: impl Display) {
        self.0 += &format!("{line}\n");
    }

    fn begin(&mut self, symbol: &str) {
        self.put(format!(
            ".p2align 6\n.globl {symbol}\n.hidden {symbol}\n.type {symbol},@function\n{symbol}:"
        ));
        for (register, value) in [
            (TWICE_P_LOW, (1u64 << 52) - 38),
            (TWICE_P, (1 << 52) - 2),
            (NINETEEN, 19),
            (MASK, (1 << 51) - 1),
        ] {
            self.put(format!(
                "movabs rax,{value}\nvpbroadcastq zmm{register},rax"
            ));
        }
    }

    fn end(&mut self) {
        self.put("ret");
    }

    fn load(&mut self, to: usize, from: Number) {
        for i in 0..LIMBS {
            self.put(format!("vmovdqa64 zmm{},{}", to + i, from.limb(i)));
        }
    }

    fn store(&mut self, to: Number, from: usize) {
        for i in 0..LIMBS {
            self.put(format!("vmovdqa64 {},zmm{}", to.limb(i), from + i));
        }
    }

    /// `to` = the number in `from`, carried. Overwrites `spare`; `to` may be `from`.
    fn carry(&mut self, to: usize, from: usize, spare: usize) {
        for i in 0..LIMBS {
            self.put(format!("vpsrlq zmm{},zmm{},51", spare + i, from + i));
            self.put(format!("vpandq zmm{},zmm{},zmm{MASK}", to + i, from + i));
        }
        let top = spare + LIMBS - 1;
        self.put(format!("vpmuludq zmm{top},zmm{top},zmm{NINETEEN}"));
        for i in 0..LIMBS {
            let below = spare + (i + LIMBS - 1) % LIMBS;
            self.put(format!("vpaddq zmm{0},zmm{0},zmm{below}", to + i));
        }
    }

    fn zero(&mut self, registers: impl IntoIterator<Item = usize>) {
        for register in registers {
            self.put(format!("vpxorq zmm{register},zmm{register},zmm{register}"));
        }
    }

    /// Adds a product of limbs to columns `i + j`.
    fn madd(&mut self, i: usize, j: usize, b: usize) {
        for (half, columns) in [("l", LO), ("h", HI)] {
            self.put(format!(
                "vpmadd52{half}uq zmm{},zmm{},zmm{}",
                columns + i + j,
                A + i,
                b + j
            ));
        }
    }

    /// `to` = A B. Leaves nothing as it was.
    fn product(&mut self, to: usize) {
        self.zero(LO..HI + 9);
        for i in 0..LIMBS {
            for j in 0..LIMBS {
                self.madd(i, j, B);
            }
        }
        self.reduce(to);
    }

    /// `to` = A A. Leaves nothing as it was.
    fn product_with_itself(&mut self, to: usize) {
        self.zero(LO..HI + 9);
        for i in 0..LIMBS {
            for j in i + 1..LIMBS {
                self.madd(i, j, A);
            }
        }
        for columns in [LO, HI] {
            for i in 1..8 {
                self.put(format!("vpaddq zmm{0},zmm{0},zmm{0}", columns + i));
            }
        }
        for i in 0..LIMBS {
            self.madd(i, i, A);
        }
        self.reduce(to);
    }

    /// `to` = what is in the columns. Overwrites A and B.
    fn reduce(&mut self, to: usize) {
        for i in 0..9 {
            self.put(format!("vpaddq zmm{0},zmm{0},zmm{0}", HI + i));
        }
        for i in 1..9 {
            self.put(format!("vpaddq zmm{0},zmm{0},zmm{1}", LO + i, HI + i - 1));
        }
        let column = |i| if i < 9 { LO + i } else { HI + 8 };
        for i in 0..LIMBS {
            let upper = column(LIMBS + i);
            self.put(format!("vpmullq zmm{upper},zmm{upper},zmm{NINETEEN}"));
            self.put(format!("vpaddq zmm{0},zmm{0},zmm{upper}", LO + i));
        }
        self.carry(to, LO, B);
    }

    /// `to` = `a` `b`, all in memory.
    fn multiplied(&mut self, to: Number, a: Number, b: Number) {
        self.load(A, a);
        self.load(B, b);
        self.product(LO);
        self.store(to, LO);
    }

    /// `sum` = a + b and `difference` = a - b, in memory, of the numbers in A and B. Leaves B.
    fn sum_and_difference(&mut self, sum: Number, difference: Number) {
        for i in 0..LIMBS {
            let twice_p = if i == 0 { TWICE_P_LOW } else { TWICE_P };
            self.put(format!("vpaddq zmm{},zmm{},zmm{}", LO + i, A + i, B + i));
            self.put(format!("vpsubq zmm{},zmm{},zmm{}", HI + i, A + i, B + i));
            self.put(format!("vpaddq zmm{0},zmm{0},zmm{twice_p}", HI + i));
        }
        self.carry(LO, LO, A);
        self.carry(HI, HI, A);
        self.store(sum, LO);
        self.store(difference, HI);
    }

    /// r = a b.
    fn multiply(&mut self) {
        self.begin("spinlane_mod25519_multiply");
        let [r, a, b] = ["rdi", "rsi", "rdx"].map(|register| Number(register, 0));
        self.multiplied(r, a, b);
        self.end();
    }

    /// r = a, squared as often as the third argument says, at least once.
    fn square(&mut self) {
        self.begin("spinlane_mod25519_square");
        self.load(A, Number("rsi", 0));
        self.put("2:");
        self.product_with_itself(A);
        self.put("dec rdx\njnz 2b");
        self.store(Number("rdi", 0), A);
        self.end();
    }

    /// point += digit P, where a window holds 1 to 8 P, an entry per word of a line: y+x, y-x,
    /// 2dxy. (Hisil and others, "Twisted Edwards Curves Revisited", 2008, section 3.1, with an affine
    /// second point. The formulas are complete: they hold for any two points.)
    ///
    /// Arguments: point (x, y, z, t), digits of -8 to 8, window, work memory of eight numbers.
    fn add_multiple(&mut self) {
        self.begin("spinlane_edwards25519_add_multiple");
        let [x, y, z, t] = [0, 1, 2, 3].map(|i| Number("rdi", i * NUMBER));
        let work = |i: usize| Number("rcx", i * NUMBER);
        let [plus, minus, product, e, h, a, b, c] = [0, 1, 2, 3, 4, 5, 6, 7].map(work);

        self.pick(plus, minus, product);
        self.load(A, y);
        self.load(B, x);
        self.sum_and_difference(h, e);
        self.multiplied(a, e, minus);
        self.multiplied(b, h, plus);
        self.multiplied(c, t, product);
        self.load(A, b);
        self.load(B, a);
        self.sum_and_difference(h, e);
        self.load(A, z);
        for i in 0..LIMBS {
            self.put(format!("vpaddq zmm{0},zmm{0},zmm{0}", A + i));
        }
        self.load(B, c);
        let (g, f) = (a, b);
        self.sum_and_difference(g, f);
        self.multiplied(x, e, f);
        self.multiplied(y, g, h);
        self.multiplied(z, f, g);
        self.multiplied(t, e, h);
        self.end();
    }

    /// Each lane's entry of the window, or its negative, or the neutral element. A line of the
    /// table is read as a whole and its words are moved within a register: which, no address tells.
    fn pick(&mut self, plus: Number, minus: Number, product: Number) {
        let window = |i: usize| Number("rdx", i * NUMBER);
        let [plus_in, minus_in, product_in, spare] = [A + 5, A + 10, A + 15, A + 20];
        let (index, ones, zero, one) = (A, A + 1, A + 2, A + 3);
        self.put(format!("vmovdqa64 zmm{index},[rsi]"));
        self.zero([zero]);
        self.put(format!("vpternlogd zmm{ones},zmm{ones},zmm{ones},255"));
        self.put(format!("vpsubq zmm{one},zmm{zero},zmm{ones}"));
        // k1: negative, k2: not zero, k3: zero.
        self.put(format!("vpcmpgtq k1,zmm{zero},zmm{index}"));
        self.put(format!("vptestmq k2,zmm{index},zmm{index}"));
        self.put(format!("vptestnmq k3,zmm{index},zmm{index}"));
        self.put(format!("vpabsq zmm{index},zmm{index}"));
        self.put(format!("vpaddq zmm{index},zmm{index},zmm{ones}"));
        for (to, from) in [plus_in, minus_in, product_in].into_iter().zip(0..) {
            for i in 0..LIMBS {
                let limb = window(from).limb(i);
                self.put(format!("vpermq zmm{}{{k2}}{{z}},zmm{index},{limb}", to + i));
            }
        }
        for to in [plus_in, minus_in] {
            self.put(format!("vmovdqa64 zmm{to}{{k3}},zmm{one}"));
        }
        for i in 0..LIMBS {
            let (plus, minus, product) = (plus_in + i, minus_in + i, product_in + i);
            let twice_p = if i == 0 { TWICE_P_LOW } else { TWICE_P };
            self.put(format!("vmovdqa64 zmm{},zmm{plus}", spare + i));
            self.put(format!("vmovdqa64 zmm{plus}{{k1}},zmm{minus}"));
            self.put(format!("vmovdqa64 zmm{minus}{{k1}},zmm{}", spare + i));
            self.put(format!(
                "vpsubq zmm{product}{{k1}},zmm{twice_p},zmm{product}"
            ));
        }
        self.store(plus, plus_in);
        self.store(minus, minus_in);
        self.store(product, product_in);
    }
}
