//! Key exchange by ECDH: on P-256 and P-384 by a device, all else by the default provider.
//!
//! A context copies what it needs of the two keys, so that nothing it refers to can be freed
//! while a derivation pauses.

use std::ffi::{c_int, c_uchar, c_void};
use std::ptr;

use libc::size_t;

use super::context::param_lists;
use super::counters::{Delegated, count_delegated};
use super::dispatch;
use super::ec_key::EcKey;
use super::error::{check, guard, raise};
use super::ffi::{self, OSSL_DISPATCH, OSSL_PARAM};
use super::held::{self, Dup, borrow, borrow_mut};
use super::inner::KeyCtx;
use super::keymgmt::KeyData;
use super::output::Output;
use super::params::Params;

/// The key exchange's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 11] = [
    dispatch::keyexch_newctx(newctx),
    dispatch::keyexch_init(init),
    dispatch::keyexch_set_peer(set_peer),
    dispatch::keyexch_derive(derive),
    dispatch::keyexch_dupctx(held::dup::<Exchange>),
    dispatch::keyexch_freectx(held::free::<Exchange>),
    dispatch::keyexch_set_ctx_params(set_ctx_params),
    dispatch::keyexch_settable_ctx_params(settable_ctx_params),
    dispatch::keyexch_get_ctx_params(get_ctx_params),
    dispatch::keyexch_gettable_ctx_params(gettable_ctx_params),
    dispatch::END,
];

/// One derivation context.
#[derive(Default)]
struct Exchange {
    own: Option<EcKey>,
    peer: Option<EcKey>,
    /// The default provider's context, if it derives: as soon as a parameter is set or a key is
    /// not native.
    delegate: Option<KeyCtx>,
}

impl Dup for Exchange {
    fn dup(&self) -> Option<Self> {
        let delegate = match &self.delegate {
            None => None,
            Some(ctx) => Some(ctx.dup()?),
        };
        Some(Self {
            own: self.own.clone(),
            peer: self.peer.clone(),
            delegate,
        })
    }
}

impl Exchange {
    fn start(&mut self, own: EcKey, params: Params<'_>) -> bool {
        let native = own.native().is_some();
        *self = Self {
            own: Some(own),
            ..Self::default()
        };
        (native || self.delegate()) && self.set(params)
    }

    fn set_peer(&mut self, peer: EcKey) -> bool {
        if let (Some(own), Some(theirs)) =
            (self.own.as_ref().and_then(EcKey::native), peer.native())
            && own.curve != theirs.curve
        {
            raise(format_args!(
                "ECDH: the peer's key is on another curve; generate one on that"
            ));
            return false;
        }
        let native = peer.native().is_some_and(|native| native.public.is_some());
        self.peer = Some(peer);
        if self.delegate.is_some() {
            self.hand_over_peer()
        } else {
            native || self.delegate()
        }
    }

    fn set(&mut self, params: Params<'_>) -> bool {
        if !params.have_values() {
            return false;
        }
        if params.iter().next().is_none() {
            return true;
        }
        (self.delegate.is_some() || self.delegate())
            && self.delegate.as_ref().is_some_and(|ctx| ctx.set(params))
    }

    /// Hands over to the default provider.
    fn delegate(&mut self) -> bool {
        let ctx = self.own.as_ref().and_then(|own| {
            let ctx = KeyCtx::new(&own.context.inner, own.inner()?)?;
            // SAFETY: live context.
            let ready = unsafe { ffi::EVP_PKEY_derive_init_ex(ctx.as_ptr(), ptr::null()) } > 0;
            ready.then_some(ctx)
        });
        self.delegate = ctx;
        self.delegate.is_some() && (self.peer.is_none() || self.hand_over_peer())
    }

    fn hand_over_peer(&self) -> bool {
        let peer = self.peer.as_ref().and_then(EcKey::inner);
        self.delegate
            .as_ref()
            .zip(peer)
            // SAFETY: live context and key, of which the context takes a share.
            .is_some_and(|(ctx, peer)| unsafe {
                openssl_sys::EVP_PKEY_derive_set_peer(ctx.as_ptr(), peer.as_ptr()) > 0
            })
    }
}

/// Derives by a device. May pause; takes copies, so that no borrow lives over that.
fn derive_native(own: &EcKey, peer: &EcKey, output: Output) -> bool {
    let (Some(own), Some(peer)) = (own.native(), peer.native()) else {
        return false;
    };
    let (Some(private), Some(public)) = (own.private.clone(), peer.public) else {
        raise(format_args!(
            "ECDH: own private or peer's public part missing; set both"
        ));
        return false;
    };
    let (curve, len) = (own.curve, own.curve.scalar_len());
    output.produce("secret", len, |secret| {
        curve
            .derive(&private, &public, &mut secret[..len])
            .then_some(len)
    })
}

/// Safety of this and the functions below: libcrypto passes contexts that were given out here
/// and have not been freed, one call at a time, key data of our EC key manager, and
/// buffers and parameter arrays of the lengths it says.
unsafe extern "C" fn newctx(_provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || held::give(Some(Exchange::default())))
}

unsafe extern "C" fn init(ctx: *mut c_void, key: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (ctx, key, params) = unsafe {
            (
                borrow_mut::<Exchange>(ctx),
                borrow::<EcKey>(key),
                Params::new(params),
            )
        };
        let private = ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY;
        let (Some(ctx), Some(key)) = (ctx, key.filter(|key| key.has(private))) else {
            raise(format_args!(
                "ECDH: the own key has no private part; generate one"
            ));
            return false;
        };
        ctx.start(key.clone(), params)
    })
}

unsafe extern "C" fn set_peer(ctx: *mut c_void, key: *mut c_void) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (ctx, key) = unsafe { (borrow_mut::<Exchange>(ctx), borrow::<EcKey>(key)) };
        let public = ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY;
        let (Some(ctx), Some(key)) = (ctx, key.filter(|key| key.has(public))) else {
            raise(format_args!(
                "ECDH: the peer's key has no public part; set it"
            ));
            return false;
        };
        ctx.set_peer(key.clone())
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
        // SAFETY: see `newctx`.
        let (ctx, output) = unsafe {
            (
                borrow::<Exchange>(ctx),
                Output::new(secret, secret_len, out_len),
            )
        };
        let (Some(ctx), Some(output)) = (ctx, output) else {
            return false;
        };
        match ctx {
            Exchange {
                delegate: Some(ctx),
                ..
            } => {
                count_delegated(Delegated::KeyExchange);
                // SAFETY: live context; the caller's buffer, handed on with its length.
                output.delegate(|secret, len| unsafe {
                    openssl_sys::EVP_PKEY_derive(ctx.as_ptr(), secret, len)
                })
            }
            Exchange {
                own: Some(own),
                peer: Some(peer),
                ..
            } => derive_native(own, peer, output),
            _ => {
                raise(format_args!(
                    "ECDH: own key or peer's key missing; set both before deriving"
                ));
                false
            }
        }
    })
}

unsafe extern "C" fn set_ctx_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (ctx, params) = unsafe { (borrow_mut::<Exchange>(ctx), Params::new(params)) };
        ctx.is_some_and(|ctx| ctx.set(params))
    })
}

unsafe extern "C" fn get_ctx_params(ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `newctx`; a copy is asked, so that asking does not delegate.
        let Some(mut copy) = unsafe { borrow::<Exchange>(ctx) }.and_then(Exchange::dup) else {
            return false;
        };
        (copy.delegate.is_some() || copy.delegate())
            // SAFETY: live context; the array is handed on as it came.
            && copy.delegate.as_ref().is_some_and(|ctx| unsafe {
                openssl_sys::EVP_PKEY_CTX_get_params(ctx.as_ptr(), params) > 0
            })
    })
}

param_lists! {
    gettable_ctx_params(_ctx) = ecdh.gettable;
    settable_ctx_params(_ctx) = ecdh.settable;
}
