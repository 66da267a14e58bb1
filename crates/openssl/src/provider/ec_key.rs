//! EC key data: of bound keys, of the ephemeral keys of handshakes, and of whatever else libcrypto
//! puts here because the property query prefers our key manager.
//!
//! ```text
//!            ┌ Native: curve, public, private ── devices ── keys on P-256 and P-384
//!  Content ──┤                └ made when asked for ┐
//!            └ Foreign ───────────────────────────▶ inner: the same key in the default provider
//! ```
//! A native key answers what a handshake asks by itself. Everything else, and everything of a
//! foreign key (another curve, explicit parameters, a compressed point), is asked of the inner key.

use std::ffi::{CStr, c_int};
use std::sync::{Arc, OnceLock};

use spinlane_crypto as crypto;
use spinlane_cryptodev::KeyHandle;
use zeroize::Zeroizing;

use super::context::ContextRef;
use super::ec_curve::{Curve, MAX_SCALAR, Point, Scalar};
use super::error::{Quiet, raise};
use super::ffi::{self, OSSL_CALLBACK, OSSL_PARAM};
use super::inner::{Key, KeyCtx};
use super::key::Operand;
use super::keymgmt::KeyData;
use super::names;
use super::params::{self, Param, Params};
use super::remote;

/// Key data. libcrypto's callers are alone with a key while they change it.
#[derive(Clone)]
pub(super) struct EcKey {
    pub context: ContextRef,
    content: Option<Content>,
}

#[derive(Clone)]
struct Content {
    form: Form,
    /// Whether the private part stays here.
    bound: bool,
    inner: OnceLock<Arc<Key>>,
    device: OnceLock<Option<Arc<KeyHandle>>>,
}

#[derive(Clone)]
enum Form {
    Native(Native),
    /// All of it is in `inner`.
    Foreign {
        has_public: bool,
        has_private: bool,
    },
}

/// A key on a curve of ours.
#[derive(Clone)]
pub(super) struct Native {
    pub curve: Curve,
    pub public: Option<Point>,
    pub private: Option<Scalar>,
}

impl Native {
    /// Returns the public point, encoded.
    fn encoded(&self) -> Option<&[u8]> {
        self.public
            .as_ref()
            .map(|point| &point[..self.curve.point_len()])
    }

    fn scalar(&self) -> Option<&[u8]> {
        self.private
            .as_ref()
            .map(|scalar| &scalar[..self.curve.scalar_len()])
    }

    /// Imports the key into the default provider.
    fn import(&self, context: ContextRef) -> Option<Key> {
        let mut selection = ffi::OSSL_KEYMGMT_SELECT_ALL_PARAMETERS;
        let mut array = [const { params::end() }; 4];
        array[0] = params::text(names::GROUP, self.curve.name());
        let mut used = 1;
        if let Some(point) = self.encoded() {
            selection |= ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY;
            array[used] = params::octets(names::PUB, point);
            used += 1;
        }
        let mut native_endian = Zeroizing::new([0; MAX_SCALAR]);
        if let Some(scalar) = self.scalar() {
            selection |= ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY;
            let number = &mut native_endian[..scalar.len()];
            number.copy_from_slice(scalar);
            if cfg!(target_endian = "little") {
                number.reverse();
            }
            array[used] = params::unsigned(names::PRIV, number);
        }
        // SAFETY: an array that its end stops, and that lives through the call.
        let params = unsafe { Params::new(array.as_ptr()) };
        context.inner.import(c"EC", selection, params)
    }

    /// Reads what `params` describe. Returns `None` if that is nothing native.
    fn from_params(selection: c_int, params: Params<'_>) -> Option<Self> {
        let curve = Curve::from_name(params.find(names::GROUP)?.text()?)?;
        let is = |name, wanted: &[u8]| match params.find(name) {
            Some(param) => param
                .text()
                .is_some_and(|text| text.eq_ignore_ascii_case(wanted)),
            None => true,
        };
        let explicit = params
            .find(names::DECODED_FROM_EXPLICIT)
            .is_some_and(|param| param.int() != Some(0));
        if explicit
            || !is(names::ENCODING, b"named_curve")
            || !is(names::POINT_FORMAT, b"uncompressed")
        {
            return None;
        }
        let part = |bit, name| params.find(name).filter(|_| selection & bit != 0);
        // As in the default provider, with the private part too: so a hybrid group of 3.5 gives the
        // other side's point.
        let public = match part(ffi::OSSL_KEYMGMT_SELECT_KEYPAIR, names::PUB) {
            None => None,
            Some(param) => Some(curve.point(param.octets()?)?),
        };
        let private = match part(ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY, names::PRIV) {
            None => None,
            Some(param) => {
                let mut scalar = Zeroizing::new([0; MAX_SCALAR]);
                if !param.unsigned(&mut scalar[..curve.scalar_len()]) {
                    return None;
                }
                Some(scalar)
            }
        };
        Some(Self {
            curve,
            public,
            private,
        })
    }
}

impl Content {
    fn native(native: Native, bound: bool) -> Self {
        Self {
            form: Form::Native(native),
            bound,
            inner: OnceLock::new(),
            device: OnceLock::new(),
        }
    }

    fn foreign(inner: Key, bound: bool) -> Self {
        Self {
            form: Form::Foreign {
                has_public: inner.has_octets(names::PUB),
                has_private: inner.number(names::PRIV).is_some(),
            },
            bound,
            inner: OnceLock::from(Arc::new(inner)),
            device: OnceLock::new(),
        }
    }

    fn has_private(&self) -> bool {
        match &self.form {
            Form::Native(native) => native.private.is_some() || self.is_remote(),
            Form::Foreign { has_private, .. } => *has_private,
        }
    }

    /// Whether the private part is a device's own.
    fn is_remote(&self) -> bool {
        let device = self.device.get().and_then(Option::as_ref);
        device.is_some_and(|key| key.as_remote().is_some())
    }

    fn has_public(&self) -> bool {
        match &self.form {
            Form::Native(native) => native.public.is_some(),
            Form::Foreign { has_public, .. } => *has_public,
        }
    }

    /// Returns the same key in the default provider.
    fn inner(&self, context: ContextRef) -> Option<&Arc<Key>> {
        if let (None, Form::Native(native)) = (self.inner.get(), &self.form) {
            let made = native.import(context)?;
            let _ = self.inner.set(Arc::new(made)); // another thread may have been faster
        }
        self.inner.get()
    }

    /// Returns the key for ECDSA on devices, if it has one.
    fn device(&self) -> Option<&Arc<KeyHandle>> {
        let make = || -> Option<Arc<KeyHandle>> {
            let key = match &self.form {
                Form::Native(native) => native.curve.device_key(native.scalar()?).ok(),
                Form::Foreign { .. } => device_key(self.inner.get()?).ok().flatten(),
            };
            key.map(KeyHandle::local)
        };
        self.device.get_or_init(make).as_ref()
    }
}

/// Returns the key for devices, if `key`, which is the default provider's, is on a curve of theirs.
///
/// # Errors
/// The private scalar is out of range.
pub(super) fn device_key(key: &Key) -> Result<Option<crypto::Key>, crypto::KeyError> {
    let curves = [Curve::P256, Curve::P384];
    let on = |curve: &Curve| key.text_is(names::GROUP, curve.name());
    let (Some(curve), Some(scalar)) = (curves.into_iter().find(on), key.number(names::PRIV)) else {
        return Ok(None);
    };
    curve.device_key(&scalar).map(Some)
}

impl EcKey {
    /// Makes empty key data.
    pub fn new(context: ContextRef) -> Self {
        Self {
            context,
            content: None,
        }
    }

    /// Makes a generated one on a curve of ours; without parts it stands for the curve's
    /// parameters.
    pub fn generated(context: ContextRef, native: Native) -> Self {
        Self {
            context,
            content: Some(Content::native(native, false)),
        }
    }

    /// Makes key data of a key that the default provider has generated.
    pub fn generated_by_default_provider(context: ContextRef, inner: Key) -> Self {
        Self {
            context,
            content: Some(Content::foreign(inner, false)),
        }
    }

    fn content(&self) -> Option<&Content> {
        if self.content.is_none() {
            raise(format_args!("the EC key is empty; import one first"));
        }
        self.content.as_ref()
    }

    /// Returns the key, if it is on a curve of ours and plainly encoded.
    pub fn native(&self) -> Option<&Native> {
        match self.content.as_ref().map(|content| &content.form) {
            Some(Form::Native(native)) => Some(native),
            _ => None,
        }
    }

    /// Returns the same key in the default provider.
    pub fn inner(&self) -> Option<&Arc<Key>> {
        self.content()?.inner(self.context)
    }

    /// Returns what a signature needs of the key.
    pub fn operand(&self) -> Option<Operand> {
        let content = self.content()?;
        let inner = content.inner(self.context)?.clone();
        Some(Operand {
            context: self.context,
            device: content.device().cloned(),
            size: match &content.form {
                Form::Native(native) => native.curve.signature_len(),
                Form::Foreign { .. } => inner.size(),
            },
            inner,
        })
    }

    /// Takes in parameters: a peer's public key, or how the key is encoded.
    pub fn set(&mut self, params: Params<'_>) -> bool {
        if !params.have_values() {
            return false;
        }
        let context = self.context;
        let Some(content) = &mut self.content else {
            return self.content().is_some();
        };
        if let Form::Native(native) = &mut content.form
            && params.iter().all(|param| param.key() == names::ENCODED_PUB)
        {
            let encoded = params.find(names::ENCODED_PUB).and_then(Param::octets);
            match encoded.map(|bytes| (native.curve.point(bytes), bytes.len())) {
                None => return params.iter().next().is_none(),
                Some((Some(point), _)) => {
                    native.public = Some(point);
                    content.inner = OnceLock::new();
                    return true;
                }
                // Compressed, or no point: the default provider tells.
                Some((None, _)) => {}
            }
        }
        // A key of its own: the inner one may be shared.
        let copy = content.inner(context).and_then(|inner| inner.dup());
        let Some(inner) = copy else { return false };
        // SAFETY: live key, with which we are alone; the array is only read.
        let set = unsafe {
            openssl_sys::EVP_PKEY_set_params(inner.as_ptr(), params.as_ptr().cast_mut()) == 1
        };
        if set {
            *content = Content::foreign(inner, content.bound);
        }
        set
    }
}

impl KeyData for EcKey {
    fn has(&self, selection: c_int) -> bool {
        let Some(content) = &self.content else {
            return false;
        };
        (selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY == 0 || content.has_private())
            && (selection & ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY == 0 || content.has_public())
    }

    fn matches(&self, other: &Self, selection: c_int) -> bool {
        let pair = selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR != 0;
        if let (Some(this), Some(other)) = (self.native(), other.native())
            && (!pair || this.public.is_some() && other.public.is_some())
        {
            return this.curve == other.curve && (!pair || this.public == other.public);
        }
        let (Some(this), Some(other)) = (self.inner(), other.inner()) else {
            return false;
        };
        // SAFETY: both keys live.
        unsafe {
            if pair {
                openssl_sys::EVP_PKEY_eq(this.as_ptr(), other.as_ptr()) == 1
            } else {
                openssl_sys::EVP_PKEY_parameters_eq(this.as_ptr(), other.as_ptr()) == 1
            }
        }
    }

    fn validate(&self, selection: c_int, quick: bool) -> bool {
        let parts = selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR;
        if let Some(native) = self.native()
            && parts & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY == 0
        {
            // A native point is on its curve: it was looked at when it came.
            return parts == 0 || native.public.is_some();
        }
        let Some(key) = self.inner() else {
            return false;
        };
        KeyCtx::new(&self.context.inner, key).is_some_and(|ctx| ctx.check(selection, quick))
    }

    /// Takes in the key that `params` describe.
    fn import(&mut self, selection: c_int, params: Params<'_>) -> bool {
        if !params.have_values() {
            return false;
        }
        let bound = params.find(names::BOUND).is_some();
        let mut content = match Native::from_params(selection, params) {
            Some(native) => Content::native(native, bound),
            None => match self.context.inner.import(c"EC", selection, params) {
                Some(inner) => Content::foreign(inner, bound),
                None => return false,
            },
        };
        if let Some(key) = remote::take(params) {
            content.device = OnceLock::from(Some(key));
        }
        // As the default provider would, were it asked: a private part out of range is refused.
        if content.has_private()
            && matches!(content.form, Form::Native(_))
            && content.device().is_none()
        {
            raise(format_args!(
                "EC: the private key is not in 1..n; make a new one"
            ));
            return false;
        }
        self.content = Some(content);
        true
    }

    /// # Safety
    /// `callback` takes `arg`.
    unsafe fn export(
        &self,
        selection: c_int,
        callback: OSSL_CALLBACK,
        arg: *mut std::ffi::c_void,
    ) -> bool {
        let Some(content) = self.content() else {
            return false;
        };
        let private = selection & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY != 0;
        // No error is raised: libcrypto tries this for signatures before it asks us to sign.
        if private && content.has_private() && content.bound {
            return false;
        }
        content.inner(self.context).is_some_and(|inner| {
            // SAFETY: live key; callback and argument as they came.
            unsafe { ffi::EVP_PKEY_export(inner.as_ptr(), selection, callback, arg) == 1 }
        })
    }

    /// Answers a request for parameters.
    ///
    /// # Safety
    /// `params` is the caller's array.
    unsafe fn get(&self, params: *mut OSSL_PARAM) -> bool {
        let Some(content) = self.content() else {
            return false;
        };
        // SAFETY: by the caller's promise.
        let wanted = unsafe { Params::new(params) };
        if let Some(asked) = wanted.find(names::BOUND) {
            return asked.set_int(c_int::from(content.bound && content.has_private()));
        }
        if content.bound && wanted.find(names::PRIV).is_some() {
            return false;
        }
        if let Form::Native(native) = &content.form
            && wanted.iter().all(|param| native.knows(param.key()))
        {
            return wanted.iter().all(|param| native.answer(param));
        }
        content.inner(self.context).is_some_and(|inner| {
            // SAFETY: live key; the array is handed on as it came.
            unsafe { openssl_sys::EVP_PKEY_get_params(inner.as_ptr(), params) == 1 }
        })
    }

    /// Makes a copy of what `selection` selects.
    fn dup(&self, selection: c_int) -> Option<Self> {
        let _quiet = Quiet::new();
        let Some(content) = &self.content else {
            return Some(Self::new(self.context));
        };
        let pair = selection & ffi::OSSL_KEYMGMT_SELECT_KEYPAIR;
        if pair == ffi::OSSL_KEYMGMT_SELECT_KEYPAIR {
            return Some(self.clone());
        }
        let content = match &content.form {
            Form::Native(native) => {
                let mut native = native.clone();
                if pair & ffi::OSSL_KEYMGMT_SELECT_PUBLIC_KEY == 0 {
                    native.public = None;
                }
                if pair & ffi::OSSL_KEYMGMT_SELECT_PRIVATE_KEY == 0 {
                    native.private = None;
                }
                Content::native(native, content.bound)
            }
            Form::Foreign { .. } => {
                let inner = content.inner.get()?;
                let inner = self.context.inner.copy_parts(c"EC", inner, selection)?;
                Content::foreign(inner, content.bound)
            }
        };
        Some(Self {
            context: self.context,
            content: Some(content),
        })
    }
}

impl Native {
    /// Returns `true` if [`Native::answer`] answers for this parameter.
    fn knows(&self, key: &CStr) -> bool {
        let always = [
            names::BITS,
            names::SECURITY_BITS,
            names::MAX_SIZE,
            names::GROUP,
        ];
        always.contains(&key)
            || self.public.is_some() && (key == names::PUB || key == names::ENCODED_PUB)
    }

    fn answer(&self, param: Param<'_>) -> bool {
        match param.key() {
            key if key == names::BITS => param.set_int(self.curve.bits()),
            key if key == names::SECURITY_BITS => param.set_int(self.curve.security_bits()),
            key if key == names::MAX_SIZE => param.set_int(self.curve.signature_len() as c_int),
            key if key == names::GROUP => param.set_text(self.curve.name()),
            _ => self.encoded().is_some_and(|point| param.set_octets(point)),
        }
    }
}
