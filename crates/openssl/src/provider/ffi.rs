//! What of libcrypto's C interface the provider needs and `openssl-sys` lacks.
//!
//! Types and functions as in `<openssl/core.h>`, `<openssl/provider.h>`, `<openssl/evp.h>` and
//! `<openssl/err.h>`. Constants are compared with the installed headers by a test below.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};

use libc::size_t;
pub(super) use openssl_sys::{
    BIGNUM, EVP_KDF_CTX, EVP_MD_CTX, EVP_PKEY, EVP_PKEY_CTX, OSSL_LIB_CTX, OSSL_PARAM,
    OSSL_PROVIDER,
};

/// The core's side of a provider; opaque.
pub enum OSSL_CORE_HANDLE {}
/// A fetched key manager; opaque.
pub enum EVP_KEYMGMT {}
/// A fetched key exchange; opaque.
pub enum EVP_KEYEXCH {}
/// A fetched signature algorithm; opaque.
pub enum EVP_SIGNATURE {}
/// A fetched asymmetric cipher; opaque.
pub enum EVP_ASYM_CIPHER {}

/// Receives parameters: `OSSL_CALLBACK`.
pub type OSSL_CALLBACK = unsafe extern "C" fn(*const OSSL_PARAM, *mut c_void) -> c_int;

/// One function of an algorithm.
#[repr(C)]
pub struct OSSL_DISPATCH {
    /// Which one: an `OSSL_FUNC_*` constant; 0 ends the table.
    pub function_id: c_int,
    /// The function, of the type that `function_id` stands for.
    pub function: Option<unsafe extern "C" fn()>,
}

/// One algorithm of an operation.
#[repr(C)]
pub struct OSSL_ALGORITHM {
    /// Names of the algorithm, separated by colons; null ends the table.
    pub algorithm_names: *const c_char,
    /// Properties of the algorithm.
    pub property_definition: *const c_char,
    /// Functions of the algorithm.
    pub implementation: *const OSSL_DISPATCH,
    /// What it is.
    pub algorithm_description: *const c_char,
}

// SAFETY: tables of these are immutable, and their pointers lead to static data.
unsafe impl Sync for OSSL_ALGORITHM {}

/// `OSSL_provider_init_fn`.
pub type OSSL_provider_init_fn = unsafe extern "C" fn(
    *const OSSL_CORE_HANDLE,
    *const OSSL_DISPATCH,
    *mut *const OSSL_DISPATCH,
    *mut *mut c_void,
) -> c_int;

/// Constants of the headers, and under test the list to compare with them.
macro_rules! header_constants {
    ($($name:ident = $value:expr;)*) => {
        $(pub(super) const $name: c_int = $value;)*
        #[cfg(test)]
        pub(super) const CONSTANTS: &[(&str, c_int)] = &[$((stringify!($name), $name)),*];
    };
}

header_constants! {
    OSSL_FUNC_CORE_GET_PARAMS = 2;
    OSSL_OP_KDF = 4;
    OSSL_OP_RAND = 5;
    OSSL_OP_KEYMGMT = 10;
    OSSL_OP_KEYEXCH = 11;
    OSSL_OP_SIGNATURE = 12;
    OSSL_OP_ASYM_CIPHER = 13;
    OSSL_KEYMGMT_SELECT_PRIVATE_KEY = 0x01;
    OSSL_KEYMGMT_SELECT_PUBLIC_KEY = 0x02;
    OSSL_KEYMGMT_SELECT_KEYPAIR = 0x03;
    OSSL_KEYMGMT_SELECT_ALL_PARAMETERS = 0x84;
    OSSL_KEYMGMT_SELECT_ALL = 0x87;
    OSSL_KEYMGMT_VALIDATE_QUICK_CHECK = 1;
    OSSL_PARAM_INTEGER = 1;
    OSSL_PARAM_UNSIGNED_INTEGER = 2;
    OSSL_PARAM_UTF8_STRING = 4;
    OSSL_PARAM_OCTET_STRING = 5;
    OSSL_PARAM_UTF8_PTR = 6;
    RSA_PKCS1_PADDING = 1;
    RSA_PKCS1_PSS_PADDING = 6;
    RSA_PKCS1_WITH_TLS_PADDING = 7;
    RSA_PSS_SALTLEN_DIGEST = -1;
    RSA_PSS_SALTLEN_AUTO = -2;
    RSA_PSS_SALTLEN_MAX = -3;
    EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND = 0;
    EVP_KDF_HKDF_MODE_EXTRACT_ONLY = 1;
    EVP_KDF_HKDF_MODE_EXPAND_ONLY = 2;
    EVP_RAND_STATE_READY = 1;
    ERR_LIB_PROV = 57;
    ERR_R_OPERATION_FAIL = 263 | 3 << 18;
}

/// `RSA_PSS_SALTLEN_AUTO_DIGEST_MAX` of OpenSSL 3.1 and later.
pub(super) const RSA_PSS_SALTLEN_AUTO_DIGEST_MAX: c_int = -4;
/// `OSSL_PARAM_UNMODIFIED`.
pub(super) const PARAM_UNMODIFIED: size_t = size_t::MAX;

unsafe extern "C" {
    pub fn OPENSSL_version_major() -> c_uint;
    pub fn OPENSSL_version_minor() -> c_uint;

    pub fn ERR_set_mark() -> c_int;
    pub fn ERR_pop_to_mark() -> c_int;
    pub fn ERR_peek_error() -> std::ffi::c_ulong;
    pub fn ERR_peek_last_error_data(
        data: *mut *const c_char,
        flags: *mut c_int,
    ) -> std::ffi::c_ulong;

    pub fn OSSL_PROVIDER_add_builtin(
        libctx: *mut OSSL_LIB_CTX,
        name: *const c_char,
        init: OSSL_provider_init_fn,
    ) -> c_int;
    pub fn OSSL_PROVIDER_available(libctx: *mut OSSL_LIB_CTX, name: *const c_char) -> c_int;
    pub fn OSSL_PROVIDER_get_capabilities(
        provider: *const OSSL_PROVIDER,
        capability: *const c_char,
        callback: OSSL_CALLBACK,
        arg: *mut c_void,
    ) -> c_int;

    #[cfg(test)]
    pub fn OSSL_PROVIDER_query_operation(
        provider: *const OSSL_PROVIDER,
        operation: c_int,
        no_cache: *mut c_int,
    ) -> *const OSSL_ALGORITHM;

    pub fn EVP_default_properties_is_fips_enabled(libctx: *mut OSSL_LIB_CTX) -> c_int;
    pub fn RAND_set_DRBG_type(
        libctx: *mut OSSL_LIB_CTX,
        drbg: *const c_char,
        properties: *const c_char,
        cipher: *const c_char,
        digest: *const c_char,
    ) -> c_int;

    pub fn OSSL_PARAM_get_int(param: *const OSSL_PARAM, value: *mut c_int) -> c_int;
    pub fn OSSL_PARAM_get_BN(param: *const OSSL_PARAM, value: *mut *mut BIGNUM) -> c_int;
    pub fn OSSL_PARAM_set_utf8_string(param: *mut OSSL_PARAM, value: *const c_char) -> c_int;
    pub fn OSSL_PARAM_set_int(param: *mut OSSL_PARAM, value: c_int) -> c_int;
    pub fn OSSL_PARAM_set_size_t(param: *mut OSSL_PARAM, value: size_t) -> c_int;
    pub fn OSSL_PARAM_set_octet_string(
        param: *mut OSSL_PARAM,
        value: *const c_void,
        len: size_t,
    ) -> c_int;
    pub fn OSSL_PARAM_set_utf8_ptr(param: *mut OSSL_PARAM, value: *const c_char) -> c_int;

    pub fn EVP_KEYMGMT_fetch(
        libctx: *mut OSSL_LIB_CTX,
        name: *const c_char,
        properties: *const c_char,
    ) -> *mut EVP_KEYMGMT;
    pub fn EVP_KEYMGMT_free(keymgmt: *mut EVP_KEYMGMT);
    pub fn EVP_KEYMGMT_gettable_params(keymgmt: *const EVP_KEYMGMT) -> *const OSSL_PARAM;
    pub fn EVP_KEYMGMT_settable_params(keymgmt: *const EVP_KEYMGMT) -> *const OSSL_PARAM;
    pub fn EVP_KEYMGMT_gen_settable_params(keymgmt: *const EVP_KEYMGMT) -> *const OSSL_PARAM;
    pub fn EVP_KEYEXCH_fetch(
        libctx: *mut OSSL_LIB_CTX,
        name: *const c_char,
        properties: *const c_char,
    ) -> *mut EVP_KEYEXCH;
    pub fn EVP_KEYEXCH_free(keyexch: *mut EVP_KEYEXCH);
    pub fn EVP_KEYEXCH_gettable_ctx_params(keyexch: *const EVP_KEYEXCH) -> *const OSSL_PARAM;
    pub fn EVP_KEYEXCH_settable_ctx_params(keyexch: *const EVP_KEYEXCH) -> *const OSSL_PARAM;
    pub fn EVP_SIGNATURE_fetch(
        libctx: *mut OSSL_LIB_CTX,
        name: *const c_char,
        properties: *const c_char,
    ) -> *mut EVP_SIGNATURE;
    pub fn EVP_SIGNATURE_free(signature: *mut EVP_SIGNATURE);
    pub fn EVP_SIGNATURE_gettable_ctx_params(signature: *const EVP_SIGNATURE) -> *const OSSL_PARAM;
    pub fn EVP_SIGNATURE_settable_ctx_params(signature: *const EVP_SIGNATURE) -> *const OSSL_PARAM;
    pub fn EVP_ASYM_CIPHER_fetch(
        libctx: *mut OSSL_LIB_CTX,
        name: *const c_char,
        properties: *const c_char,
    ) -> *mut EVP_ASYM_CIPHER;
    pub fn EVP_ASYM_CIPHER_free(cipher: *mut EVP_ASYM_CIPHER);
    pub fn EVP_ASYM_CIPHER_gettable_ctx_params(cipher: *const EVP_ASYM_CIPHER)
    -> *const OSSL_PARAM;
    pub fn EVP_ASYM_CIPHER_settable_ctx_params(cipher: *const EVP_ASYM_CIPHER)
    -> *const OSSL_PARAM;

    pub fn EVP_PKEY_get_group_name(
        key: *const EVP_PKEY,
        name: *mut c_char,
        room: usize,
        len: *mut usize,
    ) -> c_int;
    pub fn EVP_PKEY_get0_type_name(key: *const EVP_PKEY) -> *const c_char;
    pub fn EVP_PKEY_export(
        key: *const EVP_PKEY,
        selection: c_int,
        callback: OSSL_CALLBACK,
        arg: *mut c_void,
    ) -> c_int;
    pub fn EVP_PKEY_get_int_param(
        key: *const EVP_PKEY,
        name: *const c_char,
        value: *mut c_int,
    ) -> c_int;
    pub fn EVP_PKEY_dup(key: *mut EVP_PKEY) -> *mut EVP_PKEY;
    pub fn EVP_PKEY_param_check(ctx: *mut EVP_PKEY_CTX) -> c_int;
    pub fn EVP_PKEY_public_check_quick(ctx: *mut EVP_PKEY_CTX) -> c_int;
    pub fn EVP_PKEY_private_check(ctx: *mut EVP_PKEY_CTX) -> c_int;
    pub fn EVP_PKEY_pairwise_check(ctx: *mut EVP_PKEY_CTX) -> c_int;

    pub fn EVP_PKEY_CTX_new_from_pkey(
        libctx: *mut OSSL_LIB_CTX,
        key: *mut EVP_PKEY,
        properties: *const c_char,
    ) -> *mut EVP_PKEY_CTX;
    pub fn EVP_PKEY_CTX_set_app_data(ctx: *mut EVP_PKEY_CTX, data: *mut c_void);
    pub fn EVP_PKEY_CTX_get_app_data(ctx: *mut EVP_PKEY_CTX) -> *mut c_void;
    pub fn EVP_PKEY_CTX_set_cb(
        ctx: *mut EVP_PKEY_CTX,
        callback: Option<unsafe extern "C" fn(*mut EVP_PKEY_CTX) -> c_int>,
    );
    pub fn EVP_PKEY_CTX_get_keygen_info(ctx: *mut EVP_PKEY_CTX, index: c_int) -> c_int;
    pub fn EVP_PKEY_CTX_dup(ctx: *const EVP_PKEY_CTX) -> *mut EVP_PKEY_CTX;
    pub fn EVP_PKEY_sign_init_ex(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    pub fn EVP_PKEY_verify_init_ex(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    pub fn EVP_PKEY_verify_recover_init_ex(
        ctx: *mut EVP_PKEY_CTX,
        params: *const OSSL_PARAM,
    ) -> c_int;
    pub fn EVP_PKEY_encrypt_init_ex(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    pub fn EVP_PKEY_derive_init_ex(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    pub fn EVP_PKEY_decrypt_init_ex(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    pub fn EVP_DigestSignInit_ex(
        ctx: *mut EVP_MD_CTX,
        key_ctx: *mut *mut EVP_PKEY_CTX,
        digest: *const c_char,
        libctx: *mut OSSL_LIB_CTX,
        properties: *const c_char,
        key: *mut EVP_PKEY,
        params: *const OSSL_PARAM,
    ) -> c_int;
    pub fn EVP_DigestVerifyInit_ex(
        ctx: *mut EVP_MD_CTX,
        key_ctx: *mut *mut EVP_PKEY_CTX,
        digest: *const c_char,
        libctx: *mut OSSL_LIB_CTX,
        properties: *const c_char,
        key: *mut EVP_PKEY,
        params: *const OSSL_PARAM,
    ) -> c_int;
    pub fn EVP_MD_CTX_get_pkey_ctx(ctx: *const EVP_MD_CTX) -> *mut EVP_PKEY_CTX;
}

/// Returns a caller's buffer as a slice; null stands for an empty one.
///
/// # Safety
/// `data` is null, or `len` bytes from it are readable for `'a`.
pub(super) unsafe fn bytes<'a>(data: *const c_uchar, len: size_t) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: not null, so readable by the caller's promise.
    unsafe { std::slice::from_raw_parts(data, len) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::process::Command;

    /// Every number and name here must be what the installed headers say.
    #[test]
    fn constants_equal_the_installed_headers() {
        let dir = std::env::temp_dir().join(format!("spinlane-headers-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temporary directory");
        let mut source = String::from(
            "#include <openssl/core_dispatch.h>\n#include <openssl/core_names.h>\n\
             #include <openssl/params.h>\n#include <openssl/rsa.h>\n#include <openssl/kdf.h>\n\
             #include <openssl/err.h>\n#include <openssl/evp.h>\n#include <string.h>\n\
             #define NAME(c, s) if (strcmp(c, s) != 0) return 2\n",
        );
        for (name, value) in super::CONSTANTS
            .iter()
            .chain(super::super::dispatch::CONSTANTS)
        {
            writeln!(source, "_Static_assert({name} == {value}, \"{name}\");").expect("string");
        }
        source.push_str("#if OPENSSL_VERSION_PREREQ(3, 4)\n");
        for (name, value) in super::super::dispatch::CONSTANTS_OF_3_4 {
            writeln!(source, "_Static_assert({name} == {value}, \"{name}\");").expect("string");
        }
        source.push_str("#endif\n");
        source.push_str("int main(void) {\n");
        for (name, value) in super::super::names::CONSTANTS {
            writeln!(source, "NAME({name}, \"{value}\");").expect("string");
        }
        source.push_str("return 0; }\n");
        let (file, program) = (dir.join("headers.c"), dir.join("headers"));
        std::fs::write(&file, source).expect("source");
        let compiled = Command::new("cc")
            .arg(&file)
            .arg("-o")
            .arg(&program)
            .output()
            .expect("cc runs");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        assert!(
            Command::new(&program)
                .status()
                .expect("program runs")
                .success(),
            "a parameter's name differs"
        );
        let _ = std::fs::remove_dir_all(dir);
    }
}
