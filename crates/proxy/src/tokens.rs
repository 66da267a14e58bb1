//! PKCS#11 tokens whose keys serve: opened before anything is served, and open until the end.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use spinlane::cryptodev::{Device as _, KeyHandle, QueuePair, QueuePairConfig};
use spinlane::pkcs11::uri::Uri;
use spinlane::pkcs11::{Settings, TokenDevice, TokenKey};

use super::args::{Args, KeySource};

/// The tokens, by what the keys' URIs say of them.
pub struct Tokens(Vec<(Uri, TokenDevice)>);

impl Tokens {
    /// Opens every token that a --key names.
    ///
    /// # Errors
    /// One cannot be opened; the text names it.
    pub fn open(args: &Args) -> Result<Self> {
        let settings = Settings {
            sessions: usize::from(args.token_sessions),
            ..Settings::default()
        };
        let mut tokens: Vec<(Uri, TokenDevice)> = Vec::new();
        for key in &args.key {
            let KeySource::Token(uri) = key else {
                continue;
            };
            if tokens.iter().all(|(known, _)| *known != uri.token()) {
                let device = TokenDevice::open(uri, settings.clone());
                tokens.push((uri.token(), device.with_context(|| format!("--key {uri}"))?));
            }
        }
        Ok(Self(tokens))
    }

    /// The key that `uri` names.
    ///
    /// # Errors
    /// There is none, or it is of no use for TLS; the text says why.
    pub fn key(&self, uri: &Uri) -> Result<Arc<KeyHandle>> {
        let name = || format!("--key {uri}");
        let mut tokens = self.0.iter();
        let token = tokens.find(|(known, _)| *known == uri.token());
        // Those of a reload are those of the start.
        let (_, device) = token.with_context(name)?;
        let key = device.key(uri, None).with_context(name)?;
        let pads_itself = key.modulus().is_some()
            && key
                .object::<TokenKey>()
                .is_some_and(|key| !key.takes_padded_blocks());
        ensure!(
            !pads_itself,
            "--key {uri}: the token lacks CKM_RSA_X_509, without which TLS 1.3 cannot be served by RSA; \
             use a key on a curve"
        );
        Ok(key)
    }

    /// A queue pair of each, for the calling thread.
    ///
    /// # Errors
    /// There is no memory.
    pub fn queue_pairs(&self) -> Result<Vec<Box<dyn QueuePair>>> {
        let open =
            |(_, device): &(Uri, TokenDevice)| Ok(device.queue_pair(QueuePairConfig::default())?);
        self.0.iter().map(open).collect()
    }

    /// Has PINs tried again that were refused: an operator has asked for it.
    pub fn retry_pins(&self) {
        for (_, device) in &self.0 {
            device.retry_pin();
        }
    }
}
