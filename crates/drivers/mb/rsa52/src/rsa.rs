//! The private operation.

use zeroize::Zeroize;

use crate::kernel::layout::{ENTRIES, WINDOW, modulus, scratch};
use crate::kernel::{Context, Cpu};
use crate::key::{Half, PrivateKey, limbs_of_half};
use crate::line::{LANES, LOW_52, Line, carry, read_lane, reduce_once, write_lane};
use crate::scalar::Limbs;

/// Limbs of the largest key's modulus.
const MAX_LIMBS: usize = 2 * limbs_of_half(4096);

/// Memory for private operations of any size, made once: nothing is allocated after that, and
/// little stack is used. Wiped after each batch.
pub struct RsaLanes {
    cpu: Cpu,
    work: Work,
    #[cfg(feature = "fault-injection")]
    faults: [Option<usize>; LANES],
}

/// All of it secret during an operation, except the modulus n and what is computed with it alone.
struct Work {
    p: Box<[Line]>,
    q: Box<[Line]>,
    n: Box<[Line]>,
    scratch: Box<[Line]>,
    /// A constant of the keys, or another operand.
    operand: Box<[Line]>,
    table: Box<[Line]>,
    picked: Box<[Line]>,
    /// The blocks, in limbs.
    block: Box<[Line]>,
    /// Their powers mod p and q.
    power_p: Box<[Line]>,
    power_q: Box<[Line]>,
    result: Box<[Line]>,
    /// Results to the power of 65537.
    opened: Box<[Line]>,
    spare: Box<[Line]>,
}

impl Work {
    fn new() -> Self {
        let lines = |count| vec![Line::ZERO; count].into_boxed_slice();
        let half = MAX_LIMBS / 2;
        Self {
            p: lines(modulus::lines(half)),
            q: lines(modulus::lines(half)),
            n: lines(modulus::lines(MAX_LIMBS)),
            scratch: lines(scratch::lines(MAX_LIMBS)),
            operand: lines(MAX_LIMBS),
            table: lines(ENTRIES * half),
            picked: lines(half),
            block: lines(MAX_LIMBS),
            power_p: lines(half),
            power_q: lines(half),
            result: lines(MAX_LIMBS),
            opened: lines(MAX_LIMBS),
            spare: lines(MAX_LIMBS),
        }
    }

    /// Returns all work memory, as many lines as a modulus of `limbs` limbs uses.
    fn used(&mut self, limbs: usize) -> [&mut [Line]; 13] {
        let half = limbs / 2;
        [
            &mut self.p[..modulus::lines(half)],
            &mut self.q[..modulus::lines(half)],
            &mut self.n[..modulus::lines(limbs)],
            &mut self.scratch[..scratch::lines(limbs)],
            &mut self.operand[..limbs],
            &mut self.table[..ENTRIES * half],
            &mut self.picked[..half],
            &mut self.block[..limbs],
            &mut self.power_p[..half],
            &mut self.power_q[..half],
            &mut self.result[..limbs],
            &mut self.opened[..limbs],
            &mut self.spare[..limbs],
        ]
    }

    fn wipe(&mut self, limbs: usize) {
        for memory in self.used(limbs) {
            memory.iter_mut().zeroize();
        }
    }
}

impl Drop for RsaLanes {
    fn drop(&mut self) {
        self.work.wipe(MAX_LIMBS);
    }
}

/// The keys of a batch, one per lane.
type Keys<'a> = [&'a PrivateKey; LANES];

impl RsaLanes {
    /// Makes lanes, with some 100 KB of memory.
    pub fn new(cpu: Cpu) -> Self {
        Self {
            cpu,
            work: Work::new(),
            #[cfg(feature = "fault-injection")]
            faults: [None; LANES],
        }
    }

    /// Raises the blocks `from` to their keys' private exponents. Blocks and results are big-endian
    /// and as long as the modulus. Returns `true` for a lane if its result to the power of 65537 is
    /// the lane's block. Otherwise the lane's output is zero: the block is not below the modulus,
    /// the numbers are no key, or there was a fault.
    ///
    /// # Panics
    /// If keys, blocks and outputs are not all of one size.
    pub fn private(
        &mut self,
        keys: &Keys<'_>,
        from: &[&[u8]; LANES],
        to: &mut [&mut [u8]; LANES],
    ) -> [bool; LANES] {
        let bits = keys[0].bits();
        assert!(
            keys.iter().all(|key| key.bits() == bits)
                && from.iter().all(|block| block.len() * 8 == bits)
                && to.iter().all(|block| block.len() * 8 == bits),
            "keys, blocks and outputs of {bits} bits"
        );
        let limbs = 2 * limbs_of_half(bits);
        for (lane, block) in from.iter().enumerate() {
            read_lane(&mut self.work.block[..limbs], lane, block);
        }
        self.powers(keys, limbs);
        self.recombine(keys, limbs);
        #[cfg(feature = "fault-injection")]
        for (lane, fault) in self.faults.iter_mut().enumerate() {
            if let Some(bit) = fault.take() {
                self.work.result[bit / 52].0[lane] ^= 1 << (bit % 52);
            }
        }
        let good = self.check(keys, limbs);
        for (lane, to) in to.iter_mut().enumerate() {
            if good[lane] {
                write_lane(&self.work.result[..limbs], lane, to);
            } else {
                to.fill(0);
            }
        }
        self.work.wipe(limbs);
        good
    }

    /// Flips this bit of this lane's next result, before it is checked.
    #[cfg(feature = "fault-injection")]
    pub fn inject_fault(&mut self, lane: usize, bit: usize) {
        self.faults[lane] = Some(bit);
    }

    /// Returns `true` if all memory is zero, as it is between batches.
    #[cfg(feature = "fault-injection")]
    pub fn is_wiped(&mut self) -> bool {
        let mut lines = self.work.used(MAX_LIMBS).into_iter().flatten();
        lines.all(|line| *line == Line::ZERO)
    }

    /// Computes both halves of the Chinese remainder theorem: block^dp mod p and block^dq mod q.
    fn powers(&mut self, keys: &Keys<'_>, limbs: usize) {
        let half = limbs / 2;
        let work = &mut self.work;
        for (part, modulus, power) in [
            (
                (|key| &key.p) as fn(&PrivateKey) -> &Half,
                &mut work.p,
                &mut work.power_p,
            ),
            (|key| &key.q, &mut work.q, &mut work.power_q),
        ] {
            let halves = keys.map(part);
            load_modulus(modulus, half, halves.map(|half| (&half.modulus, half.k0)));
            let mut context = Context {
                _cpu: self.cpu,
                limbs: half,
                modulus,
                scratch: &mut work.scratch,
            };
            let x = &mut power[..half];
            let (low, high) = work.block[..limbs].split_at(half);
            let (operand, spare) = (&mut work.operand[..half], &mut work.spare[..half]);

            // The block's upper half times R^3 and its lower half times R^2, divided by R: together
            // the block times R. Below 4 p, which the multiplications bear.
            load(operand, halves.map(|half| &half.r3));
            context.mul(x, high, operand);
            load(operand, halves.map(|half| &half.r2));
            context.mul(spare, low, operand);
            let table = &mut work.table[..ENTRIES * half];
            carry(&mut table[half..2 * half], |lane, i| {
                (x[i].0[lane] + spare[i].0[lane]) as i64
            });
            // Its powers, the first of which is 1 times R.
            set_one(spare);
            context.mul(&mut table[..half], operand, spare);
            for entry in 2..ENTRIES {
                let (below, from) = table.split_at_mut(entry * half);
                if entry % 2 == 0 {
                    let root = &below[entry / 2 * half..][..half];
                    context.square(&mut from[..half], root);
                } else {
                    let (first, last) = (&below[half..2 * half], &below[(entry - 1) * half..]);
                    context.mul(&mut from[..half], first, last);
                }
            }

            let windows = halves[0].exponent.len() * 64 / WINDOW;
            let picked = &mut work.picked[..half];
            exponentiate(&mut context, x, picked, table, windows, |window| {
                Line(halves.map(|half| digit(&half.exponent, window)))
            });
            context.mul_assign(x, spare); // by 1: from R to 1
            reduce_once(x, &context.modulus[modulus::LIMBS..][..half], operand);
        }
    }

    /// result = m_q + q ((m_p - m_q) / q mod p), which is m_p mod p, m_q mod q and below n
    /// (Garner).
    fn recombine(&mut self, keys: &Keys<'_>, limbs: usize) {
        let half = limbs / 2;
        let work = &mut self.work;
        let mut context = Context {
            _cpu: self.cpu,
            limbs: half,
            modulus: &work.p,
            scratch: &mut work.scratch,
        };
        let p = &context.modulus[modulus::LIMBS..][..half];
        let q = &work.q[modulus::LIMBS..][..half];
        let (m_p, m_q) = (&work.power_p[..half], &work.power_q[..half]);
        let (operand, h) = (&mut work.operand[..half], &mut work.spare[..half]);
        // Both primes have their top bit set: m_q < q < 2p.
        carry(operand, |lane, i| {
            (m_p[i].0[lane] + 2 * p[i].0[lane]) as i64 - m_q[i].0[lane] as i64
        });
        load(h, keys.map(|key| &key.qinv));
        context.mul_assign(h, operand);
        reduce_once(h, &context.modulus[modulus::LIMBS..][..half], operand);
        let result = &mut work.result[..limbs];
        context.product(result, h, q);
        let product = &mut work.opened[..limbs];
        product.copy_from_slice(result);
        carry(result, |lane, i| {
            let addend = if i < half { m_q[i].0[lane] } else { 0 };
            (product[i].0[lane] + addend) as i64
        });
    }

    /// Returns `true` for each lane whose result^65537 mod n is the block. Uses public numbers
    /// alone: p and q, which a fault may have changed, take no part.
    fn check(&mut self, keys: &Keys<'_>, limbs: usize) -> [bool; LANES] {
        let work = &mut self.work;
        load_modulus(&mut work.n, limbs, keys.map(|key| (&key.n, key.n_k0)));
        let mut context = Context {
            _cpu: self.cpu,
            limbs,
            modulus: &work.n,
            scratch: &mut work.scratch,
        };
        let (result, opened) = (&work.result[..limbs], &mut work.opened[..limbs]);
        let operand = &mut work.operand[..limbs];
        load(operand, keys.map(|key| &key.n_r2));
        context.mul(opened, result, operand);
        for _ in 0..16 {
            context.square_assign(opened);
        }
        context.mul_assign(opened, result); // not times R: leaves Montgomery's domain
        reduce_once(opened, &context.modulus[modulus::LIMBS..][..limbs], operand);
        let mut differs = [0; LANES];
        for (opened, block) in opened.iter().zip(&work.block[..limbs]) {
            for (lane, differs) in differs.iter_mut().enumerate() {
                *differs |= opened.0[lane] ^ block.0[lane];
            }
        }
        differs.map(|differs| differs == 0)
    }
}

/// x = (table's first power) to the power of the exponents whose windows `digits` gives, the most
/// significant first. What is done, and on which memory, depends on nothing but sizes.
fn exponentiate(
    context: &mut Context<'_>,
    x: &mut [Line],
    picked: &mut [Line],
    table: &[Line],
    windows: usize,
    digits: impl Fn(usize) -> Line,
) {
    context.set_numbers(&digits(windows - 1));
    for pass in 0..WINDOW {
        context.pick(x, table, pass);
    }
    for window in (0..windows - 1).rev() {
        context.set_numbers(&digits(window));
        for pass in 0..WINDOW {
            context.square_and_pick(x, picked, table, pass);
        }
        context.mul_assign(x, picked);
    }
}

/// Returns a window of an exponent in 64-bit words.
fn digit(exponent: &[u64], window: usize) -> u64 {
    const PER_WORD: usize = 64 / WINDOW;
    exponent[window / PER_WORD] >> (window % PER_WORD * WINDOW) & (ENTRIES as u64 - 1)
}

/// Numbers into their lanes.
fn load(to: &mut [Line], numbers: [&Limbs; LANES]) {
    for (lane, number) in numbers.into_iter().enumerate() {
        for (line, limb) in to.iter_mut().zip(number.iter()) {
            line.0[lane] = *limb;
        }
    }
}

fn set_one(to: &mut [Line]) {
    to.fill(Line::ZERO);
    to[0] = Line::all(1);
}

/// Loads moduli and their k0 in the kernels' layout.
pub(crate) fn load_modulus(to: &mut [Line], limbs: usize, moduli: [(&Limbs, u64); LANES]) {
    to[modulus::K0] = Line(moduli.map(|(_, k0)| k0));
    to[modulus::LOW_52] = Line::all(LOW_52);
    to[modulus::BIT_52] = Line::all(LOW_52 + 1);
    to[modulus::COUNT] = Line(std::array::from_fn(|i| i as u64));
    let (number, sums) = to[modulus::LIMBS..].split_at_mut(limbs);
    load(number, moduli.map(|(modulus, _)| modulus));
    for (block, sum) in number.chunks_exact(10).zip(sums.chunks_exact_mut(5)) {
        let beyond = carry(sum, |lane, i| {
            (block[i].0[lane] + block[i + 5].0[lane]) as i64
        });
        for (lane, bit) in beyond.into_iter().enumerate() {
            sum[4].0[lane] |= (bit as u64) << 52;
        }
    }
}
