//! Certificates with their keys: from files, or made in memory for trying things out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use serde::{Deserialize, Serialize};
use spinlane::cryptodev::{KeyHandle, OpKind};
use spinlane::openssl::{Pem, ServerConfig, SslCtx, Wanted, read_file};
use spinlane::rustls::{CertificateError, KeyOffload, certified, device_key, load_private_key};
use zeroize::Zeroizing;

/// Key of a throw-away certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
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
    /// Its file, if it is of one.
    path: Option<PathBuf>,
    certificate: Vec<u8>,
    /// What errors call the key.
    key_name: String,
    key: Zeroizing<Vec<u8>>,
    /// The key where it stays on a token; there is no PEM text then.
    token_key: Option<Arc<KeyHandle>>,
}

impl Identity {
    /// Reads PEM files. Errors about their contents will call them `--cert PATH` and `--key PATH`.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let name = format!("--cert {}", certificate.display());
        let key_name = format!("--key {}", key.display());
        Self::read_as((name, certificate), (key_name, key))
    }

    /// The same; errors will call the files by the names in front of them.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read_as(
        (name, certificate): (String, &Path),
        (key_name, key): (String, &Path),
    ) -> Result<Self> {
        let read = |name: &str, path: &Path| {
            read_file(path).with_context(|| format!("{name}: cannot be read"))
        };
        Ok(Self {
            certificate: read(&name, certificate)?.to_vec(),
            key: read(&key_name, key)?,
            path: Some(certificate.to_owned()),
            name,
            key_name,
            token_key: None,
        })
    }

    /// Reads the certificate, which errors will call `name`, of a key that stays on a token.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn on_token(
        (name, certificate): (String, &Path),
        key_name: String,
        key: Arc<KeyHandle>,
    ) -> Result<Self> {
        let read = read_file(certificate).with_context(|| format!("{name}: cannot be read"))?;
        Ok(Self {
            certificate: read.to_vec(),
            key: Zeroizing::default(),
            path: Some(certificate.to_owned()),
            name,
            key_name,
            token_key: Some(key),
        })
    }

    /// Its key, if that stays on a token.
    pub fn token_key(&self) -> Option<&Arc<KeyHandle>> {
        self.token_key.as_ref()
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
            path: None,
            certificate: certificate.pem().into_bytes(),
            key_name: "its key".to_owned(),
            key: Zeroizing::new(key.serialize_pem().into_bytes()),
            token_key: None,
        })
    }

    /// Its file, and when its certificate ends, in seconds since 1970; `None` if that cannot be read. (Its name may say the line
    /// of a configuration that names it, which moves.)
    pub fn expiry(&self) -> Option<(String, i64)> {
        let chain = self.certificates().ok()?;
        let (_, own) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        let path = self.path.as_ref().map(|path| path.display().to_string());
        let name = path.unwrap_or_else(|| self.name.clone());
        Some((name, own.validity().not_after.timestamp()))
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

    /// Certificates and key for rustls, the key offloaded if devices know it; and the op that signs, or why
    /// there is none.
    ///
    /// # Errors
    /// There is no certificate or no key, or they do not belong together.
    pub fn rustls(&self) -> Result<(Arc<CertifiedKey>, Result<OpKind, String>)> {
        let loaded = match self.token_key.as_ref().and_then(device_key) {
            Some(loaded) => loaded,
            None => load_private_key(&self.private_key()?)
                .map_err(|error| anyhow!("{}: {error}{}", self.key_name, self.elsewhere()))?,
        };
        let op = match (loaded.op, loaded.offload) {
            (Some(op), _) => Ok(op),
            (None, KeyOffload::Unsupported(why)) => Err(why),
            (None, KeyOffload::Offloaded) => Err("it is of no kind that devices have".to_owned()),
        };
        Ok((self.certified(loaded.key)?, op))
    }

    /// Who else serves an identity that rustls does not.
    fn elsewhere(&self) -> &'static str {
        let (certificate, key) = self.openssl();
        let mut config = ServerConfig::new(certificate, key);
        config.offload = false;
        match SslCtx::server(&config) {
            Ok(_) => "; or take --tls openssl, which serves this one",
            Err(_) => "",
        }
    }

    /// The same by aws-lc-rs alone.
    ///
    /// # Errors
    /// As for [`Identity::rustls`].
    pub fn stock_rustls(&self) -> Result<Arc<CertifiedKey>> {
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&self.private_key()?)?;
        self.certified(key)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        Pem::new(&*self.key_name, &**self.key).check(Wanted::PrivateKey)?;
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            anyhow!(
                "{}: no private key in PEM format can be read from it ({error}); make or export it again",
                self.key_name
            )
        })
    }

    /// Puts its certificates and `key` together.
    fn certified(&self, key: Arc<dyn SigningKey>) -> Result<Arc<CertifiedKey>> {
        let (name, key_name) = (&self.name, &self.key_name);
        certified(self.certificates()?, key).map_err(|error| match error {
            CertificateError::Order { position } => anyhow!(
                "{name}: the certificate of private key {key_name} is number {position}; put it first, and its \
                 issuers behind it"
            ),
            CertificateError::Mismatch => anyhow!(
                "certificate {name} and private key {key_name} do not match; give the key that the certificate \
                 was issued for"
            ),
            error => anyhow!("{name}: {error}"),
        })
    }
}

/// The certificates in a PEM text called `name`, at least one.
///
/// # Errors
/// There is none, or one is cut short or damaged.
pub fn certificates(name: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    Pem::new(name, text).check(Wanted::Certificate)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| {
        anyhow!("{name}: no certificate in PEM format can be read from it ({error}); make or export it again")
    })?;
    ensure!(
        !found.is_empty(),
        "{name}: no certificate in PEM format can be read from it: it has none that begins with \
         -----BEGIN CERTIFICATE-----; convert it (openssl x509)"
    );
    Ok(found)
}
