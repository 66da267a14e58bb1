//! An lcore's settings as C gives them.

use std::ffi::c_int;

use spinlane::cryptodev::HealthConfig;
use spinlane::lcore::Config;

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
    /// Reads what the caller has set.
    ///
    /// # Safety
    /// `from` is NULL or valid for reading its `size` and as much as that says.
    pub(crate) unsafe fn read(from: *const Self) -> Result<Self, Failure> {
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
        Ok(settings)
    }

    /// The lcore's own.
    pub(crate) fn config(&self) -> Config {
        let default = Config::default();
        Config {
            slow_callback_ns: or(self.slow_callback_ns, default.slow_callback_ns),
        }
    }

    /// Those of a queue pair whose driver has `default`.
    pub(crate) fn health(&self, default: HealthConfig) -> HealthConfig {
        HealthConfig {
            fallback: default.fallback && self.no_fallback == 0,
            op_deadline_ns: or(self.op_deadline_ns, default.op_deadline_ns),
            probe_interval_ns: or(self.probe_interval_ns, default.probe_interval_ns),
            max_errors: or(self.max_errors, default.max_errors),
        }
    }
}

/// What was given, unless that is 0.
fn or<T: Default + PartialEq>(given: T, default: T) -> T {
    match given == T::default() {
        true => default,
        false => given,
    }
}
