//! Typed entries of dispatch tables: each `OSSL_FUNC_*` number of `<openssl/core_dispatch.h>` as
//! a function that takes only a function of that number's type.

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};

use libc::size_t;

use super::ffi::{OSSL_ALGORITHM, OSSL_CALLBACK, OSSL_DISPATCH, OSSL_PARAM};

/// Ends a table.
pub(super) const END: OSSL_DISPATCH = OSSL_DISPATCH {
    function_id: 0,
    function: None,
};

/// Entries, and under test the list of numbers, called `list`, to compare with the header.
macro_rules! entries {
    ($list:ident: $($header:ident = $id:literal $name:ident ($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            pub(super) const fn $name(
                function: unsafe extern "C" fn($($argument: $type),*) $(-> $result)?,
            ) -> OSSL_DISPATCH {
                // SAFETY: a function pointer stays one; libcrypto calls it by the type that
                // `function_id` stands for, which is the type above.
                let function = unsafe {
                    std::mem::transmute::<
                        unsafe extern "C" fn($($argument: $type),*) $(-> $result)?,
                        unsafe extern "C" fn(),
                    >(function)
                };
                OSSL_DISPATCH { function_id: $id, function: Some(function) }
            }
        )*
        #[cfg(test)]
        pub(super) const $list: &[(&str, c_int)] = &[$((stringify!($header), $id)),*];
    };
}

entries! { CONSTANTS:
    OSSL_FUNC_PROVIDER_TEARDOWN = 1024 provider_teardown (provctx: *mut c_void);
    OSSL_FUNC_PROVIDER_GETTABLE_PARAMS = 1025 provider_gettable_params (provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_PROVIDER_GET_PARAMS = 1026 provider_get_params (provctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int;
    OSSL_FUNC_PROVIDER_QUERY_OPERATION = 1027 provider_query_operation (provctx: *mut c_void, operation: c_int, no_store: *mut c_int) -> *const OSSL_ALGORITHM;
    OSSL_FUNC_PROVIDER_GET_CAPABILITIES = 1030 provider_get_capabilities (provctx: *mut c_void, capability: *const c_char, callback: Option<OSSL_CALLBACK>, arg: *mut c_void) -> c_int;
    OSSL_FUNC_KEYMGMT_NEW = 1 keymgmt_new (provctx: *mut c_void) -> *mut c_void;
    OSSL_FUNC_KEYMGMT_GEN_INIT = 2 keymgmt_gen_init (provctx: *mut c_void, selection: c_int, params: *const OSSL_PARAM) -> *mut c_void;
    OSSL_FUNC_KEYMGMT_GEN_SET_TEMPLATE = 3 keymgmt_gen_set_template (genctx: *mut c_void, template: *mut c_void) -> c_int;
    OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS = 4 keymgmt_gen_set_params (genctx: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS = 5 keymgmt_gen_settable_params (genctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_KEYMGMT_GEN = 6 keymgmt_gen (genctx: *mut c_void, callback: Option<OSSL_CALLBACK>, arg: *mut c_void) -> *mut c_void;
    OSSL_FUNC_KEYMGMT_GEN_CLEANUP = 7 keymgmt_gen_cleanup (genctx: *mut c_void);
    OSSL_FUNC_KEYMGMT_FREE = 10 keymgmt_free (key: *mut c_void);
    OSSL_FUNC_KEYMGMT_GET_PARAMS = 11 keymgmt_get_params (key: *mut c_void, params: *mut OSSL_PARAM) -> c_int;
    OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS = 12 keymgmt_gettable_params (provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_KEYMGMT_SET_PARAMS = 13 keymgmt_set_params (key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS = 14 keymgmt_settable_params (provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME = 20 keymgmt_query_operation_name (operation: c_int) -> *const c_char;
    OSSL_FUNC_KEYMGMT_HAS = 21 keymgmt_has (key: *const c_void, selection: c_int) -> c_int;
    OSSL_FUNC_KEYMGMT_VALIDATE = 22 keymgmt_validate (key: *const c_void, selection: c_int, check: c_int) -> c_int;
    OSSL_FUNC_KEYMGMT_MATCH = 23 keymgmt_match (key: *const c_void, other: *const c_void, selection: c_int) -> c_int;
    OSSL_FUNC_KEYMGMT_IMPORT = 40 keymgmt_import (key: *mut c_void, selection: c_int, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_KEYMGMT_IMPORT_TYPES = 41 keymgmt_import_types (selection: c_int) -> *const OSSL_PARAM;
    OSSL_FUNC_KEYMGMT_EXPORT = 42 keymgmt_export (key: *mut c_void, selection: c_int, callback: Option<OSSL_CALLBACK>, arg: *mut c_void) -> c_int;
    OSSL_FUNC_KEYMGMT_EXPORT_TYPES = 43 keymgmt_export_types (selection: c_int) -> *const OSSL_PARAM;
    OSSL_FUNC_KEYMGMT_DUP = 44 keymgmt_dup (key: *const c_void, selection: c_int) -> *mut c_void;
    OSSL_FUNC_KEYEXCH_NEWCTX = 1 keyexch_newctx (provctx: *mut c_void) -> *mut c_void;
    OSSL_FUNC_KEYEXCH_INIT = 2 keyexch_init (ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_KEYEXCH_DERIVE = 3 keyexch_derive (ctx: *mut c_void, secret: *mut c_uchar, secret_len: *mut size_t, out_len: size_t) -> c_int;
    OSSL_FUNC_KEYEXCH_SET_PEER = 4 keyexch_set_peer (ctx: *mut c_void, key: *mut c_void) -> c_int;
    OSSL_FUNC_KEYEXCH_FREECTX = 5 keyexch_freectx (ctx: *mut c_void);
    OSSL_FUNC_KEYEXCH_DUPCTX = 6 keyexch_dupctx (ctx: *mut c_void) -> *mut c_void;
    OSSL_FUNC_KEYEXCH_SET_CTX_PARAMS = 7 keyexch_set_ctx_params (ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_KEYEXCH_SETTABLE_CTX_PARAMS = 8 keyexch_settable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_KEYEXCH_GET_CTX_PARAMS = 9 keyexch_get_ctx_params (ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int;
    OSSL_FUNC_KEYEXCH_GETTABLE_CTX_PARAMS = 10 keyexch_gettable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_SIGNATURE_NEWCTX = 1 signature_newctx (provctx: *mut c_void, properties: *const c_char) -> *mut c_void;
    OSSL_FUNC_SIGNATURE_SIGN_INIT = 2 signature_sign_init (ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_SIGNATURE_SIGN = 3 signature_sign (ctx: *mut c_void, sig: *mut c_uchar, sig_len: *mut size_t, sig_size: size_t, tbs: *const c_uchar, tbs_len: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_VERIFY_INIT = 4 signature_verify_init (ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_SIGNATURE_VERIFY = 5 signature_verify (ctx: *mut c_void, sig: *const c_uchar, sig_len: size_t, tbs: *const c_uchar, tbs_len: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_VERIFY_RECOVER_INIT = 6 signature_verify_recover_init (ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_SIGNATURE_VERIFY_RECOVER = 7 signature_verify_recover (ctx: *mut c_void, out: *mut c_uchar, out_len: *mut size_t, out_size: size_t, sig: *const c_uchar, sig_len: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT = 8 signature_digest_sign_init (ctx: *mut c_void, digest: *const c_char, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE = 9 signature_digest_sign_update (ctx: *mut c_void, data: *const c_uchar, len: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL = 10 signature_digest_sign_final (ctx: *mut c_void, sig: *mut c_uchar, sig_len: *mut size_t, sig_size: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_DIGEST_SIGN = 11 signature_digest_sign (ctx: *mut c_void, sig: *mut c_uchar, sig_len: *mut size_t, sig_size: size_t, tbs: *const c_uchar, tbs_len: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT = 12 signature_digest_verify_init (ctx: *mut c_void, digest: *const c_char, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE = 13 signature_digest_verify_update (ctx: *mut c_void, data: *const c_uchar, len: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL = 14 signature_digest_verify_final (ctx: *mut c_void, sig: *const c_uchar, sig_len: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_DIGEST_VERIFY = 15 signature_digest_verify (ctx: *mut c_void, sig: *const c_uchar, sig_len: size_t, tbs: *const c_uchar, tbs_len: size_t) -> c_int;
    OSSL_FUNC_SIGNATURE_FREECTX = 16 signature_freectx (ctx: *mut c_void);
    OSSL_FUNC_SIGNATURE_DUPCTX = 17 signature_dupctx (ctx: *mut c_void) -> *mut c_void;
    OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS = 18 signature_get_ctx_params (ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int;
    OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS = 19 signature_gettable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS = 20 signature_set_ctx_params (ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS = 21 signature_settable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_ASYM_CIPHER_NEWCTX = 1 asym_cipher_newctx (provctx: *mut c_void) -> *mut c_void;
    OSSL_FUNC_ASYM_CIPHER_ENCRYPT_INIT = 2 asym_cipher_encrypt_init (ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_ASYM_CIPHER_ENCRYPT = 3 asym_cipher_encrypt (ctx: *mut c_void, out: *mut c_uchar, out_len: *mut size_t, out_size: size_t, input: *const c_uchar, input_len: size_t) -> c_int;
    OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT = 4 asym_cipher_decrypt_init (ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_ASYM_CIPHER_DECRYPT = 5 asym_cipher_decrypt (ctx: *mut c_void, out: *mut c_uchar, out_len: *mut size_t, out_size: size_t, input: *const c_uchar, input_len: size_t) -> c_int;
    OSSL_FUNC_ASYM_CIPHER_FREECTX = 6 asym_cipher_freectx (ctx: *mut c_void);
    OSSL_FUNC_ASYM_CIPHER_DUPCTX = 7 asym_cipher_dupctx (ctx: *mut c_void) -> *mut c_void;
    OSSL_FUNC_ASYM_CIPHER_GET_CTX_PARAMS = 8 asym_cipher_get_ctx_params (ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int;
    OSSL_FUNC_ASYM_CIPHER_GETTABLE_CTX_PARAMS = 9 asym_cipher_gettable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS = 10 asym_cipher_set_ctx_params (ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS = 11 asym_cipher_settable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_RAND_NEWCTX = 1 rand_newctx (provctx: *mut c_void, parent: *mut c_void, parent_calls: *const OSSL_DISPATCH) -> *mut c_void;
    OSSL_FUNC_RAND_FREECTX = 2 rand_freectx (ctx: *mut c_void);
    OSSL_FUNC_RAND_INSTANTIATE = 3 rand_instantiate (ctx: *mut c_void, strength: c_uint, prediction_resistance: c_int, personal: *const c_uchar, personal_len: size_t, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_RAND_UNINSTANTIATE = 4 rand_uninstantiate (ctx: *mut c_void) -> c_int;
    OSSL_FUNC_RAND_GENERATE = 5 rand_generate (ctx: *mut c_void, out: *mut c_uchar, out_len: size_t, strength: c_uint, prediction_resistance: c_int, additional: *const c_uchar, additional_len: size_t) -> c_int;
    OSSL_FUNC_RAND_RESEED = 6 rand_reseed (ctx: *mut c_void, prediction_resistance: c_int, entropy: *const c_uchar, entropy_len: size_t, additional: *const c_uchar, additional_len: size_t) -> c_int;
    OSSL_FUNC_RAND_ENABLE_LOCKING = 8 rand_enable_locking (ctx: *mut c_void) -> c_int;
    OSSL_FUNC_RAND_LOCK = 9 rand_lock (ctx: *mut c_void) -> c_int;
    OSSL_FUNC_RAND_UNLOCK = 10 rand_unlock (ctx: *mut c_void);
    OSSL_FUNC_RAND_GETTABLE_CTX_PARAMS = 12 rand_gettable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_RAND_GET_CTX_PARAMS = 15 rand_get_ctx_params (ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int;
    OSSL_FUNC_KDF_NEWCTX = 1 kdf_newctx (provctx: *mut c_void) -> *mut c_void;
    OSSL_FUNC_KDF_DUPCTX = 2 kdf_dupctx (ctx: *mut c_void) -> *mut c_void;
    OSSL_FUNC_KDF_FREECTX = 3 kdf_freectx (ctx: *mut c_void);
    OSSL_FUNC_KDF_RESET = 4 kdf_reset (ctx: *mut c_void);
    OSSL_FUNC_KDF_DERIVE = 5 kdf_derive (ctx: *mut c_void, out: *mut c_uchar, out_len: size_t, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_KDF_GETTABLE_CTX_PARAMS = 7 kdf_gettable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_KDF_SETTABLE_CTX_PARAMS = 8 kdf_settable_ctx_params (ctx: *mut c_void, provctx: *mut c_void) -> *const OSSL_PARAM;
    OSSL_FUNC_KDF_GET_CTX_PARAMS = 10 kdf_get_ctx_params (ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int;
    OSSL_FUNC_KDF_SET_CTX_PARAMS = 11 kdf_set_ctx_params (ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int;
}

// Of OpenSSL 3.4 and later; an older one takes no notice of them.
entries! { CONSTANTS_OF_3_4:
    OSSL_FUNC_SIGNATURE_QUERY_KEY_TYPES = 26 signature_query_key_types () -> *const *const c_char;
    OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_INIT = 27 signature_sign_message_init (ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
    OSSL_FUNC_SIGNATURE_VERIFY_MESSAGE_INIT = 30 signature_verify_message_init (ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::{CStr, c_int};

    use super::super::context::Context;
    use super::super::ffi::{self, OSSL_ALGORITHM};
    use super::super::{ASYM_CIPHER, KDF, KEYEXCH, KEYMGMT, SIGNATURE};

    /// Returns `true` if we do without function `number` of `name`, although the default provider
    /// has it.
    fn is_left_out(operation: c_int, name: &str, number: c_int) -> bool {
        match (operation, name, number) {
            // OSSL_FUNC_keymgmt_load: of keys that a provider's own decoders read; we have none.
            (ffi::OSSL_OP_KEYMGMT, _, 8) => true,
            // Parameters to be set of an Ed25519 key: there are none.
            (ffi::OSSL_OP_KEYMGMT, "ED25519", 13 | 14) => true,
            // Parameters of the message's digest: those that sign have none.
            (ffi::OSSL_OP_SIGNATURE, "RSA" | "ECDSA", 22..=25) => true,
            // OSSL_FUNC_keyexch_derive_skey, from 3.6 on: libcrypto derives bytes instead, and
            // makes the key of them.
            (ffi::OSSL_OP_KEYEXCH, _, 11) => true,
            // Parameters to be read of a generation and a derivation, from 3.4 on: only a FIPS
            // provider has some.
            (ffi::OSSL_OP_KEYMGMT, "EC", 15 | 16) | (ffi::OSSL_OP_KEYEXCH, "X25519", 9 | 10) => {
                true
            }
            _ => false,
        }
    }

    /// Name, first of several, and functions of every algorithm.
    ///
    /// # Safety
    /// `algorithms` is null or ends with an entry without names.
    unsafe fn functions(mut algorithms: *const OSSL_ALGORITHM) -> Vec<(String, BTreeSet<c_int>)> {
        let mut all = Vec::new();
        // SAFETY: by the caller's promise; tables of functions end with number 0.
        unsafe {
            while !algorithms.is_null() && !(*algorithms).algorithm_names.is_null() {
                let names = CStr::from_ptr((*algorithms).algorithm_names).to_string_lossy();
                let mut numbers = BTreeSet::new();
                let mut function = (*algorithms).implementation;
                while (*function).function_id != 0 {
                    numbers.insert((*function).function_id);
                    function = function.add(1);
                }
                all.push((names.split(':').next().unwrap_or("").to_owned(), numbers));
                algorithms = algorithms.add(1);
            }
        }
        all
    }

    #[test]
    fn every_function_of_the_default_provider_is_offered() {
        let context = Context::new().expect("default provider");
        let mut missing = Vec::new();
        for (operation, ours) in [
            (ffi::OSSL_OP_KEYMGMT, KEYMGMT.as_ptr()),
            (ffi::OSSL_OP_SIGNATURE, SIGNATURE.as_ptr()),
            (ffi::OSSL_OP_ASYM_CIPHER, ASYM_CIPHER.as_ptr()),
            (ffi::OSSL_OP_KEYEXCH, KEYEXCH.as_ptr()),
            (ffi::OSSL_OP_KDF, KDF.as_ptr()),
        ] {
            let mut no_cache = 0;
            // SAFETY: live provider, whose tables are static, as ours are.
            let (ours, theirs) = unsafe {
                let provider = context.inner.default_provider();
                let theirs = ffi::OSSL_PROVIDER_query_operation(provider, operation, &mut no_cache);
                (functions(ours), functions(theirs))
            };
            for (name, offered) in ours {
                let (_, wanted) = theirs
                    .iter()
                    .find(|(theirs, _)| *theirs == name)
                    .unwrap_or_else(|| panic!("{name} of operation {operation}"));
                for &number in wanted.difference(&offered) {
                    if !is_left_out(operation, &name, number) {
                        missing.push((operation, name.clone(), number));
                    }
                }
            }
        }
        assert!(
            missing.is_empty(),
            "operation, algorithm, OSSL_FUNC number: {missing:?}"
        );
    }
}
