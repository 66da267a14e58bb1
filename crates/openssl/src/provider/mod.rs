//! The OpenSSL provider `spinlane`: private-key operations of libssl that go to the current lcore.
//!
//! ```text
//! libssl ── EVP ──▶ spinlane ── spinlane_lcore::offload ──▶ device
//!                      │
//!                      └── what is not offloaded ──▶ default provider, in an inner library context
//! ```
//!
//! | algorithm | found by | offloaded | else |
//! |---|---|---|---|
//! | key RSA, signature RSA | [`bind`], [`PROPERTY_QUERY`] | 2048, 3072, 4096 bits; PKCS#1 v1.5, PSS; SHA-256, -384, -512 | default provider |
//! | key EC, signature ECDSA | [`bind`], [`PROPERTY_QUERY`] | P-256, P-384 | default provider |
//! | key exchange ECDH | [`PROPERTY_QUERY`] | P-256, P-384: generation and derivation | default provider |
//! | key and signature Ed25519 | [`bind`], [`PROPERTY_QUERY`] | messages of at most 512 bytes | default provider |
//! | asymmetric cipher RSA | [`bind`], [`PROPERTY_QUERY`] | decryption: PKCS#1 v1.5, of TLS and plain | default provider |
//! | key and key exchange X25519 | [`PROPERTY_QUERY`] | generation and derivation | – |
//! | TLS13-KDF | [`PROPERTY_QUERY`] | – (computed here, at once) | default provider |
//! | random numbers | [`load`] | – (computed here, at once) | – |
//!
//! A key that [`bind`] made lives here: it refuses to give its private part to another provider, so
//! its signatures can only be made here. A key that was not bound stays where it is, and libcrypto
//! copies it here when an operation by the property query first needs it. A program may also make
//! keys here without knowing: by the property query (EC and X25519), or because libcrypto 3.0
//! answers every fetch of RSA or Ed25519 keys with our key manager once it has fetched that for a
//! signature. All of these keys do whatever they do in the default provider, export included.
//! [`counters`] tells how many operations went which way.
//!
//! What is computed at once is no private-key operation. It is here because, once those are gone,
//! libssl spends a third of a handshake on what the default provider fetches and allocates for it.
//!
//! # Invariants
//! - No panic and no unwinding reaches C; every failure leaves an error on libcrypto's queue.
//! - Around an op no lock is held and no reference into memory that others may free.
//! - No digest, padding or parameter fails here that works in the default provider.
//! - Private keys are never printed and never exported.

mod asym_cipher;
mod context;
mod counters;
mod decryption;
mod delegate;
mod digests;
mod dispatch;
mod ec_curve;
mod ec_gen;
mod ec_key;
mod ecdh;
mod eddsa;
mod error;
mod ffi;
mod field;
mod held;
mod inner;
mod kdf;
mod key;
mod key_ec;
mod key_ed25519;
mod key_gen;
mod key_rsa;
mod key_x25519;
mod keyexch;
mod keymgmt;
mod load;
mod names;
mod newer;
mod offload;
mod output;
mod params;
mod rand;
mod remote;
mod secret_cache;
mod settings;
mod signature;
mod signer;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

pub use counters::{Counters, Delegated, counters};
pub use ffi::{OSSL_CALLBACK, OSSL_CORE_HANDLE, OSSL_DISPATCH};
pub use load::{BindError, LoadError, Provider, bind, load};
pub use remote::bind_remote;
pub use settings::{SettingError, Settings};

use context::{Context, ContextRef};
use error::{check, guard};
use ffi::{OSSL_ALGORITHM, OSSL_PARAM};
use params::{Params, Table};

/// Name of the provider.
pub const NAME: &CStr = c"spinlane";

/// Property query for `SSL_CTX_new_ex`: prefers our X25519, signatures and TLS13-KDF, and finds
/// everything else where it is. Without it key exchanges are not offloaded.
///
/// The X25519 of groups like X25519MLKEM768 (OpenSSL 3.5 and later) is found by the library
/// context's properties instead: give it this query too, by EVP_set_default_properties(3).
/// [`crate::raw::library_context`] has it.
pub const PROPERTY_QUERY: &CStr = c"?spinlane.kex=yes";

/// Properties of what belongs to a bound key; the default provider's comes first among equals.
const OF_KEYS: &CStr = c"provider=spinlane";
/// Properties of what [`PROPERTY_QUERY`] prefers.
const OF_HANDSHAKES: &CStr = c"provider=spinlane,spinlane.kex=yes";

const RAND_NAME: &CStr = c"SPINLANE-RAND";
const RSA_NAMES: &CStr = c"RSA:rsaEncryption:1.2.840.113549.1.1.1";
const EC_NAMES: &CStr = c"EC:id-ecPublicKey:1.2.840.10045.2.1";
const X25519_NAMES: &CStr = c"X25519:1.3.101.110";

const ED25519_NAMES: &CStr = c"ED25519:1.3.101.112";

static KEYMGMT: [OSSL_ALGORITHM; 5] = [
    algorithm(RSA_NAMES, OF_KEYS, &key_rsa::TABLE),
    algorithm(EC_NAMES, OF_HANDSHAKES, &key_ec::TABLE),
    algorithm(ED25519_NAMES, OF_KEYS, &key_ed25519::TABLE),
    algorithm(X25519_NAMES, OF_HANDSHAKES, &key_x25519::TABLE),
    NO_MORE,
];
static SIGNATURE: [OSSL_ALGORITHM; 4] = [
    algorithm(RSA_NAMES, OF_HANDSHAKES, &signature::RSA),
    algorithm(c"ECDSA", OF_HANDSHAKES, &signature::ECDSA),
    algorithm(ED25519_NAMES, OF_HANDSHAKES, &eddsa::TABLE),
    NO_MORE,
];
static ASYM_CIPHER: [OSSL_ALGORITHM; 2] = [
    algorithm(RSA_NAMES, OF_HANDSHAKES, &asym_cipher::TABLE),
    NO_MORE,
];
static KEYEXCH: [OSSL_ALGORITHM; 3] = [
    algorithm(c"ECDH", OF_HANDSHAKES, &ecdh::TABLE),
    algorithm(X25519_NAMES, OF_HANDSHAKES, &keyexch::TABLE),
    NO_MORE,
];
static RAND: [OSSL_ALGORITHM; 2] = [algorithm(RAND_NAME, OF_KEYS, &rand::TABLE), NO_MORE];
static KDF: [OSSL_ALGORITHM; 2] = [algorithm(c"TLS13-KDF", OF_HANDSHAKES, &kdf::TABLE), NO_MORE];

const NO_MORE: OSSL_ALGORITHM = OSSL_ALGORITHM {
    algorithm_names: ptr::null(),
    property_definition: ptr::null(),
    implementation: ptr::null(),
    algorithm_description: ptr::null(),
};

const fn algorithm(
    names: &'static CStr,
    properties: &'static CStr,
    table: &'static [OSSL_DISPATCH],
) -> OSSL_ALGORITHM {
    OSSL_ALGORITHM {
        algorithm_names: names.as_ptr(),
        property_definition: properties.as_ptr(),
        implementation: table.as_ptr(),
        algorithm_description: ptr::null(),
    }
}

static PROVIDER: [OSSL_DISPATCH; 6] = [
    dispatch::provider_teardown(teardown),
    dispatch::provider_gettable_params(gettable_params),
    dispatch::provider_get_params(get_params),
    dispatch::provider_query_operation(query_operation),
    dispatch::provider_get_capabilities(get_capabilities),
    dispatch::END,
];

/// Puts an entry on libcrypto's error queue that says why the provider does not load.
pub fn raise(why: &impl std::fmt::Display) {
    error::raise(format_args!("{why}"));
}

/// The provider's entry point, as OSSL_provider_init(7) describes it.
///
/// # Safety
/// Called by libcrypto: `out` and `provctx` are places for the results.
pub unsafe extern "C" fn init(
    _handle: *const OSSL_CORE_HANDLE,
    _upcalls: *const OSSL_DISPATCH,
    out: *mut *const OSSL_DISPATCH,
    provctx: *mut *mut c_void,
) -> c_int {
    check(|| {
        if out.is_null() || provctx.is_null() {
            return false;
        }
        let Some(context) = Context::new() else {
            error::raise(format_args!(
                "OpenSSL's default provider cannot be loaded; install OpenSSL 3.0 or later whole"
            ));
            return false;
        };
        // SAFETY: not null, so places for the results.
        unsafe {
            *provctx = context.into_raw();
            *out = PROVIDER.as_ptr();
        }
        true
    })
}

/// Safety of this and the functions below: libcrypto passes the context that [`init`] gave out.
unsafe extern "C" fn teardown(provctx: *mut c_void) {
    guard((), || {
        // SAFETY: see above; the last call for this context.
        unsafe {
            if let Some(context) = ContextRef::new(provctx) {
                context.tear_down();
            }
        }
    });
}

unsafe extern "C" fn query_operation(
    _provctx: *mut c_void,
    operation: c_int,
    no_store: *mut c_int,
) -> *const OSSL_ALGORITHM {
    if !no_store.is_null() {
        // SAFETY: not null, so the caller's place for the answer.
        unsafe { *no_store = 0 };
    }
    match operation {
        ffi::OSSL_OP_KEYMGMT => KEYMGMT.as_ptr(),
        ffi::OSSL_OP_SIGNATURE => SIGNATURE.as_ptr(),
        ffi::OSSL_OP_ASYM_CIPHER => ASYM_CIPHER.as_ptr(),
        ffi::OSSL_OP_KEYEXCH => KEYEXCH.as_ptr(),
        ffi::OSSL_OP_RAND => RAND.as_ptr(),
        ffi::OSSL_OP_KDF => KDF.as_ptr(),
        _ => ptr::null(),
    }
}

unsafe extern "C" fn gettable_params(_provctx: *mut c_void) -> *const OSSL_PARAM {
    static GETTABLE: Table<5> = Table::new([
        (Some(names::PROVIDER_NAME), ffi::OSSL_PARAM_UTF8_PTR),
        (Some(names::PROVIDER_VERSION), ffi::OSSL_PARAM_UTF8_PTR),
        (Some(names::PROVIDER_BUILDINFO), ffi::OSSL_PARAM_UTF8_PTR),
        (Some(names::PROVIDER_STATUS), ffi::OSSL_PARAM_INTEGER),
        Table::<5>::END,
    ]);
    GETTABLE.as_ptr()
}

unsafe extern "C" fn get_params(_provctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    check(|| {
        // SAFETY: the caller's parameter array.
        unsafe { Params::new(params) }.iter().all(|param| {
            let key = param.key();
            if key == names::PROVIDER_NAME {
                param.set_text_ptr(c"Spinlane TLS offload")
            } else if key == names::PROVIDER_VERSION || key == names::PROVIDER_BUILDINFO {
                param.set_text_ptr(VERSION)
            } else if key == names::PROVIDER_STATUS {
                param.set_int(1)
            } else {
                true
            }
        })
    })
}

/// Advertises the TLS groups whose keys are ours. OpenSSL 3.0 drops a group whose advertiser is not
/// the provider it finds the group's keys in, so X25519 and all EC groups would be missing. Later
/// versions do not care and list them twice, which is harmless: they look groups up by number.
unsafe extern "C" fn get_capabilities(
    provctx: *mut c_void,
    capability: *const c_char,
    callback: Option<OSSL_CALLBACK>,
    arg: *mut c_void,
) -> c_int {
    struct Receiver(OSSL_CALLBACK, *mut c_void);

    unsafe extern "C" fn only_ours(group: *const OSSL_PARAM, receiver: *mut c_void) -> c_int {
        check(|| {
            // SAFETY: libcrypto hands on the receiver given below, and a parameter array.
            let (receiver, params) = unsafe { (&*receiver.cast::<Receiver>(), Params::new(group)) };
            let algorithm = params
                .find(names::TLS_GROUP_ALG)
                .and_then(params::Param::text);
            let ours = matches!(algorithm, Some(b"X25519" | b"EC"));
            // SAFETY: callback and argument as they came.
            !ours || unsafe { receiver.0(group, receiver.1) == 1 }
        })
    }

    check(|| {
        // SAFETY: null or a C string.
        let wanted = !capability.is_null() && unsafe { CStr::from_ptr(capability) } == c"TLS-GROUP";
        // SAFETY: see `teardown`.
        let (Some(context), Some(callback), true) =
            (unsafe { ContextRef::new(provctx) }, callback, wanted)
        else {
            return true;
        };
        let mut receiver = Receiver(callback, arg);
        // SAFETY: live provider; the receiver lives through the call.
        unsafe {
            ffi::OSSL_PROVIDER_get_capabilities(
                context.inner.default_provider(),
                capability,
                only_ours,
                ptr::from_mut(&mut receiver).cast(),
            ) == 1
        }
    })
}
