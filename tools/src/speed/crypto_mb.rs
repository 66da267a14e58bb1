//! crypto_mb's RSA as a peer: eight private operations per call, unchecked.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use spinlane::crypto::Key;
use spinlane::cryptodev::{KeyHandle, OpKind};
use spinlane_driver_mb::peer::{CryptoMbRsa, Stack};

/// Operations per call.
pub const LANES: usize = 8;

/// Set up for one key and block in all lanes.
pub struct Batch {
    rsa: CryptoMbRsa,
    key: Arc<KeyHandle>,
    out: [[u8; 512]; LANES],
}

impl Batch {
    /// For `kind`, which must be RSA.
    ///
    /// # Errors
    /// It is not, or this machine has no lanes.
    pub fn new(kind: OpKind, key: Option<&Arc<KeyHandle>>, stack: Stack) -> Result<Self> {
        let Some(Key::Rsa(_)) = key.and_then(|key| key.as_local()) else {
            bail!(
                "--peer crypto_mb: measures RSA, not {kind}; give --algorithm rsa2048 or the like"
            );
        };
        let rsa = CryptoMbRsa::new(stack)
            .map_err(|missing| anyhow::anyhow!("--peer crypto_mb: this machine lacks {missing}"))?;
        Ok(Self {
            rsa,
            key: key.context("an RSA key")?.clone(),
            out: [[0; 512]; LANES],
        })
    }

    /// Eight operations.
    ///
    /// # Errors
    /// crypto_mb refused a lane.
    pub fn run(&mut self, input: &[u8]) -> Result<()> {
        let Some(Key::Rsa(key)) = self.key.as_local() else {
            bail!("an RSA key");
        };
        let mut to = self.out.each_mut().map(|lane| &mut lane[..input.len()]);
        let ok = self.rsa.private(&[key; LANES], &[input; LANES], &mut to);
        ensure!(ok, "crypto_mb failed");
        Ok(())
    }
}
