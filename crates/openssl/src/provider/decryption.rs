//! The state of one RSA decryption: what we do ourselves, and when the default provider does it.
//!
//! Ours are the padding of TLS 1.2's RSA key exchange (RSA_PKCS1_WITH_TLS_PADDING) and PKCS#1 v1.5.
//! Both answer a badly padded ciphertext with a random message instead of an error ([`unpadding`]):
//! the first as every OpenSSL does, the second as OpenSSL does from 3.2 on, whatever the version at
//! hand. A caller of 3.0 and 3.1 that expects an error from PKCS#1 v1.5 gets a message that is
//! none; that error is Bleichenbacher's oracle. Errors are left for what the peer knows anyhow: a
//! ciphertext too long, or not below the modulus.
//!
//! OAEP, no padding, and an explicit demand for that error are the default provider's.

use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;

use spinlane_crypto as crypto;
use spinlane_crypto::RsaKey;
use spinlane_crypto::unpadding::{self, PREMASTER_LEN, TlsVersions};
use spinlane_cryptodev::{KeyHandle, MAX_OUTPUT, Request, RequestError};
use zeroize::Zeroizing;

use super::counters::{Delegated, count_delegated};
use super::error::raise;
use super::ffi::{self, OSSL_PARAM};
use super::inner::KeyCtx;
use super::key::Operand;
use super::names;
use super::offload::offload;
use super::output::Output;
use super::params::{self, Params};

/// One decryption context.
pub(super) struct Decryption {
    key: Operand,
    settings: Settings,
    /// The default provider's context, if it does the decryption.
    delegate: Option<KeyCtx>,
}

/// What a decryption of ours depends on.
#[derive(Clone, Copy)]
struct Settings {
    /// Of TLS, not plain PKCS#1 v1.5.
    tls: bool,
    /// 0 = not set.
    client_version: u16,
    /// 0 = not set.
    negotiated_version: u16,
}

impl Decryption {
    /// Makes a decryption with `key`.
    pub fn start(key: Operand, params: Params<'_>) -> Option<Self> {
        let settings = Settings {
            tls: false,
            client_version: 0,
            negotiated_version: 0,
        };
        let mut decryption = Self {
            key,
            settings,
            delegate: None,
        };
        if decryption.device_key().is_none() {
            decryption.delegate = Some(decryption.inner_ctx()?);
        }
        decryption.set(params).then_some(decryption)
    }

    /// Makes a copy in the same state.
    pub fn dup(&self) -> Option<Self> {
        let delegate = match &self.delegate {
            None => None,
            Some(ctx) => Some(ctx.dup()?),
        };
        Some(Self {
            key: self.key.clone(),
            settings: self.settings,
            delegate,
        })
    }

    /// Takes in parameters.
    pub fn set(&mut self, params: Params<'_>) -> bool {
        if self.delegate.is_none() {
            if !params.have_values() {
                return false;
            }
            if let Some(settings) = self.settings.after(params) {
                self.settings = settings;
                return true;
            }
            self.delegate = self.inner_ctx();
        }
        self.delegate.as_ref().is_some_and(|ctx| ctx.set(params))
    }

    /// Answers a request for parameters as the default provider would in the same state.
    ///
    /// # Safety
    /// `params` is the caller's parameter array.
    pub unsafe fn get(&self, params: *mut OSSL_PARAM) -> bool {
        let fresh;
        let ctx = match &self.delegate {
            Some(ctx) => ctx,
            None => {
                let Some(ctx) = self.inner_ctx() else {
                    return false;
                };
                fresh = ctx;
                &fresh
            }
        };
        // SAFETY: live context; the array is handed on as it came.
        unsafe { openssl_sys::EVP_PKEY_CTX_get_params(ctx.as_ptr(), params) > 0 }
    }

    /// Decrypts. May pause.
    pub fn decrypt(&self, ciphertext: &[u8], output: Output) -> bool {
        let device = self.device_key().filter(|_| self.delegate.is_none());
        let Some((key, rsa)) = device else {
            let Some(ctx) = &self.delegate else {
                return false;
            };
            count_delegated(Delegated::AsymCipher);
            return output.delegate(|out, len| {
                // SAFETY: live context; the caller's buffers, handed on with their lengths.
                unsafe {
                    openssl_sys::EVP_PKEY_decrypt(
                        ctx.as_ptr(),
                        out,
                        len,
                        ciphertext.as_ptr(),
                        ciphertext.len(),
                    )
                }
            });
        };
        let longest = if self.settings.tls {
            PREMASTER_LEN
        } else {
            rsa.modulus_len()
        };
        let settings = self.settings;
        output.produce("decrypted message", longest, |message| {
            settings.decrypt(key, rsa, ciphertext, message)
        })
    }

    fn device_key(&self) -> Option<(&Arc<KeyHandle>, &RsaKey)> {
        let key = self.key.device.as_ref()?;
        match key.as_local()? {
            crypto::Key::Rsa(rsa) => Some((key, rsa)),
            _ => None,
        }
    }

    /// Returns a context of the default provider with these settings.
    fn inner_ctx(&self) -> Option<KeyCtx> {
        let ctx = self.key.inner_ctx()?;
        let Settings {
            tls,
            client_version,
            negotiated_version,
        } = self.settings;
        let mut pad_mode = if tls {
            ffi::RSA_PKCS1_WITH_TLS_PADDING
        } else {
            ffi::RSA_PKCS1_PADDING
        };
        let mut versions = [client_version, negotiated_version].map(c_int::from);
        let [client, negotiated] = &mut versions;
        let array = [
            params::int(names::PAD_MODE, &mut pad_mode),
            params::int(names::TLS_CLIENT_VERSION, client),
            params::int(names::TLS_NEGOTIATED_VERSION, negotiated),
            params::end(),
        ];
        // SAFETY: live context; the array ends with `end` and lives through the calls.
        let ready = unsafe {
            ffi::EVP_PKEY_decrypt_init_ex(ctx.as_ptr(), ptr::null()) > 0
                && openssl_sys::EVP_PKEY_CTX_set_params(ctx.as_ptr(), array.as_ptr()) > 0
        };
        ready.then_some(ctx)
    }
}

impl Settings {
    /// Returns the settings as `params` change them; `None` if the decryption is the default
    /// provider's then.
    fn after(mut self, params: Params<'_>) -> Option<Self> {
        for param in params.iter() {
            let key = param.key();
            if key == names::PAD_MODE {
                self.tls = match (param.int(), param.text()) {
                    (Some(ffi::RSA_PKCS1_PADDING), _) | (_, Some(b"pkcs1")) => false,
                    (Some(ffi::RSA_PKCS1_WITH_TLS_PADDING), _) => true,
                    _ => return None,
                };
            } else if key == names::TLS_CLIENT_VERSION {
                self.client_version = u16::try_from(param.int()?).ok()?;
            } else if key == names::TLS_NEGOTIATED_VERSION {
                self.negotiated_version = u16::try_from(param.int()?).ok()?;
            } else if key != names::IMPLICIT_REJECTION || param.int()? == 0 {
                return None;
            }
        }
        Some(self)
    }

    /// Writes the message to the front of `message`; returns its length. May pause.
    fn decrypt(
        self,
        key: &Arc<KeyHandle>,
        rsa: &RsaKey,
        ciphertext: &[u8],
        message: &mut [u8; MAX_OUTPUT],
    ) -> Option<usize> {
        let len = rsa.modulus_len();
        let Some(zeros) = len.checked_sub(ciphertext.len()) else {
            raise(format_args!(
                "RSA ciphertext of {} bytes; the key decrypts at most {len}",
                ciphertext.len()
            ));
            return None;
        };
        if self.tls && self.client_version == 0 {
            raise(format_args!(
                "RSA decryption for TLS needs the client's version; set tls-client-version"
            ));
            return None;
        }
        let mut padded = [0; MAX_OUTPUT];
        padded[zeros..len].copy_from_slice(ciphertext);
        let ciphertext = &padded[..len];
        let mut block = Zeroizing::new([0; MAX_OUTPUT]);
        let block = &mut block[..len];
        match Request::rsa_private(key, ciphertext) {
            Ok(request) => {
                if !offload(&request, block) {
                    return None;
                }
            }
            // 0, 1 and n-1 are what they decrypt to.
            Err(RequestError::OwnRoot) => block.copy_from_slice(ciphertext),
            Err(error) => {
                raise(format_args!("RSA decryption: {error}"));
                return None;
            }
        }
        if !self.tls {
            return unpadding::pkcs1_v15(rsa, ciphertext, block, &mut message[..len]).ok();
        }
        let versions = TlsVersions {
            client: self.client_version,
            negotiated: (self.negotiated_version != 0).then_some(self.negotiated_version),
        };
        unpadding::tls_premaster(block, versions, message.first_chunk_mut()?).ok()?;
        Some(PREMASTER_LEN)
    }
}
