//! An lcore's settings as C gives them.

use std::ffi::c_int;

use spinlane::lcore::{Config, HealthConfig};

use crate::error::{Failure, failure, null};

/// `struct spinlane_lcore_settings`. Fields are only ever added, at the end; 0 is the default of each.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct LcoreSettings {
    size: usize,
    slow_callback_ns: u64,
    op_deadline_ns: u64,
    probe_interval_ns: u64,
    max_errors: u32,
    no_fallback: c_int,
}

impl LcoreSettings {
    /// What they come to.
    ///
    /// # Safety
    /// `from` is NULL or valid for reading its `size` and as much as that says.
    pub(crate) unsafe fn read(from: *const Self) -> Result<Config, Failure> {
        if from.is_null() {
            return Err(null("settings"));
        }
        // SAFETY: by the caller's promise.
        let size = unsafe { from.cast::<usize>().read() };
        if size < size_of::<usize>() {
            return Err(failure(format!(
                "settings->size is {size}; set it to sizeof(struct spinlane_lcore_settings) before the call"
            )));
        }
        let mut settings = Self::default();
        let len = size.min(size_of::<Self>());
        let to = (&raw mut settings).cast::<u8>();
        // SAFETY: `len` bytes are there by the caller's promise, and fit; any of them make numbers.
        unsafe { std::ptr::copy_nonoverlapping(from.cast(), to, len) };
        Ok(settings.config())
    }

    fn config(&self) -> Config {
        let default = Config::default();
        let or = |given, default| if given == 0 { default } else { given };
        Config {
            slow_callback_ns: or(self.slow_callback_ns, default.slow_callback_ns),
            health: HealthConfig {
                fallback: self.no_fallback == 0,
                op_deadline_ns: or(self.op_deadline_ns, default.health.op_deadline_ns),
                probe_interval_ns: or(self.probe_interval_ns, default.health.probe_interval_ns),
                max_errors: match self.max_errors {
                    0 => default.health.max_errors,
                    given => given,
                },
            },
        }
    }
}
