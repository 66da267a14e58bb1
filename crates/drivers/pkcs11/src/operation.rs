//! What a key on a token is asked to do, by which mechanism, and whether the result is right.

use cryptoki::error::Error as Cryptoki;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use spinlane_crypto::digest::Digest;
use spinlane_crypto::{PublicKey, RsaPublicKey, padding, random};
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::key::TokenKey;

/// An operation of a private key.
///
/// | operation | input | output |
/// |---|---|---|
/// | `Private` | RSA: padded block; ECDSA: digest; Ed25519: message | RSA: block; ECDSA: `r \|\| s`; Ed25519: signature |
/// | `RsaPkcs1` | DigestInfo | signature |
/// | `RsaPss` | hash | signature |
/// | `RsaDecrypt` | ciphertext | padded block |
///
/// RSA by mechanism:
///
/// | token has | `Private` | `RsaPkcs1` | `RsaPss` | `RsaDecrypt` |
/// |---|---|---|---|---|
/// | CKM_RSA_X_509 | any block | yes | yes, padded here | yes |
/// | CKM_RSA_PKCS alone | blocks padded by PKCS#1 v1.5, whose padding is taken off | yes | no | yes |
/// | CKM_RSA_PKCS_PSS alone | no: a block does not tell the hash that it was made of | no | yes | no |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// What the device contract asks of a key of this type.
    Private,
    /// RSA signature, PKCS#1 v1.5.
    RsaPkcs1,
    /// RSA signature, PSS with MGF1 over the same digest.
    RsaPss {
        /// The digest that made the hash.
        digest: Digest,
        /// Bytes of salt.
        salt_len: usize,
    },
    /// RSA decryption. What the token made of bad padding is not told: the block that comes out has no message
    /// in it then. Whether the token takes as long for that is up to the token.
    RsaDecrypt,
}

/// Why an operation gave no result.
pub(crate) enum Problem {
    /// The module said so.
    Module(Cryptoki),
    /// It ends here.
    Failure(Failure),
}

impl From<Cryptoki> for Problem {
    fn from(error: Cryptoki) -> Self {
        Self::Module(error)
    }
}

/// A result that may be secret, as a decrypted block is.
pub(crate) type Bytes = Zeroizing<Vec<u8>>;

/// Runs `operation` over `input` in this session.
pub(crate) fn run(
    session: &Session,
    handle: ObjectHandle,
    key: &TokenKey,
    public: &PublicKey,
    operation: Operation,
    input: &[u8],
    verify: bool,
) -> Result<Bytes, Problem> {
    let call = Call {
        session,
        handle,
        key,
        verify,
    };
    match (public, operation) {
        (PublicKey::Rsa(public), operation) => call.rsa(public, operation, input),
        (PublicKey::EcP256(_) | PublicKey::EcP384(_), Operation::Private) => {
            call.signature(public, &Mechanism::Ecdsa, input)
        }
        (PublicKey::Ed25519(_), Operation::Private) => {
            let pure = EddsaParams::new(EddsaSignatureScheme::Ed25519);
            call.signature(public, &Mechanism::Eddsa(pure), input)
        }
        _ => Err(Problem::Failure(Failure::Unsupported)),
    }
}

struct Call<'a> {
    session: &'a Session,
    handle: ObjectHandle,
    key: &'a TokenKey,
    verify: bool,
}

impl Call<'_> {
    /// A signature over `input`, which is also what the public key checks.
    fn signature(
        &self,
        public: &PublicKey,
        mechanism: &Mechanism,
        input: &[u8],
    ) -> Result<Bytes, Problem> {
        let signature = self.session.sign(mechanism, self.handle, input)?;
        self.checked(signature, |signature| public.verify(input, signature))
    }

    fn rsa(
        &self,
        public: &RsaPublicKey,
        operation: Operation,
        input: &[u8],
    ) -> Result<Bytes, Problem> {
        let can = self.key.can;
        let mut block = vec![0; public.modulus().len()];
        let unsupported = Err(Problem::Failure(Failure::Unsupported));
        match operation {
            Operation::Private | Operation::RsaDecrypt if can.rsa_raw => {
                self.raw(public, input, operation == Operation::RsaDecrypt)
            }
            Operation::Private if can.rsa_pkcs => match padding::pkcs1_v15_message(input) {
                Some(digest_info) => self.pkcs1(public, digest_info, input),
                None => unsupported,
            },
            Operation::RsaPkcs1 => {
                let padded = padding::pkcs1_v15_raw(input, &mut block);
                padded.map_err(|_| Problem::Failure(Failure::Unsupported))?;
                match can.rsa_pkcs {
                    true => self.pkcs1(public, input, &block),
                    false if can.rsa_raw => self.raw(public, &block, false),
                    false => unsupported,
                }
            }
            Operation::RsaPss { digest, salt_len } if can.rsa_raw => {
                let padded = padding::pss(digest, input, salt_len, &mut block);
                padded.map_err(|_| Problem::Failure(Failure::Unsupported))?;
                self.raw(public, &block, false)
            }
            Operation::RsaPss { digest, salt_len } if can.rsa_pss => {
                let mechanism = Mechanism::RsaPkcsPss(pss(digest, salt_len)?);
                let signature = self.session.sign(&mechanism, self.handle, input)?;
                self.checked(signature, |signature| {
                    public.open(signature, &mut block)
                        && padding::is_pss(digest, input, salt_len, &block)
                })
            }
            Operation::RsaDecrypt if can.rsa_pkcs => self.decrypt_pkcs1(input, block.len()),
            _ => unsupported,
        }
    }

    /// The private operation on a whole block. It is one and the same whether the token calls it a signature
    /// or a decryption, so that what the key may do decides.
    fn raw(&self, public: &RsaPublicKey, block: &[u8], decrypts: bool) -> Result<Bytes, Problem> {
        let can = self.key.can;
        let mechanism = Mechanism::RsaX509;
        let as_decryption = if decrypts { can.decrypt } else { !can.sign };
        let mut result = match as_decryption {
            true => self.session.decrypt(&mechanism, self.handle, block)?,
            false => self.session.sign(&mechanism, self.handle, block)?,
        };
        // Some tokens take a result for a number and leave its leading zeros out.
        let zeros = block.len().saturating_sub(result.len());
        result.splice(..0, std::iter::repeat_n(0, zeros));
        self.checked(result, |result| public.verify_raw(result, block))
    }

    /// A signature over `digest_info`; `block` is that, padded.
    fn pkcs1(
        &self,
        public: &RsaPublicKey,
        digest_info: &[u8],
        block: &[u8],
    ) -> Result<Bytes, Problem> {
        let signature = self
            .session
            .sign(&Mechanism::RsaPkcs, self.handle, digest_info)?;
        self.checked(signature, |signature| public.verify_raw(signature, block))
    }

    /// A decryption by a token that takes the padding off: padded again, as whoever asked expects a block. Bad
    /// padding becomes a block without a message.
    fn decrypt_pkcs1(&self, cipher: &[u8], len: usize) -> Result<Bytes, Problem> {
        let decrypted = self
            .session
            .decrypt(&Mechanism::RsaPkcs, self.handle, cipher);
        let message = match decrypted {
            Ok(message) => Zeroizing::new(message),
            Err(Cryptoki::Pkcs11(value, _)) if tells_of_padding(value) => Bytes::default(),
            Err(error) => return Err(error.into()),
        };
        let mut block = Zeroizing::new(vec![0; len]);
        random::fill(&mut block);
        for byte in block.iter_mut() {
            *byte |= 1; // never zero
        }
        (block[0], block[1]) = (0, 2);
        let start = len.checked_sub(message.len()).filter(|at| *at >= 11);
        if let (false, Some(start)) = (message.is_empty(), start) {
            block[start - 1] = 0;
            block[start..].copy_from_slice(&message);
        }
        Ok(block)
    }

    fn checked(
        &self,
        result: Vec<u8>,
        is_right: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Bytes, Problem> {
        let result = Zeroizing::new(result);
        match !self.verify || is_right(&result) {
            true => Ok(result),
            false => Err(Problem::Failure(Failure::Wrong)),
        }
    }
}

fn pss(digest: Digest, salt_len: usize) -> Result<PkcsPssParams, Problem> {
    let (hash_alg, mgf) = match digest {
        Digest::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        Digest::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        Digest::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    };
    Ok(PkcsPssParams {
        hash_alg,
        mgf,
        s_len: salt_len.try_into()?,
    })
}

/// What tokens return for a ciphertext whose padding is wrong, or that is none.
fn tells_of_padding(value: cryptoki::error::RvError) -> bool {
    use cryptoki::error::RvError::{
        DataInvalid, DataLenRange, EncryptedDataInvalid, EncryptedDataLenRange, FunctionFailed,
        GeneralError,
    };
    [
        EncryptedDataInvalid,
        EncryptedDataLenRange,
        DataInvalid,
        DataLenRange,
        FunctionFailed,
        GeneralError,
    ]
    .contains(&value)
}
