//! Device specs: what follows `pkcs11:`.

use std::str::FromStr;

use thiserror::Error;

use crate::settings::Settings;
use crate::uri::{Attribute, Uri, UriError};

/// A token and how it is used: `MODULE[,token=LABEL][,serial=…][,slot-id=N][,sessions=N][,pin-file=PATH]`
/// `[,pin-env=NAME][,verify=off]`. MODULE is a path, or a name without path and suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The token.
    pub uri: Uri,
    /// How it is used.
    pub settings: Settings,
}

/// A spec that means nothing. The text names the option and the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SpecError {
    /// There is no module.
    #[error(
        "device pkcs11: there is no module; write pkcs11:/usr/lib/softhsm/libsofthsm2.so,token=LABEL"
    )]
    NoModule,
    /// An option that there is not.
    #[error(
        "device pkcs11: {option:?} is no option; there is: token, serial, slot-id, sessions, pin-file, pin-env, verify"
    )]
    Option {
        /// What was given; a PIN is left out.
        option: String,
    },
    /// A value out of range.
    #[error("device pkcs11: {option} is {value:?}, must be {wanted}")]
    Value {
        /// Name of the option.
        option: &'static str,
        /// What was given.
        value: String,
        /// The range.
        wanted: &'static str,
    },
    /// A value that no URI could have.
    #[error("device pkcs11: {0}")]
    Uri(#[from] UriError),
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (mut uri, mut settings) = (Uri::default(), Settings::default());
        let mut parts = text.split(',');
        match parts.next().unwrap_or_default() {
            "" => return Err(SpecError::NoModule),
            path if path.starts_with('/') => uri.set(Attribute::ModulePath, path.as_bytes())?,
            name => uri.set(Attribute::ModuleName, name.as_bytes())?,
        }
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let wrong = |option, wanted| SpecError::Value {
                option,
                value: value.to_owned(),
                wanted,
            };
            match name {
                "token" => uri.set(Attribute::Token, value.as_bytes())?,
                "serial" => uri.set(Attribute::Serial, value.as_bytes())?,
                "slot-id" => uri.set(Attribute::SlotId, value.as_bytes())?,
                "pin-file" => uri.set(Attribute::PinSource, format!("file:{value}").as_bytes())?,
                "pin-env" => uri.set(Attribute::PinSource, format!("env:{value}").as_bytes())?,
                "sessions" => {
                    let sessions = value.parse();
                    settings.sessions = sessions.map_err(|_| wrong("sessions", "1 to 256"))?;
                }
                "verify" => {
                    settings.verify = match value {
                        "on" => true,
                        "off" => false,
                        _ => return Err(wrong("verify", "on or off")),
                    }
                }
                "pin" | "pin-value" => {
                    let option = name.to_owned();
                    return Err(SpecError::Option { option });
                }
                _ => {
                    let option = part.to_owned();
                    return Err(SpecError::Option { option });
                }
            }
        }
        Ok(Self { uri, settings })
    }
}
