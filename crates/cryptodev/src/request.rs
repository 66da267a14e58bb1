//! What an application asks of a device that holds or is given a private key.

use std::sync::Arc;

use thiserror::Error;

use crate::key::KeyHandle;
use crate::kind::OpKind;
use crate::ops::PssHash;

/// What is asked: a kind, the key it needs, and a checked input.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub(crate) kind: OpKind,
    pub(crate) key: Option<&'a Arc<KeyHandle>>,
    /// The operands, which follow each other.
    pub(crate) input: &'a [u8],
    pub(crate) more: &'a [u8],
    /// What an RSA block was made of, for a device that pads for itself.
    pub(crate) pss: Option<PssHash>,
}

impl Request<'_> {
    /// What is computed.
    pub const fn kind(&self) -> OpKind {
        self.kind
    }

    /// The key; `None` for key exchanges, whose scalar is among the operands.
    pub fn key(&self) -> Option<&Arc<KeyHandle>> {
        self.key
    }

    /// Bytes of its operands together.
    pub const fn input_len(&self) -> usize {
        self.input.len() + self.more.len()
    }

    /// Bytes of memory that an op of it takes.
    pub const fn memory_len(&self) -> usize {
        self.input_len() + self.kind.output_len()
    }
}

/// A request that no device could serve. The text names the culprit.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    /// The key is of another type than the op needs.
    #[error(
        "the op needs a {wanted} key, the key given is {got}; bind the key that matches the certificate"
    )]
    WrongKey {
        /// Type the op needs.
        wanted: &'static str,
        /// Type of the key given.
        got: &'static str,
    },
    /// An operand has the wrong length.
    #[error("{what} must be {wanted} bytes, got {got}")]
    Length {
        /// Which operand.
        what: &'static str,
        /// Its length in bytes.
        wanted: usize,
        /// The length given.
        got: usize,
    },
    /// An operand is too long.
    #[error("{what} of {got} bytes; devices take at most {most}")]
    TooLong {
        /// Which operand.
        what: &'static str,
        /// The longest that fits.
        most: usize,
        /// The length given.
        got: usize,
    },
    /// An ephemeral private scalar is 0 or not below the order of the group.
    #[error("{curve} private scalar is not in 1..n; draw another")]
    ScalarRange {
        /// Name of the curve.
        curve: &'static str,
    },
    /// The RSA block is not a residue.
    #[error("RSA block is not below the modulus; pad it (PKCS#1 v1.5 or PSS) first")]
    NotBelowModulus,
    /// The RSA block is 0, 1 or n-1.
    #[error(
        "RSA block is 0, 1 or n-1, its own root under every key; pad it (PKCS#1 v1.5 or PSS) first"
    )]
    OwnRoot,
}
