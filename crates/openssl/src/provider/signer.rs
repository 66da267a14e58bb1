//! The state of one signature operation: what we do ourselves, and when the default provider
//! does it instead.
//!
//! A signature is ours if the key is for devices, the digest is SHA-256, SHA-384 or SHA-512, and
//! for RSA the padding is PKCS#1 v1.5 or PSS with MGF1 over the same digest. As soon as a
//! parameter says otherwise the default provider takes over, in the state the operation has.

use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::Arc;

use spinlane_crypto::digest::{Digest, Hasher, MAX_DIGEST_LEN};
use spinlane_crypto::{ecdsa, padding};
use spinlane_cryptodev::{KeyHandle, MAX_OUTPUT, Request};

use super::counters::{Delegated, count_delegated};
use super::delegate::Delegate;
use super::digests::{digest_by_name, digest_name};
use super::error::raise;
use super::ffi::{self, OSSL_PARAM};
use super::held::Dup;
use super::inner::{DigestCtx, DigestInit, KeyCtx, KeyInit};
use super::key::Operand;
use super::names;
use super::offload::offload;
use super::params::{self, Param, Params};

/// One operation context. Which operation it is shows in what it holds: a hasher for a message,
/// a delegate for what is not ours, neither for a hash to sign.
pub(super) struct Signer {
    algorithm: Algorithm,
    key: Option<Operand>,
    settings: Settings,
    hasher: Option<Hasher>,
    delegate: Option<Delegate>,
}

/// Of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSA, without restriction to PSS.
    Rsa,
    /// ECDSA, on any curve.
    Ec,
}

/// What a signature of ours depends on.
#[derive(Clone, Copy)]
struct Settings {
    digest: Option<Digest>,
    pss: bool,
    /// As RSA_PSS_SALTLEN_*, or a number of bytes.
    salt_len: c_int,
}

/// A parameter that makes the operation the default provider's.
struct NotOurs;

/// A finished hash.
struct Hash {
    bytes: [u8; MAX_DIGEST_LEN],
    len: usize,
}

impl Dup for Signer {
    fn dup(&self) -> Option<Self> {
        let delegate = match &self.delegate {
            None => None,
            Some(delegate) => Some(delegate.dup()?),
        };
        let (key, hasher) = (self.key.clone(), self.hasher.clone());
        Some(Self {
            algorithm: self.algorithm,
            key,
            settings: self.settings,
            hasher,
            delegate,
        })
    }
}

impl Signer {
    pub fn new(algorithm: Algorithm) -> Self {
        let settings = Settings {
            digest: None,
            pss: false,
            salt_len: 0,
        };
        Self {
            algorithm,
            key: None,
            settings,
            hasher: None,
            delegate: None,
        }
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Makes it a signature of hashes. `key` is `None` to go on with the same.
    pub fn start_sign(&mut self, key: Option<Operand>, params: Params<'_>) -> bool {
        if !self.restart(key) {
            return false;
        }
        self.settings.digest = None;
        self.set(params)
    }

    /// Makes it a signature of a message. `digest` is `None` to go on with the same.
    pub fn start_digest_sign(
        &mut self,
        digest: Option<&CStr>,
        key: Option<Operand>,
        params: Params<'_>,
    ) -> bool {
        if !self.restart(key) || !params.have_values() {
            return false;
        }
        if let Some(name) = digest {
            self.settings.digest = digest_by_name(name.to_bytes());
        }
        let Some(digest) = self.settings.digest.filter(|_| self.device_key().is_some()) else {
            return self.delegate_message(digest, params, ffi::EVP_DigestSignInit_ex);
        };
        self.hasher = Some(Hasher::new(digest));
        self.set(params)
    }

    /// Makes it an operation on a hash that the default provider does, prepared by `init`.
    pub fn start_delegated(
        &mut self,
        key: Option<Operand>,
        params: Params<'_>,
        init: KeyInit,
    ) -> bool {
        if !self.restart(key) || !params.have_values() {
            return false;
        }
        let Some(ctx) = self.key_ctx() else {
            return false;
        };
        // SAFETY: live context; the array is handed on as it came.
        let ready = unsafe { init(ctx.as_ptr(), params.as_ptr()) } > 0;
        self.delegate = ready.then_some(Delegate::Key(ctx));
        ready
    }

    /// Makes it a verification of a message.
    pub fn start_digest_verify(
        &mut self,
        digest: Option<&CStr>,
        key: Option<Operand>,
        params: Params<'_>,
    ) -> bool {
        self.restart(key)
            && params.have_values()
            && self.delegate_message(digest, params, ffi::EVP_DigestVerifyInit_ex)
    }

    /// Takes in parameters, in any state.
    pub fn set(&mut self, params: Params<'_>) -> bool {
        if params.is_null() {
            return true;
        }
        if !params.have_values() {
            return false;
        }
        if self.delegate.is_none() {
            match self.settings_after(params) {
                Ok(Some(settings)) => {
                    self.settings = settings;
                    return true;
                }
                Ok(None) => return false,
                Err(NotOurs) => {
                    let Some(ctx) = self.sign_ctx() else {
                        return false;
                    };
                    self.delegate = Some(Delegate::Key(ctx));
                }
            }
        }
        self.delegate
            .as_ref()
            .is_some_and(|delegate| delegate.set(params))
    }

    /// Answers a request for parameters as the default provider would in the same state.
    pub fn get(&self, params: *mut OSSL_PARAM) -> bool {
        let fresh;
        let delegate = match &self.delegate {
            Some(delegate) => delegate,
            None => {
                let Some(ctx) = self.sign_ctx() else {
                    return false;
                };
                fresh = Delegate::Key(ctx);
                &fresh
            }
        };
        // SAFETY: the caller's array.
        unsafe { delegate.get(params) }
    }

    /// Returns the length in bytes of the longest signature.
    pub fn size(&self) -> Option<usize> {
        self.key.as_ref().map(|key| key.size)
    }

    /// Returns the default provider's context, if it does the operation on hashes.
    pub fn hash_delegate(&self) -> Option<&KeyCtx> {
        match &self.delegate {
            Some(Delegate::Key(ctx)) => Some(ctx),
            _ => None,
        }
    }

    /// Returns the default provider's context, if it does the operation on a message.
    pub fn message_delegate(&self) -> Option<&DigestCtx> {
        match &self.delegate {
            Some(Delegate::Digest(ctx)) => Some(ctx),
            _ => None,
        }
    }

    /// Hashes more of the message to be signed.
    pub fn update(&mut self, data: &[u8]) -> bool {
        if let Some(ctx) = self.message_delegate() {
            // SAFETY: live context; `data` is readable.
            return unsafe {
                openssl_sys::EVP_DigestSignUpdate(ctx.as_ptr(), data.as_ptr().cast(), data.len())
                    > 0
            };
        }
        let Some(hasher) = &mut self.hasher else {
            raise(format_args!(
                "no message is being signed; call EVP_DigestSignInit first"
            ));
            return false;
        };
        hasher.update(data);
        true
    }

    /// Signs the message so far and `rest`; returns the signature's length. May pause.
    pub fn sign_message(&self, rest: &[u8], out: &mut [u8; MAX_OUTPUT]) -> Option<usize> {
        let Some(mut hasher) = self.hasher.clone() else {
            raise(format_args!(
                "no message is being signed; call EVP_DigestSignInit first"
            ));
            return None;
        };
        hasher.update(rest);
        let mut hash = Hash {
            bytes: [0; MAX_DIGEST_LEN],
            len: hasher.digest().len(),
        };
        hasher.finish(&mut hash.bytes);
        self.sign_hash(&hash.bytes[..hash.len], out)
    }

    /// Signs a hash; returns the signature's length. May pause.
    pub fn sign_hash(&self, hash: &[u8], out: &mut [u8; MAX_OUTPUT]) -> Option<usize> {
        if self.delegate.is_none()
            && let Some(key) = self.device_key()
        {
            match self.algorithm {
                Algorithm::Ec
                    if self
                        .settings
                        .digest
                        .is_none_or(|digest| digest.len() == hash.len()) =>
                {
                    return sign_ecdsa(key, hash, out);
                }
                Algorithm::Rsa => {
                    let mut block = [0; MAX_OUTPUT];
                    let block = &mut block[..self.size()?];
                    if self.settings.pad(hash, block) {
                        let out = &mut out[..block.len()];
                        let mut request = Request::rsa_private(key, block).ok()?;
                        if let Some(digest) = self.settings.is_plain_pss() {
                            request = request.of_pss(digest, hash);
                        }
                        return offload(&request, out).then_some(out.len());
                    }
                }
                Algorithm::Ec => {}
            }
        }
        self.sign_by_default_provider(hash, out)
    }

    fn sign_by_default_provider(&self, hash: &[u8], out: &mut [u8; MAX_OUTPUT]) -> Option<usize> {
        count_delegated(Delegated::Sign);
        let fresh;
        let ctx = match self.hash_delegate() {
            Some(ctx) => ctx,
            None => {
                fresh = self.sign_ctx()?;
                &fresh
            }
        };
        let mut len = out.len();
        // SAFETY: live context; both buffers have the lengths said.
        let signed = unsafe {
            openssl_sys::EVP_PKEY_sign(
                ctx.as_ptr(),
                out.as_mut_ptr(),
                &mut len,
                hash.as_ptr(),
                hash.len(),
            )
        };
        (signed > 0).then_some(len)
    }

    /// Forgets everything but the key and the digest.
    fn restart(&mut self, key: Option<Operand>) -> bool {
        self.delegate = None;
        self.hasher = None;
        if key.is_some() {
            self.key = key;
        }
        let Some(key) = &self.key else {
            raise(format_args!(
                "no key to sign or verify with; bind one first"
            ));
            return false;
        };
        self.settings.pss = false;
        self.settings.salt_len = key.context.default_salt_len;
        true
    }

    fn device_key(&self) -> Option<&Arc<KeyHandle>> {
        self.key.as_ref()?.device.as_ref()
    }

    fn key_ctx(&self) -> Option<KeyCtx> {
        self.key.as_ref()?.inner_ctx()
    }

    /// Returns a context of the default provider to sign a hash by these settings.
    fn sign_ctx(&self) -> Option<KeyCtx> {
        let ctx = self.key_ctx()?;
        let mut array = [const { params::end() }; 4];
        let mut used = 0;
        if let Some(digest) = self.settings.digest {
            array[used] = params::text(names::DIGEST, digest_name(digest));
            used += 1;
        }
        let (mut pad_mode, mut salt_len) = (ffi::RSA_PKCS1_PSS_PADDING, self.settings.salt_len);
        if self.settings.pss {
            array[used] = params::int(names::PAD_MODE, &mut pad_mode);
            array[used + 1] = params::int(names::SALTLEN, &mut salt_len);
        }
        // SAFETY: live context; the array ends with `end` and lives through the calls.
        let ready = unsafe {
            ffi::EVP_PKEY_sign_init_ex(ctx.as_ptr(), ptr::null()) > 0
                && openssl_sys::EVP_PKEY_CTX_set_params(ctx.as_ptr(), array.as_ptr()) > 0
        };
        ready.then_some(ctx)
    }

    fn delegate_message(
        &mut self,
        digest: Option<&CStr>,
        params: Params<'_>,
        init: DigestInit,
    ) -> bool {
        let ctx = self
            .key
            .as_ref()
            .and_then(|key| DigestCtx::start(&key.context.inner, &key.inner, init, digest, params));
        self.delegate = ctx.map(Delegate::Digest);
        self.delegate.is_some()
    }

    /// Returns the settings as `params` change them; `None` with an error queued if they must not.
    fn settings_after(&self, params: Params<'_>) -> Result<Option<Settings>, NotOurs> {
        let mut next = self.settings;
        let rsa = self.algorithm == Algorithm::Rsa;
        if let Some(param) = params.find(names::DIGEST) {
            let digest = param.text().and_then(digest_by_name);
            if self.hasher.is_some() && digest != self.settings.digest {
                raise(format_args!(
                    "the digest is fixed once a message is being signed; start over"
                ));
                return Ok(None);
            }
            next.digest = Some(digest.ok_or(NotOurs)?);
        }
        if let Some(param) = params.find(names::PAD_MODE).filter(|_| rsa) {
            next.pss = is_pss(param).ok_or(NotOurs)?;
        }
        if let Some(param) = params.find(names::SALTLEN).filter(|_| rsa) {
            let automatic = self
                .key
                .as_ref()
                .map_or(0, |key| key.context.default_salt_len);
            next.salt_len = salt_len(param, automatic)
                .filter(|_| next.pss)
                .ok_or(NotOurs)?;
        }
        if let Some(param) = params.find(names::MGF1_DIGEST).filter(|_| rsa) {
            let digest = param
                .text()
                .and_then(digest_by_name)
                .filter(|_| next.pss)
                .ok_or(NotOurs)?;
            if next.digest != Some(digest) {
                return Err(NotOurs);
            }
        }
        let known = |param: Param<'_>| {
            let key = param.key();
            let common = [names::DIGEST, names::PROPERTIES, names::TLS_VERSION].contains(&key);
            let of_rsa = [
                names::PAD_MODE,
                names::SALTLEN,
                names::MGF1_DIGEST,
                names::MGF1_PROPERTIES,
            ];
            common || rsa && of_rsa.contains(&key)
        };
        if params.iter().all(known) {
            Ok(Some(next))
        } else {
            Err(NotOurs)
        }
    }
}

impl Settings {
    /// The digest, for PSS with a salt as long as the hash.
    fn is_plain_pss(&self) -> Option<Digest> {
        let digest = self.digest.filter(|_| self.pss)?;
        let is_plain = self.salt_len == ffi::RSA_PSS_SALTLEN_DIGEST
            || usize::try_from(self.salt_len) == Ok(digest.len());
        is_plain.then_some(digest)
    }

    /// Pads `hash` to the whole of `block`. Returns `false` if the default provider is to judge the
    /// case.
    fn pad(&self, hash: &[u8], block: &mut [u8]) -> bool {
        let Some(digest) = self.digest else {
            // Whatever it is, the caller has encoded it.
            return !self.pss && padding::pkcs1_v15_raw(hash, block).is_ok();
        };
        if !self.pss {
            return padding::pkcs1_v15(digest, hash, block).is_ok();
        }
        let longest = padding::pss_max_salt_len(digest, block.len());
        let salt_len = match self.salt_len {
            ffi::RSA_PSS_SALTLEN_DIGEST => digest.len(),
            ffi::RSA_PSS_SALTLEN_AUTO | ffi::RSA_PSS_SALTLEN_MAX => longest,
            ffi::RSA_PSS_SALTLEN_AUTO_DIGEST_MAX => longest.min(digest.len()),
            given => usize::try_from(given).unwrap_or(usize::MAX),
        };
        padding::pss(digest, hash, salt_len, block).is_ok()
    }
}

/// Returns `true` if a `pad-mode` means PSS, and `None` if it means neither PSS nor PKCS#1 v1.5.
fn is_pss(param: Param<'_>) -> Option<bool> {
    match (param.int(), param.text()) {
        (Some(ffi::RSA_PKCS1_PADDING), _) | (_, Some(b"pkcs1")) => Some(false),
        (Some(ffi::RSA_PKCS1_PSS_PADDING), _) | (_, Some(b"pss")) => Some(true),
        _ => None,
    }
}

/// Returns a `saltlen` that this version of OpenSSL knows.
fn salt_len(param: Param<'_>, default: c_int) -> Option<c_int> {
    let lowest = ffi::RSA_PSS_SALTLEN_MAX.min(default);
    let value = match param.text() {
        None => param.int()?,
        Some(b"digest") => ffi::RSA_PSS_SALTLEN_DIGEST,
        Some(b"max") => ffi::RSA_PSS_SALTLEN_MAX,
        Some(b"auto") => ffi::RSA_PSS_SALTLEN_AUTO,
        Some(number) => std::str::from_utf8(number)
            .ok()?
            .parse()
            .ok()
            .filter(|len| *len >= 0)?,
    };
    (value >= lowest).then_some(value)
}

fn sign_ecdsa(key: &Arc<KeyHandle>, hash: &[u8], out: &mut [u8; MAX_OUTPUT]) -> Option<usize> {
    let len = match key.name() {
        "P-256" => 32,
        "P-384" => 48,
        _ => return None,
    };
    // FIPS 186-5, section 6.4.1: the leftmost bits, as many as the order has.
    let hash = &hash[..hash.len().min(len)];
    let (mut digest, mut raw) = ([0; 48], [0; 96]);
    let (digest, raw) = (&mut digest[..len], &mut raw[..2 * len]);
    digest[len - hash.len()..].copy_from_slice(hash);
    let request = match len {
        32 => Request::ecdsa_p256(key, digest),
        _ => Request::ecdsa_p384(key, digest),
    };
    offload(&request.ok()?, raw).then(|| ecdsa::to_der(raw, out))
}
