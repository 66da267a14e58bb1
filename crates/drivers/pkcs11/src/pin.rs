//! PINs: where they come from, and what is kept of them.

use std::path::PathBuf;
use std::{env, fmt, fs};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::uri::{Attribute, Uri};

/// Longest PIN that is read, in bytes.
const MAX_LEN: u64 = 1024;

/// Where a PIN is. Never the PIN itself: that would stand in the list of processes, or in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// A PIN that cannot be had. The text names the culprit and the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PinError {
    /// The file cannot be read.
    #[error("PIN file {}: {reason}; let this user alone read it", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The variable is not set.
    #[error("the environment variable {name} holds no PIN; set it, or name a file")]
    Env {
        /// Name of the variable.
        name: String,
    },
    /// There is a file or variable, without a PIN.
    #[error("{origin} holds no PIN: its first line is empty, or longer than {MAX_LEN} bytes")]
    Empty {
        /// The file or variable.
        origin: String,
    },
}

/// A PIN. Wiped when it goes, never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pin(Zeroizing<Vec<u8>>);

impl Pin {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

impl PinSource {
    /// What `pin-source` of `uri` says.
    pub fn of(uri: &Uri) -> Option<Self> {
        let text = uri.text(Attribute::PinSource)?;
        if let Some(name) = text.strip_prefix("env:") {
            return Some(Self::Env(name.to_owned()));
        }
        // file:/path and file:///path are the same file (RFC 8089).
        let path = text.strip_prefix("file:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        Some(Self::File(path.into()))
    }

    /// Reads the PIN.
    pub(crate) fn read(&self) -> Result<Pin, PinError> {
        let text = match self {
            Self::File(path) => self.read_file(path)?,
            Self::Env(name) => {
                let value =
                    env::var_os(name).ok_or_else(|| PinError::Env { name: name.clone() })?;
                Zeroizing::new(value.into_encoded_bytes())
            }
        };
        let line = text.split(|byte| b"\r\n".contains(byte)).next();
        match line.unwrap_or_default() {
            [] => Err(self.empty()),
            line => Ok(Pin(Zeroizing::new(line.to_vec()))),
        }
    }

    fn read_file(&self, path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, PinError> {
        let failed = |error: std::io::Error| PinError::File {
            path: path.clone(),
            reason: error.to_string(),
        };
        let len = fs::metadata(path).map_err(failed)?.len();
        if len > MAX_LEN {
            return Err(self.empty());
        }
        fs::read(path).map(Zeroizing::new).map_err(failed)
    }

    fn empty(&self) -> PinError {
        let origin = match self {
            Self::File(path) => format!("PIN file {}", path.display()),
            Self::Env(name) => format!("the environment variable {name}"),
        };
        PinError::Empty { origin }
    }
}
