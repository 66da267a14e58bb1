//! Random numbers for libssl: those of [`spinlane_crypto::random`], buffered per thread.
//!
//! A handshake draws some ten times a few bytes, each of which costs OpenSSL's generator a lock,
//! a process check and a run of AES-CTR. This one has no state of its own, so nothing to
//! instantiate, to seed or to lock.
//!
//! What a caller adds (EVP_RAND_reseed(3), RAND_add(3)) is mixed into all that is given out from
//! then on, in the whole process: by exclusive or with a stream that is keyed by all that was ever
//! added. So it can only add to what [`random`] gives.

use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use libc::size_t;
use spinlane_crypto::digest::{Digest, HmacKey, MAX_DIGEST_LEN};
use spinlane_crypto::random;
use zeroize::Zeroizing;

use super::dispatch;
use super::error::check;
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::names;
use super::params::{Params, Table};

/// The generator's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 12] = [
    dispatch::rand_newctx(newctx),
    dispatch::rand_freectx(freectx),
    dispatch::rand_instantiate(instantiate),
    dispatch::rand_uninstantiate(succeed),
    dispatch::rand_generate(generate),
    dispatch::rand_reseed(reseed),
    dispatch::rand_enable_locking(succeed),
    dispatch::rand_lock(succeed),
    dispatch::rand_unlock(unlock),
    dispatch::rand_get_ctx_params(get_ctx_params),
    dispatch::rand_gettable_ctx_params(gettable_ctx_params),
    dispatch::END,
];

/// Bits of security of aws-lc's generator.
const STRENGTH: c_int = 256;
/// Bytes a caller may ask for at once.
const MAX_REQUEST: usize = 1 << 16;

/// A context that all share: there is nothing in it.
static CONTEXT: u8 = 0;

/// What has been added, as a key.
static ADDED: RwLock<Option<HmacKey>> = RwLock::new(None);
/// Whether something has, so that nobody else pays for it.
static HAS_ADDED: AtomicBool = AtomicBool::new(false);

/// Folds `parts` into the key.
fn add(added: &mut Option<HmacKey>, parts: &[&[u8]]) {
    let mut key = Zeroizing::new([0; MAX_DIGEST_LEN]);
    let last = added
        .take()
        .unwrap_or_else(|| HmacKey::new(Digest::Sha512, &[]));
    let lengths: Vec<_> = parts.iter().map(|part| part.len().to_le_bytes()).collect();
    let message: Vec<&[u8]> = lengths
        .iter()
        .map(|len| &len[..])
        .chain(parts.iter().copied())
        .collect();
    last.sign(&message, &mut *key);
    *added = Some(HmacKey::new(Digest::Sha512, &*key));
}

/// Mixes a stream that `key` and the number of calls determine into `out`.
fn mix(key: &HmacKey, out: &mut [u8]) {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    // Relaxed: each call only needs a number of its own.
    let call = CALLS.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    let mut block = Zeroizing::new([0; MAX_DIGEST_LEN]);
    for (number, chunk) in out.chunks_mut(MAX_DIGEST_LEN).enumerate() {
        key.sign(&[&call, &number.to_le_bytes()], &mut *block);
        for (byte, with) in chunk.iter_mut().zip(block.iter()) {
            *byte ^= with;
        }
    }
}

/// Draws fresh entropy of the system's; of aws-lc's generator if the system gives no entropy.
fn fresh() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    // SAFETY: a buffer of the length said.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(got) != Ok(bytes.len()) {
        random::fill(&mut *bytes);
    }
    bytes
}

unsafe extern "C" fn newctx(
    _provctx: *mut c_void,
    _parent: *mut c_void,
    _parent_calls: *const OSSL_DISPATCH,
) -> *mut c_void {
    ptr::from_ref(&CONTEXT).cast_mut().cast()
}

unsafe extern "C" fn freectx(_ctx: *mut c_void) {}

unsafe extern "C" fn succeed(_ctx: *mut c_void) -> c_int {
    1
}

unsafe extern "C" fn unlock(_ctx: *mut c_void) {}

unsafe extern "C" fn instantiate(
    _ctx: *mut c_void,
    strength: c_uint,
    _prediction_resistance: c_int,
    _personal: *const c_uchar,
    _personal_len: size_t,
    _params: *const OSSL_PARAM,
) -> c_int {
    c_int::from(strength <= STRENGTH as c_uint)
}

unsafe extern "C" fn reseed(
    _ctx: *mut c_void,
    _prediction_resistance: c_int,
    entropy: *const c_uchar,
    entropy_len: size_t,
    additional: *const c_uchar,
    additional_len: size_t,
) -> c_int {
    check(|| {
        // SAFETY: the caller's buffers, with their lengths.
        let given = unsafe {
            [
                ffi::bytes(entropy, entropy_len),
                ffi::bytes(additional, additional_len),
            ]
        };
        let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
        add(&mut added, &[given[0], given[1], &*fresh()]);
        // Release: whoever sees it finds the key.
        HAS_ADDED.store(true, Ordering::Release);
        true
    })
}

unsafe extern "C" fn generate(
    _ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: size_t,
    strength: c_uint,
    prediction_resistance: c_int,
    additional: *const c_uchar,
    additional_len: size_t,
) -> c_int {
    check(|| {
        if out.is_null() || strength > STRENGTH as c_uint {
            return false;
        }
        spinlane_job::wipe_stack_at_end();
        // SAFETY: the caller's buffers, with their lengths.
        let (out, additional) = unsafe {
            (
                std::slice::from_raw_parts_mut(out, out_len),
                ffi::bytes(additional, additional_len),
            )
        };
        random::fill(out);
        // Acquire: after the Release of `reseed`.
        if HAS_ADDED.load(Ordering::Acquire)
            && let Some(key) = &*ADDED.read().unwrap_or_else(PoisonError::into_inner)
        {
            mix(key, out);
        }
        if !additional.is_empty() || prediction_resistance != 0 {
            let mut once = None;
            add(&mut once, &[additional, &*fresh()]);
            once.iter().for_each(|key| mix(key, out));
        }
        true
    })
}

unsafe extern "C" fn get_ctx_params(_ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: the caller's parameter array.
        unsafe { Params::new(params) }.iter().all(|param| {
            let key = param.key();
            if key == names::RAND_STATE {
                param.set_int(ffi::EVP_RAND_STATE_READY)
            } else if key == names::RAND_STRENGTH {
                param.set_int(STRENGTH)
            } else if key == names::RAND_MAX_REQUEST {
                param.set_size(MAX_REQUEST)
            } else {
                true
            }
        })
    })
}

unsafe extern "C" fn gettable_ctx_params(
    _ctx: *mut c_void,
    _provctx: *mut c_void,
) -> *const OSSL_PARAM {
    static GETTABLE: Table<4> = Table::new([
        (Some(names::RAND_STATE), ffi::OSSL_PARAM_INTEGER),
        (Some(names::RAND_STRENGTH), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        (
            Some(names::RAND_MAX_REQUEST),
            ffi::OSSL_PARAM_UNSIGNED_INTEGER,
        ),
        Table::<4>::END,
    ]);
    GETTABLE.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_added_counts() {
        let key_after = |added: &[&[&[u8]]]| {
            let mut key = None;
            added.iter().for_each(|parts| add(&mut key, parts));
            let mut shown = [0; MAX_DIGEST_LEN];
            key.unwrap().sign(&[b"shown"], &mut shown);
            shown
        };
        let keys = [
            key_after(&[&[b"ab", b""]]),
            key_after(&[&[b"a", b"b"]]),
            key_after(&[&[b"ab", b""], &[b"", b""]]),
            key_after(&[&[b"b", b""], &[b"a", b""]]),
            key_after(&[&[b"a", b""], &[b"b", b""]]),
        ];
        for (number, key) in keys.iter().enumerate() {
            assert!(!keys[..number].contains(key));
        }
    }

    #[test]
    fn a_stream_is_mixed_in_and_never_the_same() {
        let key = HmacKey::new(Digest::Sha512, b"key");
        let (mut first, mut second) = ([0; 200], [0; 200]);
        mix(&key, &mut first);
        mix(&key, &mut second);
        assert!(first != second && first[..64] != first[64..128]);
        assert!(first.iter().filter(|byte| **byte == 0).count() < 20);
    }

    #[test]
    fn adding_leaves_a_key_for_all_that_is_given_out() {
        let entropy = *b"the caller's";
        // SAFETY: the context is not looked at; the buffer has the length said.
        let done = unsafe {
            reseed(
                ptr::null_mut(),
                0,
                entropy.as_ptr(),
                entropy.len(),
                ptr::null(),
                0,
            )
        };
        assert_eq!(done, 1);
        assert!(HAS_ADDED.load(Ordering::Acquire));
        assert!(ADDED.read().unwrap().is_some());
    }
}
