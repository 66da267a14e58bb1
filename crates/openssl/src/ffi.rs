//! What the front-end needs of libssl and libcrypto beyond `openssl-sys`.
//!
//! Signatures as in the headers of OpenSSL 3.0; macros of the headers are functions here.

use std::ffi::{c_char, c_int, c_long, c_uchar, c_uint, c_ulong, c_void};

pub(crate) use openssl_sys::*;

/// `SSL_async_callback_fn`.
pub(crate) type SslAsyncCallbackFn = extern "C" fn(*mut SSL, *mut c_void) -> c_int;

/// `SSL_CTX_generate_session_ticket_fn`.
pub(crate) type GenerateTicketFn = unsafe extern "C" fn(*mut SSL, *mut c_void) -> c_int;
/// `SSL_CTX_decrypt_session_ticket_fn`.
pub(crate) type DecryptTicketFn = unsafe extern "C" fn(
    *mut SSL,
    *mut SSL_SESSION,
    *const c_uchar,
    usize,
    c_int,
    *mut c_void,
) -> c_int;

pub(crate) const SSL_TICKET_SUCCESS: c_int = 5;
pub(crate) const SSL_TICKET_SUCCESS_RENEW: c_int = 6;
pub(crate) const SSL_TICKET_RETURN_IGNORE_RENEW: c_int = 2;
pub(crate) const SSL_TICKET_RETURN_USE: c_int = 3;
pub(crate) const SSL_TICKET_RETURN_USE_RENEW: c_int = 4;

pub(crate) const SSL_MODE_ASYNC: c_long = 0x100;
pub(crate) const SSL_ERROR_WANT_ASYNC: c_int = 9;
pub(crate) const SSL_ERROR_WANT_ASYNC_JOB: c_int = 10;
pub(crate) const SSL_CTRL_CLEAR_MODE: c_int = 78;
pub(crate) const SSL_CTRL_GET_NEGOTIATED_GROUP: c_int = 134;
pub(crate) const SSL_CTRL_SET_GROUPS_LIST: c_int = 92;

pub(crate) const ERR_LIB_ASYNC: c_int = 51;
pub(crate) const ASYNC_R_INVALID_POOL_SIZE: c_int = 103;
pub(crate) const ERR_R_MALLOC_FAILURE: c_int = 256 | (0x3 << 18);
pub(crate) const ERR_R_PASSED_NULL_PARAMETER: c_int = 258 | (0x3 << 18);
pub(crate) const ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED: c_int = 257 | (0x3 << 18);

unsafe extern "C" {
    pub(crate) fn SSL_CTX_new_ex(
        libctx: *mut OSSL_LIB_CTX,
        propq: *const c_char,
        method: *const SSL_METHOD,
    ) -> *mut SSL_CTX;
    pub(crate) fn SSL_CTX_get_ciphers(ctx: *const SSL_CTX) -> *const stack_st_SSL_CIPHER;
    pub(crate) fn SSL_set_async_callback(
        ssl: *mut SSL,
        callback: Option<SslAsyncCallbackFn>,
    ) -> c_int;
    pub(crate) fn SSL_set_async_callback_arg(ssl: *mut SSL, arg: *mut c_void) -> c_int;
    pub(crate) fn SSL_get_async_status(ssl: *mut SSL, status: *mut c_int) -> c_int;
    pub(crate) fn X509_STORE_add_crl(store: *mut X509_STORE, list: *mut X509_CRL) -> c_int;
    pub(crate) fn SSL_group_to_name(ssl: *mut SSL, group: c_int) -> *const c_char;
    pub(crate) fn SSL_set1_host(ssl: *mut SSL, name: *const c_char) -> c_int;
    pub(crate) fn X509_VERIFY_PARAM_set1_ip_asc(
        parameters: *mut X509_VERIFY_PARAM,
        address: *const c_char,
    ) -> c_int;
    pub(crate) fn SSL_waiting_for_async(ssl: *mut SSL) -> c_int;
    pub(crate) fn SSL_in_init(ssl: *const SSL) -> c_int;
    pub(crate) fn SSL_get1_session(ssl: *mut SSL) -> *mut SSL_SESSION;
    pub(crate) fn SSL_CTX_set_timeout(ctx: *mut SSL_CTX, seconds: c_long) -> c_long;
    pub(crate) fn SSL_SESSION_set_timeout(session: *mut SSL_SESSION, seconds: c_long) -> c_long;
    pub(crate) fn SSL_CTX_set_session_ticket_cb(
        ctx: *mut SSL_CTX,
        generate: Option<GenerateTicketFn>,
        decrypt: Option<DecryptTicketFn>,
        arg: *mut c_void,
    ) -> c_int;
    pub(crate) fn SSL_SESSION_set1_ticket_appdata(
        session: *mut SSL_SESSION,
        data: *const c_void,
        len: usize,
    ) -> c_int;
    pub(crate) fn SSL_SESSION_get0_ticket_appdata(
        session: *mut SSL_SESSION,
        data: *mut *mut c_void,
        len: *mut usize,
    ) -> c_int;

    pub(crate) fn PEM_read_bio_PrivateKey_ex(
        bio: *mut BIO,
        out: *mut *mut EVP_PKEY,
        password: Option<unsafe extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int>,
        arg: *mut c_void,
        libctx: *mut OSSL_LIB_CTX,
        propq: *const c_char,
    ) -> *mut EVP_PKEY;

    pub(crate) fn OPENSSL_version_major() -> c_uint;
    pub(crate) fn OPENSSL_version_minor() -> c_uint;
    pub(crate) fn EVP_set_default_properties(
        libctx: *mut OSSL_LIB_CTX,
        propq: *const c_char,
    ) -> c_int;
    pub(crate) fn OSSL_LIB_CTX_get0_global_default() -> *mut OSSL_LIB_CTX;

    pub(crate) fn BIO_get_new_index() -> c_int;
    pub(crate) fn ERR_error_string_n(code: c_ulong, text: *mut c_char, len: usize);
    pub(crate) fn ERR_set_debug(file: *const c_char, line: c_int, func: *const c_char);
}
