//! PKCS#11 tokens whose keys serve: opened when a key's URI first names them, and open until the end.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use rustls::server::ParsedCertificate;
use spinlane::crypto::PublicKey;
use spinlane::cryptodev::{Device as _, KeyHandle, QueuePair, QueuePairConfig};
use spinlane::openssl::read_file;
use spinlane::pkcs11::uri::Uri;
use spinlane::pkcs11::{Error, KeyProblem, Settings, TokenDevice, TokenKey};

use super::config::{Config, KeySource};
use super::cores::Cores;
use crate::tls::certificates;

/// The tokens, by what the keys' URIs say of them.
pub struct Tokens {
    settings: Settings,
    /// Where their threads run.
    cores: Vec<usize>,
    open: Mutex<Vec<(Uri, TokenDevice)>>,
}

impl Tokens {
    /// None is open yet.
    ///
    /// # Errors
    /// The cores cannot be told.
    pub fn new(config: &Config) -> Result<Self> {
        let cores = match &config.token_cores {
            Some(cores) if *cores != Cores::auto() => cores.0.clone(),
            _ => {
                let polling = config.core_list()?;
                let usable = core_affinity::get_core_ids().unwrap_or_default();
                let others = usable.into_iter().map(|core| core.id);
                others.filter(|core| !polling.contains(core)).collect()
            }
        };
        Ok(Self {
            settings: Settings {
                sessions: config.token_sessions.get(),
                verify: !config.no_token_verify,
                ..Settings::default()
            },
            cores,
            open: Mutex::default(),
        })
    }

    /// The key that `uri` names. Where its token has no public key, it is that of `certificate`, a PEM file.
    ///
    /// # Errors
    /// There is none, or it is of no use for TLS; the text says why.
    pub fn key(
        &self,
        (key_name, uri): (&str, &Uri),
        certificate: (&str, &Path),
    ) -> Result<Arc<KeyHandle>> {
        let name = || key_name.to_owned();
        let mut open = self.open();
        if open.iter().all(|(known, _)| *known != uri.token()) {
            let token = on_cores(&self.cores, || {
                TokenDevice::open(uri, self.settings.clone())
            });
            open.push((uri.token(), token.with_context(name)?));
        }
        let token = open.iter().find(|(known, _)| *known == uri.token());
        let (_, token) = token.with_context(name)?;
        let key = match token.key(uri, None) {
            Err(Error::Key {
                problem: KeyProblem::NoPublic,
                ..
            }) => token.key(uri, Some(public_key(certificate)?)),
            other => other,
        };
        let key = key.with_context(name)?;
        let own = key.object::<TokenKey>();
        ensure!(
            key.modulus().is_none() || own.is_some_and(TokenKey::signs_pss),
            "{key_name}: the token has neither CKM_RSA_X_509 nor CKM_RSA_PKCS_PSS, without which TLS 1.3 cannot be \
             served by RSA; use a key on a curve"
        );
        Ok(key)
    }

    /// A queue pair of each token from the `known`th on, for the calling thread.
    ///
    /// # Errors
    /// There is no memory.
    pub fn queue_pairs(&self, known: usize) -> Result<Vec<Box<dyn QueuePair>>> {
        let open =
            |(_, token): &(Uri, TokenDevice)| Ok(token.queue_pair(QueuePairConfig::default())?);
        self.open().iter().skip(known).map(open).collect()
    }

    /// Has PINs tried again that were refused: an operator has asked for it.
    pub fn retry_pins(&self) {
        for (_, token) in &*self.open() {
            token.retry_pin();
        }
    }

    /// Has tokens that no key of `served` is on close their sessions as soon as nothing is left to do.
    pub fn rest_except<'a>(&self, served: impl Iterator<Item = &'a KeyHandle> + Clone) {
        for (uri, token) in &*self.open() {
            let serves = served.clone().any(|key| token.has(key));
            let did_rest = token.rest(!serves);
            if did_rest == serves {
                let sessions = if serves { "opened" } else { "closed" };
                tracing::info!("{uri}: its sessions are {sessions} by SIGHUP");
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<(Uri, TokenDevice)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The URI that a --key is, or that its file has in place of a key; `None` if that has none.
///
/// # Errors
/// The file cannot be read, or what begins as a URI is none.
pub fn uri(name: &str, key: &KeySource) -> Result<Option<Uri>> {
    let path = match key {
        KeySource::Token(uri) => return Ok(Some(uri.clone())),
        KeySource::File(path) => path,
    };
    let text = read_file(path).with_context(|| format!("{name}: cannot be read"))?;
    if !text.starts_with(b"pkcs11:") {
        return Ok(None);
    }
    let text = std::str::from_utf8(&text).with_context(|| name.to_owned())?;
    let uri = text.trim_end().parse();
    Ok(Some(uri.with_context(|| name.to_owned())?))
}

/// The public key of the first certificate in a PEM file.
fn public_key((name, certificate): (&str, &Path)) -> Result<PublicKey> {
    let text = read_file(certificate).with_context(|| format!("{name}: cannot be read"))?;
    let all = certificates(name, &text)?;
    let first = all.first().with_context(|| name.to_owned())?;
    let parsed = ParsedCertificate::try_from(first).with_context(|| name.to_owned())?;
    PublicKey::from_spki(&parsed.subject_public_key_info())
        .with_context(|| format!("{name}: its public key is of no kind that a token signs by"))
}

/// Runs `start`, with the threads that it starts on `cores`; where those cannot be had, anywhere.
fn on_cores<T>(cores: &[usize], start: impl FnOnce() -> T) -> T {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this);
    let mut set = CpuSet::new();
    let known = cores.iter().all(|core| set.set(*core).is_ok());
    let moved = !cores.is_empty() && known && sched_setaffinity(this, &set).is_ok();
    let started = start();
    if let (true, Ok(before)) = (moved, before) {
        // It was this thread's a moment ago.
        let _ = sched_setaffinity(this, &before);
    }
    started
}
