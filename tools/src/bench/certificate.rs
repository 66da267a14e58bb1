//! Throw-away certificates.

use anyhow::{Context, Result};
use clap::ValueEnum;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde::Serialize;
use spinlane::openssl::Pem;

/// The server's key and the certificate's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// RSA, 2048 bits.
    Rsa2048,
    /// ECDSA on P-256.
    P256,
}

/// A self-signed certificate of this kind, and its key.
///
/// # Errors
/// rcgen cannot make it.
pub fn generate(kind: Kind) -> Result<(Pem, Pem)> {
    let key = match kind {
        Kind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        Kind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
    };
    let key = key.context("making a key")?;
    let params =
        CertificateParams::new(["localhost".to_owned()]).context("making a certificate")?;
    let certificate = params.self_signed(&key).context("making a certificate")?;
    Ok((
        Pem::new("generated certificate", certificate.pem()),
        Pem::new("generated key", key.serialize_pem()),
    ))
}
