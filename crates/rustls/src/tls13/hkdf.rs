//! HKDF (RFC 5869) by [`HmacKey`], which hashes its key once.
//!
//! A handshake without a pre-shared key starts from constants (RFC 8446, section 7.1), which are
//! computed once per process:
//! ```text
//!   early   = Extract(0, 0)                      its expander
//!   derived = Derive-Secret(early, "derived", "")  the salt of the next Extract
//! ```
//! With SHA-384 values are derived side by side before they are asked for (see [`ahead`]); with SHA-256
//! those that are asked for twice are derived once (see [`again`]).

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use rustls::crypto::hmac::Tag;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use spinlane_crypto::digest::{Digest, HmacKey, MAX_DIGEST_LEN};
use spinlane_crypto::{Erased, Wiped};

use super::again;
use super::ahead::{self, Group};
use super::label::{Info, Label};
use super::store::{self, Known, Traffic, same};

pub(super) static HKDF_SHA256: MidStateHkdf = MidStateHkdf::new(Digest::Sha256, 16);
pub(super) static HKDF_SHA256_LONG_KEY: MidStateHkdf = MidStateHkdf::new(Digest::Sha256, 32);
pub(super) static HKDF_SHA384: MidStateHkdf = MidStateHkdf::new(Digest::Sha384, 32);

const ZEROS: [u8; MAX_DIGEST_LEN] = [0; MAX_DIGEST_LEN];
/// Parts of an info that are hashed where they lie; rustls' labels have six.
const MAX_PARTS: usize = 8;

/// HKDF over one digest, for suites whose record keys have one length.
pub(super) struct MidStateHkdf {
    digest: Digest,
    key_len: usize,
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
    /// One of SHA-384's, which derives a group of values at once.
    Group(HmacKey, OnceLock<Box<Erased<Group>>>),
    /// One of SHA-256's, from which secrets for application data come, with keys of this length.
    Extracted(HmacKey, usize),
    /// One whose values are known.
    Traffic(OkmBlock, Traffic),
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
        let info = Info::new(len, b"derived", &empty[..len]);
        early.sign(&[&info], &mut derived);
        Self {
            salt: HmacKey::new(digest, &derived[..len]),
            zeros,
            early,
            empty,
            derived,
        }
    }

    /// The value that `label` asks for, if it is here; digests are `len` bytes long.
    fn find(&self, label: &Label<'_>, len: usize) -> Option<&[u8]> {
        let is_derived = label.label == b"derived" && label.context == &self.empty[..len];
        (is_derived && label.len == len).then_some(&self.derived[..len])
    }
}

impl MidStateHkdf {
    const fn new(digest: Digest, key_len: usize) -> Self {
        Self {
            digest,
            key_len,
            constants: OnceLock::new(),
        }
    }

    fn constants(&'static self) -> &'static Constants {
        self.constants.get_or_init(|| Constants::new(self.digest))
    }

    /// The static that `self` is, as rustls lends it for a shorter time only.
    fn lasting(&self) -> &'static Self {
        match (self.digest, self.key_len) {
            (Digest::Sha384, _) => &HKDF_SHA384,
            (_, 16) => &HKDF_SHA256,
            _ => &HKDF_SHA256_LONG_KEY,
        }
    }

    fn extract(&self, salt: Option<&[u8]>, secret: &[u8]) -> HmacKey {
        let len = self.digest.len();
        let mut prk = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        let constants = self.lasting().constants();
        match salt {
            None => constants.zeros.sign(&[secret], &mut *prk),
            Some(salt) if same(salt, &constants.derived[..len]) => {
                constants.salt.sign(&[secret], &mut *prk);
            }
            Some(salt) => {
                self.hmac_key(salt).sign(&[secret], &mut *prk);
            }
        }
        HmacKey::new(self.digest, &prk[..len])
    }

    fn hmac_key(&self, key: &[u8]) -> HmacKey {
        match store::get(key) {
            Some(Known::Key(key)) => key,
            _ => HmacKey::new(self.digest, key),
        }
    }

    fn extracted(&self, key: HmacKey) -> Box<dyn HkdfExpander> {
        boxed(match self.digest {
            Digest::Sha384 => Expander::Group(key, OnceLock::new()),
            Digest::Sha256 | Digest::Sha512 => Expander::Extracted(key, self.key_len),
        })
    }
}

/// What rustls holds: an expander of which no byte stays.
struct Held(Erased<Expander>);

fn boxed(expander: Expander) -> Box<dyn HkdfExpander> {
    Box::new(Held(Erased::new(expander)))
}

impl Hkdf for MidStateHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        let Some(salt) = salt else {
            return boxed(Expander::Early(self.lasting().constants()));
        };
        match store::get(salt) {
            Some(Known::Extracted(key)) => self.extracted(key),
            _ => self.extract_from_secret(Some(salt), &ZEROS[..self.digest.len()]),
        }
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        self.extracted(self.extract(salt, secret))
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        let secret = okm.as_ref();
        boxed(match store::get(secret) {
            Some(Known::Traffic(traffic)) => Expander::Traffic(okm.clone(), traffic),
            Some(Known::Key(key)) => Expander::Key(key),
            _ => Expander::Key(HmacKey::new(self.digest, secret)),
        })
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        let mut tag = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        self.hmac_key(key.as_ref()).sign(&[message], &mut *tag);
        Tag::new(&tag[..self.digest.len()])
    }
}

impl HkdfExpander for Held {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        let len = self.0.hash_len();
        if output.len() > 255 * len {
            return Err(OutputLengthError);
        }
        // rustls takes 32 bytes for a key of 16, which are its first ones.
        if let Some(value) = self
            .0
            .known(info)
            .and_then(|value| value.get(..output.len()))
        {
            output.copy_from_slice(value);
            return Ok(());
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
        if let Expander::Extracted(_, key_len) = &*self.0
            && Label::parse(info).is_some_and(|label| again::is_application(&label))
            && let Some(secret) = block.first_chunk()
        {
            again::put(secret, *key_len);
        }
        OkmBlock::new(&block[..self.0.hash_len()])
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }
}

impl Expander {
    fn hash_len(&self) -> usize {
        match self {
            Self::Key(key) | Self::Group(key, _) | Self::Extracted(key, _) => key.digest().len(),
            Self::Early(constants) => constants.early.digest().len(),
            Self::Traffic(secret, _) => secret.as_ref().len(),
        }
    }

    /// What `info` asks for, if it need not be computed, or is the first of a group.
    fn known(&self, info: &[&[u8]]) -> Option<&[u8]> {
        let label = Label::parse(info)?;
        match self {
            Self::Key(_) | Self::Extracted(..) => None,
            Self::Early(constants) => constants.find(&label, self.hash_len()),
            Self::Traffic(_, traffic) => traffic.find(&label),
            Self::Group(key, group) => {
                if group.get().is_none() {
                    let empty = HKDF_SHA384.constants().empty.first_chunk()?;
                    // Set by now: another thread was faster, with the same values.
                    let _ = group.set(Box::new(Erased::new(ahead::derive(key, &label, empty)?)));
                }
                group.get()?.find(&label)
            }
        }
    }

    /// T(number) of RFC 5869, section 2.3.
    fn sign(&self, previous: &[u8], info: &[&[u8]], number: u8, out: &mut [u8; MAX_DIGEST_LEN]) {
        let key = match self {
            Self::Key(key) | Self::Group(key, _) | Self::Extracted(key, _) => key,
            Self::Early(constants) => &constants.early,
            Self::Traffic(secret, _) => {
                let digest = match secret.as_ref().len() {
                    store::LEN => Digest::Sha384,
                    _ => Digest::Sha256,
                };
                &HmacKey::new(digest, secret.as_ref())
            }
        };
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
