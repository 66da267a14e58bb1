//! The generated kernels behind safe functions.
//!
//! What is unsafe here is one kind of call. How it is checked, neither Miri nor valgrind knowing
//! these instructions: a kernel's addresses are its arguments plus constants, the same in
//! every run. `tests/generated.rs` runs every kernel in an emulator that knows each operand's
//! length and finds any access beyond it, and any result that the model does not have. So a
//! call is sound if its operands have the lengths that the emulator was given, and those are what
//! the functions here assert.

#![allow(unsafe_code)]

#[path = "../generator/layout.rs"]
#[allow(dead_code)] // the generator uses the rest
pub(crate) mod layout;

use std::arch::global_asm;

use layout::{ENTRIES, limbs_per_pass, modulus, scratch};

use crate::line::Line;

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/kernels.s")),
    options(raw)
);

/// Proof that this CPU runs the kernels.
#[derive(Clone, Copy, Debug)]
pub struct Cpu(());

impl Cpu {
    /// Looks at the processor.
    ///
    /// # Errors
    /// Names what it lacks.
    pub fn detect() -> Result<Self, &'static str> {
        // Detection includes that the operating system keeps the registers.
        match (
            is_x86_feature_detected!("avx512f"),
            is_x86_feature_detected!("avx512ifma"),
        ) {
            (true, true) => Ok(Self(())),
            (false, _) => Err("AVX512F"),
            (true, false) => Err("AVX512-IFMA"),
        }
    }
}

type Kernel = unsafe extern "sysv64" fn(
    r: *mut Line,
    a: *const Line,
    b: *mut Line,
    modulus: *const Line,
    scratch: *mut Line,
    table: *const Line,
);

/// Declares the kernels and finds them by their number of limbs.
macro_rules! kernels {
    ($($find:ident: $($limbs:literal $name:ident),+;)+) => {
        unsafe extern "sysv64" {
            $($(fn $name(
                r: *mut Line,
                a: *const Line,
                b: *mut Line,
                modulus: *const Line,
                scratch: *mut Line,
                table: *const Line,
            );)+)+
        }
        $(fn $find(limbs: usize) -> Kernel {
            match limbs {
                $($limbs => $name,)+
                _ => unreachable!("no kernel of {limbs} limbs"),
            }
        })+
    };
}

kernels! {
    mul_kernel: 20 spinlane_rsa52_mul_20, 30 spinlane_rsa52_mul_30, 40 spinlane_rsa52_mul_40,
        60 spinlane_rsa52_mul_60, 80 spinlane_rsa52_mul_80;
    square_kernel: 20 spinlane_rsa52_square_20, 30 spinlane_rsa52_square_30,
        40 spinlane_rsa52_square_40, 60 spinlane_rsa52_square_60, 80 spinlane_rsa52_square_80;
    square_and_pick_kernel: 20 spinlane_rsa52_square_and_pick_20,
        30 spinlane_rsa52_square_and_pick_30, 40 spinlane_rsa52_square_and_pick_40;
    pick_kernel: 20 spinlane_rsa52_pick_20, 30 spinlane_rsa52_pick_30, 40 spinlane_rsa52_pick_40;
    product_kernel: 20 spinlane_rsa52_full_product_20, 30 spinlane_rsa52_full_product_30,
        40 spinlane_rsa52_full_product_40;
}

/// A modulus of `limbs` limbs in the kernels' layout, the memory they work in, and a CPU that
/// runs them.
pub(crate) struct Context<'a> {
    pub _cpu: Cpu,
    pub limbs: usize,
    /// Laid out by [`layout::modulus`].
    pub modulus: &'a [Line],
    /// Overwritten.
    pub scratch: &'a mut [Line],
}

impl Context<'_> {
    /// x = x b / R mod n, where R = 2^(52 limbs).
    pub(crate) fn mul_assign(&mut self, x: &mut [Line], b: &[Line]) {
        self.check(&[x.len(), b.len()]);
        let x = x.as_mut_ptr();
        // SAFETY: see `call`; a kernel may be given r for a.
        unsafe { self.call(mul_kernel(self.limbs), x, x, b.as_ptr().cast_mut()) }
    }

    /// r = a b / R mod n.
    pub(crate) fn mul(&mut self, r: &mut [Line], a: &[Line], b: &[Line]) {
        self.check(&[r.len(), a.len(), b.len()]);
        // SAFETY: see `call`.
        unsafe {
            self.call(
                mul_kernel(self.limbs),
                r.as_mut_ptr(),
                a.as_ptr(),
                b.as_ptr().cast_mut(),
            )
        }
    }

    /// r = a a / R mod n.
    pub(crate) fn square(&mut self, r: &mut [Line], a: &[Line]) {
        self.check(&[r.len(), a.len()]);
        // SAFETY: see `call`.
        unsafe {
            self.call(
                square_kernel(self.limbs),
                r.as_mut_ptr(),
                a.as_ptr(),
                std::ptr::null_mut(),
            )
        }
    }

    /// x = x x / R mod n.
    pub(crate) fn square_assign(&mut self, x: &mut [Line]) {
        self.check(&[x.len()]);
        let x = x.as_mut_ptr();
        // SAFETY: see `call`; a kernel may be given r for a.
        unsafe { self.call(square_kernel(self.limbs), x, x, std::ptr::null_mut()) }
    }

    /// Sets the number of the entry that each lane picks, below [`ENTRIES`].
    pub(crate) fn set_numbers(&mut self, numbers: &Line) {
        self.scratch[scratch::NUMBERS] = numbers.map(|number| number % layout::DIGIT as u64);
        self.scratch[scratch::NUMBERS + 1] = numbers.map(|number| number / layout::DIGIT as u64);
    }

    /// x = x x / R mod n, and one of [`layout::WINDOW`] shares of picking an entry from `table`.
    pub(crate) fn square_and_pick(
        &mut self,
        x: &mut [Line],
        picked: &mut [Line],
        table: &[Line],
        pass: usize,
    ) {
        self.check(&[x.len()]);
        let (to, table) = self.check_pick(picked, table, pass);
        let x = x.as_mut_ptr();
        // SAFETY: see `call_with_table`; a kernel may be given r for a.
        unsafe { self.call_with_table(square_and_pick_kernel(self.limbs), x, x, to, table) }
    }

    /// Does one share of picking an entry from `table`.
    pub(crate) fn pick(&mut self, picked: &mut [Line], table: &[Line], pass: usize) {
        let (to, table) = self.check_pick(picked, table, pass);
        let none = std::ptr::null_mut();
        // SAFETY: see `call_with_table`; this kernel has neither r nor a.
        unsafe { self.call_with_table(pick_kernel(self.limbs), none, none, to, table) }
    }

    /// r = a b.
    pub(crate) fn product(&mut self, r: &mut [Line], a: &[Line], b: &[Line]) {
        assert_eq!(r.len(), 2 * self.limbs, "the product's length");
        self.check(&[a.len(), b.len()]);
        // SAFETY: see `call`.
        unsafe {
            self.call(
                product_kernel(self.limbs),
                r.as_mut_ptr(),
                a.as_ptr(),
                b.as_ptr().cast_mut(),
            )
        }
    }

    fn check(&self, operands: &[usize]) {
        assert!(
            operands.iter().all(|len| *len == self.limbs),
            "operands of {} limbs",
            self.limbs
        );
        assert!(self.modulus.len() >= modulus::lines(self.limbs));
        assert!(self.scratch.len() >= scratch::lines(self.limbs));
    }

    /// Where a pass finds and leaves its limbs, all passes together an entry's; passes may overlap.
    fn check_pick(
        &self,
        picked: &mut [Line],
        table: &[Line],
        pass: usize,
    ) -> (*mut Line, *const Line) {
        self.check(&[picked.len()]);
        assert_eq!(table.len(), ENTRIES * self.limbs, "a whole table");
        let share = limbs_per_pass(self.limbs);
        let first = (pass * share).min(self.limbs - share);
        (picked[first..].as_mut_ptr(), table[first..].as_ptr())
    }

    /// # Safety
    /// As for [`Self::call_with_table`], the kernel having no table.
    unsafe fn call(&mut self, kernel: Kernel, r: *mut Line, a: *const Line, b: *mut Line) {
        // SAFETY: by the caller.
        unsafe { self.call_with_table(kernel, r, a, b, std::ptr::null()) }
    }

    /// # Safety
    /// The kernel is of `self.limbs` limbs. Modulus and scratch memory are as long as it wants
    /// them (`check` has been called). r, a, b and the table are valid for what it does with them
    /// and as long as it takes them: r is written, a and b read, but by the picking kernels,
    /// which read and write b. r does not overlap b.
    unsafe fn call_with_table(
        &mut self,
        kernel: Kernel,
        r: *mut Line,
        a: *const Line,
        b: *mut Line,
        table: *const Line,
    ) {
        let (modulus, scratch) = (self.modulus.as_ptr(), self.scratch.as_mut_ptr());
        // SAFETY: operands by the caller; `Cpu` proves that the CPU has the instructions; vector,
        // mask and the general-purpose registers used are all caller-saved in this ABI. Lines
        // are aligned to 64 bytes by their type.
        unsafe { kernel(r, a, b, modulus, scratch, table) }
    }
}
