//! Key exchange by X25519 (RFC 7748).
//!
//! A context copies what it needs of the two keys, so that nothing it refers to can be freed
//! while a derivation pauses.

use std::ffi::{c_int, c_uchar, c_void};
use std::ptr;

use libc::size_t;
use spinlane_cryptodev::Request;
use zeroize::{Zeroize, Zeroizing};

use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, Dup, borrow, borrow_mut};
use super::key_x25519::X25519Key;
use super::offload::{compute, offload};
use super::output::Output;

/// The key exchange's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 7] = [
    dispatch::keyexch_newctx(newctx),
    dispatch::keyexch_init(init),
    dispatch::keyexch_set_peer(set_peer),
    dispatch::keyexch_derive(derive),
    dispatch::keyexch_dupctx(held::dup::<Exchange>),
    dispatch::keyexch_freectx(held::free::<Exchange>),
    dispatch::END,
];

const LEN: usize = 32;

#[derive(Default)]
struct Exchange {
    private: Option<[u8; LEN]>,
    peer: Option<[u8; LEN]>,
    /// The next derivation is the private key's first.
    first: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.private.zeroize();
    }
}

impl Dup for Exchange {
    fn dup(&self) -> Option<Self> {
        let (private, peer) = (self.private, self.peer);
        Some(Self {
            private,
            peer,
            first: false,
        })
    }
}

/// Safety of this and the functions below: libcrypto passes contexts that were given out here
/// and have not been freed, one call at a time, and key data of our X25519 key manager.
unsafe extern "C" fn newctx(_provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || held::give(Some(Exchange::default())))
}

unsafe extern "C" fn init(ctx: *mut c_void, key: *mut c_void, _params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (ctx, key) = unsafe { (borrow_mut::<Exchange>(ctx), borrow::<X25519Key>(key)) };
        let (Some(ctx), Some((key, private))) =
            (ctx, key.and_then(|key| Some((key, key.private()?))))
        else {
            raise(format_args!(
                "X25519: the own key has no private part; generate one"
            ));
            return false;
        };
        ctx.private = Some(*private);
        ctx.first = key.serves_first();
        true
    })
}

unsafe extern "C" fn set_peer(ctx: *mut c_void, key: *mut c_void) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (ctx, key) = unsafe { (borrow_mut::<Exchange>(ctx), borrow::<X25519Key>(key)) };
        let (Some(ctx), Some(public)) = (ctx, key.and_then(X25519Key::public)) else {
            raise(format_args!(
                "X25519: the peer's key has no public part; set it"
            ));
            return false;
        };
        ctx.peer = Some(*public);
        true
    })
}

/// May pause.
unsafe extern "C" fn derive(
    ctx: *mut c_void,
    secret: *mut c_uchar,
    secret_len: *mut size_t,
    out_len: size_t,
) -> c_int {
    check(|| {
        // SAFETY: see `newctx`. Copied, so that no borrow of the context lives over a pause.
        let Some(Exchange {
            private,
            peer,
            first,
        }) = (unsafe { borrow_mut::<Exchange>(ctx) })
        else {
            return false;
        };
        // Whoever asks for the length alone derives nothing.
        let is_first = !secret.is_null() && std::mem::take(first);
        let (Some(private), Some(peer)) = (private.map(Zeroizing::new), *peer) else {
            raise(format_args!(
                "X25519: own key or peer's key missing; set both before deriving"
            ));
            return false;
        };
        // SAFETY: see `newctx`.
        let output = unsafe { Output::new(secret, secret_len, out_len) };
        output.is_some_and(|output| {
            output.produce("secret", LEN, |shared| {
                let request = Request::x25519_derive(&private, &peer);
                let run = if is_first { offload } else { compute };
                run(&request, &mut shared[..LEN]).then_some(LEN)
            })
        })
    })
}
