//! HMAC with SHA-256, SHA-384 and SHA-512, without allocation and fetch.
//!
//! libssl uses it for Finished messages and session tickets, each time by a fresh context. Other
//! digests, and the parameters of TLS 1.2's CBC suites, are the default provider's.

use std::ffi::{c_int, c_uchar, c_void};
use std::ptr::{self, NonNull};

use libc::size_t;
use openssl_sys::EVP_MAC_CTX;
use spinlane_cryptodev::digest::{Digest, Hasher, MAX_DIGEST_LEN};
use zeroize::Zeroizing;

use super::context::ContextRef;
use super::counters::{Delegated, count_delegated};
use super::digests::{digest_by_name, digest_name};
use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::field::Field;
use super::names;
use super::params::{self, Params, Table};

/// The MAC's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 11] = [
    dispatch::mac_newctx(newctx),
    dispatch::mac_dupctx(dupctx),
    dispatch::mac_freectx(freectx),
    dispatch::mac_init(init),
    dispatch::mac_update(update),
    dispatch::mac_final(finish),
    dispatch::mac_get_ctx_params(get_ctx_params),
    dispatch::mac_gettable_ctx_params(gettable_ctx_params),
    dispatch::mac_set_ctx_params(set_ctx_params),
    dispatch::mac_settable_ctx_params(settable_ctx_params),
    dispatch::END,
];

/// Longest block of a digest in bytes: that of SHA-384 and SHA-512.
const MAX_BLOCK_LEN: usize = 128;

struct Mac {
    context: ContextRef,
    digest: Option<Digest>,
    key: Field,
    keyed: Option<Keyed>,
    delegate: Option<Delegate>,
}

/// An HMAC under way (RFC 2104).
#[derive(Clone)]
struct Keyed {
    /// After the key, before the message; to start over.
    inner: Hasher,
    outer: Hasher,
    /// After the message so far; `None` before its first byte.
    running: Option<Hasher>,
}

/// A context of the default provider.
struct Delegate(NonNull<EVP_MAC_CTX>);

impl Drop for Delegate {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { openssl_sys::EVP_MAC_CTX_free(self.0.as_ptr()) };
    }
}

impl Delegate {
    fn new(context: ContextRef) -> Option<Self> {
        // SAFETY: live library context, C string; what is fetched is freed here, the context owned.
        unsafe {
            let mac =
                openssl_sys::EVP_MAC_fetch(context.inner.libctx(), c"HMAC".as_ptr(), ptr::null());
            let ctx = openssl_sys::EVP_MAC_CTX_new(mac);
            openssl_sys::EVP_MAC_free(mac);
            NonNull::new(ctx).map(Self)
        }
    }

    fn dup(&self) -> Option<Self> {
        // SAFETY: live context; the result is owned.
        NonNull::new(unsafe { openssl_sys::EVP_MAC_CTX_dup(self.0.as_ptr()) }).map(Self)
    }
}

impl Keyed {
    fn new(digest: Digest, key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; MAX_BLOCK_LEN]);
        let block = &mut block[..digest.block_len()];
        if key.len() > block.len() {
            digest.hash(&[key], block);
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let (mut inner, mut outer) = (Hasher::new(digest), Hasher::new(digest));
        block.iter_mut().for_each(|byte| *byte ^= 0x36);
        inner.update(block);
        block.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
        outer.update(block);
        Self {
            inner,
            outer,
            running: None,
        }
    }

    fn update(&mut self, data: &[u8]) {
        self.running
            .get_or_insert_with(|| self.inner.clone())
            .update(data);
    }

    /// Writes the MAC to the front of `out`.
    fn finish(&mut self, out: &mut [u8]) {
        let running = self.running.take().unwrap_or_else(|| self.inner.clone());
        let mut hash = [0; MAX_DIGEST_LEN];
        let len = running.digest().len();
        running.finish(&mut hash);
        let mut outer = self.outer.clone();
        outer.update(&hash[..len]);
        outer.finish(out);
    }
}

impl Mac {
    fn set(&mut self, params: Params<'_>) -> bool {
        if params.is_null() {
            return true;
        }
        if !params.have_values() {
            return false;
        }
        if self.delegate.is_none() {
            match self.take_ours(params) {
                Some(done) => return done,
                None if !self.delegate() => return false,
                None => {}
            }
        }
        let Some(delegate) = &self.delegate else {
            return false;
        };
        // SAFETY: live context; the array is handed on as it came.
        unsafe { openssl_sys::EVP_MAC_CTX_set_params(delegate.0.as_ptr(), params.as_ptr()) == 1 }
    }

    /// Takes in parameters; `None`, and nothing taken, if some of them are not ours.
    fn take_ours(&mut self, params: Params<'_>) -> Option<bool> {
        let ours = [names::DIGEST, names::PROPERTIES, names::MAC_KEY];
        if !params.iter().all(|param| ours.contains(&param.key())) {
            return None;
        }
        if let Some(name) = params.find(names::DIGEST) {
            self.digest = Some(name.text().and_then(digest_by_name)?);
        }
        let Some(key) = params.find(names::MAC_KEY) else {
            return Some(true);
        };
        Some(key.octets().is_some_and(|key| self.start(Some(key))))
    }

    /// Hands over to the default provider, in the state after the key and before the message.
    fn delegate(&mut self) -> bool {
        if self
            .keyed
            .as_ref()
            .is_some_and(|keyed| keyed.running.is_some())
        {
            raise(format_args!(
                "HMAC: parameters come before the message; start over"
            ));
            return false;
        }
        let Some(delegate) = Delegate::new(self.context) else {
            return false;
        };
        let mut array = [const { params::end() }; 3];
        let digest = self
            .digest
            .map(|digest| params::text(names::DIGEST, digest_name(digest)));
        let key = self
            .key
            .get()
            .map(|key| params::octets(names::MAC_KEY, key));
        array
            .iter_mut()
            .zip(digest.into_iter().chain(key))
            .for_each(|(slot, param)| *slot = param);
        // SAFETY: live context; the array ends with `end` and lives through the call.
        let ready =
            unsafe { openssl_sys::EVP_MAC_CTX_set_params(delegate.0.as_ptr(), array.as_ptr()) }
                == 1;
        self.delegate = ready.then_some(delegate);
        ready
    }

    /// Starts with `key`, or over with the last one.
    fn start(&mut self, key: Option<&[u8]>) -> bool {
        if let Some(delegate) = &self.delegate {
            count_delegated(Delegated::Mac);
            let (key, len) = key.map_or((ptr::null(), 0), |key| (key.as_ptr(), key.len()));
            // SAFETY: live context; `key` is null or readable.
            return unsafe {
                openssl_sys::EVP_MAC_init(delegate.0.as_ptr(), key, len, ptr::null()) == 1
            };
        }
        match (key, self.digest, &mut self.keyed) {
            (Some(key), Some(digest), keyed) => {
                self.key.set_bytes(key);
                *keyed = Some(Keyed::new(digest, key));
            }
            (None, _, Some(keyed)) => keyed.running = None,
            _ => {
                raise(format_args!("HMAC: digest or key missing; set them first"));
                return false;
            }
        }
        true
    }

    fn update(&mut self, data: &[u8]) -> bool {
        if let Some(delegate) = &self.delegate {
            // SAFETY: live context; `data` is readable.
            return unsafe {
                openssl_sys::EVP_MAC_update(delegate.0.as_ptr(), data.as_ptr(), data.len()) == 1
            };
        }
        self.keyed
            .as_mut()
            .map(|keyed| keyed.update(data))
            .is_some()
    }

    /// # Safety
    /// `out` has room for `out_size` bytes, and `out_len` is a place for a length.
    unsafe fn finish(&mut self, out: *mut c_uchar, out_len: *mut size_t, out_size: size_t) -> bool {
        if let Some(delegate) = &self.delegate {
            // SAFETY: live context; the caller's buffers as they came.
            return unsafe {
                openssl_sys::EVP_MAC_final(delegate.0.as_ptr(), out, out_len, out_size) == 1
            };
        }
        let Some(keyed) = &mut self.keyed else {
            return false;
        };
        let len = keyed.inner.digest().len();
        if out.is_null() || out_len.is_null() || out_size < len {
            raise(format_args!("HMAC: room for {out_size} bytes; give {len}"));
            return false;
        }
        // SAFETY: not null, and of these lengths by the caller's promise.
        unsafe {
            keyed.finish(std::slice::from_raw_parts_mut(out, len));
            *out_len = len;
        }
        true
    }

    fn get(&self, params: *mut OSSL_PARAM) -> bool {
        if let Some(delegate) = &self.delegate {
            // SAFETY: live context; the array is handed on as it came.
            return unsafe {
                openssl_sys::EVP_MAC_CTX_get_params(delegate.0.as_ptr(), params) == 1
            };
        }
        // SAFETY: the caller's parameter array.
        unsafe { Params::new(params) }
            .iter()
            .all(|param| match param.key() {
                key if key == names::MAC_SIZE => param.set_size(self.digest.map_or(0, Digest::len)),
                key if key == names::MAC_BLOCK_SIZE => {
                    param.set_size(self.digest.map_or(0, Digest::block_len))
                }
                _ => true,
            })
    }

    fn dup(&self) -> Option<Self> {
        let delegate = match &self.delegate {
            None => None,
            Some(delegate) => Some(delegate.dup()?),
        };
        let (key, keyed) = (self.key.clone(), self.keyed.clone());
        Some(Self {
            context: self.context,
            digest: self.digest,
            key,
            keyed,
            delegate,
        })
    }
}

unsafe extern "C" fn newctx(provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: libcrypto passes what our init function gave out.
        let Some(context) = (unsafe { ContextRef::new(provctx) }) else {
            return ptr::null_mut();
        };
        let mac = Mac {
            context,
            digest: None,
            key: Field::default(),
            keyed: None,
            delegate: None,
        };
        Box::into_raw(Box::new(mac)).cast()
    })
}

/// Safety of this and the functions below: libcrypto passes contexts that [`newctx`] or
/// [`dupctx`] gave out and that have not been freed, one call at a time, and buffers and
/// parameter arrays of the lengths it says.
unsafe extern "C" fn freectx(ctx: *mut c_void) {
    guard((), || {
        if !ctx.is_null() {
            // SAFETY: see above.
            drop(unsafe { Box::from_raw(ctx.cast::<Mac>()) });
        }
    });
}

/// # Safety
/// See [`freectx`].
unsafe fn mac<'a>(ctx: *mut c_void) -> Option<&'a mut Mac> {
    // SAFETY: by the caller's promise; one call at a time, so the reference is unique.
    unsafe { ctx.cast::<Mac>().as_mut() }
}

unsafe extern "C" fn dupctx(ctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: see `freectx`.
        let copy = unsafe { mac(ctx) }.and_then(|mac| mac.dup());
        copy.map_or(ptr::null_mut(), |copy| Box::into_raw(Box::new(copy)).cast())
    })
}

unsafe extern "C" fn init(
    ctx: *mut c_void,
    key: *const c_uchar,
    key_len: size_t,
    params: *const OSSL_PARAM,
) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        let (mac, params) = unsafe { (mac(ctx), Params::new(params)) };
        let Some(mac) = mac else { return false };
        // SAFETY: not null, so the caller's `key_len` bytes.
        let key = (!key.is_null()).then(|| unsafe { ffi::bytes(key, key_len) });
        mac.set(params) && mac.start(key)
    })
}

unsafe extern "C" fn update(ctx: *mut c_void, data: *const c_uchar, len: size_t) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        let (mac, data) = unsafe { (mac(ctx), ffi::bytes(data, len)) };
        mac.is_some_and(|mac| mac.update(data))
    })
}

unsafe extern "C" fn finish(
    ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: *mut size_t,
    out_size: size_t,
) -> c_int {
    // SAFETY: see `freectx`.
    check(|| unsafe { mac(ctx).is_some_and(|mac| mac.finish(out, out_len, out_size)) })
}

unsafe extern "C" fn set_ctx_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `freectx`.
        let (mac, params) = unsafe { (mac(ctx), Params::new(params)) };
        mac.is_some_and(|mac| mac.set(params))
    })
}

unsafe extern "C" fn get_ctx_params(ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    // SAFETY: see `freectx`.
    check(|| unsafe { mac(ctx) }.is_some_and(|mac| mac.get(params)))
}

unsafe extern "C" fn gettable_ctx_params(
    _ctx: *mut c_void,
    _provctx: *mut c_void,
) -> *const OSSL_PARAM {
    static GETTABLE: Table<3> = Table::new([
        (Some(names::MAC_SIZE), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (
            Some(names::MAC_BLOCK_SIZE),
            ffi::OSSL_PARAM_UNSIGNED_INTEGER,
        ),
        Table::<3>::END,
    ]);
    GETTABLE.as_ptr()
}

unsafe extern "C" fn settable_ctx_params(
    _ctx: *mut c_void,
    _provctx: *mut c_void,
) -> *const OSSL_PARAM {
    static SETTABLE: Table<7> = Table::new([
        (Some(names::DIGEST), ffi::OSSL_PARAM_UTF8_STRING),
        (Some(names::PROPERTIES), ffi::OSSL_PARAM_UTF8_STRING),
        (Some(names::MAC_KEY), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::MAC_DIGEST_NOINIT), ffi::OSSL_PARAM_INTEGER),
        (Some(names::MAC_DIGEST_ONESHOT), ffi::OSSL_PARAM_INTEGER),
        (
            Some(names::MAC_TLS_DATA_SIZE),
            ffi::OSSL_PARAM_UNSIGNED_INTEGER,
        ),
        Table::<7>::END,
    ]);
    SETTABLE.as_ptr()
}
