//! Where an operation leaves its result: the guards that all of them share.

use std::ffi::{c_int, c_uchar};
use std::ptr;

use libc::size_t;
use spinlane_cryptodev::MAX_OUTPUT;
use zeroize::Zeroizing;

use super::error::raise;

/// A caller's buffer for a result, and the place for the result's length.
pub(super) struct Output {
    data: *mut c_uchar,
    size: size_t,
    len: *mut size_t,
}

impl Output {
    /// Takes a caller's buffer. Returns `None` if there is no place for the length, without which
    /// nothing can be answered.
    ///
    /// # Safety
    /// `data` is null or has room for `size` bytes, `len` is null or a place for a length, and
    /// both stay so for as long as the result lives.
    pub unsafe fn new(data: *mut c_uchar, len: *mut size_t, size: size_t) -> Option<Self> {
        (!len.is_null()).then_some(Self { data, size, len })
    }

    /// Makes a result of at most `longest` bytes in memory of ours by `make`, which returns its
    /// length, and hands it to the caller: no reference to the caller's memory lives over a pause.
    /// Answers only the length, if that is all that is asked.
    pub fn produce(
        self,
        what: &str,
        longest: usize,
        make: impl FnOnce(&mut [u8; MAX_OUTPUT]) -> Option<usize>,
    ) -> bool {
        let len = if self.data.is_null() {
            longest
        } else {
            if self.size < longest {
                raise(format_args!(
                    "room for {} bytes of {what}; give {longest}",
                    self.size
                ));
                return false;
            }
            let mut made = Zeroizing::new([0; MAX_OUTPUT]);
            let Some(len) = make(&mut made) else {
                return false;
            };
            // SAFETY: the caller's buffer of `size` bytes, at least `longest`, at least `len`.
            unsafe { ptr::copy_nonoverlapping(made.as_ptr(), self.data, len.min(self.size)) };
            len
        };
        // SAFETY: not null, so the caller's place for the length.
        unsafe { *self.len = len };
        true
    }

    /// Lets a function of libcrypto make the result: it finds the buffer's size where it leaves the
    /// result's length.
    pub fn delegate(self, run: impl FnOnce(*mut c_uchar, *mut size_t) -> c_int) -> bool {
        // SAFETY: not null, so the caller's place for the length.
        unsafe { *self.len = self.size };
        run(self.data, self.len) > 0
    }
}
