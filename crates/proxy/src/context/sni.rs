//! Several certificates, chosen by the name that the client asks for (RFC 6066, section 3).

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use spinlane::crypto::digest::{Digest, Hasher};
use spinlane::rustls::SCOPE_LEN;

use crate::offload::ServedKey;
use crate::tls::Identity;

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
    keys: Vec<ServedKey>,
}

/// The certificates of a name.
#[derive(Debug)]
struct Fitting {
    /// Positions in `all`.
    positions: Vec<usize>,
    scope: [u8; SCOPE_LEN],
}

impl CertificatesByName {
    /// Those of `identities`, at least one. `clients`: a digest of what decides which clients get in.
    ///
    /// # Errors
    /// One is unusable; the text names it.
    pub fn new(identities: &[Identity], clients: &[u8; SCOPE_LEN]) -> Result<Self> {
        let (mut all, mut keys) = (Vec::new(), Vec::new());
        let mut positions: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, identity) in identities.iter().enumerate() {
            let (key, op) = identity.rustls()?;
            let name = identity.key_name().to_owned();
            let is_on_token = identity.is_on_token();
            keys.push(ServedKey {
                name,
                op,
                is_on_token,
            });
            if identities.len() > 1 {
                for name in names(&key).with_context(|| identity.name().to_owned())? {
                    positions.entry(name).or_default().push(index);
                }
            }
            all.push(key);
        }
        let fitting = positions.into_iter().map(|(name, positions)| {
            let scope = scope(clients, positions.iter().filter_map(|&at| all.get(at)));
            (name, Fitting { positions, scope })
        });
        Ok(Self {
            by_name: fitting.collect(),
            scope: scope(clients, &all),
            all,
            keys,
        })
    }

    /// A digest of what decides who gets in under this name, and of the certificates that it has: what a
    /// ticket is bound to.
    pub fn scope(&self, name: Option<&str>) -> [u8; SCOPE_LEN] {
        let fitting = name.and_then(|name| self.fitting(name));
        fitting.map_or(self.scope, |fitting| fitting.scope)
    }

    /// The private keys, in the order of the identities.
    pub fn keys(&self) -> &[ServedKey] {
        &self.keys
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

/// A digest of these certificates in this order.
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
fn names(key: &CertifiedKey) -> Result<Vec<String>> {
    let certificate = webpki::EndEntityCert::try_from(key.end_entity_cert()?)?;
    let names = certificate.valid_dns_names();
    Ok(names
        .map(|name| name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase())
        .collect())
}
