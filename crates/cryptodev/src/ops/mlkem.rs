//! ML-KEM-768 (FIPS 203).

use spinlane_crypto::{Key, mlkem};

use super::{by, without_key};
use crate::kind::{OpKind, OpSpec};
use crate::op::OpStatus;
use crate::request::Request;

pub(crate) static KEYGEN_768: OpSpec = without_key(
    "ml-kem-768-keygen",
    mlkem::SEED,
    mlkem::ENCAPSULATION_KEY + mlkem::DECAPSULATION_KEY,
    keygen,
);
pub(crate) static ENCAP_768: OpSpec = without_key(
    "ml-kem-768-encap",
    mlkem::ENCAPSULATION_KEY + mlkem::MESSAGE,
    mlkem::CIPHERTEXT + mlkem::SHARED_SECRET,
    encap,
);
pub(crate) static DECAP_768: OpSpec = without_key(
    "ml-kem-768-decap",
    mlkem::DECAPSULATION_KEY + mlkem::CIPHERTEXT,
    mlkem::SHARED_SECRET,
    decap,
);

/// Two arrays that follow each other; `None` if the lengths are not theirs.
fn halves<const A: usize, const B: usize>(bytes: &[u8]) -> Option<(&[u8; A], &[u8; B])> {
    let (head, tail) = bytes.split_first_chunk()?;
    Some((head, tail.try_into().ok()?))
}

fn halves_mut<const A: usize, const B: usize>(
    bytes: &mut [u8],
) -> Option<(&mut [u8; A], &mut [u8; B])> {
    let (head, tail) = bytes.split_first_chunk_mut()?;
    Some((head, tail.try_into().ok()?))
}

fn keygen(_: Option<&Key>, seed: &[u8], pair: &mut [u8]) -> OpStatus {
    let (Ok(seed), Some((public, private))) = (seed.try_into(), halves_mut(pair)) else {
        return OpStatus::Invalid;
    };
    by(mlkem::generate(seed, public, private), OpStatus::Error)
}

fn encap(_: Option<&Key>, input: &[u8], output: &mut [u8]) -> OpStatus {
    let (Some((key, message)), Some((ciphertext, secret))) = (halves(input), halves_mut(output))
    else {
        return OpStatus::Invalid;
    };
    by(
        mlkem::encapsulate(key, message, ciphertext, secret),
        OpStatus::Invalid,
    )
}

fn decap(_: Option<&Key>, input: &[u8], secret: &mut [u8]) -> OpStatus {
    let (Some((key, ciphertext)), Ok(secret)) = (halves(input), secret.try_into()) else {
        return OpStatus::Invalid;
    };
    by(
        mlkem::decapsulate(key, ciphertext, secret),
        OpStatus::Invalid,
    )
}

impl<'a> Request<'a> {
    /// ML-KEM-768 key pair of the random `seed`, d and z (ML-KEM.KeyGen_internal).
    pub fn ml_kem_768_keygen(seed: &'a [u8; mlkem::SEED]) -> Self {
        Self {
            kind: OpKind::MlKem768Keygen,
            key: None,
            input: seed,
            more: &[],
            pss: None,
        }
    }

    /// Ciphertext and secret for the peer's `encapsulation_key`, from a random `message` (ML-KEM.Encaps_internal), which
    /// serves once.
    pub fn ml_kem_768_encap(
        encapsulation_key: &'a [u8; mlkem::ENCAPSULATION_KEY],
        message: &'a [u8; mlkem::MESSAGE],
    ) -> Self {
        Self {
            kind: OpKind::MlKem768Encap,
            key: None,
            input: encapsulation_key,
            more: message,
            pss: None,
        }
    }

    /// The secret in the peer's `ciphertext` (ML-KEM.Decaps_internal). A ciphertext that no encapsulation made gives one
    /// that nobody knows.
    pub fn ml_kem_768_decap(
        decapsulation_key: &'a [u8; mlkem::DECAPSULATION_KEY],
        ciphertext: &'a [u8; mlkem::CIPHERTEXT],
    ) -> Self {
        Self {
            kind: OpKind::MlKem768Decap,
            key: None,
            input: decapsulation_key,
            more: ciphertext,
            pss: None,
        }
    }
}
