//! Key blobs: whatever libcrypto takes for a private key is bound, and signs or refuses; whatever it
//! does not, and every file, is an error with a text. The first byte chooses between DER and a file.

#![no_main]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;

use capi as _;
use libfuzzer_sys::fuzz_target;

unsafe extern "C" {
    fn spinlane_libctx() -> *mut c_void;
    fn spinlane_ssl_ctx_use_private_key(ctx: *mut c_void, key: *mut c_void) -> c_int;
    fn spinlane_ssl_ctx_use_private_key_file(ctx: *mut c_void, path: *const c_char) -> c_int;
    fn spinlane_last_error() -> *const c_char;

    fn SSL_CTX_new_ex(
        libctx: *mut c_void,
        query: *const c_char,
        method: *const c_void,
    ) -> *mut c_void;
    fn SSL_CTX_free(ctx: *mut c_void);
    fn TLS_server_method() -> *const c_void;
    fn d2i_AutoPrivateKey_ex(
        key: *mut *mut c_void,
        data: *mut *const u8,
        len: std::ffi::c_long,
        libctx: *mut c_void,
        query: *const c_char,
    ) -> *mut c_void;
    fn EVP_PKEY_free(key: *mut c_void);
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, blob)) = input.split_first() else {
        return;
    };
    // SAFETY: live objects, each freed once; buffers are as long as said.
    unsafe {
        let libctx = spinlane_libctx();
        assert!(!libctx.is_null());
        let ctx = SSL_CTX_new_ex(libctx, c"?spinlane.kex=yes".as_ptr(), TLS_server_method());
        if how % 2 == 0 {
            let mut next = blob.as_ptr();
            let len = blob.len() as std::ffi::c_long;
            let key = d2i_AutoPrivateKey_ex(ptr::null_mut(), &mut next, len, libctx, ptr::null());
            if !key.is_null() {
                answer(spinlane_ssl_ctx_use_private_key(ctx, key));
                EVP_PKEY_free(key);
            }
        } else {
            let file = libc::memfd_create(c"key".as_ptr(), 0);
            let mut file = std::fs::File::from_raw_fd(file);
            file.write_all(blob).unwrap();
            let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
            answer(spinlane_ssl_ctx_use_private_key_file(ctx, path.as_ptr()));
        }
        SSL_CTX_free(ctx);
        openssl_sys::ERR_clear_error();
    }
});

/// 1, 2, or 0 with a text.
fn answer(result: c_int) {
    // SAFETY: a terminated string of this thread's.
    let text = unsafe { CStr::from_ptr(spinlane_last_error()) };
    assert!(result == 1 || result == 2 || result == 0 && !text.is_empty());
}
