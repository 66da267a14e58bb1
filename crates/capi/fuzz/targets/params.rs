//! Provider parameters: arrays of OSSL_PARAM with any name, type and length go to every function of the
//! provider that takes one, and settings of any text to OSSL_provider_init.

#![no_main]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

use capi as _;
use libfuzzer_sys::fuzz_target;
use openssl_sys::{EVP_PKEY, EVP_PKEY_CTX, OSSL_LIB_CTX, OSSL_PARAM};

unsafe extern "C" {
    fn spinlane_libctx() -> *mut OSSL_LIB_CTX;
    fn OSSL_provider_init(
        handle: *const c_void,
        upcalls: *const Dispatch,
        out: *mut *const Dispatch,
        provctx: *mut *mut c_void,
    ) -> c_int;

    fn EVP_PKEY_CTX_new_from_name(
        libctx: *mut OSSL_LIB_CTX,
        name: *const c_char,
        query: *const c_char,
    ) -> *mut EVP_PKEY_CTX;
    fn EVP_PKEY_CTX_new_from_pkey(
        libctx: *mut OSSL_LIB_CTX,
        key: *mut EVP_PKEY,
        query: *const c_char,
    ) -> *mut EVP_PKEY_CTX;
    fn EVP_PKEY_fromdata_init(ctx: *mut EVP_PKEY_CTX) -> c_int;
    fn EVP_PKEY_fromdata(
        ctx: *mut EVP_PKEY_CTX,
        key: *mut *mut EVP_PKEY,
        selection: c_int,
        params: *mut OSSL_PARAM,
    ) -> c_int;
    fn EVP_PKEY_CTX_set_params(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    fn EVP_PKEY_CTX_get_params(ctx: *mut EVP_PKEY_CTX, params: *mut OSSL_PARAM) -> c_int;
    fn EVP_PKEY_sign_init_ex(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    fn EVP_PKEY_decrypt_init_ex(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    fn EVP_PKEY_derive_init_ex(ctx: *mut EVP_PKEY_CTX, params: *const OSSL_PARAM) -> c_int;
    fn EVP_PKEY_keygen_init(ctx: *mut EVP_PKEY_CTX) -> c_int;
    fn EVP_PKEY_get_params(key: *mut EVP_PKEY, params: *mut OSSL_PARAM) -> c_int;
    fn EVP_PKEY_set_params(key: *mut EVP_PKEY, params: *mut OSSL_PARAM) -> c_int;
    fn EVP_PKEY_Q_keygen(
        libctx: *mut OSSL_LIB_CTX,
        query: *const c_char,
        kind: *const c_char,
        ...
    ) -> *mut EVP_PKEY;
    fn EVP_KDF_fetch(
        libctx: *mut OSSL_LIB_CTX,
        name: *const c_char,
        query: *const c_char,
    ) -> *mut c_void;
    fn EVP_KDF_CTX_new(kdf: *mut c_void) -> *mut c_void;
    fn EVP_KDF_CTX_free(ctx: *mut c_void);
    fn EVP_KDF_free(kdf: *mut c_void);
    fn EVP_KDF_derive(
        ctx: *mut c_void,
        out: *mut u8,
        len: usize,
        params: *const OSSL_PARAM,
    ) -> c_int;
}

#[repr(C)]
struct Dispatch {
    id: c_int,
    function: Option<unsafe extern "C" fn()>,
}

/// Names that the provider knows, and one that it does not.
const NAMES: [&CStr; 26] = [
    c"n",
    c"e",
    c"d",
    c"rsa-factor1",
    c"rsa-factor2",
    c"rsa-exponent1",
    c"rsa-exponent2",
    c"rsa-coefficient1",
    c"rsa-factor3",
    c"group",
    c"pub",
    c"priv",
    c"encoded-pub-key",
    c"digest",
    c"properties",
    c"pad-mode",
    c"saltlen",
    c"mgf1-digest",
    c"mode",
    c"key",
    c"salt",
    c"prefix",
    c"label",
    c"data",
    c"tls-client-version",
    c"unknown",
];
const TEXTS: [&CStr; 8] = [
    c"SHA256",
    c"SHA384",
    c"pss",
    c"pkcs1",
    c"prime256v1",
    c"digest",
    c"EXTRACT_ONLY",
    c"nonsense",
];
const KINDS: [&CStr; 3] = [c"RSA", c"EC", c"X25519"];
const BOUND: &CStr = c"provider=spinlane";
const PREFERRED: &CStr = c"?spinlane.kex=yes";

/// An array that ends with an empty key, and what it points to.
struct Array {
    params: Vec<OSSL_PARAM>,
    _values: Vec<Vec<u8>>,
}

fn array(mut input: &[u8]) -> Array {
    let mut params = Vec::new();
    let mut values = Vec::new();
    while let [name, kind, len, rest @ ..] = input
        && params.len() < 12
    {
        let kind = c_uint::from(kind % 7);
        let (value, after) = if kind == 4 && *len >= 0x80 {
            (TEXTS[usize::from(len & 7)].to_bytes_with_nul(), rest)
        } else {
            rest.split_at(usize::from(*len).min(rest.len()))
        };
        input = after;
        let mut value = value.to_vec();
        // A text ends somewhere; a number has the width of one.
        if kind == 4 {
            value.push(0);
        }
        if kind == 6 {
            value = vec![0; size_of::<usize>()];
        }
        let data_size = if kind == 4 {
            value.len() - 1
        } else {
            value.len()
        };
        params.push(OSSL_PARAM {
            key: NAMES[usize::from(*name) % NAMES.len()].as_ptr(),
            data_type: kind,
            data: if *name >= 0xf8 {
                ptr::null_mut()
            } else {
                value.as_mut_ptr().cast()
            },
            data_size,
            return_size: usize::MAX,
        });
        values.push(value);
    }
    params.push(OSSL_PARAM {
        key: ptr::null(),
        data_type: 0,
        data: ptr::null_mut(),
        data_size: 0,
        return_size: 0,
    });
    Array {
        params,
        _values: values,
    }
}

/// Keys of the provider's own: made once.
fn keys(libctx: *mut OSSL_LIB_CTX) -> [*mut EVP_PKEY; 3] {
    static KEYS: std::sync::OnceLock<[usize; 3]> = std::sync::OnceLock::new();
    KEYS.get_or_init(|| {
        // SAFETY: live context and C strings; each kind takes the arguments it is given.
        unsafe {
            let rsa = EVP_PKEY_Q_keygen(libctx, ptr::null(), c"RSA".as_ptr(), 2048_usize);
            let ec = EVP_PKEY_Q_keygen(libctx, ptr::null(), c"EC".as_ptr(), c"P-256".as_ptr());
            let kex = EVP_PKEY_Q_keygen(libctx, PREFERRED.as_ptr(), c"X25519".as_ptr());
            let bind = |key| {
                let bound = spinlane::openssl::provider::bind(key, libctx).expect("a good key");
                openssl_sys::EVP_PKEY_free(key);
                bound.addr()
            };
            [bind(rsa), bind(ec), kex.addr()]
        }
    })
    .map(|key| key as *mut EVP_PKEY)
}

thread_local! {
    static SETTINGS: RefCell<Vec<CString>> = const { RefCell::new(Vec::new()) };
}

/// OSSL_FUNC_core_get_params: answers with the texts of SETTINGS.
unsafe extern "C" fn get_params(_: *const c_void, mut params: *mut OSSL_PARAM) -> c_int {
    SETTINGS.with_borrow(|settings| {
        for text in settings {
            // SAFETY: the provider's array, up to its end; its places are for pointers.
            unsafe {
                if (*params).key.is_null() {
                    break;
                }
                (*params).data.cast::<*const c_char>().write(text.as_ptr());
                params = params.add(1);
            }
        }
    });
    1
}

fn init(input: &[u8]) {
    let texts = input.split(|byte| *byte == 0).take(3);
    SETTINGS.set(
        texts
            .map(|text| CString::new(text).unwrap_or_default())
            .collect(),
    );
    // SAFETY: a function pointer stays one; the provider calls it by the type of its number.
    let function = unsafe {
        std::mem::transmute::<
            unsafe extern "C" fn(*const c_void, *mut OSSL_PARAM) -> c_int,
            unsafe extern "C" fn(),
        >(get_params)
    };
    let upcalls = [
        Dispatch {
            id: 2,
            function: Some(function),
        },
        Dispatch {
            id: 0,
            function: None,
        },
    ];
    let (mut out, mut provctx) = (ptr::null::<Dispatch>(), ptr::null_mut());
    // SAFETY: a table that ends, and places for the results; the context is torn down by the
    // function for that (OSSL_FUNC_PROVIDER_TEARDOWN, 1024).
    unsafe {
        if OSSL_provider_init(ptr::null(), upcalls.as_ptr(), &mut out, &mut provctx) == 1 {
            while (*out).id != 1024 {
                out = out.add(1);
            }
            let teardown = (*out).function.expect("an entry has a function");
            let teardown = std::mem::transmute::<
                unsafe extern "C" fn(),
                unsafe extern "C" fn(*mut c_void),
            >(teardown);
            teardown(provctx);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [what, which, input @ ..] = input else {
        return;
    };
    let kind = usize::from(*which) % KINDS.len();
    // SAFETY: live objects, each freed once; arrays end and are as long as they say.
    unsafe {
        let libctx = spinlane_libctx();
        let key = keys(libctx)[kind];
        let mut array = array(input);
        let params = array.params.as_mut_ptr();
        match what % 8 {
            0 => {
                let name = KINDS[kind].as_ptr();
                let ctx = EVP_PKEY_CTX_new_from_name(libctx, name, BOUND.as_ptr());
                let mut made = ptr::null_mut();
                if EVP_PKEY_fromdata_init(ctx) > 0 {
                    let selection = if which & 0x80 == 0 { 0x87 } else { 0x86 };
                    if EVP_PKEY_fromdata(ctx, &mut made, selection, params) > 0 {
                        assert!(!made.is_null());
                    }
                }
                openssl_sys::EVP_PKEY_free(made);
                openssl_sys::EVP_PKEY_CTX_free(ctx);
            }
            1..=3 => {
                let ctx = EVP_PKEY_CTX_new_from_pkey(libctx, key, PREFERRED.as_ptr());
                let ready = match what % 8 {
                    1 => EVP_PKEY_sign_init_ex(ctx, params),
                    2 => EVP_PKEY_decrypt_init_ex(ctx, params),
                    _ => EVP_PKEY_derive_init_ex(ctx, params),
                };
                if ready > 0 {
                    EVP_PKEY_CTX_set_params(ctx, params);
                    let (mut out, mut len) = ([0; 1024], 1024);
                    if what % 8 == 1 {
                        openssl_sys::EVP_PKEY_sign(
                            ctx,
                            out.as_mut_ptr(),
                            &mut len,
                            [7; 32].as_ptr(),
                            32,
                        );
                    }
                    EVP_PKEY_CTX_get_params(ctx, params);
                }
                openssl_sys::EVP_PKEY_CTX_free(ctx);
            }
            4 => {
                EVP_PKEY_get_params(key, params);
            }
            5 if kind != 2 => {
                EVP_PKEY_set_params(key, params);
            }
            5 => {
                let name = KINDS[kind].as_ptr();
                let ctx = EVP_PKEY_CTX_new_from_name(libctx, name, PREFERRED.as_ptr());
                if EVP_PKEY_keygen_init(ctx) > 0 {
                    EVP_PKEY_CTX_set_params(ctx, params);
                }
                openssl_sys::EVP_PKEY_CTX_free(ctx);
            }
            6 => {
                let kdf = EVP_KDF_fetch(libctx, c"TLS13-KDF".as_ptr(), PREFERRED.as_ptr());
                let ctx = EVP_KDF_CTX_new(kdf);
                let mut out = [0; 64];
                EVP_KDF_derive(ctx, out.as_mut_ptr(), usize::from(*which) % 65, params);
                EVP_KDF_CTX_free(ctx);
                EVP_KDF_free(kdf);
            }
            _ => init(input),
        }
        openssl_sys::ERR_clear_error();
    }
});
