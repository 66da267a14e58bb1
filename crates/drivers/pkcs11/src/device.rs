//! A token as a whole: opened once, with its keys and its queues.

use std::sync::Arc;

use spinlane_crypto::digest::Digest;
use spinlane_crypto::{PublicKey, padding};
use spinlane_cryptodev::{
    Capabilities, Device, DeviceError, KeyHandle, QueuePair, QueuePairConfig,
};

use crate::NAME;
use crate::backend::TokenBackend;
use crate::counters::Counts;
use crate::error::{Error, Failure, KeyProblem, describe};
use crate::key::TokenKey;
use crate::operation::{self, Operation, Problem};
use crate::pool::{Limits, Pool};
use crate::queue::{TokenPool, TokenQueue};
use crate::queue_pair::{self, TokenQueuePair};
use crate::settings::Settings;
use crate::token::{OpenSession, Token};
use crate::uri::{Uri, UriError};

/// A token with its sessions. They are closed when it and all its queues are gone.
///
/// Its threads have the CPU set of the thread that opens it: open it before that one is pinned to a core that
/// shall poll.
pub struct TokenDevice {
    pool: Arc<TokenPool>,
    capabilities: Capabilities,
}

impl TokenDevice {
    /// Opens the token that `uri` names, with the PIN that it names. What `uri` says of an object is not looked
    /// at.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(uri: &Uri, settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let limits = Limits {
            workers: settings.sessions,
            stuck_after: settings.stuck_after,
            stuck_threads: settings.stuck_threads,
            close_within: settings.close_within,
        };
        let token = Token::new(uri, settings)?;
        // A wrong PIN shows here, where an operator reads it, and is tried once.
        let open = token.first_session()?;
        let mechanisms = open.user().pkcs11().get_mechanism_list(open.slot);
        let mechanisms = mechanisms.map_err(|error| Error::Token {
            token: token.label(),
            reason: describe(&error),
        })?;
        let pool = Pool::start(TokenBackend::new(token), limits)?;
        Ok(Self {
            capabilities: queue_pair::capabilities(&mechanisms),
            pool,
        })
    }

    /// The private key that `uri` names on this token. Its public half is `given`, as from a certificate, or
    /// what the token says. One signature is tried, if the key signs. An RSA key that cannot serve TLS 1.3 is given
    /// all the same, with a line in the log.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn key(&self, uri: &Uri, given: Option<PublicKey>) -> Result<Arc<KeyHandle>, Error> {
        let token = self.token();
        let open = token.first_session()?;
        let (public, key) = TokenKey::find(token, &open, uri, given)?;
        trial(&open, &key, &public).map_err(|failure| Error::Key {
            key: uri.clone(),
            problem: match failure {
                Failure::Wrong => KeyProblem::Mismatch,
                failure => KeyProblem::Trial(failure),
            },
        })?;
        if matches!(public, PublicKey::Rsa(_)) && key.can.sign && !key.signs_pss() {
            tracing::warn!(
                "{uri}: the token has neither CKM_RSA_X_509 nor CKM_RSA_PKCS_PSS, so that the key signs by PKCS#1 v1.5 alone: \
                 TLS 1.2, not TLS 1.3; use a key on a curve"
            );
        }
        Ok(KeyHandle::remote(public, NAME, key))
    }

    /// A queue to the token's sessions for the calling thread, for at most `capacity` ops in flight. The
    /// sessions are shared fairly between queues.
    ///
    /// # Errors
    /// The capacity is 0 or above 65536.
    pub fn queue(&self, capacity: usize) -> Result<TokenQueue, Error> {
        if !(1..=1 << 16).contains(&capacity) {
            return Err(Error::Setting {
                setting: "capacity",
                value: capacity as u64,
                wanted: "1 to 65536 ops",
            });
        }
        Ok(TokenQueue::new(
            &self.pool,
            capacity,
            self.wait_at_most_ns(),
        ))
    }

    /// Tries a PIN again that was refused: an operator has seen to it. A PIN that has changed where it comes
    /// from is tried again without this.
    pub fn retry_pin(&self) {
        self.token().retry_pin();
    }

    /// Whether the key is on this token.
    pub fn has(&self, key: &KeyHandle) -> bool {
        let number = self.token().number();
        key.object::<TokenKey>()
            .is_some_and(|key| key.token == number)
    }

    /// Whether sessions are closed as soon as there is nothing left for them, as for a token whose keys serve no
    /// longer: a session is opened again for an op that comes yet. Returns what it was before; `false` at first.
    pub fn rest(&self, rests: bool) -> bool {
        self.pool.rest(rests)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.token().counters.read()
    }

    /// Label of the token.
    pub fn label(&self) -> String {
        self.token().label()
    }

    /// Closes the sessions and waits for the threads, except for those that are stuck within the module. Ops
    /// that wait end with [`Failure::Stopped`].
    pub fn close(&self) {
        self.pool.close();
    }

    fn wait_at_most_ns(&self) -> u64 {
        let wait_at_most = self.token().settings().wait_at_most;
        wait_at_most.as_nanos().try_into().unwrap_or(u64::MAX)
    }

    fn token(&self) -> &Token {
        &self.pool.backend().token
    }
}

impl Device for TokenDevice {
    fn name(&self) -> &str {
        NAME
    }

    /// What the token's mechanisms allow, for keys that are on it.
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// `name` is a URI; what it leaves open, as module and PIN, has been said already.
    fn own_key(
        &self,
        name: &str,
        public: Option<PublicKey>,
    ) -> Result<Arc<KeyHandle>, DeviceError> {
        let refused = |reason| DeviceError::Key { reason };
        let uri: Uri = name
            .parse()
            .map_err(|error: UriError| refused(error.to_string()))?;
        self.key(&uri, public)
            .map_err(|error| refused(error.to_string()))
    }

    /// `max_delay_ns` means nothing here: nothing waits for company.
    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        config.check(NAME)?;
        Ok(Box::new(TokenQueuePair::new(
            &self.pool,
            config.capacity,
            self.wait_at_most_ns(),
            self.capabilities,
        )))
    }
}

/// One operation of the kind that TLS will ask for, checked by the public key.
fn trial(open: &OpenSession, key: &TokenKey, public: &PublicKey) -> Result<(), Failure> {
    let (operation, input) = match public {
        PublicKey::EcP256(_) => (Operation::Private, vec![0x5a; 32]),
        PublicKey::EcP384(_) => (Operation::Private, vec![0x5a; 48]),
        PublicKey::Ed25519(_) => (Operation::Private, b"trial".to_vec()),
        PublicKey::Rsa(_) if !key.can.sign => return Ok(()),
        PublicKey::Rsa(public) if key.can.rsa_raw => {
            let mut block = vec![0; public.modulus().len()];
            let padded = padding::pkcs1_v15(Digest::Sha256, &[0x5a; 32], &mut block);
            padded.map_err(|_| Failure::Unsupported)?;
            (Operation::Private, block)
        }
        PublicKey::Rsa(_) if key.can.rsa_pss => {
            let (digest, salt_len) = (Digest::Sha256, 32);
            (Operation::RsaPss { digest, salt_len }, vec![0x5a; 32])
        }
        PublicKey::Rsa(_) => (Operation::RsaPkcs1, vec![0x5a; 32]),
    };
    let handle = key.handle(&open.session).map_err(Problem::Module);
    let handle = handle.and_then(|handle| handle.ok_or(Problem::Failure(Failure::Key)));
    let ran = handle.and_then(|handle| {
        operation::run(&open.session, handle, key, public, operation, &input, true)
    });
    match ran {
        Ok(_) => Ok(()),
        Err(Problem::Failure(failure)) => Err(failure),
        Err(Problem::Module(cryptoki::error::Error::Pkcs11(value, _))) => {
            Err(Failure::Module(value))
        }
        Err(Problem::Module(_)) => Err(Failure::Wrong),
    }
}
