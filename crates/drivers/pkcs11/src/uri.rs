//! PKCS#11 URIs (RFC 7512): which module, which token, which object, and where the PIN is.
//!
//! ```
//! use spinlane_driver_pkcs11::uri::{Attribute, Uri};
//!
//! let uri: Uri = "pkcs11:token=web%20farm;id=%01%a2;type=private?pin-source=file:/etc/pin".parse()?;
//! assert_eq!(uri.text(Attribute::Token), Some("web farm"));
//! assert_eq!(uri.id(), Some(&[0x01, 0xa2][..]));
//! assert_eq!(
//!     uri.to_string(),
//!     "pkcs11:token=web%20farm;type=private;id=%01%A2?pin-source=file:/etc/pin"
//! );
//! # Ok::<(), spinlane_driver_pkcs11::uri::UriError>(())
//! ```

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What every URI begins with.
const SCHEME: &str = "pkcs11:";

/// Longest URI that is looked at, in bytes.
pub const MAX_LEN: usize = 8192;

/// An attribute of RFC 7512, sections 2.3 and 2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Label of the token.
    Token,
    /// Manufacturer of the token.
    Manufacturer,
    /// Serial number of the token.
    Serial,
    /// Model of the token.
    Model,
    /// Manufacturer of the module.
    LibraryManufacturer,
    /// Version of the module.
    LibraryVersion,
    /// Description of the module.
    LibraryDescription,
    /// Label of the object.
    Object,
    /// Class of the object.
    Type,
    /// CKA_ID of the object: bytes.
    Id,
    /// Manufacturer of the slot.
    SlotManufacturer,
    /// Description of the slot.
    SlotDescription,
    /// Number of the slot.
    SlotId,
    /// Where the PIN is.
    PinSource,
    /// Name of the module, without path and suffix.
    ModuleName,
    /// Path of the module.
    ModulePath,
}

use Attribute::*;

/// Every attribute by its name, those of the path first, in the order in which they are written.
const ATTRIBUTES: [(Attribute, &str); 16] = [
    (Token, "token"),
    (Manufacturer, "manufacturer"),
    (Serial, "serial"),
    (Model, "model"),
    (LibraryManufacturer, "library-manufacturer"),
    (LibraryVersion, "library-version"),
    (LibraryDescription, "library-description"),
    (Object, "object"),
    (Type, "type"),
    (Id, "id"),
    (SlotManufacturer, "slot-manufacturer"),
    (SlotDescription, "slot-description"),
    (SlotId, "slot-id"),
    (PinSource, "pin-source"),
    (ModuleName, "module-name"),
    (ModulePath, "module-path"),
];

/// Classes of objects (RFC 7512, section 2.3, `pk11-type`).
const TYPES: [&str; 5] = ["public", "private", "cert", "secret-key", "data"];

impl Attribute {
    /// Its name in a URI.
    pub fn name(self) -> &'static str {
        ATTRIBUTES[self as usize].1
    }

    fn is_in_path(self) -> bool {
        (self as usize) < PinSource as usize
    }

    fn named(name: &str) -> Option<Self> {
        let found = ATTRIBUTES.iter().find(|(_, known)| *known == name);
        found.map(|(attribute, _)| *attribute)
    }
}

/// A text that is no PKCS#11 URI, or not one for this driver. The message names the attribute and the remedy,
/// and never the value of a PIN.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UriError {
    /// Another scheme.
    #[error("a PKCS#11 URI begins with \"pkcs11:\"; write pkcs11:token=…;object=…")]
    Scheme,
    /// Longer than [`MAX_LEN`].
    #[error("a PKCS#11 URI of {len} bytes; at most {MAX_LEN} are read")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// An attribute without a value.
    #[error("PKCS#11 URI: {attribute:?} has no value; write {attribute}=VALUE, or leave it out")]
    NoValue {
        /// What stands where an attribute should.
        attribute: String,
    },
    /// An attribute that nobody knows, or that is known in the other part.
    #[error("PKCS#11 URI: {part} has no attribute {attribute:?}; there is {known}")]
    Unknown {
        /// `the path` or `the query, after '?',`.
        part: &'static str,
        /// The name given.
        attribute: String,
        /// Names that may stand there.
        known: String,
    },
    /// An attribute given more than once.
    #[error("PKCS#11 URI: {attribute} is given twice; give it once")]
    Twice {
        /// Its name.
        attribute: &'static str,
    },
    /// A character that has to be encoded.
    #[error(
        "PKCS#11 URI: {attribute} has the character {character:?} in it; write it as {encoded}"
    )]
    Character {
        /// Name of the attribute.
        attribute: &'static str,
        /// The character.
        character: char,
        /// How it is written.
        encoded: String,
    },
    /// A percent sign without two hexadecimal digits.
    #[error(
        "PKCS#11 URI: {attribute} has a '%' without two hexadecimal digits after it; write a '%' as %25"
    )]
    Percent {
        /// Name of the attribute.
        attribute: &'static str,
    },
    /// Not UTF-8.
    #[error("PKCS#11 URI: {attribute} is no UTF-8 text once decoded; only id may be other bytes")]
    Text {
        /// Name of the attribute.
        attribute: &'static str,
    },
    /// A value out of range.
    #[error("PKCS#11 URI: {attribute} is {value:?}, must be {wanted}")]
    Value {
        /// Name of the attribute.
        attribute: &'static str,
        /// The value given, decoded.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A PIN in the URI itself.
    #[error(
        "PKCS#11 URI: pin-value would show the PIN in the list of processes; put it into a file and write \
         pin-source=file:/path/of/it"
    )]
    PinValue,
}

/// A parsed URI: the decoded value of each attribute given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Uri(Box<[Option<Box<[u8]>>; ATTRIBUTES.len()]>);

impl Uri {
    /// The text of `attribute`; `None` if it is not given, and for [`Attribute::Id`].
    pub fn text(&self, attribute: Attribute) -> Option<&str> {
        // What is no text was refused, except for an id.
        let bytes = self.0[attribute as usize].as_deref()?;
        std::str::from_utf8(bytes).ok().filter(|_| attribute != Id)
    }

    /// CKA_ID of the object.
    pub fn id(&self) -> Option<&[u8]> {
        self.0[Id as usize].as_deref()
    }

    /// Number of the slot.
    pub fn slot_id(&self) -> Option<u64> {
        self.text(SlotId)?.parse().ok()
    }

    /// What it says of the token, the module and the PIN: two keys whose URIs have this in common are on one
    /// token.
    #[must_use]
    pub fn token(&self) -> Self {
        let mut token = self.clone();
        for attribute in [Object, Type, Id] {
            token.0[attribute as usize] = None;
        }
        token
    }

    /// This URI with what `other` says besides: an attribute that both have keeps the value it has here.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (value, other) in self.0.iter_mut().zip(other.0.iter()) {
            if value.is_none() {
                value.clone_from(other);
            }
        }
        self
    }

    /// Sets `attribute` to `value`.
    ///
    /// # Errors
    /// The value is out of range, [`UriError::Value`].
    pub fn set(&mut self, attribute: Attribute, value: &[u8]) -> Result<(), UriError> {
        check(attribute, value)?;
        self.0[attribute as usize] = Some(value.into());
        Ok(())
    }

    fn parse_part(&mut self, part: &str, is_path: bool) -> Result<(), UriError> {
        let separator = if is_path { ';' } else { '&' };
        if part.is_empty() {
            return Ok(());
        }
        for item in part.split(separator) {
            let Some((name, value)) = item.split_once('=') else {
                return Err(UriError::NoValue {
                    attribute: item.to_owned(),
                });
            };
            if name == "pin-value" {
                return Err(UriError::PinValue);
            }
            let attribute = Attribute::named(name).filter(|known| known.is_in_path() == is_path);
            let attribute = attribute.ok_or_else(|| unknown(name, is_path))?;
            let decoded = decode(attribute, value)?;
            if self.0[attribute as usize].is_some() {
                return Err(UriError::Twice {
                    attribute: attribute.name(),
                });
            }
            self.set(attribute, &decoded)?;
        }
        Ok(())
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_LEN {
            return Err(UriError::TooLong { len: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        uri.parse_part(path, true)?;
        uri.parse_part(query, false)?;
        Ok(uri)
    }
}

impl fmt::Display for Uri {
    /// The URI with its attributes in a fixed order; parsed again it is the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        let (mut separator, mut in_path) = ("", true);
        for (attribute, name) in ATTRIBUTES {
            let Some(value) = &self.0[attribute as usize] else {
                continue;
            };
            if in_path && !attribute.is_in_path() {
                (separator, in_path) = ("?", false);
            }
            write!(f, "{separator}{name}=")?;
            for byte in value {
                match char::from(*byte) {
                    plain if attribute != Id && is_plain(plain, in_path) => write!(f, "{plain}")?,
                    _ => write!(f, "%{byte:02X}")?,
                }
            }
            separator = if in_path { ";" } else { "&" };
        }
        Ok(())
    }
}

impl fmt::Debug for Uri {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `character` may stand for itself in a value (RFC 7512, section 2.3: `pk11-pchar`, `pk11-qchar`).
fn is_plain(character: char, in_path: bool) -> bool {
    character.is_ascii_alphanumeric()
        || "-._~:[]@!$'()*+,=".contains(character)
        || (in_path && character == '&')
        || (!in_path && "/?|".contains(character))
}

fn decode(attribute: Attribute, value: &str) -> Result<Vec<u8>, UriError> {
    let name = attribute.name();
    let mut bytes = Vec::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        if character == '%' {
            let digit = |character: Option<char>| character?.to_digit(16);
            let (high, low) = (digit(characters.next()), digit(characters.next()));
            let (Some(high), Some(low)) = (high, low) else {
                return Err(UriError::Percent { attribute: name });
            };
            bytes.push((high << 4 | low) as u8);
        } else if is_plain(character, attribute.is_in_path()) {
            bytes.push(character as u8);
        } else {
            let mut buffer = [0; 4];
            let encoded = character.encode_utf8(&mut buffer).bytes();
            return Err(UriError::Character {
                attribute: name,
                character,
                encoded: encoded.map(|byte| format!("%{byte:02X}")).collect(),
            });
        }
    }
    Ok(bytes)
}

/// Whether `value` is one that `attribute` may have.
fn check(attribute: Attribute, value: &[u8]) -> Result<(), UriError> {
    if attribute == Id {
        return Ok(());
    }
    let name = attribute.name();
    let text = std::str::from_utf8(value).map_err(|_| UriError::Text { attribute: name })?;
    let wanted = match attribute {
        Type if !TYPES.contains(&text) => "public, private, cert, secret-key or data",
        SlotId
            if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.parse::<u64>().is_err() =>
        {
            "a decimal number of 64 bits"
        }
        PinSource if !is_pin_source(text) => {
            "file:/PATH or env:NAME (commands are not run: have yours write the PIN into a file)"
        }
        ModulePath if !text.starts_with('/') => "an absolute path",
        ModuleName if text.is_empty() || text.contains('/') => {
            "a name without a path; module-path takes a path"
        }
        _ if text.contains('\0') => "without zero bytes",
        _ => return Ok(()),
    };
    Err(UriError::Value {
        attribute: name,
        value: text.to_owned(),
        wanted,
    })
}

fn is_pin_source(text: &str) -> bool {
    let file = text.strip_prefix("file:");
    let name = text.strip_prefix("env:");
    file.is_some_and(|path| path.starts_with('/'))
        || name.is_some_and(|name| !name.is_empty() && !name.contains('='))
}

fn unknown(name: &str, is_path: bool) -> UriError {
    let known = ATTRIBUTES
        .iter()
        .filter(|(attribute, _)| attribute.is_in_path() == is_path)
        .map(|(_, name)| *name);
    UriError::Unknown {
        part: if is_path {
            "the path"
        } else {
            "the query, after '?',"
        },
        attribute: name.to_owned(),
        known: known.collect::<Vec<_>>().join(", "),
    }
}
