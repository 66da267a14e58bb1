//! What can go wrong: at the start, with a key, and with an op.

use std::path::PathBuf;

use cryptoki::error::{Error as Cryptoki, RvError};
use spinlane_crypto::KeyError as PublicKeyError;
use thiserror::Error;

use crate::pin::PinError;
use crate::uri::Uri;

/// A token or a key that cannot be had. The text names the culprit and the remedy.
#[derive(Debug, Error)]
pub enum Error {
    /// The URI names no module.
    #[error(
        "{uri} names no module; add ?module-path=/usr/lib/… (a shared library that speaks PKCS#11), or module-name"
    )]
    NoModule {
        /// The URI.
        uri: Uri,
    },
    /// No module of that name in the usual folders.
    #[error("no PKCS#11 module {name:?} in {folders}; give its path by module-path")]
    ModuleName {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        folders: String,
    },
    /// The module cannot be loaded or does not start.
    #[error("PKCS#11 module {}: {reason}; check that it is installed and configured for this user", .path.display())]
    Module {
        /// Its path.
        path: PathBuf,
        /// What the loader, or the module, said.
        reason: String,
    },
    /// No slot has such a token.
    #[error("no token fits {wanted}; there is: {found}")]
    NoToken {
        /// What was asked for.
        wanted: Uri,
        /// The tokens that there are.
        found: String,
    },
    /// More than one token fits.
    #[error("several tokens fit {wanted}: {found}; add token=, serial= or slot-id=")]
    SeveralTokens {
        /// What was asked for.
        wanted: Uri,
        /// The tokens that fit.
        found: String,
    },
    /// The PIN cannot be had.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The token wants a PIN, and none was given.
    #[error(
        "token {token:?} wants a PIN; say where it is: ?pin-source=file:/path or ?pin-source=env:NAME"
    )]
    NoPin {
        /// Its label.
        token: String,
    },
    /// The token did not take the PIN.
    #[error(
        "token {token:?} refuses the PIN: {reason}. It is not tried again, since a few wrong ones lock the \
         token; mend the PIN where it comes from"
    )]
    PinRefused {
        /// Its label.
        token: String,
        /// What the token said.
        reason: String,
    },
    /// One more wrong PIN would lock the token.
    #[error(
        "token {token:?} has one try left before it locks the PIN, which an unattended program does not take; \
         log in once by hand (pkcs11-tool --login --list-objects), then start again"
    )]
    LastTry {
        /// Its label.
        token: String,
    },
    /// The module answered with an error.
    #[error("token {token:?}: {reason}; see the module's own log")]
    Token {
        /// Its label, or what was asked for.
        token: String,
        /// What the module said.
        reason: String,
    },
    /// The token is not there, or does not answer, at the moment.
    #[error("token {token:?} is not there: {reason}")]
    Away {
        /// Its label, or what was asked for.
        token: String,
        /// What happened.
        reason: Failure,
    },
    /// No private key fits.
    #[error("no private key on token {token:?} fits {wanted}; there is: {found}")]
    NoKey {
        /// Label of the token.
        token: String,
        /// What was asked for.
        wanted: Uri,
        /// Labels and ids of the keys there are.
        found: String,
    },
    /// More than one private key fits.
    #[error("several private keys on token {token:?} fit {wanted}: {found}; add object= or id=")]
    SeveralKeys {
        /// Label of the token.
        token: String,
        /// What was asked for.
        wanted: Uri,
        /// Labels and ids of those that fit.
        found: String,
    },
    /// The key cannot be used here.
    #[error("{key}: {problem}")]
    Key {
        /// URI of the key.
        key: Uri,
        /// What is wrong with it, and what to do.
        problem: KeyProblem,
    },
    /// Settings that make no sense.
    #[error("pkcs11: {setting} is {value}, must be {wanted}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// The value given.
        value: u64,
        /// The range.
        wanted: &'static str,
    },
    /// A thread could not be made.
    #[error(
        "pkcs11: cannot start a thread for a session: {0}; raise the limit on threads, or ask for fewer sessions"
    )]
    Thread(#[source] std::io::Error),
}

/// Why a key on a token cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyProblem {
    /// The URI asks for something else.
    #[error("names an object of type {0}; write type=private")]
    Type(String),
    /// A type of key that TLS has no use for.
    #[error(
        "is a key of a type that is not served; use RSA of 2048, 3072 or 4096 bits, P-256, P-384 or Ed25519"
    )]
    Kind,
    /// A number of the key makes no sense.
    #[error(transparent)]
    Public(#[from] PublicKeyError),
    /// The token does not say what the public key is.
    #[error(
        "has no public key beside it; store it under the same CKA_ID, or give the key together with its certificate"
    )]
    NoPublic,
    /// The key is not that of the certificate.
    #[error(
        "does not belong to the public key that was given; name the key that the certificate was made for"
    )]
    Mismatch,
    /// The token wants a PIN for every signature.
    #[error(
        "wants its PIN for every signature (CKA_ALWAYS_AUTHENTICATE), which nobody could type; use a key without it"
    )]
    AlwaysAuthenticate,
    /// Neither signatures nor decryptions are allowed.
    #[error("may neither sign nor decrypt; set CKA_SIGN")]
    Usage,
    /// The token lacks the mechanism.
    #[error("the token has none of the mechanisms that it needs: {0}")]
    Mechanism(&'static str),
    /// The trial signature failed.
    #[error("a trial signature failed: {0}")]
    Trial(Failure),
}

/// Why an op failed. Counted by name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// The session was lost twice in a row.
    #[error("the session was lost")]
    Session,
    /// The token is not in its slot, or does not answer.
    #[error("the token is not there; it is asked again from time to time")]
    Token,
    /// The PIN was refused, and is not tried again.
    #[error("the token refused the PIN, which is not tried again; mend it where it comes from")]
    Pin,
    /// The key is no longer on the token.
    #[error("the key is not on the token any more; put it back")]
    Key,
    /// The token will not do this with this key.
    #[error("the token refused the operation ({0:?}); check the key's usage and the mechanisms")]
    Refused(RvError),
    /// The token, or its module, failed.
    #[error("the token failed ({0:?}); see the module's own log")]
    Module(RvError),
    /// The result does not fit the public key.
    #[error("the token's result does not fit the public key")]
    Wrong,
    /// The module did not return in time; its session is given up.
    #[error("the module did not return in time")]
    Stuck,
    /// Waited too long for a session.
    #[error("no session was free in time; ask for more sessions")]
    Waited,
    /// The token cannot do it at all.
    #[error("the token lacks the mechanism; RSA-PSS on a padded block needs CKM_RSA_X_509")]
    Unsupported,
    /// The pool has been stopped.
    #[error("the sessions were closed")]
    Stopped,
    /// The process is a copy of the one that opened the module.
    #[error("this process was forked; open the token again in it")]
    Forked,
    /// The module, or its wrapper, panicked.
    #[error("the module's wrapper panicked")]
    Panicked,
}

/// What the module, or the loader, said, in a few words: a return value's own text is a page of the standard.
pub(crate) fn describe(error: &Cryptoki) -> String {
    match error {
        Cryptoki::Pkcs11(value, function) => format!("C_{function:?} returned {value:?}"),
        other => other.to_string(),
    }
}
