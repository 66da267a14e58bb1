//! A server's certificates: each with its key, and several chosen by the name that the client asks for
//! (RFC 6066, section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use spinlane_crypto::digest::{Digest, Hasher};
use thiserror::Error;

use crate::ticket::SCOPE_LEN;

/// Why a certificate cannot be served. The text names the remedy.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum CertificateError {
    /// There is none.
    #[error("there is no certificate; give at least one, the server's own first")]
    None,
    /// The key belongs to a later certificate of the chain.
    #[error(
        "the certificate of the private key is number {position}; put it first, and its issuers behind it"
    )]
    Order {
        /// Its place, counted from 1.
        position: usize,
    },
    /// The key belongs to no certificate of the chain.
    #[error(
        "certificate and private key do not match; give the key that the certificate was issued for"
    )]
    Mismatch,
    /// Its public key gives the curve by numbers.
    #[error(
        "the certificate gives its curve by explicit parameters, which RFC 5480 forbids and rustls does not take; \
         make key and certificate again with the curve's name (openssl genpkey -pkeyopt ec_param_enc:named_curve)"
    )]
    ExplicitCurve,
    /// X.509 version 1 or 2.
    #[error(
        "the certificate is of X.509 version 1 or 2, which rustls does not take; issue one of version 3, with the \
         server's names as subjectAltName"
    )]
    OldVersion,
    /// rustls says why.
    #[error("the certificate cannot be used: {0}")]
    Unusable(rustls::Error),
}

/// Puts a chain, the server's own certificate first, and its private key together.
///
/// # Errors
/// They do not fit, or rustls does not take them.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    if chain.is_empty() {
        return Err(CertificateError::None);
    }
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(mismatch(&certified)),
        Err(rustls::Error::InvalidCertificate(error)) if is_old(&error) => {
            Err(CertificateError::OldVersion)
        }
        Err(error) => Err(CertificateError::Unusable(error)),
    }
}

/// Whether a certificate is of an old version of X.509.
fn is_old(error: &rustls::CertificateError) -> bool {
    let rustls::CertificateError::Other(other) = error else {
        return false;
    };
    other.0.downcast_ref() == Some(&webpki::Error::UnsupportedCertVersion)
}

/// Why certificate and key do not belong together.
fn mismatch(certified: &CertifiedKey) -> CertificateError {
    // prime-field (RFC 3279, section 2.3.5), which only a curve's parameters have.
    const PRIME_FIELD: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01, 0x01];
    let mut later = certified.cert.iter().zip(1..).skip(1);
    let own = later.find(|(certificate, _)| {
        let alone = CertifiedKey::new(vec![(*certificate).clone()], Arc::clone(&certified.key));
        alone.keys_match().is_ok()
    });
    let leaf = certified.cert.first().map_or(&[][..], |leaf| leaf.as_ref());
    let mut parts = leaf.windows(PRIME_FIELD.len());
    match own {
        Some((_, position)) => CertificateError::Order { position },
        None if parts.any(|bytes| bytes == PRIME_FIELD) => CertificateError::ExplicitCurve,
        None => CertificateError::Mismatch,
    }
}

/// Certificates by their subject alternative names. For a name that none has, and for clients
/// that ask for none, there is the first. Where several fit, the first whose key the client
/// can verify: so an RSA and an ECDSA certificate may have the same names.
#[derive(Debug)]
pub struct CertificatesByName {
    all: Vec<Arc<CertifiedKey>>,
    /// A wildcard's name goes without its `*`: `.example.org`.
    by_name: HashMap<String, Fitting>,
    /// For all other names.
    scope: [u8; SCOPE_LEN],
}

/// The certificates of a name.
#[derive(Debug)]
struct Fitting {
    /// Positions in `all`.
    positions: Vec<usize>,
    scope: [u8; SCOPE_LEN],
}

impl CertificatesByName {
    /// Sorts `all`, the first of which is for all other names. `clients`: a digest of what decides which clients
    /// get in, for [`CertificatesByName::scope`].
    ///
    /// # Errors
    /// There is none; or the names of one cannot be read: its position in `all` is given.
    pub fn new(
        all: Vec<Arc<CertifiedKey>>,
        clients: &[u8; SCOPE_LEN],
    ) -> Result<Self, (usize, CertificateError)> {
        if all.is_empty() {
            return Err((0, CertificateError::None));
        }
        let mut positions: HashMap<String, Vec<usize>> = HashMap::new();
        // Of a single one the names do not matter.
        for (index, key) in all.iter().enumerate().filter(|_| all.len() > 1) {
            let names = names(key).map_err(|error| (index, CertificateError::Unusable(error)))?;
            for name in names {
                positions.entry(name).or_default().push(index);
            }
        }
        let fitting = positions.into_iter().map(|(name, positions)| {
            let scope = scope(clients, positions.iter().filter_map(|&at| all.get(at)));
            (name, Fitting { positions, scope })
        });
        Ok(Self {
            by_name: fitting.collect(),
            scope: scope(clients, &all),
            all,
        })
    }

    /// A digest of what decides who gets in under this name, and of the certificates that it has: what a
    /// ticket is bound to.
    pub fn scope(&self, name: Option<&str>) -> [u8; SCOPE_LEN] {
        let fitting = name.and_then(|name| self.fitting(name));
        fitting.map_or(self.scope, |fitting| fitting.scope)
    }

    fn fitting(&self, name: &str) -> Option<&Fitting> {
        if self.by_name.is_empty() {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let exact = self.by_name.get(&name);
        exact.or_else(|| {
            let dot = name.find('.')?;
            self.by_name.get(&name[dot..])
        })
    }
}

impl ResolvesServerCert for CertificatesByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = &self.all[..] {
            return Some(Arc::clone(only));
        }
        let can_verify =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let fitting = hello.server_name().and_then(|name| self.fitting(name));
        let mut fitting = fitting
            .into_iter()
            .flat_map(|fitting| &fitting.positions)
            .filter_map(|&index| self.all.get(index));
        fitting
            .find(can_verify)
            .or_else(|| self.all.iter().find(can_verify))
            .or(self.all.first())
            .cloned()
    }
}

fn scope<'a>(
    clients: &[u8; SCOPE_LEN],
    keys: impl IntoIterator<Item = &'a Arc<CertifiedKey>>,
) -> [u8; SCOPE_LEN] {
    let mut hasher = Hasher::new(Digest::Sha256);
    hasher.update(clients);
    for key in keys {
        hasher.update(&chain_digest(&key.cert));
    }
    let mut scope = [0; SCOPE_LEN];
    hasher.finish(&mut scope);
    scope
}

/// Digests these certificates in this order.
pub fn chain_digest(chain: &[CertificateDer<'_>]) -> [u8; SCOPE_LEN] {
    let mut hasher = Hasher::new(Digest::Sha256);
    for certificate in chain {
        hasher.update(&(certificate.len() as u64).to_be_bytes());
        hasher.update(certificate);
    }
    let mut digest = [0; SCOPE_LEN];
    hasher.finish(&mut digest);
    digest
}

/// The DNS names of the first certificate, in lower case, wildcards without their `*`.
fn names(key: &CertifiedKey) -> Result<Vec<String>, rustls::Error> {
    let leaf = key.end_entity_cert()?;
    let certificate = webpki::EndEntityCert::try_from(leaf)
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let names = certificate.valid_dns_names();
    Ok(names
        .map(|name| name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase())
        .collect())
}
