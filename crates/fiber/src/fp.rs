//! Floating-point control words: rounding, exception masks, flush-to-zero.
//!
//! The ABI has every function preserve them, so they are part of a side's
//! state. Their status bits are not.

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::FpControl;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::FpControl;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::asm;

    /// The status bits of mxcsr, which belong to no side.
    const STATUS: u32 = 0x3f;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(crate) struct FpControl {
        mxcsr: u32,
        x87: u16,
    }

    impl FpControl {
        #[inline]
        pub(crate) fn read() -> Self {
            let mut words = Self::default();
            // SAFETY: both instructions store to the place given, no more.
            unsafe {
                asm!("stmxcsr [{}]", in(reg) &raw mut words.mxcsr, options(nostack, preserves_flags));
                asm!("fnstcw [{}]", in(reg) &raw mut words.x87, options(nostack, preserves_flags));
            }
            words.mxcsr &= !STATUS;
            words
        }

        /// Puts these words in force; `now` are those in force. What does not
        /// differ is not written, for writing may stall.
        ///
        /// # Safety
        /// `self` was read on this thread; code that runs next expects it.
        #[inline]
        pub(crate) unsafe fn load_over(self, now: Self) {
            // SAFETY: values that were once in force set no reserved bit. The
            // status is cleared, which no side may rely on.
            unsafe {
                if self.mxcsr != now.mxcsr {
                    asm!("ldmxcsr [{}]", in(reg) &raw const self.mxcsr, options(nostack, preserves_flags));
                }
                if self.x87 != now.x87 {
                    asm!("fldcw [{}]", in(reg) &raw const self.x87, options(nostack, preserves_flags));
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    /// Nothing: the switch itself keeps FPCR, for every fiber.
    #[derive(Debug, Clone, Copy, Default)]
    pub(crate) struct FpControl;

    impl FpControl {
        #[inline(always)]
        pub(crate) fn read() -> Self {
            Self
        }

        /// # Safety
        /// None to keep.
        #[inline(always)]
        pub(crate) unsafe fn load_over(self, _: Self) {}
    }
}
