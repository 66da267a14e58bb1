//! What the provider's section in an openssl.cnf says, config(5).
//!
//! ```text
//! [spinlane_section]
//! module = /usr/local/lib/libspinlane.so
//! activate = 1
//! device = auto                  # a device spec, for the lcores made on demand
//! lcore = on-demand              # or explicit: an error on a thread without lcore
//! pause-without-callback = no    # or yes: such jobs are resumed until they are done
//! ```

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use thiserror::Error;

use super::error::raise;
use super::ffi::{self, OSSL_CORE_HANDLE, OSSL_DISPATCH, OSSL_PARAM};
use super::{names, params};

/// The section's values, with defaults for what it leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether jobs whose wait context has no callback pause.
    pub pause_without_callback: bool,
    /// Whether a thread gets an lcore with its first op that pauses.
    pub lcore_on_demand: bool,
    /// Spec of the device that such lcores use.
    pub device: String,
}

impl Default for Settings {
    /// Safe for programs that were not written for Spinlane.
    fn default() -> Self {
        Self {
            pause_without_callback: false,
            lcore_on_demand: true,
            device: "auto".to_owned(),
        }
    }
}

/// A value that is not understood.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("setting {name:?} of the provider's section is {value:?}; make it {} or {}", .choices[0], .choices[1])]
pub struct SettingError {
    name: &'static CStr,
    value: String,
    choices: [&'static str; 2],
}

impl Settings {
    /// Reads them by the functions that libcrypto passes to OSSL_provider_init.
    ///
    /// # Errors
    /// A value is not understood; an entry in the error queue says so too.
    ///
    /// # Safety
    /// `handle` and `upcalls` came from libcrypto as arguments of OSSL_provider_init(7), or are
    /// null.
    pub unsafe fn read(
        handle: *const OSSL_CORE_HANDLE,
        upcalls: *const OSSL_DISPATCH,
    ) -> Result<Self, SettingError> {
        // SAFETY: by the caller's promise.
        let [pause, lcore, device] = unsafe { values(handle, upcalls) };
        let pause = choice(names::PAUSE_WITHOUT_CALLBACK, pause, ["no", "yes"])?;
        let explicit = choice(names::LCORE, lcore, ["on-demand", "explicit"])?;
        Ok(Self {
            pause_without_callback: pause,
            lcore_on_demand: !explicit,
            device: device.unwrap_or(Self::default().device),
        })
    }
}

/// Returns `true` if `value` is the second of `choices`, and `false` if it is the first or missing.
fn choice(
    name: &'static CStr,
    value: Option<String>,
    choices: [&'static str; 2],
) -> Result<bool, SettingError> {
    match value {
        None => Ok(false),
        Some(value) if value == choices[0] => Ok(false),
        Some(value) if value == choices[1] => Ok(true),
        Some(value) => {
            let error = SettingError {
                name,
                value,
                choices,
            };
            raise(format_args!("{error}"));
            Err(error)
        }
    }
}

/// # Safety
/// As for [`Settings::read`].
unsafe fn values(
    handle: *const OSSL_CORE_HANDLE,
    upcalls: *const OSSL_DISPATCH,
) -> [Option<String>; 3] {
    type GetParams = unsafe extern "C" fn(*const OSSL_CORE_HANDLE, *mut OSSL_PARAM) -> c_int;

    let mut next = upcalls;
    let mut found = None;
    // SAFETY: an array that ends with a zero, by the caller's promise.
    while let Some(entry) = unsafe { next.as_ref() }.filter(|entry| entry.function_id != 0) {
        if entry.function_id == ffi::OSSL_FUNC_CORE_GET_PARAMS {
            found = entry.function;
        }
        // SAFETY: not the end yet.
        next = unsafe { next.add(1) };
    }
    let Some(function) = found else {
        return [const { None }; 3];
    };
    // SAFETY: a function pointer stays one; this is the type that its number stands for.
    let get_params = unsafe { std::mem::transmute::<unsafe extern "C" fn(), GetParams>(function) };
    let mut texts = [ptr::null::<c_char>(); 3];
    {
        let [pause, lcore, device] = &mut texts;
        let mut array = [
            params::text_ptr(names::PAUSE_WITHOUT_CALLBACK, pause),
            params::text_ptr(names::LCORE, lcore),
            params::text_ptr(names::DEVICE, device),
            params::end(),
        ];
        // SAFETY: libcrypto's own function and handle, and a parameter array that outlives the
        // call.
        unsafe { get_params(handle, array.as_mut_ptr()) };
    }
    texts.map(|text| {
        if text.is_null() {
            return None;
        }
        // SAFETY: a string of the configuration's, which lives as long as the provider.
        let text = unsafe { CStr::from_ptr(text) };
        Some(text.to_string_lossy().into_owned())
    })
}
