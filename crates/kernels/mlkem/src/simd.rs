//! Registers: what the CPU must have, loads and stores within bounds, constants, wiping.
//!
//! Everything unsafe of this crate that is not a call into [`target_feature`] code is here, and
//! none of it computes an address but from a slice whose length it has checked.
//!
//! [`target_feature`]: https://doc.rust-lang.org/reference/attributes/codegen.html#the-target_feature-attribute

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_loadu_si128, _mm512_loadu_si512, _mm512_storeu_si512,
};
use std::sync::atomic::{Ordering, compiler_fence};

/// A register: 8 words of 64 bits, 32 of 16, or 64 bytes. Also a cache line of memory.
pub(crate) type Line = __m512i;

/// Bytes of a [`Line`].
pub(crate) const LINE: usize = 64;

pub(crate) const ZERO: Line = words64([0; 8]);

/// Proof that this CPU runs the code of this crate.
#[derive(Clone, Copy, Debug)]
pub struct Cpu(());

impl Cpu {
    /// Looks at the processor.
    ///
    /// # Errors
    /// Names an extension that the processor lacks.
    pub fn detect() -> Result<Self, &'static str> {
        // Detection includes that the operating system keeps the registers.
        macro_rules! need {
            ($($feature:tt $name:literal),+) => {
                $(if !is_x86_feature_detected!($feature) {
                    return Err($name);
                })+
            };
        }
        need!(
            "avx512f" "AVX512F", "avx512bw" "AVX512BW", "avx512vbmi" "AVX512-VBMI",
            "avx512vbmi2" "AVX512-VBMI2", "avx512vnni" "AVX512-VNNI", "popcnt" "POPCNT"
        );
        Ok(Self(()))
    }
}

/// Returns a constant of eight words.
pub(crate) const fn words64(words: [u64; 8]) -> Line {
    // SAFETY: both are 64 bytes without padding, and every bit pattern is a value of both.
    unsafe { std::mem::transmute(words) }
}

/// Returns a constant of sixteen words.
pub(crate) const fn words32(words: [u32; 16]) -> Line {
    // SAFETY: as in `words64`.
    unsafe { std::mem::transmute(words) }
}

/// Returns a constant of thirty-two words.
pub(crate) const fn words16(words: [i16; 32]) -> Line {
    // SAFETY: as in `words64`.
    unsafe { std::mem::transmute(words) }
}

/// Returns a constant of bytes.
pub(crate) const fn bytes8(bytes: [u8; 64]) -> Line {
    // SAFETY: as in `words64`.
    unsafe { std::mem::transmute(bytes) }
}

/// Returns the bytes of these lines.
pub(crate) fn bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: the memory is that of the slice, a byte needs no alignment, and every byte of a
    // line has a value.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

/// Returns the bytes of these lines, to be written.
pub(crate) fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as in `bytes`; and every bit pattern is a value of a line.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

/// Loads 64 bytes from `at` on, aligned or not.
///
/// # Panics
/// If they end beyond the slice.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load(bytes: &[u8], at: usize) -> Line {
    let bytes = &bytes[at..at + LINE];
    // SAFETY: the slice is 64 bytes long, and the load wants no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Loads 16 bytes from `at` on, aligned or not.
///
/// # Panics
/// If they end beyond the slice.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_quarter(bytes: &[u8], at: usize) -> __m128i {
    let bytes = &bytes[at..at + LINE / 4];
    // SAFETY: the slice is 16 bytes long, and the load wants no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Stores 64 bytes from `at` on, aligned or not.
///
/// # Panics
/// If they end beyond the slice.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store(bytes: &mut [u8], at: usize, line: Line) {
    let bytes = &mut bytes[at..at + LINE];
    // SAFETY: the slice is 64 bytes long, and the store wants no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), line) }
}

/// Overwrites with zeros, also what nobody reads again.
pub(crate) fn wipe(lines: &mut [Line]) {
    for line in lines {
        // SAFETY: a line of a slice, aligned and ours to write.
        unsafe { std::ptr::write_volatile(line, ZERO) };
    }
    compiler_fence(Ordering::SeqCst);
}

/// Overwrites the stack below the caller, where the code of a batch kept what registers could not.
#[inline(never)]
pub(crate) fn scrub_stack() {
    let mut frame = [ZERO; 8 * 1024 / LINE];
    wipe(std::hint::black_box(&mut frame));
}
