//! Derivations, random numbers of the provider against stock OpenSSL, and garbage for all.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "calls of libcrypto on what the wrappers own"
)]

mod provider_support;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use openssl_sys::*;
use proptest::prelude::*;
use provider_support::*;
use spinlane_openssl::provider::PROPERTY_QUERY;

unsafe extern "C" {
    fn EVP_PKEY_CTX_new_from_pkey(
        libctx: *mut OSSL_LIB_CTX,
        key: *mut EVP_PKEY,
        query: *const c_char,
    ) -> *mut EVP_PKEY_CTX;
    fn EVP_KDF_CTX_set_params(ctx: *mut EVP_KDF_CTX, params: *const OSSL_PARAM) -> c_int;
    fn EVP_KDF_CTX_dup(ctx: *const EVP_KDF_CTX) -> *mut EVP_KDF_CTX;
}

/// One derivation by TLS13-KDF of `lib`; parameters in two calls if `split`.
fn kdf(lib: Lib, query: *const c_char, params: &[OSSL_PARAM], out: &mut [u8], split: bool) -> bool {
    unsafe {
        let kdf = EVP_KDF_fetch(lib.0, c"TLS13-KDF".as_ptr(), query);
        assert!(!kdf.is_null(), "{}", errors());
        let mut ctx = EVP_KDF_CTX_new(kdf);
        EVP_KDF_free(kdf);
        let mut rest = params.as_ptr();
        if split {
            if EVP_KDF_CTX_set_params(ctx, rest) != 1 {
                EVP_KDF_CTX_free(ctx);
                errors();
                return false;
            }
            rest = ptr::null();
            let copy = EVP_KDF_CTX_dup(ctx);
            if !copy.is_null() {
                EVP_KDF_CTX_free(ctx);
                ctx = copy;
            }
        }
        let done = EVP_KDF_derive(ctx, out.as_mut_ptr(), out.len(), rest) == 1;
        EVP_KDF_CTX_free(ctx);
        let left = errors();
        assert!(!done || left.is_empty(), "{left}");
        done
    }
}

prop_compose! {
    fn octets(longest: usize)(bytes in proptest::option::weighted(0.9, prop::collection::vec(any::<u8>(), 0..longest))) -> Option<Vec<u8>> {
        bytes
    }
}

proptest! {
    /// Same success, same output, for lengths in and out of range.
    #[test]
    fn tls13_kdf_equals_stock_openssl(
        digest in prop::sample::select(vec![c"SHA256", c"SHA2-384", c"SHA384", c"SHA512", c"SHA3-256"]),
        mut mode in prop::sample::select(vec![1, 1, 2, 2, 2, 0, 3]),
        as_text in any::<bool>(),
        split in any::<bool>(),
        key in octets(200), salt in octets(200), prefix in octets(12), label in octets(262), data in octets(70),
        out_len in prop_oneof![Just(32usize), Just(48), Just(64), 0..300usize, Just(255 * 32), Just(255 * 32 + 1)],
    ) {
        let mode_text = [c"EXTRACT_AND_EXPAND", c"EXTRACT_ONLY", c"EXPAND_ONLY", c"NONSENSE"][mode as usize];
        let mut params = vec![text_param(c"digest", digest)];
        params.push(if as_text { text_param(c"mode", mode_text) } else { int_param(c"mode", &mut mode) });
        let fields = [(c"key", &key), (c"salt", &salt), (c"prefix", &prefix), (c"label", &label), (c"data", &data)];
        params.extend(fields.iter().filter_map(|(name, bytes)| Some(octet_param(name, bytes.as_deref()?))));
        params.push(end_param());
        let (mut mine, mut theirs) = (vec![0; out_len], vec![0; out_len]);
        let done = kdf(ours(), PROPERTY_QUERY.as_ptr(), &params, &mut mine, split);
        let stock_done = kdf(stock(), ptr::null(), &params, &mut theirs, split);
        prop_assert_eq!(done, stock_done);
        if done {
            prop_assert_eq!(mine, theirs);
        }
    }
}

#[test]
fn random_numbers_of_our_library_context_are_ours() {
    unsafe extern "C" {
        fn RAND_get0_public(libctx: *mut OSSL_LIB_CTX) -> *mut c_void;
        fn RAND_get0_private(libctx: *mut OSSL_LIB_CTX) -> *mut c_void;
        fn EVP_RAND_CTX_get0_rand(ctx: *mut c_void) -> *mut c_void;
        fn EVP_RAND_get0_name(rand: *const c_void) -> *const c_char;
        fn EVP_RAND_generate(
            ctx: *mut c_void,
            out: *mut u8,
            len: usize,
            strength: u32,
            prediction_resistance: c_int,
            additional: *const u8,
            additional_len: usize,
        ) -> c_int;
    }
    let mut drawn = [[0; 32]; 2];
    unsafe {
        for (out, ctx) in drawn
            .iter_mut()
            .zip([RAND_get0_public(ours().0), RAND_get0_private(ours().0)])
        {
            let name = CStr::from_ptr(EVP_RAND_get0_name(EVP_RAND_CTX_get0_rand(ctx)));
            assert_eq!(name, c"SPINLANE-RAND");
            assert_eq!(
                EVP_RAND_generate(ctx, out.as_mut_ptr(), 32, 256, 1, ptr::null(), 0),
                1,
                "{}",
                errors()
            );
        }
        let mut large = vec![0; 200_000];
        let public = RAND_get0_public(ours().0);
        assert_eq!(
            EVP_RAND_generate(
                public,
                large.as_mut_ptr(),
                large.len(),
                0,
                0,
                ptr::null(),
                0
            ),
            1
        );
        assert!(large[199_900..].iter().any(|byte| *byte != 0));
    }
    assert!(drawn[0] != drawn[1] && drawn[0] != [0; 32]);
}

#[test]
fn a_library_context_that_wants_fips_keeps_its_random_numbers() {
    unsafe extern "C" {
        fn RAND_get0_public(libctx: *mut OSSL_LIB_CTX) -> *mut c_void;
        fn EVP_RAND_CTX_get0_rand(ctx: *mut c_void) -> *mut c_void;
        fn EVP_RAND_get0_name(rand: *const c_void) -> *const c_char;
        fn EVP_default_properties_enable_fips(libctx: *mut OSSL_LIB_CTX, enable: c_int) -> c_int;
    }
    for (fips, wanted) in [(1, c"CTR-DRBG"), (0, c"SPINLANE-RAND")] {
        unsafe {
            let lib = Lib(OSSL_LIB_CTX_new());
            assert_eq!(EVP_default_properties_enable_fips(lib.0, fips), 1);
            let provider = spinlane_openssl::provider::load(lib.0).expect("provider loads");
            // No provider here is validated: without the wish there is a generator to look at.
            assert_eq!(EVP_default_properties_enable_fips(lib.0, 0), 1);
            let rand = RAND_get0_public(lib.0);
            assert!(!rand.is_null(), "{}", errors());
            let name = CStr::from_ptr(EVP_RAND_get0_name(EVP_RAND_CTX_get0_rand(rand)));
            assert_eq!(name, wanted);
            std::mem::forget(provider);
        }
    }
}

/// A parameter of any name, type and size, with data or without.
fn garbage() -> impl Strategy<Value = Vec<(&'static CStr, u32, Option<Vec<u8>>)>> {
    let names = vec![
        c"mode",
        c"digest",
        c"key",
        c"salt",
        c"prefix",
        c"label",
        c"data",
        c"size",
        c"group",
        c"pub",
        c"priv",
        c"encoded-pub-key",
        c"n",
        c"e",
        c"d",
        c"rsa-factor1",
        c"rsa-factor2",
        c"rsa-exponent1",
        c"bits",
        c"rsa-exponent2",
        c"rsa-coefficient1",
        c"pad-mode",
        c"saltlen",
        c"mgf1-digest",
        c"properties",
        c"unknown",
    ];
    let param = (
        prop::sample::select(names),
        0..9u32,
        proptest::option::of(prop::collection::vec(any::<u8>(), 0..40)),
    );
    prop::collection::vec(param, 0..6)
}

fn array(parts: &mut [(&'static CStr, u32, Option<Vec<u8>>)]) -> Vec<OSSL_PARAM> {
    let mut array: Vec<_> = parts
        .iter_mut()
        // The pointer types hold addresses, which must be valid (OSSL_PARAM(3)).
        .filter(|(_, data_type, _)| !matches!(data_type, 6 | 7))
        .map(|(name, data_type, bytes)| {
            // libcrypto's own getters read strings up to a NUL.
            if let (4, Some(bytes)) = (&data_type, bytes.as_mut()) {
                bytes.push(0);
            }
            let (data, size) = match bytes {
                Some(bytes) => (bytes.as_mut_ptr().cast::<c_void>(), bytes.len()),
                None => (ptr::null_mut(), 0),
            };
            param(name, *data_type, data, size)
        })
        .collect();
    array.push(end_param());
    array
}

proptest! {
    #[test]
    fn garbage_parameters_never_crash(mut parts in garbage(), selection in 0..0x100i32, out_len in 0..100usize) {
        let params = array(&mut parts);
        let mut out = vec![0; out_len];
        kdf(ours(), PROPERTY_QUERY.as_ptr(), &params, &mut out, false);
        kdf(ours(), PROPERTY_QUERY.as_ptr(), &params, &mut out, true);
        for name in [c"RSA", c"EC", c"X25519", c"ED25519"] {
            unsafe {
                let ctx = EVP_PKEY_CTX_new_from_name(ours().0, name.as_ptr(), c"provider=spinlane".as_ptr());
                let mut key = ptr::null_mut();
                EVP_PKEY_fromdata_init(ctx);
                EVP_PKEY_fromdata(ctx, &mut key, selection, params.as_ptr().cast_mut());
                EVP_PKEY_CTX_free(ctx);
                if !key.is_null() {
                    EVP_PKEY_set_params(key, params.as_ptr().cast_mut());
                    drop(Pkey(key).dup());
                }
                let ctx = EVP_PKEY_CTX_new_from_name(ours().0, name.as_ptr(), PROPERTY_QUERY.as_ptr());
                if name != c"RSA" && EVP_PKEY_keygen_init(ctx) > 0 {
                    EVP_PKEY_CTX_set_params(ctx, params.as_ptr());
                    errors();
                }
                EVP_PKEY_CTX_free(ctx);
            }
            errors();
        }
        for key in [rsa(2048), p256(), p384()] {
            unsafe {
                let ctx = EVP_PKEY_CTX_new_from_pkey(ours().0, key.bound().0, ptr::null());
                EVP_PKEY_sign_init(ctx);
                EVP_PKEY_CTX_set_params(ctx, params.as_ptr());
                let (mut signature, mut len) = ([0; 256], 256);
                EVP_PKEY_sign(ctx, signature.as_mut_ptr(), &mut len, out.as_ptr(), out.len());
                EVP_PKEY_CTX_free(ctx);
                let ctx = EVP_PKEY_CTX_new_from_pkey(ours().0, key.bound().0, ptr::null());
                if EVP_PKEY_decrypt_init(ctx) > 0 {
                    EVP_PKEY_CTX_set_params(ctx, params.as_ptr());
                    let mut len = 256;
                    EVP_PKEY_decrypt(ctx, signature.as_mut_ptr(), &mut len, out.as_ptr(), out.len());
                }
                EVP_PKEY_CTX_free(ctx);
            }
            errors();
        }
    }
}
