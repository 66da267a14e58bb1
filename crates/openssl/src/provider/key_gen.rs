//! Generation of RSA and Ed25519 keys, which is the default provider's: our key managers offer it
//! because libcrypto asks the key manager it has, and no other.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::context::ContextRef;
use super::error::{check, guard};
use super::ffi::{self, EVP_PKEY_CTX, OSSL_CALLBACK, OSSL_PARAM};
use super::held::{self, borrow, borrow_mut};
use super::inner::KeyCtx;
use super::key::{HeldKey, Kind};
use super::names;
use super::params::{self, Params};

/// One generation context.
pub(super) struct Generation {
    context: ContextRef,
    kind: &'static Kind,
    pair: bool,
    ctx: KeyCtx,
}

impl Generation {
    fn new(context: ContextRef, kind: &'static Kind, selection: c_int) -> Option<Self> {
        let pair = selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR != 0;
        Some(Self {
            context,
            kind,
            pair,
            ctx: KeyCtx::generator(&context.inner, kind.name, pair)?,
        })
    }
}

/// OSSL_FUNC_keymgmt_gen_init for `kind`.
///
/// # Safety
/// `provctx` is what our init function gave out, `params` the caller's parameter array.
pub(super) unsafe fn init(
    provctx: *mut c_void,
    kind: &'static Kind,
    selection: c_int,
    params: *const OSSL_PARAM,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: by the caller's promise.
        let (context, params) = unsafe { (ContextRef::new(provctx), Params::new(params)) };
        let generation = context.and_then(|context| Generation::new(context, kind, selection));
        held::give(generation.filter(|generation| generation.ctx.set(params)))
    })
}

/// Safety of this and the function below: libcrypto passes what [`init`] gave out, one call at a
/// time, and parameter arrays as OSSL_PARAM(3) describes them.
pub(super) unsafe extern "C" fn set_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see above.
        let (ctx, params) = unsafe { (borrow_mut::<Generation>(ctx), Params::new(params)) };
        ctx.is_some_and(|generation| generation.ctx.set(params))
    })
}

/// OSSL_FUNC_keymgmt_gen.
pub(super) unsafe extern "C" fn generate(
    ctx: *mut c_void,
    callback: Option<OSSL_CALLBACK>,
    arg: *mut c_void,
) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: see `set_params`.
        held::give(unsafe { borrow::<Generation>(ctx) }.and_then(|generation| {
            let mut progress = callback.map(|callback| Progress { callback, arg });
            let ctx = &generation.ctx;
            if let Some(progress) = &mut progress {
                // SAFETY: live context; what it is told lives until it has generated.
                unsafe {
                    ffi::EVP_PKEY_CTX_set_app_data(ctx.as_ptr(), ptr::from_mut(progress).cast());
                    ffi::EVP_PKEY_CTX_set_cb(ctx.as_ptr(), Some(report));
                }
            }
            let key = ctx.generate(generation.pair)?;
            Some(HeldKey::generated(generation.context, generation.kind, key))
        }))
    })
}

/// Who wants to know how far a generation has come.
struct Progress {
    callback: OSSL_CALLBACK,
    arg: *mut c_void,
}

/// Tells them, in the words of OSSL_CALLBACK; 0 ends the generation.
unsafe extern "C" fn report(ctx: *mut EVP_PKEY_CTX) -> c_int {
    guard(0, || {
        // SAFETY: a live context that generates, within `generate`, whose frame holds the progress.
        let (progress, mut potential, mut iteration) = unsafe {
            (
                ffi::EVP_PKEY_CTX_get_app_data(ctx)
                    .cast::<Progress>()
                    .as_ref(),
                ffi::EVP_PKEY_CTX_get_keygen_info(ctx, 0),
                ffi::EVP_PKEY_CTX_get_keygen_info(ctx, 1),
            )
        };
        let array = [
            params::int(names::GEN_POTENTIAL, &mut potential),
            params::int(names::GEN_ITERATION, &mut iteration),
            params::end(),
        ];
        // SAFETY: callback and argument as they came, an array that its end stops.
        progress.map_or(0, |to| unsafe { (to.callback)(array.as_ptr(), to.arg) })
    })
}
