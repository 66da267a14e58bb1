//! Executes generated code on memory that knows its bounds. Needs no AVX-512.

use std::collections::HashMap;

use super::generator::inst::{Gpr, Inst, LINE, Mem, Src, Zmm};

pub type Lanes = [u64; 8];

const LOW_52: u64 = (1 << 52) - 1;

/// An operand: lines that may be written or not, `None` where nothing has been stored.
pub struct Operand {
    pub name: &'static str,
    pub lines: Vec<Option<Lanes>>,
    pub writable: bool,
}

/// A CPU that stops at anything out of order: an access beyond its operand or across lines, a
/// read of a register or a line that nobody has written, a write to what is read-only.
pub struct Emulator<'a> {
    code: &'a [Inst],
    labels: HashMap<&'a str, usize>,
    pub operands: Vec<Operand>,
    vectors: [Option<Lanes>; 32],
    masks: [Option<u8>; 8],
    /// Operand and byte offset.
    pointers: HashMap<String, (usize, usize)>,
    pub multiplications: usize,
}

impl<'a> Emulator<'a> {
    pub fn new(code: &'a [Inst]) -> Self {
        let mut labels = HashMap::new();
        for (at, inst) in code.iter().enumerate() {
            if let Inst::Label(name, _) = inst {
                assert!(labels.insert(name.as_str(), at).is_none(), "{name} twice");
            }
        }
        Self {
            code,
            labels,
            operands: Vec::new(),
            vectors: [None; 32],
            masks: [None; 8],
            pointers: HashMap::new(),
            multiplications: 0,
        }
    }

    /// Adds an operand and points a register to it.
    pub fn operand(&mut self, register: Gpr, operand: Operand) -> usize {
        let index = self.operands.len();
        self.operands.push(operand);
        self.point(register, index);
        index
    }

    /// Points a register to the beginning of an operand.
    pub fn point(&mut self, register: Gpr, operand: usize) {
        self.pointers.insert(format!("{register:?}"), (operand, 0));
    }

    /// Calls a kernel. Returns the addresses it touched.
    pub fn call(&mut self, symbol: &str) -> Vec<(usize, usize)> {
        let mut trace = Vec::new();
        let mut stack = vec![usize::MAX];
        let mut at = self.labels[symbol] + 1;
        while at != usize::MAX {
            let inst = &self.code[at];
            at += 1;
            match inst {
                Inst::Call(name) => {
                    stack.push(at);
                    at = self.labels[name.as_str()] + 1;
                }
                Inst::Return => at = stack.pop().expect("called"),
                Inst::Label(name, _) => panic!("runs on into {name}"),
                inst => self.step(inst, &mut trace),
            }
        }
        assert!(stack.is_empty());
        trace
    }

    fn step(&mut self, inst: &Inst, trace: &mut Vec<(usize, usize)>) {
        match *inst {
            Inst::Load(d, m) => self.vectors[d.0] = Some(self.read(m, trace)),
            Inst::Store(m, s) => {
                let value = self.vector(s);
                let (operand, line) = self.line(m, trace);
                let operand = &mut self.operands[operand];
                assert!(operand.writable, "writes {}", operand.name);
                operand.lines[line] = Some(value);
            }
            Inst::LoadMasked(d, k, m) => {
                let (old, new) = (self.vector(d), self.read(m, trace));
                self.blend(d, k.0, old, new);
            }
            Inst::Move(d, s) => self.vectors[d.0] = Some(self.vector(s)),
            Inst::MoveMasked(d, k, s) => self.blend(d, k.0, self.vector(d), self.vector(s)),
            Inst::Zero(d) => self.vectors[d.0] = Some([0; 8]),
            Inst::MaddLo(d, a, b) => self.madd(d, a, b, 0, trace),
            Inst::MaddHi(d, a, b) => self.madd(d, a, b, 52, trace),
            Inst::Add(d, a, b) => self.binary(d, a, b, trace, u64::wrapping_add),
            Inst::Sub(d, a, b) => self.binary(d, a, b, trace, u64::wrapping_sub),
            Inst::And(d, a, b) => self.binary(d, a, b, trace, |a, b| a & b),
            Inst::AddMasked(d, k, b) => {
                let (old, b) = (self.vector(d), self.source(b, trace));
                let sum = std::array::from_fn(|lane| old[lane].wrapping_add(b[lane]));
                self.blend(d, k.0, old, sum);
            }
            Inst::Carry(d, a) => {
                let a = self.vector(a);
                self.vectors[d.0] = Some(a.map(|a| (a as i64 >> 52) as u64));
            }
            Inst::Equal(k, a, m) => {
                let Mem(base, offset) = m;
                let line = self.read(Mem(base, offset / LINE * LINE), trace);
                let word = line[offset % LINE / 8];
                let a = self.vector(a);
                self.masks[k.0] = Some(bits(|lane| a[lane] == word));
            }
            Inst::Test(k, a, m) => {
                let (a, b) = (self.vector(a), self.read(m, trace));
                self.masks[k.0] = Some(bits(|lane| a[lane] & b[lane] != 0));
            }
            Inst::AndMask(k, a, b) => self.masks[k.0] = Some(self.mask(a.0) & self.mask(b.0)),
            Inst::Address(register, Mem(base, offset)) => {
                let (operand, at) = self.pointers[&format!("{base:?}")];
                self.pointers
                    .insert(format!("{register:?}"), (operand, at + offset));
            }
            Inst::Call(_) | Inst::Return | Inst::Label(..) => unreachable!("handled by call"),
        }
    }

    fn vector(&self, register: Zmm) -> Lanes {
        self.vectors[register.0].unwrap_or_else(|| panic!("{register} has no value"))
    }

    fn mask(&self, mask: usize) -> u8 {
        assert_ne!(mask, 0, "k0 selects nothing");
        self.masks[mask].unwrap_or_else(|| panic!("k{mask} has no value"))
    }

    fn blend(&mut self, d: Zmm, mask: usize, old: Lanes, new: Lanes) {
        let mask = self.mask(mask);
        self.vectors[d.0] = Some(std::array::from_fn(|lane| {
            if mask >> lane & 1 == 1 {
                new[lane]
            } else {
                old[lane]
            }
        }));
    }

    fn binary(
        &mut self,
        d: Zmm,
        a: Zmm,
        b: Src,
        trace: &mut Vec<(usize, usize)>,
        f: impl Fn(u64, u64) -> u64,
    ) {
        let (a, b) = (self.vector(a), self.source(b, trace));
        self.vectors[d.0] = Some(std::array::from_fn(|lane| f(a[lane], b[lane])));
    }

    fn madd(&mut self, d: Zmm, a: Zmm, b: Src, shift: u32, trace: &mut Vec<(usize, usize)>) {
        self.multiplications += 1;
        let (a, b, sum) = (self.vector(a), self.source(b, trace), self.vector(d));
        self.vectors[d.0] = Some(std::array::from_fn(|lane| {
            let product = u128::from(a[lane] & LOW_52) * u128::from(b[lane] & LOW_52);
            // Columns may be negative, and never leave 64 bits.
            let half = (product >> shift) as u64 & LOW_52;
            (sum[lane] as i64)
                .checked_add(half as i64)
                .expect("a column overflows") as u64
        }));
    }

    fn source(&mut self, source: Src, trace: &mut Vec<(usize, usize)>) -> Lanes {
        match source {
            Src::Reg(register) => self.vector(register),
            Src::Mem(memory) => self.read(memory, trace),
        }
    }

    fn read(&mut self, memory: Mem, trace: &mut Vec<(usize, usize)>) -> Lanes {
        let (operand, line) = self.line(memory, trace);
        let operand = &self.operands[operand];
        operand.lines[line].unwrap_or_else(|| panic!("{} line {line} has no value", operand.name))
    }

    fn line(&self, Mem(base, offset): Mem, trace: &mut Vec<(usize, usize)>) -> (usize, usize) {
        let (operand, at) = *self
            .pointers
            .get(&format!("{base:?}"))
            .unwrap_or_else(|| panic!("{base:?} points nowhere"));
        let at = at + offset;
        assert_eq!(at % LINE, 0, "aligned");
        let Operand { name, lines, .. } = &self.operands[operand];
        assert!(
            at / LINE < lines.len(),
            "{name} has {} lines, not {}",
            lines.len(),
            at / LINE
        );
        trace.push((operand, at));
        (operand, at / LINE)
    }
}

fn bits(f: impl Fn(usize) -> bool) -> u8 {
    (0..8).fold(0, |bits, lane| bits | u8::from(f(lane)) << lane)
}
