//! Devices by spec.

use std::ffi::{CStr, c_char, c_uint};
use std::ptr;
use std::sync::Arc;

use spinlane::cryptodev::{Device, KeyHandle};

use crate::conn::copy_text;
use crate::error::{Failure, failure, guard, null};
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
        let device = spinlane::device::open(unsafe { utf8(spec, "spec") }?)?;
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

/// One of the specs that need nothing but a name, or NULL behind the last.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_device_spec(index: c_uint) -> *const c_char {
    guard(ptr::null(), || {
        const SPECS: [&CStr; 3] = [c"auto", c"mb", c"soft"];
        let spec = SPECS.get(index as usize);
        Ok(spec.map_or(ptr::null(), |spec| spec.as_ptr()))
    })
}

/// What the device is called, and the kinds of op that it offers.
///
/// # Safety
/// `device` is NULL or open; `to` is NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_device_describe(
    device: *const OpenDevice,
    to: *mut c_char,
    size: usize,
) -> usize {
    guard(0, || {
        // SAFETY: by the contract.
        let device = unsafe { device.as_ref() }.ok_or_else(|| null("device"))?;
        let mut text = device.0.name().to_owned();
        for kind in device.0.capabilities().iter() {
            text.push(' ');
            text.push_str(kind.name());
        }
        // SAFETY: by the contract.
        unsafe { copy_text(Some(text.as_bytes()), to, size) }
    })
}

/// # Safety
/// `text` is NULL or a terminated string that lives for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: by the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// `chars` is NULL or a terminated string that lives for `'a`.
pub(crate) unsafe fn utf8<'a>(chars: *const c_char, argument: &str) -> Result<&'a str, Failure> {
    // SAFETY: by the caller's promise.
    let chars = unsafe { text(chars) }.ok_or_else(|| null(argument))?;
    let utf8 = chars.to_str();
    utf8.map_err(|_| failure(format!("{argument} {chars:?} is not UTF-8")))
}

/// The key of `device`'s own that `uri` names, and the name. (A token's module may take more stack than a job has.)
///
/// # Safety
/// `device` is NULL or open; `uri` is NULL or a terminated string that lives for `'a`.
pub(crate) unsafe fn own_key<'a>(
    device: *const OpenDevice,
    uri: *const c_char,
) -> Result<(&'a str, Arc<KeyHandle>), Failure> {
    // SAFETY: by the caller's promise.
    let device = unsafe { device.as_ref() }.ok_or_else(|| null("device"))?;
    // SAFETY: by the caller's promise.
    let uri = unsafe { utf8(uri, "uri") }?;
    let key = spinlane::job::on_thread_stack(|| device.0.own_key(uri, None))?;
    Ok((uri, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specs_are_the_facades() {
        // SAFETY: static and terminated, or NULL.
        let spec = |index| unsafe { text(spinlane_device_spec(index)) };
        let specs: Vec<_> = (0..).map_while(spec).collect();
        let specs: Vec<_> = specs.iter().map(|spec| spec.to_str().unwrap()).collect();
        assert_eq!(specs, spinlane::device::SPECS);
    }
}
