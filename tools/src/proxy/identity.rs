//! The proxy's certificate and key: from files, or made in memory for trying things out.

use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use spinlane::openssl::Pem;

/// Key of a throw-away certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// RSA, 2048 bits.
    Rsa2048,
}

/// Reads a PEM file. Errors about its contents will call it `ARGUMENT PATH`.
///
/// # Errors
/// It cannot be read.
pub fn read(argument: &str, path: &Path) -> Result<Pem> {
    let name = format!("{argument} {}", path.display());
    let text = std::fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
    Ok(Pem::new(name, text))
}

/// A certificate for this machine's loopback names that nobody trusts, and its key.
///
/// # Errors
/// No randomness can be had.
pub fn self_signed(kind: KeyKind) -> Result<(Pem, Pem)> {
    let key = match kind {
        KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
    };
    let key = key.context("making a key for --self-signed")?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let certificate = CertificateParams::new(names)
        .and_then(|params| params.self_signed(&key))
        .context("making a certificate for --self-signed")?;
    Ok((
        Pem::new("self-signed certificate", certificate.pem()),
        Pem::new("its key", key.serialize_pem()),
    ))
}
