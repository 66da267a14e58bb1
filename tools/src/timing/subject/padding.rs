//! RSA decryption padding: right against wrong.

use anyhow::{Result, ensure};
use spinlane::crypto::RsaKey;
use spinlane::crypto::unpadding::{PREMASTER_LEN, TlsVersions, pkcs1_v15, tls_premaster};

use super::{Random, Subject, choose};

/// Bytes of a modulus.
const LEN: usize = 256;

/// `pkcs1_v15` with one ciphertext. The message returned has the same length in both classes, since the time
/// may tell it.
pub struct Pkcs1 {
    key: RsaKey,
    ciphertext: [u8; LEN],
    /// A block that is well padded, its message as long as what a wrong one gives.
    right: [u8; LEN],
    len: usize,
    block: [u8; LEN],
    message: [u8; LEN],
    got: usize,
}

impl Pkcs1 {
    /// Finds out how long the message of a badly padded block is.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn new() -> Result<Self> {
        let mut subject = Self {
            key: super::ops::fixed_rsa_key()?,
            ciphertext: [3; LEN],
            right: [7; LEN],
            len: 0,
            block: [0xff; LEN],
            message: [0; LEN],
            got: 0,
        };
        subject.decode()?;
        subject.len = subject.got;
        ensure!((1..=LEN - 11).contains(&subject.len), "an empty message");
        subject.right[..2].copy_from_slice(&[0, 2]);
        subject.right[LEN - subject.len - 1] = 0;
        Ok(subject)
    }

    fn decode(&mut self) -> Result<()> {
        self.got = pkcs1_v15(&self.key, &self.ciphertext, &self.block, &mut self.message)?;
        Ok(())
    }
}

impl Subject for Pkcs1 {
    fn device(&self) -> &str {
        "CPU"
    }

    fn prepare(&mut self, random: &mut Random, mask: u8) -> Result<()> {
        choose(&mut self.block, random, mask, &self.right);
        self.block[1] |= mask & 0x80; // never right by chance
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        self.decode()?;
        ensure!(self.got == self.len, "a message of another length");
        Ok(())
    }
}

/// `tls_premaster`.
pub struct Premaster {
    right: [u8; LEN],
    block: [u8; LEN],
    premaster: [u8; PREMASTER_LEN],
}

impl Premaster {
    /// Makes a right block.
    pub fn new() -> Self {
        let mut right = [7; LEN];
        right[..2].copy_from_slice(&[0, 2]);
        right[LEN - PREMASTER_LEN - 1..][..3].copy_from_slice(&[0, 3, 3]);
        Self {
            right,
            block: right,
            premaster: [0; PREMASTER_LEN],
        }
    }
}

impl Subject for Premaster {
    fn device(&self) -> &str {
        "CPU"
    }

    fn prepare(&mut self, random: &mut Random, mask: u8) -> Result<()> {
        choose(&mut self.block, random, mask, &self.right);
        self.block[1] |= mask & 0x80;
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let versions = TlsVersions {
            client: 0x0303,
            negotiated: None,
        };
        tls_premaster(&self.block, versions, &mut self.premaster)?;
        Ok(())
    }
}
