//! Devices by spec.

use std::ffi::{CStr, c_char};
use std::ptr;

use spinlane::cryptodev::Device;

use crate::error::{failure, guard, null};
use crate::start;

/// `spinlane_device`: a device. May be used on any thread.
pub struct OpenDevice(pub(crate) Box<dyn Device>);

/// Opens the device that `spec` names.
///
/// # Safety
/// `spec` is NULL or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_device_open(spec: *const c_char) -> *mut OpenDevice {
    guard(ptr::null_mut(), || {
        start();
        // SAFETY: NULL or terminated, by the contract.
        let spec = unsafe { text(spec) }.ok_or_else(|| null("spec"))?;
        let spec = spec
            .to_str()
            .map_err(|_| failure(format!("device spec {spec:?} is not UTF-8; see spinlane.h")))?;
        let device = spinlane::device::open(spec)?;
        Ok(Box::into_raw(Box::new(OpenDevice(device))))
    })
}

/// Closes a device. Queue pairs opened on it go on.
///
/// # Safety
/// `device` is NULL or open, and used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_device_close(device: *mut OpenDevice) {
    guard((), || {
        if !device.is_null() {
            // SAFETY: from `spinlane_device_open`, closed once.
            drop(unsafe { Box::from_raw(device) });
        }
        Ok(())
    });
}

/// # Safety
/// `text` is NULL or a terminated string that lives for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: by the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}
