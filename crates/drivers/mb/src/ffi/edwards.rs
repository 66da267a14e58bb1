//! edwards25519 (RFC 7748, section 4.1) in eight lanes, by kernels that `generator/edwards.rs`
//! writes.
//!
//! What is unsafe here is one kind of call. A kernel's addresses are its arguments plus constants
//! below the length of what these point to, which is why all of them are references to types of
//! fixed length.

use std::arch::global_asm;
use std::array;

use zeroize::Zeroize;

use super::{Cpu, LANES};

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/edwards.s")),
    options(raw)
);

unsafe extern "sysv64" {
    /// Its operands may be the same.
    fn spinlane_mod25519_multiply(r: *mut Number, a: *const Number, b: *const Number);
    fn spinlane_mod25519_square(r: *mut Number, a: *const Number, times: usize);
    fn spinlane_edwards25519_add_multiple(
        point: *mut Point,
        digits: *const Digits,
        window: *const Window,
        work: *mut Work,
    );
}

/// Bits of a limb.
pub(crate) const LIMB_BITS: usize = 51;
const LIMB: u64 = (1 << LIMB_BITS) - 1;
/// 2 (2^255 - 19), the lowest limb first.
const TWICE_P: [u64; 5] = [2 * (LIMB - 18), 2 * LIMB, 2 * LIMB, 2 * LIMB, 2 * LIMB];

/// A number modulo 2^255 - 19 in each lane: limbs of 51 bits, which may be up to 2^12 above
/// that.
#[derive(Clone, Copy, Zeroize)]
#[repr(C, align(64))]
pub(crate) struct Number(pub(crate) [[u64; LANES]; 5]);

/// A point per lane: x = X/Z, y = Y/Z, xy = T/Z.
#[derive(Clone, Copy, Zeroize)]
#[repr(C, align(64))]
pub(crate) struct Point {
    pub(crate) x: Number,
    pub(crate) y: Number,
    pub(crate) z: Number,
    pub(crate) t: Number,
}

/// Multiples 1 to 8 of a point, one per word of a line, as the kernel adds them.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Window {
    /// y + x.
    pub(crate) plus: Number,
    /// y - x.
    pub(crate) minus: Number,
    /// 2 d x y, whose limbs are at most those of 2p.
    pub(crate) product: Number,
}

/// A digit from -8 to 8 per lane, in two's complement.
#[derive(Clone, Copy, Zeroize)]
#[repr(C, align(64))]
pub(crate) struct Digits(pub(crate) [u64; LANES]);

/// Memory of the addition.
#[derive(Clone, Copy, Zeroize)]
#[repr(C, align(64))]
pub(crate) struct Work([Number; 8]);

impl Work {
    pub(crate) const ZERO: Self = Self([Number::all([0; 5]); 8]);
}

impl Number {
    /// The same in every lane.
    pub(crate) const fn all(limbs: [u64; 5]) -> Self {
        let [a, b, c, d, e] = limbs;
        Self([[a; LANES], [b; LANES], [c; LANES], [d; LANES], [e; LANES]])
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.combine(other, |_, a, b| a + b)
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.combine(other, |limb, a, b| a + TWICE_P[limb] - b)
    }

    /// `of` of the limbs, carried.
    fn combine(&self, other: &Self, of: impl Fn(usize, u64, u64) -> u64) -> Self {
        let limbs: [[u64; LANES]; 5] = array::from_fn(|limb| {
            array::from_fn(|lane| of(limb, self.0[limb][lane], other.0[limb][lane]))
        });
        Self(array::from_fn(|limb| {
            let (below, weight) = if limb == 0 { (4, 19) } else { (limb - 1, 1) };
            array::from_fn(|lane| {
                (limbs[limb][lane] & LIMB) + (limbs[below][lane] >> LIMB_BITS) * weight
            })
        }))
    }
}

impl Point {
    /// 0, which added to a point leaves it as it is.
    pub(crate) const NEUTRAL: Self = {
        let (zero, one) = (Number::all([0; 5]), Number::all([1, 0, 0, 0, 0]));
        Self {
            x: zero,
            y: one,
            z: one,
            t: zero,
        }
    };
}

impl Cpu {
    /// a b.
    pub(crate) fn multiply(self, a: &Number, b: &Number) -> Number {
        let mut r = Number::all([0; 5]);
        // SAFETY: this CPU runs the code (self), which reads and writes one number each, and no
        // registers but those that a call may change.
        unsafe { spinlane_mod25519_multiply(&raw mut r, a, b) };
        r
    }

    /// a^(2^times).
    ///
    /// # Panics
    /// If `times` is 0.
    pub(crate) fn square(self, a: &Number, times: usize) -> Number {
        assert_ne!(times, 0, "the kernel squares before it counts");
        let mut r = Number::all([0; 5]);
        // SAFETY: as in `multiply`.
        unsafe { spinlane_mod25519_square(&raw mut r, a, times) };
        r
    }

    /// Adds to each lane's point the multiple of the window's that its digit says.
    pub(crate) fn add_multiple(
        self,
        point: &mut Point,
        digits: &Digits,
        window: &Window,
        work: &mut Work,
    ) {
        // SAFETY: as in `multiply`: it reads a line of digits and the three numbers of a window, and
        // reads and writes the four numbers of a point and the eight of the work memory.
        unsafe { spinlane_edwards25519_add_multiple(point, digits, window, work) };
    }
}
