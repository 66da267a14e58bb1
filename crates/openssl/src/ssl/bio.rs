//! A BIO over two memory buffers, without a socket.
//!
//! ```text
//!   application ── input ──▶ BIO_read ── libssl ── BIO_write ──▶ output ── application
//! ```
//! An empty input is "retry read", or the end of the stream once the peer has closed; a full
//! output is "retry write".

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::sync::OnceLock;

use super::buffer::Buffer;
use crate::error::SslError;
use crate::ffi::{self, BIO, BIO_METHOD};

const BIO_TYPE_SOURCE_SINK: c_int = 0x0400;
const BIO_CTRL_EOF: c_int = 2;

#[derive(Default)]
pub(super) struct Buffers {
    pub(super) input: Buffer,
    pub(super) output: Buffer,
    /// The peer will send no more.
    pub(super) input_ended: bool,
}

/// Makes a BIO over `buffers`.
///
/// # Safety
/// `buffers` must outlive the BIO and stay where it is.
pub(super) unsafe fn new(buffers: *const RefCell<Buffers>) -> Result<*mut BIO, SslError> {
    // SAFETY: the method is valid for the life of the process.
    let bio = unsafe { ffi::BIO_new(method()?) };
    if bio.is_null() {
        return Err(SslError::call("BIO_new"));
    }
    // SAFETY: a new BIO of our method, whose functions expect exactly this datum.
    unsafe {
        ffi::BIO_set_data(bio, buffers.cast_mut().cast());
        ffi::BIO_set_init(bio, 1);
    }
    Ok(bio)
}

fn method() -> Result<*const BIO_METHOD, SslError> {
    /// Made once, never freed, never changed after that.
    struct Method(*mut BIO_METHOD);
    // SAFETY: libcrypto only reads it from here on.
    unsafe impl Send for Method {}
    // SAFETY: see above.
    unsafe impl Sync for Method {}
    static METHOD: OnceLock<Method> = OnceLock::new();

    let method = METHOD.get_or_init(|| {
        // SAFETY: a terminated name; the functions have the signatures that each setter wants.
        unsafe {
            let method = ffi::BIO_meth_new(
                ffi::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
                c"spinlane".as_ptr(),
            );
            if !method.is_null() {
                ffi::BIO_meth_set_read__fixed_rust(method, Some(read));
                ffi::BIO_meth_set_write__fixed_rust(method, Some(write));
                ffi::BIO_meth_set_ctrl__fixed_rust(method, Some(ctrl));
            }
            Method(method)
        }
    });
    if method.0.is_null() {
        Err(SslError::call("BIO_meth_new"))
    } else {
        Ok(method.0)
    }
}

/// # Safety
/// `bio` is one made by [`new`] whose buffers still live.
unsafe fn buffers<'a>(bio: *mut BIO) -> &'a RefCell<Buffers> {
    // SAFETY: set by `new`, and outlives the BIO.
    unsafe { &*ffi::BIO_get_data(bio).cast::<RefCell<Buffers>>() }
}

unsafe extern "C" fn read(bio: *mut BIO, to: *mut c_char, len: c_int) -> c_int {
    // SAFETY: libcrypto calls this for our BIOs only.
    let Ok(mut buffers) = unsafe { buffers(bio) }.try_borrow_mut() else {
        return -1;
    };
    // SAFETY: as above.
    unsafe { ffi::BIO_clear_retry_flags(bio) };
    let unread = buffers.input.unread();
    let count = unread.len().min(usize::try_from(len).unwrap_or(0));
    if count == 0 {
        if buffers.input_ended {
            return 0;
        }
        // SAFETY: as above.
        unsafe { ffi::BIO_set_retry_read(bio) };
        return -1;
    }
    // SAFETY: `to` has room for `len` bytes, by BIO_read's contract.
    unsafe {
        to.cast::<u8>()
            .copy_from_nonoverlapping(unread.as_ptr(), count)
    };
    buffers.input.consume(count);
    count as c_int
}

unsafe extern "C" fn write(bio: *mut BIO, from: *const c_char, len: c_int) -> c_int {
    // SAFETY: libcrypto calls this for our BIOs only.
    let Ok(mut buffers) = unsafe { buffers(bio) }.try_borrow_mut() else {
        return -1;
    };
    // SAFETY: as above.
    unsafe { ffi::BIO_clear_retry_flags(bio) };
    let len = usize::try_from(len).unwrap_or(0);
    if from.is_null() || len == 0 {
        return 0;
    }
    // SAFETY: `from` is valid for `len` bytes, by BIO_write's contract.
    let count = buffers
        .output
        .push(unsafe { std::slice::from_raw_parts(from.cast(), len) });
    if count == 0 {
        // SAFETY: as above.
        unsafe { ffi::BIO_set_retry_write(bio) };
        return -1;
    }
    count as c_int
}

unsafe extern "C" fn ctrl(bio: *mut BIO, command: c_int, _: c_long, _: *mut c_void) -> c_long {
    match command {
        ffi::BIO_CTRL_FLUSH => 1,
        // SAFETY: libcrypto calls this for our BIOs only.
        BIO_CTRL_EOF => unsafe { buffers(bio) }
            .try_borrow()
            .is_ok_and(|b| b.input_ended && b.input.len() == 0)
            .into(),
        _ => 0,
    }
}
