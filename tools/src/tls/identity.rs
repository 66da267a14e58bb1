//! Certificates with their keys: from files, or made in memory for trying things out.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Serialize;
use spinlane::openssl::Pem;
use spinlane::rustls::{KeyOffload, load_private_key};
use zeroize::Zeroizing;

/// Key of a throw-away certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// RSA, 2048 bits.
    Rsa2048,
}

/// A certificate, its issuers, and its key, as PEM texts.
#[derive(Clone)]
pub struct Identity {
    /// What errors call it.
    name: String,
    certificate: Vec<u8>,
    /// What errors call the key.
    key_name: String,
    key: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// Reads PEM files. Errors about their contents will call them `--cert PATH` and `--key PATH`.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let name = format!("--cert {}", certificate.display());
        let key_name = format!("--key {}", key.display());
        let read = |name: &str, path: &Path| {
            std::fs::read(path).with_context(|| format!("{name}: cannot be read"))
        };
        Ok(Self {
            certificate: read(&name, certificate)?,
            key: Zeroizing::new(read(&key_name, key)?),
            name,
            key_name,
        })
    }

    /// A certificate for this machine's loopback names that nobody trusts, and its key.
    ///
    /// # Errors
    /// No randomness can be had.
    pub fn self_signed(kind: KeyKind) -> Result<Self> {
        let key = match kind {
            KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        let key = key.context("making a key")?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.self_signed(&key))
            .context("making a certificate")?;
        Ok(Self {
            name: "self-signed certificate".to_owned(),
            certificate: certificate.pem().into_bytes(),
            key_name: "its key".to_owned(),
            key: Zeroizing::new(key.serialize_pem().into_bytes()),
        })
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What errors call its key.
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    /// Certificates and key for libssl.
    pub fn openssl(&self) -> (Pem, Pem) {
        (
            Pem::new(&*self.name, &*self.certificate),
            Pem::new(&*self.key_name, &**self.key),
        )
    }

    /// Its certificates in their order, at least one.
    ///
    /// # Errors
    /// There is none.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        certificates(&self.name, &self.certificate)
    }

    /// Certificates and key for rustls, the key offloaded if devices know it.
    ///
    /// # Errors
    /// There is no certificate or no key, or they do not belong together.
    pub fn rustls(&self) -> Result<(Arc<CertifiedKey>, KeyOffload)> {
        let loaded = load_private_key(&self.private_key()?)
            .with_context(|| format!("{}: the private key cannot be used", self.key_name))?;
        let certified = CertifiedKey::new(self.certificates()?, loaded.key);
        Ok((self.matching(certified)?, loaded.offload))
    }

    /// The same by aws-lc-rs alone.
    ///
    /// # Errors
    /// As for [`Identity::rustls`].
    pub fn stock_rustls(&self) -> Result<Arc<CertifiedKey>> {
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&self.private_key()?)?;
        self.matching(CertifiedKey::new(self.certificates()?, key))
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            anyhow::anyhow!(
                "{}: no private key (without pass phrase) in PEM format can be read from it ({error}); check the file",
                self.key_name
            )
        })
    }

    fn matching(&self, certified: CertifiedKey) -> Result<Arc<CertifiedKey>> {
        match certified.keys_match() {
            Ok(()) => Ok(Arc::new(certified)),
            Err(rustls::Error::InconsistentKeys(_)) => bail!(
                "certificate {} and private key {} do not match; give the key that the certificate was issued for",
                self.name,
                self.key_name
            ),
            Err(error) => {
                Err(error).with_context(|| format!("{}: the certificate cannot be used", self.name))
            }
        }
    }
}

/// The certificates in a PEM text called `name`, at least one.
///
/// # Errors
/// There is none.
pub fn certificates(name: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| {
        anyhow::anyhow!(
            "{name}: no certificate in PEM format can be read from it ({error}); check the file"
        )
    })?;
    ensure!(
        !found.is_empty(),
        "{name}: no certificate in PEM format can be read from it (there is none); check the file"
    );
    Ok(found)
}
