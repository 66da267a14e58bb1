//! The instructions that the kernels are made of, and how they are written.
//!
//! There are few, and what is not among them matters most: none moves data into a
//! general-purpose register, into an address or into a branch. Addresses are arguments plus
//! constants, and control goes straight on but for calls of labels. So whatever the operands are,
//! a kernel executes the same instructions on the same addresses: it is constant-time by
//! construction, and one run of it in the tests' emulator shows what every run touches.

use std::fmt;

/// Eight lanes of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zmm(pub usize);

/// A mask of eight lanes; number 0 cannot select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(pub usize);

/// Holds an address. None of these is callee-saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Gpr {
    Rdi,
    Rsi,
    Rdx,
    Rcx,
    R8,
    R9,
    Rax,
    R10,
    R11,
}

/// Bytes of a register, and of one limb in all lanes.
pub const LINE: usize = 64;

/// Memory at a register plus a constant number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem(pub Gpr, pub usize);

impl Mem {
    /// The line `index` lines further on.
    pub fn line(self, index: usize) -> Self {
        Self(self.0, self.1 + index * LINE)
    }
}

/// Where an instruction reads its last operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Src {
    /// A register.
    Reg(Zmm),
    /// A line of memory.
    Mem(Mem),
}

impl From<Zmm> for Src {
    fn from(register: Zmm) -> Self {
        Self::Reg(register)
    }
}

impl From<Mem> for Src {
    fn from(memory: Mem) -> Self {
        Self::Mem(memory)
    }
}

/// An instruction, or a label. Lane by lane, on 64-bit words, destination first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inst {
    /// Where a call goes. `true`: visible to the linker.
    Label(String, bool),
    /// d = memory.
    Load(Zmm, Mem),
    /// d = memory in the lanes of the mask.
    LoadMasked(Zmm, Mask, Mem),
    /// memory = s.
    Store(Mem, Zmm),
    /// d = s.
    Move(Zmm, Zmm),
    /// d = s in the lanes of the mask.
    MoveMasked(Zmm, Mask, Zmm),
    /// d = 0.
    Zero(Zmm),
    /// d += low 52 bits of the product of the low 52 bits of a and b.
    MaddLo(Zmm, Zmm, Src),
    /// d += high 52 bits of it.
    MaddHi(Zmm, Zmm, Src),
    /// d = a + b.
    Add(Zmm, Zmm, Src),
    /// d = d + b in the lanes of the mask.
    AddMasked(Zmm, Mask, Src),
    /// d = a - b.
    Sub(Zmm, Zmm, Src),
    /// d = a & b.
    And(Zmm, Zmm, Src),
    /// d = a >> 52, the sign kept.
    Carry(Zmm, Zmm),
    /// mask = lanes where a equals the one word at memory.
    Equal(Mask, Zmm, Mem),
    /// mask = lanes where a & memory is not 0.
    Test(Mask, Zmm, Mem),
    /// mask = a & b.
    AndMask(Mask, Mask, Mask),
    /// d = address.
    Address(Gpr, Mem),
    /// Calls a label.
    Call(String),
    /// Returns.
    Return,
}

impl fmt::Display for Zmm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zmm{}", self.0)
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

impl fmt::Display for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:?}+{}]", self.0, self.1)
    }
}

impl fmt::Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reg(register) => register.fmt(f),
            Self::Mem(memory) => memory.fmt(f),
        }
    }
}

impl fmt::Display for Inst {
    /// GNU assembler, Intel syntax. (It takes register names in any case.)
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(name, public) => {
                // Backtraces and profiles see through: each label begins a function of its own.
                writeln!(f, ".p2align 6")?;
                if *public {
                    writeln!(f, ".globl {name}\n.hidden {name}")?;
                }
                write!(f, ".type {name},@function\n{name}:")
            }
            Self::Load(d, m) => write!(f, "vmovdqa64 {d},{m}"),
            Self::LoadMasked(d, k, m) => write!(f, "vmovdqa64 {d}{{{k}}},{m}"),
            Self::Store(m, s) => write!(f, "vmovdqa64 {m},{s}"),
            Self::Move(d, s) => write!(f, "vmovdqa64 {d},{s}"),
            Self::MoveMasked(d, k, s) => write!(f, "vmovdqa64 {d}{{{k}}},{s}"),
            Self::Zero(Zmm(d)) => write!(f, "vpxorq zmm{d},zmm{d},zmm{d}"),
            Self::MaddLo(d, a, b) => write!(f, "vpmadd52luq {d},{a},{b}"),
            Self::MaddHi(d, a, b) => write!(f, "vpmadd52huq {d},{a},{b}"),
            Self::Add(d, a, b) => write!(f, "vpaddq {d},{a},{b}"),
            Self::AddMasked(d, k, b) => write!(f, "vpaddq {d}{{{k}}},{d},{b}"),
            Self::Sub(d, a, b) => write!(f, "vpsubq {d},{a},{b}"),
            Self::And(d, a, b) => write!(f, "vpandq {d},{a},{b}"),
            Self::Carry(d, a) => write!(f, "vpsraq {d},{a},52"),
            Self::Equal(k, a, m) => write!(f, "vpcmpeqq {k},{a},qword ptr {m}{{1to8}}"),
            Self::Test(k, a, m) => write!(f, "vptestmq {k},{a},{m}"),
            Self::AndMask(k, a, b) => write!(f, "kandw {k},{a},{b}"),
            Self::Address(r, m) => write!(f, "lea {r:?},{m}"),
            Self::Call(name) => write!(f, "call {name}"),
            Self::Return => write!(f, "ret"),
        }
    }
}
