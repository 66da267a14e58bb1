//! HKDF (RFC 5869) by [`HmacKey`], which hashes its key once.
//!
//! A handshake without a pre-shared key starts from constants (RFC 8446, section 7.1), which are
//! computed once per process:
//! ```text
//!   early   = Extract(0, 0)                      its expander
//!   derived = Derive-Secret(early, "derived", "")  the salt of the next Extract
//! ```

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use rustls::crypto::hmac::Tag;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use spinlane_crypto::digest::{Digest, HmacKey, MAX_DIGEST_LEN};
use spinlane_crypto::{Erased, Wiped, constant_time_eq};

pub(super) static HKDF_SHA256: MidStateHkdf = MidStateHkdf::new(Digest::Sha256);
pub(super) static HKDF_SHA384: MidStateHkdf = MidStateHkdf::new(Digest::Sha384);

const ZEROS: [u8; MAX_DIGEST_LEN] = [0; MAX_DIGEST_LEN];
/// Parts of an info that are hashed where they lie; rustls' labels have six.
const MAX_PARTS: usize = 8;

/// HKDF over one digest.
pub(super) struct MidStateHkdf {
    digest: Digest,
    constants: OnceLock<Constants>,
}

/// What every handshake without a pre-shared key derives first.
struct Constants {
    /// With zeros for its key.
    zeros: HmacKey,
    early: HmacKey,
    /// The hash of nothing.
    empty: [u8; MAX_DIGEST_LEN],
    derived: [u8; MAX_DIGEST_LEN],
    /// With `derived` for its key.
    salt: HmacKey,
}

/// A pseudo-random key.
enum Expander {
    Key(HmacKey),
    /// That of [`Constants::early`].
    Early(&'static Constants),
}

impl Constants {
    fn new(digest: Digest) -> Self {
        let len = digest.len();
        let (mut early, mut empty, mut derived) = (
            [0; MAX_DIGEST_LEN],
            [0; MAX_DIGEST_LEN],
            [0; MAX_DIGEST_LEN],
        );
        let zeros = HmacKey::new(digest, &ZEROS[..len]);
        zeros.sign(&[&ZEROS[..len]], &mut early);
        let early = HmacKey::new(digest, &early[..len]);
        digest.hash(&[], &mut empty);
        early.sign(&[&derived_info(&empty[..len]).concat(), &[1]], &mut derived);
        Self {
            salt: HmacKey::new(digest, &derived[..len]),
            zeros,
            early,
            empty,
            derived,
        }
    }

    /// The value that `info` asks for, if it is here; digests are `len` bytes long.
    fn find(&self, info: &[&[u8]], len: usize) -> Option<&[u8]> {
        (info == derived_info(&self.empty[..len])).then_some(&self.derived[..len])
    }
}

/// The parts that rustls makes of Derive-Secret(…, "derived", "")'s HkdfLabel (RFC 8446, section 7.1).
fn derived_info(empty: &[u8]) -> [&[u8]; 6] {
    let (len, context_len): (&[u8], &[u8]) = match empty.len() {
        32 => (&[0, 32], &[32]),
        _ => (&[0, 48], &[48]),
    };
    [len, &[13], b"tls13 ", b"derived", context_len, empty]
}

impl MidStateHkdf {
    const fn new(digest: Digest) -> Self {
        Self {
            digest,
            constants: OnceLock::new(),
        }
    }

    fn constants(&'static self) -> &'static Constants {
        self.constants.get_or_init(|| Constants::new(self.digest))
    }

    /// The static that `self` is, as rustls lends it for a shorter time only.
    fn lasting(&self) -> &'static Self {
        match self.digest {
            Digest::Sha384 => &HKDF_SHA384,
            Digest::Sha256 | Digest::Sha512 => &HKDF_SHA256,
        }
    }

    fn extract(&self, salt: Option<&[u8]>, secret: &[u8]) -> HmacKey {
        let len = self.digest.len();
        let mut prk = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        let constants = self.lasting().constants();
        match salt {
            None => constants.zeros.sign(&[secret], &mut *prk),
            Some(salt) if constant_time_eq(salt, &constants.derived[..len]) => {
                constants.salt.sign(&[secret], &mut *prk);
            }
            Some(salt) => {
                HmacKey::new(self.digest, salt).sign(&[secret], &mut *prk);
            }
        }
        HmacKey::new(self.digest, &prk[..len])
    }
}

/// What rustls holds: an expander of which no byte stays.
struct Held(Erased<Expander>);

fn boxed(expander: Expander) -> Box<dyn HkdfExpander> {
    Box::new(Held(Erased::new(expander)))
}

impl Hkdf for MidStateHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        match salt {
            None => boxed(Expander::Early(self.lasting().constants())),
            Some(_) => self.extract_from_secret(salt, &ZEROS[..self.digest.len()]),
        }
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        boxed(Expander::Key(self.extract(salt, secret)))
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        boxed(Expander::Key(HmacKey::new(self.digest, okm.as_ref())))
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        let mut tag = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        HmacKey::new(self.digest, key.as_ref()).sign(&[message], &mut *tag);
        Tag::new(&tag[..self.digest.len()])
    }
}

impl HkdfExpander for Held {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        let len = self.0.hash_len();
        if output.len() > 255 * len {
            return Err(OutputLengthError);
        }
        let mut block = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        for (number, chunk) in (1..=255u8).zip(output.chunks_mut(len)) {
            let previous = if number == 1 { 0 } else { len };
            let before = block.clone();
            self.0.sign(&before[..previous], info, number, &mut block);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        if let Some(value) = self.0.known(info) {
            return OkmBlock::new(value);
        }
        let mut block = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        self.0.sign(&[], info, 1, &mut block);
        OkmBlock::new(&block[..self.0.hash_len()])
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }
}

impl Expander {
    fn key(&self) -> &HmacKey {
        match self {
            Self::Key(key) => key,
            Self::Early(constants) => &constants.early,
        }
    }

    fn hash_len(&self) -> usize {
        self.key().digest().len()
    }

    /// What `info` asks for, if it need not be computed.
    fn known(&self, info: &[&[u8]]) -> Option<&[u8]> {
        match self {
            Self::Key(_) => None,
            Self::Early(constants) => constants.find(info, self.hash_len()),
        }
    }

    /// T(number) of RFC 5869, section 2.3.
    fn sign(&self, previous: &[u8], info: &[&[u8]], number: u8, out: &mut [u8; MAX_DIGEST_LEN]) {
        let key = self.key();
        let number = [number];
        if info.len() > MAX_PARTS {
            let mut all = vec![previous];
            all.extend(info);
            all.push(&number);
            return key.sign(&all, out);
        }
        let mut parts: [&[u8]; MAX_PARTS + 2] = [&[]; MAX_PARTS + 2];
        parts[0] = previous;
        parts[1..=info.len()].copy_from_slice(info);
        parts[info.len() + 1] = &number;
        key.sign(&parts[..info.len() + 2], out);
    }
}
