//! Generation of EC keys: on a curve of ours by a device, all else by the default provider.

use std::ffi::{CString, c_int};

use super::context::ContextRef;
use super::counters::{Delegated, count_delegated};
use super::ec_curve::Curve;
use super::ec_key::{EcKey, Native};
use super::error::raise;
use super::ffi;
use super::inner::KeyCtx;
use super::names;
use super::params::{self, Params};

/// One generation context.
pub(super) struct Generation {
    context: ContextRef,
    /// Whether a key pair is wanted, not the parameters of a curve alone.
    pair: bool,
    curve: Option<Curve>,
    /// The default provider's context, if it generates.
    delegate: Option<KeyCtx>,
}

impl Generation {
    /// Makes a generation of what `selection` selects.
    pub fn new(context: ContextRef, selection: c_int) -> Self {
        Self {
            context,
            pair: selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR != 0,
            curve: None,
            delegate: None,
        }
    }

    /// Takes in parameters: the curve, and how the key is to be encoded.
    pub fn set(&mut self, params: Params<'_>) -> bool {
        if !params.have_values() {
            return false;
        }
        if params.iter().next().is_none() {
            return true;
        }
        if self.delegate.is_none() {
            let group = params.find(names::GROUP).and_then(|param| param.text());
            let curve = group.and_then(Curve::from_name);
            if curve.is_some() && params.iter().all(|param| param.key() == names::GROUP) {
                self.curve = curve;
                return true;
            }
            let start =
                self.start_delegate(KeyCtx::generator(&self.context.inner, c"EC", self.pair));
            let Some(delegate) = start else { return false };
            self.delegate = Some(delegate);
        }
        self.delegate.as_ref().is_some_and(|ctx| ctx.set(params))
    }

    /// Takes the curve of `template`.
    pub fn like(&mut self, template: &EcKey) -> bool {
        if let (Some(native), None) = (template.native(), &self.delegate) {
            self.curve = Some(native.curve);
            return true;
        }
        let ctx = template
            .inner()
            .and_then(|key| KeyCtx::new(&self.context.inner, key))
            .filter(|ctx| ctx.start_generating(self.pair));
        self.delegate = self.start_delegate(ctx);
        self.delegate.is_some()
    }

    /// Returns a context of the default provider, told the curve set so far.
    fn start_delegate(&self, ctx: Option<KeyCtx>) -> Option<KeyCtx> {
        let ctx = ctx?;
        let set = |curve: Curve| {
            let name = CString::from(curve.name());
            let array = [params::text(names::GROUP, &name), params::end()];
            // SAFETY: an array that its end stops, and that lives through the call.
            ctx.set(unsafe { Params::new(array.as_ptr()) })
        };
        self.curve.is_none_or(set).then_some(ctx)
    }

    /// Generates. May pause; nothing of this context is looked at after that.
    pub fn run(&self) -> Option<EcKey> {
        let context = self.context;
        if let Some(ctx) = &self.delegate {
            count_delegated(Delegated::KeyExchange);
            let key = ctx.generate(self.pair)?;
            return Some(EcKey::generated_by_default_provider(context, key));
        }
        let Some(curve) = self.curve else {
            raise(format_args!("EC: no curve to generate on; set the group"));
            return None;
        };
        let mut native = Native {
            curve,
            public: None,
            private: None,
        };
        if self.pair {
            let private = curve.random_scalar();
            native.public = Some(curve.public_of(&private)?);
            native.private = Some(private);
        }
        Some(EcKey::generated(context, native))
    }
}
