//! Private keys on a token: found by URI, described by their public half.

use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki::error::Error as Cryptoki;
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute as Value, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use spinlane_crypto::{EcPublicKey, PublicKey, RsaPublicKey};

use crate::error::{Error, KeyProblem, describe};
use crate::token::{OpenSession, Token};
use crate::uri::{Attribute, Uri};

/// OID of P-256 in DER (RFC 5480, section 2.1.1.1), as CKA_EC_PARAMS has it.
const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// OID of P-384.
const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
/// Ed25519: OID of RFC 8410, or the name of PKCS #11 v3.0, section 6.3.5.
const ED25519: [&[u8]; 2] = [b"\x06\x03\x2b\x65\x70", b"\x13\x0cedwards25519"];

/// What the driver finds a private key on its token by: the object of a
/// [`KeyHandle`](spinlane_cryptodev::KeyHandle).
#[derive(Debug)]
pub struct TokenKey {
    uri: Uri,
    /// Number of its token, of this process alone.
    pub(crate) token: u64,
    /// Of this process alone: by it a session remembers the object's handle.
    pub(crate) number: u64,
    pub(crate) can: Can,
}

/// What the key and its token can do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Can {
    /// CKA_SIGN.
    pub(crate) sign: bool,
    /// CKA_DECRYPT.
    pub(crate) decrypt: bool,
    /// CKM_RSA_X_509: a whole block.
    pub(crate) rsa_raw: bool,
    /// CKM_RSA_PKCS: PKCS#1 v1.5, padded by the token.
    pub(crate) rsa_pkcs: bool,
    /// CKM_RSA_PKCS_PSS: padded by the token.
    pub(crate) rsa_pss: bool,
}

impl TokenKey {
    /// The key that `uri` names, on the token of `open`, and its public half. `given` is its public key if that is known, as from a
    /// certificate; otherwise the token is asked for it.
    pub(crate) fn find(
        token: &Token,
        open: &OpenSession,
        uri: &Uri,
        given: Option<PublicKey>,
    ) -> Result<(PublicKey, Self), Error> {
        let problem = |problem| Error::Key {
            key: uri.clone(),
            problem,
        };
        let kind = uri.text(Attribute::Type).unwrap_or("private");
        if kind != "private" {
            return Err(problem(KeyProblem::Type(kind.to_owned())));
        }
        let failed = |error: Cryptoki| Error::Token {
            token: token.label(),
            reason: describe(&error),
        };
        let session = &open.session;
        let object = one(token, session, uri)?;
        let values = Values::read(session, object).map_err(failed)?;
        if values.always_authenticate {
            return Err(problem(KeyProblem::AlwaysAuthenticate));
        }
        let own = values.public(session).map_err(problem)?;
        let public = match (given, own) {
            (Some(given), Some(own)) if !is_same(&given, &own) => {
                return Err(problem(KeyProblem::Mismatch));
            }
            (Some(public), _) | (None, Some(public)) => public,
            (None, None) => return Err(problem(KeyProblem::NoPublic)),
        };
        let mechanisms = open.user().pkcs11().get_mechanism_list(open.slot);
        let can = can(&values, &public, &mechanisms.map_err(failed)?).map_err(problem)?;
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let key = Self {
            uri: uri.clone(),
            token: token.number(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            can,
        };
        Ok((public, key))
    }

    /// The URI by which it was found.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it signs blocks that are padded already.
    pub fn takes_padded_blocks(&self) -> bool {
        self.can.rsa_raw
    }

    /// Whether an RSA key signs by PSS, which TLS 1.3 needs: a block that is padded already, or by the token.
    pub fn signs_pss(&self) -> bool {
        self.can.rsa_raw || self.can.rsa_pss
    }

    /// Whether its token must be given the hash to sign by PSS.
    pub(crate) fn pads_pss(&self) -> bool {
        !self.can.rsa_raw && self.can.rsa_pss
    }

    /// Its handle in this session.
    pub(crate) fn handle(&self, session: &Session) -> Result<Option<ObjectHandle>, Cryptoki> {
        let handles = session.find_objects(&template(&self.uri, ObjectClass::PRIVATE_KEY))?;
        Ok(handles.first().copied())
    }
}

fn template(uri: &Uri, class: ObjectClass) -> Vec<Value> {
    let mut template = vec![Value::Class(class)];
    let label = uri.text(Attribute::Object);
    template.extend(label.map(|label| Value::Label(label.as_bytes().to_vec())));
    template.extend(uri.id().map(|id| Value::Id(id.to_vec())));
    template
}

/// The one private key that fits.
fn one(token: &Token, session: &Session, uri: &Uri) -> Result<ObjectHandle, Error> {
    let failed = |error: Cryptoki| Error::Token {
        token: token.label(),
        reason: describe(&error),
    };
    let found = session.find_objects(&template(uri, ObjectClass::PRIVATE_KEY));
    match *found.map_err(failed)? {
        [object] => Ok(object),
        [] => {
            let all = session.find_objects(&[Value::Class(ObjectClass::PRIVATE_KEY)]);
            Err(Error::NoKey {
                token: token.label(),
                wanted: uri.clone(),
                found: list(session, &all.map_err(failed)?),
            })
        }
        ref several => Err(Error::SeveralKeys {
            token: token.label(),
            wanted: uri.clone(),
            found: list(session, several),
        }),
    }
}

/// The objects as URIs, which can be copied from the message.
fn list(session: &Session, objects: &[ObjectHandle]) -> String {
    let name = |object: &ObjectHandle| {
        let wanted = [AttributeType::Label, AttributeType::Id];
        let mut uri = Uri::default();
        for value in session.get_attributes(*object, &wanted).unwrap_or_default() {
            // A label that is no text is left out; the id names the object as well.
            let _ = match value {
                Value::Label(label) => uri.set(Attribute::Object, &label),
                Value::Id(id) => uri.set(Attribute::Id, &id),
                _ => Ok(()),
            };
        }
        uri.to_string()
    };
    match objects {
        [] => "none (those that are private are seen with a PIN alone)".to_owned(),
        objects => objects.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

/// What a token says of a private key.
#[derive(Default)]
struct Values {
    kind: Option<KeyType>,
    label: Vec<u8>,
    id: Vec<u8>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    curve: Vec<u8>,
    point: Vec<u8>,
    sign: bool,
    decrypt: bool,
    always_authenticate: bool,
}

impl Values {
    /// Asks for one attribute after the other: a token fails a whole request for one that it does not know.
    fn read(session: &Session, object: ObjectHandle) -> Result<Self, Cryptoki> {
        let mut values = Self::default();
        let wanted = [
            AttributeType::KeyType,
            AttributeType::Label,
            AttributeType::Id,
            AttributeType::Modulus,
            AttributeType::PublicExponent,
            AttributeType::EcParams,
            AttributeType::EcPoint,
            AttributeType::Sign,
            AttributeType::Decrypt,
            AttributeType::AlwaysAuthenticate,
        ];
        for attribute in wanted {
            // What is lacking for the key's type shows where it is needed.
            let found = session.get_attributes(object, &[attribute]);
            for value in found.unwrap_or_default() {
                values.set(value);
            }
        }
        Ok(values)
    }

    fn set(&mut self, value: Value) {
        match value {
            Value::KeyType(kind) => self.kind = Some(kind),
            Value::Label(label) => self.label = label,
            Value::Id(id) => self.id = id,
            Value::Modulus(modulus) => self.modulus = modulus,
            Value::PublicExponent(exponent) => self.exponent = exponent,
            Value::EcParams(curve) => self.curve = curve,
            Value::EcPoint(point) => self.point = point,
            Value::Sign(sign) => self.sign = sign,
            Value::Decrypt(decrypt) => self.decrypt = decrypt,
            Value::AlwaysAuthenticate(always) => self.always_authenticate = always,
            _ => {}
        }
    }

    /// The public key: from the private object as far as that has it, else from the public object of the same
    /// id or label. `None` if there is neither.
    fn public(&self, session: &Session) -> Result<Option<PublicKey>, KeyProblem> {
        let partner = || self.partner(session).unwrap_or_default();
        match self.kind {
            Some(KeyType::RSA) => {
                let partner = match self.modulus.is_empty() || self.exponent.is_empty() {
                    true => &partner(),
                    false => self,
                };
                if partner.modulus.is_empty() || partner.exponent.is_empty() {
                    return Ok(None);
                }
                let public = RsaPublicKey::from_components(&partner.modulus, &partner.exponent)?;
                Ok(Some(PublicKey::Rsa(public)))
            }
            Some(KeyType::EC | KeyType::EC_EDWARDS) => {
                let partner = match self.point.is_empty() {
                    true => &partner(),
                    false => self,
                };
                if partner.point.is_empty() {
                    return Ok(None);
                }
                let curve = match self.curve.is_empty() {
                    true => &partner.curve,
                    false => &self.curve,
                };
                ec_public(curve, &partner.point).map(Some)
            }
            _ => Err(KeyProblem::Kind),
        }
    }

    /// The public object that belongs to this private one.
    fn partner(&self, session: &Session) -> Option<Self> {
        let mut template = vec![Value::Class(ObjectClass::PUBLIC_KEY)];
        template.push(match (self.id.is_empty(), self.label.is_empty()) {
            (false, _) => Value::Id(self.id.clone()),
            (true, false) => Value::Label(self.label.clone()),
            (true, true) => return None,
        });
        match *session.find_objects(&template).ok()? {
            [object] => Self::read(session, object).ok(),
            _ => None,
        }
    }
}

/// The public key of this curve and point. A point is wrapped into an OCTET STRING, or, by tokens that follow
/// other versions of the standard, not.
fn ec_public(curve: &[u8], point: &[u8]) -> Result<PublicKey, KeyProblem> {
    let point = match point {
        [0x04, len, rest @ ..] if usize::from(*len) == rest.len() => rest,
        bare => bare,
    };
    match curve {
        P256 => Ok(PublicKey::EcP256(EcPublicKey::from_point(point)?)),
        P384 => Ok(PublicKey::EcP384(EcPublicKey::from_point(point)?)),
        curve if ED25519.contains(&curve) => {
            let point = point.try_into().map_err(|_| KeyProblem::Kind)?;
            Ok(PublicKey::Ed25519(point))
        }
        _ => Err(KeyProblem::Kind),
    }
}

fn is_same(a: &PublicKey, b: &PublicKey) -> bool {
    match (a, b) {
        (PublicKey::Rsa(a), PublicKey::Rsa(b)) => a.modulus() == b.modulus(),
        (PublicKey::EcP256(a), PublicKey::EcP256(b)) => a.point() == b.point(),
        (PublicKey::EcP384(a), PublicKey::EcP384(b)) => a.point() == b.point(),
        (PublicKey::Ed25519(a), PublicKey::Ed25519(b)) => a == b,
        _ => false,
    }
}

/// What can be done with the key; an error if that is nothing.
fn can(
    values: &Values,
    public: &PublicKey,
    mechanisms: &[MechanismType],
) -> Result<Can, KeyProblem> {
    let has = |mechanism| mechanisms.contains(&mechanism);
    let can = Can {
        sign: values.sign,
        decrypt: values.decrypt,
        rsa_raw: has(MechanismType::RSA_X_509),
        rsa_pkcs: has(MechanismType::RSA_PKCS),
        rsa_pss: has(MechanismType::RSA_PKCS_PSS),
    };
    let (enough, wanted) = match public {
        PublicKey::Rsa(_) => (
            can.rsa_raw || can.rsa_pkcs || can.rsa_pss,
            "CKM_RSA_X_509, CKM_RSA_PKCS, CKM_RSA_PKCS_PSS",
        ),
        PublicKey::EcP256(_) | PublicKey::EcP384(_) => (has(MechanismType::ECDSA), "CKM_ECDSA"),
        PublicKey::Ed25519(_) => (has(MechanismType::EDDSA), "CKM_EDDSA"),
    };
    if !enough {
        return Err(KeyProblem::Mechanism(wanted));
    }
    let is_rsa = matches!(public, PublicKey::Rsa(_));
    match can.sign || (can.decrypt && is_rsa) {
        true => Ok(can),
        false => Err(KeyProblem::Usage),
    }
}
