//! Functions of libcrypto that the oldest OpenSSL we run on lacks, found by name in the libcrypto
//! that is loaded.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use super::ffi::{self, EVP_PKEY_CTX, EVP_SIGNATURE, OSSL_PARAM};

type MessageInit =
    unsafe extern "C" fn(*mut EVP_PKEY_CTX, *mut EVP_SIGNATURE, *const OSSL_PARAM) -> c_int;

/// EVP_PKEY_sign_message_init(3) of OpenSSL 3.4 and later, by the key's own algorithm.
///
/// # Safety
/// `ctx` is live, `params` a parameter array or null.
pub(super) unsafe extern "C" fn sign_message_init(
    ctx: *mut EVP_PKEY_CTX,
    params: *const OSSL_PARAM,
) -> c_int {
    static FUNCTION: OnceLock<Option<MessageInit>> = OnceLock::new();
    // SAFETY: by the caller's promise, and the function of this name has this type.
    unsafe { message_init(&FUNCTION, c"EVP_PKEY_sign_message_init", ctx, params) }
}

/// EVP_PKEY_verify_message_init(3), in the same way.
///
/// # Safety
/// As of [`sign_message_init`].
pub(super) unsafe extern "C" fn verify_message_init(
    ctx: *mut EVP_PKEY_CTX,
    params: *const OSSL_PARAM,
) -> c_int {
    static FUNCTION: OnceLock<Option<MessageInit>> = OnceLock::new();
    // SAFETY: by the caller's promise, and the function of this name has this type.
    unsafe { message_init(&FUNCTION, c"EVP_PKEY_verify_message_init", ctx, params) }
}

/// # Safety
/// As of [`sign_message_init`], and libcrypto's function called `name` is a [`MessageInit`].
unsafe fn message_init(
    function: &OnceLock<Option<MessageInit>>,
    name: &CStr,
    ctx: *mut EVP_PKEY_CTX,
    params: *const OSSL_PARAM,
) -> c_int {
    let function = function.get_or_init(|| {
        // SAFETY: null or a function of this type, by the caller's promise.
        unsafe { std::mem::transmute::<*mut c_void, Option<MessageInit>>(find(name)) }
    });
    match function {
        // SAFETY: by the caller's promise; no algorithm stands for the key's own.
        Some(function) => unsafe { function(ctx, ptr::null_mut(), params) },
        // What libcrypto answers for an operation that there is not.
        None => -2,
    }
}

/// Returns the symbol of the libcrypto that our own calls go to; null if it has none. (A search of
/// the whole process misses a libcrypto that was loaded late and for one library alone.)
fn find(name: &CStr) -> *mut c_void {
    // SAFETY: all fields are pointers, for which zero is valid; dladdr(3) takes any address, and
    // leaves the path of a loaded file, which dlopen(3) is asked not to load. The handle keeps
    // libcrypto loaded, which is needed.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(ffi::EVP_PKEY_sign_init_ex as *const c_void, &raw mut info) == 0 {
            return ptr::null_mut();
        }
        let libcrypto = libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if libcrypto.is_null() {
            return ptr::null_mut();
        }
        libc::dlsym(libcrypto, name.as_ptr())
    }
}
