//! Floating-point control words, per side.
#![cfg(target_arch = "x86_64")]

use std::arch::asm;

use spinlane_fiber::{Fiber, PoolConfig, StackPool, State, suspend};

/// Rounding towards zero, in each register's own bits.
const MXCSR_TOWARDS_ZERO: u32 = 0x7f80;
const MXCSR_DEFAULT: u32 = 0x1f80;
const X87_SINGLE_TOWARDS_ZERO: u16 = 0x0c7f;
const X87_DEFAULT: u16 = 0x037f;

fn control_words() -> (u32, u16) {
    let (mut mxcsr, mut x87) = (0u32, 0u16);
    // SAFETY: both store to live variables.
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr);
        asm!("fnstcw [{}]", in(reg) &raw mut x87);
    }
    (mxcsr & !0x3f, x87)
}

/// The compiler assumes the default rounding; these tests compute nothing.
fn set_control_words(mxcsr: u32, x87: u16) {
    // SAFETY: valid values; no floating-point code runs until they are reset.
    unsafe {
        asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr);
        asm!("fldcw [{}]", in(reg) &raw const x87);
    }
}

#[test]
fn each_side_keeps_its_own() {
    let mut pool = StackPool::new(PoolConfig::default());
    let fiber = Fiber::with_fp_control(pool.take().unwrap(), || {
        assert_eq!(control_words(), (MXCSR_DEFAULT, X87_DEFAULT));
        set_control_words(MXCSR_TOWARDS_ZERO, X87_SINGLE_TOWARDS_ZERO);
        suspend().unwrap();
        assert_eq!(
            control_words(),
            (MXCSR_TOWARDS_ZERO, X87_SINGLE_TOWARDS_ZERO)
        );
        suspend().unwrap();
        assert_eq!(
            control_words(),
            (MXCSR_TOWARDS_ZERO, X87_SINGLE_TOWARDS_ZERO)
        );
        panic!("with control words of its own");
    });
    assert_eq!(fiber.resume(), State::Suspended);
    assert_eq!(control_words(), (MXCSR_DEFAULT, X87_DEFAULT));

    set_control_words(MXCSR_DEFAULT | 0x8000, X87_DEFAULT);
    assert_eq!(fiber.resume(), State::Suspended);
    let ours = control_words();
    set_control_words(MXCSR_DEFAULT, X87_DEFAULT);
    assert_eq!(ours, (MXCSR_DEFAULT | 0x8000, X87_DEFAULT));

    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fiber.resume()));
    assert!(panic.is_err());
    assert_eq!(control_words(), (MXCSR_DEFAULT, X87_DEFAULT));
}

#[test]
fn an_ordinary_fiber_shares_its_threads() {
    let mut pool = StackPool::new(PoolConfig::default());
    let fiber = Fiber::new(pool.take().unwrap(), || {
        set_control_words(MXCSR_TOWARDS_ZERO, X87_DEFAULT);
        suspend().unwrap();
    });
    assert_eq!(fiber.resume(), State::Suspended);
    let ours = control_words();
    set_control_words(MXCSR_DEFAULT, X87_DEFAULT);
    assert_eq!(ours, (MXCSR_TOWARDS_ZERO, X87_DEFAULT));
    assert_eq!(fiber.resume(), State::Returned);
}
