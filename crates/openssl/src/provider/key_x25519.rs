//! Key manager of X25519 keys: 32 bytes each part, nothing behind them.
//!
//! Such keys live for one handshake, as a rule; the first derivation of one that was generated here
//! goes to the devices, and no other ([`X25519Key::serves_first`]). They may leave for other
//! providers like any key: whoever asks for them by the property `spinlane.kex=yes` asks for the
//! exchange by it too.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use spinlane_crypto::random;
use spinlane_cryptodev::Request;
use zeroize::{Zeroize, Zeroizing};

use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{self, OSSL_CALLBACK, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, borrow_mut};
use super::keymgmt::{self, KeyData};
use super::names;
use super::offload::offload;
use super::params::{self, Params, Table};

/// The key manager's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 20] = [
    dispatch::keymgmt_new(new),
    dispatch::keymgmt_free(held::free::<X25519Key>),
    dispatch::keymgmt_has(keymgmt::has::<X25519Key>),
    dispatch::keymgmt_match(keymgmt::matches::<X25519Key>),
    dispatch::keymgmt_validate(keymgmt::validate::<X25519Key>),
    dispatch::keymgmt_import(keymgmt::import::<X25519Key>),
    dispatch::keymgmt_import_types(types),
    dispatch::keymgmt_export(keymgmt::export::<X25519Key>),
    dispatch::keymgmt_export_types(types),
    dispatch::keymgmt_get_params(keymgmt::get_params::<X25519Key>),
    dispatch::keymgmt_gettable_params(gettable_params),
    dispatch::keymgmt_set_params(set_params),
    dispatch::keymgmt_settable_params(settable_params),
    dispatch::keymgmt_dup(keymgmt::dup::<X25519Key>),
    dispatch::keymgmt_gen_init(gen_init),
    dispatch::keymgmt_gen_set_params(gen_set_params),
    dispatch::keymgmt_gen_settable_params(gen_settable_params),
    dispatch::keymgmt_gen(generate),
    dispatch::keymgmt_gen_cleanup(gen_cleanup),
    dispatch::END,
];

const BITS: c_int = 253;
const SECURITY_BITS: c_int = 128;
const LEN: usize = 32;

/// Key data. libcrypto's callers are alone with a key while they change it.
#[derive(Default)]
pub(super) struct X25519Key {
    public: Option<[u8; LEN]>,
    private: Option<[u8; LEN]>,
    /// Generated here, and not used yet.
    fresh: AtomicBool,
}

impl Drop for X25519Key {
    fn drop(&mut self) {
        self.private.zeroize();
    }
}

impl X25519Key {
    /// Returns the public key, if there is one.
    pub fn public(&self) -> Option<&[u8; LEN]> {
        self.public.as_ref()
    }

    /// Returns `true` if the private key may go to devices: at the first call, for one that was
    /// generated here. See [`Request::x25519_derive`].
    pub fn serves_first(&self) -> bool {
        // Relaxed: nothing else is published by it.
        self.fresh.swap(false, Ordering::Relaxed)
    }

    /// Returns the private scalar, unclamped as RFC 7748 allows, if there is one.
    pub fn private(&self) -> Option<&[u8; LEN]> {
        self.private.as_ref()
    }

    fn generate() -> Option<Self> {
        let mut private = Zeroizing::new([0; LEN]);
        random::fill(&mut *private);
        Some(Self {
            public: Some(public_of(&private)?),
            private: Some(*private),
            fresh: AtomicBool::new(true),
        })
    }

    fn answer(&self, params: Params<'_>) -> bool {
        params.iter().all(|param| {
            let key = param.key();
            if key == names::BITS {
                param.set_int(BITS)
            } else if key == names::SECURITY_BITS {
                param.set_int(SECURITY_BITS)
            } else if key == names::MAX_SIZE {
                param.set_int(LEN as c_int)
            } else if key == names::PUB || key == names::ENCODED_PUB {
                self.public.is_none_or(|public| param.set_octets(&public))
            } else if key == names::PRIV {
                self.private
                    .as_ref()
                    .is_none_or(|private| param.set_octets(private))
            } else {
                true
            }
        })
    }
}

impl KeyData for X25519Key {
    fn has(&self, selection: c_int) -> bool {
        (selection & ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY == 0 || self.public.is_some())
            && (selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY == 0 || self.private.is_some())
    }

    /// Compares the public keys alone, which determine the private ones.
    fn matches(&self, other: &Self, selection: c_int) -> bool {
        selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR == 0
            || (self.public.is_some() && self.public == other.public)
    }

    /// Returns `true` if the selected parts are there and fit together. Every 32 bytes are a public
    /// key; points of low order show in the derivation (RFC 7748, section 6.1).
    fn validate(&self, selection: c_int, _quick: bool) -> bool {
        let pair = ffi::OSSL_KEYMGMT_SELECT_KEYPAIR;
        self.has(selection)
            && (selection & pair != pair
                || self.private.as_ref().and_then(public_of) == self.public)
    }

    fn import(&mut self, selection: c_int, params: Params<'_>) -> bool {
        let part = |name| {
            params
                .find(name)
                .map(|param| param.octets().and_then(|bytes| bytes.try_into().ok()))
        };
        let private = if selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY != 0 {
            part(names::PRIV)
        } else {
            None
        };
        let (public, private) = match (part(names::PUB), private) {
            (Some(None), _) | (_, Some(None)) => {
                raise(format_args!(
                    "an X25519 key has parts of 32 bytes; import it whole"
                ));
                return false;
            }
            (None, None) => return false,
            (public, private) => (public.flatten(), private.flatten()),
        };
        self.private = private;
        self.fresh = AtomicBool::new(false);
        self.public = public.or_else(|| private.as_ref().and_then(public_of));
        self.public.is_some()
    }

    unsafe fn export(&self, selection: c_int, callback: OSSL_CALLBACK, arg: *mut c_void) -> bool {
        let mut array = [const { params::end() }; 3];
        let mut used = 0;
        let wanted = [
            (
                names::PUB,
                &self.public,
                ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY,
            ),
            (
                names::PRIV,
                &self.private,
                ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY,
            ),
        ];
        for (name, part, bit) in wanted {
            if let (Some(part), true) = (part, selection & bit != 0) {
                array[used] = params::octets(name, part);
                used += 1;
            }
        }
        // SAFETY: a parameter array that its end stops; callback and argument as they came.
        used > 0 && unsafe { callback(array.as_ptr(), arg) == 1 }
    }

    unsafe fn get(&self, params: *mut OSSL_PARAM) -> bool {
        // SAFETY: by the caller's promise.
        self.answer(unsafe { Params::new(params) })
    }

    fn dup(&self, selection: c_int) -> Option<Self> {
        let selected = |bit, part: &Option<[u8; LEN]>| part.filter(|_| selection & bit != 0);
        Some(Self {
            public: selected(ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY, &self.public),
            private: selected(ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY, &self.private),
            fresh: AtomicBool::new(false),
        })
    }
}

fn public_of(private: &[u8; LEN]) -> Option<[u8; LEN]> {
    let mut public = [0; LEN];
    offload(&Request::x25519_keygen(private), &mut public).then_some(public)
}

/// Safety of this and the functions below: libcrypto passes key data that this key manager gave
/// out and that has not been freed, and parameter arrays as OSSL_PARAM(3) describes them.
unsafe extern "C" fn new(_provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || held::give(Some(X25519Key::default())))
}

unsafe extern "C" fn types(selection: c_int) -> *const OSSL_PARAM {
    static PAIR: Table<3> = Table::new([
        (Some(names::PUB), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::PRIV), ffi::OSSL_PARAM_OCTET_STRING),
        Table::<3>::END,
    ]);
    if selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR == 0 {
        ptr::null()
    } else {
        PAIR.as_ptr()
    }
}

unsafe extern "C" fn gettable_params(_provctx: *mut c_void) -> *const OSSL_PARAM {
    static GETTABLE: Table<7> = Table::new([
        (Some(names::BITS), ffi::OSSL_PARAM_INTEGER),
        (Some(names::SECURITY_BITS), ffi::OSSL_PARAM_INTEGER),
        (Some(names::MAX_SIZE), ffi::OSSL_PARAM_INTEGER),
        (Some(names::ENCODED_PUB), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::PUB), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::PRIV), ffi::OSSL_PARAM_OCTET_STRING),
        Table::<7>::END,
    ]);
    GETTABLE.as_ptr()
}

unsafe extern "C" fn set_params(key: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `new`; the caller is alone with the key.
        let (key, params) = unsafe { (borrow_mut::<X25519Key>(key), Params::new(params)) };
        let Some(key) = key else { return false };
        let Some(encoded) = params.find(names::ENCODED_PUB) else {
            return true;
        };
        let Some(public) = encoded.octets().and_then(|bytes| bytes.try_into().ok()) else {
            raise(format_args!("the peer's X25519 public key is not 32 bytes"));
            return false;
        };
        key.private.zeroize();
        key.private = None;
        key.public = Some(public);
        true
    })
}

unsafe extern "C" fn settable_params(_provctx: *mut c_void) -> *const OSSL_PARAM {
    static SETTABLE: Table<2> = Table::new([
        (Some(names::ENCODED_PUB), ffi::OSSL_PARAM_OCTET_STRING),
        Table::<2>::END,
    ]);
    SETTABLE.as_ptr()
}

/// What a generation context must know: the selection. The pointer itself carries it, so that no
/// memory is needed; bit 16 keeps it from being null.
const GEN_TAG: usize = 1 << 16;

unsafe extern "C" fn gen_init(
    _provctx: *mut c_void,
    selection: c_int,
    params: *const OSSL_PARAM,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        let ctx = ptr::without_provenance_mut(
            GEN_TAG | (selection & ffi::OSSL_KEYMGMT_SELECT_ALL) as usize,
        );
        // SAFETY: see `new`.
        if unsafe { gen_set_params(ctx, params) } == 1 {
            ctx
        } else {
            ptr::null_mut()
        }
    })
}

unsafe extern "C" fn gen_set_params(_ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `new`.
        let Some(group) = (unsafe { Params::new(params) }).find(names::GROUP) else {
            return true;
        };
        let known = group
            .text()
            .is_some_and(|name| name.eq_ignore_ascii_case(b"x25519"));
        if !known {
            raise(format_args!("the only group of an X25519 key is x25519"));
        }
        known
    })
}

unsafe extern "C" fn gen_settable_params(
    _ctx: *mut c_void,
    _provctx: *mut c_void,
) -> *const OSSL_PARAM {
    static SETTABLE: Table<2> = Table::new([
        (Some(names::GROUP), ffi::OSSL_PARAM_UTF8_STRING),
        Table::<2>::END,
    ]);
    SETTABLE.as_ptr()
}

/// May pause.
unsafe extern "C" fn generate(
    ctx: *mut c_void,
    _callback: Option<OSSL_CALLBACK>,
    _arg: *mut c_void,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        let pair = ctx.addr() & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR as usize != 0;
        let key = if pair {
            X25519Key::generate()
        } else {
            Some(X25519Key::default())
        };
        held::give(key)
    })
}

unsafe extern "C" fn gen_cleanup(_ctx: *mut c_void) {}
