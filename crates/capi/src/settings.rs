//! An lcore's settings as C gives them.

use std::ffi::c_int;

use spinlane::cryptodev::HealthConfig;
use spinlane::lcore::Config;

use crate::error::{Failure, failure, null};

/// Bytes of settings at most, of any version: a larger size was never set.
const LARGEST: usize = 4096;

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
    /// Reads what the caller has set. A caller with a newer header may have set what there is not yet: that is an
    /// error, as for openat2(2), since a setting that does nothing is found late.
    ///
    /// # Safety
    /// `from` is NULL or valid for reading its `size` and as much as that says.
    pub(crate) unsafe fn read(from: *const Self) -> Result<Self, Failure> {
        if from.is_null() {
            return Err(null("settings"));
        }
        // SAFETY: by the caller's promise.
        let size = unsafe { from.cast::<usize>().read() };
        if !(size_of::<usize>()..=LARGEST).contains(&size) {
            return Err(failure(format!(
                "settings->size is {size}; set it to sizeof(struct spinlane_lcore_settings) before the call"
            )));
        }
        let known = size_of::<Self>();
        let len = size.min(known);
        // SAFETY: `size` bytes are there by the caller's promise; those behind `len` are no field of ours.
        let unknown = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(len), size - len) };
        if let Some(at) = unknown.iter().position(|byte| *byte != 0) {
            return Err(failure(format!(
                "settings has something at byte {}, and this library knows the first {known}: your spinlane.h is newer \
                 than libspinlane.so; set to 0 what is newer, or take the newer library",
                len + at
            )));
        }
        let mut settings = Self::default();
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
