//! Several certificates, chosen by the name that the client asks for (RFC 6066, section 3).

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use spinlane::rustls::KeyOffload;

use crate::tls::Identity;

/// Certificates by their subject alternative names. For a name that none has, and for clients
/// that ask for none, there is the first. Where several fit, the first whose key the client
/// can verify: so an RSA and an ECDSA certificate may have the same names.
#[derive(Debug)]
pub struct CertificatesByName {
    all: Vec<Arc<CertifiedKey>>,
    /// Positions in `all`. A wildcard's name goes without its `*`: `.example.org`.
    by_name: HashMap<String, Vec<usize>>,
    not_offloaded: Option<String>,
}

impl CertificatesByName {
    /// Those of `identities`, at least one.
    ///
    /// # Errors
    /// One is unusable; the text names it.
    pub fn new(identities: &[Identity]) -> Result<Self> {
        let mut resolver = Self {
            all: Vec::new(),
            by_name: HashMap::new(),
            not_offloaded: None,
        };
        for (index, identity) in identities.iter().enumerate() {
            let (key, offload) = identity.rustls()?;
            if let KeyOffload::Unsupported(why) = offload {
                tracing::warn!(why, "{}: not offloaded", identity.key_name());
                resolver.not_offloaded.get_or_insert(why);
            }
            if identities.len() > 1 {
                for name in names(&key).with_context(|| identity.name().to_owned())? {
                    resolver.by_name.entry(name).or_default().push(index);
                }
            }
            resolver.all.push(key);
        }
        Ok(resolver)
    }

    /// Why a key is not offloaded, if one is not.
    pub fn not_offloaded(&self) -> Option<&str> {
        self.not_offloaded.as_deref()
    }

    fn fitting(&self, name: &str) -> Option<&Vec<usize>> {
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
            .flatten()
            .filter_map(|&index| self.all.get(index));
        fitting
            .find(can_verify)
            .or_else(|| self.all.iter().find(can_verify))
            .or(self.all.first())
            .cloned()
    }
}

/// The DNS names of the first certificate, in lower case, wildcards without their `*`.
fn names(key: &CertifiedKey) -> Result<Vec<String>> {
    let certificate = webpki::EndEntityCert::try_from(key.end_entity_cert()?)?;
    let names = certificate.valid_dns_names();
    Ok(names
        .map(|name| name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase())
        .collect())
}
